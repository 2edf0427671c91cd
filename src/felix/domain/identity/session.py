"""A session is a person at work in one browser, from signing in to its end.

The log knows that a session began, how, and why it ended. Its token is known to the browser alone; of it a hash is kept
in ``felix.sessions``, which changes in the transaction of these events.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, ClassVar, Literal

from eventsourcing.domain import event
from pydantic import StringConstraints

from felix.domain.base import Command, CommandContext, FelixAggregate, FelixCreated, FelixEvent
from felix.domain.errors import Unauthenticated
from felix.domain.identity.user import UserId
from felix.domain.values import Moment

SessionId = Annotated[str, StringConstraints(pattern=r"^sess_[0-9a-f]{32}$")]
#: How a person came in.
SignInMethod = Literal["password", "magic_link", "invitation", "oidc"]
#: How a person who is in proves again who they are.
Proof = Literal["password", "totp"]
#: Why a session is over.
Ending = Literal[
    "signed_out", "ended_by_user", "ended_by_operator", "signed_in_again", "password_changed", "second_factor_changed",
    "user_disabled", "user_erased", "role_changed",
]  # fmt: skip


class SessionIsOver(Unauthenticated):
    """Sign in again."""


class BeginSession(Command):
    """Let a person in who has proved who they are. The hash of the token travels enclosed."""

    command_name: ClassVar[str] = "identity.begin_session"
    user_id: UserId
    method: SignInMethod
    second_factor: bool = False
    replaces: SessionId | None = None


class StepUpSession(Command):
    """Note that a person has proved again who they are; the session gets a new token."""

    command_name: ClassVar[str] = "identity.step_up_session"
    session_id: SessionId
    proof: Proof


class EndSession(Command):
    """End a session; its token is worthless from then on."""

    command_name: ClassVar[str] = "identity.end_session"
    session_id: SessionId
    user_id: UserId
    ending: Ending


class EndSessions(Command):
    """End all sessions of a user, or all but one."""

    command_name: ClassVar[str] = "identity.end_sessions"
    user_id: UserId
    ending: Ending
    keep: SessionId | None = None


class BookEndOfSessions(Command):
    """Say of sessions that ended with a user's access, in whatever log that was, that they are over."""

    command_name: ClassVar[str] = "identity.book_end_of_sessions"
    user_id: UserId
    ending: Ending
    began_before: Moment


class SessionBegan(FelixCreated):
    """A person signed in."""

    TOPIC: ClassVar[str] = "identity.session_began"
    user_id: str
    method: SignInMethod
    second_factor: bool
    expires_at: datetime


class SessionSteppedUp(FelixEvent):
    """A person proved again who they are, and the session got a new token."""

    TOPIC: ClassVar[str] = "identity.session_stepped_up"
    proof: Proof


class SessionRotated(FelixEvent):
    """A session got a new token, because what its user signs in with has changed."""

    TOPIC: ClassVar[str] = "identity.session_rotated"
    second_factor: bool


class SessionEnded(FelixEvent):
    """A session is over."""

    TOPIC: ClassVar[str] = "identity.session_ended"
    why: Ending


class Session(FelixAggregate):
    """One session. It ends once; time ends it too, without an event."""

    TOPIC = "identity.session"
    kind = "session"
    Event = FelixEvent
    SessionBegan = SessionBegan
    SessionSteppedUp = SessionSteppedUp
    SessionRotated = SessionRotated
    SessionEnded = SessionEnded

    @classmethod
    def let_in(cls, context: CommandContext, command: BeginSession, expires_at: datetime) -> Session:
        """Begin a session's stream."""
        return cls.begin(
            context,
            context.mint("sess"),
            user_id=command.user_id,
            method=command.method,
            second_factor=command.second_factor,
            expires_at=expires_at,
        )

    @event(SessionBegan)
    def __init__(self, user_id: str, method: SignInMethod, second_factor: bool, expires_at: datetime) -> None:
        self.user_id = user_id
        self.method = method
        self.second_factor = second_factor
        self.expires_at = expires_at.isoformat()
        self.ended = False

    def step_up(self, proof: Proof) -> None:
        """Raises :class:`SessionIsOver`."""
        self._refuse_over()
        self._stepped_up(proof=proof)

    def rotate(self, *, second_factor: bool) -> None:
        """Raises :class:`SessionIsOver`. ``second_factor`` says whether one is proved in this session from now on."""
        self._refuse_over()
        self._rotated(second_factor=second_factor)

    def end(self, why: Ending) -> bool:
        """Whether it was not over yet."""
        if self.ended:
            return False
        self._ended(why=why)
        return True

    def _refuse_over(self) -> None:
        if self.ended or self.deciding_at >= datetime.fromisoformat(self.expires_at):
            raise SessionIsOver()

    @event(SessionSteppedUp)
    def _stepped_up(self, proof: Proof) -> None:
        self.second_factor = self.second_factor or proof == "totp"

    @event(SessionRotated)
    def _rotated(self, second_factor: bool) -> None:
        self.second_factor = second_factor

    @event(SessionEnded)
    def _ended(self, why: Ending) -> None:
        self.ended = True
