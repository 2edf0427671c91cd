"""The log over HTTP: events and streams for auditors, and what became of a command."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from felix.api import documents, examples
from felix.api.http import answer, page, paged, services, tenant_of
from felix.api.ledger import reads
from felix.api.replay import moment
from felix.domain.errors import NotFound
from felix.projections import event_log

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
    router=router,
)
async def list_events(request: Request) -> Response:
    """The tenant's events in the order of its log; `cursor` and `next` are tenant sequences."""
    _, tenant_id = await tenant_of(request)
    cursor, limit = page(request)
    chosen = request.query_params
    since, until = moment(request, "since"), moment(request, "until")
    async with services(request).reads.tenant(tenant_id, services(request).partition_of(tenant_id)) as tx:
        found = await event_log.events(
            tx,
            cursor,
            limit,
            type=chosen.get("type"),
            stream=chosen.get("stream"),
            actor=chosen.get("actor"),
            since=since,
            until=until,
        )
    return answer(paged(found, limit, "tenant_sequence"))


@reads("/v1/streams/{stream}/events", examples.EVENTS, *documents.PAGE, router=router)
async def list_stream_events(request: Request) -> Response:
    """The events of one stream, from its first; `cursor` and `next` are versions."""
    _, tenant_id = await tenant_of(request)
    cursor, limit = page(request)
    stream = request.path_params["stream"]
    async with services(request).reads.tenant(tenant_id, services(request).partition_of(tenant_id)) as tx:
        found = await event_log.stream_events(tx, stream, cursor, limit)
    if not found and cursor == 0:
        raise NotFound(f"There is no stream {stream}.", id=stream)
    return answer(paged(found, limit, "version"))


@reads("/v1/commands/{command_key:path}", examples.COMMAND, router=router)
async def show_command(request: Request) -> Response:
    """What became of a command: how a lost answer is found again."""
    _, tenant_id = await tenant_of(request)
    key = request.path_params["command_key"]
    async with services(request).reads.tenant(tenant_id, services(request).partition_of(tenant_id)) as tx:
        found = await event_log.command(tx, key)
    if found is None:
        raise NotFound(f"There is no command {key}.", id=key)
    return answer(found)
