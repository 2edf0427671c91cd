"""How a person changes what they sign in with: password, authenticator app, recovery codes."""

from __future__ import annotations

from datetime import UTC, datetime

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from felix.api import examples
from felix.api.attempts import attempt
from felix.api.auth import Caller
from felix.api.http import answer, services
from felix.api.sessions import Asked, Nothing, asked_for, carry, decide_for, myself, posts, refuse_unproved
from felix.api.sign_in import personal_texts
from felix.application.second_factors import begin_enrolment, confirm_enrolment, new_recovery_codes
from felix.application.sign_in import Shown
from felix.domain.errors import Refused
from felix.domain.identity.credentials import (
    CredentialsRefused,
    EnrolSecondFactor,
    IssueRecoveryCodes,
    RemoveSecondFactor,
    SetPassword,
)
from felix.domain.identity.session import SessionIsOver
from felix.domain.values import Presented
from felix.eventstore.sign_in import new_token
from felix.projections.sign_in import SignsInWith, credentials_of

router = APIRouter(tags=["credentials"])


class NoPassword(Refused):
    """This account has no password; ask for a link by mail that sets one."""


class ChangePassword(Asked):
    """The password as it is, and as it shall be."""

    current_password: Presented
    password: Presented


class ConfirmSecondFactor(Asked):
    """`enrolment` as it was answered, and a code that the app shows."""

    enrolment: Presented
    totp: Presented


@posts(
    "/v1/me/password",
    ChangePassword,
    examples.CHANGE_PASSWORD,
    403,
    409,
    429,
    action=SetPassword.command_name,
    router=router,
)
async def set_own_password(request: Request) -> Response:
    """Change your password. Your other sessions end, and this one gets a new cookie."""
    caller = await myself(request, SetPassword.command_name)
    asked = await asked_for(request, ChangePassword)
    found = services(request)
    account = await _account_of(request, caller)
    if account.password_hash is None:
        raise NoPassword()
    trying = await attempt(request, "step-up", caller.id)
    right, _ = await found.passwords.matches(asked.current_password, account.password_hash)
    if not right:
        raise CredentialsRefused()
    await trying.succeeded()
    password_hash = await found.passwords.accept(asked.password, await personal_texts(request, caller.id))
    token = new_token()
    shown = Shown(password_set_at=account.password_set_at, password_hash=password_hash).with_token(token)
    command = SetPassword(user_id=caller.id, origin="user", session_id=caller.credential_id)
    result = await decide_for(request, caller.id, command, shown)
    found.authenticator.forget()
    return carry(answer({"sessions_ended": result["sessions_ended"]}), token, result)


@posts("/v1/me/totp", Nothing, examples.BEGIN_SECOND_FACTOR, 403, action=EnrolSecondFactor.command_name, router=router)
async def begin_second_factor(request: Request) -> Response:
    """Begin to use an authenticator app, or another one than before.

    Show `otpauth_uri` as a QR code, and confirm with a code of the app within a quarter of an hour. Nothing changes
    before that. Prove first who you are (step-up), if you have a password or an app already.
    """
    caller = await _enrolling(request)
    await asked_for(request, Nothing)
    known = await personal_texts(request, caller.id)
    account = next((text for text in known if "@" in text), caller.id)
    begun = begin_enrolment(services(request).root_keys(), caller.id, account, datetime.now(UTC))
    return answer({"secret": begun.secret, "otpauth_uri": begun.otpauth_uri, "enrolment": begun.enrolment})


@posts(
    "/v1/me/totp/confirm",
    ConfirmSecondFactor,
    examples.CONFIRM_SECOND_FACTOR,
    403,
    429,
    action=EnrolSecondFactor.command_name,
    router=router,
)
async def confirm_second_factor(request: Request) -> Response:
    """Take the authenticator app into use, by a code that it shows.

    Answers with recovery codes, which are shown this once. Your other sessions end, and this one gets a new cookie.
    """
    caller = await _enrolling(request)
    asked = await asked_for(request, ConfirmSecondFactor)
    found = services(request)
    keys = found.root_keys()
    trying = await attempt(request, "enrolment", caller.id)
    proved = confirm_enrolment(keys, caller.id, asked.enrolment, asked.totp, datetime.now(UTC))
    if proved is None:
        raise CredentialsRefused()
    sealed_secret, step = proved
    codes, code_hashes = new_recovery_codes(keys, caller.id)
    token = new_token()
    shown = Shown(sealed_secret=sealed_secret, step=step, code_hashes=code_hashes).with_token(token)
    command = EnrolSecondFactor(user_id=caller.id, session_id=caller.credential_id)
    result = await decide_for(request, caller.id, command, shown)
    found.authenticator.forget()
    await trying.succeeded()
    return carry(answer({"recovery_codes": codes, "sessions_ended": result["sessions_ended"]}), token, result)


@posts(
    "/v1/me/totp/remove",
    Nothing,
    examples.REMOVE_SECOND_FACTOR,
    403,
    409,
    action=RemoveSecondFactor.command_name,
    router=router,
)
async def remove_second_factor(request: Request) -> Response:
    """Use your authenticator app and your recovery codes no more. People who run the platform can't."""
    caller = await myself(request, RemoveSecondFactor.command_name)
    await asked_for(request, Nothing)
    await decide_for(request, caller.id, RemoveSecondFactor(user_id=caller.id, remover="user"))
    return answer({"removed": True})


@posts(
    "/v1/me/recovery-codes",
    Nothing,
    examples.ISSUE_RECOVERY_CODES,
    403,
    409,
    action=IssueRecoveryCodes.command_name,
    router=router,
)
async def issue_recovery_codes(request: Request) -> Response:
    """Get new recovery codes, which are shown this once; those that you had are worthless."""
    caller = await myself(request, IssueRecoveryCodes.command_name)
    await asked_for(request, Nothing)
    codes, code_hashes = new_recovery_codes(services(request).root_keys(), caller.id)
    await decide_for(request, caller.id, IssueRecoveryCodes(user_id=caller.id), Shown(code_hashes=code_hashes))
    return answer({"recovery_codes": codes})


async def _enrolling(request: Request) -> Caller:
    """Whoever can prove who they are has to: with a stolen session nobody takes an account over."""
    caller = await myself(request, EnrolSecondFactor.command_name)
    account = await _account_of(request, caller)
    if account.password_hash is not None or account.has_second_factor:
        refuse_unproved(caller, EnrolSecondFactor.command_name)
    return caller


async def _account_of(request: Request, caller: Caller) -> SignsInWith:
    async with services(request).reads.unbound() as tx:
        account = await credentials_of(tx, caller.id)
    if account is None:
        raise SessionIsOver()
    return account
