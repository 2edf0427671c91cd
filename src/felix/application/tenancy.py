"""Handlers for tenants."""

from __future__ import annotations

from typing import Any

from felix.application.identity import invite
from felix.application.unit_of_work import UnitOfWork, handles
from felix.domain.identity.invitation import SendInvitation
from felix.domain.ledger.messages import GrantTokens, OpenTokenAccount
from felix.domain.ledger.token_account import TokenAccount
from felix.domain.tenancy.tenant import FIRST_ACCOUNT, TENANT_STREAM, OnboardTenant, Tenant


@handles(OnboardTenant)
def onboard_tenant(command: OnboardTenant, unit: UnitOfWork) -> dict[str, Any]:
    """Begin the tenant's stream and all that it begins with; a tenant that is already on board stays as it is."""
    tenant = unit.find(Tenant, TENANT_STREAM)
    begun: dict[str, Any] = {}
    if tenant is None:
        tenant = Tenant.onboard(unit.context, command, unit.partition)
        unit.add(tenant)
        begun = _begin_account(command, unit) | _invite_owner(command, unit)
    return {
        "tenant_id": str(unit.context.tenant_id),
        "slug": tenant.slug,
        "name": tenant.name,
        "partition": tenant.partition,
        "modules": tenant.modules,
        **begun,
    }


def _begin_account(command: OnboardTenant, unit: UnitOfWork) -> dict[str, Any]:
    """A welcome grant is a lot like any other that nobody has paid for."""
    if command.account_name is None and not command.welcome_mtok:
        return {}
    account = TokenAccount.open(unit.context, OpenTokenAccount(name=command.account_name or FIRST_ACCOUNT))
    unit.add(account)
    if command.welcome_mtok:
        account.grant(
            GrantTokens(
                account_id=account.local_id, amount_mtok=command.welcome_mtok, kind="promo", reason="A welcome grant."
            )
        )
    return {"account_id": account.local_id, "balance": account.balance}


def _invite_owner(command: OnboardTenant, unit: UnitOfWork) -> dict[str, Any]:
    if command.invitation_id is None or command.email_commitment is None:
        return {}
    invitation = SendInvitation(
        role="client_owner", invitation_id=command.invitation_id, email_commitment=command.email_commitment
    )
    return {"invitation_id": invite(invitation, unit).local_id}
