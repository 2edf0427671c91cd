"""Any aggregate of a tenant as it was: replayed from the log, not kept anywhere."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any, TypeVar

import orjson

from felix.domain.base import FelixAggregate, stream_name
from felix.eventstore.snapshots import fold, snapshot_type
from felix.projections.tenant_tx import TenantTx

A = TypeVar("A", bound=FelixAggregate)

#: Events fetched at once; a replay of any length holds no more than this in memory.
REPLAY_PAGE = 2_000


async def aggregate_at(
    tx: TenantTx,
    aggregate_class: type[A],
    local_id: str,
    *,
    tenant_sequence: int | None = None,
    at: datetime | None = None,
) -> A | None:
    """An aggregate after its last event at or before a place, or a moment, of the tenant's log; None before its first.

    Starts from the newest snapshot that is not younger. A snapshot that is younger than the moment says where the
    search for the last event may begin: the times of a stream never go back.
    """
    stream = stream_name(tx.tenant_id, aggregate_class.kind, local_id)
    last = await tx.fetch_one(
        "select max(version) as version from felix.events where partition = %s and tenant_id = %s and stream = %s"
        " and (%s::bigint is null or tenant_sequence <= %s) and (%s::timestamptz is null or recorded_at <= %s)"
        " and version < coalesce((select min(s.version) from felix.snapshots s where s.partition = %s"
        " and s.tenant_id = %s and s.stream = %s and s.modified_on > %s), 9223372036854775807)",
        tx.partition, tx.tenant_id, stream, tenant_sequence, tenant_sequence, at, at, tx.partition, tx.tenant_id,
        stream, at,
    )  # fmt: skip
    if last is None or last["version"] is None:
        return None
    snapshot = await tx.fetch_one(
        "select version, created_on, modified_on, state from felix.snapshots where partition = %s and tenant_id = %s"
        " and stream = %s and type = %s and version <= %s order by version desc limit 1",
        tx.partition, tx.tenant_id, stream, snapshot_type(aggregate_class), last["version"],
    )  # fmt: skip
    aggregate: Any = None
    version = 0
    if snapshot is not None:
        version = snapshot["version"]
        aggregate = aggregate_class.restore(
            stream=stream,
            version=version,
            created_on=snapshot["created_on"],
            modified_on=snapshot["modified_on"],
            state=orjson.loads(snapshot["state"]),
        )
    async for row in _events(tx, stream, version, last["version"]):
        aggregate = fold(
            aggregate, row["type"], row["state"], stream, row["version"], row["recorded_at"], row["event_id"]
        )
    return aggregate  # type: ignore[no-any-return]


async def _events(tx: TenantTx, stream: str, after: int, until: int) -> AsyncIterator[dict[str, Any]]:
    while after < until:
        rows = await tx.fetch(
            "select version, type, event_id, recorded_at, state from felix.events where partition = %s"
            " and tenant_id = %s and stream = %s and version > %s and version <= %s order by version limit %s",
            tx.partition, tx.tenant_id, stream, after, until, REPLAY_PAGE,
        )  # fmt: skip
        if not rows:
            return
        for row in rows:
            yield row
        after = rows[-1]["version"]
