"""Everything that runs under one data directory: the services, the API, the worker, and who watches them.

The order of a start: lock, port, API (it imports while the services start), services, migrations, brief, worker.
The order of a stop: API, worker, services; so nobody loses what it stands on.
"""

from __future__ import annotations

import http.client
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from felix.cli.errors import NotReady, PortTaken, ProcessDidNotStart, with_hint
from felix.embedded import Child, EmbeddedError, Supervisor
from felix.embedded.workspace import Workspace
from felix.measures import RESTARTS
from felix.settings import Settings

if TYPE_CHECKING:
    from felix.adapters.metrics import Metrics
    from felix.bootstrap import Endpoints

DATABASE = "felix"
PROCESSES_FILE = "processes.json"
#: Where :class:`felix.bootstrap.Endpoints` keeps its addresses; the name is repeated because that import is slow.
RUN_FILE = "run.json"
ROLE_PASSWORD_FILE = "role-password"
FOUNDER_KEY_FILE = "founder-key"
METRICS_TOKEN_FILE = "metrics-token"
#: Where all processes keep what they count (:mod:`felix.adapters.metrics`).
METRICS_DIR = "metrics"
#: A log grows by kilobytes a second at the worst.
ROTATE_EVERY_S = 30.0
CHECK_EVERY_S = 0.1
READY_TIMEOUT_S = 60.0
#: Children of a killed supervisor give the port back when they see that it is gone.
PORT_PATIENCE_S = 5.0
MAX_DEATHS_AT_START = 3


class Installation:
    """One running Felix. Used once: made, started, watched, stopped."""

    def __init__(self, settings: Settings, say: Callable[[str], None]) -> None:
        self.settings = settings
        self.data_dir = settings.data_dir.absolute()
        self.founder_key_is_new = False
        self._holds = False
        self._say = say
        self._stopping = threading.Event()
        self._listening: socket.socket | None = None
        self._children: list[Child] = []
        self._endpoints: Endpoints | None = None
        self._metrics: Metrics | None = None
        self._watcher = threading.Thread(target=self._watch_services, name="services", daemon=True)
        self._service_error: EmbeddedError | None = None
        self._services = Supervisor(
            self.data_dir,
            with_postgres=settings.database_url is None,
            with_valkey=settings.redis_url is None,
            on_line=say,
        )

    @property
    def endpoints(self) -> Endpoints:
        """Where the services are, once they have been started."""
        if self._endpoints is None:
            raise RuntimeError("the services were not started")
        return self._endpoints

    @property
    def url(self) -> str:
        """Where the API answers."""
        host, port = self._address()
        return f"http://{f'[{host}]' if ':' in host else host}:{port}"

    @property
    def founder_key(self) -> str:
        """The key of the founder that was made at the first start."""
        return (self.data_dir / FOUNDER_KEY_FILE).read_text().strip()

    def request_stop(self) -> None:
        """Make a start that waits, and watch(), return soon. Safe in a signal handler."""
        self._stopping.set()
        self._services.request_stop()

    @property
    def stop_requested(self) -> bool:
        """Whether somebody asked for the end."""
        return self._stopping.is_set()

    def start(self) -> None:
        """Start everything and wait until it is ready. Raises EmbeddedError and FelixError that say what to do."""
        self._services.hold()
        self._holds = True
        workspace = Workspace(self.data_dir)
        self._listening = listening = self._bind()
        for number in range(self.settings.api_processes):
            name = "api" if self.settings.api_processes == 1 else f"api-{number + 1}"
            self._add_child(workspace, name, "felix.cli.serve", "--fd", str(listening.fileno()), keep_open=listening)
        for child in self._children:
            child.launch()
        imports = threading.Thread(target=__import__, args=("felix.bootstrap",), daemon=True)
        imports.start()
        addresses = self._services.start()
        imports.join()
        self._watcher.start()

        from felix import bootstrap

        settings = self.settings
        if addresses.postgres is None:
            assert settings.database_url is not None
            database_url = settings.database_url.get_secret_value()
            given = settings.database_role_password
            role_password = given.get_secret_value() if given else None
        else:
            bootstrap.ensure_database(addresses.postgres.url("postgres"), DATABASE)
            database_url = addresses.postgres.url(DATABASE)
            role_password = self._kept_secret(ROLE_PASSWORD_FILE)
        self._metrics = bootstrap.supervise_metrics(self.data_dir / METRICS_DIR)
        redis_url = addresses.valkey.url if addresses.valkey else None
        if settings.redis_url is not None:
            redis_url = settings.redis_url.get_secret_value()
        self._endpoints = endpoints = bootstrap.Endpoints(database_url, redis_url, role_password)
        applied = bootstrap.bring_up_to_date(
            endpoints,
            partitions=settings.partitions,
            backup_password=self._kept_secret(workspace.backup_password_file.name) if addresses.postgres else None,
        )
        if addresses.postgres:
            bootstrap.erasure_key(settings).make()
        if applied:
            self._say(f"{len(applied)} migrations were applied")
        self._make_root_key()
        self._make_founder_key()
        endpoints.save(self.data_dir)
        brief = self._brief(endpoints)
        for child in self._children:
            child.brief(brief)
        # The worker comes last: nobody waits for it, and its imports would take a core from those that are waited for.
        self._add_child(workspace, "worker", "felix.worker")
        self._children[-1].launch()
        self._children[-1].brief(brief)
        self._wait_until_ready()
        self._record_processes()

    def add_child(self, name: str, module: str, *arguments: str) -> None:
        """Run one more process, which is watched and stopped with the others."""
        self._add_child(Workspace(self.data_dir), name, module, *arguments)
        child = self._children[-1]
        child.launch()
        child.brief(self._brief(self.endpoints))
        self._record_processes()

    def watch(self) -> None:
        """Start again what dies, until request_stop(). Raises the error of a service that can't be brought back."""
        workspace, rotated_at = Workspace(self.data_dir), time.monotonic()
        while not self._stopping.wait(CHECK_EVERY_S):
            self._check()
            if time.monotonic() > rotated_at + ROTATE_EVERY_S:
                workspace.rotate_logs()
                rotated_at = time.monotonic()

    def stop(self) -> None:
        """Stop everything in order within the shutdown timeout; what does not stop in time is killed."""
        self.request_stop()
        if not self._holds:
            return  # another one runs here, and its processes are none of ours
        began_at = time.monotonic()
        whole_s = self.settings.shutdown_timeout_s
        if self._listening is not None:
            self._listening.close()
        api = [child for child in self._children if child.name.startswith("api")]
        others = [child for child in self._children if child not in api]
        for group, until in ((api, 0.55 * whole_s), (others, 0.8 * whole_s)):
            for child in group:
                child.ask_to_stop()
            for child in group:
                if not child.stop(max(0.1, began_at + until - time.monotonic())):
                    self._say(f"{child.name} did not stop in time and was killed")
        if self._watcher.ident is not None:
            self._watcher.join()
        if self._metrics is not None:
            self._metrics.close()
        self._services.stop(max(2.0, began_at + 0.95 * whole_s - time.monotonic()))
        # The addresses of services that were stopped would only send other commands into the void.
        stale = [PROCESSES_FILE, *([RUN_FILE] if self.settings.database_url is None else [])]
        for name in stale:
            with suppress(OSError):
                (self.data_dir / name).unlink(missing_ok=True)

    def _add_child(
        self,
        workspace: Workspace,
        name: str,
        module: str,
        *arguments: str,
        keep_open: socket.socket | None = None,
    ) -> None:
        self._children.append(
            Child(
                name,
                module,
                arguments,
                open_log=lambda: workspace.open_log(f"felix-{name}"),
                log_path=workspace.log_path(f"felix-{name}"),
                keep_open=[keep_open.fileno()] if keep_open else [],
            )
        )

    def _brief(self, endpoints: Endpoints) -> dict[str, str]:
        brief = {
            "FELIX_DATABASE_URL": endpoints.serving_url,
            "FELIX_DATA_DIR": str(self.data_dir),
            "FELIX_METRICS_DIR": str(self.data_dir / METRICS_DIR),
        }
        if self.settings.metrics_token is None:
            brief["FELIX_METRICS_TOKEN"] = self._kept_secret(METRICS_TOKEN_FILE)
        if endpoints.redis_url is not None:
            brief["FELIX_REDIS_URL"] = endpoints.redis_url
        if self.settings.public_url is None:
            brief["FELIX_PUBLIC_URL"] = self.url
        if self.settings.root_key is not None:
            brief["FELIX_ROOT_KEY"] = self.settings.root_key.get_secret_value()
        if endpoints.role_password is not None:
            brief["FELIX_DATABASE_ROLE_PASSWORD"] = endpoints.role_password
        return brief

    def _bind(self) -> socket.socket:
        """Take the port before anything else, so that a port that is taken costs nobody a start."""
        settings = self.settings
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(
                settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
        except socket.gaierror as error:
            raise with_hint(
                PortTaken(f"Felix can't listen on {settings.host}: {error.strerror}."), "Set FELIX_HOST."
            ) from error
        patience = time.monotonic() + (PORT_PATIENCE_S if _old_children(self.data_dir) else 0)
        while True:
            listening = socket.socket(family, kind, protocol)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listening.bind(address)
                return listening
            except OSError as error:
                listening.close()
                if time.monotonic() < patience and not self._stopping.wait(CHECK_EVERY_S):
                    continue
                raise with_hint(
                    PortTaken(
                        f"Felix can't listen on {settings.host} port {settings.port}: {error.strerror}.",
                        host=settings.host,
                        port=settings.port,
                    ),
                    "Stop the program that has the port, or set FELIX_PORT to another one (0: any free one).",
                ) from error

    def _address(self) -> tuple[str, int]:
        if self._listening is None:
            raise RuntimeError("the port was not taken yet")
        host, port = self._listening.getsockname()[:2]
        return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port

    def _kept_secret(self, name: str) -> str:
        path = self.data_dir / name
        if not path.exists():
            keep_secret(path, secrets.token_urlsafe(32))
        return path.read_text().strip()

    def _make_root_key(self) -> None:
        from felix.bootstrap import ROOT_KEY_FILE
        from felix.eventstore.sealing import new_root_key

        path = self.data_dir / ROOT_KEY_FILE
        if self.settings.root_key is None and not path.exists():
            keep_secret(path, new_root_key())

    def _make_founder_key(self) -> None:
        from felix.application.api_keys import make_key
        from felix.cli.session import Session
        from felix.domain.identity.roles import PLATFORM

        path = self.data_dir / FOUNDER_KEY_FILE
        if not path.exists():
            with closing(Session(self.endpoints, self.settings)) as session:
                key, _ = make_key(session.performer, PLATFORM, "made by the first `felix up`", role="founder")
            keep_secret(path, key)
            self.founder_key_is_new = True

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_TIMEOUT_S
        problem = "it does not answer"
        while not self._stopping.is_set():
            status, problem = self.ask("/readyz")
            if status == 200:
                return
            if time.monotonic() > deadline:
                raise NotReady(f"Felix did not become ready in {READY_TIMEOUT_S:g} s: {problem}")
            self._check(at_start=True)
            self._stopping.wait(0.02)

    def ask(self, path: str, *, key: str | None = None) -> tuple[int, str]:
        """Ask the API: the status, or 0 when it does not answer, and the beginning of what it says."""
        host, port = self._address()
        connection = http.client.HTTPConnection(host, port, timeout=5)
        try:
            connection.request("GET", path, headers={"Authorization": f"Bearer {key}"} if key else {})
            answer = connection.getresponse()
            return answer.status, answer.read(2000).decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            return 0, str(error)
        finally:
            connection.close()

    def _check(self, *, at_start: bool = False) -> None:
        if self._service_error is not None:
            raise self._service_error
        changed = False
        for child in self._children:
            before = child.pid
            if (line := child.check()) is not None:
                self._say(line)
                RESTARTS.add(child.name)
                if at_start and child.deaths >= MAX_DEATHS_AT_START:
                    raise ProcessDidNotStart(f"{child.name} keeps dying; it wrote:\n{child.last_words()}")
            changed = changed or child.pid != before
        if changed and not at_start:
            self._record_processes()

    def _watch_services(self) -> None:
        try:
            self._services.watch()
        except EmbeddedError as error:
            self._service_error = error

    def _record_processes(self) -> None:
        running: dict[str, Any] = {"supervisor": os.getpid(), "url": self.url}
        running |= {child.name: child.pid for child in self._children}
        path = self.data_dir / PROCESSES_FILE
        partial = path.with_suffix(".new")
        partial.write_text(json.dumps(running))
        partial.rename(path)


def keep_secret(path: Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    partial = path.with_name(path.name + ".new")
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)


def recorded_processes(data_dir: Path) -> dict[str, Any]:
    """What a running `felix up` says about its processes; empty when none does."""
    try:
        recorded: dict[str, Any] = json.loads((data_dir / PROCESSES_FILE).read_text())
        return recorded
    except (OSError, ValueError):
        return {}


def _old_children(data_dir: Path) -> bool:
    """Whether processes of a supervisor that was killed may still be about to end."""
    for name, pid in recorded_processes(data_dir).items():
        if name not in ("supervisor", "url") and isinstance(pid, int):
            with suppress(OSError):
                if b"felix." in Path(f"/proc/{pid}/cmdline").read_bytes():
                    return True
    return False
