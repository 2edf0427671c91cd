"""A user is a person who can sign in, whatever they are a member of.

The log knows a person by an id and by commitments to what is personal; the e-mail address and the name themselves are
in the vault, so they can be erased and every proof stays valid. How a person signs in is in :mod:`.credentials`.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from eventsourcing.domain import event
from pydantic import StringConstraints

from felix.domain.base import Command, CommandContext, FelixAggregate, FelixCreated, FelixEvent
from felix.domain.errors import Forbidden, Refused
from felix.domain.values import Reason

UserId = Annotated[str, StringConstraints(pattern=r"^usr_[0-9a-f]{32}$")]
#: ``HMAC-SHA256(salt, value)`` in hex; value and salt are in the vault.
Commitment = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class UserIsErased(Refused):
    """The personal data of this user was erased; nothing can be done with the account any more."""


class EmailIsTaken(Refused):
    """Another user has this address."""


class OwnAccount(Forbidden):
    """Nobody shuts themselves out; ask another founder."""


class RegisterUser(Command):
    """Make a user. The address and the name travel enclosed and end up in the vault.

    ``user_id`` is made up unless it is given. ``invitation_id``, ``invited_to`` (a tenant) and ``partition`` (where it
    lives) name the invitation that the person accepts by it.
    """

    command_name: ClassVar[str] = "identity.register_user"
    email_commitment: Commitment
    name_commitment: Commitment | None = None
    user_id: UserId | None = None
    invitation_id: str | None = None
    invited_to: str | None = None
    partition: int | None = None

    def fingerprint_fields(self) -> dict[str, Any]:
        """Without the commitments, which are salted anew whenever the same is asked again."""
        return {name: value for name, value in super().fingerprint_fields().items() if not name.endswith("_commitment")}


class DisableUser(Command):
    """Let a user sign in no more; every session ends."""

    command_name: ClassVar[str] = "identity.disable_user"
    user_id: UserId
    reason: Reason


class EnableUser(Command):
    """Let a disabled user sign in again."""

    command_name: ClassVar[str] = "identity.enable_user"
    user_id: UserId
    reason: Reason


class EraseUser(Command):
    """Erase what is personal about a user: the vault's rows and the key they were encrypted with."""

    command_name: ClassVar[str] = "identity.erase_user"
    user_id: UserId
    reason: Reason


class UserRegistered(FelixCreated):
    """A person became known to Felix, by an invitation to a tenant, whose partition is named too."""

    TOPIC: ClassVar[str] = "identity.user_registered"
    email_commitment: str
    name_commitment: str | None = None
    invitation_id: str | None = None
    invited_to: str | None = None
    partition: int | None = None


class UserDisabled(FelixEvent):
    """A user may sign in no more."""

    TOPIC: ClassVar[str] = "identity.user_disabled"
    reason: str


class UserEnabled(FelixEvent):
    """A user may sign in again."""

    TOPIC: ClassVar[str] = "identity.user_enabled"
    reason: str


class UserErased(FelixEvent):
    """What was personal about a user is gone."""

    TOPIC: ClassVar[str] = "identity.user_erased"
    reason: str


class User(FelixAggregate):
    """One person. Disabled users come back; erased ones never do."""

    TOPIC = "identity.user"
    kind = "user"
    Event = FelixEvent
    UserRegistered = UserRegistered
    UserDisabled = UserDisabled
    UserEnabled = UserEnabled
    UserErased = UserErased

    @classmethod
    def register(cls, context: CommandContext, command: RegisterUser) -> User:
        """Begin a user's stream."""
        return cls.begin(
            context,
            command.user_id or context.mint("usr"),
            email_commitment=command.email_commitment,
            name_commitment=command.name_commitment,
            invitation_id=command.invitation_id,
            invited_to=command.invited_to,
            partition=command.partition,
        )

    @event(UserRegistered)
    def __init__(
        self,
        email_commitment: str,
        name_commitment: str | None = None,
        invitation_id: str | None = None,
        invited_to: str | None = None,
        partition: int | None = None,
    ) -> None:
        self.email_commitment = email_commitment
        self.name_commitment = name_commitment
        self.status: Literal["active", "disabled", "erased"] = "active"

    def disable(self, command: DisableUser) -> bool:
        """Whether this made a difference. Raises :class:`OwnAccount` and :class:`UserIsErased`."""
        if is_oneself(self.context, self.local_id):
            raise OwnAccount()
        self._refuse_erased()
        if self.status == "active":
            self._disabled(reason=command.reason)
            return True
        return False

    def enable(self, command: EnableUser) -> bool:
        """Whether this made a difference. Raises :class:`UserIsErased`."""
        self._refuse_erased()
        if self.status == "disabled":
            self._enabled(reason=command.reason)
            return True
        return False

    def erase(self, command: EraseUser) -> bool:
        """Whether this made a difference; what is gone stays gone. Raises :class:`OwnAccount`."""
        if is_oneself(self.context, self.local_id):
            raise OwnAccount()
        if self.status != "erased":
            self._erased(reason=command.reason)
            return True
        return False

    def describe(self) -> dict[str, str]:
        """The outcome of a command about it."""
        return {"user_id": self.local_id, "status": self.status}

    def _refuse_erased(self) -> None:
        if self.status == "erased":
            raise UserIsErased(user_id=self.local_id)

    @event(UserDisabled)
    def _disabled(self, reason: str) -> None:
        self.status = "disabled"

    @event(UserEnabled)
    def _enabled(self, reason: str) -> None:
        self.status = "active"

    @event(UserErased)
    def _erased(self, reason: str) -> None:
        self.status = "erased"


def is_oneself(context: CommandContext, user_id: str) -> bool:
    """Whether the person whom a command is about has sent it: the log names people ``<role>:<user id>``."""
    return context.actor.rpartition(":")[2] == user_id
