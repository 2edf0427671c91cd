"""Signing in with an OpenID provider: the way there, the way back, and a second factor where the account has one.

What a browser has to come back with is in a cookie of its own, sealed and short-lived: an answer of the provider that
another browser was given is worth nothing here. Who is not known is told the same as whose answer is wrong.
"""

from __future__ import annotations

import base64
import hmac
import time
from uuid import uuid4

import orjson
from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from felix.api import documents, examples
from felix.api.attempts import attempt
from felix.api.http import answer, correlation_id, guarded, services
from felix.api.members import accept, invited_by, people, register
from felix.api.problems import problem, status_of
from felix.api.sessions import Asked, asked_for, begin_session, carry, posts
from felix.api.sign_in import SecondFactorNeeded, WithSecondFactor, second_factor
from felix.application.oidc import Identity, OidcNotSetUp, OidcRefused, SignInProvider
from felix.application.performer import new_context
from felix.application.sign_in import Shown
from felix.domain.errors import FelixError
from felix.domain.identity.bound_identity import BindIdentity
from felix.domain.identity.email import normalised
from felix.domain.identity.roles import PLATFORM
from felix.domain.values import Presented
from felix.eventstore.sealing import SealBroken
from felix.projections.sign_in import SignsInWith, by_address, credentials_of

router = APIRouter(tags=["sign-in"])

COOKIE = "__Host-felix_oidc"
#: A person types a password, and perhaps a code, at the provider.
COOKIE_LASTS_S = 10 * 60
MAX_COOKIE_LENGTH = 2_000
MAX_CODE_LENGTH = 4_096
_CALLBACK = "/v1/oidc/callback"


class StartOidc(Asked):
    """What the sign-in is for: with the token of an invitation's link, for accepting it."""

    invitation: Presented | None = None


@posts("/v1/oidc/start", StartOidc, examples.START_OIDC, 404, 503, action="identity.begin_session", router=router)
async def start_oidc(request: Request) -> Response:
    """Begin to sign in with the provider: send the browser to `authorization_url`.

    It comes back to `/v1/oidc/callback` within ten minutes, with the cookie that this answer sets. With the token of
    an invitation whoever is not known yet becomes so, if the provider has verified the address that was invited.
    """
    provider = _provider(request)
    asked = await asked_for(request, StartOidc)
    challenge = await run_in_threadpool(provider.challenge)
    told = {
        "state": challenge.state,
        "nonce": challenge.nonce,
        "verifier": challenge.verifier,
        "invitation": asked.invitation or "",
    }
    return _remember(answer({"authorization_url": challenge.url}), request, told)


async def finish_oidc(request: Request) -> Response:
    """Come back from the provider: signs in who is known, by the address that the provider has verified.

    The first time binds the account to the provider's name for that person; from then on that name counts, and no
    address. Where the account has a second factor, `second_factor_needed` asks for it: `/v1/oidc/second-factor`.
    """
    try:
        return await _finish(request)
    except FelixError as error:
        if status_of(error) >= 500:
            raise
        return _forget(problem(error))


async def _finish(request: Request) -> Response:
    found, provider = services(request), _provider(request)
    state, nonce, verifier, invitation = _recall(request, "state", "nonce", "verifier", "invitation")
    states, codes = (request.query_params.getlist(name) for name in ("state", "code"))
    if len(states) != 1 or not hmac.compare_digest(states[0].encode(errors="replace"), state.encode()):
        raise OidcRefused()
    if len(codes) != 1 or not 0 < len(codes[0]) <= MAX_CODE_LENGTH:
        raise OidcRefused()
    identity = await run_in_threadpool(provider.redeem, codes[0], verifier, nonce)
    if invitation:
        await _accept(request, invitation, identity)
    account = await _account_of(request, identity)
    context = new_context(
        PLATFORM,
        f"door:{uuid4()}",
        f"user:{account.user_id}",
        correlation_id=correlation_id(request),
        enclosed={"subject_index": identity.index(found.root_keys())},
    )
    binding = BindIdentity(user_id=account.user_id, issuer=identity.issuer)
    (await found.performer.perform(binding, context)).result  # noqa: B018 raises the refusal of a refused one
    if account.has_second_factor:
        return _remember(problem(SecondFactorNeeded()), request, {"user_id": account.user_id})
    token, session = await begin_session(found, account.user_id, "oidc", False, request)
    return _forget(carry(answer(session), token, session))


async def _accept(request: Request, token: str, identity: Identity) -> None:
    """Accept an invitation for whom it was sent to. Raises ``LinkNotValid``, ``InvitationIsOver``, ``OidcRefused``."""
    tenant_id, invitation_id = await invited_by(request, token)
    invited = await people(request, tenant_id, [invitation_id])
    email = normalised(identity.email)
    if not invited or invited[invitation_id]["email"] != email:
        raise OidcRefused()
    account = await _known(request, identity)
    if account is None:
        user_id, _ = await register(request, tenant_id, invitation_id, email, identity.name, None)
    elif account.status == "active":
        user_id = account.user_id
    else:
        raise OidcRefused()
    (await accept(request, tenant_id, invitation_id, user_id)).result  # noqa: B018 raises what it was refused with


async def _account_of(request: Request, identity: Identity) -> SignsInWith:
    """Who may come in. Raises ``OidcRefused``."""
    account = await _known(request, identity)
    if account is None or account.status != "active":
        raise OidcRefused()
    return account


async def _known(request: Request, identity: Identity) -> SignsInWith | None:
    """Whose identity it is, and else whose address."""
    keys = services(request).root_keys()
    async with services(request).reads.unbound() as tx:
        bound = await tx.fetch_one(
            "select user_id from felix.user_by_identity(%s, %s)", identity.issuer, identity.index(keys)
        )
        if bound is not None:
            return await credentials_of(tx, bound["user_id"])
        return await by_address(tx, keys.index("email", normalised(identity.email)))


@posts(
    "/v1/oidc/second-factor",
    WithSecondFactor,
    examples.OIDC_SECOND_FACTOR,
    404,
    429,
    action="identity.begin_session",
    router=router,
)
async def finish_oidc_with_second_factor(request: Request) -> Response:
    """Send the code that `second_factor_needed` has asked for, with the cookie that came with it."""
    asked = await asked_for(request, WithSecondFactor)
    _provider(request)
    (user_id,) = _recall(request, "user_id")
    async with services(request).reads.unbound() as tx:
        account = await credentials_of(tx, user_id)
    if account is None or account.status != "active" or not account.has_second_factor:
        raise OidcRefused()
    trying = await attempt(request, "second-factor", user_id)
    shown = second_factor(request, account, asked, Shown())
    token, session = await begin_session(services(request), user_id, "oidc", True, request, shown)
    await trying.succeeded()
    return _forget(carry(answer(session), token, session))


router.add_api_route(
    _CALLBACK,
    guarded(finish_oidc),
    methods=["GET"],
    name="finish_oidc",
    operation_id="finish_oidc",
    summary=(finish_oidc.__doc__ or "").splitlines()[0],
    description=(finish_oidc.__doc__ or "").strip(),
    response_class=Response,
    openapi_extra=documents.does("identity.begin_session")
    | {
        "security": [],
        "parameters": [
            documents.query("state", "As `/v1/oidc/start` gave it to the provider.", type="string"),
            documents.query("code", "What the provider gives a token for.", type="string"),
        ],
        "responses": documents.responses(200, examples.FINISH_OIDC, 404),
    },
)


def _provider(request: Request) -> SignInProvider:
    found = services(request).sign_in_provider
    if found is None:
        raise OidcNotSetUp()
    return found


def _remember(response: Response, request: Request, told: dict[str, str]) -> Response:
    """Give the browser what it has to come back with, where neither it nor its pages can read it."""
    plain = orjson.dumps(told | {"until": int(time.time()) + COOKIE_LASTS_S})
    sealed = base64.urlsafe_b64encode(services(request).root_keys().seal(plain, "oidc")).decode()
    response.set_cookie(COOKIE, sealed, max_age=COOKIE_LASTS_S, path="/", secure=True, httponly=True, samesite="lax")
    return response


def _recall(request: Request, *names: str) -> list[str]:
    """What the browser came back with. Raises ``OidcRefused`` where it is not there, not ours, or too old."""
    sealed = request.cookies.get(COOKIE, "")
    if not 0 < len(sealed) <= MAX_COOKIE_LENGTH:
        raise OidcRefused()
    try:
        told = orjson.loads(services(request).root_keys().unseal(base64.urlsafe_b64decode(sealed), "oidc"))
    except (SealBroken, ValueError):
        raise OidcRefused() from None
    if told["until"] < time.time() or not all(name in told for name in names):
        raise OidcRefused()
    return [told[name] for name in names]


def _forget(response: Response) -> Response:
    """It is good for one answer."""
    response.delete_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="lax")
    return response
