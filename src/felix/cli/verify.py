"""``felix verify``: prove that what is stored is consistent."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

from cyclopts import App, Parameter

from felix.cli.options import Showing
from felix.cli.output import console, print_json
from felix.cli.session import Session, open_session

if TYPE_CHECKING:
    from felix.application.verification import Report, RetoldBalance

app = App(name="verify", help="Prove that what is stored is consistent.")

#: Before every expiry: the question then answers what the fold has added up, and takes nothing off for the clock.
BEFORE_ALL = datetime(1970, 1, 1, tzinfo=UTC)
PAGE = 1_000


@app.command
def ledger(
    *,
    partition: Annotated[list[int] | None, Parameter(negative="")] = None,
    showing: Showing | None = None,
) -> int:
    """Read the whole log and check that everything in it, and everything made from it, fits together.

    Positions, sequences and versions are dense; every event is known, has an actor, and belongs to one command; all
    postings balance; every account replayed is what its snapshots and the balances that people see say; every
    adjustment has its reason and approver. Felix may go on meanwhile. The exit code is 1 when anything does not fit,
    with its partition:position.

    Parameters
    ----------
    partition
        Check only this partition; may be given several times.
    """
    from felix.application.verification import Report

    showing = showing or Showing()
    report = Report()
    with open_session() as session:
        _verify(session, report, partition, quiet=showing.json)
    if showing.json:
        print_json(_as_document(report))
    else:
        _print(report)
    return 0 if report.consistent else 1


def _verify(session: Session, report: Report, chosen: list[int] | None, *, quiet: bool) -> None:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from felix.application.verification import PartitionAudit
    from felix.eventstore import audit
    from felix.eventstore.reader import heads

    with session.log() as connection:
        retold = {partition: at for name, partition, at in audit.cursors(connection) if name == "balances"}
    balances, sums = asyncio.run(_what_people_see(session))
    report.check_trial_balance(sums)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with (
        session.log() as connection,
        session.log() as commands,
        Progress(*columns, console=console(stderr=True), disable=quiet) as progress,
    ):
        ends = {at: head for at, head in sorted(heads(connection).items()) if chosen is None or at in chosen}
        task = progress.add_task("events", total=sum(ends.values()))
        for partition, head in ends.items():
            check = PartitionAudit(
                report,
                partition,
                commands=audit.command_spans(commands, partition, head),
                snapshots=audit.snapshot_digests(connection, partition),
                balances=balances.get(partition, {}),
                retold_until=min(head, retold.get(partition, 0)),
            )
            for count, event in enumerate(audit.every_event(connection, partition, head), 1):
                check.add(event)
                if count % PAGE == 0:
                    progress.advance(task, PAGE)
            check.finish(head)
        progress.update(task, completed=sum(ends.values()))


async def _what_people_see(
    session: Session,
) -> tuple[dict[int, dict[tuple[UUID, str], RetoldBalance]], dict[str, dict[str, int]]]:
    """The balances of every account by partition, and the trial balance, as the read models have them."""
    from felix import bootstrap
    from felix.application.verification import RetoldBalance
    from felix.projections import balances, token_transactions

    found: dict[int, dict[tuple[UUID, str], RetoldBalance]] = {}
    pool = bootstrap.open_read_pool(session.endpoints, max_size=2)
    await pool.open()
    try:
        async with pool.founder() as founder:
            sums = await token_transactions.trial_balance(founder)
        for place in session.directory.all():
            accounts = found.setdefault(place.partition, {})
            after = ""
            while True:
                async with pool.tenant(place.tenant_id, place.partition) as tx:
                    page = await balances.accounts(tx, after, PAGE, BEFORE_ALL)
                if not page:
                    break
                for row in page:
                    balance = {name: row[name] for name in ("available_mtok", "held_mtok", "frozen_mtok", "debt_mtok")}
                    accounts[place.tenant_id, row["account_id"]] = RetoldBalance(row["version"], balance)
                after = page[-1]["account_id"]
    finally:
        await pool.close()
    return found, sums


def _as_document(report: Report) -> dict[str, Any]:
    from felix.application.verification import CHECKS

    return {
        "consistent": report.consistent,
        "events": report.events,
        "checks": [
            {
                "check": name,
                "means": means,
                "looked_at": report.looked_at[name],
                "violations": report.found[name],
            }
            for name, means in CHECKS.items()
        ],
        "violations": [{"check": each.check, "place": each.place, "detail": each.detail} for each in report.violations],
    }


def _print(report: Report) -> None:
    from felix.application.verification import CHECKS

    for name, means in CHECKS.items():
        found = report.found[name]
        print(f"{'FAILED' if found else 'ok':<7} {means} ({report.looked_at[name]:,} looked at)")
        for each in report.violations:
            if each.check == name:
                print(f"          {each.place}  {each.detail}")
        if found > sum(each.check == name for each in report.violations):
            print(f"          … {found:,} in all")
    print(f"\n{report.events:,} events: " + ("everything fits together." if report.consistent else "NOT consistent."))
