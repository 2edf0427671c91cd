"""Audit trail: every command, accepted or refused: who gave it, for whom, why, and what became of it.

It retells the feed of commands and follows it within moments. Its rows lead to the events by their places in the
tenant's log, so what belongs to a correlation id is found here, and the log needs no index for it.
"""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import orjson
import psycopg

from felix.eventstore.mapper import RecordedCommand
from felix.eventstore.rows import COPY_HEADER, COPY_TRAILER, micros, text
from felix.projections.base import Projection, are_sent_together
from felix.projections.packing import NULL, nullable_text
from felix.projections.tenant_tx import Row, TenantTx

#: Rows that are fetched at once by whoever wants the whole trail; no more are in memory.
EXPORT_PAGE = 1_000
_COPY = (
    b"copy audit_trail (partition, sequence, tenant_id, recorded_at, accepted, first_tenant_sequence,"
    b" last_tenant_sequence, correlation_id, causation_id, command_key, type, actor, on_behalf_of, reason, code,"
    b" detail) from stdin (format binary)"
)
_LAST = """
    select t.tenant_id, coalesce(a.sequence, 0) from unnest(%b::uuid[]) as t (tenant_id) left join lateral (
      select sequence from audit_trail where partition = %s and tenant_id = t.tenant_id order by sequence desc limit 1
    ) a on true
"""
#: The same rows as JSON; ``sequence`` is what it is without those that were there before.
_ADD = """
    insert into audit_trail (partition, sequence, tenant_id, recorded_at, accepted, first_tenant_sequence,
      last_tenant_sequence, correlation_id, causation_id, command_key, type, actor, on_behalf_of, reason, code, detail)
    select %s, n.sequence + coalesce(l.sequence, 0), n.tenant_id, n.recorded_at, n.accepted, n.first_tenant_sequence,
      n.last_tenant_sequence, n.correlation_id, n.causation_id, n.command_key, n.type, n.actor, n.on_behalf_of,
      n.reason, n.code, n.detail
    from json_to_recordset(%s::json) as n (sequence bigint, tenant_id uuid, recorded_at timestamptz, accepted boolean,
      first_tenant_sequence bigint, last_tenant_sequence bigint, correlation_id uuid, causation_id uuid,
      command_key text, type text, actor text, on_behalf_of text, reason text, code text, detail text)
    left join lateral (
      select sequence from audit_trail a where a.partition = %s and a.tenant_id = n.tenant_id
      order by a.sequence desc limit 1
    ) l on true
"""
_head = struct.Struct(">hiiiqi16siqi?").pack
_bigint = struct.Struct(">iq").pack


class AuditTrail(Projection):
    """One row a command. ``sequence`` counts the tenant's own: the feed's would tell how much others do.

    ``code`` and ``detail`` are those of a refusal, and missing where it was accepted.
    """

    name = "audit_trail"
    version = 2
    copies = True
    feed = "commands"
    tables = ("audit_trail",)
    ddl = """
        create table audit_trail (
          partition int not null,
          sequence bigint not null,
          tenant_id uuid not null,
          recorded_at timestamptz not null,
          accepted boolean not null,
          first_tenant_sequence bigint,
          last_tenant_sequence bigint,
          correlation_id uuid,
          causation_id uuid,
          command_key text not null,
          type text not null,
          actor text not null,
          on_behalf_of text,
          reason text,
          code text,
          detail text,
          constraint audit_trail_pkey primary key (partition, tenant_id, sequence),
          constraint audit_trail_code_check check (accepted = (code is null) and (code is null) = (detail is null)),
          constraint audit_trail_tenant_sequences_check check (first_tenant_sequence <= last_tenant_sequence)
        ) with (autovacuum_vacuum_insert_scale_factor = 0.5);
        create index audit_trail_recorded_at_idx on audit_trail (partition, tenant_id, recorded_at, sequence);
        create index audit_trail_actor_idx on audit_trail (partition, tenant_id, actor, recorded_at, sequence);
        create index audit_trail_type_idx on audit_trail (partition, tenant_id, type, recorded_at, sequence);
        create index audit_trail_refused_idx
          on audit_trail (partition, tenant_id, recorded_at, sequence) where not accepted;
        create index audit_trail_correlation_id_idx on audit_trail (partition, tenant_id, correlation_id);
        comment on column audit_trail.sequence is 'Dense per tenant, in the order of the feed of commands.';
    """

    def fold(self, events: Sequence[RecordedCommand], connection: psycopg.Connection[Any]) -> None:
        partition = events[0].partition
        at_once = are_sent_together(connection)
        last: dict[UUID, int] = {}
        if not at_once:
            tenants = list({command.tenant_id for command in events})
            last.update(connection.execute(_LAST, (tenants, partition), prepare=True).fetchall())
        rows = []
        for command in events:
            last[command.tenant_id] = sequence = last.get(command.tenant_id, 0) + 1
            rows.append(_row(command, sequence))
        if at_once:
            told = orjson.dumps([row._asdict() for row in rows]).decode()
            connection.execute(_ADD, (partition, told, partition), prepare=True)
        else:
            packed = [_packed(partition, row) for row in rows]
            with connection.cursor() as cursor, cursor.copy(_COPY) as copy:
                copy.write(b"".join((COPY_HEADER, *packed, COPY_TRAILER)))


PROJECTION = AuditTrail()


class _Row(NamedTuple):
    """A row without its partition."""

    sequence: int
    tenant_id: UUID
    recorded_at: datetime
    accepted: bool
    first_tenant_sequence: int | None
    last_tenant_sequence: int | None
    correlation_id: str | None
    causation_id: str | None
    command_key: str
    type: str
    actor: str
    on_behalf_of: str | None
    reason: str | None
    code: str | None
    detail: str | None


def _row(command: RecordedCommand, sequence: int) -> _Row:
    known = command.metadata
    return _Row(
        sequence, command.tenant_id, command.recorded_at, command.accepted, command.first_tenant_sequence,
        command.last_tenant_sequence, known.get("correlation_id"), known.get("causation_id"), command.command_key,
        command.type, command.actor, known.get("on_behalf_of"), command.reason, command.code, command.refusal,
    )  # fmt: skip


def _packed(partition: int, row: _Row) -> bytes:
    return b"".join(
        (
            _head(
                16, 4, partition, 8, row.sequence, 16, row.tenant_id.bytes, 8, micros(row.recorded_at),
                1, row.accepted,
            ),
            _number(row.first_tenant_sequence),
            _number(row.last_tenant_sequence),
            _id(row.correlation_id),
            _id(row.causation_id),
            text(row.command_key.encode()),
            text(row.type.encode()),
            text(row.actor.encode()),
            nullable_text(row.on_behalf_of),
            nullable_text(row.reason),
            nullable_text(row.code),
            nullable_text(row.detail),
        )
    )  # fmt: skip


def _number(known: int | None) -> bytes:
    return NULL if known is None else _bigint(8, known)


def _id(known: str | None) -> bytes:
    return NULL if known is None else text(UUID(known).bytes)


_ROWS = (
    "select partition, sequence, recorded_at, actor, on_behalf_of, type, command_key, accepted, code, detail, reason,"
    " correlation_id, causation_id, first_tenant_sequence, last_tenant_sequence from read.audit_trail"
    " where partition = %s and tenant_id = %s"
)
#: Older than a row of the trail: the one with that sequence, or the next one of the tenant's.
_OLDER = (
    "(recorded_at, sequence) < (select a.recorded_at, a.sequence from read.audit_trail a where a.partition = %s"
    " and a.tenant_id = %s and a.sequence >= %s order by a.sequence limit 1)"
)


async def commands(
    tx: TenantTx,
    before: int | None = None,
    limit: int = 100,
    *,
    actor: str | None = None,
    type: str | None = None,
    accepted: bool | None = None,
    code: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    correlation_id: UUID | None = None,
) -> list[Row]:
    """The tenant's commands, newest first, those that fit every filter that is given.

    ``before`` is the ``sequence`` at which the page before ended. ``since`` is included, ``until`` is not.
    """
    conditions = {
        "actor = %s": actor,
        "type = %s": type,
        "code = %s": code,
        "recorded_at >= %s": since,
        "recorded_at < %s": until,
        "correlation_id = %s": correlation_id,
    }
    given: dict[str, Any] = {condition: value for condition, value in conditions.items() if value is not None}
    wanted = {"accepted": accepted is True, "not accepted": accepted is False or code is not None}
    which = [condition for condition, is_wanted in wanted.items() if is_wanted]
    mine: tuple[Any, ...] = (tx.partition, tx.tenant_id)
    older, start = ([], ()) if before is None else ([_OLDER], (*mine, before))
    query = " and ".join([_ROWS, *given, *which, *older]) + " order by recorded_at desc, sequence desc limit %s"
    return await tx.fetch(query, *mine, *given.values(), *start, limit)


async def every_command(tx: TenantTx, **filters: Any) -> AsyncIterator[Row]:
    """All that fit the filters of :func:`commands`, newest first, as of one moment and page by page."""
    before = None
    while True:
        page = await commands(tx, before, EXPORT_PAGE, **filters)
        for row in page:
            yield row
        if len(page) < EXPORT_PAGE:
            return
        before = page[-1]["sequence"]
