"""A tenant's secrets over HTTP: set, listed by name, and removed; no endpoint ever answers with a value."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from felix.api import documents, examples
from felix.api.http import (
    MAX_PAGE,
    Endpoint,
    allowed,
    answer,
    command_from,
    fresh,
    integer,
    paged,
    perform,
    place_of,
    read_json,
    services,
)
from felix.api.ledger import performs, reads
from felix.api.problems import invalid
from felix.application.secrets import MAX_VALUE_BYTES, setting, with_root_keys
from felix.domain.base import Command
from felix.domain.errors import Invalid
from felix.domain.secrets.tenant_secrets import RemoveSecret, RotateTenantKey, SetSecret
from felix.projections import secrets

router = APIRouter(tags=["secrets"])

#: What the caller gives, and what the endpoint adds to the command.
_VALUE, _DIGEST = "value", "value_digest"


async def set_secret(request: Request) -> Response:
    """Set a secret, or its next version.

    The value is sealed with a key of the tenant and never shown again. With `overlap_s` the version before stays usable
    for so long, for systems that learn of the new one one after the other.
    """
    principal = await allowed(request, SetSecret.command_name)
    body = await read_json(request)
    if not isinstance(body, dict):
        raise Invalid(
            "The body is not a JSON object.", errors=[{"pointer": "", "rule": "object", "detail": "not an object"}]
        )
    if wrong := body.keys() & {"name", _DIGEST}:
        detail = "is in the path, or Felix's own"
        raise Invalid(errors=[{"pointer": f"/{name}", "rule": "extra_forbidden", "detail": detail} for name in wrong])
    value = body.pop(_VALUE, None)
    fields = body | {"name": request.path_params["secret_name"]}
    try:
        command, enclosed = setting(services(request).root_keys(), principal.tenant_id, fields, value)
    except ValidationError as error:
        raise invalid(error) from None
    return await perform(request, principal, command, enclosed=enclosed)


async def remove_secret(request: Request) -> Response:
    """Delete every version of a secret."""
    principal = await allowed(request, RemoveSecret.command_name)
    command = command_from(RemoveSecret, await read_json(request), {"name": request.path_params["secret_name"]})
    return await perform(request, principal, command)


async def rotate_tenant_key(request: Request) -> Response:
    """Give the tenant a new key; a worker then seals every secret with it."""
    principal = await allowed(request, RotateTenantKey.command_name)
    command = command_from(RotateTenantKey, await read_json(request), {})
    return await perform(request, principal, command, enclosed=with_root_keys(services(request).root_keys()))


def _writes(path: str, endpoint: Endpoint, command_class: type[Command], body: dict[str, Any]) -> None:
    asked, answered = examples.WRITES[command_class.__name__]
    described = documents.write(command_class, frozenset({"name"}), asked, 200, answered)
    described["requestBody"]["content"]["application/json"]["schema"] |= body
    performs(path, endpoint, command_class.command_name, described, router=router)


def _body_of_a_value() -> dict[str, Any]:
    schema = documents.body_schema(SetSecret, frozenset({"name", _DIGEST}))
    value = {"type": "string", "minLength": 1, "maxLength": MAX_VALUE_BYTES, "writeOnly": True, "format": "password"}
    return {"properties": {_VALUE: value, **schema["properties"]}, "required": [_VALUE]}


_writes("/v1/secrets/{secret_name}", set_secret, SetSecret, _body_of_a_value())
_writes("/v1/secrets/{secret_name}/remove", remove_secret, RemoveSecret, {})
_writes("/v1/secret-key/rotate", rotate_tenant_key, RotateTenantKey, {})


@reads(
    "/v1/secrets",
    examples.SECRETS,
    documents.query("cursor", "`next` of the page before.", type="string"),
    documents.PAGE[1],
    action="secrets.read",
    router=router,
)
async def list_secrets(request: Request) -> Response:
    """The tenant's secrets by name: which version, since when, by whom, and when it was last used; never the value."""
    tenant_id, partition = await place_of(request, "secrets.read")
    await fresh(request, tenant_id, partition, "secrets")
    cursor = request.query_params.get("cursor", "")
    limit = integer(request, "limit", 100, 1, MAX_PAGE)
    async with services(request).reads.tenant(tenant_id, partition) as tx:
        return answer(paged(await secrets.secrets(tx, cursor, limit), limit, "name"))
