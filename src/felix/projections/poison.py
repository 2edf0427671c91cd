"""What a fold can't take stops one tenant in one projection, and nobody else.

Nothing of this is done while all is well. When a batch fails, it is folded once more, tenant by tenant behind
savepoints, each up to its first event that fails; the cursor goes on for all of them in the same transaction that
records who was stopped, and where. A stopped tenant's events are skipped from then on, and folded from there to the
cursor when it is tried again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg

from felix.domain.errors import DEFECTS, FelixError, Unavailable
from felix.projections.base import Projection
from felix.projections.table_sets import TableSet

#: What a fold may raise and a runner looks at.
FAILURES = (psycopg.Error, FelixError, *DEFECTS)
#: A tenant is tried again after a second, and then after twice as long each time, up to this.
MAX_RETRY_S = 300
MAX_MESSAGE_LENGTH = 1_000

_RECORD = (
    "insert into {0} as p (partition, projection, tenant_id, position, event_id, type, error, message, retry_at)"
    " values (%s, %s, %s, %s, %s, %s, %s, %s, clock_timestamp() + interval '1 s')"
    " on conflict (partition, projection, tenant_id) do update set position = excluded.position,"
    " event_id = excluded.event_id, type = excluded.type, error = excluded.error, message = excluded.message,"
    " failures = case when p.position = excluded.position then p.failures + 1 else 1 end,"
    " first_at = case when p.position = excluded.position then p.first_at else clock_timestamp() end,"
    " last_at = clock_timestamp(),"
    " retry_at = clock_timestamp() + least(power(2, least(p.failures, 16)), {1}) * interval '1 s'"
)
_ADVANCE = "update {0} set position = %s where partition = %s and projection = %s and tenant_id = %s"
_RELEASE = "delete from {0} where partition = %s and projection = %s and tenant_id = %s"
_STOPPED = "select projection, tenant_id, position from {0} where partition = %s and projection = any(%s)"
_DUE = (
    "select projection, tenant_id from {0} where partition = %s and projection = any(%s)"
    " and retry_at <= clock_timestamp() order by retry_at limit 1"
)
_TRY_ALL = "update {0} set retry_at = clock_timestamp() where partition = %s and projection = any(%s)"


@dataclass(frozen=True, slots=True)
class Poison:
    """What a projection could not fold, and why."""

    tenant_id: UUID
    position: int
    event_id: UUID | None
    type: str
    error: str
    message: str

    @classmethod
    def of(cls, fact: Any, error: BaseException) -> Poison:
        """An event, or a command of the other feed, and what its fold raised."""
        message = str(error).replace("\0", "")[:MAX_MESSAGE_LENGTH]
        event_id = getattr(fact, "event_id", None)
        return cls(fact.tenant_id, fact.position, event_id, fact.type, type(error).__name__, message)

    def __str__(self) -> str:
        return f"{self.type} at {self.position}: {self.error}: {self.message}"


def is_poison(error: BaseException) -> bool:
    """Whether it lies with what was folded. A database that is away, full or busy says nothing about an event, and
    neither does a table that is missing: those stop the projection for everybody until they are over."""
    if isinstance(error, psycopg.Error):
        return isinstance(
            error, (psycopg.DataError, psycopg.IntegrityError, psycopg.errors.ProgramLimitExceeded)
        )  # the last: a value that is too large for an index
    return not isinstance(error, (Unavailable, MemoryError, OSError))


def apply(projection: Projection, facts: Sequence[Any], connection: psycopg.Connection[Any]) -> None:
    """Fold what the projection reads of these. Raises ``UnknownEventType`` and whatever the fold raises."""
    projection.refuse_unknown(facts)
    if wanted := projection.wants(facts):
        projection.fold(wanted, connection)


def fold_by_tenant(projection: Projection, facts: Sequence[Any], connection: psycopg.Connection[Any]) -> list[Poison]:
    """Fold tenant by tenant in the caller's transaction; each up to what can't be folded, which is the answer."""
    by_tenant: dict[UUID, list[Any]] = {}
    for fact in facts:
        by_tenant.setdefault(fact.tenant_id, []).append(fact)
    found = (fold_tenant(projection, of_tenant, connection) for of_tenant in by_tenant.values())
    return [poison for poison in found if poison is not None]


def fold_tenant(projection: Projection, facts: Sequence[Any], connection: psycopg.Connection[Any]) -> Poison | None:
    """Fold one tenant's events up to the first that can't be folded: in halves, so as not to go one by one."""
    step = len(facts)
    while facts:
        try:
            with connection.transaction():
                apply(projection, facts[:step], connection)
        except FAILURES as error:
            if connection.closed or not is_poison(error):
                raise
            if step == 1:
                return Poison.of(facts[0], error)
            step = min(step, len(facts)) // 2 or 1
        else:
            facts = facts[step:]
    return None


def record(
    connection: psycopg.Connection[Any], tables: TableSet, partition: int, projection: str, poison: Poison
) -> None:
    """Stop a tenant, or say that it still can't go on."""
    connection.execute(
        _RECORD.format(tables.poisoned, MAX_RETRY_S).encode(),
        (
            partition, projection, poison.tenant_id, poison.position, poison.event_id, poison.type, poison.error,
            poison.message,
        ),
    )  # fmt: skip


def advance(
    connection: psycopg.Connection[Any],
    tables: TableSet,
    partition: int,
    projection: str,
    tenant_id: UUID,
    position: int | None,
) -> None:
    """A stopped tenant has come to a position; ``None``: to the cursor, so that it goes on with the others."""
    mine = (partition, projection, tenant_id)
    if position is None:
        connection.execute(_RELEASE.format(tables.poisoned).encode(), mine)
    else:
        connection.execute(_ADVANCE.format(tables.poisoned).encode(), (position, *mine))


def stopped(
    connection: psycopg.Connection[Any], tables: TableSet, partition: int, projections: Sequence[str]
) -> dict[str, dict[UUID, int]]:
    """The stopped tenants of each projection, and the position that each waits at. All are due from now on:
    whoever asks has just begun, perhaps with the code that was mended."""
    found: dict[str, dict[UUID, int]] = {name: {} for name in projections}
    names = (partition, list(projections))
    for projection, tenant_id, position in connection.execute(_STOPPED.format(tables.poisoned).encode(), names):
        found[projection][tenant_id] = position
    if any(found.values()):
        connection.execute(_TRY_ALL.format(tables.poisoned).encode(), names)
    return found


def due(
    connection: psycopg.Connection[Any], tables: TableSet, partition: int, projections: Sequence[str]
) -> tuple[str, UUID] | None:
    """The projection and tenant that has waited longest for another try."""
    query = _DUE.format(tables.poisoned).encode()
    row = connection.execute(query, (partition, list(projections)), prepare=True).fetchone()
    return (row[0], row[1]) if row else None
