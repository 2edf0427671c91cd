"""The directory with backups: what is in it, what leads to which moment, and what may go.

base/<id>/backup.json   what the backup is; written last, so a directory without it is no backup
base/<id>/data/         the files of the database, as pg_basebackup wrote them
archive/                the finished segments of the log
keys/<id>/              the secrets of the installation, which belong to its owner and not to the servers' account
keys/erasure-key        the erasure key as it is now: of what it was before, and could read, nothing is kept
backup.lock             held by whoever makes, removes or restores backups

Everything but `keys` belongs to the service account.
"""

import fcntl
import json
import os
import shutil
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from felix.embedded.account import ServiceAccount, first_blocked
from felix.embedded.archive import every_segment, segment_of
from felix.embedded.errors import BackupDamaged, BackupFailed, BackupRunning, DataDirUnusable, NotRestorable
from felix.embedded.locks import try_lock, wait_for_lock
from felix.embedded.processes import Server, is_alive, processes_in

#: Where the processes can't be listed, what a killed backup left running notices with its next status message.
REMAINS_END_WITHIN_S = 20.0
KEY_FILES = ("postgres-password", "role-password", "founder-key", "metrics-token", "root-key")

#: What this key has forgotten stays erased, whichever backup it is in (:mod:`felix.eventstore.erasure_key`).
ERASURE_KEY_FILE = "erasure-key"


@dataclass(frozen=True)
class Backup:
    """One backup. An incremental one needs its parent; `facts` are what the caller wanted to remember with it."""

    id: str
    kind: Literal["full", "incremental"]
    parent: str | None
    system: str
    timeline: int
    start_lsn: int
    stop_lsn: int
    started_at: datetime
    stopped_at: datetime
    took_s: float
    size_bytes: int
    postgres: str
    felix: str
    facts: Mapping[str, Any]

    def as_document(self) -> dict[str, Any]:
        """The backup in types that JSON has."""
        return asdict(self) | {
            "start_lsn": lsn_text(self.start_lsn),
            "stop_lsn": lsn_text(self.stop_lsn),
            "started_at": self.started_at.isoformat(),
            "stopped_at": self.stopped_at.isoformat(),
        }

    @classmethod
    def from_document(cls, told: Mapping[str, Any]) -> "Backup":
        """The backup that a document describes. Raises KeyError, TypeError and ValueError."""
        return cls(
            **{
                **told,
                "start_lsn": lsn(told["start_lsn"]),
                "stop_lsn": lsn(told["stop_lsn"]),
                "started_at": datetime.fromisoformat(told["started_at"]),
                "stopped_at": datetime.fromisoformat(told["stopped_at"]),
            }
        )


class BackupStore:
    """One directory with backups, used by one process at a time: see :meth:`locked`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute().resolve()
        self.base = self.directory / "base"
        self.archive = self.directory / "archive"
        self.keys = self.directory / "keys"

    def prepare(self, account: ServiceAccount) -> None:
        """Make the directories that are missing. Raises DataDirUnusable when the account can't use them."""
        try:
            missing = [path for path in (self.directory, *self.directory.parents) if not path.exists()]
            for path in reversed(missing):
                path.mkdir(mode=0o711 if account.switch else 0o700)
                give_to_owner_of_parent(path)
            for path in (self.base, self.archive):
                if not path.exists():
                    path.mkdir(mode=0o700)
                    if account.switch:
                        os.chown(path, account.uid, account.gid)
            if not self.keys.exists():
                self.keys.mkdir(mode=0o700)
                give_to_owner_of_parent(self.keys)
            blocked = first_blocked(account, [self.base, self.archive])
        except OSError as error:
            raise self._unusable(f"cannot be used: {error}") from error
        if blocked is not None:
            raise self._unusable(f"cannot be used: user {account.name}, who runs Postgres, may not enter {blocked}")
        for path in (self.base, self.archive):
            if path.stat().st_uid != account.uid:
                raise self._unusable(f"cannot be used: {path} does not belong to user {account.name}")

    @contextmanager
    def locked(self) -> Iterator[int]:
        """Keep others away, and what an interrupted backup left behind; the lock's descriptor. Raises BackupRunning."""
        if not self.directory.is_dir():
            raise NotRestorable(f"there are no backups in {self.directory}", "Make one with `felix backup`.")
        path = self.directory / "backup.lock"
        try:
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
            give_to_owner_of_parent(path)
        except OSError as error:
            raise self._unusable(f"cannot be used: {error}") from error
        try:
            said = os.pread(lock, 32, 0).strip()
            holder = int(said) if said.isdigit() else 0
            if not try_lock(lock) and (is_alive(holder) or not self._end_orphans(lock)):
                raise BackupRunning(
                    f"process {holder or 'that is just starting'} works on the backups in {self.directory}",
                    "Try again when it has ended.",
                )
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
            self._sweep()
            yield lock
            os.ftruncate(lock, 0)
        finally:
            os.close(lock)

    def backups(self) -> list[Backup]:
        """Every backup, the oldest first. Raises BackupDamaged."""
        if self.base.exists() and not os.access(self.base, os.R_OK | os.X_OK):
            raise self._unusable(f"can't be read: {self.base} belongs to another user")
        found = []
        for path in sorted(self.base.glob("*/backup.json")):
            if path.parent.suffix:
                continue  # one that is being made or removed
            try:
                found.append(Backup.from_document(json.loads(path.read_text())))
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise BackupDamaged(f"{path} can't be read: {error}", f"Move {path.parent} away.") from error
        return sorted(found, key=lambda backup: backup.stopped_at)

    def data_of(self, backup: Backup) -> Path:
        """The directory with its files."""
        return self.base / backup.id / "data"

    def keys_of(self, backup: Backup) -> Path:
        """The directory with the secrets that belong to it."""
        return self.keys / backup.id

    @property
    def erasure_key(self) -> Path:
        """The one copy of the erasure key."""
        return self.keys / ERASURE_KEY_FILE

    def mirror_erasure_key(self, data_dir: Path) -> None:
        """Replace the copy of the erasure key by what the installation has now. Raises OSError."""
        source, partial = data_dir / ERASURE_KEY_FILE, self.erasure_key.with_suffix(".new")
        if not source.exists():
            return
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW
        # One after the other: else a copy of an earlier state could be the one that stays.
        with os.fdopen(os.open(partial.with_suffix(".lock"), flags, 0o600), "wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with os.fdopen(os.open(partial, flags | os.O_TRUNC, 0o600), "wb") as file:
                file.write(source.read_bytes())
                file.flush()
                os.fsync(file.fileno())
            give_to_owner_of_parent(partial)
            partial.replace(self.erasure_key)

    def chain(self, backup: Backup) -> list[Backup]:
        """The full backup and every incremental one up to this. Raises BackupDamaged when one is missing."""
        by_id = {each.id: each for each in self.backups()}
        chain = [backup]
        while (parent := chain[0].parent) is not None:
            if parent not in by_id:
                raise BackupDamaged(
                    f"backup {chain[0].id} needs {parent}, which is not in {self.base}",
                    "Put it back, or use another backup: felix backup list",
                )
            chain.insert(0, by_id[parent])
        return chain

    def sizes(self) -> tuple[int, int]:
        """Bytes on disk of all backups, and of the archived log."""
        return disk_usage(self.base), disk_usage(self.archive)

    def to_prune(self, *, keep: int | None, keep_days: float | None, now: datetime) -> list[Backup]:
        """The backups that nothing which is kept needs.

        `keep` keeps that many of the newest; `keep_days` keeps what any moment of the last days can be restored
        from, which takes one backup more. With both, what either keeps is kept; the newest always is.
        """
        found = self.backups()
        kept = found[-max(1, keep or 1) :]
        if keep_days is not None:
            since = now - timedelta(days=keep_days)
            kept += [backup for backup in found if backup.stopped_at < since][-1:]
            kept += [backup for backup in found if backup.stopped_at >= since]
        needed = {link.id for backup in kept for link in self.chain(backup)}
        return [backup for backup in found if backup.id not in needed]

    def remove(self, backups: list[Backup]) -> int:
        """Remove these, newest first, and the log that no other needs; the number of segments that went."""
        for backup in reversed(backups):
            self._remove(self.base / backup.id)
            shutil.rmtree(self.keys_of(backup), ignore_errors=True)
        return self._remove_segments(self.backups())

    def _remove_segments(self, kept: list[Backup]) -> int:
        first = {backup.timeline: segment_of(backup.start_lsn) for backup in reversed(kept)}
        gone = 0
        for path, timeline, number in every_segment(self.archive) if kept else ():
            if number < first.get(timeline, number) or timeline < min(first):
                path.unlink()
                gone += 1
        return gone

    def _end_orphans(self, lock: int) -> bool:
        """End what a killed backup left running, and say whether the lock then was free."""
        for pid in processes_in(self.base, "pg_basebackup"):
            Server(pid).send(signal.SIGKILL)
        return wait_for_lock(lock, REMAINS_END_WITHIN_S)

    def _sweep(self) -> None:
        for path in self.base.glob("*.partial"):
            shutil.rmtree(path)
        for path in self.base.glob("*.gone"):
            shutil.rmtree(path)

    def _remove(self, path: Path) -> None:
        gone = path.with_suffix(".gone")  # a half removed one must not count
        try:
            path.rename(gone)
            shutil.rmtree(gone)
        except OSError as error:
            raise BackupFailed(f"{path} can't be removed: {error}", "Mend its permissions.") from error

    def _unusable(self, problem: str) -> DataDirUnusable:
        return DataDirUnusable(
            f"the directory for backups {self.directory} {problem}",
            "Mend its permissions, or set FELIX_BACKUP_DIR to another directory.",
        )


def give_to_owner_of_parent(path: Path) -> None:
    """Let what root makes in an ordinary user's directory be that user's."""
    if os.geteuid() == 0:
        owner = path.parent.stat()
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def disk_usage(directory: Path) -> int:
    """Bytes that a tree takes on the disk; holes count nothing."""
    total = 0
    for folder, _, files in os.walk(directory):
        for name in files:
            with suppress(FileNotFoundError):
                total += 512 * os.lstat(Path(folder, name)).st_blocks
    return total


def lsn(text: str) -> int:
    """A place in the log from Postgres's notation, `16/B374D848`."""
    high, _, low = text.partition("/")
    return (int(high, 16) << 32) + int(low, 16)


def lsn_text(place: int) -> str:
    """A place in the log as Postgres writes it."""
    return f"{place >> 32:X}/{place & 0xFFFFFFFF:X}"
