"""An API key is what a machine signs in with: of a client in the client's log, of the founders in the platform's.

The log knows when a key was made, what it may do and how it ended. The key itself is shown once and kept nowhere; its
hash travels enclosed and is in the table of keys beside the log (:mod:`felix.eventstore.api_keys`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, ClassVar, Literal

from eventsourcing.domain import event
from pydantic import Field, StringConstraints

from felix.domain.base import Command, CommandContext, FelixAggregate, FelixCreated, FelixEvent
from felix.domain.errors import Forbidden, Refused
from felix.domain.identity.access import grant_of
from felix.domain.identity.roles import PLATFORM
from felix.domain.identity.scopes import MAX_SCOPES, Scope, actions_within, are_within
from felix.domain.values import Moment, Name, Reason

#: Keys of before their events have 16 digits.
KeyId = Annotated[str, StringConstraints(pattern=r"^key_([0-9a-f]{16}|[0-9a-f]{32})$")]
KeyRole = Literal["founder", "founder_readonly", "service"]
#: How long a rotated key can still be used beside its successor.
MAX_OVERLAP_S = 7 * 24 * 60 * 60
DEFAULT_OVERLAP_S = 24 * 60 * 60


class RoleOutOfPlace(Refused):
    """A client's key is a service; a key of the platform is founder or founder_readonly."""


class ScopeOfAnotherRole(Refused):
    """The role of the key may do nothing that this scope means."""


class KeyWouldBeExpired(Refused):
    """The expiry of the key is not after now."""


class MoreThanItsMaker(Forbidden):
    """A key can't do more, or live longer, than the key that makes it."""


class ApiKeyHasEnded(Refused):
    """This API key was revoked or has expired."""


class ApiKeyHasASuccessor(Refused):
    """This API key was rotated before: rotate its successor."""


@dataclass(frozen=True, slots=True)
class Reach:
    """How far a key goes: within which scopes, and until when. None is as far as its role, and for ever."""

    scopes: frozenset[str] | None = None
    expires_at: datetime | None = None

    def refuse_beyond(self, scopes: list[str] | None, expires_at: datetime | None) -> None:
        """A key passes on no more than it has. Raises :class:`MoreThanItsMaker`."""
        if not are_within(scopes, self.scopes):
            raise MoreThanItsMaker(scopes=sorted(self.scopes or ()))
        if self.expires_at is not None and (expires_at is None or expires_at > self.expires_at):
            raise MoreThanItsMaker(expires_at=self.expires_at.isoformat())


class CreateApiKey(Command):
    """Make an API key. The answer shows it, this once; sent again, the same request answers without it.

    `scopes` are actions, or groups of them such as `ledger.*` and `*.read`; without any the key may do all that its
    role may. A client's key is a `service`.
    """

    command_name: ClassVar[str] = "identity.create_api_key"
    label: Name
    role: KeyRole = "service"
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=MAX_SCOPES)] | None = None
    expires_at: Moment | None = None


class RotateApiKey(Command):
    """Make a successor of an API key, which goes on for `overlap_s` seconds more: a day, or up to seven.

    The successor may do the same, and lives as long as the key that it follows was to live.
    """

    command_name: ClassVar[str] = "identity.rotate_api_key"
    key_id: KeyId
    overlap_s: Annotated[int, Field(ge=0, le=MAX_OVERLAP_S)] = DEFAULT_OVERLAP_S


class RevokeApiKey(Command):
    """Make an API key worthless, in every process within a second."""

    command_name: ClassVar[str] = "identity.revoke_api_key"
    key_id: KeyId
    reason: Reason | None = None


class ApiKeyCreated(FelixCreated):
    """An API key was made. ``rotated_from`` is the key that it follows."""

    TOPIC: ClassVar[str] = "identity.api_key_created"
    expires_at: Moment | None
    label: str
    role: str
    rotated_from: str | None
    scopes: list[str] | None


class ApiKeyRotated(FelixEvent):
    """An API key got a successor and goes on for a while."""

    TOPIC: ClassVar[str] = "identity.api_key_rotated"
    ends_at: Moment
    successor_id: str


class ApiKeyRevoked(FelixEvent):
    """An API key became worthless."""

    TOPIC: ClassVar[str] = "identity.api_key_revoked"
    reason: str | None


class ApiKey(FelixAggregate):
    """One API key: it only ever loses. What has ended stays so."""

    TOPIC = "identity.api_key"
    kind = "api_key"
    Event = FelixEvent
    ApiKeyCreated = ApiKeyCreated
    ApiKeyRotated = ApiKeyRotated
    ApiKeyRevoked = ApiKeyRevoked

    @classmethod
    def create(cls, context: CommandContext, command: CreateApiKey, maker: Reach) -> ApiKey:
        """Begin a key's stream.

        Raises :class:`RoleOutOfPlace`, :class:`ScopeOfAnotherRole`, :class:`KeyWouldBeExpired` and
        :class:`MoreThanItsMaker`.
        """
        if (command.role == "service") == (context.tenant_id == PLATFORM):
            raise RoleOutOfPlace(role=command.role)
        for scope in command.scopes or ():
            if all(grant_of(action, command.role) is None for action in actions_within(frozenset({scope}))):
                raise ScopeOfAnotherRole(role=command.role, scope=scope)
        if command.expires_at is not None and command.expires_at <= context.at:
            raise KeyWouldBeExpired(expires_at=command.expires_at.isoformat(), now=context.at.isoformat())
        maker.refuse_beyond(command.scopes, command.expires_at)
        return cls.known_as(
            context,
            context.mint("key"),
            expires_at=command.expires_at,
            label=command.label,
            role=command.role,
            scopes=command.scopes,
        )

    @classmethod
    def known_as(
        cls,
        context: CommandContext,
        key_id: str,
        *,
        label: str,
        role: str,
        scopes: list[str] | None = None,
        expires_at: datetime | None = None,
        rotated_from: str | None = None,
    ) -> ApiKey:
        """Begin the stream of a key with this id."""
        return cls.begin(
            context,
            key_id,
            expires_at=expires_at,
            label=label,
            role=role,
            rotated_from=rotated_from,
            scopes=scopes,
        )

    @event(ApiKeyCreated)
    def __init__(
        self, expires_at: datetime | None, label: str, role: str, rotated_from: str | None, scopes: list[str] | None
    ) -> None:
        self.label = label
        self.role = role
        self.scopes = scopes
        self.expires_at = expires_at
        #: How long it was to live when it was made.
        self.lifetime_s = None if expires_at is None else (expires_at - self.created_on).total_seconds()
        self.successor_id: str | None = None
        self.revoked = False

    def rotate(self, command: RotateApiKey, maker: Reach) -> ApiKey:
        """End this key after the overlap and answer its successor.

        Raises :class:`ApiKeyHasEnded`, :class:`ApiKeyHasASuccessor` and :class:`MoreThanItsMaker`.
        """
        now = self.deciding_at
        if self.revoked or (self.expires_at is not None and self.expires_at <= now):
            raise ApiKeyHasEnded()
        if self.successor_id is not None:
            raise ApiKeyHasASuccessor(successor_id=self.successor_id)
        lives_until = None if self.lifetime_s is None else now + timedelta(seconds=self.lifetime_s)
        maker.refuse_beyond(self.scopes, lives_until)
        successor = ApiKey.known_as(
            self.context,
            self.context.mint("key"),
            expires_at=lives_until,
            label=self.label,
            role=self.role,
            rotated_from=self.local_id,
            scopes=self.scopes,
        )
        ends_at = now + timedelta(seconds=command.overlap_s)
        self._rotated(ends_at=min(ends_at, self.expires_at or ends_at), successor_id=successor.local_id)
        return successor

    def revoke(self, command: RevokeApiKey) -> None:
        """Never refused: what is worthless stays so."""
        if not self.revoked:
            self._revoked(reason=command.reason)

    @event(ApiKeyRotated)
    def _rotated(self, ends_at: datetime, successor_id: str) -> None:
        self.expires_at = ends_at
        self.successor_id = successor_id

    @event(ApiKeyRevoked)
    def _revoked(self, reason: str | None) -> None:
        self.revoked = True

    def shown(self) -> dict[str, Any]:
        """What is told of the key to those who may know it."""
        return {
            "key_id": self.local_id,
            "label": self.label,
            "role": self.role,
            "scopes": self.scopes,
            "created_at": self.created_on.isoformat(),
            "expires_at": self.expires_at and self.expires_at.isoformat(),
        }

    @classmethod
    def thaw(cls, state: dict[str, Any]) -> dict[str, Any]:
        """Moments come back as such."""
        return state | {"expires_at": state["expires_at"] and datetime.fromisoformat(state["expires_at"])}
