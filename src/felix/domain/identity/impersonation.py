"""An impersonation lets a founder see one client as somebody with a role there sees it, for a while.

It can change nothing, whatever the role may do. It is written in the client's own log, so the client sees who looks,
as what, why and until when; and everything that is read in it is recorded too (:mod:`.access_log`).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any, ClassVar, Literal

from eventsourcing.domain import event
from pydantic import Field, StringConstraints

from felix.domain.base import Command, CommandContext, FelixAggregate, FelixCreated, FelixEvent
from felix.domain.errors import Refused
from felix.domain.identity.roles import PLATFORM
from felix.domain.values import Moment, Reason

ImpersonationId = Annotated[str, StringConstraints(pattern=r"^imp_[0-9a-f]{32}$")]
#: What a founder can be for a while: members of a client. An auditor is somebody else's, a service is a machine.
ImpersonatedRole = Literal["client_owner", "client_approver", "client_member"]
MAX_MINUTES = 60


class NobodyToImpersonate(Refused):
    """The platform has no client's roles; name the client that you want to see."""


class BeginImpersonation(Command):
    """See a client as one of its members does, reading only, for at most an hour. The client sees that you do."""

    command_name: ClassVar[str] = "access.begin_impersonation"
    #: Who asks, and the key or session that they ask with: nobody else, and nothing else, can use it.
    caller_id: Annotated[str, StringConstraints(min_length=1, max_length=100)]
    credential_id: Annotated[str, StringConstraints(min_length=1, max_length=100)]
    role: ImpersonatedRole
    reason: Reason
    minutes: Annotated[int, Field(ge=1, le=MAX_MINUTES)] = 15


class EndImpersonation(Command):
    """End an impersonation before its time."""

    command_name: ClassVar[str] = "access.end_impersonation"
    impersonation_id: ImpersonationId


class ImpersonationBegan(FelixCreated):
    """A founder began to see a client as one of its members does."""

    TOPIC: ClassVar[str] = "access.impersonation_began"
    role: str = Field(description="as whom the founder sees the client")
    reason: str
    expires_at: Moment


class ImpersonationEnded(FelixEvent):
    """A founder ended an impersonation before its time."""

    TOPIC: ClassVar[str] = "access.impersonation_ended"


class Impersonation(FelixAggregate):
    """One look of a founder at one client."""

    TOPIC = "access.impersonation"
    kind = "impersonation"
    Event = FelixEvent
    ImpersonationBegan = ImpersonationBegan
    ImpersonationEnded = ImpersonationEnded

    @classmethod
    def start(cls, context: CommandContext, command: BeginImpersonation) -> Impersonation:
        """Begin an impersonation. Raises :class:`NobodyToImpersonate`."""
        if context.tenant_id == PLATFORM:
            raise NobodyToImpersonate()
        return cls.begin(
            context,
            context.mint("imp"),
            role=command.role,
            reason=command.reason,
            expires_at=context.at + timedelta(minutes=command.minutes),
        )

    @event(ImpersonationBegan)
    def __init__(self, role: str, reason: str, expires_at: datetime) -> None:
        self.role = role
        self.expires_at = expires_at
        self.ended = False

    @classmethod
    def thaw(cls, state: dict[str, Any]) -> dict[str, Any]:
        """Snapshots hold moments as text."""
        return state | {"expires_at": datetime.fromisoformat(state["expires_at"])}

    def end(self) -> dict[str, Any]:
        """Never refused: one that has ended, or run out, stays so."""
        if not self.ended and self.deciding_at < self.expires_at:
            self._end()
        return {"impersonation_id": self.local_id, "role": self.role}

    @event(ImpersonationEnded)
    def _end(self) -> None:
        self.ended = True
