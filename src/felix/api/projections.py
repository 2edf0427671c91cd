"""Read models over HTTP, for the founder: how they are, and what can be done about it. Nothing here is a command."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from felix.api import documents, examples
from felix.api.http import Endpoint, allowed, answer, guarded, idempotency_key, read_json, services
from felix.domain.errors import Invalid
from felix.projections import overview
from felix.projections.rebuild_orders import NoSuchProjection
from felix.projections.registry import FOLLOWING

router = APIRouter(tags=["read models"])
ONE = "/v1/projections/{projection}"


async def list_projections(request: Request) -> Response:
    """Every read model: how far behind it is, whom it stopped for, and its last rebuild."""
    await allowed(request, "projections.read")
    async with services(request).reads.founder() as tx:
        found = await overview.projections(tx, FOLLOWING)
    details = ("partitions", "stopped_tenants")
    shown = [{name: value for name, value in row.items() if name not in details} for row in found]
    return answer({"data": shown, "alarms": overview.alarms(found)})


async def show_projection(request: Request) -> Response:
    """One read model by partition, with each tenant that it stopped for and why.

    A tenant is stopped by an event that can't be folded, such as one of a type that only a newer version knows. All
    others go on. It is tried again by and by, and after a fix goes on from there: nothing is skipped.
    """
    await allowed(request, "projections.read")
    return answer(await _one(request))


async def rebuild_projection(request: Request) -> Response:
    """Make a read model anew from the beginning, beside the one that is read, and switch when both are the same.

    The worker does it; the answer shows what was asked for, `GET` how far it is. Where the rows differ nothing is
    switched, both are kept, and `differences` says where; ask again with `accept_difference` to switch all the same.
    While one is under way, asking again changes nothing; the same key never begins a second one.
    """
    principal = await allowed(request, "projections.rebuild")
    key = idempotency_key(request)
    accepts = _only(await read_json(request), "accept_difference", bool) or False
    name = request.path_params["projection"]
    orders = services(request).projection_orders
    await run_in_threadpool(orders.rebuild, name, principal.actor, key, accept_difference=accepts)
    return answer(await _one(request), 202)


async def retry_projection(request: Request) -> Response:
    """Try the tenants again, or one of them, that a read model stopped for; at once instead of by and by."""
    await allowed(request, "projections.retry")
    idempotency_key(request)
    given = _only(await read_json(request), "tenant_id", str)
    try:
        tenant_id = UUID(given) if given else None
    except ValueError:
        raise Invalid(
            "The tenant is not a UUID.", errors=[{"pointer": "/tenant_id", "rule": "uuid", "detail": "not a UUID"}]
        ) from None
    orders = services(request).projection_orders
    tried = await run_in_threadpool(orders.retry, request.path_params["projection"], tenant_id)
    return answer({"projection": request.path_params["projection"], "tried_again": tried})


async def _one(request: Request) -> dict[str, Any]:
    name = request.path_params["projection"]
    async with services(request).reads.founder() as tx:
        for row in await overview.projections(tx, FOLLOWING):
            if row["projection"] == name:
                return row
    raise NoSuchProjection(f"There is no projection {name}.", id=name)


def _only(body: Any, name: str, type_: type) -> Any:
    """The only member that a body may have, if it is there. Raises ``Invalid``."""
    if not isinstance(body, dict):
        raise Invalid(
            "The body is not a JSON object.", errors=[{"pointer": "", "rule": "object", "detail": "not an object"}]
        )
    wrong = [{"pointer": f"/{each}", "rule": "extra_forbidden", "detail": "not known"} for each in body.keys() - {name}]
    value = body.get(name)
    if value is not None and type(value) is not type_:
        wrong.append({"pointer": f"/{name}", "rule": "type", "detail": f"not a {type_.__name__}"})
    if wrong:
        raise Invalid("The request is not well formed.", errors=wrong)
    return value


def _add(
    path: str, action: str, endpoint: Endpoint, example: Any, *, status: int = 200, body: dict[str, Any] | None = None
) -> None:
    told = (endpoint.__doc__ or "").strip()
    extra: dict[str, Any] = {"responses": documents.responses(status, example, 403, 404)}
    if body is not None:
        extra = {
            "parameters": [documents.KEY],
            "requestBody": {"required": False, "content": {"application/json": body}},
            "responses": documents.responses(status, example, 400, 403, 404, 413, 422),
        }
    router.add_api_route(
        path,
        guarded(endpoint),
        methods=["GET" if body is None else "POST"],
        status_code=status,
        name=endpoint.__name__,
        operation_id=endpoint.__name__,
        summary=told.splitlines()[0],
        description=told + "\n\nFounder only.",
        response_class=Response,
        openapi_extra=documents.does(action) | extra,
    )


def _body(name: str, schema: dict[str, Any], example: Any) -> dict[str, Any]:
    described = {"type": "object", "properties": {name: schema}, "additionalProperties": False}
    return {"schema": described, "example": {name: example}}


_add("/v1/projections", "projections.read", list_projections, examples.PROJECTIONS)
_add(ONE, "projections.read", show_projection, examples.PROJECTION)
_add(
    f"{ONE}/rebuild",
    "projections.rebuild",
    rebuild_projection,
    examples.PROJECTION_REBUILDING,
    status=202,
    body=_body("accept_difference", {"type": "boolean", "default": False}, False),
)
_add(
    f"{ONE}/retry",
    "projections.retry",
    retry_projection,
    {"projection": "balances", "tried_again": 0},
    body=_body("tenant_id", {"type": ["string", "null"], "format": "uuid"}, None),
)
