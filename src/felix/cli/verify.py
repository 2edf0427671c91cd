"""``felix verify``: prove that what is stored is consistent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from felix.cli.options import Showing
from felix.cli.output import console, print_json
from felix.cli.session import Session, open_session

if TYPE_CHECKING:
    from felix.application.verification import Report

app = App(name="verify", help="Prove that what is stored is consistent.")


@app.command
def ledger(
    *,
    partition: Annotated[list[int] | None, Parameter(negative="")] = None,
    showing: Showing | None = None,
) -> int:
    """Read the whole log and check that everything in it, and everything made from it, fits together.

    Positions, sequences, versions and commands are dense; every event is known, has an actor, and belongs to one
    command; all postings balance; every account replayed is what its snapshots and the balances that people see say;
    every adjustment has its reason and approver. Felix may go on meanwhile. The exit code is 1 when anything does not
    fit, with its partition:position.

    Parameters
    ----------
    partition
        Check only this partition; may be given several times.
    """
    showing = showing or Showing()
    with open_session() as session:
        report = audit_ledger(session, partition, quiet=showing.json)
    if showing.json:
        print_json(_as_document(report))
    else:
        _print(report)
    return 0 if report.consistent else 1


def audit_ledger(session: Session, chosen: list[int] | None = None, *, quiet: bool) -> Report:
    """Audit all partitions, or those that were chosen, with a progress bar unless it is to be quiet."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from felix import bootstrap

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console(stderr=True), disable=quiet) as progress:
        task = progress.add_task("events", total=None)
        return bootstrap.verify_ledger(
            session.endpoints,
            partitions=session.settings.partitions,
            chosen=chosen,
            told=lambda done, total: progress.update(task, completed=done, total=total),
        )


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
