"""A user's identity at a sign-in provider: bound when they first sign in there, and nobody else's from then on."""

from __future__ import annotations

from typing import Annotated, ClassVar

from eventsourcing.domain import event
from pydantic import StringConstraints

from felix.domain.base import Command, CommandContext, FelixAggregate, FelixCreated, FelixEvent, register_decisions
from felix.domain.identity.user import UserId
from felix.domain.values import Text

Issuer = Annotated[Text, StringConstraints(min_length=1, max_length=500)]


class BindIdentity(Command):
    """Bind a user to who they are at a provider. The hash of the provider's name for them travels enclosed."""

    command_name: ClassVar[str] = "identity.bind_identity"
    user_id: UserId
    issuer: Issuer


class IdentityBound(FelixCreated):
    """A user signed in at a provider for the first time."""

    TOPIC: ClassVar[str] = "identity.identity_bound"
    user_id: str
    issuer: str


@register_decisions
class BoundIdentity(FelixAggregate):
    """One user at one provider."""

    TOPIC = "identity.bound_identity"
    kind = "bound_identity"
    Event = FelixEvent
    IdentityBound = IdentityBound

    @classmethod
    def bind(cls, context: CommandContext, command: BindIdentity) -> BoundIdentity:
        """Begin the stream of a binding."""
        return cls.begin(context, context.mint("bid"), user_id=command.user_id, issuer=command.issuer)

    @event(IdentityBound)
    def __init__(self, user_id: str, issuer: str) -> None:
        self.user_id = user_id
        self.issuer = issuer
