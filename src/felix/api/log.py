"""The log over HTTP: events and streams for auditors, and what became of a command."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from felix.api import documents, examples
from felix.api.http import MAX_PAGE, answer, chosen, fresh, identifier, integer, page, paged, place_of, services
from felix.api.ledger import reads
from felix.api.replay import moment
from felix.domain.errors import NotFound
from felix.projections import event_log, stream_heads

router = APIRouter(tags=["log"])


@reads(
    "/v1/events",
    examples.EVENTS,
    *documents.PAGE,
    documents.query("type", "Only events of this type.", type="string"),
    documents.query("stream", "Only events of this stream.", type="string"),
    documents.query("actor", "Only events of this actor.", type="string"),
    documents.query("since", "First moment (RFC 3339).", type="string"),
    documents.query("until", "Moment after the last (RFC 3339).", type="string"),
    documents.query(
        "correlation_id",
        "Only events of commands with this correlation id; found in the audit trail, which follows within moments.",
        type="string",
        format="uuid",
    ),
    action="log.read",
    router=router,
    min_position=documents.NEVER_BEHIND,
)
async def list_events(request: Request) -> Response:
    """The tenant's events in the order of its log; `cursor` and `next` are tenant sequences."""
    tenant_id, partition = await place_of(request, "log.read")
    cursor, limit = page(request)
    given = request.query_params
    since, until = moment(request, "since"), moment(request, "until")
    correlation_id = identifier(request, "correlation_id")
    async with services(request).reads.tenant(tenant_id, partition) as tx:
        found = await event_log.events(
            tx,
            cursor,
            limit,
            type=given.get("type"),
            stream=given.get("stream"),
            actor=given.get("actor"),
            since=since,
            until=until,
            correlation_id=correlation_id,
        )
    return answer(paged(found, limit, "tenant_sequence"))


@reads(
    "/v1/streams",
    examples.STREAMS,
    documents.query("kind", "Only streams of this kind, such as token_account.", type="string"),
    documents.query("prefix", "Only streams whose id begins like this.", type="string"),
    documents.query("order", "By the newest event, or by name.", type="string", enum=["newest", "name"]),
    documents.query("cursor", "`next` of the page before.", type="string"),
    documents.PAGE[1],
    action="log.read",
    router=router,
)
async def list_streams(request: Request) -> Response:
    """The tenant's streams: how long each is and what happened in it last, the newest first or by name."""
    tenant_id, partition = await place_of(request, "log.read")
    await fresh(request, tenant_id, partition, "stream_heads")
    given = request.query_params
    limit = integer(request, "limit", 100, 1, MAX_PAGE)
    by_name = chosen(request, "order", "newest", "name") == "name"
    after = given.get("cursor") if by_name else str(integer(request, "cursor", 2**63 - 1, 0, 2**63 - 1))
    async with services(request).reads.tenant(tenant_id, partition) as tx:
        found = await stream_heads.streams(
            tx,
            kind=given.get("kind"),
            prefix=given.get("prefix", ""),
            order="name" if by_name else "newest",
            after=after,
            limit=limit,
        )
    return answer(paged(found, limit, "stream" if by_name else "last_tenant_sequence"))


@reads(
    "/v1/streams/{stream}/events",
    examples.EVENTS,
    *documents.PAGE,
    action="log.read",
    router=router,
    min_position=documents.NEVER_BEHIND,
)
async def list_stream_events(request: Request) -> Response:
    """The events of one stream, from its first; `cursor` and `next` are versions."""
    tenant_id, partition = await place_of(request, "log.read")
    cursor, limit = page(request)
    stream = request.path_params["stream"]
    async with services(request).reads.tenant(tenant_id, partition) as tx:
        found = await event_log.stream_events(tx, stream, cursor, limit)
    if not found and cursor == 0:
        raise NotFound(f"There is no stream {stream}.", id=stream)
    return answer(paged(found, limit, "version"))


@reads(
    "/v1/commands/{command_key:path}",
    examples.COMMAND,
    action="log.read",
    router=router,
    min_position=documents.NEVER_BEHIND,
)
async def show_command(request: Request) -> Response:
    """What became of a command: how a lost answer is found again."""
    tenant_id, partition = await place_of(request, "log.read")
    key = request.path_params["command_key"]
    async with services(request).reads.tenant(tenant_id, partition) as tx:
        found = await event_log.command(tx, key)
    if found is None:
        raise NotFound(f"There is no command {key}.", id=key)
    return answer(found)
