"""Starts, kills and restarts real servers; nothing is mocked."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
import redis

from felix.embedded import (
    DirectoryInUse,
    EmbeddedPostgres,
    PostgresAddress,
    PostgresSettings,
    StartCancelled,
    Supervisor,
    throwaway_postgres,
)
from felix.embedded.processes import is_alive, processes_in

Sql = Callable[[PostgresAddress, str], str]
Make = Callable[..., Supervisor]
Run = Callable[[str, Path], "subprocess.Popen[str]"]


def valkey(supervisor: Supervisor) -> redis.Redis:
    return redis.Redis.from_url(supervisor.addresses.valkey.url)


def test_a_first_start_makes_servers_that_answer_only_on_private_sockets(
    data_dir: Path, make_supervisor: Make, sql: Sql
) -> None:
    addresses = make_supervisor(data_dir).start()
    with psycopg.connect(addresses.postgres.url("postgres")) as connection:
        row = connection.execute(
            """select current_setting('listen_addresses'), current_setting('data_checksums'),
                      current_setting('server_encoding'), current_setting('TimeZone'),
                      current_setting('unix_socket_permissions'), current_setting('synchronous_commit'),
                      (select datlocprovider::text || datlocale from pg_database where datname = 'postgres'),
                      (select rolpassword like 'SCRAM%' from pg_authid where rolname = 'felix')"""
        ).fetchone()
    assert row == ("", "on", "UTF8", "UTC", "0700", "on", "bC.UTF-8", True)
    with redis.Redis.from_url(addresses.valkey.url) as client:
        settings = client.config_get("port", "appendonly", "appendfsync", "maxmemory-policy")
    assert settings == {
        "port": "0", "appendonly": "yes", "appendfsync": "everysec", "maxmemory-policy": "noeviction",
    }  # fmt: skip
    assert addresses.postgres.socket_dir.stat().st_mode & 0o777 == 0o700
    assert (data_dir / "postgres-password").stat().st_mode & 0o777 == 0o600


def test_a_wrong_password_is_refused(data_dir: Path, make_supervisor: Make) -> None:
    address = make_supervisor(data_dir).start().postgres
    with pytest.raises(psycopg.OperationalError, match="authentication failed"):
        psycopg.connect(address.url("postgres").replace(address.password, "guess"))


def test_a_restart_on_an_existing_directory_keeps_the_data(data_dir: Path, make_supervisor: Make, sql: Sql) -> None:
    first = make_supervisor(data_dir)
    sql(first.start().postgres, "create table kept as select 42 as answer")
    with valkey(first) as client:
        client.set("kept", "42")
    first.stop()
    second = make_supervisor(data_dir)
    assert sql(second.start().postgres, "select answer from kept") == "42"
    with valkey(second) as client:
        assert client.get("kept") == b"42"


def test_a_second_supervisor_on_a_live_directory_is_refused(data_dir: Path, make_supervisor: Make) -> None:
    first = make_supervisor(data_dir)
    first.start()
    with pytest.raises(DirectoryInUse, match=f"by the Felix process {os.getpid()}") as refused:
        make_supervisor(data_dir).start()
    assert refused.value.pid == os.getpid()
    assert first.postgres.running and first.valkey.running


def test_a_killed_postmaster_comes_back_with_all_committed_data(
    data_dir: Path, make_supervisor: Make, sql: Sql
) -> None:
    lines: list[str] = []
    supervisor = make_supervisor(data_dir)
    supervisor._on_line = lines.append
    address = supervisor.start().postgres
    sql(address, "create table kept as select generate_series(1, 1000) as n")
    os.kill(supervisor.postgres.pid, signal.SIGKILL)
    os.waitid(os.P_PID, supervisor.postgres.pid, os.WEXITED | os.WNOWAIT)
    assert supervisor.check() == ["postgres"]
    assert sql(address, "select count(*) from kept") == "1000"
    assert supervisor.check() == []
    assert any("exit code -9" in line for line in lines) and any("is back after" in line for line in lines)


def test_a_backend_that_outlives_its_postmaster_does_not_keep_the_server_down(
    data_dir: Path, make_supervisor: Make, sql: Sql, eventually: Callable[..., None]
) -> None:
    supervisor = make_supervisor(data_dir)
    address = supervisor.start().postgres
    with closing(psycopg.connect(address.url("postgres"), autocommit=True)) as connection:
        backend = connection.info.backend_pid
        connection.pgconn.send_query(b"do $$ begin loop end loop; end $$")
        eventually(lambda: sql(address, f"select state from pg_stat_activity where pid = {backend}") == "active")
        os.kill(supervisor.postgres.pid, signal.SIGKILL)
        os.waitid(os.P_PID, supervisor.postgres.pid, os.WEXITED | os.WNOWAIT)
        assert is_alive(backend)
        assert supervisor.check() == ["postgres"]
        assert not is_alive(backend)
    assert sql(address, "select 1") == "1"


def test_a_killed_valkey_comes_back_with_its_keys(data_dir: Path, make_supervisor: Make) -> None:
    supervisor = make_supervisor(data_dir)
    supervisor.start()
    with valkey(supervisor) as client:
        client.rpush("queue", *range(500))
    os.kill(supervisor.valkey.pid, signal.SIGKILL)
    os.waitid(os.P_PID, supervisor.valkey.pid, os.WEXITED | os.WNOWAIT)
    assert supervisor.check() == ["valkey"]
    with valkey(supervisor) as client:
        assert client.llen("queue") == 500


def test_watching_brings_back_what_dies_until_a_stop_is_requested(
    data_dir: Path, make_supervisor: Make, eventually: Callable[..., None]
) -> None:
    supervisor = make_supervisor(data_dir)
    supervisor.start()
    watch = threading.Thread(target=supervisor.watch)
    watch.start()
    killed = supervisor.valkey.pid
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: supervisor.valkey.pid != killed and supervisor.valkey.running)
    supervisor.request_stop()
    watch.join(timeout=5)
    assert not watch.is_alive()


def test_the_servers_of_a_killed_supervisor_are_adopted_and_then_stopped(
    data_dir: Path, make_supervisor: Make, felix_process: Run, sql: Sql
) -> None:
    script = "supervisor.start(); print(supervisor.postgres.pid, supervisor.valkey.pid, flush=True); time.sleep(60)"
    process = felix_process(script, data_dir)
    assert process.stdout is not None
    pids = [int(part) for part in process.stdout.readline().split()]
    with pytest.raises(DirectoryInUse) as refused:
        make_supervisor(data_dir).start()
    assert refused.value.pid == process.pid
    process.kill()
    process.wait()
    supervisor = make_supervisor(data_dir)
    address = supervisor.start().postgres
    assert [supervisor.postgres.pid, supervisor.valkey.pid] == pids
    assert supervisor.postgres.adopted and supervisor.valkey.adopted
    assert sql(address, "select 1") == "1"
    assert supervisor.check() == []
    os.kill(supervisor.valkey.pid, signal.SIGKILL)
    while is_alive(pids[1]):
        pass
    assert supervisor.check() == ["valkey"]
    supervisor.stop()
    assert not any(is_alive(pid) for pid in pids)


def test_an_adopted_server_that_is_not_owned_is_left_running(data_dir: Path) -> None:
    settings = PostgresSettings(data_dir, durable=False)
    starter, guest = EmbeddedPostgres(settings), EmbeddedPostgres(settings)
    starter.start()
    guest.start()
    assert guest.adopted and guest.pid == starter.pid
    guest.stop()
    assert starter.poll() is None
    starter.stop()
    assert starter.poll() is None and not processes_in(data_dir / "pgdata", "postgres")


def test_a_stop_leaves_no_process_and_no_socket(data_dir: Path, make_supervisor: Make) -> None:
    supervisor = make_supervisor(data_dir)
    run = supervisor.start().postgres.socket_dir
    pids = [supervisor.postgres.pid, supervisor.valkey.pid, *processes_in(data_dir / "pgdata", "postgres")]
    assert len(pids) > 5
    assert all(os.getsid(pid) != os.getsid(0) for pid in pids), "a terminal's Ctrl-C would reach them"
    supervisor.stop()
    assert not any(is_alive(pid) for pid in pids)
    assert list(run.iterdir()) == []
    log = (data_dir / "logs" / "postgres.log").read_text()
    assert "database system is shut down" in log


def test_a_requested_stop_ends_a_start_that_still_waits(data_dir: Path, make_supervisor: Make) -> None:
    supervisor = make_supervisor(data_dir)
    timer = threading.Timer(0.1, supervisor.request_stop)
    timer.start()
    with pytest.raises(StartCancelled):
        supervisor.start()
    assert not supervisor.postgres.running
    make_supervisor(data_dir).start()


def test_the_servers_do_not_inherit_felix_secrets(
    data_dir: Path, make_supervisor: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FELIX_STRIPE_KEY", "sk_test_canary")
    supervisor = make_supervisor(data_dir)
    supervisor.start()
    for pid in (supervisor.postgres.pid, supervisor.valkey.pid):
        assert b"canary" not in Path(f"/proc/{pid}/environ").read_bytes()


def test_a_throwaway_server_is_gone_afterwards() -> None:
    with throwaway_postgres({"work_mem": "8MB"}) as address:
        with psycopg.connect(address.url("postgres")) as connection:
            assert connection.execute("show work_mem").fetchone() == ("8MB",)
        data_dir = address.socket_dir.parent
    assert not data_dir.exists()


def test_what_a_killed_test_process_left_is_cleared_away(eventually: Callable[..., None]) -> None:
    code = "from felix.embedded import throwaway_postgres as t\nwith t(): print('runs', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as killed:
        assert killed.stdout is not None and killed.stdout.readline() == b"runs\n"
        killed.kill()
    (left,) = Path(tempfile.gettempdir()).glob(f"felix-throwaway-{killed.pid}-*")
    postmaster = int((left / "pgdata" / "postmaster.pid").read_text().split()[0])
    assert is_alive(postmaster)
    with throwaway_postgres():
        eventually(lambda: not is_alive(postmaster))
    assert not left.exists()
