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
    decide,
    guarded,
    idempotency_key,
    perform,
    read_json,
    respond,
    services,
)
from felix.api.members import addressed_to, refuse_other_address
from felix.domain.errors import NotFound, Refused
from felix.domain.identity.email import Email
from felix.domain.tenancy.tenant import NewClient, OnboardTenant
from felix.projections import tenants

router = APIRouter(tags=["tenants"])

#: Tenants made over HTTP get their id from the key of the request, so that a retry means the same tenant.
_TENANTS = UUID("5f0e8b3e-7d0c-4b0c-9a54-0a5ce9f7f3c1")


class NewTenant(NewClient):
    """A client to be taken on board. Its first owner is invited by mail."""

    owner_email: Email | None = None


async def post_tenant(request: Request) -> Response:
    """Take a new client on board, with all that it begins with: it gets a partition for life.

    One transaction holds, as far as it is asked for, an invitation to the first owner, a first token account, a welcome
    grant that costs nothing, and the modules of the client's apps.
    """
    principal = await allowed(request, "tenancy.onboard_tenant")
    asked = command_from(NewTenant, await read_json(request), {})
    assert isinstance(asked, NewTenant)
    tenant_id = uuid5(_TENANTS, idempotency_key(request))
    try:
        await run_in_threadpool(services(request).pin_tenant, tenant_id, asked.slug, asked.name)
    except Refused:
        # The key may have been used before, for a tenant of another name: then the lane says which field differs.
        if not await run_in_threadpool(_is_pinned, request, tenant_id):
            raise
    fields = asked.model_dump(exclude_defaults=True, exclude={"owner_email"})
    if asked.owner_email is None:
        return await perform(request, principal, OnboardTenant(**fields), 201, tenant_id=tenant_id)
    owner = addressed_to(request, tenant_id, asked.name, asked.owner_email)
    fields |= {"invitation_id": owner.invitation_id, "email_commitment": owner.email_commitment}
    outcome = await decide(request, principal, OnboardTenant(**fields), tenant_id=tenant_id, enclosed=owner.enclosed)
    if outcome.replayed:
        await refuse_other_address(request, tenant_id, owner.invitation_id, asked.owner_email)
    return respond(outcome, 201)


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
    summary=str(post_tenant.__doc__).splitlines()[0],
    description=str(post_tenant.__doc__),
    response_class=Response,
    openapi_extra=documents.does("tenancy.onboard_tenant")
    | documents.write(
        NewTenant,
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
    openapi_extra=documents.does("tenancy.read") | {"responses": documents.responses(200, examples.TENANTS, 403)},
)
