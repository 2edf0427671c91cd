"""Whether the database answers, is up to date, and keeps time."""

from __future__ import annotations

from datetime import UTC, datetime

from felix.cli.doctoring.examination import Examination
from felix.cli.doctoring.findings import Findings, ok, problem, warning

OLDEST_POSTGRES = 16


def database(examination: Examination) -> Findings:
    """Postgres answers, and is new enough."""
    found = examination.database
    if found is None:
        yield ok("not examined: no `felix up` runs here, and FELIX_DATABASE_URL is not set")
    elif isinstance(found, Exception):
        yield problem(
            f"The database does not answer: {' '.join(str(found).split())}.",
            "Writes are answered with 503 and may be sent again with the same key; nothing is lost.",
            f"tail -n 30 {examination.data_dir / 'logs' / 'postgres.log'}; felix up"
            if examination.embedded_database
            else 'psql "$FELIX_DATABASE_URL" -c "select 1"',
        )
    elif (version := found.server_version // 10_000) < OLDEST_POSTGRES:
        yield problem(
            f"Postgres {version} is too old.", f"Felix needs {OLDEST_POSTGRES} or newer.", "Upgrade with pg_upgrade."
        )
    else:
        yield ok(f"Postgres {version} answers")


def migrations(examination: Examination) -> Findings:
    """Every migration was applied as it is in this code, and none that this code does not know."""
    from felix.eventstore.migrations import read_migrations

    known = {migration.version: migration for migration in read_migrations()}
    applied = examination.installed.migrations
    edited = [each for each in known.values() if each.version in applied and applied[each.version][1] != each.sha256]
    for each in edited:
        yield problem(
            f"Migration {each.version:04}_{each.name} was edited after it was applied.",
            "Code and tables may disagree; `felix migrate` refuses to go on.",
            f"git checkout -- migrations/{each.version:04}_{each.name}.sql (or install the release that made it)",
        )
    newer = sorted(applied.keys() - known.keys())
    if newer:
        names = ", ".join(f"{version:04}_{applied[version][0]}" for version in newer)
        yield problem(
            f"The database is newer than this code: it has {names}.",
            "A newer Felix migrated it. This one may write what that one does not expect.",
            "Install the newer release again; migrations only go forward.",
        )
    pending = sorted(known.keys() - applied.keys())
    if pending:
        names = ", ".join(f"{version:04}_{known[version].name}" for version in pending)
        yield problem(
            f"{len(pending)} migrations are pending: {names}.",
            "Code that needs them fails. Nothing is lost.",
            "felix migrate",
        )
    if not (edited or newer or pending):
        yield ok(f"all {len(known)} are applied")


def partitions(examination: Examination) -> Findings:
    """Every partition of the database is one that the worker looks after."""
    wanted, there = examination.settings.partitions, examination.installed.partitions
    if there and len(there) > wanted:
        yield problem(
            f"The database has {len(there)} partitions, and FELIX_PARTITIONS={wanted}.",
            "Nobody retells the others: clients in them see old balances. Partitions never become fewer.",
            f"export FELIX_PARTITIONS={len(there)}",
        )
    elif there and len(there) < wanted:
        yield problem(
            f"The database has {len(there)} partitions, and FELIX_PARTITIONS={wanted}.",
            "New clients may be put where nobody can write yet.",
            "felix migrate",
        )
    else:
        yield ok(f"{len(there)}, as the settings say" if there else "none yet")


def read_models(examination: Examination) -> Findings:
    """The tables of every projection are those of this code."""
    from felix.projections.registry import PROJECTIONS

    wanted, there = {each.name: each.version for each in PROJECTIONS}, examination.installed.read_models
    missing = sorted(name for name, version in wanted.items() if there.get(name) != version)
    if missing and there:
        yield problem(
            f"The tables of {', '.join(missing)} are missing or of another version.",
            "Nobody retells them: what they answer is old. They are made anew from the log.",
            "felix migrate",
        )
    else:
        yield ok(f"{len(wanted)}, of this version" if there else "none yet")


def clock(examination: Examination) -> Findings:
    """This machine and the database agree on the time, and the log does not come from the future."""
    found_there, limits = examination.installed, examination.limits
    skew_s = found_there.skew.total_seconds()
    told = f"The database's clock is {abs(skew_s):,.1f} s {'ahead of' if skew_s > 0 else 'behind'} this machine's"
    meaning = "Holds and lots run out, and events are dated, by the clock of whoever decides."
    remedy = "timedatectl status (on both); systemctl restart systemd-timesyncd"
    found = abs(skew_s) > limits.skew_low_s
    if abs(skew_s) > limits.skew_s:
        yield problem(f"{told}.", meaning, remedy)
    elif found:
        yield warning(f"{told}.", meaning, remedy)
    newest, now = found_there.newest_event_at, examination.clock()
    if newest is not None and (ahead_s := (newest.astimezone(UTC) - now).total_seconds()) > limits.skew_low_s:
        found = True
        yield problem(
            f"The newest event is dated {ahead_s:,.1f} s after now ({_moment(newest)}).",
            "A clock was ahead, or this one goes back. Events keep their order; what happens now gets that date.",
            remedy,
        )
    if not found:
        yield ok(f"{abs(skew_s) * 1000:,.0f} ms apart")


def _moment(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"
