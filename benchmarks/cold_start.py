"""A cold ``felix up`` on an existing directory: from the start of the command to the first answers.

The directory is made by a first ``felix up`` and stopped in order. Each round then starts everything anew (Postgres,
Valkey, API, worker) and asks ``/healthz`` and ``/readyz`` until each answers 200. The operating system's file cache is
warm.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from sys import executable

from benchmarks.report import Row
from benchmarks.server import Bench, clean_environment, free_port, stop, wait_for

STOP_TIMEOUT_S = 30.0


def run(bench: Bench) -> list[Row]:
    """Measure."""
    felix = Path(executable).with_name("felix")
    what = "cold felix up on an existing directory, first answer"
    if not felix.exists():
        return [Row(what, "s", [], at_most=5, note="no felix command is installed beside this Python")]
    data_dir = bench.directory / "cold"
    with _up(bench, felix, data_dir) as (process, port, _):
        wait_for(port, "/readyz", process)
    alive, ready = [], []
    for _ in range(bench.rounds):
        with _up(bench, felix, data_dir) as (process, port, began_at):
            alive.append(wait_for(port, "/healthz", process) - began_at)
            ready.append(wait_for(port, "/readyz", process) - began_at)
    return [
        Row(f"{what} of /healthz", "s", alive, at_most=5),
        Row(f"{what} of /readyz", "s", ready, at_most=5),
    ]


@contextmanager
def _up(bench: Bench, felix: Path, data_dir: Path) -> Iterator[tuple[subprocess.Popen[bytes], int, float]]:
    port = free_port()
    environment = clean_environment() | {"FELIX_DATA_DIR": str(data_dir), "FELIX_PORT": str(port)}
    with (bench.directory / "up.log").open("ab") as log:
        began_at = time.monotonic()
        process = subprocess.Popen(
            [felix, "up"], env=environment, cwd=bench.directory, stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield process, port, began_at
    finally:
        stop(process, STOP_TIMEOUT_S)
