"""A membership says what a person is in one tenant: of a client, or of the platform, whose members are its founders.

It lives in the log of the tenant that it is about, in a stream that is called after the user. People become members by
accepting an invitation; what a membership allows is in :mod:`.access`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar, Self

from eventsourcing.domain import event
from pydantic import model_validator

from felix.domain.base import Command, CommandContext, FelixAggregate, FelixCreated, FelixEvent
from felix.domain.errors import Forbidden, Refused
from felix.domain.identity.roles import PLATFORM, PLATFORM_ROLES, Role
from felix.domain.identity.user import UserId, is_oneself
from felix.domain.values import Moment, Reason

#: Of each kind of tenant, the role without which nobody could give roles any more.
LEADING_ROLES: frozenset[Role] = frozenset({"founder", "client_owner"})


class RoleNotHere(Refused):
    """Founders are members of the platform, everybody else is a member of a client."""


class AccessIsOverAlready(Refused):
    """The moment at which this access would end has passed."""


class AlreadyMember(Refused):
    """This person is a member already; change their role instead."""


class MembershipHasEnded(Refused):
    """This person is no member any more; invite them again."""


class LastOwner(Refused):
    """A tenant keeps at least one who can give roles: make somebody else owner, or founder, first."""


class OwnRole(Forbidden):
    """Nobody changes their own role; ask another owner or a founder."""


class ForSomebody(Command):
    """What somebody is, or will be, in a tenant. Auditors are so until a moment, everybody else until it is changed."""

    role: Role
    expires_at: Moment | None = None

    @model_validator(mode="after")
    def _people_and_auditors(self) -> Self:
        if self.role == "service":
            raise ValueError("a service is a machine with a key, and no member")
        if (self.role == "auditor") != (self.expires_at is not None):
            raise ValueError("an auditor's access has an expires_at, and nobody else's")
        return self


class ChangeRole(ForSomebody):
    """Make a member something else in the same tenant."""

    command_name: ClassVar[str] = "members.change_role"
    user_id: UserId
    reason: Reason | None = None


class EndMembership(Command):
    """Let a person be no member any more; whoever leaves of their own accord asks the same."""

    command_name: ClassVar[str] = "members.end_membership"
    user_id: UserId
    reason: Reason | None = None


class MembershipGranted(FelixCreated):
    """A person became a member."""

    TOPIC: ClassVar[str] = "members.membership_granted"
    role: str
    expires_at: datetime | None = None


class MembershipResumed(FelixEvent):
    """A person whose membership had ended, or had run out, became a member again."""

    TOPIC: ClassVar[str] = "members.membership_resumed"
    role: str
    expires_at: datetime | None = None


class RoleChanged(FelixEvent):
    """A member is something else now."""

    TOPIC: ClassVar[str] = "members.role_changed"
    role: str
    expires_at: datetime | None = None
    reason: str | None = None


class MembershipEnded(FelixEvent):
    """A person is no member any more."""

    TOPIC: ClassVar[str] = "members.membership_ended"
    reason: str | None = None


class Membership(FelixAggregate):
    """One person in one tenant; ``role`` is None once it has ended."""

    TOPIC = "members.membership"
    kind = "membership"
    Event = FelixEvent
    MembershipGranted = MembershipGranted
    MembershipResumed = MembershipResumed
    RoleChanged = RoleChanged
    MembershipEnded = MembershipEnded

    @classmethod
    def grant(cls, context: CommandContext, user_id: str, role: Role, expires_at: datetime | None) -> Self:
        """Begin a person's stream in a tenant. Raises :class:`RoleNotHere` and :class:`AccessIsOverAlready`."""
        refuse_role(context, role, expires_at)
        return cls.begin(context, user_id, role=role, expires_at=expires_at)

    @event(MembershipGranted)
    def __init__(self, role: Role, expires_at: datetime | None = None) -> None:
        self.role: Role | None = role
        self.expires_at = expires_at

    def resume(self, role: Role, expires_at: datetime | None) -> None:
        """Begin again. Raises :class:`AlreadyMember`, :class:`RoleNotHere` and :class:`AccessIsOverAlready`."""
        if self.is_in_force:
            raise AlreadyMember(user_id=self.local_id, role=self.role)
        refuse_role(self.context, role, expires_at)
        self._resumed(role=role, expires_at=expires_at)

    def change_role(self, command: ChangeRole, *, others_lead: bool) -> None:
        """Become something else; to stay what one is changes nothing.

        ``others_lead`` says whether somebody else has a role of :data:`LEADING_ROLES` here. Raises :class:`OwnRole`,
        :class:`MembershipHasEnded`, :class:`LastOwner`, :class:`RoleNotHere` and :class:`AccessIsOverAlready`.
        """
        if is_oneself(self.context, self.local_id):
            raise OwnRole()
        if self.role is None:
            raise MembershipHasEnded(user_id=self.local_id)
        refuse_role(self.context, command.role, command.expires_at)
        if command.role not in LEADING_ROLES:
            self._refuse_last(others_lead)
        if (self.role, self.expires_at) != (command.role, command.expires_at):
            self._changed(role=command.role, expires_at=command.expires_at, reason=command.reason)

    def end(self, command: EndMembership, *, others_lead: bool) -> None:
        """Be no member any more; what has ended stays ended. Raises :class:`LastOwner`."""
        if self.role is not None:
            self._refuse_last(others_lead)
            self._ended(reason=command.reason)

    @property
    def is_in_force(self) -> bool:
        """Whether the person is a member at the time of the command."""
        return self.role is not None and (self.expires_at is None or self.deciding_at < self.expires_at)

    def describe(self) -> dict[str, Any]:
        """The outcome of a command about it."""
        return {
            "user_id": self.local_id,
            "role": self.role,
            "expires_at": self.expires_at and self.expires_at.isoformat(),
        }

    @classmethod
    def thaw(cls, state: dict[str, Any]) -> dict[str, Any]:
        """Read the time of a snapshot again."""
        until = state["expires_at"]
        return state | {"expires_at": until and datetime.fromisoformat(until)}

    def _refuse_last(self, others_lead: bool) -> None:
        if self.role in LEADING_ROLES and not others_lead:
            raise LastOwner(user_id=self.local_id)

    @event(MembershipResumed)
    def _resumed(self, role: Role, expires_at: datetime | None = None) -> None:
        self.role = role
        self.expires_at = expires_at

    @event(RoleChanged)
    def _changed(self, role: Role, expires_at: datetime | None = None, reason: str | None = None) -> None:
        self.role = role
        self.expires_at = expires_at

    @event(MembershipEnded)
    def _ended(self, reason: str | None = None) -> None:
        self.role = None
        self.expires_at = None


def refuse_role(context: CommandContext, role: Role, expires_at: datetime | None) -> None:
    """Refuse what nobody can be in the command's tenant.

    Raises :class:`RoleNotHere` and :class:`AccessIsOverAlready`.
    """
    if (role in PLATFORM_ROLES) != (context.tenant_id == PLATFORM):
        raise RoleNotHere(role=role)
    if expires_at is not None and expires_at <= context.at:
        raise AccessIsOverAlready(expires_at=expires_at.isoformat())
