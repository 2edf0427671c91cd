"""What staff read of a client, and whose eyes they read it with."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from felix.api import documents, examples
from felix.api.http import (
    MAX_PAGE,
    Endpoint,
    allowed,
    answer,
    chosen,
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
from felix.api.replay import moment
from felix.domain.base import Command
from felix.domain.errors import Invalid
from felix.domain.identity.impersonation import BeginImpersonation, EndImpersonation
from felix.projections import access_log

router = APIRouter(tags=["access log"])
KINDS = ("read", "impersonation_began", "impersonation_ended")
#: What the door knows of the caller, and nobody else may say.
_OF_THE_CALLER = frozenset({"caller_id", "credential_id"})


@reads(
    "/v1/access-log",
    examples.ACCESS_LOG,
    *documents.PAGE,
    documents.query("actor", "Only what this person or key did, such as `auditor:usr_…`.", type="string"),
    documents.query("kind", "Only entries of this kind.", type="string", enum=list(KINDS)),
    documents.query("impersonation_id", "Only what was read in this impersonation.", type="string"),
    documents.query("since", "First moment (RFC 3339).", type="string"),
    documents.query("until", "Moment after the last (RFC 3339).", type="string"),
    action="access_log.read",
    router=router,
)
async def list_access_log(request: Request) -> Response:
    """What staff read of this client, newest first: auditors, founders, and founders who impersonate.

    Every answer that shows what is the client's is written down before it leaves; reading this list is an entry as
    well. `what` is the path, and of the query what can't be anybody's name; `rows` is missing where the answer is no
    list. `cursor` and `next` are tenant sequences, and lead to the events.
    """
    tenant_id, partition = await place_of(request, "access_log.read")
    await fresh(request, tenant_id, partition, "access_log")
    given = request.query_params
    before = integer(request, "cursor", 0, 0, 2**63 - 1) if "cursor" in given else None
    limit = integer(request, "limit", 100, 1, MAX_PAGE)
    kind = chosen(request, "kind", *KINDS)
    since, until = moment(request, "since"), moment(request, "until")
    async with services(request).reads.tenant(tenant_id, partition) as tx:
        found = await access_log.reads(
            tx,
            before,
            limit,
            actor=given.get("actor"),
            kind=kind,
            impersonation_id=given.get("impersonation_id"),
            since=since,
            until=until,
        )
    return answer(paged(found, limit, "tenant_sequence"))


@reads(
    "/v1/impersonations",
    examples.IMPERSONATIONS,
    documents.query("active", "`true`: only those that are under way.", type="string", enum=["true", "false"]),
    documents.PAGE[1],
    action="impersonations.read",
    router=router,
)
async def list_impersonations(request: Request) -> Response:
    """Who looked at this client with the eyes of one of its members, why and until when, newest first.

    `text` is the sentence that the client's people are shown while one is under way.
    """
    tenant_id, partition = await place_of(request, "impersonations.read")
    await fresh(request, tenant_id, partition, "access_log")
    limit = integer(request, "limit", 100, 1, MAX_PAGE)
    now = datetime.now(UTC)
    only = now if chosen(request, "active", "true", "false") == "true" else None
    async with services(request).reads.tenant(tenant_id, partition) as tx:
        found = await access_log.impersonations(tx, limit, at=only)
    return answer({"data": [row | {"active": is_active(row, now), "text": sentence(row)} for row in found]})


def is_active(row: dict[str, Any], at: datetime) -> bool:
    """Whether an impersonation is under way; what ended with a founder's session runs on here until its time."""
    return row["ended_at"] is None and at < row["expires_at"]


def sentence(row: dict[str, Any]) -> str:
    """What the client's people are told of an impersonation."""
    until = (row["ended_at"] or row["expires_at"]).astimezone(UTC)
    seen_as = row["role"].removeprefix("client_")
    return (
        f"{row['actor'].partition(':')[2]}, a founder, sees this account as its {seen_as} does, and can change nothing,"
        f" until {until:%Y-%m-%d %H:%M} UTC: {row['reason']}"
    )


async def begin_impersonation(request: Request) -> Response:
    """See a client as one of its members does, reading only, for at most an hour. The client sees that you do.

    Send the `impersonation_id` as `Felix-Impersonation` with what you read. Every read is written down in the client's
    access log. Only you can use it, with the key or session that began it: it ends with that, at its time, or before
    by `POST /v1/impersonations/{impersonation_id}/end`.
    """
    principal = await allowed(request, BeginImpersonation.command_name)
    own = {"caller_id": principal.caller.id, "credential_id": principal.caller.credential_id}
    body = await read_json(request)
    if isinstance(body, dict) and (wrong := sorted(body.keys() & own.keys())):
        detail = "the door knows who you are"
        raise Invalid(errors=[{"pointer": f"/{name}", "rule": "extra_forbidden", "detail": detail} for name in wrong])
    return await perform(request, principal, command_from(BeginImpersonation, body, own), 201)


async def end_impersonation(request: Request) -> Response:
    """End an impersonation before its time; what has ended stays so."""
    principal = await allowed(request, EndImpersonation.command_name, as_themselves=True)
    command = command_from(EndImpersonation, await read_json(request), request.path_params)
    answered = await perform(request, principal, command)
    services(request).authenticator.forget()
    return answered


def _writes(path: str, endpoint: Endpoint, command_class: type[Command], given: frozenset[str], status: int) -> None:
    asked, answered = examples.WRITES[command_class.__name__]
    described = documents.write(command_class, given, asked, status, answered)
    performs(path, endpoint, command_class.command_name, described, status=status, router=router)


_writes("/v1/impersonations", begin_impersonation, BeginImpersonation, _OF_THE_CALLER, 201)
_writes(
    "/v1/impersonations/{impersonation_id}/end",
    end_impersonation,
    EndImpersonation,
    frozenset({"impersonation_id"}),
    200,
)
