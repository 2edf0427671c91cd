"""How a request becomes a command, and an outcome a response.

Endpoints read the raw request themselves: limits, JSON and validation in one place, once, and the remembered bytes of
an outcome go out as they are.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import orjson
from pydantic import ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from felix import trail
from felix.api.auth import SESSION_COOKIE, Authenticator, Caller, Principal
from felix.api.live.hub import LiveHub
from felix.api.problems import BodyTooLarge, MissingIdempotencyKey, invalid, problem, status_of
from felix.api.readiness import Check
from felix.application.outcome import Outcome
from felix.application.performer import MAX_COMMAND_KEY_LENGTH, Performer, new_context
from felix.domain.base import Command
from felix.domain.errors import FelixError, Invalid, NotFound
from felix.domain.identity.roles import PLATFORM
from felix.eventstore.jobs import JobBook
from felix.eventstore.mapper import canonical_json
from felix.eventstore.sealing import RootKeys
from felix.projections.freshness import wait_until
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
    pin_tenant: Callable[..., Any]
    jobs: JobBook
    projection_orders: ProjectionOrders
    ready: Callable[[], Awaitable[list[Check]]]
    scrape: Callable[[], Awaitable[bytes]]
    live: LiveHub
    read_timeout_s: float = 2.0
    metrics_token: str | None = field(default=None, repr=False)


def services(request: Request) -> Services:
    """The services of this application."""
    found: Services = request.app.state.services
    return found


def answer(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON response."""
    return Response(canonical_json(value), status, headers, JSON)


def guarded(endpoint: Endpoint) -> Endpoint:
    """Turn every error into a problem; a defect into a 500 that is logged and says nothing of its inside."""

    async def run(request: Request) -> Response:
        try:
            refuse_nul(request)
            return await endpoint(request)
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
    length = request.headers.get("content-length")
    if length is not None and length.isdigit() and int(length) > limit_bytes:
        raise BodyTooLarge(limit_bytes=limit_bytes)
    chunks, size = [], 0
    async for chunk in request.stream():
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


def idempotency_key(request: Request) -> str:
    """The key of a write: bare, or a quoted structured-field string. Raises ``MissingIdempotencyKey``."""
    key = request.headers.get("idempotency-key", "").strip()
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
    outcome = await services(request).performer.perform(command, context)
    return respond(outcome, status)


def respond(outcome: Outcome, status: int) -> Response:
    """An outcome as it was, byte for byte, however often it is asked for."""
    headers = {}
    if outcome.replayed:
        headers["Idempotent-Replayed"] = "true"
    if (position := outcome.position) is not None:
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
    given = request.headers.get("felix-correlation-id")
    if not given:
        chosen: UUID = request.scope["felix.request_id"]
        return trace_of(request.headers.get("traceparent")) or chosen
    try:
        return UUID(given)
    except ValueError:
        raise Invalid(
            "Felix-Correlation-Id is not a UUID.",
            errors=[{"pointer": "Felix-Correlation-Id", "rule": "uuid", "detail": "not a UUID"}],
        ) from None


async def caller_of(request: Request) -> Caller:
    """Who asks, whatever they may do. Raises ``Unauthenticated``."""
    found = services(request).authenticator
    return await found.caller(request.headers.get("authorization"), request.cookies.get(SESSION_COOKIE))


async def allowed(request: Request, action: str) -> Principal:
    """Who asks, if they may do this, at work in the tenant that they are in or name in ``Felix-Tenant``.

    Raises ``Unauthenticated``, ``Forbidden``, ``NotFound`` and ``Invalid``.
    """
    caller = await caller_of(request)
    return await services(request).authenticator.principal(caller, action, request.headers.get("felix-tenant"))


async def allowed_everywhere(request: Request, action: str, named: str | None = None) -> tuple[Principal, UUID | None]:
    """The same where a founder need not name a tenant: None means all of them."""
    caller = await caller_of(request)
    named = request.headers.get("felix-tenant") or named
    authenticator = services(request).authenticator
    if caller.of_platform and not named:
        return await authenticator.principal(caller, action, str(PLATFORM)), None
    principal = await authenticator.principal(caller, action, named)
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
    kind = {"account_id": "token account"}.get(parameter, parameter.removesuffix("_id").replace("_", " "))
    return NotFound(f"There is no {kind} {value}.", id=value)


async def fresh(request: Request, partition: int, *projections: str) -> None:
    """Wait until the read models have seen the position that the caller asks for. Raises ``Unavailable``."""
    wanted = request.headers.get("felix-min-position") or request.query_params.get("after")
    if not wanted:
        return
    named, _, position = wanted.partition(":")
    if not (named.isdecimal() and position.isdecimal() and len(wanted) < 40):
        raise Invalid(
            "A position looks like 2:1234.",
            errors=[{"pointer": "Felix-Min-Position", "rule": "position", "detail": "<partition>:<position>"}],
        )
    if int(named) == partition:
        found = services(request)
        await wait_until(found.reads, list(projections), partition, int(position), timeout_s=found.read_timeout_s)


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
