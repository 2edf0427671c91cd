"""A tenant is a client: it owns accounts, apps and data, and lives in one partition for life."""

from __future__ import annotations

from typing import ClassVar

from eventsourcing.domain import event

from felix.domain.base import Command, CommandContext, FelixAggregate, FelixCreated, FelixEvent, register_decisions
from felix.domain.values import Name, Slug

#: A tenant's own stream has a fixed last part: there is one a tenant.
TENANT_STREAM = "tenant"


class OnboardTenant(Command):
    """Take a new client on board."""

    command_name: ClassVar[str] = "tenancy.onboard_tenant"
    slug: Slug
    name: Name


class TenantOnboarded(FelixCreated):
    """A client came on board."""

    TOPIC: ClassVar[str] = "tenancy.tenant_onboarded"
    slug: str
    name: str
    partition: int


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
        return cls.begin(context, TENANT_STREAM, slug=command.slug, name=command.name, partition=partition)

    @event(TenantOnboarded)
    def __init__(self, slug: str, name: str, partition: int) -> None:
        self.slug = slug
        self.name = name
        self.partition = partition
