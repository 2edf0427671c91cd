"""What the doors of sign-in ask: who has an address, what they sign in with, what a link is good for, their sessions.

The questions go to definer functions that answer about one person at a time; tables of secrets nobody reads as a whole.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from felix.eventstore.sign_in import Purpose
from felix.projections.tenant_tx import FounderTx, ReadTx


@dataclass(frozen=True, slots=True)
class SignsInWith:
    """What is known of how a user signs in."""

    user_id: str
    status: str
    password_hash: str | None = field(repr=False)
    password_set_at: datetime | None
    sealed_secret: bytes | None = field(repr=False)
    last_step: int | None
    recovery_codes: int

    @property
    def has_second_factor(self) -> bool:
        """Whether a password alone does not let them in."""
        return self.sealed_secret is not None


async def by_address(tx: ReadTx, email_index: bytes) -> SignsInWith | None:
    """How whoever has an address signs in."""
    row = await tx.fetch_one(
        "select c.* from felix.user_by_email_index(%s) u cross join lateral felix.credentials_of(u.user_id) c",
        email_index,
    )
    return SignsInWith(**row) if row else None


async def credentials_of(tx: ReadTx, user_id: str) -> SignsInWith | None:
    """How a user signs in."""
    row = await tx.fetch_one("select * from felix.credentials_of(%s)", user_id)
    return SignsInWith(**row) if row else None


async def subject_of_link(tx: ReadTx, token_hash: bytes, purpose: Purpose, at: datetime) -> str | None:
    """Whom or what a link that can still be used is for."""
    row = await tx.fetch_one("select subject from felix.link_behind(%s, %s, %s)", token_hash, purpose, at)
    return row["subject"] if row else None


async def sessions_of(tx: ReadTx, user_id: str, at: datetime, idle_since: datetime) -> list[dict[str, Any]]:
    """A user's sessions that can still be used, the newest first."""
    return await tx.fetch(
        "select session_id, method, second_factor, began_at, last_seen_at, expires_at, stepped_up_at, device"
        " from felix.sessions_of(%s) where ended_at is null and expires_at > %s and last_seen_at > %s",
        user_id,
        at,
        idle_since,
    )


async def everybodys_sessions(
    tx: FounderTx, user_id: str | None, at: datetime, idle_since: datetime
) -> list[dict[str, Any]]:
    """The sessions that can still be used, of one user or of all, the newest first."""
    return await tx.fetch(
        "select session_id, user_id, method, second_factor, began_at, last_seen_at, expires_at, stepped_up_at, device"
        " from felix.sessions where (%s::text is null or user_id = %s) and ended_at is null and expires_at > %s"
        " and last_seen_at > %s order by began_at desc, session_id",
        user_id,
        user_id,
        at,
        idle_since,
    )
