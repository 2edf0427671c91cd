"""``felix apps``: a client's apps, what of each runs where, and what ran there before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

from felix.cli.options import Reading, Writing
from felix.cli.output import print_facts, print_json, print_table
from felix.cli.session import open_session
from felix.domain.errors import NotFound

if TYPE_CHECKING:
    from felix.projections.tenant_tx import TenantTx

app = App(name="apps", help="Begin apps with modules, and show what of each runs where.")

Environment = Literal["production", "sandbox"]
#: Rows that a person looks through.
MOST_RUNS = 100


@app.command
def create(
    name: str,
    *,
    module: Annotated[list[str] | None, Parameter(negative="")] = None,
    title: str | None = None,
    writing: Writing | None = None,
) -> None:
    """Begin an app with modules; it runs at once, in production and in its sandbox.

    Parameters
    ----------
    name
        A short name, such as shop.
    module
        A module that it begins with, such as crm; may be given several times. Default: those that the client came on
        board with.
    title
        What people see. Default: the name.
    """
    from felix import bootstrap
    from felix.application.changes.founding import founding
    from felix.domain.tenancy.tenant import TENANT_STREAM, Tenant
    from felix.modules.library import library
    from felix.projections.history import aggregate_at

    writing = writing or Writing()
    with open_session() as session:
        place = session.tenant(writing.tenant)
        releases = bootstrap.open_releases(session.settings)
        called = title or name.replace("-", " ").capitalize()
        tenant = session.ask(place, lambda tx: aggregate_at(tx, Tenant, TENANT_STREAM))
        modules = module or (tenant.modules if tenant else [])
        session.perform(place, founding(releases, library(), name, called, modules), writing)


@app.command(name="list")
def list_apps(*, reading: Reading | None = None) -> None:
    """List a client's apps: which release of each runs where."""
    from felix.projections import app_environments

    reading = reading or Reading()
    with open_session() as session:
        rows = session.ask(session.tenant(reading.tenant), lambda tx: app_environments.environments(tx, limit=1000))
    if reading.json:
        print_json(rows)
        return
    shown = [row | {"stable": row["stable"][:12], "candidate": (row["candidate"] or "")[:12] or None} for row in rows]
    headings = {"app": "app", "environment": "environment", "title": "title", "stable": "release"}
    headings |= {"candidate": "candidate", "weight": "percent", "deploying": "deploying", "changed_at": "since"}
    print_table(shown, headings, empty="There are no apps. Begin one: felix apps create shop --module crm")


@app.command
def show(name: str, *, environment: Environment = "production", reading: Reading | None = None) -> None:
    """Show what runs in an environment of an app, what is about to, and what went live there before.

    Parameters
    ----------
    name
        The app, as felix apps list shows it.
    environment
        Where it runs.
    """
    from felix.projections import app_environments

    reading = reading or Reading()

    async def question(tx: TenantTx) -> dict[str, Any] | None:
        row = await app_environments.environment(tx, name, environment)
        if row is None:
            return None
        ran = await app_environments.releases(tx, name, environment)
        return row | {"releases": ran, "overrides": await app_environments.overrides(tx, name, environment)}

    with open_session() as session:
        found = session.ask(session.tenant(reading.tenant), question)
    if found is None:
        raise NotFound(f"There is no app {name} in {environment}.")
    if reading.json:
        print_json(found)
        return
    print_facts({label: value for label, value in found.items() if not isinstance(value, list) and value is not None})
    ran = [row | {"release": row["release"][:12]} for row in found["releases"]]
    print()
    headings = {"live_at": "live since", "release": "release", "how": "how", "change_id": "change", "actor": "by"}
    print_table(ran, headings, empty="")
    if found["overrides"]:
        print()
        headings = {"override_id": "override", "what": "what", "status": "status", "proposer": "by", "reason": "why"}
        print_table(found["overrides"], headings, empty="")


@app.command
def runs(
    name: str, *, environment: Environment = "production", failed: bool = False, reading: Reading | None = None
) -> None:
    """Show what an app did by itself, the newest first: automations, schedules, and what went out.

    Parameters
    ----------
    name
        The app, as felix apps list shows it.
    environment
        Where it runs.
    failed
        Only what failed.
    """
    from felix.projections import app_runs

    reading = reading or Reading()

    async def question(tx: TenantTx) -> list[dict[str, Any]]:
        outcome = "failed" if failed else None
        return await app_runs.runs(tx, name, environment, app_runs.NEWEST, MOST_RUNS, outcome=outcome)

    with open_session() as session:
        found = session.ask(session.tenant(reading.tenant), question)
    if reading.json:
        print_json(found)
        return
    headings = {
        "at": "at",
        "kind": "kind",
        "name": "name",
        "outcome": "outcome",
        "failure": "why",
        "record_id": "record",
    }
    print_table(found, headings | {"charged_mtok": "mtok"}, empty="Nothing has happened by itself yet.")


@app.command
def report(
    name: str,
    report: str,
    *,
    environment: Environment = "production",
    reading: Reading | None = None,
) -> None:
    """Make a report of an app's records now, as CSV.

    Parameters
    ----------
    name
        The app, as felix apps list shows it.
    report
        The report, such as stock_value.
    environment
        Where the app runs.
    """
    from felix import bootstrap
    from felix.application.records import no_app
    from felix.application.reports import report_of, tabulate
    from felix.projections import records
    from felix.projections.report_figures import figures

    reading = reading or Reading()
    with open_session() as session:
        place = session.tenant(reading.tenant)
        pointer = session.ask(place, lambda tx: records.pointer(tx, name, environment))
        if pointer is None:
            raise no_app(name)
        compiled = bootstrap.open_releases(session.settings).app(pointer.stable)
        wanted = report_of(compiled, report)
        table = tabulate(compiled, wanted, session.ask(place, lambda tx: figures(tx, name, environment, wanted)))
    if reading.json:
        print_json(table.shown())
    else:
        print(table.csv(), end="")
