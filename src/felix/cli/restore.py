"""``felix restore``: make a database as it was at a moment, from the backups and the archived log."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from felix.cli.backup_steps import Steps, moment, own_postgres, store_of
from felix.cli.errors import UsageError, with_hint
from felix.cli.options import Showing
from felix.cli.output import print_facts, print_json
from felix.settings import Settings

if TYPE_CHECKING:
    from felix.cli.restored import Examination
    from felix.embedded.backup_store import BackupStore
    from felix.embedded.live_postgres import LivePostgres
    from felix.embedded.programs import Programs
    from felix.embedded.restore import Plan


def restore(
    *,
    to: str,
    into: Annotated[Path | None, Parameter(show_default=False)] = None,
    in_place: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    backup: Annotated[str | None, Parameter(show_default=False)] = None,
    keys: Annotated[Path | None, Parameter(show_default=False)] = None,
    dry_run: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    showing: Showing | None = None,
) -> int:
    """Restore the database as it was at a moment, into a new directory or in place of a stopped one.

    What was committed up to and including the moment is there, nothing later. The rows are then counted against the
    heads of the log, the read models are brought up to date, and the whole log is audited; the exit code is 1 when
    anything does not fit. Valkey starts empty: what was queued is handed out again from Postgres.

    Parameters
    ----------
    to
        A moment with its zone, such as 2026-01-31T12:00:00Z, or `latest`.
    into
        A directory that is empty or does not exist yet, which becomes a data directory of Felix.
    in_place
        Replace the database of the stopped Felix; what was there is moved aside within the data directory.
    backup
        The backup to start from. Default: the newest that was complete at the moment.
    keys
        The directory with the keys of the installation. Default: those that were kept with the backup.
    dry_run
        Only say what would be restored.
    """
    showing = showing or Showing()
    settings = own_postgres(Settings())
    at = read_target(to)
    if (into is None) == (not in_place):
        raise UsageError("Say where: --into DIR for a new data directory, or --in-place for a stopped Felix.")
    store = store_of(settings)
    with store.locked(), Steps(quiet=showing.json) as steps:
        plan, plan_programs = make_plan(settings, store, at, backup)
        if dry_run:
            return _show_plan(plan, showing)
        told, examined = _restore(settings, plan, plan_programs, into, keys, steps)
    if showing.json:
        print_json(told)
    else:
        _print(told, examined)
    return 0 if examined.consistent else 1


def read_target(text: str) -> datetime | None:
    """A moment with a zone; None for `latest`. Raises UsageError."""
    if text == "latest":
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{text} is not a moment such as 2026-01-31T12:00:00Z, nor `latest`.") from None
    if at.tzinfo is None:
        raise with_hint(
            UsageError(f"{text} has no time zone."),
            f"In UTC it is {at.isoformat()}Z; on this machine's clock {at.astimezone().isoformat()}.",
        )
    return at.astimezone(UTC)


def make_plan(
    settings: Settings, store: BackupStore, at: datetime | None, backup_id: str | None = None
) -> tuple[Plan, Programs]:
    """How the moment is reached, and the programs that get there, run as the owner of the backups.

    A Felix that runs here first has everything archived, which a moment may do without; of one that is gone, what it
    did not archive is read from its data directory. Raises NotRestorable and BackupFailed.
    """
    from felix.embedded import postgres_bin_dir
    from felix.embedded.account import service_account
    from felix.embedded.archive import archiving_to
    from felix.embedded.backup import finish_archive
    from felix.embedded.errors import BackupFailed
    from felix.embedded.programs import Programs
    from felix.embedded.restore import plan_restore

    live = running(settings.data_dir)
    if live is not None and archiving_to(live.workspace.data_dir) == store.archive:
        try:
            finish_archive(live, store)
        except BackupFailed:
            if at is None:
                raise
    found = store.backups()
    owner = service_account(store.data_of(found[-1]) if found else store.base)
    programs = Programs(live.programs.bin_dir if live else postgres_bin_dir(), owner)
    left = settings.data_dir.absolute() / "pgdata"
    same = live is None and bool(found) and left.is_dir() and _system(programs, left) == found[-1].system
    return plan_restore(
        programs, store, at, backup_id=backup_id, unarchived=left / "pg_wal" if same else None
    ), programs


def running(data_dir: Path) -> LivePostgres | None:
    """The Postgres of a data directory, if it runs."""
    from felix.embedded import NotRunning
    from felix.embedded.live_postgres import LivePostgres

    try:
        return LivePostgres.find(data_dir)
    except NotRunning:
        return None


def _system(programs: Programs, database_dir: Path) -> str:
    said = programs.ask("pg_controldata", database_dir)
    found = [line.partition(":")[2].strip() for line in said.out.splitlines() if "system identifier" in line]
    return found[0] if found else ""


def _restore(
    settings: Settings, plan: Plan, programs: Programs, into: Path | None, keys: Path | None, step: Callable[..., None]
) -> tuple[dict[str, Any], Examination]:
    from felix.cli.restored import examine
    from felix.embedded.backup_store import ERASURE_KEY_FILE
    from felix.embedded.placement import check_empty, held, put_in_place
    from felix.embedded.restore import restore

    directory = into or settings.data_dir
    if into is not None:
        check_empty(into)
    own_keys = settings.data_dir if into is None else plan.store.keys_of(plan.backup)
    began_at = time.monotonic()
    with held(directory) as scratch:
        restored = restore(plan, programs, scratch, keys=keys or own_keys, progress=step)
        answered_s = time.monotonic() - began_at
        try:
            examined = examine(restored.address, settings, step, erasure_key=scratch / ERASURE_KEY_FILE)
        finally:
            restored.postgres.stop()
        aside = None
        placed = into is not None or examined.consistent
        if placed:
            aside = put_in_place(scratch, directory)
    told = {
        "backup": plan.backup.id,
        "to": plan.at,
        "directory": str(directory) if placed else None,
        "set_aside": str(aside) if aside else None,
        "last_commit_at": restored.last_commit_at or plan.backup.stopped_at,
        "last_event_at": examined.last_event_at,
        "events": examined.events,
        "erased_again": examined.erased_again,
        "partitions": {each.partition: each.events for each in examined.rows},
        "consistent": examined.consistent,
        "violations": [f"{each.place} {each.check}: {each.detail}" for each in examined.report.violations],
        "answered_after_s": round(answered_s, 2),
        "took_s": round(time.monotonic() - began_at, 2),
    }
    return told, examined


def _show_plan(plan: Plan, showing: Showing) -> int:
    told = {
        "dry_run": True,
        "backups": [each.id for each in plan.chain],
        "segments": len(plan.segments),
        "to": plan.at,
        "restorable_from": plan.backup.stopped_at,
        "restorable_until": plan.until,
    }
    if showing.json:
        print_json(told)
    else:
        print_facts(
            told
            | {"to": moment(plan.at) or "latest"}
            | {"restorable_from": moment(plan.backup.stopped_at), "restorable_until": moment(plan.until)}
        )
    return 0


def _print(told: dict[str, Any], examined: Examination) -> None:
    print_facts(
        {
            "restored to": moment(told["to"]) or "the end of the log",
            "from backup": told["backup"],
            "events": told["events"],
            "last event": moment(told["last_event_at"]),
            "last commit": moment(told["last_commit_at"]),
            "took": f"{told['took_s']:.1f} s",
            **({"erased again": told["erased_again"]} if told["erased_again"] else {}),
        }
    )
    for each in examined.rows:
        if not each.dense:
            print(f"FAILED  partition {each.partition} has {each.events:,} events, its head says {each.head:,}")
    for line in told["violations"]:
        print(f"FAILED  {line}")
    if not examined.consistent:
        where = f"It is in {told['directory']}" if told["directory"] else "Nothing was replaced"
        print(f"\nThe restored database is NOT consistent. {where}; felix backup list shows other backups.")
        return
    print(f"\nEverything fits together. What was committed after the last commit is not in {told['directory']}.")
    if told["set_aside"]:
        print(f"What was there before is in {told['set_aside']}; remove it when nobody needs it any more.")
        print("Next: felix up, then felix backup, since nothing is archived until then.")
    else:
        print(
            f"Next: FELIX_DATA_DIR={told['directory']} felix up, then felix backup with a FELIX_BACKUP_DIR of its own."
        )
