"""Makes a database from a backup and the archived log, as it was at a moment, in a directory of its own.

A plan is made first, from what is there: which backups, which segments of the log, up to which commit. What can't be
reached is refused before anything is written, with the name of what is missing.
"""

import os
import re
import shlex
import shutil
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from felix.embedded.archive import last_commit, segment_name, segment_of, segments_in
from felix.embedded.backup import verify_backup
from felix.embedded.backup_store import ERASURE_KEY_FILE, KEY_FILES, Backup, BackupStore, lsn
from felix.embedded.errors import (
    BackupDamaged,
    BackupFailed,
    EmbeddedError,
    NotRestorable,
    ServiceDidNotStart,
)
from felix.embedded.postgres import EmbeddedPostgres, PostgresAddress, PostgresSettings
from felix.embedded.programs import Programs
from felix.embedded.workspace import Workspace

LOOK_EVERY_S = 0.2
PLAYBACK_TIMEOUT_S = 24 * 3600.0
UNREACHED = "recovery ended before configured recovery target was reached"
#: What a whole segment may end with: a record that goes on in the next one, which is not there.
GOES_ON = re.compile(r"could not (find|open|read) file|could not find a valid record")
_REDO_DONE = re.compile(r"redo done at ([0-9A-F]+/[0-9A-F]+)")
_LAST_COMMIT = re.compile(r"last completed transaction was at log time (\S+ \S+?)\+00")

#: What is being done, how much of it, and of how much; 0 when that is not known.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Plan:
    """How a moment is reached. `at` None means everything there is; `until` is the last commit that is known of."""

    store: BackupStore
    chain: list[Backup]
    at: datetime | None
    until: datetime
    segments: list[str]
    unarchived: Path | None

    @property
    def backup(self) -> Backup:
        """The newest backup of the chain."""
        return self.chain[-1]


@dataclass(frozen=True)
class Restored:
    """A database that runs where it was restored, and the moment of the last commit in it that the log names."""

    postgres: EmbeddedPostgres
    address: PostgresAddress
    last_commit_at: datetime | None


def plan_restore(
    programs: Programs,
    store: BackupStore,
    at: datetime | None,
    *,
    backup_id: str | None = None,
    unarchived: Path | None = None,
) -> Plan:
    """Choose the newest backup that was complete at the moment, and follow the log from there.

    `unarchived` is the pg_wal of a server that is gone, whose last segments nobody archived. Raises NotRestorable.
    """
    found = store.backups()
    if not found:
        raise NotRestorable(f"there are no backups in {store.directory}", "Make one with `felix backup`.")
    if at is not None and at > datetime.now(UTC):
        raise NotRestorable(f"{moment_text(at)} is in the future", "Use --to latest for everything there is.")
    if backup_id is not None:
        chosen = [backup for backup in found if backup.id == backup_id]
        if not chosen:
            raise NotRestorable(f"there is no backup {backup_id} in {store.directory}", "felix backup list shows all.")
    else:
        chosen = [backup for backup in found if at is None or backup.stopped_at <= at]
    if not chosen or (at is not None and at < chosen[-1].stopped_at):
        first = chosen[-1] if chosen else found[0]
        raise NotRestorable(
            f"{moment_text(at)} is before the {'end of that' if chosen else 'oldest'} backup",
            f"The earliest possible moment is {moment_text(first.stopped_at)}.",
        )
    backup = chosen[-1]
    chain = store.chain(backup)
    segments, missing = _segments(store, backup, unarchived)
    until = _until(programs, store, backup, segments, unarchived, complete=missing is None)
    if missing is not None and (at is None or at > until):
        raise NotRestorable(
            f"the segment {missing} of the log is missing in {store.archive}",
            f"Put it back, or restore a moment from {moment_text(backup.stopped_at)} to {moment_text(until)}.",
        )
    if at is not None and at > until:
        raise NotRestorable(
            f"{moment_text(at)} is after the last commit that was archived",
            f"Possible is {moment_text(found[0].stopped_at)} to {moment_text(until)}; --to latest is the last of it.",
        )
    return Plan(store, chain, at, until, segments, unarchived)


def restore(
    plan: Plan, programs: Programs, scratch: Path, *, keys: Path, progress: Progress, durable: bool = True
) -> Restored:
    """Make the database in the new directory `scratch`, play the log back to the moment, and leave it running.

    `keys` is the directory with the password; `durable` False is for tests. Raises BackupDamaged, NotRestorable and
    BackupFailed.
    """
    for number, backup in enumerate(plan.chain):
        progress("verifying the backup", number, len(plan.chain))
        verify_backup(programs, plan.store, backup)
    _lay_out(plan, programs, scratch, keys, progress, durable=durable)
    cancelled = threading.Event()
    postgres = EmbeddedPostgres(
        PostgresSettings(scratch, settings=_settings(plan), durable=durable), cancelled=cancelled
    )
    log = Workspace(scratch).log_path("postgres")
    try:
        address = _play_back(postgres, cancelled, log, len(plan.segments), progress)
        played = log.read_text(errors="replace")
        _check_end(plan, played)
    except BaseException:
        postgres.stop()
        raise
    commits = _LAST_COMMIT.findall(played)
    return Restored(postgres, address, datetime.fromisoformat(f"{commits[-1]}+00:00") if commits else None)


def _segments(store: BackupStore, backup: Backup, unarchived: Path | None) -> tuple[list[str], str | None]:
    """The archived segments that follow the backup without a gap, and the first that is missing before others."""
    timeline, first = backup.timeline, segment_of(backup.stop_lsn - 1) + 1
    there = {number for number in segments_in(store.archive, timeline) if number >= first}
    beyond = max(there, default=first - 1)
    if unarchived is not None:
        there |= {number for number in segments_in(unarchived, timeline) if first <= number}
    number = first
    while number in there and number <= beyond:
        number += 1
    names = [segment_name(timeline, each) for each in range(first, number)]
    return names, segment_name(timeline, number) if number <= beyond else None


def _until(
    programs: Programs,
    store: BackupStore,
    backup: Backup,
    segments: list[str],
    unarchived: Path | None,
    *,
    complete: bool,
) -> datetime:
    """The last commit that can be restored. Raises BackupDamaged when the last segment can't be read to its end."""
    until = None
    for place, name in enumerate(reversed(segments)):
        path = store.archive / name
        at, problem = last_commit(programs, path if path.exists() else (unarchived or store.archive) / name)
        if place == 0 and problem and not GOES_ON.search(problem):
            raise BackupDamaged(
                f"the segment {name} of the log is damaged:\n{problem}",
                "Restore an earlier moment, or make a new backup if Felix still runs.",
            )
        if at is not None:
            until = at
            break
    if complete and unarchived is not None:
        number = segment_of(backup.stop_lsn - 1) + 1 + len(segments)
        while (path := unarchived / segment_name(backup.timeline, number)).exists():
            at, _ = last_commit(programs, path)
            if at is None:
                break  # one that was kept for later use, with what it held before
            until, number = at, number + 1
    return max(until or backup.stopped_at, backup.stopped_at)


def _lay_out(plan: Plan, programs: Programs, scratch: Path, keys: Path, progress: Progress, *, durable: bool) -> None:
    """Put the files of the database and the secrets where a server finds them."""
    needed = sum(backup.size_bytes for backup in plan.chain)
    free = shutil.disk_usage(scratch.parent).free
    if free < needed:
        raise BackupFailed(
            f"a restore takes about {needed / 1e6:,.0f} MB, and {scratch.parent} has {free / 1e6:,.0f} MB free",
            "Free the disk, or restore to another one.",
        )
    scratch.mkdir(mode=0o711 if programs.account.switch else 0o700)
    place = scratch / "pgdata"
    place.mkdir(mode=0o700)
    if programs.account.switch:
        os.chown(place, programs.account.uid, programs.account.gid)
    copy_keys(keys, scratch)
    copy_erasure_key((keys / ERASURE_KEY_FILE, plan.store.erasure_key, keys.parent / ERASURE_KEY_FILE), scratch)
    progress("copying the files", 0, 0)
    said = programs.ask(
        "pg_combinebackup",
        "--sync-method=syncfs" if durable else "--no-sync",
        "--no-manifest",
        f"--output={place}",
        *(plan.store.data_of(backup) for backup in plan.chain),
        directory=place,
    )
    if not said.done:
        raise BackupFailed(f"pg_combinebackup ended and wrote:\n{said.problem}", "Is the disk full?")
    signal = os.open(place / "recovery.signal", os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW, 0o600)
    os.fchown(signal, programs.account.uid, programs.account.gid)
    os.close(signal)


def copy_keys(source: Path, target: Path) -> None:
    """Copy the secrets of an installation. Raises NotRestorable without the password of the database."""
    for name in KEY_FILES:
        if (source / name).exists():
            (target / name).touch(mode=0o600)
            (target / name).write_text((source / name).read_text())
    if not (target / "postgres-password").exists():
        raise NotRestorable(
            f"{source / 'postgres-password'} is missing, without which nobody can sign in to the database",
            "Put the keys back where they were copied from, or name their directory: --keys DIR",
        )


def copy_erasure_key(places: Sequence[Path], target: Path) -> None:
    """Copy the erasure key from the first place that has it; what it has forgotten is in no other copy to be wanted."""
    for place in places:
        if place.exists():
            (target / ERASURE_KEY_FILE).touch(mode=0o600)
            (target / ERASURE_KEY_FILE).write_bytes(place.read_bytes())
            return


def _settings(plan: Plan) -> dict[str, str]:
    places = [plan.store.archive, *([plan.unarchived] if plan.unarchived else [])]
    quoted = [shlex.quote(str(place)).replace("%", "%%") + "/%f" for place in places]
    fetch = " || ".join(f'{{ test -f {path} && cp {path} "%p"; }}' for path in quoted)
    settings = {
        "restore_command": fetch,
        "recovery_target_timeline": "current",
        "recovery_target_action": "promote",
        "hot_standby": "off",
        "archive_mode": "off",
        "summarize_wal": "off",
    }
    return settings | ({"recovery_target_time": plan.at.isoformat()} if plan.at is not None else {})


def _play_back(
    postgres: EmbeddedPostgres, cancelled: threading.Event, log: Path, segments: int, progress: Progress
) -> PostgresAddress:
    """Start the server, which plays the log back before it answers, and say how far it is."""
    ended: list[PostgresAddress | BaseException] = []

    def start() -> None:
        try:
            ended.append(postgres.start(timeout_s=PLAYBACK_TIMEOUT_S))
        except BaseException as error:
            ended.append(error)

    thread = threading.Thread(target=start, name="playback")
    thread.start()
    try:
        while thread.is_alive():
            thread.join(LOOK_EVERY_S)
            with_log = log.read_bytes().count(b"restored log file") if log.exists() else 0
            progress("playing the log back", min(with_log, segments), segments)
    finally:
        cancelled.set()
        thread.join()
    end = ended[0]
    if isinstance(end, PostgresAddress):
        return end
    if isinstance(end, ServiceDidNotStart) and UNREACHED in end.message:
        played = log.read_text(errors="replace")
        raise _damaged(played, "the log ends before the wanted moment") from end
    raise end


def _check_end(plan: Plan, played: str) -> None:
    """Everything there is was wanted: then the last segment that is there was reached. Raises BackupDamaged."""
    done = _REDO_DONE.findall(played)
    if plan.at is None and plan.segments and done:
        reached = segment_name(plan.backup.timeline, segment_of(lsn(done[-1])))
        if reached < plan.segments[-1]:
            raise _damaged(played, f"the log should go on to {plan.segments[-1]}")


def _damaged(played: str, problem: str) -> EmbeddedError:
    done = _REDO_DONE.findall(played)
    restored = re.findall(r'restored log file "([0-9A-F]{24})"', played)
    complaints = [line for line in played.splitlines() if re.search(r"invalid|incorrect|unexpected", line)]
    where = f" (segment {restored[-1]})" if restored else ""
    return BackupDamaged(
        f"{problem}, and can be read up to {done[-1] if done else 'its beginning'} only{where}"
        + "".join(f"\n  {line}" for line in complaints[-2:]),
        "Put that segment back if there is a copy of it, or restore an earlier moment.",
    )


def moment_text(at: datetime | None) -> str:
    """A moment to the microsecond with its zone."""
    return "–" if at is None else f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
