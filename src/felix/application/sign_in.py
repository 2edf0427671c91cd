"""Handlers for sessions and credentials. They run in the platform's log, one after the other, so what is good once is
good once: a link, a recovery code, a time step of a second factor.

What a door has checked against hashes travels enclosed (:class:`Shown`), and is asked for once more here, in the
transaction that uses it up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Protocol, cast

from felix.application.unit_of_work import UnitOfWork, handles, not_found
from felix.domain.errors import Unavailable
from felix.domain.identity.credentials import (
    Credentials,
    CredentialsRefused,
    EnrolSecondFactor,
    IssueRecoveryCodes,
    LinkNotValid,
    RemoveSecondFactor,
    SetPassword,
)
from felix.domain.identity.session import (
    BeginSession,
    BookEndOfSessions,
    Ending,
    EndSession,
    EndSessions,
    Session,
    StepUpSession,
)
from felix.domain.identity.user import User
from felix.eventstore import sign_in as kept
from felix.eventstore.sign_in import Purpose

#: After this a session is over, however busy it is; those of the people who run the platform sooner.
SESSION_LASTS = timedelta(days=14)
PLATFORM_SESSION_LASTS = timedelta(hours=12)
#: A session that nobody uses for so long is over.
SESSION_IDLES = timedelta(hours=24)
#: How long a link can be used. A mail takes its time; whoever asked is waiting for it.
LINK_LASTS: Mapping[Purpose, timedelta] = {
    "invitation": timedelta(days=7),
    "magic_link": timedelta(minutes=15),
    "password_reset": timedelta(minutes=30),
}


class SignInBusy(Unavailable):
    """More people are signing in than Felix can check at once; try again in a moment."""


class Passwords(Protocol):
    """Turns passwords into hashes and compares them, a few at a time."""

    async def matches(self, password: str, password_hash: str | None) -> tuple[bool, str | None]:
        """Whether a password is the one behind a hash, and a better hash of it, if this one is out of date.

        Without a hash the answer is no, and takes as long. Raises :class:`SignInBusy`.
        """

    async def accept(self, password: str, about: tuple[str, ...]) -> str:
        """The hash of a new password. ``about`` are texts that it must not be made of, such as the user's address.

        Raises ``WeakPassword`` and :class:`SignInBusy`.
        """


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that goes with a mail; ``media_type`` such as ``text/csv``."""

    name: str
    media_type: str
    content: bytes = field(repr=False)


class Mailer(Protocol):
    """Sends mail."""

    def send(
        self,
        to: str,
        subject: str,
        text: str,
        *,
        about: str,
        key: str | None = None,
        page: str | None = None,
        attached: Attachment | None = None,
    ) -> None:
        """Send a mail. ``about`` is the id of whom it concerns. Raises ``Unavailable``, or ``MailRefused`` for good.

        ``page`` says the same in HTML. A mail that may be sent again has the same ``key`` each time, which ends up in
        its Message-ID: whoever gets it twice can tell.
        """


@dataclass(frozen=True, slots=True)
class Shown:
    """What a door has seen and checked; :meth:`enclosed` is how it travels with a command."""

    token_hash: bytes | None = None
    device: str = ""
    #: When the password that was checked had been set.
    password_set_at: datetime | None = None
    #: The hash of a new password, or the same one under today's cost.
    password_hash: str | None = field(default=None, repr=False)
    #: The time step of a code of the second factor.
    step: int | None = None
    recovery_code: bytes | None = field(default=None, repr=False)
    #: The hash of a link's token, and what it is good for.
    link: tuple[bytes, Purpose] | None = field(default=None, repr=False)
    sealed_secret: bytes | None = field(default=None, repr=False)
    code_hashes: tuple[bytes, ...] = field(default=(), repr=False)

    def enclosed(self) -> dict[str, Any]:
        """For ``new_context``."""
        return {"shown": self}

    def but(self, *, step: int | None = None, recovery_code: bytes | None = None) -> Shown:
        """The same with a second factor."""
        return replace(self, step=step, recovery_code=recovery_code)

    def with_token(self, token: str, device: str = "") -> Shown:
        """The same for a session that gets this token."""
        return replace(self, token_hash=kept.hash_token(token), device=device)


def _shown(unit: UnitOfWork) -> Shown:
    return cast(Shown, unit.context.enclosed.get("shown") or Shown())


def use_link(unit: UnitOfWork, token_hash: bytes, purpose: Purpose) -> str:
    """Use a link up; whom or what it is for. Raises :class:`LinkNotValid`."""
    found = unit.ask_beside(kept.link_open(token_hash, purpose, unit.context.at))
    if not found:
        raise LinkNotValid()
    unit.beside(kept.link_used(token_hash, unit.context.at))
    subject: str = found[0][0]
    return subject


def end_sessions(unit: UnitOfWork, user_id: str, why: Ending, keep: str | None = None) -> list[str]:
    """End a user's sessions, or all but one; their ids. For commands of the platform's log.

    A command of a client's log ends them beside its events; the policy
    ``changed_roles_end_sessions`` writes theirs.
    """
    ended = []
    for (session_id,) in unit.ask_beside(kept.open_sessions(user_id)):
        session = None if session_id == keep else unit.find(Session, session_id)
        if session is not None and _end(unit, session, why):
            ended.append(session_id)
    return ended


def _end(unit: UnitOfWork, session: Session, why: Ending) -> bool:
    ended = session.end(why)
    if ended:
        unit.beside(kept.session_over(session.local_id, unit.context.at))
    return ended


@handles(BeginSession)
def begin_session(command: BeginSession, unit: UnitOfWork) -> dict[str, Any]:
    """Let an active user in; everything that was shown is used up. Raises :class:`CredentialsRefused`."""
    shown, at = _shown(unit), unit.context.at
    user = unit.find(User, command.user_id)
    if user is None or user.status != "active":
        raise CredentialsRefused()
    _use_up(unit, command.user_id, shown)
    if shown.password_hash is not None and shown.password_set_at is not None:
        unit.beside(kept.password_hashed_anew(command.user_id, shown.password_hash, shown.password_set_at))
    if command.replaces is not None:
        replaced = unit.find(Session, command.replaces)
        if replaced is not None:
            _end(unit, replaced, "signed_in_again")
    of_platform = bool(unit.ask_beside(kept.is_of_platform(command.user_id)))
    expires_at = at + (PLATFORM_SESSION_LASTS if of_platform else SESSION_LASTS)
    session = Session.let_in(unit.context, command, expires_at)
    unit.add(session)
    assert shown.token_hash is not None, "a session has a token"
    unit.beside(
        kept.session_begun(
            session.local_id,
            command.user_id,
            shown.token_hash,
            method=command.method,
            second_factor=command.second_factor,
            at=at,
            expires_at=expires_at,
            device=shown.device,
        )
    )
    return {"session_id": session.local_id, "user_id": command.user_id, "expires_at": expires_at.isoformat()}


def _use_up(unit: UnitOfWork, user_id: str, shown: Shown) -> None:
    """Whatever was shown still holds, and does not hold again. Raises :class:`CredentialsRefused`."""
    if shown.link is not None and use_link(unit, *shown.link) != user_id:
        raise LinkNotValid()
    if shown.password_set_at is not None and not unit.ask_beside(kept.password_is_of(user_id, shown.password_set_at)):
        raise CredentialsRefused()
    if shown.step is not None:
        if not unit.ask_beside(kept.step_is_new(user_id, shown.step)):
            raise CredentialsRefused()
        unit.beside(kept.step_used(user_id, shown.step))
    if shown.recovery_code is not None:
        if not unit.ask_beside(kept.code_is_there(user_id, shown.recovery_code)):
            raise CredentialsRefused()
        unit.get(Credentials, user_id).use_code()
        unit.beside(kept.code_used(user_id, shown.recovery_code))


@handles(StepUpSession)
def step_up_session(command: StepUpSession, unit: UnitOfWork) -> dict[str, Any]:
    """Note the proof and give the session another token. Raises ``SessionIsOver`` and :class:`CredentialsRefused`."""
    shown = _shown(unit)
    session = unit.get(Session, command.session_id)
    session.step_up(command.proof)
    _use_up(unit, session.user_id, shown)
    assert shown.token_hash is not None, "a session that steps up gets a token"
    unit.beside(
        kept.session_stepped_up(
            command.session_id, shown.token_hash, unit.context.at, second_factor=session.second_factor
        )
    )
    return {
        "session_id": command.session_id,
        "stepped_up_at": unit.context.at.isoformat(),
        "expires_at": session.expires_at,
    }


@handles(EndSession)
def end_session(command: EndSession, unit: UnitOfWork) -> dict[str, Any]:
    """End one session of a user; somebody else's is one that does not exist. One that is over stays so."""
    session = unit.find(Session, command.session_id)
    if session is None or session.user_id != command.user_id:
        raise not_found(Session, command.session_id)
    _end(unit, session, command.ending)
    return {"session_id": command.session_id, "ended": True}


@handles(EndSessions)
def end_all_sessions(command: EndSessions, unit: UnitOfWork) -> dict[str, Any]:
    """End them all, or all but one."""
    return {"ended": end_sessions(unit, command.user_id, command.ending, command.keep)}


@handles(BookEndOfSessions)
def book_end_of_sessions(command: BookEndOfSessions, unit: UnitOfWork) -> dict[str, Any]:
    """Say of each session that it is over; those that began since stay."""
    ended = []
    for (session_id,) in unit.ask_beside(kept.sessions_before(command.user_id, command.began_before)):
        session = unit.find(Session, session_id)
        if session is not None and _end(unit, session, command.ending):
            ended.append(session_id)
    return {"ended": ended}


@handles(SetPassword)
def set_password(command: SetPassword, unit: UnitOfWork) -> dict[str, Any]:
    """Set the password; sessions end, links are worthless, the session at work gets another token."""
    shown, at = _shown(unit), unit.context.at
    user = unit.find(User, command.user_id)
    if user is None or user.status != "active":
        raise CredentialsRefused()
    _use_up(unit, command.user_id, shown)
    _credentials(unit, command.user_id).set_password(command.origin)
    assert shown.password_hash is not None, "a password has a hash"
    unit.beside(kept.password_kept(command.user_id, shown.password_hash, at))
    unit.beside(kept.links_void(command.user_id, at))
    ended = end_sessions(unit, command.user_id, "password_changed", keep=command.session_id)
    told = {"user_id": command.user_id, "sessions_ended": len(ended)}
    if command.session_id is not None:
        told["expires_at"] = _rotate(unit, command.session_id, shown)
    return told


@handles(EnrolSecondFactor)
def enrol_second_factor(command: EnrolSecondFactor, unit: UnitOfWork) -> dict[str, Any]:
    """Take it into use; the session at work has proved it and gets another token, the others end."""
    shown, at = _shown(unit), unit.context.at
    _credentials(unit, command.user_id).enrol()
    assert shown.sealed_secret is not None and shown.step is not None, "a second factor was proved"
    unit.beside(kept.second_factor_kept(command.user_id, shown.sealed_secret, shown.step, at))
    _replace_codes(unit, command.user_id, shown)
    ended = end_sessions(unit, command.user_id, "second_factor_changed", keep=command.session_id)
    expires_at = _rotate(unit, command.session_id, shown, second_factor=True)
    return {"user_id": command.user_id, "sessions_ended": len(ended), "expires_at": expires_at}


@handles(RemoveSecondFactor)
def remove_second_factor(command: RemoveSecondFactor, unit: UnitOfWork) -> dict[str, Any]:
    """Forget the second factor and its recovery codes. Raises ``NoSecondFactor`` and ``SecondFactorRequired``."""
    of_platform = bool(unit.ask_beside(kept.is_of_platform(command.user_id)))
    _credentials(unit, command.user_id).remove(command.remover, of_platform=of_platform)
    unit.beside(kept.second_factor_dropped(command.user_id))
    unit.beside(kept.codes_dropped(command.user_id))
    return {"user_id": command.user_id}


@handles(IssueRecoveryCodes)
def issue_recovery_codes(command: IssueRecoveryCodes, unit: UnitOfWork) -> dict[str, Any]:
    """Put new codes in the place of those before. Raises ``NoSecondFactor``."""
    _credentials(unit, command.user_id).issue_codes()
    _replace_codes(unit, command.user_id, _shown(unit))
    return {"user_id": command.user_id}


def _credentials(unit: UnitOfWork, user_id: str) -> Credentials:
    credentials = unit.find(Credentials, user_id)
    if credentials is None:
        credentials = Credentials.open(unit.context, user_id)
        unit.add(credentials)
    return credentials


def _rotate(unit: UnitOfWork, session_id: str, shown: Shown, *, second_factor: bool | None = None) -> str:
    """Give the session another token; when it expires, as before."""
    session = unit.get(Session, session_id)
    session.rotate(second_factor=session.second_factor if second_factor is None else second_factor)
    assert shown.token_hash is not None, "a session that is rotated gets a token"
    unit.beside(kept.session_rotated(session_id, shown.token_hash, second_factor=session.second_factor))
    return session.expires_at


def _replace_codes(unit: UnitOfWork, user_id: str, shown: Shown) -> None:
    assert shown.code_hashes, "codes are issued as hashes"
    unit.beside(kept.codes_dropped(user_id))
    unit.beside(kept.codes_kept(user_id, shown.code_hashes))
