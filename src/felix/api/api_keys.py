"""API keys over HTTP: owners see and make those of their client, founders everybody's and those of the platform.

A founder names the platform like a client, ``Felix-Tenant: felix-platform``. A key is shown in the answer that makes it
and never again.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from felix.api import documents, examples
from felix.api.auth import Caller
from felix.api.http import (
    MAX_PAGE,
    allowed,
    allowed_everywhere,
    answer,
    command_from,
    decide,
    integer,
    paged,
    read_json,
    respond,
    services,
)
from felix.api.ledger import performs, reads, writes
from felix.application.api_keys import enclosing
from felix.domain.base import Command
from felix.domain.identity.api_key import CreateApiKey, Reach, RevokeApiKey, RotateApiKey
from felix.domain.identity.roles import PLATFORM
from felix.eventstore.api_keys import new_key
from felix.eventstore.mapper import canonical_json
from felix.projections import api_keys

router = APIRouter(tags=["API keys"])


def _makes(path: str, command_class: type[Command]) -> None:
    """Add an endpoint that performs a command and shows the key that it made."""
    action = command_class.command_name
    in_path = frozenset({"key_id"} if "{key_id}" in path else ())

    async def endpoint(request: Request) -> Response:
        principal = await allowed(request, action)
        command = command_from(command_class, await read_json(request), request.path_params)
        key = new_key()
        outcome = await decide(request, principal, command, enclosed=enclosing(key, reach_of(principal.caller)))
        if outcome.accepted and not outcome.replayed:
            outcome = replace(outcome, body=canonical_json(outcome.result | {"key": key}))
        return respond(outcome, 201)

    asked, answered = examples.WRITES[command_class.__name__]
    endpoint.__name__ = action.partition(".")[2]
    endpoint.__doc__ = command_class.__doc__
    described = documents.write(command_class, in_path, asked, 201, answered)
    performs(path, endpoint, action, described, status=201, router=router)


def reach_of(caller: Caller) -> Reach:
    """How far what a caller makes may go: a key passes on what it has itself, a person what the role has."""
    return Reach(caller.scopes, caller.expires_at) if caller.method == "api_key" else Reach()


_makes("/v1/api-keys", CreateApiKey)
_makes("/v1/api-keys/{key_id}/rotate", RotateApiKey)
writes("/v1/api-keys/{key_id}/revoke", RevokeApiKey, router=router)


@reads(
    "/v1/api-keys",
    examples.API_KEYS,
    documents.query("cursor", "`next` of the page before.", type="string"),
    documents.PAGE[1],
    action="api_keys.read",
    router=router,
    min_position=documents.NEVER_BEHIND,
    problems=(403, 404, 422),
)
async def list_api_keys(request: Request) -> Response:
    """API keys, the newest first: what they may do, whether they are in force, and when they were last used.

    The keys themselves are known to nobody. `last_used_at` follows within a minute. A founder who names no tenant sees
    those of all clients and of the platform.
    """
    _, tenant_id = await allowed_everywhere(request, "api_keys.read")
    limit = integer(request, "limit", 100, 1, MAX_PAGE)
    before = request.query_params.get("cursor") or api_keys.NEWEST
    reads = services(request).reads
    if tenant_id is None or tenant_id == PLATFORM:
        async with reads.founder() as founder:
            found = await api_keys.everybodys_keys(founder, before, limit, of_platform=tenant_id is not None)
    else:
        async with reads.tenant(tenant_id, services(request).partition_of(tenant_id)) as tx:
            found = await api_keys.keys(tx, before, limit)
    return answer(paged([_shown(row) for row in found], limit, "key_id"))


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    """Keys of the platform belong to no client."""
    return {name: value for name, value in row.items() if name != "tenant_id" or value is not None}
