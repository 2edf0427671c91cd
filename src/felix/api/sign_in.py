"""Signing in over HTTP: by password or by a link, with a second factor where there is one, and proving it again.

Nothing here tells whether an address has an account: what is unknown is checked against a hash all the same, is counted
the same, and gets the same answer.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from felix.api import examples
from felix.api.attempts import attempt, known_device, remember_device
from felix.api.http import answer, services
from felix.api.sessions import Asked, asked_for, begin_session, carry, decide_for, myself, posts
from felix.application.jobs.sign_in import link_mail
from felix.application.second_factors import recovery_code_hash, step_of
from felix.application.sign_in import Shown
from felix.domain.errors import Unauthenticated
from felix.domain.identity.credentials import CredentialsRefused, LinkNotValid, SetPassword
from felix.domain.identity.email import Email
from felix.domain.identity.roles import PLATFORM
from felix.domain.identity.session import SessionIsOver, StepUpSession
from felix.domain.values import Presented
from felix.eventstore.sign_in import Purpose, hash_token, new_token
from felix.eventstore.vault import SEALED
from felix.projections.sign_in import SignsInWith, by_address, credentials_of, subject_of_link

router = APIRouter(tags=["sign-in"])

_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)
#: Links by mail to one address that cost no wait.
FREE_LINKS = 3


class SecondFactorNeeded(Unauthenticated):
    """Send a code of your authenticator app as `totp`, or one of your recovery codes as `recovery_code`."""


class WithSecondFactor(Asked):
    """A code, where the account has a second factor."""

    totp: Presented | None = None
    recovery_code: Presented | None = None


class SignIn(WithSecondFactor):
    """Who says to be whom."""

    email: Email
    password: Presented


class StepUp(Asked):
    """A proof: either of the two."""

    password: Presented | None = None
    totp: Presented | None = None


class AskForLink(Asked):
    """Where a link is sent to."""

    email: Email


class RedeemMagicLink(WithSecondFactor):
    """What came by mail."""

    token: Presented


class RedeemPasswordReset(Asked):
    """What came by mail, and what the password shall be."""

    token: Presented
    password: Presented


@posts("/v1/sign-in", SignIn, examples.SIGN_IN, 403, 429, action="identity.begin_session", router=router)
async def sign_in(request: Request) -> Response:
    """Sign in with a password, and with a second factor where the account has one.

    Answers with the cookie of a session. What is wrong is not told, nor whether there is such an account; once the
    password is right, `second_factor_needed` asks for the rest.
    """
    asked = await asked_for(request, SignIn)
    found = services(request)
    keys = found.root_keys()
    index = keys.index("email", asked.email)
    device = known_device(request, keys, index)
    trying = await attempt(request, "sign-in" if device is None else "device", index if device is None else device)
    async with found.reads.unbound() as tx:
        account = await by_address(tx, index)
    right, better = await found.passwords.matches(asked.password, account.password_hash if account else None)
    if account is None or not right or account.status != "active":
        raise CredentialsRefused()
    shown = Shown(password_set_at=account.password_set_at, password_hash=better)
    shown = second_factor(request, account, asked, shown)
    proved = account.has_second_factor
    token, session = await begin_session(found, account.user_id, "password", proved, request, shown)
    await trying.succeeded()
    response = carry(answer(session), token, session)
    remember_device(response, keys, index)
    return response


def second_factor(request: Request, account: SignsInWith, asked: WithSecondFactor, shown: Shown) -> Shown:
    """What was shown, with the second factor, where the account has one. Raises ``Unauthenticated``."""
    if account.sealed_secret is None:
        return shown
    keys = services(request).root_keys()
    if asked.totp is not None:
        step = step_of(keys, account.user_id, account.sealed_secret, asked.totp, datetime.now(UTC))
        if step is None:
            raise CredentialsRefused()
        return shown.but(step=step)
    if asked.recovery_code is not None:
        return shown.but(recovery_code=recovery_code_hash(keys, account.user_id, asked.recovery_code))
    raise SecondFactorNeeded()


@posts("/v1/step-up", StepUp, examples.STEP_UP, 403, 429, action=StepUpSession.command_name, router=router)
async def step_up(request: Request) -> Response:
    """Prove again who you are, with your password or a code of your authenticator app.

    For a quarter of an hour you may then do what asks for it. The session gets a new cookie; the one before is dead.
    """
    caller = await myself(request, StepUpSession.command_name)
    asked = await asked_for(request, StepUp)
    found = services(request)
    async with found.reads.unbound() as tx:
        account = await credentials_of(tx, caller.id)
    if account is None:
        raise SessionIsOver()
    trying = await attempt(request, "step-up", caller.id)
    if asked.totp is not None and account.sealed_secret is not None:
        step = step_of(found.root_keys(), caller.id, account.sealed_secret, asked.totp, datetime.now(UTC))
        if step is None:
            raise CredentialsRefused()
        shown, command = Shown(step=step), StepUpSession(session_id=caller.credential_id, proof="totp")
    else:
        right, _ = await found.passwords.matches(asked.password or "", account.password_hash)
        if not right:
            raise CredentialsRefused()
        shown = Shown(password_set_at=account.password_set_at)
        command = StepUpSession(session_id=caller.credential_id, proof="password")
    token = new_token()
    result = await decide_for(request, caller.id, command, shown.with_token(token))
    found.authenticator.forget()
    await trying.succeeded()
    return carry(answer(result), token, result)


@posts(
    "/v1/magic-links",
    AskForLink,
    examples.ASK_FOR_LINK,
    403,
    429,
    action="identity.send_link",
    status=202,
    router=router,
)
async def send_magic_link(request: Request) -> Response:
    """Ask for a link by mail that signs in, once and within a quarter of an hour.

    The answer is the same whether there is such an account.
    """
    return await _send_link(request, "magic_link")


@posts(
    "/v1/password-resets",
    AskForLink,
    examples.ASK_FOR_LINK,
    403,
    429,
    action="identity.send_link",
    status=202,
    router=router,
)
async def send_password_reset(request: Request) -> Response:
    """Ask for a link by mail with which a password can be set, once and within half an hour.

    The answer is the same whether there is such an account.
    """
    return await _send_link(request, "password_reset")


async def _send_link(request: Request, purpose: Purpose) -> Response:
    """Who that is, and whether anybody, is found out later: here the same is done for all."""
    asked = await asked_for(request, AskForLink)
    found = services(request)
    email = asked.email
    await attempt(request, purpose, email, free=FREE_LINKS)
    await run_in_threadpool(found.jobs.add, [link_mail(found.root_keys(), purpose, email, datetime.now(UTC))])
    return answer({"accepted": True}, 202)


@posts(
    "/v1/magic-links/redeem",
    RedeemMagicLink,
    examples.REDEEM_MAGIC_LINK,
    403,
    429,
    action="identity.begin_session",
    router=router,
)
async def redeem_magic_link(request: Request) -> Response:
    """Sign in with a link that came by mail, and with a second factor where the account has one."""
    asked = await asked_for(request, RedeemMagicLink)
    found = services(request)
    link = _hash_of(asked.token)
    account = await _account_behind(request, link, "magic_link")
    shown, trying = Shown(link=(link, "magic_link")), None
    if account.has_second_factor and (asked.totp or asked.recovery_code):
        trying = await attempt(request, "second-factor", account.user_id)
    shown = second_factor(request, account, asked, shown)
    proved = account.has_second_factor
    token, session = await begin_session(found, account.user_id, "magic_link", proved, request, shown)
    if trying is not None:
        await trying.succeeded()
    return carry(answer(session), token, session)


@posts(
    "/v1/password-resets/redeem",
    RedeemPasswordReset,
    examples.REDEEM_PASSWORD_RESET,
    403,
    action="identity.reset_password",
    router=router,
)
async def redeem_password_reset(request: Request) -> Response:
    """Set a password with a link that came by mail. All sessions end; sign in with the new one."""
    asked = await asked_for(request, RedeemPasswordReset)
    found = services(request)
    link = _hash_of(asked.token)
    account = await _account_behind(request, link, "password_reset")
    password_hash = await found.passwords.accept(asked.password, await personal_texts(request, account.user_id))
    command = SetPassword(user_id=account.user_id, origin="reset")
    shown = Shown(link=(link, "password_reset"), password_hash=password_hash)
    await decide_for(request, account.user_id, command, shown)
    found.authenticator.forget()
    return answer({"password_set": True})


def _hash_of(token: str) -> bytes:
    if _TOKEN.fullmatch(token) is None:
        raise LinkNotValid()
    return hash_token(token)


async def _account_behind(request: Request, link: bytes, purpose: Purpose) -> SignsInWith:
    """Whose link it is. Raises ``LinkNotValid``."""
    async with services(request).reads.unbound() as tx:
        user_id = await subject_of_link(tx, link, purpose, datetime.now(UTC))
        account = None if user_id is None else await credentials_of(tx, user_id)
    if account is None or account.status != "active":
        raise LinkNotValid()
    return account


async def personal_texts(request: Request, user_id: str) -> tuple[str, ...]:
    """What a user's password must not be made of: the address and the name."""
    found = services(request)
    partition = found.partition_of(PLATFORM)
    async with found.reads.tenant(PLATFORM, partition) as tx:
        sealed = await tx.fetch(SEALED, partition, PLATFORM, [user_id])
    return tuple(found.vault().open(sealed).get(user_id, {}).values())
