"""`felix doctor` names each fault that is really there, and nothing where there is none."""

from __future__ import annotations

import json
import os
import platform
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from command_line import CommandLine

from felix import bootstrap
from felix.application.performer import new_context
from felix.cli.doctoring import CHECKS, Examination, Finding, Limits, examine
from felix.domain.tenancy.tenant import OnboardTenant
from felix.eventstore.migrations import migrate
from felix.projections.vital_signs import VERIFICATION

sys.path.append(str(Path(__file__).resolve().parents[1] / "journeys"))
from running_felix import RunningFelix, eventually

#: Small machines and full disks of whoever runs the tests are not what is tested.
ROOMY = Limits(disk_low_bytes=0, disk_full_bytes=0, memory_low_bytes=0, memory_short_bytes=0, stuck_after_s=0.3)


def look(limits: Limits = ROOMY, **given: Any) -> dict[str, list[Finding]]:
    """What each check found, beside what is well."""
    found: dict[str, list[Finding]] = {}
    for name, finding in examine(Examination(limits=limits, **given)):
        found.setdefault(name, [])
        if finding.level != "ok":
            assert finding.case and finding.meaning and finding.remedy, (name, finding)
            found[name].append(finding)
    return {name: findings for name, findings in found.items() if findings}


def only(found: dict[str, list[Finding]], name: str) -> str:
    """The one thing that was found, if it is of this check and nothing else was."""
    assert found.keys() == {name}, found
    return " ".join(f"{each.level}: {each.case} {each.meaning} {each.remedy}" for each in found[name])


# A machine on which nothing was started yet.


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory where Felix may be started, on a port that is free."""
    for name in [name for name in os.environ if name.startswith("FELIX_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FELIX_DATA_DIR", str(tmp_path / "data"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("FELIX_PORT", str(free.getsockname()[1]))
    return tmp_path


def test_a_machine_that_is_as_it_should_be_has_no_finding(home: Path) -> None:
    assert look() == {}


@contextmanager
def small_disk(place: Path) -> Iterator[bool]:
    """Mount a file system of one megabyte there, where we may; says whether it is there."""
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], capture_output=True, check=False
    )
    try:
        yield mounted.returncode == 0
    finally:
        if mounted.returncode == 0:
            subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk(home: Path) -> None:
    with small_disk(home / "data") as is_small:
        full = ROOMY if not is_small else Limits(disk_low_bytes=2**21, disk_full_bytes=2**20 + 1, memory_low_bytes=0)
        if not is_small:
            full = Limits(disk_low_bytes=2**62, disk_full_bytes=2**62, memory_low_bytes=0)
        found = look(full)
    assert found.pop("data directory", None) is None or is_small  # a mounted directory is everybody's
    told = only(found, "disk")
    assert "problem" in told and "are free for data" in told and "du -xh" in told
    if is_small:
        assert "1.0 MiB" in told


def test_a_port_that_is_taken_is_named_with_its_holder(home: Path) -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", int(os.environ["FELIX_PORT"])))
        other.listen()
        told = only(look(), "port")
    assert f"Port {os.environ['FELIX_PORT']}" in told and f"pid {os.getpid()}" in told and "FELIX_PORT=" in told


def test_an_address_that_is_not_ours(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FELIX_HOST", "192.0.2.1")
    assert "can't listen on 192.0.2.1" in only(look(), "port")


def test_an_old_python(home: Path) -> None:
    assert "3.10.9 is older" in only(look(python_version=(3, 10, 9)), "python")


def test_a_machine_without_binaries(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    assert "no Valkey for this machine" in only(look(), "binaries")


def test_little_memory(home: Path) -> None:
    told = only(look(Limits(disk_low_bytes=0, disk_full_bytes=0, memory_short_bytes=2**62)), "memory")
    assert "problem" in told and "available" in told


def test_few_open_files(home: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, before[1]))
    try:
        told = only(look(), "open files")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert "problem" in told and "200 files" in told and "LimitNOFILE" in told


def test_settings_that_can_not_be_read(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / ".env").write_bytes("# für später\nFELIX_LOG_LEVEL=INFO\n".encode("latin-1"))
    assert ".env can't be read" in only(look(), "settings")
    (home / ".env").write_text("FELIX_PARTITIONS=none\n")
    told = only(look(), "settings")
    assert "FELIX_PARTITIONS" in told and "none" not in told.split("FELIX_PARTITIONS")[0]


def test_settings_that_are_none(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FELIX_DATABSE_URL", "postgresql://db/felix")
    (home / ".env").write_text("FELIX_COLOUR=green\n")
    (home / ".env").chmod(0o600)
    told = only(look(), "unknown settings")
    assert "Do you mean FELIX_DATABASE_URL?" in told and "FELIX_COLOUR is no setting" in told
    assert "warning" in told and "problem" not in told


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("FELIX_DATABASE_ROLE_PASSWORD", "secret", "without FELIX_DATABASE_URL"),
        ("FELIX_REDIS_URL", "cache:6379", "does not begin with redis://"),
        ("FELIX_READ_TIMEOUT_S", "20", "FELIX_SHUTDOWN_TIMEOUT_S"),
    ],
)
def test_settings_that_contradict(
    home: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)
    assert said in only(look(), "contradictions")


def test_processes_that_sign_in_as_the_administrator(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FELIX_DATABASE_URL", "postgresql://127.0.0.1:1/felix")
    assert [finding.case for finding in look()["contradictions"]] == [
        "FELIX_DATABASE_URL is set without FELIX_DATABASE_ROLE_PASSWORD."
    ]


def test_a_directory_that_others_may_change(home: Path) -> None:
    data = home / "data"
    (data / "pgdata").mkdir(parents=True, mode=0o700)
    data.chmod(0o777)
    found = look()
    assert any("can be written by others (mode 777)" in each.case for each in found["data directory"]), found
    data.chmod(0o755)
    (data / "pgdata").chmod(0o755)
    (finding,) = look()["data directory"]
    if os.geteuid() == 0:
        # Postgres never runs as root: a database that belongs to root can't be opened by anybody.
        assert "belongs to uid 0" in finding.case and finding.remedy.startswith("chown")
        os.chown(data / "pgdata", 65534, 65534)
        findings = look()["data directory"]
        assert "can be opened by others (mode 755)" in findings[0].case
    else:
        assert "can be opened by others (mode 755)" in finding.case


def test_secrets_that_others_can_read(home: Path) -> None:
    (home / "data").mkdir(mode=0o755)
    (home / "data" / "founder-key").write_text("fx_live_…")
    (home / "data" / "founder-key").chmod(0o644)
    (home / "sockets").mkdir(mode=0o755)
    (home / "data" / "socket-directory").write_text(f"{home / 'sockets'}\n")
    (home / ".env").write_text("FELIX_DATABASE_ROLE_PASSWORD=x\nFELIX_DATABASE_URL=postgresql://127.0.0.1:1/felix\n")
    (home / ".env").chmod(0o644)
    found = [finding.case for finding in look()["secrets"]]
    assert len(found) == 3 and "founder-key" in found[0] and ".env" in found[1] and "sockets" in found[2]


def test_what_a_killed_felix_left(home: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    (home / "data").mkdir(mode=0o755)
    (home / "data" / "felix.lock").write_text(f"{gone.pid}\n")
    (home / "data" / "processes.json").write_text(json.dumps({"supervisor": gone.pid, "url": "http://127.0.0.1:1"}))
    assert "left from a Felix that was killed" in only(look(), "leftovers")


def test_an_old_backup_or_none(home: Path) -> None:
    (home / "data" / "pgdata").mkdir(parents=True, mode=0o700)
    (home / "data").chmod(0o755)
    (home / "data" / "pgdata" / "PG_VERSION").write_text("18\n")
    later = datetime.now(UTC) + timedelta(days=3)
    assert "no backup of a database that is 72 hours old" in look(clock=lambda: later)["backups"][0].case
    assert "backups" not in look()


# A database of your own.
ROLE_PASSWORD = "a password of the roles"


def execute(database: str, statement: str, *parameters: object) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(statement.encode(), parameters)


def use(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Set a database of one's own, as one should: with a password for Felix's roles."""
    monkeypatch.setenv("FELIX_DATABASE_URL", url)
    monkeypatch.setenv("FELIX_DATABASE_ROLE_PASSWORD", ROLE_PASSWORD)


@pytest.fixture
def worker(felix: CommandLine, home: Path, monkeypatch: pytest.MonkeyPatch, database: str) -> Iterator[None]:
    """A worker on a database that is up to date."""
    use(monkeypatch, database)
    migrate(database, partitions=4, role_password=ROLE_PASSWORD)
    runner = bootstrap.open_runner(felix.endpoints, partitions=4)
    runner.start()
    eventually(lambda: all(lag.owned for lag in runner.lag().values()))
    yield
    assert runner.stop()


@pytest.fixture
def idle(felix: CommandLine, home: Path, monkeypatch: pytest.MonkeyPatch, database: str) -> str:
    """A database that is up to date and has no worker."""
    use(monkeypatch, database)
    migrate(database, partitions=4, role_password=ROLE_PASSWORD)
    return database


def test_a_database_of_your_own_that_is_as_it_should_be_has_no_finding(worker: None, felix: CommandLine) -> None:
    assert look() == {}
    told = felix.done("doctor")
    assert told["healthy"] and {each["check"] for each in told["findings"]} == {check.name for check in CHECKS}


def test_migrations_that_are_pending_edited_or_from_the_future(worker: None, database: str) -> None:
    execute(database, "update felix_migrations set sha256 = 'x' where version = 2")
    told = only(look(), "migrations")
    assert "0002_log was edited" in told
    execute(database, "insert into felix_migrations (version, name, sha256, duration_ms) values (999, 'later', 'x', 1)")
    assert "newer than this code: it has 0999_later" in only(look(), "migrations")
    execute(database, "delete from felix_migrations where version > 3")
    assert "pending: 0004_" in only(look(), "migrations")


def test_a_database_without_anything_is_not_changed(postgres_url: str, home: Path, monkeypatch: Any) -> None:
    empty = psycopg.conninfo.make_conninfo(postgres_url, dbname="empty")
    execute(postgres_url, "create database empty")
    use(monkeypatch, empty)
    try:
        assert "are pending: 0001_roles" in only(look(), "migrations")
        with psycopg.connect(empty) as connection:
            assert connection.execute("select to_regclass('felix_migrations')").fetchone() == (None,)
    finally:
        execute(postgres_url, "drop database empty with (force)")


@pytest.mark.parametrize(("partitions", "remedy"), [("2", "export FELIX_PARTITIONS=4"), ("8", "felix migrate")])
def test_partitions_that_nobody_looks_after(
    worker: None, monkeypatch: pytest.MonkeyPatch, partitions: str, remedy: str
) -> None:
    monkeypatch.setenv("FELIX_PARTITIONS", partitions)
    assert remedy in only(look(), "partitions")


def test_read_models_of_another_version(idle: str, database: str) -> None:
    execute(database, "update felix.cursors set version = 99 where projection = 'balances'")
    assert "The tables of balances" in look()["read models"][0].case


def test_no_worker(idle: str) -> None:
    told = only(look(), "worker")
    assert "warning" in told and "No worker is connected" in told


def test_read_models_that_stand_still(felix: CommandLine, idle: str) -> None:
    felix.done("tenants", "add", "Acme Ltd")
    eventually(lambda: "stand still" in look()["worker"][0].case)
    told = only(look(), "worker")
    assert "problem" in told and "tenants" in told and "No worker is connected" in told


def test_a_lagging_read_model_is_named_with_its_distance(worker: None, felix: CommandLine, database: str) -> None:
    felix.done("tenants", "add", "Acme Ltd")
    limits = Limits(disk_low_bytes=0, disk_full_bytes=0, memory_low_bytes=0, lag_events=1_000, stuck_after_s=600)
    # A head that is far away is the same to the doctor as a log that is; the runner stops at the gap.
    execute(database, "update felix.partitions set position = position + 5000 where partition = 1")
    eventually(lambda: "worker" in look(limits))
    assert "events behind in partition 1" in only(look(limits), "worker")


def test_clocks_that_do_not_agree(worker: None, database: str) -> None:
    told = only(look(clock=lambda: datetime.now(UTC) + timedelta(seconds=90)), "clock")
    assert "problem" in told and "90.0 s behind" in told and "timedatectl" in told
    told = only(look(clock=lambda: datetime.now(UTC) - timedelta(seconds=5)), "clock")
    assert "warning" in told and "5.0 s ahead" in told


def test_a_log_from_the_future(worker: None, felix: CommandLine) -> None:
    directory = bootstrap.open_directory(felix.endpoints, partitions=4)
    performer = bootstrap.open_performer(felix.endpoints, directory.partition_of)
    tenant_id = uuid4()
    context = new_context(tenant_id, "early", "founder:a")
    context.at += timedelta(hours=1)
    try:
        directory.pin(tenant_id, "acme", "Acme")
        assert performer.perform_blocking(OnboardTenant(slug="acme", name="Acme"), context).accepted
    finally:
        performer.close()
        directory.close()
    assert "after now" in only(look(), "clock")


def test_a_poisoned_read_model_a_dead_job_and_wrong_books(worker: None, database: str) -> None:
    execute(
        database,
        "insert into felix.poisoned (partition, projection, tenant_id, position, type, error, message, retry_at)"
        " values (0, 'balances', %s, 7, 'ledger.tokens_debited', 'ZeroDivisionError', 'division by zero',"
        " now() + interval '1 day')",
        uuid4(),
    )
    job = (
        "insert into felix.jobs (partition, job_id, kind, payload, due_at, state, max_attempts, origin, finished_at,"
        " result) values (0, %s, %s, '{}', now(), %s, 3, 'test', now(), %s)"
    )
    execute(database, job, uuid4(), "notify", "dead", None)
    execute(database, job, uuid4(), VERIFICATION, "done", '{"violations": 2}')
    found = look()
    assert found.keys() == {"poison", "jobs", "books"}
    assert "balances has stopped for 1 client: ZeroDivisionError" in found["poison"][0].case
    assert "1 job failed as often" in found["jobs"][0].case and "felix jobs retry" in found["jobs"][0].remedy
    assert "2 contradictions" in found["books"][0].case


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that accepts connections and never says anything, as a frozen server does."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening.getsockname()[1]


def test_a_database_that_is_away_or_frozen(home: Path, monkeypatch: pytest.MonkeyPatch, silent: int) -> None:
    use(monkeypatch, "postgresql://felix:hush@127.0.0.1:1/felix")
    told = only(look(), "database")
    assert "does not answer" in told and "refused" in told and "hush" not in told
    use(monkeypatch, f"postgresql://felix@127.0.0.1:{silent}/felix")
    began_at = time.monotonic()
    told = only(look(Limits(disk_low_bytes=0, disk_full_bytes=0, memory_low_bytes=0, answer_timeout_s=1)), "database")
    assert "did not answer within 1 s" in told and time.monotonic() - began_at < 10


def test_a_valkey_that_is_away_or_frozen(worker: None, monkeypatch: pytest.MonkeyPatch, silent: int) -> None:
    monkeypatch.setenv("FELIX_REDIS_URL", "redis://127.0.0.1:1/0")
    assert "can't be reached" in only(look(), "valkey")
    monkeypatch.setenv("FELIX_REDIS_URL", f"redis://127.0.0.1:{silent}/0")
    assert "accepts connections and does not answer" in only(look(), "valkey")


# A Felix that runs.


@pytest.fixture(scope="module")
def running() -> Iterator[RunningFelix]:
    home = Path(tempfile.mkdtemp(prefix="felix-doctor-", dir="/tmp"))
    home.chmod(0o755)
    felix = RunningFelix(home)
    try:
        felix.start()
        yield felix
    finally:
        felix.clean_up()
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def seen(running: RunningFelix, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, list[Finding]]]:
    """What the doctor finds about the Felix that runs."""
    monkeypatch.chdir(running.home)
    for name, value in running.environment.items():
        if name.startswith("FELIX_"):
            monkeypatch.setenv(name, value)
    return look


def test_a_felix_that_runs_well_has_no_finding_and_is_left_as_it_is(running: RunningFelix, seen: Any) -> None:
    def listing() -> list[str]:
        return sorted(str(path) for path in running.data_dir.iterdir())

    eventually(lambda: seen() == {})  # the worker is the last to be there
    before = listing()
    assert seen() == {}
    assert listing() == before
    assert running.felix("doctor", "--json").returncode == 0


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_frozen_worker(running: RunningFelix, seen: Any) -> None:
    with stopped(running.pid_of("worker")):
        running.felix("tenants", "add", "Acme Ltd")
        eventually(lambda: "worker" in seen())
        found = seen()
        assert found.keys() == {"processes", "worker"}
        assert found["processes"][0].remedy == f"kill -CONT {running.pid_of('worker')}"
        assert "stand still" in found["worker"][0].case
    eventually(lambda: seen() == {})


def test_a_dead_worker(running: RunningFelix, seen: Any) -> None:
    with stopped(running.pid_of("supervisor")):  # or there would be another one at once
        killed = running.kill("worker")
        eventually(lambda: "worker" in seen())
        found = [finding.case for finding in seen()["processes"]]
        assert f"The process worker ({killed}) is gone." in found
        assert any("is stopped (state T)" in case for case in found), found
    eventually(lambda: running.processes().get("worker") != killed and seen() == {})


def test_a_frozen_valkey_and_a_frozen_postgres(running: RunningFelix, seen: Any) -> None:
    with stopped(running.pid_of("valkey")):
        found = seen()
        assert "it is frozen" in found["valkey"][0].case
        assert f"valkey ({running.pid_of('valkey')}) is stopped" in found["processes"][0].case
    with stopped(running.pid_of("postgres")):
        found = seen(Limits(disk_low_bytes=0, disk_full_bytes=0, memory_low_bytes=0, answer_timeout_s=1))
        assert "does not answer" in found["database"][0].case
        assert f"postgres ({running.pid_of('postgres')}) is stopped" in found["processes"][0].case
    eventually(lambda: seen() == {})


def test_a_database_directory_that_was_opened(running: RunningFelix, seen: Any) -> None:
    eventually(lambda: seen() == {})
    place = running.data_dir / "pgdata"
    place.chmod(0o755)
    try:
        assert f"chmod 700 {place}" in only(seen(), "data directory")
    finally:
        place.chmod(0o700)


def test_servers_that_outlived_their_supervisor(running: RunningFelix, seen: Any) -> None:
    postgres = running.pid_of("postgres")
    running.kill("supervisor")
    assert running.process is not None
    running.process.wait()
    found = seen()
    assert {"leftovers", "processes"} <= found.keys()
    assert any(f"postgres ({postgres}) runs" in finding.case for finding in found["processes"]), found
