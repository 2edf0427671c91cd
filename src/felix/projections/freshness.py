"""Read your own writes: wait until the read models have retold what was just committed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from uuid import UUID

from felix.domain.errors import Unavailable
from felix.projections.tenant_tx import ReadPool, TenantTx

#: Pauses between two looks at the cursors: short at first, because most waits are over within a batch.
FIRST_PAUSE_S, LAST_PAUSE_S = 0.005, 0.02


#: After every event that there can be.
_BEYOND = 2**63 - 1
_POSITION = "select position from felix.events where partition = %s and tenant_id = %s and tenant_sequence = %s"
_LAST = (
    "select position from felix.events where partition = %s and tenant_id = %s order by tenant_sequence desc limit 1"
)
_OWN = (
    "select coalesce(max(tenant_sequence), 0) as retold from felix.events"
    " where partition = %s and tenant_id = %s and position <= %s"
)


class NotYetProjected(Unavailable):
    """The read model has not retold this position yet; ask again in a moment."""


async def wait_for_own(
    pool: ReadPool,
    projections: str | Iterable[str],
    tenant_id: UUID,
    partition: int,
    tenant_sequence: int,
    timeout_s: float = 2.0,
) -> None:
    """:func:`wait_until` for a tenant, who counts its own events and hears of no others.

    An event that is not in the log is not waited for: none that somebody was told of is missing there.
    """
    async with pool.tenant(tenant_id, partition) as tx:
        event = await tx.fetch_one(_POSITION, partition, tenant_id, tenant_sequence)
    try:
        if event is not None:
            await wait_until(pool, projections, partition, event["position"], timeout_s)
        elif tenant_sequence > 0:
            await wait_until(pool, projections, partition, _BEYOND, 0)
    except NotYetProjected as late:
        behind = {}
        async with pool.tenant(tenant_id, partition) as tx:
            for name, position in late.facts["behind"].items():
                own = await tx.fetch_one(_OWN, partition, tenant_id, position)
                behind[name] = own["retold"] if own is not None else 0
        raise NotYetProjected(
            tenant_sequence=tenant_sequence,
            behind=behind,
            lag_events=tenant_sequence - min(behind.values()),
            waited_s=late.facts["waited_s"],
        ) from None


async def last_position(tx: TenantTx) -> int:
    """Where in the log the tenant's last event is."""
    event = await tx.fetch_one(_LAST, tx.partition, tx.tenant_id)
    return 0 if event is None else int(event["position"])


async def wait_until(
    pool: ReadPool, projections: str | Iterable[str], partition: int, position: int, timeout_s: float = 2.0
) -> None:
    """Return as soon as the projections have retold ``position``. Raises :class:`NotYetProjected` with the lag.

    However many wait for a partition, one query at a time looks at its cursors.
    """
    names = [projections] if isinstance(projections, str) else list(projections)
    deadline = time.monotonic() + timeout_s
    pause = FIRST_PAUSE_S
    while True:
        cursors = await _cursors(pool, partition)
        behind = {name: cursors.get(name, 0) for name in names if cursors.get(name, 0) < position}
        if not behind:
            return
        if (left := deadline - time.monotonic()) <= 0:
            raise NotYetProjected(
                partition=partition,
                position=position,
                behind=behind,
                lag_events=position - min(behind.values()),
                waited_s=timeout_s,
            )
        await asyncio.sleep(min(pause, left))
        pause = min(pause * 1.5, LAST_PAUSE_S)


async def _cursors(pool: ReadPool, partition: int) -> dict[str, int]:
    asking = pool.asking.get(partition)
    if asking is None:
        asking = pool.asking[partition] = asyncio.ensure_future(pool.cursors(partition))
        asking.add_done_callback(lambda done: _asked(pool, partition, done))
    return await asyncio.shield(asking)


def _asked(pool: ReadPool, partition: int, done: asyncio.Task[dict[str, int]]) -> None:
    pool.asking.pop(partition, None)
    if not done.cancelled():
        done.exception()  # everybody who waited may have been cancelled; then nobody else looks at it
