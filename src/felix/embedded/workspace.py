"""Lays out the data directory: databases, logs, locks, and a socket directory with a short path.

felix.lock          held by the supervisor, contains its process id
postgres-password   0600
pgdata/             0700, owned by the service account
valkey/             0700, owned by the service account
archiving/          0700, owned by the service account: the script that archives the log, and where to
run/                0700, the sockets; when the path is too long, in the temporary directory
socket-directory    where the sockets are
logs/               postgres.log, initdb.log, valkey.log
"""

import hashlib
import os
import stat
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import IO

from felix.embedded.account import ServiceAccount, first_blocked, service_account
from felix.embedded.errors import DataDirUnusable

SOCKET_DIR_MAX_BYTES = 88  # sun_path holds 104 bytes on macOS, 108 on Linux; "/.s.PGSQL.65535" takes 15
LOG_MAX_BYTES = 16 * 2**20
LOG_PIECES = 3


class Workspace:
    """One data directory that is reachable for the account that runs the servers."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir.absolute().resolve()
        self.database_dir = self.data_dir / "pgdata"
        self.archiving_dir = self.data_dir / "archiving"
        self.password_file = self.data_dir / "postgres-password"
        #: Of the role that copies the server's files; kept once a migrated Felix has run here.
        self.backup_password_file = self.data_dir / "backup-password"
        self.lock_file = self.data_dir / "felix.lock"
        self.account: ServiceAccount = service_account(self.database_dir)
        try:
            self._prepare()
        except (OSError, subprocess.SubprocessError) as error:
            raise self._unusable(error) from error

    def private_dir(self, path: Path) -> Path:
        """Make a 0700 directory of the service account, or verify that an existing one is exactly that."""
        try:
            try:
                path.mkdir(mode=0o700)
                if self.account.switch:
                    os.chown(path, self.account.uid, self.account.gid)
            except FileExistsError:
                pass
            found = path.lstat()
        except OSError as error:
            raise self._unusable(error) from error
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != self.account.uid or found.st_mode & 0o077:
            raise DataDirUnusable(
                f"{path} is not a directory that only user {self.account.name} can open",
                "Someone else made it or changed its permissions; move it away and start again.",
            )
        return path

    def socket_dir(self) -> Path:
        """Return the directory of the sockets, made when it is missing, and record where it is."""
        record = self.data_dir / "socket-directory"
        near = self.data_dir / "run"
        chosen = near if _fits(near) else self._far_socket_dir(record)
        self.private_dir(chosen)
        try:
            if _read(record) != str(chosen):
                record.write_text(f"{chosen}\n")
        except OSError as error:
            raise self._unusable(error) from error
        return chosen

    def log_path(self, name: str) -> Path:
        """Return the path of a server's log."""
        return self.data_dir / "logs" / f"{name}.log"

    def open_log(self, name: str) -> IO[bytes]:
        """Open a server's log for appending; whoever supervises also calls rotate_logs() now and then."""
        path = self.log_path(name)
        try:
            path.parent.mkdir(mode=0o755, exist_ok=True)
            if path.exists() and path.stat().st_size > LOG_MAX_BYTES:
                self._rotate(path)
            return os.fdopen(self.open_own(path, os.O_WRONLY | os.O_APPEND), "ab", buffering=0)
        except OSError as error:
            raise self._unusable(error) from error

    def rotate_logs(self) -> None:
        """Keep every log under 16 MiB, and its last three pieces: `<name>.log.1` is the newest.

        The processes go on writing to the file that they were given, which is copied and then emptied; what one of
        them writes in the moment between is lost. A log that cannot be rotated is left as it is.
        """
        for path in self.log_path("any").parent.glob("*.log"):
            with suppress(OSError):
                if path.lstat().st_size > LOG_MAX_BYTES:
                    self._rotate(path)

    def _rotate(self, path: Path) -> None:
        pieces = [path.with_suffix(f".log.{number}") for number in range(1, LOG_PIECES + 1)]
        partial = path.with_suffix(".log.new")
        partial.unlink(missing_ok=True)
        source = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            with os.fdopen(self.open_own(partial, os.O_WRONLY | os.O_EXCL), "wb") as target:
                while piece := os.read(source, 2**20):
                    target.write(piece)
                target.flush()
                target.write(os.read(source, 2**20))  # what came meanwhile
                os.ftruncate(source, 0)
        finally:
            os.close(source)
        for older, newer in zip(reversed(pieces), [*reversed(pieces[:-1]), partial], strict=True):
            if newer.exists():
                newer.replace(older)

    def open_own(self, path: Path, flags: int, mode: int = 0o600) -> int:
        """Open a file of the data directory, made when missing, which then has its directory's owner."""
        # Root may work in an ordinary user's directory, where a link could lead its writes astray.
        descriptor = os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
        if os.geteuid() == 0:
            owner = path.parent.stat()
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
        return descriptor

    def _prepare(self) -> None:
        existing = next(path for path in (self.data_dir, *self.data_dir.parents) if path.exists())
        self._check_reachable(existing)
        missing = [path for path in (self.data_dir, *self.data_dir.parents) if not path.exists()]
        for path in reversed(missing):
            path.mkdir(exist_ok=True)
            if self.account.switch:
                path.chmod(0o711)  # ours: the account may pass through, not list
        if not self.account.switch and self.data_dir in missing:
            self.data_dir.chmod(0o700)
        if not self.account.switch and not os.access(self.data_dir, os.W_OK | os.X_OK):
            raise PermissionError(f"no permission to write in {self.data_dir}")

    def _check_reachable(self, existing: Path) -> None:
        blocked = first_blocked(self.account, [existing])
        if blocked is None:
            return
        if self.account.switch and blocked == self.data_dir and not any(blocked.iterdir()):
            # An empty directory that was made for Felix (mkdtemp, a mounted volume) is ours to open.
            blocked.chmod(0o711)
            blocked = first_blocked(self.account, [existing])
        if blocked is not None:
            raise DataDirUnusable(
                f"the data directory {self.data_dir} cannot be used: "
                f"user {self.account.name}, who runs the servers, may not enter {blocked}",
                "Set FELIX_DATA_DIR to a directory whose parents everybody may pass, such as "
                "/var/lib/felix, or run Felix as an ordinary user. Felix does not open directories it "
                "did not make.",
            )

    def _far_socket_dir(self, record: Path) -> Path:
        name = f"felix-{self.account.uid}-{hashlib.sha256(os.fsencode(self.data_dir)).hexdigest()[:12]}"
        recorded = Path(_read(record) or "/nowhere")
        if recorded.name == name and recorded.parent.is_dir() and _fits(recorded):
            return recorded  # a live server may be there although TMPDIR is another one today
        for base in map(Path, (tempfile.gettempdir(), "/tmp", "/var/tmp")):
            place = base.resolve() / name
            if _fits(place) and base.is_dir() and first_blocked(self.account, [place.parent]) is None:
                return place
        raise DataDirUnusable(
            f"no directory with a short path was found for the sockets of {self.data_dir}",
            "Set FELIX_DATA_DIR to a shorter path; a socket's path may have about 100 bytes.",
        )

    def _unusable(self, error: Exception) -> DataDirUnusable:
        return DataDirUnusable(
            f"the data directory {self.data_dir} cannot be used by {self.account.name}: {error}",
            "Free the disk or mend the permissions, or set FELIX_DATA_DIR to another directory.",
        )


def _fits(directory: Path) -> bool:
    return len(os.fsencode(directory)) <= SOCKET_DIR_MAX_BYTES


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        return None


def sync_directory(directory: Path) -> None:
    """Let what was made, renamed or removed in a directory survive a crash of the machine."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
