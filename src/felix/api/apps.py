"""Apps over HTTP: begun from modules, what of each runs where, and what founders do there beside the rules."""

from __future__ import annotations

from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from felix.api import change_examples as examples
from felix.api import documents
from felix.api.http import (
    MAX_PAGE,
    allowed,
    answer,
    command_from,
    fresh,
    integer,
    perform,
    place_of,
    read_json,
    services,
)
from felix.api.ledger import performs, reads, writes
from felix.application.changes.founding import founding
from felix.domain.apps.base import ModuleId
from felix.domain.base import Command
from felix.domain.changes import messages as m
from felix.domain.changes.errors import EnvironmentNotFound
from felix.domain.changes.modules import NoSuchModule
from felix.domain.errors import FelixError, Invalid
from felix.domain.tenancy.tenant import TENANT_STREAM, Tenant
from felix.domain.values import Name
from felix.projections import app_environments
from felix.projections.history import aggregate_at

router = APIRouter(tags=["apps"])
ENVIRONMENT = "/v1/apps/{app}/environments/{environment}"


class NewApp(Command):
    """An app that begins with modules; with those that the client came on board with, where none are named."""

    app: m.AppName
    title: Name
    modules: Annotated[list[ModuleId], Field(max_length=50)] | None = None
    environments: Annotated[list[m.Environment], Field(min_length=1, max_length=2)] = list(m.ENVIRONMENTS)


async def create_app(request: Request) -> Response:
    """Begin an app with modules; its first release is live at once in each of its environments.

    Each module comes in its newest version, with those that it needs. Where none are named, they are those that the
    client came on board with. An app without any begins empty.
    """
    principal = await allowed(request, m.CreateApp.command_name)
    asked = command_from(NewApp, await read_json(request), {})
    assert isinstance(asked, NewApp)
    found = services(request)
    modules = asked.modules
    if modules is None:
        tenant_id = principal.tenant_id
        async with found.reads.tenant(tenant_id, found.partition_of(tenant_id)) as tx:
            tenant = await aggregate_at(tx, Tenant, TENANT_STREAM)
        modules = tenant.modules if tenant else []

    def found_it() -> m.CreateApp:
        return founding(found.releases, found.library(), asked.app, asked.title, modules, asked.environments)

    try:
        command = await to_thread.run_sync(found_it)
    except NoSuchModule as error:
        raise _unknown(asked.modules or [], error) from None
    return await perform(request, principal, command, 201)


def _unknown(named: list[str], error: NoSuchModule) -> FelixError:
    """A module that the body names and that is not to be had is a field that is wrong."""
    if (module := error.facts["module"]) not in named:
        return error
    wrong = {"pointer": f"/modules/{named.index(module)}", "rule": "reference", "detail": error.detail}
    return Invalid("The request is not well formed.", errors=[wrong])


_asked, _answered = examples.WRITES["CreateApp"]
performs(
    "/v1/apps",
    create_app,
    m.CreateApp.command_name,
    documents.write(NewApp, frozenset(), _asked, 201, _answered),
    status=201,
    router=router,
)
for _path, _command in (
    ("force-unlock", m.ForceUnlock),
    ("rollback", m.ForceRollback),
    ("lift-quarantine", m.LiftQuarantine),
    ("overrides/{override_id}/confirm", m.ConfirmOverride),
    ("overrides/{override_id}/close-review", m.CloseReview),
):
    writes(f"{ENVIRONMENT}/{_path}", _command, example=examples.WRITES[_command.__name__], router=router)


@reads(
    "/v1/apps",
    examples.APPS,
    documents.query("cursor", "`next` of the page before.", type="string"),
    documents.PAGE[1],
    action="apps.read",
    router=router,
)
async def list_apps(request: Request) -> Response:
    """The tenant's apps by name, one row an environment: which release runs there, and what is being deployed."""
    tenant_id, partition = await place_of(request, "apps.read")
    await fresh(request, tenant_id, partition, "app_environments")
    limit = integer(request, "limit", 100, 1, MAX_PAGE)
    app, _, environment = request.query_params.get("cursor", "").partition(".")
    async with services(request).reads.tenant(tenant_id, partition) as tx:
        rows = await app_environments.environments(tx, (app, environment), limit)
    last = f"{rows[-1]['app']}.{rows[-1]['environment']}" if len(rows) == limit else None
    return answer({"data": rows, "next": last})


@reads(ENVIRONMENT, examples.ENVIRONMENT, action="apps.read", router=router)
async def show_app_environment(request: Request) -> Response:
    """What runs in an environment, what is about to and who waits; the last ten that went live; and overrides."""
    tenant_id, partition = await place_of(request, "apps.read")
    await fresh(request, tenant_id, partition, "app_environments")
    app, environment = request.path_params["app"], request.path_params["environment"]
    async with services(request).reads.tenant(tenant_id, partition) as tx:
        row = await app_environments.environment(tx, app, environment)
        if row is None:
            raise EnvironmentNotFound(app=app, environment=environment)
        ran = await app_environments.releases(tx, app, environment)
        overridden = await app_environments.overrides(tx, app, environment)
    return answer(row | {"releases": ran, "overrides": overridden})
