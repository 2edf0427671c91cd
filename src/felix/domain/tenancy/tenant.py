"""A tenant is a client: it owns accounts, apps and data, and lives in one partition for life."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Self

from eventsourcing.domain import event
from pydantic import Field, StringConstraints, model_validator

from felix.domain.base import Command, CommandContext, FelixAggregate, FelixCreated, FelixEvent, register_decisions
from felix.domain.identity.invitation import InvitationId
from felix.domain.identity.user import Commitment
from felix.domain.values import AmountOrZero, Name, Slug

#: A tenant's own stream has a fixed last part: there is one a tenant.
TENANT_STREAM = "tenant"
#: What the first token account is called where a welcome grant needs one and nobody has named it.
FIRST_ACCOUNT = "Main account"

ModuleName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,62}$")]


class NewClient(Command):
    """What a client is called, and what it begins with: a first token account, tokens that cost it nothing, and the
    modules that its apps are made of."""

    slug: Slug
    name: Name
    account_name: Name | None = None
    welcome_mtok: AmountOrZero = 0
    modules: Annotated[list[ModuleName], Field(max_length=50)] = []


class OnboardTenant(NewClient):
    """Take a new client on board, with all that it begins with.

    An invitation goes to its first owner where ``invitation_id`` is given; the address travels enclosed.
    """

    command_name: ClassVar[str] = "tenancy.onboard_tenant"
    invitation_id: InvitationId | None = None
    email_commitment: Commitment | None = None

    @model_validator(mode="after")
    def _an_invitation_has_an_address(self) -> Self:
        if (self.invitation_id is None) != (self.email_commitment is None):
            raise ValueError("an invitation_id and an email_commitment go together")
        return self

    def fingerprint_fields(self) -> dict[str, Any]:
        """Without the commitment, which is salted anew whenever the same is asked again."""
        return {name: value for name, value in super().fingerprint_fields().items() if name != "email_commitment"}


class TenantOnboarded(FelixCreated):
    """A client came on board, with these modules."""

    TOPIC: ClassVar[str] = "tenancy.tenant_onboarded"
    slug: str
    name: str
    partition: int
    modules: list[str]

    class_version: ClassVar[int] = 2

    @staticmethod
    def upcast_v1_v2(state: dict[str, Any]) -> None:
        """The first clients came on board without modules."""
        state["modules"] = []


@register_decisions
class Tenant(FelixAggregate):
    """One client."""

    TOPIC = "tenancy.tenant"
    kind = "tenant"
    Event = FelixEvent
    TenantOnboarded = TenantOnboarded

    @classmethod
    def onboard(cls, context: CommandContext, command: OnboardTenant, partition: int) -> Tenant:
        """Begin a tenant's stream in its partition."""
        return cls.begin(
            context,
            TENANT_STREAM,
            slug=command.slug,
            name=command.name,
            partition=partition,
            modules=sorted(set(command.modules)),
        )

    @event(TenantOnboarded)
    def __init__(self, slug: str, name: str, partition: int, modules: list[str]) -> None:
        self.slug = slug
        self.name = name
        self.partition = partition
        self.modules = modules
