"""Whether there is a backup, and whether it is young enough to be of use."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from felix.cli.backup_steps import store_of
from felix.cli.doctoring.examination import Examination
from felix.cli.doctoring.findings import Findings, ok, problem, warning
from felix.embedded import EmbeddedError

#: A nightly backup that was missed once.
OLD = timedelta(hours=36)


def backups(examination: Examination) -> Findings:
    """The newest backup is from last night, as soon as there is something to lose."""
    if not examination.embedded_database:
        yield ok("not examined: the database is yours, and so are its backups")
        return
    try:
        found = store_of(examination.settings).backups()
    except EmbeddedError as error:
        yield problem(f"{error.message}.", "What can't be read can't be restored.", error.hint)
        return
    since = found[-1].stopped_at if found else _made_at(examination)
    age = examination.clock() - since if since is not None else timedelta(0)
    hours = age / timedelta(hours=1)
    if age <= OLD:
        yield ok(f"the newest is {hours:.1f} hours old" if found else "none yet")
    elif found:
        yield warning(
            f"The newest backup is {hours:,.0f} hours old.",
            "What came after it is only safe as far as the log was archived.",
            "felix backup; systemctl status felix-backup.timer",
        )
    else:
        yield warning(
            f"There is no backup of a database that is {hours:,.0f} hours old.",
            "If this disk is lost, everything is lost.",
            "felix backup; systemctl enable --now felix-backup.timer",
        )


def _made_at(examination: Examination) -> datetime | None:
    """When the database was made, as its version file says; None when there is none."""
    try:
        made = (examination.data_dir / "pgdata" / "PG_VERSION").stat().st_mtime
    except OSError:
        return None
    return datetime.fromtimestamp(made, UTC)
