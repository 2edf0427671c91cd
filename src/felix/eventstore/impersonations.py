"""The table of impersonations, as the doors ask for them; its rows belong to the events of the same name."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from felix.eventstore.side_statements import SideStatement


def keep_impersonation(
    partition: int,
    tenant_id: UUID,
    impersonation_id: str,
    *,
    caller_id: str,
    credential_id: str,
    role: str,
    expires_at: datetime,
) -> SideStatement:
    """Let one caller, with one credential, be somebody with this role in the tenant until then."""
    return SideStatement(
        "insert into felix.impersonations"
        " (partition, tenant_id, impersonation_id, caller_id, credential_id, role, expires_at)"
        " values (%s, %s, %s, %s, %s, %s, %s)",
        (partition, tenant_id, impersonation_id, caller_id, credential_id, role, expires_at),
    )


def end_impersonation(partition: int, tenant_id: UUID, impersonation_id: str) -> SideStatement:
    """Let nobody use it any more."""
    return SideStatement(
        "update felix.impersonations set ended = true"
        " where partition = %s and tenant_id = %s and impersonation_id = %s and not ended",
        (partition, tenant_id, impersonation_id),
    )
