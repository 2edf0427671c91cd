"""Audit trail: every command, accepted or refused: who gave it, for whom, why, and what became of it.

It retells the feed of commands and follows it within moments. Its rows lead to the events by their places in the
tenant's log, so what belongs to a correlation id is found here, and the log needs no index for it.
"""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg

from felix.eventstore.mapper import RecordedCommand
from felix.eventstore.rows import COPY_HEADER, COPY_TRAILER, micros, text
from felix.projections.base import Projection
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
        tenants = list({command.tenant_id for command in events})
        last = dict(connection.execute(_LAST, (tenants, events[0].partition), prepare=True).fetchall())
        rows = [COPY_HEADER]
        for command in events:
            last[command.tenant_id] = sequence = last[command.tenant_id] + 1
            rows.append(_row(command, sequence))
        with connection.cursor() as cursor, cursor.copy(_COPY) as copy:
            copy.write(b"".join((*rows, COPY_TRAILER)))


PROJECTION = AuditTrail()


def _row(command: RecordedCommand, sequence: int) -> bytes:
    known = command.metadata
    return b"".join(
        (
            _head(
                16, 4, command.partition, 8, sequence, 16, command.tenant_id.bytes,
                8, micros(command.recorded_at), 1, command.accepted,
            ),
            _number(command.first_tenant_sequence),
            _number(command.last_tenant_sequence),
            _id(known.get("correlation_id")),
            _id(known.get("causation_id")),
            text(command.command_key.encode()),
            text(command.type.encode()),
            text(command.actor.encode()),
            nullable_text(known.get("on_behalf_of")),
            nullable_text(command.reason),
            nullable_text(command.code),
            nullable_text(command.refusal),
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
