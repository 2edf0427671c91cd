"""Looks credentials up: what is presented is hashed, and the hash is what the database knows."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from datetime import datetime
from uuid import UUID

from felix.api.auth import Access, Caller, ImpersonationInForce
from felix.application.sign_in import SESSION_IDLES
from felix.domain.identity.roles import PLATFORM
from felix.eventstore.api_keys import hash_key, well_formed
from felix.eventstore.sign_in import hash_token
from felix.projections.tenant_tx import ReadPool

_SESSION_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)


def key_look_up(reads: ReadPool, remember: Callable[[UUID, int], None]) -> Callable[[str], Awaitable[Caller | None]]:
    """Finds who holds an API key. ``remember`` hears where the tenant lives."""

    async def look_up(key: str) -> Caller | None:
        if not well_formed(key):
            return None
        async with reads.unbound() as tx:
            row = await tx.fetch_one(
                "select key_id, role, tenant_id, slug, partition, scopes, expires_at from felix.authenticate_key(%s)",
                hash_key(key),
            )
        if row is None:
            return None
        if row["partition"] is not None:
            remember(row["tenant_id"], row["partition"])
        return Caller(
            row["key_id"],
            row["key_id"],
            "api_key",
            (Access(row["tenant_id"] or PLATFORM, row["role"], row["slug"] or ""),),
            scopes=None if row["scopes"] is None else frozenset(row["scopes"]),
            expires_at=row["expires_at"],
        )

    return look_up


def session_look_up(
    reads: ReadPool, remember: Callable[[UUID, int], None]
) -> Callable[[str], Awaitable[Caller | None]]:
    """Finds whose session a cookie's token is."""

    async def look_up(token: str) -> Caller | None:
        if _SESSION_TOKEN.fullmatch(token) is None:
            return None
        async with reads.unbound() as tx:
            row = await tx.fetch_one(
                "select session_id, user_id, method, second_factor, last_seen_at, expires_at, stepped_up_at,"
                " memberships from felix.authenticate_session(%s)",
                hash_token(token),
            )
        if row is None:
            return None
        accesses = []
        for membership in row["memberships"]:
            tenant_id = UUID(membership["tenant_id"])
            remember(tenant_id, membership["partition"])
            until = membership["expires_at"]
            accesses.append(
                Access(
                    tenant_id, membership["role"], membership["slug"], datetime.fromisoformat(until) if until else None
                )
            )
        return Caller(
            row["user_id"],
            row["session_id"],
            row["method"],
            tuple(accesses),
            expires_at=min(row["expires_at"], row["last_seen_at"] + SESSION_IDLES),
            second_factor=row["second_factor"],
            stepped_up_at=row["stepped_up_at"],
        )

    return look_up


def impersonation_look_up(
    reads: ReadPool, partition_of: Callable[[UUID], int]
) -> Callable[[UUID, str], Awaitable[ImpersonationInForce | None]]:
    """Finds an impersonation of a tenant that nobody has ended."""

    async def look_up(tenant_id: UUID, impersonation_id: str) -> ImpersonationInForce | None:
        partition = partition_of(tenant_id)
        async with reads.tenant(tenant_id, partition) as tx:
            row = await tx.fetch_one(
                "select caller_id, credential_id, role, expires_at from felix.impersonations"
                " where partition = %s and tenant_id = %s and impersonation_id = %s and not ended",
                partition,
                tenant_id,
                impersonation_id,
            )
        if row is None:
            return None
        return ImpersonationInForce(
            impersonation_id, tenant_id, row["caller_id"], row["credential_id"], row["role"], row["expires_at"]
        )

    return look_up
