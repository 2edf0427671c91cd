"""``felix jobs``: what is done later, what has failed, and what to do about it."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

from cyclopts import App, Parameter

from felix.cli.errors import UsageError
from felix.cli.options import Acting, Reading, Showing
from felix.cli.output import print_facts, print_json, print_table
from felix.cli.session import Session, open_session
from felix.domain.errors import NotFound

app = App(name="jobs", help="Show what is done later, and retry or cancel what has failed.")

State = Literal["waiting", "handed_out", "running", "done", "dead", "cancelled"]
#: Parts of a row that a line of the list has room for.
_COLUMNS = {"job_id": "job", "kind": "kind", "state": "state", "due_at": "due", "attempts": "tries"}
_COLUMNS |= {"progress": "progress", "client": "client", "error": "error"}


@app.command(name="list")
def list_jobs(
    *,
    state: State | None = None,
    kind: str | None = None,
    limit: Annotated[int, Parameter(name=["--limit", "-n"])] = 50,
    reading: Reading | None = None,
) -> None:
    """List jobs, what is due last first: of all clients and of Felix itself, or of one client.

    Parameters
    ----------
    state
        Only jobs in this state; dead ones need somebody to look.
    kind
        Only jobs of this kind, such as ledger.book_expiries.
    limit
        How many at the most.
    """
    from felix.projections import jobs

    reading = reading or Reading()
    with open_session() as session:
        if reading.tenant is None:
            found = session.ask_as_founder(lambda tx: jobs.everybodys_jobs(tx, None, limit, state=state, kind=kind))
        else:
            place = session.tenant(reading.tenant)
            found = session.ask(place, lambda tx: jobs.jobs(tx, None, limit, state=state, kind=kind))
        slugs = {place.tenant_id: place.slug for place in session.directory.all()}
    if reading.json:
        print_json({"data": found})
        return
    rows = [
        row
        | {
            "attempts": f"{row['attempts']} of {row['max_attempts']}",
            "client": slugs.get(row["tenant_id"], "?") if row["tenant_id"] else "felix",
            "error": (row["error"] or "").partition("\n")[0][:60],
            "progress": "" if row["progress_done"] is None else f"{row['progress_done']:,}/{row['progress_total']:,}",
        }
        for row in found
    ]
    print_table(rows, _COLUMNS, empty="There are no such jobs.")


@app.command
def show(job: str, *, showing: Showing | None = None) -> None:
    """Show one job whole: what asked for it, how far it is, what became of it.

    Parameters
    ----------
    job
        Its id.
    """
    showing = showing or Showing()
    with open_session() as session:
        _print(_find(session, job), showing)


@app.command
def retry(job: str, *, acting: Acting | None = None) -> None:
    """Try a dead, cancelled or waiting job now, with all its attempts again.

    Parameters
    ----------
    job
        Its id.
    """
    _settle(job, "retry", acting or Acting())


@app.command
def cancel(job: str, *, acting: Acting | None = None) -> None:
    """Never do a job that is not under way. It can be retried later.

    Parameters
    ----------
    job
        Its id.
    """
    _settle(job, "cancel", acting or Acting())


def _settle(job: str, what: Literal["retry", "cancel"], acting: Acting) -> None:
    from felix import bootstrap

    with open_session() as session:
        found = _find(session, job)
        if acting.dry_run:
            print_json({"dry_run": True, "would": what, "job_id": str(found["job_id"]), "state": found["state"]})
            return
        book = bootstrap.open_job_book(session.endpoints, role="felix_writer")
        try:
            getattr(book, what)((found["partition"], found["job_id"]), acting.actor)
        finally:
            book.close()
        _print(_find(session, job), acting)


def _find(session: Session, job: str) -> dict[str, Any]:
    from felix.projections import jobs

    try:
        job_id = UUID(job)
    except ValueError:
        raise UsageError(f"{job} is not the id of a job; `felix jobs list` shows them.") from None
    found = session.ask_as_founder(lambda tx: jobs.anybodys_job(tx, job_id))
    if found is None:
        raise NotFound(f"There is no job {job}.")
    return found


def _print(found: dict[str, Any], showing: Showing) -> None:
    if showing.json:
        print_json(found)
    else:
        print_facts({name.replace("_", " "): value for name, value in found.items() if value not in (None, {})})
