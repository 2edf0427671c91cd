"""What the figures run on: a durable Postgres 18 and a Valkey of their own, and Felix's real processes on top."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Self

from benchmarks.load import Answers, Load, drive
from felix.bootstrap import Endpoints, bring_up_to_date, ensure_database
from felix.embedded import PostgresSettings, Supervisor
from felix.eventstore.connections import connect

ROOT = Path(__file__).resolve().parent.parent
PARTITIONS = 4
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 15.0


@dataclass(frozen=True)
class Running:
    """A process of Felix; the API also has a port."""

    pid: int
    port: int = 0


class Bench:
    """Starts everything and takes it away again: servers by their own handles, files with the temporary directory."""

    def __init__(self, *, quick: bool, rounds: int) -> None:
        self.quick = quick
        self.rounds = rounds
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.directory = Path(stack.enter_context(_temporary_directory()))
            data_dir = self.directory / "services"
            self._supervisor = Supervisor(data_dir, postgres=PostgresSettings(data_dir, durable=True))
            addresses = stack.enter_context(self._supervisor).addresses
            assert addresses.postgres is not None and addresses.valkey is not None
            self.postgres = addresses.postgres
            self.redis_url = addresses.valkey.url
            context = get_context("spawn")
            self._generator = stack.enter_context(ProcessPoolExecutor(1, mp_context=context))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def amount(self, full: int, quick: int) -> int:
        """How many: of a real run, or just enough to see that it runs."""
        return quick if self.quick else full

    def database(self, name: str) -> Endpoints:
        """A migrated database of this name, made at the first call."""
        ensure_database(self.postgres.url("postgres"), name)
        endpoints = Endpoints(self.postgres.url(name), self.redis_url, None)
        bring_up_to_date(endpoints, partitions=PARTITIONS)
        return endpoints

    def query(self, endpoints: Endpoints, query: str, *parameters: object) -> Any:
        """The first value that a query answers, asked as the owner of the server."""
        with connect(endpoints.database_url) as connection:
            row = connection.execute(query.encode(), parameters).fetchone()
        return None if row is None else row[0]

    def settle(self, endpoints: Endpoints) -> None:
        """Write out what earlier figures left behind, so that it is not done in the middle of the next."""
        with connect(endpoints.database_url) as connection:
            connection.execute("vacuum (analyze) felix.events, felix.commands, felix.partitions")
            connection.execute("checkpoint")

    def drive(self, load: Load) -> Answers:
        """Let the load generator's process send this."""
        return self._generator.submit(drive, load).result()

    @contextmanager
    def api(self, endpoints: Endpoints, **settings: str) -> Iterator[Running]:
        """One real API process on a port of its own, ready; with settings other than the defaults if they are given."""
        port = free_port()
        with self._process("felix.cli.serve", endpoints, FELIX_PORT=str(port), **settings) as process:
            try:
                wait_for(port, "/readyz", process)
            except (RuntimeError, TimeoutError) as error:
                log = (self.directory / "felix.cli.serve.log").read_text(errors="replace")
                raise RuntimeError(f"the API did not start; it wrote:\n{log[-4_000:]}") from error
            yield Running(process.pid, port)

    @contextmanager
    def worker(self, endpoints: Endpoints, **settings: str) -> Iterator[Running]:
        """One real worker process, which has begun; with settings as for the API."""
        with self._process("felix.worker", endpoints, **settings) as process:
            yield Running(process.pid)

    @contextmanager
    def _process(self, module: str, endpoints: Endpoints, **settings: str) -> Iterator[subprocess.Popen[bytes]]:
        environment = clean_environment() | settings
        environment["FELIX_DATABASE_URL"] = endpoints.database_url
        environment["FELIX_REDIS_URL"] = self.redis_url
        environment["FELIX_PARTITIONS"] = str(PARTITIONS)
        with (self.directory / f"{module}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", module], env=environment, cwd=self.directory, stdout=log, stderr=log
            )
        try:
            yield process
        finally:
            stop(process)

    def postgres_cpu_s(self) -> float:
        """CPU seconds of the server, of every backend that lives and of all that ended."""
        postmaster = self._supervisor.postgres.pid
        seconds = cpu_s(postmaster, with_ended_children=True)
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with suppress(OSError, IndexError):
                    if _stat(int(entry.name))[1] == str(postmaster):
                        seconds += cpu_s(int(entry.name))
        return seconds


def cpu_s(pid: int, *, with_ended_children: bool = False) -> float:
    """User and system CPU seconds of a process so far."""
    fields = _stat(pid)[11 : 15 if with_ended_children else 13]
    return sum(map(int, fields)) / os.sysconf("SC_CLK_TCK")


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def clean_environment() -> dict[str, str]:
    """This process's environment without settings of Felix."""
    return {name: value for name, value in os.environ.items() if not name.startswith("FELIX_")}


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int, path: str, process: subprocess.Popen[bytes]) -> float:
    """Ask until the answer is 200; the moment of that (``time.monotonic()``)."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"process {process.args!r} ended with {process.returncode}")
        connection = HTTPConnection("127.0.0.1", port, timeout=5)
        with suppress(OSError, HTTPException):
            connection.request("GET", path)
            if connection.getresponse().status == 200:
                connection.close()
                return time.monotonic()
        connection.close()
        time.sleep(0.01)
    raise TimeoutError(f"{path} on port {port} did not answer 200 in {START_TIMEOUT_S:g} s")


def stop(process: subprocess.Popen[bytes], timeout_s: float = STOP_TIMEOUT_S) -> None:
    """End one process that we started: asked first, killed when that takes too long."""
    process.terminate()
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def _temporary_directory() -> Iterator[str]:
    made = tempfile.mkdtemp(prefix="felix-bench-")
    Path(made).chmod(0o711)  # the servers' own user must get at its part of it
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
