"""Gives each test a data directory that the service account can reach, and real servers in it."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from felix.embedded import PostgresAddress, PostgresSettings, Supervisor, postgres_bin_dir
from felix.embedded.processes import processes_in

SOURCE = Path(__file__).parents[2] / "src"


@pytest.fixture
def place() -> Iterator[Path]:
    """A new directory everybody may pass; tmp_path is below a 0700 one, which shuts root's account out."""
    path = Path(tempfile.mkdtemp(prefix="felix-test-", dir="/tmp"))
    path.chmod(0o755)
    yield path
    for data in [*path.rglob("pgdata"), *path.rglob("pgdata.new"), *path.rglob("valkey")]:
        for name in ("postgres", "initdb", "valkey-server"):
            for pid in processes_in(data, name):
                os.kill(pid, signal.SIGKILL)
    time.sleep(0.02)
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def data_dir(place: Path) -> Path:
    return place / "data"


@pytest.fixture
def make_supervisor() -> Iterator[Callable[..., Supervisor]]:
    """Make supervisors whose Postgres does without fsync; they are stopped after the test."""
    made: list[Supervisor] = []

    def make(data_dir: Path, **settings: object) -> Supervisor:
        fast = PostgresSettings(data_dir, durable=False, **settings)  # type: ignore[arg-type]
        made.append(Supervisor(data_dir, postgres=fast))
        return made[-1]

    yield make
    for supervisor in made:
        supervisor.stop()


@pytest.fixture
def sql() -> Callable[[PostgresAddress, str], str]:
    def ask(address: PostgresAddress, query: str) -> str:
        command = [str(postgres_bin_dir() / "psql"), "-XAtqw", "-h", str(address.socket_dir)]
        command += ["-p", str(address.port), "-U", address.user, "-d", "postgres", "-v", "ON_ERROR_STOP=1"]
        said = subprocess.run(
            [*command, "-c", query],
            env={"PGPASSWORD": address.password},
            capture_output=True,
            text=True,
            timeout=20,
        )
        assert said.returncode == 0, said.stderr
        return said.stdout.strip()

    return ask


@pytest.fixture
def felix_process() -> Iterator[Callable[[str, Path], subprocess.Popen[str]]]:
    """Run a script in a process of its own, with `Supervisor` and `data_dir` at hand."""
    started: list[subprocess.Popen[str]] = []

    def run(script: str, data_dir: Path) -> subprocess.Popen[str]:
        head = (
            "import sys, time; from pathlib import Path; from felix.embedded import *\n"
            "data_dir = Path(sys.argv[1])\n"
            "supervisor = Supervisor(data_dir, postgres=PostgresSettings(data_dir, durable=False))\n"
        )
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", head + script, str(data_dir)],
                env={**os.environ, "PYTHONPATH": os.pathsep.join([str(SOURCE), *sys.path])},
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def eventually(holds: Callable[[], bool], timeout_s: float = 10) -> None:
    """Wait until something holds, or fail."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.005)


@pytest.fixture(name="eventually")
def eventually_fixture() -> Callable[..., None]:
    return eventually
