"""How a request becomes a command, and an outcome a response.

Endpoints read the raw request themselves: limits, JSON and validation in one place, once, and the remembered bytes of
an outcome go out as they are.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson
from pydantic import ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Message

from felix import trail
from felix.api.addresses import Network, client_address
from felix.api.auth import SESSION_COOKIE, Authenticator, Caller, Principal
from felix.api.forgery import refuse_forgery
from felix.api.live.hub import LiveHub
from felix.api.problems import BodyTooLarge, MissingIdempotencyKey, invalid, problem, status_of
from felix.api.rate_limits import RateLimits
from felix.api.readiness import Check
from felix.api.watched_reads import is_watched, watch, write_down
from felix.application.apps.measurements import Measurements
from felix.application.apps.releases import Releases, ReleaseStore
from felix.application.documents import DocumentDesk
from felix.application.identity import Inviter
from felix.application.oidc import SignInProvider
from felix.application.outcome import Outcome
from felix.application.performer import MAX_COMMAND_KEY_LENGTH, Performer, new_context
from felix.application.sign_in import Passwords
from felix.domain.base import Command
from felix.domain.changes.modules import Library
from felix.domain.errors import FelixError, Invalid, NotFound, Unauthenticated
from felix.domain.identity.roles import PLATFORM
from felix.eventstore.jobs import JobBook
from felix.eventstore.mapper import canonical_json
from felix.eventstore.sealing import RootKeys
from felix.eventstore.sign_in_book import SignInBook
from felix.eventstore.vault import Vault
from felix.projections.freshness import wait_for_own
from felix.projections.rebuild_orders import ProjectionOrders
from felix.projections.tenant_tx import ReadPool
from felix.trail import trace_of

log = logging.getLogger("felix.api")

MAX_BODY_BYTES = 64 * 1024
MAX_BATCH_BODY_BYTES = 4 * 1024 * 1024
#: Arrays and objects inside each other; nothing that Felix reads is deeper than six.
MAX_JSON_DEPTH = 32
MAX_PAGE = 1_000

JSON = "application/json"
_HEADERS = "felix.headers"
_POSITION = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}):([0-9]{1,18})", re.ASCII)
Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass(slots=True)
class Services:
    """What the endpoints work with; made by bootstrap, kept in ``app.state.services``."""

    performer: Performer
    reads: ReadPool
    authenticator: Authenticator
    partition_of: Callable[[UUID], int]
    #: Raises ``NoRootKey`` where there is none.
    root_keys: Callable[[], RootKeys]
    #: What is personal is sealed and opened by it.
    vault: Callable[[], Vault]
    pin_tenant: Callable[..., Any]
    jobs: JobBook
    projection_orders: ProjectionOrders
    #: What is larger than an event: plans, diffs and releases.
    objects: ReleaseStore
    #: Every release of an app, and what is counted of those that run.
    releases: Releases
    measurements: Measurements
    #: The modules that an app can begin with; read once, when it is asked for.
    library: Callable[[], Library]
    #: Where documents are read and indexed before a command lets planners find them.
    documents: DocumentDesk
    ready: Callable[[], Awaitable[list[Check]]]
    scrape: Callable[[], Awaitable[bytes]]
    live: LiveHub
    rate_limits: RateLimits
    passwords: Passwords
    sign_in_book: SignInBook
    #: Raises ``NoRootKey`` where there is none.
    inviter: Callable[[], Inviter]
    #: None where nobody signs in with an OpenID provider.
    sign_in_provider: SignInProvider | None = None
    #: Whose word counts of where a request comes from.
    trusted_proxies: Sequence[Network] = ()
    #: What plans changes that the grammar does not understand and that name no model, as a quote has to know.
    planner_model: str | None = None
    read_timeout_s: float = 2.0
    metrics_token: str | None = field(default=None, repr=False)


def services(request: Request) -> Services:
    """The services of this application."""
    found: Services = request.app.state.services
    return found


def header(request: Request, name: bytes) -> str | None:
    """A header of the request, named in lower case; the first one where it is there twice.

    A debit asks for seven: they are gathered once instead of being searched for each time.
    """
    gathered = request.scope.get(_HEADERS)
    if gathered is None:
        gathered = request.scope[_HEADERS] = dict(reversed(request.scope["headers"]))
    value = gathered.get(name)
    return None if value is None else value.decode("latin-1")


class Answer(Response):
    """A JSON response that knows how many rows it shows, if it is a list."""

    rows: int | None = None


def answer(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON response."""
    made = Answer(canonical_json(value), status, headers, JSON)
    if type(value) is dict and type(shown := value.get("data")) is list:
        made.rows = len(shown)
    return made


def guarded(endpoint: Endpoint) -> Endpoint:
    """Turn every error into a problem; a defect into a 500 that is logged and says nothing of its inside."""

    async def run(request: Request) -> Response:
        try:
            refuse_nul(request)
            response = await endpoint(request)
            if response.status_code < 400 and is_watched(request):
                await write_down_read(request, getattr(response, "rows", None))
            return response
        except FelixError as error:
            if status_of(error) >= 500:
                log.error(
                    "%s: %s", error.code, error, exc_info=error.__cause__ or error, extra={"status": status_of(error)}
                )
            return problem(error)
        except ClientDisconnect:
            return Response(status_code=499)
        except Exception:
            log.exception("a request failed", extra={"status": 500})
            return problem(FelixError("Something went wrong inside Felix. Nothing was half done; it has been logged."))

    run.__doc__ = endpoint.__doc__
    run.__name__ = endpoint.__name__
    return run


def refuse_nul(request: Request) -> None:
    """NUL is the one character that Postgres can't be asked about. Raises ``NotFound`` and ``Invalid``."""
    if "\0" in request.scope["path"]:
        raise NotFound("There is no such path.")
    if b"%00" in request.scope["query_string"] or b"\0" in request.scope["query_string"]:
        wrong = [name for name, value in request.query_params.multi_items() if "\0" in name + value]
        raise Invalid(
            "The query has a NUL in it.",
            errors=[{"pointer": f"?{name}", "rule": "text", "detail": "must not contain NUL"} for name in wrong],
        )


async def read_json(request: Request, limit_bytes: int = MAX_BODY_BYTES) -> Any:
    """The body as JSON. Raises ``BodyTooLarge`` and ``Invalid``; NaN, lone surrogates, depth bombs
    and members that are there twice are refused: what two readers could read differently is no order."""
    length = header(request, b"content-length")
    if length is not None and length.isdigit() and int(length) > limit_bytes:
        raise BodyTooLarge(limit_bytes=limit_bytes)
    chunks, size = [], 0
    message: Message = {"more_body": True}
    while message.get("more_body"):
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect()
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit_bytes:
            raise BodyTooLarge(limit_bytes=limit_bytes)
        chunks.append(chunk)
    body = b"".join(chunks)
    if not body:
        return {}
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Invalid(
            "The body is not JSON.",
            errors=[{"pointer": "", "rule": "json", "detail": f"{error.msg} (character {error.pos})"}],
        ) from None
    depth, members = _shape(value)
    if depth > MAX_JSON_DEPTH:
        raise Invalid(
            "The body is nested too deeply.",
            errors=[{"pointer": "", "rule": "depth", "detail": f"at most {MAX_JSON_DEPTH} levels"}],
        )
    if (name := _given_twice(body, members)) is not None:
        raise Invalid(
            "A member of the body is given twice.",
            errors=[{"pointer": "", "rule": "duplicate", "detail": f"{name[:100]} is given twice"}],
        )
    return value


def _shape(value: Any) -> tuple[int, int]:
    """How deep a value is, up to one more than may be, and how many members its objects have in all."""
    depth = members = 0
    level = [value]
    while level and depth <= MAX_JSON_DEPTH:
        below: list[Any] = []
        depth += 1
        for current in level:
            if type(current) is dict:
                members += len(current)
                below += [item for item in current.values() if type(item) is dict or type(item) is list]
            elif type(current) is list:
                below += [item for item in current if type(item) is dict or type(item) is list]
        level = below
    return depth, members


def _given_twice(body: bytes, members: int) -> str | None:
    """The name of a member that its object has twice.

    The parser keeps the last one. Where no colon follows white space, every member shows as ``":`` in the body; other
    ``":`` are inside strings and only add. So if there are as many as members were kept, none was dropped. If not, a
    slower parser looks.
    """
    spaced = any(space in body and space + b":" in body for space in (b" ", b"\t", b"\n", b"\r"))
    if body.count(b'":') == members and not spaced:
        return None
    found: list[str] = []

    def look(pairs: list[tuple[str, Any]]) -> None:
        names: set[str] = set()
        for name, _ in pairs:
            if name in names:
                found.append(name)
            names.add(name)

    json.loads(body, object_pairs_hook=look)
    return found[0] if found else None


def address_of(request: Request) -> str:
    """Where a request comes from."""
    return client_address(request, services(request).trusted_proxies)


def idempotency_key(request: Request) -> str:
    """The key of a write: bare, or a quoted structured-field string. Raises ``MissingIdempotencyKey``."""
    key = (header(request, b"idempotency-key") or "").strip()
    if len(key) >= 2 and key[0] == key[-1] == '"':
        key = key[1:-1]
    if not key:
        raise MissingIdempotencyKey()
    if len(key) > MAX_COMMAND_KEY_LENGTH or not key.isascii() or not key.isprintable():
        raise MissingIdempotencyKey(
            f"An Idempotency-Key has 1 to {MAX_COMMAND_KEY_LENGTH} printable ASCII characters.",
            errors=[{"pointer": "Idempotency-Key", "rule": "format", "detail": "1 to 255 printable ASCII characters"}],
        )
    return key


async def perform(
    request: Request,
    principal: Principal,
    command: Command,
    status: int = 200,
    *,
    tenant_id: UUID | None = None,
    enclosed: Mapping[str, Any] | None = None,
) -> Response:
    """Perform a command under the request's key and answer with its remembered outcome.

    ``tenant_id`` is another tenant than the principal's, for people of the platform only.
    """
    return respond(await decide(request, principal, command, tenant_id=tenant_id, enclosed=enclosed), status)


async def decide(
    request: Request,
    principal: Principal,
    command: Command,
    *,
    tenant_id: UUID | None = None,
    enclosed: Mapping[str, Any] | None = None,
) -> Outcome:
    """The same without the answer, for those who add to it what is not remembered."""
    tenant_id = tenant_id or principal.tenant_id
    context = new_context(
        tenant_id,
        idempotency_key(request),
        principal.actor,
        correlation_id=correlation_id(request),
        on_behalf_of=principal.on_behalf_of,
        enclosed=enclosed,
    )
    trail.note(
        tenant_id=tenant_id,
        command=command.command_name,
        command_key=context.command_key,
        command_id=context.command_id,
        correlation_id=context.correlation_id,
    )
    return await services(request).performer.perform(command, context)


def respond(outcome: Outcome, status: int) -> Response:
    """An outcome as it was, byte for byte, however often it is asked for."""
    headers = {}
    if outcome.replayed:
        headers["Idempotent-Replayed"] = "true"
    # How far the platform's own log is would tell everybody how many people sign in.
    if (position := outcome.position) is not None and outcome.tenant_id != PLATFORM:
        headers["Felix-Position"] = position
    if (correlation := outcome.correlation_id) is not None:
        headers["Felix-Correlation-Id"] = correlation
    if outcome.accepted:
        return Response(outcome.body, status, headers, JSON)
    return problem(outcome.refusal, headers)


def correlation_id(request: Request) -> UUID:
    """What the command and all that follows from it is found by: the caller's choice, or the id of the request.

    A caller who traces (W3C traceparent) has chosen the id of the trace.
    """
    given = header(request, b"felix-correlation-id")
    if not given:
        chosen: UUID = request.scope["felix.request_id"]
        return trace_of(header(request, b"traceparent")) or chosen
    try:
        return UUID(given)
    except ValueError:
        raise Invalid(
            "Felix-Correlation-Id is not a UUID.",
            errors=[{"pointer": "Felix-Correlation-Id", "rule": "uuid", "detail": "not a UUID"}],
        ) from None


async def caller_of(request: Request) -> Caller:
    """Who asks, whatever they may do. Raises ``Unauthenticated``, and ``RateLimitExceeded`` instead if it goes on."""
    found = services(request)
    authorization, session = header(request, b"authorization"), None
    if authorization is None and (session := request.cookies.get(SESSION_COOKIE)) is not None:
        refuse_forgery(request)
    try:
        caller = await found.authenticator.caller(
            authorization,
            session,
            lambda: found.rate_limits.refuse_stranger(address_of(request)),
        )
    except Unauthenticated:
        found.rate_limits.take_stranger(address_of(request))
        raise
    found.rate_limits.take(request.scope, caller.credential_id)
    return caller


async def _principal(
    request: Request, caller: Caller, action: str, named: str | None, impersonation: str | None
) -> Principal:
    """The caller at work, counted for their client, and watched where they read what is not theirs."""
    found = services(request)
    principal = await found.authenticator.principal(caller, action, named, impersonation)
    # What founders do about a client is not taken from the client's quota.
    whole = PLATFORM if principal.of_platform else principal.tenant_id
    found.rate_limits.take_of_client(request.scope, whole)
    watch(request, principal, action)
    return principal


async def write_down_read(request: Request, rows: int | None = None) -> None:
    """Write down what staff read with this request, before they get it; does nothing for others, and the second time.

    An endpoint whose answer begins before it is whole does this itself.
    """
    if is_watched(request):
        await write_down(request, services(request).performer, correlation_id(request), rows)


async def allowed(request: Request, action: str, *, as_themselves: bool = False) -> Principal:
    """Who asks, if they may do this, at work in the tenant that they are in or name in ``Felix-Tenant``.

    ``as_themselves``: whosever eyes the request comes with. Raises ``Unauthenticated``, ``Forbidden``, ``NotFound`` and
    ``Invalid``.
    """
    eyes = None if as_themselves else header(request, b"felix-impersonation")
    return await _principal(request, await caller_of(request), action, header(request, b"felix-tenant"), eyes)


async def allowed_everywhere(request: Request, action: str, named: str | None = None) -> tuple[Principal, UUID | None]:
    """The same where a founder need not name a tenant: None means all of them."""
    caller = await caller_of(request)
    named = header(request, b"felix-tenant") or named
    eyes = header(request, b"felix-impersonation")
    if not named and eyes is None and caller.is_of_platform(datetime.now(UTC)):
        return await _principal(request, caller, action, str(PLATFORM), None), None
    principal = await _principal(request, caller, action, named, eyes)
    return principal, principal.tenant_id


async def place_of(request: Request, action: str) -> tuple[UUID, int]:
    """The tenant whose read models the caller may ask, and its partition."""
    principal = await allowed(request, action)
    return principal.tenant_id, services(request).partition_of(principal.tenant_id)


def command_from(command_class: type[Command], body: Any, path: dict[str, str]) -> Command:
    """Validate a command. What is wrong in the path is ``NotFound``: no such thing can exist."""
    if not isinstance(body, dict):
        raise Invalid(
            "The body is not a JSON object.", errors=[{"pointer": "", "rule": "object", "detail": "not an object"}]
        )
    if clash := path.keys() & body.keys():
        raise Invalid(
            "The body repeats what the path says.",
            errors=[{"pointer": f"/{name}", "rule": "path", "detail": "is in the path"} for name in sorted(clash)],
        )
    try:
        return command_class.model_validate(body | path)
    except ValidationError as error:
        for entry in error.errors(include_url=False, include_context=False, include_input=False):
            if entry["loc"] and entry["loc"][0] in path:
                raise missing(str(entry["loc"][0]), path[str(entry["loc"][0])]) from None
        raise invalid(error, skip=frozenset(path)) from None
    except OverflowError:
        # A moment whose zone takes it out of the calendar; pydantic lets this error of its validators through.
        raise Invalid(
            "The request is not well formed.",
            errors=[{"pointer": "", "rule": "moment", "detail": "a moment lies outside the years 1 to 9999"}],
        ) from None


def missing(parameter: str, value: str) -> NotFound:
    """Exactly what the lane says of a thing of this kind that does not exist, or not here."""
    kind = {"account_id": "token account", "key_id": "api key", "name": "secret"}.get(
        parameter, parameter.removesuffix("_id").replace("_", " ")
    )
    return NotFound(f"There is no {kind} {value}.", id=value)


async def fresh(request: Request, tenant_id: UUID, partition: int, *projections: str) -> None:
    """Wait until the read models have seen the position that the caller asks for. Raises ``Unavailable``.

    A position in the log of another tenant, such as the platform's, says nothing of this one.
    """
    wanted = header(request, b"felix-min-position") or request.query_params.get("after")
    if not wanted:
        return
    if (position := read_position(wanted)) is None:
        raise Invalid(
            f"A position looks like {tenant_id}:17.",
            errors=[{"pointer": "Felix-Min-Position", "rule": "position", "detail": "<tenant>:<tenant_sequence>"}],
        )
    named, tenant_sequence = position
    if named == tenant_id:
        found = services(request)
        await wait_for_own(
            found.reads, list(projections), tenant_id, partition, tenant_sequence, timeout_s=found.read_timeout_s
        )


def read_position(given: str) -> tuple[UUID, int] | None:
    """A tenant and a place in its log, as ``Felix-Position`` says it; None where that is not what it is."""
    matched = _POSITION.fullmatch(given)
    return (UUID(matched[1]), int(matched[2])) if matched else None


def identifier(request: Request, name: str) -> UUID | None:
    """A UUID from the query string. Raises ``Invalid``."""
    given = request.query_params.get(name)
    try:
        return UUID(given) if given else None
    except ValueError:
        raise Invalid(
            f"{name} is not a UUID.", errors=[{"pointer": f"?{name}", "rule": "uuid", "detail": "not a UUID"}]
        ) from None


def chosen(request: Request, name: str, *options: str) -> str | None:
    """One of several words from the query string. Raises ``Invalid``."""
    given = request.query_params.get(name)
    if given is None or given in options:
        return given
    raise Invalid(
        f"{name} is none of {', '.join(options)}.",
        errors=[{"pointer": f"?{name}", "rule": "enum", "detail": ", ".join(options)}],
    )


def page(request: Request) -> tuple[int, int]:
    """``cursor`` and ``limit`` of a list."""
    return integer(request, "cursor", 0, 0, 2**63 - 1), integer(request, "limit", 100, 1, MAX_PAGE)


def paged(rows: list[dict[str, Any]], limit: int, by: str) -> dict[str, Any]:
    """A page and where the next one begins; ``next`` is null on the last page that is known to be the last."""
    return {"data": rows, "next": rows[-1][by] if len(rows) == limit else None}


def integer(request: Request, name: str, default: int, least: int, most: int) -> int:
    """A whole number from the query string."""
    given = request.query_params.get(name)
    if given is None:
        return default
    if given.isascii() and given.removeprefix("-").isdecimal() and len(given) < 21 and least <= int(given) <= most:
        return int(given)
    raise Invalid(
        f"{name} is not a whole number from {least} to {most}.",
        errors=[{"pointer": f"?{name}", "rule": "integer", "detail": f"from {least} to {most}"}],
    )
