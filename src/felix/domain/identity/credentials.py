"""What a person signs in with: a password, a second factor, recovery codes.

The log says that they were set, used and taken away. Hashes and the sealed secret of the second factor travel enclosed
and end up in tables of their own.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from eventsourcing.domain import event

from felix.domain.base import Command, CommandContext, FelixAggregate, FelixCreated, FelixEvent
from felix.domain.errors import Refused, Unauthenticated
from felix.domain.identity.session import SessionId
from felix.domain.identity.user import UserId

#: Codes that are issued together; each signs in once in place of a second factor.
RECOVERY_CODES = 10
PasswordOrigin = Literal["user", "reset", "invitation"]
#: Who takes a second factor away: its user, or whoever operates Felix, because it is lost.
Remover = Literal["user", "operator"]


class CredentialsRefused(Unauthenticated):
    """That is not how this account signs in."""


class LinkNotValid(Unauthenticated):
    """This link was used, has run out, or never was one."""


class SecondFactorRequired(Refused):
    """People who run the platform have a second factor; it can be replaced and not removed."""


class NoSecondFactor(Refused):
    """This account has no second factor."""


class SetPassword(Command):
    """Set a password; every other session of the user ends."""

    command_name: ClassVar[str] = "identity.set_password"
    user_id: UserId
    origin: PasswordOrigin
    session_id: SessionId | None = None


class EnrolSecondFactor(Command):
    """Take a second factor into use, in place of an earlier one; every other session of the user ends."""

    command_name: ClassVar[str] = "identity.enrol_second_factor"
    user_id: UserId
    session_id: SessionId


class RemoveSecondFactor(Command):
    """Take a user's second factor and recovery codes out of use."""

    command_name: ClassVar[str] = "identity.remove_second_factor"
    user_id: UserId
    remover: Remover


class IssueRecoveryCodes(Command):
    """Issue recovery codes; those that were issued before are worthless."""

    command_name: ClassVar[str] = "identity.issue_recovery_codes"
    user_id: UserId


class CredentialsOpened(FelixCreated):
    """A user begins to have credentials."""

    TOPIC: ClassVar[str] = "identity.credentials_opened"


class PasswordSet(FelixEvent):
    """A user's password was set."""

    TOPIC: ClassVar[str] = "identity.password_set"
    origin: PasswordOrigin


class SecondFactorEnrolled(FelixEvent):
    """A user proved to have a second factor, which is asked for at every sign-in from now on."""

    TOPIC: ClassVar[str] = "identity.second_factor_enrolled"


class SecondFactorRemoved(FelixEvent):
    """A user has no second factor any more."""

    TOPIC: ClassVar[str] = "identity.second_factor_removed"
    remover: Remover


class RecoveryCodesIssued(FelixEvent):
    """A user was given recovery codes; earlier ones are worthless."""

    TOPIC: ClassVar[str] = "identity.recovery_codes_issued"
    codes: int


class RecoveryCodeUsed(FelixEvent):
    """A recovery code stood in for a second factor, once."""

    TOPIC: ClassVar[str] = "identity.recovery_code_used"
    codes_left: int


class Credentials(FelixAggregate):
    """What one user signs in with; its stream has the user's id."""

    TOPIC = "identity.credentials"
    kind = "credentials"
    Event = FelixEvent
    CredentialsOpened = CredentialsOpened
    PasswordSet = PasswordSet
    SecondFactorEnrolled = SecondFactorEnrolled
    SecondFactorRemoved = SecondFactorRemoved
    RecoveryCodesIssued = RecoveryCodesIssued
    RecoveryCodeUsed = RecoveryCodeUsed

    @classmethod
    def open(cls, context: CommandContext, user_id: str) -> Credentials:
        """Begin a user's stream of credentials."""
        return cls.begin(context, user_id)

    @event(CredentialsOpened)
    def __init__(self) -> None:
        self.has_password = False
        self.has_second_factor = False
        self.recovery_codes = 0

    def set_password(self, origin: PasswordOrigin) -> None:
        """Whatever it was before."""
        self._password_set(origin=origin)

    def enrol(self) -> None:
        """Enrol a second factor, in place of the one before, with recovery codes."""
        self._enrolled()
        self._codes_issued(codes=RECOVERY_CODES)

    def remove(self, remover: Remover, *, of_platform: bool) -> None:
        """Raises :class:`NoSecondFactor` and :class:`SecondFactorRequired`."""
        if not self.has_second_factor:
            raise NoSecondFactor()
        if of_platform and remover == "user":
            raise SecondFactorRequired()
        self._removed(remover=remover)

    def issue_codes(self) -> None:
        """Raises :class:`NoSecondFactor`: without one there is nothing that a code could stand in for."""
        if not self.has_second_factor:
            raise NoSecondFactor()
        self._codes_issued(codes=RECOVERY_CODES)

    def use_code(self) -> None:
        """A code was found and is used up."""
        self._code_used(codes_left=self.recovery_codes - 1)

    @event(PasswordSet)
    def _password_set(self, origin: PasswordOrigin) -> None:
        self.has_password = True

    @event(SecondFactorEnrolled)
    def _enrolled(self) -> None:
        self.has_second_factor = True

    @event(SecondFactorRemoved)
    def _removed(self, remover: Remover) -> None:
        self.has_second_factor = False
        self.recovery_codes = 0

    @event(RecoveryCodesIssued)
    def _codes_issued(self, codes: int) -> None:
        self.recovery_codes = codes

    @event(RecoveryCodeUsed)
    def _code_used(self, codes_left: int) -> None:
        self.recovery_codes = codes_left
