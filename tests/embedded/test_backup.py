"""Makes backups of real servers under load, breaks what was stored, and restores: precisely the rows of the moment."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from felix.embedded import EmbeddedPostgres, PostgresSettings, archive, backup
from felix.embedded.archive import LEAVE_FREE_KIB, SCRIPT, archiving_to, every_segment, segment_name, segments_in
from felix.embedded.backup import Kind, finish_archive, take_backup, verify_backup
from felix.embedded.backup_store import Backup, BackupStore
from felix.embedded.errors import BackupDamaged, BackupFailed, BackupRunning, DataDirUnusable, NotRestorable, NotRunning
from felix.embedded.live_postgres import LivePostgres
from felix.embedded.placement import check_empty, cleared, held
from felix.embedded.processes import is_alive, processes_in
from felix.embedded.restore import plan_restore, restore
from felix.embedded.workspace import Workspace

SOURCE = Path(__file__).parents[2] / "src"


class Server:
    """A Postgres with a table of numbers, and its backups."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.postgres = EmbeddedPostgres(PostgresSettings(data_dir, durable=False))
        self.url = self.postgres.start().url("postgres")
        self.live = LivePostgres.find(data_dir)
        self.store = BackupStore(data_dir / "backups")
        self.store.prepare(self.live.programs.account)
        self.do("create table if not exists numbers (n int primary key)")

    def begin(self, backups: Path) -> None:
        """Use another directory for backups, and archive nothing until there is one."""
        archive.stop_archiving(self.data_dir)
        self.store = BackupStore(backups)
        self.store.prepare(self.live.programs.account)

    def do(self, sql: str) -> datetime:
        """Run a statement; a moment after its commit and before any later one."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(sql)
            row = connection.execute("select clock_timestamp()").fetchone()
        assert row is not None
        at: datetime = row[0]
        return at

    def add(self, first: int, last: int) -> datetime:
        """Store numbers."""
        return self.do(f"insert into numbers select generate_series({first}, {last})")

    def back_up(self, kind: Kind = "auto") -> Backup:
        """Make a backup."""
        with self.store.locked() as lock:
            return take_backup(self.live, self.store, lock=lock, kind=kind)

    def restored(self, at: datetime | None, *, unarchived: Path | None = None) -> list[int]:
        """The numbers as they were at a moment, in a database beside this one."""
        plan = plan_restore(self.live.programs, self.store, at, unarchived=unarchived)
        with cleared(self.data_dir / "restoring") as scratch:
            made = restore(
                plan,
                self.live.programs,
                scratch,
                keys=self.store.keys_of(plan.backup),
                progress=lambda *said: None,
                durable=False,
            )
            try:
                with psycopg.connect(made.address.url("postgres")) as connection:
                    return [row[0] for row in connection.execute("select n from numbers order by n")]
            finally:
                made.postgres.stop()

    def archived(self) -> list[int]:
        """The numbers of the archived segments."""
        return segments_in(self.store.archive, 1)


@pytest.fixture(scope="module")
def shared() -> Iterator[Server]:
    """A server in a directory with a name that a shell would stumble over."""
    home = Path(tempfile.mkdtemp(prefix="felix-backup-", dir="/tmp"))
    home.chmod(0o755)
    made = Server(home / 'o\'dd %f "name"')
    yield made
    made.postgres.stop()
    shutil.rmtree(home)


@pytest.fixture
def server(shared: Server, request: pytest.FixtureRequest) -> Server:
    """The server of this file with an empty table and no backups."""
    shared.do("truncate numbers")
    shared.begin(shared.data_dir / f"backups of {request.node.name}")
    return shared


@pytest.fixture
def own(place: Path) -> Iterator[Server]:
    """A server that may be killed."""
    made = Server(place / "data")
    yield made
    made.postgres.stop()


@contextmanager
def writing(server: Server) -> Iterator[list[int]]:
    """Commit one number after the other; the list has those that were acknowledged."""
    done: list[int] = []
    stopping = threading.Event()

    def write() -> None:
        with psycopg.connect(server.url, autocommit=True) as connection:
            number = 10_000
            while not stopping.is_set():
                connection.execute("insert into numbers values (%s)", (number,))
                done.append(number)
                number += 1

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield done
    finally:
        stopping.set()
        thread.join()


def flip_bit(path: Path, offset: int) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)


def test_a_moment_between_two_commits_comes_back_and_nothing_later(server: Server) -> None:
    server.add(1, 100)
    with writing(server) as done:
        made = server.back_up()
        assert made.kind == "full" and done, "the server goes on meanwhile"
    at = server.add(101, 200)
    server.add(201, 300)
    server.do("delete from numbers where n <= 100")
    finish_archive(server.live, server.store)
    assert server.restored(at) == [*range(1, 201), *done]
    assert server.restored(None) == [*range(101, 301), *done]


def test_incremental_backups_build_on_each_other(server: Server) -> None:
    server.add(1, 5000)
    full = server.back_up()
    server.add(5001, 5100)
    second = server.back_up()
    between = server.add(5101, 5200)
    finish_archive(server.live, server.store)
    third = server.back_up("incremental")
    assert [each.kind for each in server.store.chain(third)] == ["full", "incremental", "incremental"]
    assert (second.parent, third.parent) == (full.id, second.id)
    server.do("delete from numbers where n % 2 = 0")
    finish_archive(server.live, server.store)
    assert server.restored(between) == list(range(1, 5201))
    assert server.restored(None) == list(range(1, 5201, 2))
    # An old full backup is not built on for ever.
    path = server.store.base / full.id / "backup.json"
    path.write_text(json.dumps(full.as_document() | {"started_at": "2020-01-01T00:00:00+00:00"}))
    assert server.back_up().kind == "full"


def test_without_a_backup_nothing_is_archived(server: Server) -> None:
    server.add(1, 10)
    server.live.query("select pg_switch_wal()")
    assert server.live.query("select archived_count >= 0 from pg_stat_archiver") == ["t"]
    assert archiving_to(server.data_dir) is None and server.archived() == []
    with pytest.raises(NotRestorable, match="there are no backups"):
        plan_restore(server.live.programs, server.store, None)
    server.back_up()
    assert archiving_to(server.data_dir) == server.store.archive and server.archived()


def test_the_archive_survives_kill_9_and_so_does_what_was_not_archived(own: Server) -> None:
    own.add(1, 10)
    own.back_up()
    with writing(own) as done:
        while len(done) < 50:
            pass
    own.add(11, 20)
    os.kill(own.postgres.pid, signal.SIGKILL)
    os.waitid(os.P_PID, own.postgres.pid, os.WEXITED | os.WNOWAIT)
    own.postgres.poll()
    acknowledged = [*range(1, 21), *done]
    lost_disk = own.restored(None)
    assert lost_disk == list(range(1, 11)), "the control: without its data directory, the last segment is lost"
    assert own.restored(None, unarchived=own.data_dir / "pgdata" / "pg_wal") == acknowledged
    again = Server(own.data_dir)
    try:
        finish_archive(again.live, again.store)
        assert again.restored(None) == acknowledged
    finally:
        again.postgres.stop()


def test_a_killed_backup_counts_for_nothing_and_the_next_one_clears_it_away(
    server: Server, eventually: Callable[..., None]
) -> None:
    server.add(1, 10)
    script = (
        "import sys, time\nfrom pathlib import Path\n"
        "from felix.embedded.backup import take_backup\n"
        "from felix.embedded.backup_store import BackupStore\n"
        "from felix.embedded.live_postgres import LivePostgres\n"
        "live = LivePostgres.find(Path(sys.argv[1])); store = BackupStore(Path(sys.argv[2]))\n"
        "with store.locked() as lock:\n"
        "    take_backup(live, store, lock=lock, on_percent=lambda _: (print('half', flush=True), time.sleep(60)))"
    )
    killed = subprocess.Popen(
        [sys.executable, "-c", script, str(server.data_dir), str(server.store.directory)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(SOURCE), *sys.path])},
        stdout=subprocess.PIPE,
    )
    assert killed.stdout is not None and killed.stdout.readline()
    with pytest.raises(BackupRunning, match=f"process {killed.pid} works on the backups"):
        server.back_up()
    killed.kill()
    killed.wait()
    killed.stdout.close()
    assert list(server.store.base.glob("*.partial")), "the control: something was left behind"
    assert server.store.backups() == []
    server.back_up()
    assert [path.name for path in server.store.base.iterdir()] == [server.store.backups()[0].id]
    assert server.restored(None) == list(range(1, 11))


def test_a_flipped_bit_in_a_backup_is_found(server: Server) -> None:
    server.add(1, 1000)
    made = server.back_up()
    verify_backup(server.live.programs, server.store, made)
    row = server.live.query("select pg_relation_filepath('numbers')")
    flip_bit(server.store.data_of(made) / row[0], 4000)
    with pytest.raises(BackupDamaged, match=f'checksum mismatch for file "{row[0]}"'):
        verify_backup(server.live.programs, server.store, made)
    with pytest.raises(BackupDamaged):
        server.restored(None)
    assert not (server.data_dir / "restoring").exists()


def test_a_missing_segment_is_named_and_what_comes_before_it_is_possible(server: Server) -> None:
    made = server.back_up()
    for first in (1, 11, 21):
        finish_archive(server.live, server.store)
        at = server.add(first, first + 9)
        finish_archive(server.live, server.store)
        if first == 11:
            before, missing = at, server.archived()[-1] + 1
    name = segment_name(1, missing)
    assert server.restored(None) == list(range(1, 31)), "the control: with the segment everything comes back"
    (server.store.archive / name).rename(server.data_dir / name)
    for wanted in (None, at):
        with pytest.raises(NotRestorable, match=f"the segment {name} of the log is missing"):
            server.restored(wanted)
    assert server.restored(before) == list(range(1, 21))
    later = server.back_up("full")
    assert later.id != made.id and server.restored(None) == list(range(1, 31)), "a later backup is not in need of it"


@pytest.mark.parametrize("which", [pytest.param("in the middle", marks=pytest.mark.deep), "the last"])
def test_a_damaged_segment_is_no_end_of_the_log(server: Server, which: str) -> None:
    server.back_up()
    for first in (1, 11, 21):
        server.add(first, first + 9)
        finish_archive(server.live, server.store)
    first = server.archived()[-3 if which == "in the middle" else -1]
    flip_bit(server.store.archive / segment_name(1, first), 200)
    with pytest.raises(BackupDamaged, match=segment_name(1, first)):
        server.restored(None)


def test_a_moment_that_nothing_leads_to_is_refused_with_the_possible_range(server: Server) -> None:
    early = server.add(1, 10)
    made = server.back_up()
    with pytest.raises(NotRestorable, match="before the oldest backup") as refused:
        server.restored(early)
    assert f"{made.stopped_at:%H:%M:%S.%f}" in refused.value.hint
    until = server.add(11, 20)
    with pytest.raises(NotRestorable, match="after the last commit that was archived") as refused:
        server.restored(until)
    assert f"{made.stopped_at:%H:%M:%S.%f}" in refused.value.hint
    with pytest.raises(NotRestorable, match="is in the future"):
        server.restored(datetime.now(UTC) + timedelta(minutes=1))
    with pytest.raises(NotRestorable, match="there is no backup yesterday"):
        plan_restore(server.live.programs, server.store, None, backup_id="yesterday")
    second = server.back_up()
    with pytest.raises(NotRestorable, match="before the end of that backup"):
        plan_restore(server.live.programs, server.store, until, backup_id=second.id)
    assert server.restored(until) == list(range(1, 21))


def test_pruning_keeps_what_a_kept_backup_needs(server: Server) -> None:
    made = []
    for number, kind in enumerate(("full", "incremental", "full", "incremental", "incremental")):
        server.add(10 * number, 10 * number + 9)
        made.append(server.back_up(kind))  # type: ignore[arg-type]
    now = datetime.now(UTC)
    with server.store.locked():
        assert server.store.to_prune(keep=5, keep_days=None, now=now) == []
        assert server.store.to_prune(keep=1, keep_days=1, now=now) == []
        # What any moment since the fourth can be restored from begins with the third.
        since = (now - made[3].stopped_at).total_seconds() / 86400
        assert server.store.to_prune(keep=None, keep_days=since, now=now) == made[:2]
        chosen = server.store.to_prune(keep=1, keep_days=None, now=now)
        assert chosen == made[:2], "the newest one needs the second full one and what is between"
        assert server.store.remove(chosen) > 0
    assert server.store.backups() == made[2:]
    assert min(number for _, _, number in every_segment(server.store.archive)) == made[2].start_lsn // 2**24
    assert {path.name for path in server.store.keys.iterdir()} == {each.id for each in made[2:]}
    assert server.restored(None) == list(range(50))
    with server.store.locked():
        server.store.remove(server.store.to_prune(keep=None, keep_days=0, now=now + timedelta(days=1)))
    assert server.store.backups() == made[2:], "the newest one always stays"


def test_two_at_once_are_one_too_many(server: Server) -> None:
    server.back_up()
    with server.store.locked(), pytest.raises(BackupRunning, match=f"process {os.getpid()} works on the backups"):
        server.back_up()
    server.back_up()


@pytest.mark.deep
def test_backups_of_two_databases_are_not_mixed(server: Server, own: Server) -> None:
    server.back_up()
    own.store = server.store
    with pytest.raises(BackupFailed, match="of another database"):
        own.back_up()


def test_a_directory_that_can_not_be_used_is_named(server: Server, place: Path) -> None:
    closed = place / "closed"
    closed.mkdir(mode=0o700 if os.geteuid() == 0 else 0o500)
    try:
        with pytest.raises(DataDirUnusable, match="closed"):
            BackupStore(closed / "backups").prepare(server.live.programs.account)
    finally:
        closed.chmod(0o700)


def test_an_archive_that_takes_nothing_is_no_backup(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup, "ARCHIVED_WITHIN_S", 0.5)
    server.back_up()
    server.store.archive.rename(server.store.archive.with_name("unplugged"))
    with pytest.raises(BackupFailed, match="was not archived") as refused:
        finish_archive(server.live, server.store)
    assert "postgres.log" in refused.value.hint
    server.store.archive.with_name("unplugged").rename(server.store.archive)
    monkeypatch.undo()
    finish_archive(server.live, server.store)


def test_a_server_that_is_away_is_named(place: Path) -> None:
    with pytest.raises(NotRunning, match="does not run in"):
        LivePostgres.find(place / "nowhere")
    assert not (place / "nowhere").exists()


def test_secrets_are_kept_apart_and_for_their_owner_only(server: Server) -> None:
    (server.data_dir / "founder-key").write_text("fx_live_secret\n")
    made = server.back_up()
    kept = server.store.keys_of(made)
    assert {path.name for path in kept.iterdir()} == {"postgres-password", "founder-key"}
    for path in (kept, *kept.iterdir()):
        assert path.stat().st_mode & 0o077 == 0 and path.stat().st_uid == os.geteuid()
    assert not any(path.name in ("founder-key", "postgres-password") for path in server.store.base.rglob("*"))


@pytest.mark.deep
def test_a_restore_that_was_killed_leaves_nothing_in_the_way(server: Server) -> None:
    server.add(1, 10)
    server.back_up()
    plan = plan_restore(server.live.programs, server.store, None)
    scratch = server.data_dir / "restoring"
    made = restore(
        plan,
        server.live.programs,
        scratch,
        keys=server.store.keys_of(plan.backup),
        progress=lambda *said: None,
        durable=False,
    )
    left = made.postgres.pid  # a killed Felix leaves its server running
    assert processes_in(scratch / "pgdata", "postgres")
    assert server.restored(None) == list(range(1, 11))
    assert made.postgres.poll() is not None and not is_alive(left) and not scratch.exists()


def test_only_an_empty_directory_is_restored_into(place: Path) -> None:
    check_empty(place / "new")
    check_empty(place)
    with held(place / "failed") as scratch, pytest.raises(ZeroDivisionError):
        scratch.mkdir()
        raise ZeroDivisionError
    check_empty(place / "failed")
    (place / "failed" / "notes").touch()
    for taken in (place / "failed", place / "failed" / "notes"):
        with pytest.raises(DataDirUnusable):
            check_empty(taken)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root works in the directories of others")
def test_what_root_makes_in_the_directory_of_a_user_is_the_users(own: Server, place: Path) -> None:
    home = place / "home"
    home.mkdir(mode=0o711)
    os.chown(home, 4711, 4711)
    own.store = BackupStore(home / "backups")
    own.store.prepare(own.live.programs.account)
    made = own.back_up()
    kept = own.store.keys_of(made)
    for path in (own.store.directory, own.store.keys, kept, *kept.iterdir(), own.store.directory / "backup.lock"):
        assert path.stat().st_uid == 4711, path
    for path in (own.store.base, own.store.archive, own.store.base / made.id):
        assert path.stat().st_uid == own.live.programs.account.uid, path


class Archiving:
    """The script as Postgres calls it."""

    def __init__(self, home: Path) -> None:
        self.home = home / "archiving 'x'"
        self.archive = home / 'archive $HOME "y"'
        for path in (self.home, self.archive):
            path.mkdir()
        (self.home / "to").write_text(f"{self.archive}\n")
        self.segment = home / "0000000100000000000000AB"
        self.segment.write_bytes(os.urandom(1000) + bytes(100_000))

    def __call__(self, leave_free_kib: int = 0) -> int:
        script = self.home / "archive.sh"
        script.write_text(SCRIPT)
        arguments = [self.segment, self.segment.name, self.home, str(leave_free_kib)]
        return subprocess.run(
            ["/bin/sh", script, *arguments], cwd=self.home, capture_output=True, timeout=20
        ).returncode

    @property
    def stored(self) -> Path:
        return self.archive / self.segment.name


@pytest.fixture
def archiving(tmp_path: Path) -> Archiving:
    return Archiving(tmp_path)


def test_a_segment_is_archived_once_and_never_replaced_by_another(archiving: Archiving) -> None:
    assert archiving() == 0 and archiving.stored.read_bytes() == archiving.segment.read_bytes()
    assert archiving() == 0, "Postgres asks again after a crash"
    stored = archiving.stored.read_bytes()
    flip_bit(archiving.segment, 500)
    assert archiving() == 1 and archiving.stored.read_bytes() == stored
    assert [path.name for path in archiving.archive.iterdir()] == [archiving.segment.name]


def test_a_torn_copy_of_a_killed_archiver_is_replaced(archiving: Archiving) -> None:
    archiving.stored.with_name(archiving.stored.name + ".partial").write_bytes(b"torn")
    assert archiving() == 0 and archiving.stored.read_bytes() == archiving.segment.read_bytes()
    assert list(archiving.archive.iterdir()) == [archiving.stored]


def test_a_place_that_is_away_is_tried_again_and_not_forgotten(archiving: Archiving) -> None:
    archiving.archive.rename(archiving.archive.with_name("unplugged"))
    assert archiving() != 0 and (archiving.home / "to").exists()


def test_the_archive_ends_before_the_disk_does(archiving: Archiving) -> None:
    assert archiving(leave_free_kib=2**50) == 0
    assert not archiving.stored.exists() and not (archiving.home / "to").exists()
    assert archive.archiving_stopped_before(archiving.home.with_name("x").parent) is None
    assert (archiving.home / "stopped").read_text().strip() == archiving.segment.name
    assert archiving() == 0 and not archiving.stored.exists(), "nothing is archived from then on"
    assert LEAVE_FREE_KIB * 1024 > 16 * archive.SEGMENT_BYTES


def test_a_directory_with_a_line_break_is_refused(place: Path) -> None:
    with pytest.raises(DataDirUnusable, match="line break"):
        archive.start_archiving(Workspace(place), place / "two\nlines")


def test_a_backup_survives_its_document(server: Server) -> None:
    made = server.back_up()
    assert Backup.from_document(made.as_document()) == made == server.store.backups()[0]
    assert replace(made, id="other") != made
    (server.store.base / made.id / "backup.json").write_text("{}")
    with pytest.raises(BackupDamaged, match=r"backup\.json can't be read"):
        server.store.backups()
