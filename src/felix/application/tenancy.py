"""Handlers for tenants."""

from __future__ import annotations

from typing import Any

from felix.application.unit_of_work import UnitOfWork, handles
from felix.domain.tenancy.tenant import TENANT_STREAM, OnboardTenant, Tenant


@handles(OnboardTenant)
def onboard_tenant(command: OnboardTenant, unit: UnitOfWork) -> dict[str, Any]:
    """Begin the tenant's stream; a tenant that is already on board stays as it is."""
    tenant = unit.find(Tenant, TENANT_STREAM)
    if tenant is None:
        tenant = Tenant.onboard(unit.context, command, unit.partition)
        unit.add(tenant)
    return {
        "tenant_id": str(unit.context.tenant_id),
        "slug": tenant.slug,
        "name": tenant.name,
        "partition": tenant.partition,
    }
