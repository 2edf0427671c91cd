"""``felix status``: what runs, how far it is, and whether it is ready."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from felix.cli.installation import recorded_processes
from felix.cli.options import Showing
from felix.cli.output import print_facts, print_json, print_table
from felix.settings import Settings

if TYPE_CHECKING:
    from felix.projections.vital_signs import VitalSigns


def status(*, showing: Showing | None = None) -> int:
    """Say what runs, how far the log is, and whether Felix is ready.

    The exit code is 1 when a process of `felix up` is gone or a check of /readyz fails, also one that leaves Felix in
    service; each says what to do.
    """
    from felix import bootstrap

    showing = showing or Showing()
    settings = Settings()
    recorded = recorded_processes(settings.data_dir)
    url = recorded.pop("url", None)
    processes = [{"process": name, "pid": pid, "alive": _alive(pid)} for name, pid in recorded.items()]
    signs, checked = asyncio.run(bootstrap.look_around(settings))
    checks = {check.name: check for check in checked}
    problems = [f"the process {each['process']} is gone" for each in processes if not each["alive"]]
    problems += [f"{check.name}: {check.detail}" for check in checks.values() if not check.ok]
    found: dict[str, Any] = {
        "url": url,
        "database": "answers" if checks["database"].ok else "does not answer",
        "valkey": checks["valkey"].detail if checks["valkey"].ok else "does not answer",
        "processes": processes,
        "checks": [asdict(check) for check in checks.values()],
    }
    if not isinstance(signs, str):
        found |= _told(signs)
    found |= {"ready": not problems, "problems": problems}
    if showing.json:
        print_json(found)
    else:
        _print(found)
    return 0 if not problems else 1


def _told(signs: VitalSigns) -> dict[str, Any]:
    behind: dict[str, int] = {}
    for lag in signs.lags:
        behind[lag.projection] = max(behind.get(lag.projection, 0), lag.lag_events)
    return {
        "migrations_pending": None if signs.pending is None else len(signs.pending),
        "events": sum(position for position, _ in signs.heads.values()),
        "partitions": {partition: position for partition, (position, _) in signs.heads.items()},
        "projections": [{"projection": name, "lag_events": lag_events} for name, lag_events in behind.items()],
    }


def _alive(pid: Any) -> bool:
    with suppress(OSError, TypeError):
        os.kill(pid, 0)
        return True
    return False


def _print(found: dict[str, Any]) -> None:
    print_facts(
        {
            "ready": found["ready"],
            "url": found["url"],
            "database": found["database"],
            "valkey": found["valkey"],
            "migrations pending": found.get("migrations_pending"),
            "events": found.get("events"),
            "partitions": len(found.get("partitions", ())),
        }
    )
    tables = (
        ("processes", found["processes"]),
        ("read models", found.get("projections", [])),
        ("checks", found["checks"]),
    )
    for title, rows in tables:
        if rows:
            print(f"\n{title}")
            print_table(rows, {name: name.replace("_", " ") for name in rows[0]}, empty="")
    for problem in found["problems"]:
        print(f"\nnot ready: {problem}")
