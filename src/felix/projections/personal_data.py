"""What is known about a person: questions to the vault and to the tables of identity. No projection: nothing is folded.

What the vault answers is sealed; whoever has the root key opens it (:mod:`felix.eventstore.vault`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from felix.domain.identity.roles import PLATFORM
from felix.eventstore.vault import SEALED, Vault
from felix.projections.tenant_tx import ReadPool, Row, TenantTx


async def sealed_of(tx: TenantTx, subject_ids: Sequence[str]) -> list[Row]:
    """The sealed values of some subjects of the tenant that is bound, in one query."""
    return await tx.fetch(SEALED, tx.partition, tx.tenant_id, list(subject_ids))


async def personal_data_of(tx: TenantTx, vault: Vault, subject_id: str) -> dict[str, dict[str, str]]:
    """Each value by its name, with what proves it: the salt, and the commitment that the log has. Empty: none is kept.

    Raises ``SealBroken`` and ``CommitmentBroken``.
    """
    found = vault.openings(await sealed_of(tx, [subject_id])).get(subject_id, {})
    return {
        name: {"value": opening.value, "salt": opening.salt.hex(), "commitment": opening.commitment}
        for name, opening in found.items()
    }


async def known_of_user(reads: ReadPool, partition: int, vault: Vault, user_id: str) -> dict[str, Any] | None:
    """Everything that Felix keeps about a user, for that user; ``partition`` is the platform's. None: there is none."""
    async with reads.unbound() as tx:
        known = await tx.fetch_one("select status, registered_at, memberships from felix.known_of(%s)", user_id)
        if known is None:
            return None
        credentials = await tx.fetch_one(
            "select password_set_at, sealed_secret is not null as second_factor, recovery_codes"
            " from felix.credentials_of(%s)",
            user_id,
        )
        sessions = await tx.fetch(
            "select session_id, method, second_factor, began_at, last_seen_at, expires_at, ended_at, device"
            " from felix.sessions_of(%s)",
            user_id,
        )
    async with reads.tenant(PLATFORM, partition) as bound:
        personal = await personal_data_of(bound, vault, user_id)
    return {"user_id": user_id} | known | {"personal": personal, "credentials": credentials, "sessions": sessions}
