"""Processes that a fault hits: found by id, killed or frozen at once, and never left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Self

from running_felix import RunningFelix, eventually

from felix.embedded.processes import is_alive, processes_in

HERE = Path(__file__).parent


def family(pid: int) -> list[int]:
    """A process and everything that descends from it."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, IndexError, ValueError):
            parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    found = [pid]
    for member in found:
        found += [child for child, parent in parents.items() if parent == member]
    return found


def kill_everything(felix: RunningFelix) -> int:
    """SIGKILL the supervisor, the API, the worker, Postgres with all its backends and Valkey; how many there were."""
    assert felix.process is not None
    everybody = family(felix.process.pid)
    # Servers that were adopted from an earlier supervisor are nobody's children any more.
    for directory, name in (("pgdata", "postgres"), ("valkey", "valkey-server")):
        everybody += [pid for pid in processes_in(felix.data_dir / directory, name) if pid not in everybody]
    for pid in everybody:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    felix.process.wait()
    eventually(lambda: not any(map(is_alive, everybody)), 10)
    return len(everybody)


class Process:
    """One real process of Felix on a database of the tests, which a ``script`` of this directory runs."""

    def __init__(self, database: str, log: Path, script: str, *arguments: object, **settings: str) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("FELIX_")}
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, str(HERE / script), *map(str, arguments)],
                env=kept | {"FELIX_DATABASE_URL": database, "FELIX_DATA_DIR": str(log.parent / "data")} | settings,
                cwd=log.parent, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            )  # fmt: skip

    def send(self, number: signal.Signals) -> None:
        """Signal it."""
        self._process.send_signal(number)

    @property
    def alive(self) -> bool:
        """Whether it runs, or is frozen."""
        return self._process.poll() is None

    def kill(self) -> None:
        """kill -9."""
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def seconds_until(holds: Callable[[], bool], timeout_s: float, told: Callable[[], str] = str) -> float:
    """Wait until something holds, and say how long that took."""
    began_at = time.monotonic()
    eventually(holds, timeout_s, told)
    return time.monotonic() - began_at
