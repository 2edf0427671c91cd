"""``felix drill``: prove that what is there for an emergency works, without one."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from felix import __version__
from felix.cli.backup import heads_of
from felix.cli.backup_steps import Steps, megabytes, moment, own_postgres, store_of
from felix.cli.options import Showing
from felix.cli.output import print_facts, print_json, print_table
from felix.cli.restore import make_plan
from felix.cli.restored import examine
from felix.settings import Settings

if TYPE_CHECKING:
    from felix.cli.restored import Examination
    from felix.embedded.backup_store import BackupStore
    from felix.embedded.live_postgres import LivePostgres
    from felix.eventstore.row_counts import PartitionRows

app = App(name="drill", help="Prove that what is there for an emergency works, without one.")

SCRATCH = "drill"


@dataclass(frozen=True)
class Drill:
    """What was expected, what came back, and how long that took."""

    backup: str
    at: datetime
    expected: list[PartitionRows]
    examined: Examination
    size_bytes: int
    archive_behind_s: float | None
    answered_after_s: float
    took_s: float

    def rows(self) -> list[dict[str, Any]]:
        """Every partition with what it held at the moment and what it holds now."""
        back = {each.partition: each for each in self.examined.rows}
        return [
            {
                "partition": each.partition,
                "head": each.head,
                "events": each.events,
                "events_restored": back[each.partition].events if each.partition in back else 0,
                "commands": each.commands,
                "commands_restored": back[each.partition].commands if each.partition in back else 0,
                "same": back.get(each.partition) == each and each.dense,
            }
            for each in self.expected
        ]

    @property
    def passed(self) -> bool:
        """Whether precisely the same rows came back, and everything fits together."""
        return self.examined.consistent and all(row["same"] for row in self.rows())


@app.command
def restore(
    *,
    new_backup: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    keep: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    showing: Showing | None = None,
) -> int:
    """Restore the running Felix to this moment, beside itself, and compare every row.

    Notes what every partition holds at one exact moment, restores the newest backup and the archived log to that
    moment into a directory of its own, audits it there, and removes it. The installation goes on and is only read.
    The exit code is 1 when anything differs. Needs as much free disk as the database takes.

    Parameters
    ----------
    new_backup
        Make a backup first. Default: use the newest, and make one only if there is none.
    keep
        Leave the restored database where it is, and say where that is.
    """
    from felix.embedded.live_postgres import LivePostgres

    showing = showing or Showing()
    settings = own_postgres(Settings())
    live = LivePostgres.find(settings.data_dir)
    store = store_of(settings)
    store.prepare(live.programs.account)
    with store.locked() as lock, Steps(quiet=showing.json) as steps:
        if new_backup or not store.backups():
            _back_up(live, store, lock, steps)
        drill, kept = _drill(settings, live, store, steps, keep=keep)
    if showing.json:
        print_json(_as_document(drill, kept))
    else:
        _print(drill, kept)
    return 0 if drill.passed else 1


def _back_up(live: LivePostgres, store: BackupStore, lock: int, steps: Steps) -> None:
    from felix.embedded.backup import take_backup

    take_backup(
        live,
        store,
        lock=lock,
        felix=__version__,
        facts=lambda: heads_of(live),
        on_percent=lambda percent: steps("copying the database", percent, 100),
    )


def _drill(
    settings: Settings, live: LivePostgres, store: BackupStore, steps: Steps, *, keep: bool
) -> tuple[Drill, Path | None]:
    from felix.cli.installation import DATABASE
    from felix.embedded.backup_store import disk_usage
    from felix.embedded.placement import cleared
    from felix.embedded.restore import restore
    from felix.eventstore.row_counts import note_rows

    steps("counting the rows", 0, 0)
    behind_s = archive_behind_s(live)
    at, expected = note_rows(live.address.url(DATABASE))
    began_at = time.monotonic()
    kept = None
    with cleared(live.workspace.data_dir / SCRATCH) as scratch:
        plan, programs = make_plan(settings, store, at)
        restored = restore(plan, programs, scratch, keys=store.keys_of(plan.backup), progress=steps)
        answered_s = time.monotonic() - began_at
        try:
            examined = examine(restored.address, settings, steps)
        finally:
            restored.postgres.stop()
        took_s = time.monotonic() - began_at
        size = disk_usage(scratch / "pgdata" / "base")
        if keep:
            kept = scratch.with_name(f"{SCRATCH}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
            scratch.rename(kept)
    return Drill(plan.backup.id, at, expected, examined, size, behind_s, answered_s, took_s), kept


def archive_behind_s(live: LivePostgres) -> float | None:
    """How old the newest archived segment is, which is what the loss of the disk would cost now; None without one."""
    said = live.query("select extract(epoch from clock_timestamp() - last_archived_time) from pg_stat_archiver")[0]
    return float(said) if said else None


def _as_document(drill: Drill, kept: Path | None) -> dict[str, Any]:
    return {
        "passed": drill.passed,
        "backup": drill.backup,
        "at": drill.at,
        "partitions": drill.rows(),
        "events": drill.examined.events,
        "violations": [f"{each.place} {each.check}: {each.detail}" for each in drill.examined.report.violations],
        "database_bytes": drill.size_bytes,
        "rpo_s": 0 if drill.passed else None,
        "rpo_disk_lost_s": drill.archive_behind_s,
        "rto_s": round(drill.answered_after_s, 2),
        "took_s": round(drill.took_s, 2),
        "kept": str(kept) if kept else None,
    }


def _print(drill: Drill, kept: Path | None) -> None:
    rows = [
        {
            "partition": row["partition"],
            "events": f"{row['events']:,}",
            "back": f"{row['events_restored']:,}",
            "commands": f"{row['commands']:,}",
            "commands_back": f"{row['commands_restored']:,}",
            "same": "yes" if row["same"] else "NO",
        }
        for row in drill.rows()
    ]
    columns = {
        "partition": "partition",
        "events": "events",
        "back": "restored",
        "commands": "commands",
        "commands_back": "restored",
        "same": "same bytes",
    }
    print_table(rows, columns, empty="There are no partitions.")
    for each in drill.examined.report.violations:
        print(f"FAILED  {each.place} {each.check}: {each.detail}")
    behind = "nothing was archived yet" if drill.archive_behind_s is None else f"{drill.archive_behind_s:.0f} s"
    print()
    print_facts(
        {
            "restored to": moment(drill.at),
            "from backup": drill.backup,
            "database": megabytes(drill.size_bytes),
            "lost at the moment (RPO)": "nothing" if drill.passed else "see above",
            "lost with the disk, now": behind,
            "answers after (RTO)": f"{drill.answered_after_s:.1f} s",
            "proven after": f"{drill.took_s:.1f} s",
        }
    )
    print(
        "\n" + ("The drill was passed." if drill.passed else "The drill FAILED: what came back is not what was there.")
    )
    if kept is not None:
        print(f"The restored database is in {kept}.")
