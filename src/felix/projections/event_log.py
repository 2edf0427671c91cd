"""The log itself, for auditors: a tenant's events in the order of its own sequence, a stream, a command.

Not a projection: these are questions about the facts, answered from where they are.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from felix.projections.tenant_tx import Row, TenantTx

_EVENT = (
    "partition, tenant_id, tenant_sequence, stream, version, type, event_id, recorded_at, command_key, actor,"
    " metadata, state from felix.events_readable where partition = %s and tenant_id = %s"
)
#: The audit trail leads to the events by their places: not one more of the log is read.
_BY_CORRELATION = """
    select e.partition, e.tenant_id, e.tenant_sequence, e.stream, e.version, e.type, e.event_id,
      e.recorded_at, e.command_key, e.actor, e.metadata, e.state
    from (
      select first_tenant_sequence, last_tenant_sequence from read.audit_trail
      where partition = %s and tenant_id = %s and correlation_id = %s and first_tenant_sequence is not null
      order by first_tenant_sequence offset 0
    ) a cross join lateral (
      select * from felix.events_readable
      where partition = %s and tenant_id = %s
        and tenant_sequence between a.first_tenant_sequence and a.last_tenant_sequence offset 0
    ) e where true
"""
_COMMAND = (
    "select command_key, type, actor, accepted, last_tenant_sequence - (last_position - first_position) as"
    " first_tenant_sequence, last_tenant_sequence, recorded_at, metadata, reason,"
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
    correlation_id: UUID | None = None,
) -> list[Row]:
    """The tenant's events that follow a ``tenant_sequence``, in its order, of one type, stream or actor if asked.

    ``since`` is included, ``until`` is not. Those of a correlation id are found as far as the audit trail has come.
    """
    if stream is not None and not _is_own(tx, stream):
        return []
    conditions = {
        "type = %s": type,
        "stream = %s": stream,
        "actor = %s": actor,
        "recorded_at >= %s": since,
        "recorded_at < %s": until,
    }
    given: dict[str, Any] = {condition: value for condition, value in conditions.items() if value is not None}
    mine: tuple[Any, ...] = (tx.partition, tx.tenant_id)
    beginning = f"select {_EVENT}"
    if correlation_id is not None:
        beginning, mine = _BY_CORRELATION, (*mine, correlation_id, *mine)
    query = " and ".join([beginning, "tenant_sequence > %s", *given]) + " order by tenant_sequence limit %s"
    return await tx.fetch(query, *mine, after, *given.values(), limit)


async def stream_events(tx: TenantTx, stream: str, after_version: int = 0, limit: int = 100) -> list[Row]:
    """The events of a stream that follow a version."""
    if not _is_own(tx, stream):
        return []
    return await tx.fetch(
        f"select {_EVENT} and stream = %s and version > %s order by version limit %s",
        tx.partition, tx.tenant_id, stream, after_version, limit,
    )  # fmt: skip


def _is_own(tx: TenantTx, stream: str) -> bool:
    """A stream's name begins with its tenant. One of somebody else is not asked for: streams are found before tenants
    are compared, so the answer would take the longer the more is in it."""
    return stream.startswith(f"{tx.tenant_id}:")


async def command(tx: TenantTx, command_key: str) -> Row | None:
    """What became of a command, accepted or refused; ``None`` when the tenant never sent it."""
    return await tx.fetch_one(_COMMAND, tx.partition, tx.tenant_id, command_key)
