"""What apps do by themselves over HTTP: their history, what waits to go out, and reports made on demand."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from felix.api import app_run_examples as examples
from felix.api import documents
from felix.api.http import MAX_PAGE, answer, chosen, fresh, integer, place_of, services
from felix.api.ledger import reads
from felix.api.serving import Served, served
from felix.application.records import no_app
from felix.application.reports import report_of, tabulate
from felix.projections import app_runs, records
from felix.projections.report_figures import figures

router = APIRouter(tags=["apps"])

_ENVIRONMENT = documents.query(
    "environment", "Where the app runs.", type="string", enum=["production", "sandbox"], default="production"
)


@reads(
    "/v1/apps/{app}/runs",
    examples.RUNS,
    _ENVIRONMENT,
    documents.query("kind", "Only of this kind.", type="string", enum=list(app_runs.KINDS)),
    documents.query("outcome", "Only what went so.", type="string", enum=list(app_runs.OUTCOMES)),
    *documents.PAGE,
    action="app_runs.read",
    router=router,
)
async def list_app_runs(request: Request) -> Response:
    """What an app did by itself, the newest first: automations, schedules, and what went out.

    `waiting` says how much is in the outbox: `held` until a deployment is promoted, or `due`.
    """
    tenant_id, partition = await place_of(request, "app_runs.read")
    await fresh(request, tenant_id, partition, "app_runs")
    app = request.path_params["app"]
    environment = chosen(request, "environment", "production", "sandbox") or "production"
    kind = chosen(request, "kind", *app_runs.KINDS)
    outcome = chosen(request, "outcome", *app_runs.OUTCOMES)
    before = integer(request, "cursor", app_runs.NEWEST, 0, app_runs.NEWEST)
    limit = integer(request, "limit", 100, 1, MAX_PAGE)
    async with services(request).reads.tenant(tenant_id, partition) as tx:
        if await records.pointer(tx, app, environment) is None:
            raise no_app(app)
        found = await app_runs.runs(tx, app, environment, before, limit, kind, outcome)
        waiting = await app_runs.waiting(tx, app, environment)
    end = found[-1]["tenant_sequence"] if len(found) == limit else None
    return answer({"data": found, "next": end, "waiting": waiting})


@reads(
    "/v1/apps/{app}/reports/{report}",
    examples.REPORT,
    _ENVIRONMENT,
    documents.query("format", "As what the report comes.", type="string", enum=["json", "csv"], default="json"),
    action="app_reports.read",
    router=router,
)
@served("app_reports.read")
async def show_report(request: Request, serving: Served) -> Response:
    """A report, made now of the records that there are.

    In JSON money and decimals are whole numbers of their last place; a CSV file is written for people and their
    spreadsheets, and no cell of it can be taken for a formula.
    """
    name = request.path_params["report"]
    kind = chosen(request, "format", "json", "csv") or "json"
    report = report_of(serving.app, name)
    serving.shape(report.entity)
    async with services(request).reads.tenant(serving.tenant_id, serving.partition) as tx:
        found = await figures(tx, serving.name, serving.environment, report)
    table = tabulate(serving.app, report, found)
    if kind == "json":
        return answer(table.shown())
    return Response(
        table.csv(), media_type="text/csv", headers={"Content-Disposition": f'attachment; filename="{name}.csv"'}
    )
