"""Whether Valkey answers. It is never the truth: without it Felix is slower to notice, and nothing else."""

from __future__ import annotations

import socket
from urllib.parse import unquote, urlsplit

from felix.cli.doctoring.examination import Examination
from felix.cli.doctoring.findings import Findings, ok, problem

REDIS_PORT = 6379
CONNECT_TIMEOUT_S = 2.0


def valkey(examination: Examination) -> Findings:
    """Valkey answers."""
    from felix.adapters.doorbell import answers

    endpoints = examination.endpoints
    if endpoints is None or endpoints.redis_url is None:
        yield ok("not examined: none is running or set" if endpoints is None else "not used")
    elif answers(endpoints.redis_url):
        yield ok("answers")
    else:
        log = examination.data_dir / "logs" / "valkey.log"
        yield problem(
            "Valkey accepts connections and does not answer: it is frozen, or not Valkey."
            if _accepts(endpoints.redis_url)
            else "Valkey can't be reached.",
            "Jobs wait, and read models are up to 50 ms later. Commands, balances and what is due stay right.",
            f"tail -n 30 {log}; felix up" if examination.embedded_valkey else 'redis-cli -u "$FELIX_REDIS_URL" ping',
        )


def _accepts(url: str) -> bool:
    """Whether anybody listens there."""
    asked = urlsplit(url)
    try:
        if asked.scheme == "unix":
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(CONNECT_TIMEOUT_S)
                connection.connect(unquote(asked.path))
        else:
            place = (asked.hostname or "localhost", asked.port or REDIS_PORT)
            socket.create_connection(place, CONNECT_TIMEOUT_S).close()
    except (OSError, ValueError):
        return False
    return True
