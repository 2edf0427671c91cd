"""The log as it grows: how far it is, who has news, and what follows that a reader has not seen.

Like :mod:`felix.projections.event_log` these are questions about the facts, not about a read model. What follows is
dense, which is checked on every batch: a reader that has seen ``n`` of them has seen all before it, or stops.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from felix.eventstore.reader import GapInLog
from felix.projections import event_log
from felix.projections.tenant_tx import FounderTx, ReadTx, Row, TenantTx


async def heads(tx: ReadTx) -> dict[int, int]:
    """The last position of every partition."""
    return {row["partition"]: row["position"] for row in await tx.fetch(_HEADS)}


async def tenant_head(tx: TenantTx) -> int:
    """The last ``tenant_sequence`` of the tenant; zero before its first event."""
    row = await tx.fetch_one(_TENANT_HEAD, tx.partition, tx.tenant_id)
    return row["tenant_sequence"] if row is not None else 0


async def tenant_events(tx: TenantTx, after: int, limit: int) -> list[Row]:
    """The tenant's events that follow a ``tenant_sequence``, as ``GET /v1/events`` shows them. Raises GapInLog."""
    return _dense(await event_log.events(tx, after, limit), "tenant_sequence", after)


async def partition_events(tx: FounderTx, partition: int, after: int, limit: int) -> list[Row]:
    """The events of all tenants of a partition that follow a position. Raises GapInLog."""
    return _dense(await tx.fetch(_PARTITION_EVENTS, partition, after, limit), "position", after)


async def news(tx: FounderTx, partition: int, after: int) -> tuple[int, set[UUID]]:
    """How far a partition is, and the tenants that have events after a position of it. Tells nothing of the events."""
    rows = await tx.fetch(_NEWS, partition, after)
    return max((row["position"] for row in rows), default=after), {row["tenant_id"] for row in rows}


_HEADS = "select partition, position from felix.partitions"
_TENANT_HEAD = (
    "select tenant_sequence from felix.events where partition = %s and tenant_id = %s"
    " order by tenant_sequence desc limit 1"
)
_PARTITION_EVENTS = (
    "select partition, position, tenant_id, tenant_sequence, stream, version, type, event_id, recorded_at, command_key,"
    " actor, metadata, state from felix.events_readable where partition = %s and position > %s"
    " order by position limit %s"
)
_NEWS = (
    "select tenant_id, max(position) as position from felix.events where partition = %s and position > %s"
    " group by tenant_id"
)


def _dense(rows: Sequence[Row], by: str, after: int) -> list[Row]:
    for expected, row in enumerate(rows, after + 1):
        if row[by] != expected:
            raise GapInLog(f"The log has no {by} {expected} here.", **{by: expected})
    return list(rows)
