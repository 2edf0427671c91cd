"""API keys, for those who may see them. Their table is written beside the log: these questions are never behind."""

from __future__ import annotations

from uuid import UUID

from felix.projections.tenant_tx import FounderTx, Row, TenantTx

_ROWS = """
    select k.key_id, k.label, k.role, k.tenant_id, k.scopes, k.created_at, k.expires_at, k.last_used_at, k.revoked_at,
           case when k.revoked_at is not null then 'revoked' when k.expires_at <= now() then 'expired'
                else 'active' end as status
    from felix.api_keys k
"""
_PAGE = " and k.key_id < %s order by k.key_id desc limit %s"
#: After every id.
NEWEST = "key_~"


async def keys(tx: TenantTx, before: str, limit: int) -> list[Row]:
    """The keys of a client that come before an id, the newest first."""
    return await tx.fetch(
        _ROWS + " join felix.tenants t using (tenant_id) where t.partition = %s and k.tenant_id = %s" + _PAGE,
        tx.partition,
        tx.tenant_id,
        before,
        limit,
    )


async def everybodys_keys(tx: FounderTx, before: str, limit: int, *, of_platform: bool = False) -> list[Row]:
    """The same of all clients and of the platform, or of the platform alone."""
    return await tx.fetch(_ROWS + " where (k.tenant_id is null or not %s)" + _PAGE, of_platform, before, limit)


async def owners_of(tx: FounderTx, key_id: str) -> list[UUID | None]:
    """The client that a key belongs to, or None for the platform; nothing where there is no such key."""
    return [
        row["tenant_id"] for row in await tx.fetch("select tenant_id from felix.api_keys where key_id = %s", key_id)
    ]
