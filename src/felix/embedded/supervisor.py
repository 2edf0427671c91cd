"""Keeps Postgres and Valkey running under one data directory, and no second supervisor beside it.

After `kill -9` of the supervisor the servers go on; the next supervisor adopts and then owns them.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from felix.embedded.errors import DataDirUnusable, DirectoryInUse, EmbeddedError, NotRunning, StartCancelled
from felix.embedded.locks import try_lock
from felix.embedded.postgres import EmbeddedPostgres, PostgresAddress, PostgresSettings
from felix.embedded.valkey import EmbeddedValkey, ValkeyAddress, ValkeySettings
from felix.embedded.workspace import Workspace

LOG = logging.getLogger("felix.embedded")
CHECK_EVERY_S = 0.5
PAUSE_MAX_S = 5.0  # between restarts of a service that keeps dying, and so before the next look at it
GIVE_UP_AFTER_S = 300.0  # a service that cannot be restarted for so long needs a person


@dataclass(frozen=True)
class Addresses:
    """Where the servers listen; None for one that was left out."""

    postgres: PostgresAddress | None
    valkey: ValkeyAddress | None


class Supervisor:
    """Holds the lock of a data directory, starts both servers, and brings back one that died.

    `with_postgres` and `with_valkey` leave one out, or both: then it only holds the lock.
    It is used once: after stop() a new one is made. A server that lives but hangs is not restarted.
    Use it in one process that does not fork without exec, because a forked child shares the lock.
    A signal handler may only call request_stop(); whoever runs watch() then calls stop().
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        postgres: PostgresSettings | None = None,
        valkey: ValkeySettings | None = None,
        with_postgres: bool = True,
        with_valkey: bool = True,
        on_line: Callable[[str], None] | None = None,
    ) -> None:
        self.data_dir = data_dir
        self._on_line = on_line
        self._stopping = threading.Event()
        self._turn = threading.Lock()
        self._lock: int | None = None
        self._addresses: Addresses | None = None
        postgres = postgres or PostgresSettings(data_dir)
        valkey = valkey or ValkeySettings(data_dir)
        if not postgres.data_dir == valkey.data_dir == data_dir:
            raise ValueError("the supervisor and its servers share one data directory")
        self.postgres = EmbeddedPostgres(postgres, own_adopted=True, cancelled=self._stopping, report=self._report)
        self.valkey = EmbeddedValkey(valkey, own_adopted=True, cancelled=self._stopping, report=self._report)
        self._services: dict[str, EmbeddedPostgres | EmbeddedValkey] = {}
        if with_postgres:
            self._services["postgres"] = self.postgres
        if with_valkey:
            self._services["valkey"] = self.valkey

    @property
    def addresses(self) -> Addresses:
        """Where the servers listen. Raises NotRunning before start()."""
        if self._addresses is None:
            raise NotRunning("the servers were not started")
        return self._addresses

    def hold(self) -> None:
        """Take the lock without starting anything; start() does so by itself. Raises DirectoryInUse."""
        with self._turn:
            self._take_lock()

    def start(self, timeout_s: float = 600) -> Addresses:
        """Take the lock, then start Postgres and Valkey; what was started is stopped when one fails.

        Raises DirectoryInUse when another supervisor lives, else an EmbeddedError that says what to do.
        """
        deadline = time.monotonic() + timeout_s
        with self._turn:
            if self._stopping.is_set():
                raise StartCancelled("this supervisor was asked to stop; make a new one to start again")
            self._take_lock()
            try:
                postgres = self.postgres.start(timeout_s) if "postgres" in self._services else None
                left_s = max(1.0, deadline - time.monotonic())
                valkey = self.valkey.start(left_s) if "valkey" in self._services else None
            except BaseException:  # Ctrl-C too must not leave a server that nobody watches
                self._stop_all(timeout_s=30)
                raise
            self._addresses = Addresses(postgres, valkey)
            return self._addresses

    def check(self, timeout_s: float = 600) -> list[str]:
        """Restart what has died and return the names of the restarted services.

        Raises an EmbeddedError when a service cannot be brought back now; a later check tries again.
        """
        restarted = []
        with self._turn:
            if self._lock is None:
                raise NotRunning("the servers were not started")
            for name, service in self._services.items():
                if service.running:
                    continue
                found_at = time.monotonic()
                self._report(f"{name} is not running (exit code {service.poll()}) and is started again")
                service.start(timeout_s)
                self._report(f"{name} is back after {time.monotonic() - found_at:.1f} s")
                restarted.append(name)
        return restarted

    def watch(self) -> None:
        """Check twice a second until request_stop(), pausing longer while restarts follow each other.

        Raises the last EmbeddedError when a service could not be restarted for five minutes.
        """
        pause_s = CHECK_EVERY_S
        failing_since: float | None = None
        while not self._stopping.wait(pause_s):
            try:
                calm = not self.check()
                failing_since = None
            except EmbeddedError as error:
                if self._stopping.is_set():
                    return
                calm = False
                failing_since = failing_since or time.monotonic()
                self._report(f"a restart failed and is tried again: {error}")
                if time.monotonic() - failing_since > GIVE_UP_AFTER_S:
                    raise
            pause_s = CHECK_EVERY_S if calm else min(pause_s * 2, PAUSE_MAX_S)

    def request_stop(self) -> None:
        """Make watch(), and a start that still waits, return soon. Safe in a signal handler."""
        self._stopping.set()

    def stop(self, timeout_s: float = 30) -> None:
        """Stop Valkey, then Postgres, then give the lock back. May be called again."""
        self._stopping.set()
        with self._turn:
            self._stop_all(timeout_s)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _stop_all(self, timeout_s: float) -> None:
        self._addresses = None
        try:
            self.valkey.stop(timeout_s)
        finally:
            try:
                self.postgres.stop(timeout_s)
            finally:
                self._give_lock_back()

    def _take_lock(self) -> None:
        if self._lock is not None:
            return
        workspace = Workspace(self.data_dir)
        try:
            # Readable for everybody, since a person of another account may ask who holds it.
            lock = workspace.open_own(workspace.lock_file, os.O_RDWR, 0o644)
        except OSError as error:
            raise DataDirUnusable(
                f"the lock {workspace.lock_file} cannot be opened: {error}",
                "Mend its permissions, or run Felix as the user who owns the data directory.",
            ) from error
        if not try_lock(lock):
            said = os.pread(lock, 32, 0).strip()
            os.close(lock)
            pid = int(said) if said.isdigit() else None
            raise DirectoryInUse(
                f"{workspace.data_dir} is already used by the Felix process {pid or 'that is just starting'}",
                "Use that one, stop it first, or set FELIX_DATA_DIR to another directory.",
                pid=pid,
            )
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        self._lock = lock

    def _give_lock_back(self) -> None:
        # The file stays: removing it would let two supervisors hold locks on two files of one name.
        if self._lock is not None:
            os.ftruncate(self._lock, 0)
            os.close(self._lock)
            self._lock = None

    def _report(self, line: str) -> None:
        LOG.info(line)
        if self._on_line is not None:
            self._on_line(line)
