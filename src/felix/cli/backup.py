"""``felix backup``: make backups of the embedded Postgres, list, verify and prune them."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from felix import __version__
from felix.cli.backup_steps import Steps, megabytes, moment, own_postgres, store_of
from felix.cli.errors import UsageError
from felix.cli.options import Showing
from felix.cli.output import print_facts, print_json, print_table
from felix.settings import Settings

if TYPE_CHECKING:
    from felix.embedded.backup_store import Backup, BackupStore
    from felix.embedded.live_postgres import LivePostgres
    from felix.embedded.programs import Programs

app = App(name="backup", help="Make backups of the embedded Postgres, list, verify and prune them.")

Flag = Annotated[bool, Parameter(negative="", show_default=False)]


@app.default
def backup(*, full: Flag = False, incremental: Flag = False, showing: Showing | None = None) -> None:
    """Make a backup while Felix runs, and archive the log from then on.

    A backup holds what changed since the one before; it is full when there is none, or when the last full one is older
    than 7 days. It is compared with its checksums at once. Backups older than FELIX_BACKUP_KEEP_DAYS are then removed
    with the log that nothing else needs.

    Parameters
    ----------
    full
        Make a full backup.
    incremental
        Make an incremental backup, or none.
    """
    from felix.embedded.backup import take_backup
    from felix.embedded.live_postgres import LivePostgres

    showing = showing or Showing()
    if full and incremental:
        raise UsageError("A backup is either full or incremental.")
    settings = own_postgres(Settings())
    live = LivePostgres.find(settings.data_dir)
    store = store_of(settings)
    store.prepare(live.programs.account)
    with store.locked() as lock, Steps(quiet=showing.json) as steps:
        made = take_backup(
            live,
            store,
            lock=lock,
            kind="full" if full else "incremental" if incremental else "auto",
            felix=__version__,
            facts=lambda: heads_of(live),
            on_percent=lambda percent: steps("copying the database", percent, 100),
        )
        steps("removing old backups", 0, 0)
        pruned = store.to_prune(keep=None, keep_days=settings.backup_keep_days, now=datetime.now(UTC))
        store.remove(pruned)
    if showing.json:
        print_json(made.as_document() | {"directory": str(store.directory), "removed": [each.id for each in pruned]})
        return
    print(
        f"{made.kind} backup {made.id}: {megabytes(made.size_bytes)} in {made.took_s:.1f} s, verified,"
        f" {made.facts['events']:,} events"
    )
    for each in pruned:
        print(f"removed {each.id}")
    print(f"its keys are in {store.keys_of(made)}: keep a copy of them apart from the data")
    if settings.backup_dir is None:
        print("it is on the disk of the data, whose loss it does not survive: FELIX_BACKUP_DIR names another place")


def heads_of(live: LivePostgres) -> dict[str, Any]:
    """The head of every partition, which is the number of its events, and how many clients there are."""
    from felix.cli.installation import DATABASE
    from felix.eventstore.connections import connect
    from felix.eventstore.reader import heads

    with connect(live.address.url(DATABASE)) as connection:
        at = heads(connection)
        tenants = connection.execute("select count(*) from felix.tenants").fetchone()
    return {"heads": at, "events": sum(at.values()), "tenants": tenants[0] if tenants else 0}


@app.command(name="list")
def list_(*, showing: Showing | None = None) -> None:
    """List the backups, and the moments that can be restored."""
    from felix.embedded.archive import archiving_stopped_before, archiving_to

    showing = showing or Showing()
    settings = own_postgres(Settings())
    store = store_of(settings)
    found = store.backups()
    until = _until(store) if found else None
    base_bytes, archive_bytes = store.sizes()
    told = {
        "directory": str(store.directory),
        "backups": [backup.as_document() for backup in found],
        "restorable_from": found[0].stopped_at if found else None,
        "restorable_until": until,
        "backups_bytes": base_bytes,
        "archive_bytes": archive_bytes,
        "archiving": archiving_to(settings.data_dir) == store.archive,
        "archiving_stopped_before": archiving_stopped_before(settings.data_dir),
    }
    if showing.json:
        print_json(told)
        return
    rows = [_row(backup) for backup in found]
    columns = {
        "id": "backup",
        "kind": "kind",
        "at": "complete at (UTC)",
        "size": "size",
        "events": "events",
        "on": "needs",
    }
    print_table(rows, columns, empty=f"There are no backups in {store.directory}: felix backup")
    if found:
        print()
        print_facts(
            {
                "restorable from": moment(found[0].stopped_at),
                "restorable until": moment(until),
                "backups": megabytes(base_bytes),
                "archived log": megabytes(archive_bytes),
                "archiving": _archiving(told),
            }
        )


@app.command
def verify(backup_id: str | None = None, /, *, showing: Showing | None = None) -> None:
    """Compare every file of the backups with the checksums that were taken when they were made.

    Parameters
    ----------
    backup_id
        Only this backup and those it needs. Default: all.
    """
    from felix.embedded.backup import verify_backup

    showing = showing or Showing()
    store = store_of(own_postgres(Settings()))
    with store.locked(), Steps(quiet=showing.json) as steps:
        chosen = store.backups() if backup_id is None else store.chain(find(store, backup_id))
        for number, each in enumerate(chosen):
            steps("comparing checksums", number, len(chosen))
            verify_backup(programs(), store, each)
    if showing.json:
        print_json({"verified": [each.id for each in chosen]})
    else:
        print(f"{len(chosen)} backups are as they were written.")


@app.command
def prune(
    *,
    keep: Annotated[int | None, Parameter(show_default=False)] = None,
    keep_days: Annotated[float | None, Parameter(show_default=False)] = None,
    dry_run: Flag = False,
    showing: Showing | None = None,
) -> None:
    """Remove old backups, and the archived log that no other needs.

    What a kept backup builds on is kept, and the newest one always.

    Parameters
    ----------
    keep
        Keep this many of the newest.
    keep_days
        Keep what any moment of the last so many days can be restored from. Default: FELIX_BACKUP_KEEP_DAYS.
    dry_run
        Only say what would be removed.
    """
    showing = showing or Showing()
    settings = own_postgres(Settings())
    if (keep is not None and keep < 1) or (keep_days is not None and keep_days < 0):
        raise UsageError("At least one backup is kept: --keep 1 or more, --keep-days 0 or more.")
    if keep is None and keep_days is None:
        keep_days = settings.backup_keep_days
    store = store_of(settings)
    with store.locked():
        chosen = store.to_prune(keep=keep, keep_days=keep_days, now=datetime.now(UTC))
        segments = 0 if dry_run else store.remove(chosen)
    if showing.json:
        print_json({"dry_run": dry_run, "removed": [each.id for each in chosen], "segments": segments})
        return
    for each in chosen:
        print(f"{'would remove' if dry_run else 'removed'} {each.id}")
    if not dry_run and segments:
        print(f"removed {segments} segments of the log")
    if not chosen and not segments:
        print("There is nothing to remove.")


def find(store: BackupStore, backup_id: str) -> Backup:
    """A backup by its id. Raises NotRestorable."""
    from felix.embedded.errors import NotRestorable

    found = [backup for backup in store.backups() if backup.id == backup_id]
    if not found:
        raise NotRestorable(f"there is no backup {backup_id} in {store.directory}", "felix backup list shows all.")
    return found[0]


def programs() -> Programs:
    """The programs that read backups, run as who reads them."""
    import os

    from felix.embedded import postgres_bin_dir
    from felix.embedded.account import ServiceAccount
    from felix.embedded.programs import Programs

    return Programs(postgres_bin_dir(), ServiceAccount(os.geteuid(), os.getegid(), "", switch=False))


def _until(store: BackupStore) -> datetime | None:
    from felix.embedded.errors import EmbeddedError
    from felix.embedded.restore import plan_restore

    with suppress(EmbeddedError):  # `felix restore` says what is missing
        return plan_restore(programs(), store, None).until
    return None


def _row(backup: Backup) -> dict[str, Any]:
    return {
        "id": backup.id,
        "kind": backup.kind,
        "at": backup.stopped_at,
        "size": megabytes(backup.size_bytes),
        "events": backup.facts.get("events"),
        "on": backup.parent,
    }


def _archiving(told: dict[str, Any]) -> str:
    if told["archiving_stopped_before"]:
        return f"STOPPED before {told['archiving_stopped_before']}, the disk was full: free it, then felix backup"
    return "yes" if told["archiving"] else "no: felix backup starts it"
