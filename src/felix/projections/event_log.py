"""The log itself, for auditors: a tenant's events in the order of its own sequence, a stream, a command.

Not a projection: these are questions about the facts, answered from where they are.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from felix.projections.tenant_tx import Row, TenantTx

_EVENT = (
    "partition, position, tenant_id, tenant_sequence, stream, version, type, event_id, recorded_at, command_key, actor,"
    " metadata, state from felix.events_readable where partition = %s and tenant_id = %s"
)
_COMMAND = (
    "select command_key, type, actor, accepted, first_position, last_position, recorded_at,"
    " convert_from(outcome, 'UTF8')::jsonb as outcome"
    " from felix.commands where partition = %s and tenant_id = %s and command_key = %s"
)


async def events(
    tx: TenantTx,
    after: int = 0,
    limit: int = 100,
    *,
    type: str | None = None,
    stream: str | None = None,
    actor: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> list[Row]:
    """The tenant's events that follow a ``tenant_sequence``, in its order, of one type, stream or actor if asked.

    ``since`` is included, ``until`` is not.
    """
    conditions = {
        "type = %s": type,
        "stream = %s": stream,
        "actor = %s": actor,
        "recorded_at >= %s": since,
        "recorded_at < %s": until,
    }
    given: dict[str, Any] = {condition: value for condition, value in conditions.items() if value is not None}
    query = " and ".join([f"select {_EVENT}", "tenant_sequence > %s", *given]) + " order by tenant_sequence limit %s"
    return await tx.fetch(query, tx.partition, tx.tenant_id, after, *given.values(), limit)


async def stream_events(tx: TenantTx, stream: str, after_version: int = 0, limit: int = 100) -> list[Row]:
    """The events of a stream that follow a version."""
    return await tx.fetch(
        f"select {_EVENT} and stream = %s and version > %s order by version limit %s",
        tx.partition, tx.tenant_id, stream, after_version, limit,
    )  # fmt: skip


async def command(tx: TenantTx, command_key: str) -> Row | None:
    """What became of a command, accepted or refused; ``None`` when the tenant never sent it."""
    return await tx.fetch_one(_COMMAND, tx.partition, tx.tenant_id, command_key)
