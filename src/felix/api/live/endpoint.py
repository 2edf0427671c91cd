"""Where live streams begin: who asks, for what, and from which place on."""

from __future__ import annotations

import re
from uuid import UUID

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from felix.api import documents, examples
from felix.api.auth import Principal
from felix.api.http import allowed_everywhere, guarded, services, write_down_read
from felix.api.live.hub import Reader
from felix.api.live.stream import LiveStream, Place
from felix.api.live.topics import read_topics
from felix.domain.errors import Invalid

router = APIRouter(tags=["live"])

_OF_A_TENANT = re.compile(r"([0-9]{1,18})(?:/([0-9]{1,18}))?", re.ASCII)
_OF_ALL = re.compile(r"0|[0-9]{1,9}:[0-9]{1,18}(?:,[0-9]{1,9}:[0-9]{1,18})*", re.ASCII)


async def live(request: Request) -> Response:
    """What happens, as it happens: a stream of server-sent events that can be taken up again where it was left.

    Messages are called by their topic. `events` are those of `GET /v1/events`, each once and in the order of the log;
    `balances` are token accounts as `GET /v1/token-accounts` shows them, told anew when they changed: what is
    overtaken is skipped, the newest always comes. So it is with `changes`: where each is, how far in hundredths, whom
    it waits for and what it has cost so far. The first message, `ready`, says the place at which the stream
    begins: the end of the log, unless `Last-Event-ID` (or `last_event_id`) names another one or `from` is `beginning`.

    The `id` of a message is all that is needed to go on after it, on any process and at any later time: send it as
    `Last-Event-ID`, as browsers do by themselves. For one client it is the `tenant_sequence`, which has no gaps. A
    founder who names no client gets the events of all of them, and an id with the position of every partition.

    Comments keep the connection open. A client that does not read is cut off, and loses nothing by that.
    """
    topics = read_topics(request.query_params.getlist("topics"))
    principal, tenant_id = await _allowed(request)
    await write_down_read(request)
    follow = _choice(request, "follow", "true", "false") == "true"
    begins = _choice(request, "from", "now", "beginning")
    given = request.headers.get("last-event-id", "").strip() or request.query_params.get("last_event_id", "").strip()
    if tenant_id is None and topics.states:
        raise Invalid(
            "States are told of one tenant: name it in the Felix-Tenant header or in ?tenant=.",
            errors=[{"pointer": "?topics", "rule": "tenant", "detail": each.name} for each in topics.states],
        )
    hub = services(request).live
    reader = hub.admit(principal, tenant_id, lambda: _allowed(request))
    try:
        if tenant_id is None:
            await hub.follow_everything(reader)
        else:
            await hub.follow_tenant(reader, tenant_id, services(request).partition_of(tenant_id), topics.states)
        place = await _place(reader, given or ("0" if begins == "beginning" else ""))
        until = None if follow else {partition: await source.head() for partition, source in reader.sources.items()}
    except BaseException:
        hub.release(reader)
        raise
    return LiveStream(hub, reader, topics, place, until)


router.add_api_route(
    "/v1/live",
    guarded(live),
    methods=["GET"],
    operation_id="live",
    summary=str(live.__doc__).splitlines()[0],
    description=str(live.__doc__).strip(),
    response_class=Response,
    openapi_extra=documents.does("live.follow")
    | documents.stream(
        examples.LIVE,
        documents.query(
            "topics", "Topics: `events`, types of events such as `ledger.*`, `balances`, `changes`; with commas."
        ),
        documents.query("tenant", "For founder keys: as `Felix-Tenant`, for browsers, which can't send headers here."),
        documents.query("last_event_id", "As the header of this name, for the first time."),
        documents.query("from", "Where to begin without an id.", type="string", enum=["now", "beginning"]),
        documents.query("follow", "`false`: end when all is told, for scripts.", type="string", enum=["true", "false"]),
    ),
)


async def _allowed(request: Request) -> tuple[Principal, UUID | None]:
    """Who listens and to whom, now and once a second while the stream lasts; None: to all tenants."""
    return await allowed_everywhere(request, "live.follow", request.query_params.get("tenant"))


def _choice(request: Request, name: str, *choices: str) -> str:
    given = request.query_params.get(name, choices[0])
    if given not in choices:
        raise Invalid(
            f"{name} is {' or '.join(choices)}.",
            errors=[{"pointer": f"?{name}", "rule": "choice", "detail": " or ".join(choices)}],
        )
    return given


async def _place(reader: Reader, given: str) -> Place:
    """Where to begin: now, or at an id that was told before. Raises ``Invalid`` for what can't have been."""
    is_founders = reader.tenant_id is None
    ends = {partition: source.end for partition, source in reader.sources.items()}
    if not given:
        return Place(ends, max(ends.values()) if reader.feeds else None, is_founders)
    if is_founders:
        if not _OF_ALL.fullmatch(given):
            raise _wrong("An id of all partitions looks like 0:12,3:5.")
        told = [part.split(":") for part in given.split(",") if given != "0"]
        seen = {int(partition): int(position) for partition, position in told}
        if len(seen) < len(told):
            raise _wrong("An id of all partitions names each of them once.")
        farthest, states = seen, None
    else:
        if not (matched := _OF_A_TENANT.fullmatch(given)):
            raise _wrong("An id of one tenant looks like 17 or 17/15.")
        (partition,) = ends
        seen, states = {partition: int(matched[1])}, int(matched[2] or matched[1])
        farthest = {partition: max(seen[partition], states)}
    for partition, position in farthest.items():
        source = reader.sources.get(partition)
        # Another process may have told what this one has not read yet.
        if source is None or (position > source.end and position > await source.head()):
            raise _wrong("The log has not come so far.")
    return Place(dict.fromkeys(ends, 0) | seen, states if reader.feeds else None, is_founders)


def _wrong(detail: str) -> Invalid:
    return Invalid(detail, errors=[{"pointer": "Last-Event-ID", "rule": "position", "detail": detail}])
