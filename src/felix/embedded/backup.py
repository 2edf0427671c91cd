"""Makes backups of a running embedded Postgres, full or incremental, and finds out whether stored ones are whole."""

import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from felix.embedded.archive import SEGMENT_BYTES, start_archiving
from felix.embedded.backup_store import KEY_FILES, Backup, BackupStore, disk_usage, give_to_owner_of_parent, lsn
from felix.embedded.errors import BackupDamaged, BackupFailed
from felix.embedded.live_postgres import LivePostgres
from felix.embedded.programs import Programs
from felix.embedded.workspace import sync_directory

Kind = Literal["auto", "full", "incremental"]
#: Every restore goes through all incremental backups since the full one. Postgres keeps what they need for ten days.
FULL_EVERY = timedelta(days=7)
ARCHIVED_WITHIN_S = 60.0


def take_backup(
    live: LivePostgres,
    store: BackupStore,
    *,
    lock: int,
    kind: Kind = "auto",
    felix: str = "",
    facts: Callable[[], Mapping[str, Any]] = dict,
    on_percent: Callable[[int], None] = lambda percent: None,
) -> Backup:
    """Make a backup, verify it, and wait until the log that makes it whole is archived.

    The servers go on meanwhile. `lock` is what :meth:`BackupStore.locked` gave. Raises BackupFailed.
    """
    timeline, system, version, durable, archiving, needed = live.query(
        "select timeline_id, system_identifier, current_setting('server_version'), current_setting('fsync'),"
        " current_setting('archive_mode'),"
        " (select sum(pg_database_size(oid)) from pg_database) from pg_control_checkpoint(), pg_control_system()"
    )
    if archiving != "on":
        raise BackupFailed("this Postgres was started by an older Felix and archives nothing", "Restart `felix up`.")
    parent = _parent(store, kind, int(timeline), system)
    _check_room(store, 0 if parent else int(needed))
    start_archiving(live.workspace, store.archive)
    began_at, started_at = time.monotonic(), datetime.now(UTC)
    name = f"{started_at:%Y%m%dT%H%M%S%f}"[:-3] + f"Z-{'incremental' if parent else 'full'}"
    partial = store.base / f"{name}.partial"
    try:
        partial.mkdir(mode=0o700)
        give_to_owner_of_parent(partial)
        said = live.programs.follow(
            "pg_basebackup",
            *(
                f"--pgdata={partial / 'data'}",
                "--wal-method=stream",
                "--checkpoint=fast",
                "--progress",
                "--no-password",
            ),
            "--sync-method=syncfs" if durable == "on" else "--no-sync",
            *([f"--incremental={store.data_of(parent) / 'backup_manifest'}"] if parent else []),
            environment=live.copying,
            directory=store.base,  # by which it is found when it outlives us
            keep_open=[lock],
            on_percent=on_percent,
        )
        if not said.done:
            raise BackupFailed(f"pg_basebackup ended and wrote:\n{said.problem}", _hint(said.problem))
        finished = time.monotonic()
        stopped_at = datetime.fromisoformat(live.query("select clock_timestamp()")[0])
        log = json.loads((partial / "data" / "backup_manifest").read_bytes())["WAL-Ranges"][-1]
        backup = Backup(
            id=name,
            kind="incremental" if parent else "full",
            parent=parent.id if parent else None,
            system=system,
            timeline=int(log["Timeline"]),
            start_lsn=lsn(log["Start-LSN"]),
            stop_lsn=lsn(log["End-LSN"]),
            started_at=started_at,
            stopped_at=stopped_at,
            took_s=round(finished - began_at, 3),
            size_bytes=disk_usage(partial),
            postgres=version,
            felix=felix,
            facts=dict(facts()),
        )
        verify_files(live.programs, partial / "data", backup.id)
        finish_archive(live, store)
        _keep_keys(live, store, backup)
        _record(partial / "backup.json", backup)
        partial.rename(store.base / name)
        sync_directory(store.base)
    except OSError as error:
        raise BackupFailed(f"the backup can't be written to {store.base}: {error}", _hint(str(error))) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return backup


def finish_archive(live: LivePostgres, store: BackupStore) -> datetime:
    """Have everything that is committed now archived, and say when that was. Raises BackupFailed.

    A commit of its own ends the log: a restore to a moment stops at the first commit after it.
    """
    before = datetime.fromisoformat(live.query("select clock_timestamp()")[0])
    live.query("select pg_current_xact_id()")
    segment = live.query("select pg_walfile_name(pg_switch_wal())")[0]
    deadline = time.monotonic() + ARCHIVED_WITHIN_S
    while not (store.archive / segment).exists():
        if time.monotonic() > deadline or not (live.workspace.archiving_dir / "to").exists():
            raise BackupFailed(
                f"the segment {segment} of the log was not archived to {store.archive}",
                f"{live.workspace.log_path('postgres')} says why. Is that directory there, writable, and not full?",
            )
        time.sleep(0.02)
    return before


def verify_backup(programs: Programs, store: BackupStore, backup: Backup) -> None:
    """Compare every file of a backup with the checksums that were taken when it was made. Raises BackupDamaged."""
    verify_files(programs, store.data_of(backup), backup.id)


def verify_files(programs: Programs, directory: Path, name: str) -> None:
    """Compare the files in a directory with its manifest. Raises BackupDamaged."""
    # It hands the path to a shell in double quotes, which not every path survives.
    said = programs.ask("pg_verifybackup", ".", directory=directory)
    if not said.done:
        raise BackupDamaged(
            f"backup {name} is damaged:\n{said.problem}",
            "Use another one (felix backup list), make a new one now, and look after that disk.",
        )


def _parent(store: BackupStore, kind: Kind, timeline: int, system: str) -> Backup | None:
    """The backup to build on; None for a full one."""
    found = store.backups()
    if any(backup.system != system for backup in found):
        raise BackupFailed(
            f"the backups in {store.directory} are of another database",
            "Set FELIX_BACKUP_DIR to a directory of its own, or move those backups away.",
        )
    mine = [backup for backup in found if backup.timeline == timeline]
    if kind == "full":
        return None
    if not mine:
        if kind == "incremental":
            raise BackupFailed("there is no backup to build an incremental one on", "Leave --incremental out.")
        return None
    full = store.chain(mine[-1])[0]
    if kind == "auto" and datetime.now(UTC) - full.started_at > FULL_EVERY:
        return None
    return mine[-1]


def _check_room(store: BackupStore, needed: int) -> None:
    free = shutil.disk_usage(store.base).free
    needed += 4 * SEGMENT_BYTES
    if free < needed:
        raise BackupFailed(
            f"a backup takes about {needed / 1e6:,.0f} MB, and {store.directory} has {free / 1e6:,.0f} MB free",
            "Free the disk, remove old backups (felix backup prune), or set FELIX_BACKUP_DIR to another disk.",
        )


def _keep_keys(live: LivePostgres, store: BackupStore, backup: Backup) -> None:
    """Copy the secrets, each readable for the owner of the installation only."""
    place = store.keys_of(backup)
    place.mkdir(mode=0o700)
    give_to_owner_of_parent(place)
    for name in KEY_FILES:
        source = live.workspace.data_dir / name
        if source.exists():
            with os.fdopen(os.open(place / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                file.write(source.read_text())
                file.flush()
                os.fsync(file.fileno())
            give_to_owner_of_parent(place / name)
    store.mirror_erasure_key(live.workspace.data_dir)


def _record(path: Path, backup: Backup) -> None:
    with path.open("w") as file:
        json.dump(backup.as_document(), file, indent=2)
        file.flush()
        os.fsync(file.fileno())


def _hint(problem: str) -> str:
    if "No space left" in problem:
        return "Free the disk, remove old backups (felix backup prune), or set FELIX_BACKUP_DIR to another disk."
    if "WAL summar" in problem:
        return "Make a full backup: felix backup --full"
    return "Nothing of it counts as a backup; earlier ones are as they were."
