"""Sessions over HTTP: how one begins, the cookie that carries it, and where its user sees and ends them.

A write here is a command of the platform's log under a key of its own making: nothing that an answer shows of secrets
is ever remembered, and doing it twice does no harm, so no Idempotency-Key is asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import uuid4

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from felix import trail
from felix.api import documents, examples
from felix.api.auth import SESSION_COOKIE, STEP_UP_S, Caller, StepUpNeeded
from felix.api.forgery import refuse_forgery
from felix.api.http import (
    Endpoint,
    Services,
    answer,
    caller_of,
    correlation_id,
    guarded,
    missing,
    read_json,
    services,
)
from felix.api.problems import invalid
from felix.application.performer import new_context
from felix.application.sign_in import SESSION_IDLES, Shown
from felix.domain.base import Command
from felix.domain.errors import Forbidden, Invalid, Unauthenticated
from felix.domain.identity.access import ACTIONS
from felix.domain.identity.roles import PLATFORM
from felix.domain.identity.session import BeginSession, EndSession, EndSessions, SignInMethod
from felix.eventstore.sign_in import new_token
from felix.projections import sign_in

router = APIRouter(tags=["sessions"])
M = TypeVar("M", bound="Asked")


class PeopleOnly(Forbidden):
    """Only a person who has signed in does this; a key is a machine's."""


class Asked(BaseModel):
    """The body of a request that becomes no command as it is, because it carries secrets."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)


class Nothing(Asked):
    """A request that needs no body."""


async def asked_for(request: Request, model: type[M]) -> M:
    """The body. Raises ``Invalid``, which repeats nothing of it but names."""
    body = await read_json(request)
    if not isinstance(body, dict):
        raise Invalid(
            "The body is not a JSON object.", errors=[{"pointer": "", "rule": "object", "detail": "not an object"}]
        )
    try:
        return model.model_validate(body)
    except ValidationError as error:
        raise invalid(error) from None


async def myself(request: Request, action: str) -> Caller:
    """The person who asks, about themselves. Raises ``Unauthenticated``, :class:`PeopleOnly` and ``StepUpNeeded``."""
    caller = await caller_of(request)
    row = ACTIONS[action]
    if row.place != "own":
        raise TypeError(f"{action} is nobody's own")
    if caller.method == "api_key":
        raise PeopleOnly(action=action)
    if any("stepped_up" in condition for condition in row.grants.values()):
        refuse_unproved(caller, action)
    return caller


def refuse_unproved(caller: Caller, action: str) -> None:
    """Raise ``StepUpNeeded`` unless the person has proved a moment ago who they are."""
    if not has_proved(caller):
        raise StepUpNeeded(action=action)


def has_proved(caller: Caller) -> bool:
    """Whether the person has proved a moment ago who they are."""
    proved = caller.stepped_up_at
    return proved is not None and (datetime.now(UTC) - proved).total_seconds() <= STEP_UP_S


async def decide_for(request: Request, user_id: str, command: Command, shown: Shown | None = None) -> dict[str, Any]:
    """Perform a command of the platform's log in the name of a person; its result. Raises what it is refused with."""
    return await _decide(services(request), request, user_id, command, shown or Shown())


async def _decide(found: Services, request: Request, user_id: str, command: Command, shown: Shown) -> dict[str, Any]:
    context = new_context(
        PLATFORM,
        f"door:{uuid4()}",
        f"user:{user_id}",
        correlation_id=correlation_id(request),
        enclosed=shown.enclosed(),
    )
    trail.note(
        tenant_id=PLATFORM,
        command=command.command_name,
        command_key=context.command_key,
        command_id=context.command_id,
        correlation_id=context.correlation_id,
    )
    outcome = await found.performer.perform(command, context)
    return outcome.result


async def begin_session(
    found: Services,
    user_id: str,
    method: SignInMethod,
    second_factor: bool,
    request: Request,
    shown: Shown | None = None,
) -> tuple[str, dict[str, Any]]:
    """Let a person in who has proved who they are: the new session's token, for :func:`carry`, and what is told of it.

    A session that the request came with ends. Raises ``CredentialsRefused`` for who is not active, and where what was
    shown does not hold any more.
    """
    token = new_token()
    before = await _session_before(request, user_id)
    command = BeginSession(user_id=user_id, method=method, second_factor=second_factor, replaces=before)
    shown = (shown or Shown()).with_token(token, request.headers.get("user-agent", ""))
    session = await _decide(found, request, user_id, command, shown)
    if before is not None:
        found.authenticator.forget()
    return token, session | {"method": method, "second_factor": second_factor}


async def _session_before(request: Request, user_id: str) -> str | None:
    """The session of the same person that the browser still has."""
    token = request.cookies.get(SESSION_COOKIE)
    if token is None or "authorization" in request.headers:
        return None
    try:
        caller = await services(request).authenticator.caller(None, token)
    except Unauthenticated:
        return None
    return caller.credential_id if caller.id == user_id else None


def carry(response: Response, token: str, session: dict[str, Any]) -> Response:
    """Give a browser the token of its session, for as long as that can last."""
    lasts = datetime.fromisoformat(session["expires_at"]) - datetime.now(UTC)
    response.set_cookie(
        SESSION_COOKIE, token, max_age=int(lasts.total_seconds()), path="/", secure=True, httponly=True, samesite="lax"
    )
    return response


def drop(response: Response) -> Response:
    """Take the token from a browser."""
    response.delete_cookie(SESSION_COOKIE, path="/", secure=True, httponly=True, samesite="lax")
    return response


def posts(
    path: str,
    model: type[Asked],
    example: tuple[dict[str, Any], dict[str, Any]],
    *problems: int,
    action: str,
    status: int = 200,
    router: APIRouter = router,
) -> Callable[[Endpoint], Endpoint]:
    """Add an endpoint that takes a body and remembers no key; the decorated function's docstring is its description.

    In front of the door no cookie says that it is a browser that asks; if it is one, it asks from a page of Felix.
    """
    at_door = ACTIONS[action].place == "door"

    def add(endpoint: Endpoint) -> Endpoint:
        told = (endpoint.__doc__ or "").strip()
        schema = documents.body_schema(model, frozenset())
        body = {
            "required": "required" in schema,
            "content": {"application/json": {"schema": schema, "example": example[0]}},
        }
        answers = documents.responses(status, example[1], 415, 422, *problems)
        described: dict[str, Any] = {"requestBody": body, "responses": answers}
        described["security"] = [] if at_door else [{"session": []}]

        async def guarded_from_others(request: Request) -> Response:
            if at_door:
                refuse_forgery(request, browser=False)
            return await endpoint(request)

        router.add_api_route(
            path,
            guarded(guarded_from_others),
            methods=["POST"],
            status_code=status,
            name=endpoint.__name__,
            operation_id=endpoint.__name__,
            summary=told.splitlines()[0],
            description=f"{told}\n\nNeeds no Idempotency-Key: the answer is not remembered.",
            response_class=Response,
            openapi_extra=documents.does(action) | described,
        )
        return endpoint

    return add


async def list_sessions(request: Request) -> Response:
    """Where you are signed in, the newest first.

    `last_seen_at` follows within two minutes. `current` is the session that asks.
    """
    caller = await myself(request, "sessions.read")
    now = datetime.now(UTC)
    async with services(request).reads.unbound() as tx:
        found = await sign_in.sessions_of(tx, caller.id, now, now - SESSION_IDLES)
    return answer({"data": [row | {"current": row["session_id"] == caller.credential_id} for row in found]})


router.add_api_route(
    "/v1/sessions",
    guarded(list_sessions),
    methods=["GET"],
    name="list_sessions",
    operation_id="list_sessions",
    summary=(list_sessions.__doc__ or "").strip().splitlines()[0],
    description=(list_sessions.__doc__ or "").strip(),
    response_class=Response,
    openapi_extra=documents.does("sessions.read")
    | {"security": [{"session": []}], "responses": documents.responses(200, examples.SESSIONS, 403)},
)


@posts("/v1/sessions/{session_id}/end", Nothing, examples.END_SESSION, 403, 404, action=EndSession.command_name)
async def end_session(request: Request) -> Response:
    """End one of your sessions, such as that of a telephone that is gone; everywhere within a second."""
    caller = await myself(request, EndSession.command_name)
    await asked_for(request, Nothing)
    session_id = request.path_params["session_id"]
    try:
        command = EndSession(session_id=session_id, user_id=caller.id, ending="ended_by_user")
    except ValidationError:
        raise missing("session_id", session_id) from None
    result = await decide_for(request, caller.id, command)
    services(request).authenticator.forget()
    response = answer(result)
    return drop(response) if session_id == caller.credential_id else response


@posts("/v1/sessions/end-others", Nothing, examples.END_OTHER_SESSIONS, 403, action=EndSessions.command_name)
async def end_other_sessions(request: Request) -> Response:
    """End all of your sessions but this one; everywhere within a second."""
    caller = await myself(request, EndSessions.command_name)
    await asked_for(request, Nothing)
    command = EndSessions(user_id=caller.id, ending="ended_by_user", keep=caller.credential_id)
    result = await decide_for(request, caller.id, command)
    services(request).authenticator.forget()
    return answer({"ended": len(result["ended"])})


@posts("/v1/sign-out", Nothing, examples.SIGN_OUT, 403, action="identity.sign_out")
async def sign_out(request: Request) -> Response:
    """End this session."""
    caller = await myself(request, "identity.sign_out")
    await asked_for(request, Nothing)
    command = EndSession(session_id=caller.credential_id, user_id=caller.id, ending="signed_out")
    await decide_for(request, caller.id, command)
    services(request).authenticator.forget()
    return drop(answer({"signed_out": True}))
