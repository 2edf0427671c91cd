"""Access log: what staff have read of a client, and whose eyes they read it with; for the client to see."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import psycopg

from felix.eventstore.mapper import RecordedEvent
from felix.projections.base import Projection
from felix.projections.tenant_tx import Row, TenantTx

_READ = "access.sensitive_data_read"
_BEGAN = "access.impersonation_began"
_ENDED = "access.impersonation_ended"
_ADD = """
    insert into access_log (partition, tenant_id, tenant_sequence, recorded_at, kind, actor, on_behalf_of, action, what,
      rows, impersonation_id, correlation_id)
    select %s, * from unnest(%b::uuid[], %b::bigint[], %b::timestamptz[], %b::text[], %b::text[], %b::text[],
      %b::text[], %b::text[], %b::bigint[], %b::text[], %b::uuid[])
"""
_BEGIN = """
    insert into impersonations (partition, tenant_id, impersonation_id, actor, role, reason, began_at, expires_at)
    select %s, * from unnest(%b::uuid[], %b::text[], %b::text[], %b::text[], %b::text[], %b::timestamptz[],
      %b::timestamptz[])
"""
_END = """
    update impersonations i set ended_at = e.at
    from unnest(%b::uuid[], %b::text[], %b::timestamptz[]) as e (tenant_id, impersonation_id, at)
    where i.partition = %s and i.tenant_id = e.tenant_id and i.impersonation_id = e.impersonation_id
"""


class AccessLog(Projection):
    """One row a read, one more where an impersonation began or ended, and the impersonations themselves."""

    name = "access_log"
    version = 1
    reads = frozenset({_READ, _BEGAN, _ENDED})
    ignores = frozenset({"access.access_log_begun"})
    tables = ("access_log", "impersonations")
    ddl = """
        create table access_log (
          partition int not null,
          tenant_id uuid not null,
          tenant_sequence bigint not null,
          recorded_at timestamptz not null,
          kind text not null check (kind in ('read', 'impersonation_began', 'impersonation_ended')),
          actor text not null,
          on_behalf_of text,
          action text not null,
          what text not null,
          rows bigint,
          impersonation_id text,
          correlation_id uuid,
          constraint access_log_pkey primary key (partition, tenant_id, tenant_sequence)
        );
        create index access_log_actor_idx on access_log (partition, tenant_id, actor, tenant_sequence);
        create table impersonations (
          partition int not null,
          tenant_id uuid not null,
          impersonation_id text not null,
          actor text not null,
          role text not null,
          reason text not null,
          began_at timestamptz not null,
          expires_at timestamptz not null,
          ended_at timestamptz,
          constraint impersonations_pkey primary key (partition, tenant_id, impersonation_id)
        );
    """

    def fold(self, events: Sequence[RecordedEvent], connection: psycopg.Connection[Any]) -> None:
        partition = events[0].partition
        connection.execute(_ADD, (partition, *_columns(map(_row, events))), prepare=True)
        if began := [_beginning(event) for event in events if event.type == _BEGAN]:
            connection.execute(_BEGIN, (partition, *_columns(began)), prepare=True)
        if ended := [(event.tenant_id, event.local_id, event.recorded_at) for event in events if event.type == _ENDED]:
            connection.execute(_END, (*_columns(ended), partition), prepare=True)


PROJECTION = AccessLog()


def _columns(rows: Any) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]


def _row(event: RecordedEvent) -> tuple[Any, ...]:
    known, said = event.metadata, event.payload
    seen: tuple[Any, ...]
    if event.type == _READ:
        seen = ("read", said["action"], said["what"], said["rows"], said["impersonation_id"])
    elif event.type == _BEGAN:
        seen = ("impersonation_began", "access.begin_impersonation", said["reason"], None, event.local_id)
    else:
        seen = ("impersonation_ended", "access.end_impersonation", "", None, event.local_id)
    kind, action, what, rows, impersonation_id = seen
    return (
        event.tenant_id, event.tenant_sequence, event.recorded_at, kind, event.actor, known.get("on_behalf_of"), action,
        what, rows, impersonation_id, known.get("correlation_id"),
    )  # fmt: skip


def _beginning(event: RecordedEvent) -> tuple[Any, ...]:
    said = event.payload
    return (
        event.tenant_id, event.local_id, event.actor, said["role"], said["reason"], event.recorded_at,
        datetime.fromisoformat(said["expires_at"]),
    )  # fmt: skip


_ROWS = (
    "select tenant_sequence, recorded_at, kind, actor, on_behalf_of, action, what, rows, impersonation_id,"
    " correlation_id from read.access_log where partition = %s and tenant_id = %s"
)
_IMPERSONATIONS = (
    "select impersonation_id, actor, role, reason, began_at, expires_at, ended_at from read.impersonations"
    " where partition = %s and tenant_id = %s"
)


async def reads(
    tx: TenantTx,
    before: int | None = None,
    limit: int = 100,
    *,
    actor: str | None = None,
    kind: str | None = None,
    impersonation_id: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> list[Row]:
    """What staff did with the tenant's data, newest first. ``before`` is where the page before ended."""
    conditions = {
        "tenant_sequence < %s": before,
        "actor = %s": actor,
        "kind = %s": kind,
        "impersonation_id = %s": impersonation_id,
        "recorded_at >= %s": since,
        "recorded_at < %s": until,
    }
    given: dict[str, Any] = {condition: value for condition, value in conditions.items() if value is not None}
    query = " and ".join([_ROWS, *given]) + " order by tenant_sequence desc limit %s"
    return await tx.fetch(query, tx.partition, tx.tenant_id, *given.values(), limit)


async def impersonations(tx: TenantTx, limit: int = 100, *, at: datetime | None = None) -> list[Row]:
    """Impersonations of the tenant's people, newest first; with ``at`` only those that are under way then."""
    if at is None:
        return await tx.fetch(
            _IMPERSONATIONS + " order by began_at desc, impersonation_id desc limit %s",
            tx.partition, tx.tenant_id, limit,
        )  # fmt: skip
    return await tx.fetch(
        _IMPERSONATIONS + " and ended_at is null and expires_at > %s order by began_at desc, impersonation_id desc"
        " limit %s",
        tx.partition, tx.tenant_id, at, limit,
    )  # fmt: skip
