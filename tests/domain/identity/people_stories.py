"""Given what has happened to people, when somebody asks for something, then …"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from felix.domain.base import CommandContext
from felix.domain.identity.invitation import Invitation, SendInvitation
from felix.domain.identity.membership import Membership
from felix.domain.identity.roles import PLATFORM
from felix.domain.identity.user import RegisterUser, User

CLIENT = UUID(int=7)
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
ADA = "usr_" + "a" * 32
BEN = "usr_" + "b" * 32
INVITED = "inv_" + "1" * 32
COMMITMENT = "c" * 64


def context(
    tenant_id: UUID = CLIENT, at: datetime = NOW, actor: str = "client_owner:usr_" + "0" * 32
) -> CommandContext:
    """A command of somebody who is neither Ada nor Ben."""
    return CommandContext(tenant_id, "key", UUID(int=1 << 16), actor, at)


def a_user() -> User:
    return User.register(context(PLATFORM), RegisterUser(user_id=ADA, email_commitment=COMMITMENT))


def a_member(role: Any = "client_member", tenant_id: UUID = CLIENT, expires_at: datetime | None = None) -> Membership:
    return Membership.grant(context(tenant_id), ADA, role, expires_at)


def an_invitation(role: Any = "client_member", tenant_id: UUID = CLIENT, **fields: Any) -> Invitation:
    command = SendInvitation(role=role, invitation_id=INVITED, email_commitment=COMMITMENT, **fields)
    return Invitation.send(context(tenant_id), command)


def happened(aggregate: Any) -> list[str]:
    """What has happened to it, by stored name without the noun."""
    return [type(event).TOPIC.partition(".")[2] for event in aggregate.pending_events]


def replayed(aggregate: Any) -> Any:
    """The same aggregate, added up again from its events."""
    again = None
    for event in aggregate.pending_events:
        again = event.mutate(again)
    return again


def from_snapshot(aggregate: Any) -> Any:
    """The same aggregate, as a snapshot in JSON gives it back."""
    import orjson

    state = orjson.loads(orjson.dumps(aggregate.snapshot()))
    made = type(aggregate).restore(
        stream=aggregate.id, version=aggregate.version, created_on=NOW, modified_on=aggregate.modified_on, state=state
    )
    return made.deciding(context())
