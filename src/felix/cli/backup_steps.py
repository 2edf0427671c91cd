"""What the commands about backups share: whose backups they are, where, and how far the work is."""

from __future__ import annotations

from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Self

from felix.cli.errors import UsageError, with_hint
from felix.cli.output import console

if TYPE_CHECKING:
    from felix.embedded.backup_store import BackupStore
    from felix.settings import Settings


def own_postgres(settings: Settings) -> Settings:
    """The settings of a Felix that brings its own Postgres. Raises UsageError."""
    if settings.database_url is not None:
        raise with_hint(
            UsageError("FELIX_DATABASE_URL names a Postgres of yours: its operator makes its backups, not Felix."),
            "Use what it has: a provider's point-in-time recovery, or pg_basebackup with a log archive (pgBackRest,"
            " Barman, WAL-G). Then prove it: restore elsewhere, and run `felix verify ledger` on that database.",
        )
    return settings


def store_of(settings: Settings) -> BackupStore:
    """The directory with the backups of this installation."""
    from felix.embedded.backup_store import BackupStore

    return BackupStore(settings.backup_dir or settings.data_dir / "backups")


def megabytes(size_bytes: int) -> str:
    """A size as people read it."""
    return f"{size_bytes / 1e6:,.1f} MB"


def moment(at: datetime | None) -> str | None:
    """A moment to the microsecond with its zone, as `felix restore --to` takes it."""
    return None if at is None else f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"


class Steps:
    """What a long command is doing, and how much of it is done, for a person who waits."""

    def __init__(self, *, quiet: bool) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        self._bars = Progress(*columns, console=console(stderr=True), disable=quiet, transient=True)
        self._what = ""

    def __call__(self, what: str, done: int, total: int) -> None:
        """Say what is being done; a total of 0 is not known."""
        if what != self._what:
            self._what = what
            for task in self._bars.task_ids:
                self._bars.remove_task(task)
            self._bars.add_task(what, total=total or None)
        self._bars.update(self._bars.task_ids[0], completed=done)

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()
