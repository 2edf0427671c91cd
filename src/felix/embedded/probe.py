"""Asks a Postgres server for its state with the wheel's own pg_isready and psql, so no driver is needed."""

import subprocess
from pathlib import Path
from typing import Literal

from felix.embedded.cluster import USER, PostmasterFile
from felix.embedded.processes import CLEAN_ENVIRONMENT

State = Literal["ready", "starting", "refused", "silent"]


def state_of(live: PostmasterFile, password: str, bin_dir: Path) -> State:
    """Return ready, starting (or stopping), refused (our password is not the server's), or silent."""
    if live.port is None or not live.socket_dir:
        return "starting"
    environment = {
        **CLEAN_ENVIRONMENT,
        "PGHOST": live.socket_dir,
        "PGPORT": str(live.port),
        "PGUSER": USER,
        "PGDATABASE": "postgres",
        "PGPASSWORD": password,
        "PGPASSFILE": "/dev/null",
        "PGCONNECT_TIMEOUT": "5",
    }
    isready: list[str | Path] = [bin_dir / "pg_isready", "-q", "-t", "3"]
    psql: list[str | Path] = [
        bin_dir / "psql",
        "--no-psqlrc",
        "--no-password",
        "--quiet",
        "--command",
        "select 1",
    ]
    try:
        answer = subprocess.run(isready, env=environment, timeout=10, check=False)
        if answer.returncode != 0:
            return "starting" if answer.returncode == 1 else "silent"
        said = subprocess.run(psql, env=environment, capture_output=True, text=True, timeout=10, check=False)
    except subprocess.TimeoutExpired:
        return "silent"
    if said.returncode == 0:
        return "ready"
    return "refused" if "authentication failed" in said.stderr else "starting"
