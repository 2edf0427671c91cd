"""An invitation asks a person, known by an address alone, to become a member of a tenant.

It lives in that tenant's log. The address is in the vault until the invitation is over; whoever holds the link that was
sent there accepts, once. Accepting concerns two logs: the person becomes a user in the platform's, and then a member
here. Both commands follow from the invitation, so each happens once however often it is asked for.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any, ClassVar, Literal, Self

from eventsourcing.domain import event
from pydantic import StringConstraints

from felix.domain.base import Command, CommandContext, FelixAggregate, FelixCreated, FelixEvent
from felix.domain.errors import Refused
from felix.domain.identity.membership import ForSomebody, refuse_role
from felix.domain.identity.roles import Role
from felix.domain.identity.user import Commitment, UserId
from felix.domain.values import Reason

InvitationId = Annotated[str, StringConstraints(pattern=r"^inv_[0-9a-f]{32}$")]
#: Long enough for a holiday week, short enough that a forgotten mail opens no door.
INVITATION_LASTS = timedelta(days=7)


class InvitationIsOver(Refused):
    """This invitation was accepted or withdrawn, or it has run out; ask for a new one."""


class SendInvitation(ForSomebody):
    """Invite a person to become a member. The address travels enclosed and ends up in the vault."""

    command_name: ClassVar[str] = "members.send_invitation"
    invitation_id: InvitationId
    email_commitment: Commitment

    def fingerprint_fields(self) -> dict[str, Any]:
        """Without the commitment, which is salted anew whenever the same is asked again."""
        return {name: value for name, value in super().fingerprint_fields().items() if name != "email_commitment"}


class AcceptInvitation(Command):
    """Become a member by an invitation."""

    command_name: ClassVar[str] = "members.accept_invitation"
    invitation_id: InvitationId
    user_id: UserId


class WithdrawInvitation(Command):
    """Let an invitation that nobody has accepted yet be good for nothing any more."""

    command_name: ClassVar[str] = "members.withdraw_invitation"
    invitation_id: InvitationId
    reason: Reason | None = None


class ExpireInvitation(Command):
    """Book that an invitation has run out, and forget the address."""

    command_name: ClassVar[str] = "members.expire_invitation"
    invitation_id: InvitationId


class InvitationSent(FelixCreated):
    """A person was invited."""

    TOPIC: ClassVar[str] = "members.invitation_sent"
    role: str
    access_expires_at: datetime | None = None
    email_commitment: str
    expires_at: datetime


class InvitationAccepted(FelixEvent):
    """The person who was invited became a member."""

    TOPIC: ClassVar[str] = "members.invitation_accepted"
    user_id: str


class InvitationWithdrawn(FelixEvent):
    """Somebody thought better of an invitation."""

    TOPIC: ClassVar[str] = "members.invitation_withdrawn"
    reason: str | None = None


class InvitationExpired(FelixEvent):
    """Nobody accepted an invitation in time."""

    TOPIC: ClassVar[str] = "members.invitation_expired"


class Invitation(FelixAggregate):
    """One person invited to one tenant."""

    TOPIC = "members.invitation"
    kind = "invitation"
    Event = FelixEvent
    InvitationSent = InvitationSent
    InvitationAccepted = InvitationAccepted
    InvitationWithdrawn = InvitationWithdrawn
    InvitationExpired = InvitationExpired

    @classmethod
    def send(cls, context: CommandContext, command: SendInvitation) -> Self:
        """Begin an invitation's stream. Raises ``RoleNotHere`` and ``AccessIsOverAlready``."""
        refuse_role(context, command.role, command.expires_at)
        return cls.begin(
            context,
            command.invitation_id,
            role=command.role,
            access_expires_at=command.expires_at,
            email_commitment=command.email_commitment,
            expires_at=context.at + INVITATION_LASTS,
        )

    @event(InvitationSent)
    def __init__(
        self, role: Role, email_commitment: str, expires_at: datetime, access_expires_at: datetime | None = None
    ) -> None:
        self.role: Role = role
        self.access_expires_at = access_expires_at
        self.email_commitment = email_commitment
        self.expires_at = expires_at
        self.status: Literal["sent", "accepted", "withdrawn", "expired"] = "sent"
        self.user_id: str | None = None

    def accept(self, command: AcceptInvitation) -> bool:
        """Whether this made a difference: whoever has accepted may say so again. Raises :class:`InvitationIsOver`."""
        if self.status == "accepted" and self.user_id == command.user_id:
            return False
        if self.status != "sent" or self.has_run_out:
            raise InvitationIsOver(status="expired" if self.status == "sent" else self.status)
        self._accepted(user_id=command.user_id)
        return True

    def withdraw(self, command: WithdrawInvitation) -> bool:
        """Whether this made a difference: over is over. Raises :class:`InvitationIsOver` once it was accepted."""
        if self.status == "accepted":
            raise InvitationIsOver(status=self.status)
        if self.status == "sent":
            self._withdrawn(reason=command.reason)
            return True
        return False

    def expire(self, command: ExpireInvitation) -> bool:
        """Whether this made a difference: only what waits and has run out expires."""
        if self.status == "sent" and self.has_run_out:
            self._expired()
            return True
        return False

    @property
    def has_run_out(self) -> bool:
        """Whether the time for an answer has passed at the time of the command."""
        return self.deciding_at >= self.expires_at

    def describe(self) -> dict[str, Any]:
        """The outcome of a command about it."""
        return {
            "invitation_id": self.local_id,
            "role": self.role,
            "status": self.status,
            "expires_at": self.expires_at.isoformat(),
        }

    @classmethod
    def thaw(cls, state: dict[str, Any]) -> dict[str, Any]:
        """Read the times of a snapshot again."""
        until = state["access_expires_at"]
        return state | {
            "expires_at": datetime.fromisoformat(state["expires_at"]),
            "access_expires_at": until and datetime.fromisoformat(until),
        }

    @event(InvitationAccepted)
    def _accepted(self, user_id: str) -> None:
        self.status = "accepted"
        self.user_id = user_id

    @event(InvitationWithdrawn)
    def _withdrawn(self, reason: str | None = None) -> None:
        self.status = "withdrawn"

    @event(InvitationExpired)
    def _expired(self) -> None:
        self.status = "expired"
