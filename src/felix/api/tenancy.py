"""Tenants over HTTP, for the founder."""

from __future__ import annotations

from uuid import UUID, uuid5

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from felix.api import documents, examples
from felix.api.http import (
    allowed,
    answer,
    command_from,
    guarded,
    idempotency_key,
    perform,
    read_json,
    services,
)
from felix.domain.errors import NotFound, Refused
from felix.domain.tenancy.tenant import OnboardTenant
from felix.projections import tenants

router = APIRouter(tags=["tenants"])

#: Tenants made over HTTP get their id from the key of the request, so that a retry means the same tenant.
_TENANTS = UUID("5f0e8b3e-7d0c-4b0c-9a54-0a5ce9f7f3c1")


async def post_tenant(request: Request) -> Response:
    """Take a new client on board: it gets a partition for life."""
    principal = await allowed(request, "tenancy.onboard_tenant")
    command = command_from(OnboardTenant, await read_json(request), {})
    assert isinstance(command, OnboardTenant)
    tenant_id = uuid5(_TENANTS, idempotency_key(request))
    try:
        await run_in_threadpool(services(request).pin_tenant, tenant_id, command.slug, command.name)
    except Refused:
        # The key may have been used before, for a tenant of another name: then the lane says which field differs.
        if not await run_in_threadpool(_is_pinned, request, tenant_id):
            raise
    return await perform(request, principal, command, 201, tenant_id=tenant_id)


def _is_pinned(request: Request, tenant_id: UUID) -> bool:
    try:
        services(request).partition_of(tenant_id)
    except NotFound:
        return False
    return True


router.add_api_route(
    "/v1/tenants",
    guarded(post_tenant),
    methods=["POST"],
    status_code=201,
    operation_id="onboard_tenant",
    summary=str(post_tenant.__doc__),
    response_class=Response,
    openapi_extra=documents.write(
        OnboardTenant,
        frozenset(),
        examples.WRITES["OnboardTenant"][0],
        201,
        examples.WRITES["OnboardTenant"][1],
    )
    | {"parameters": [documents.KEY]},
)


async def list_tenants(request: Request) -> Response:
    """Every tenant, for the founder."""
    await allowed(request, "tenancy.read")
    async with services(request).reads.founder() as tx:
        return answer({"data": await tenants.tenants(tx)})


router.add_api_route(
    "/v1/tenants",
    guarded(list_tenants),
    methods=["GET"],
    operation_id="list_tenants",
    summary=str(list_tenants.__doc__),
    response_class=Response,
    openapi_extra={"responses": documents.responses(200, examples.TENANTS, 403)},
)
