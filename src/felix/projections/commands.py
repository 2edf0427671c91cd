"""Commands: how many were given, by day, type, actor and what became of them.

Day is the UTC day on which the command arrived.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any
from uuid import UUID

import psycopg

from felix.domain.errors import Invalid
from felix.eventstore.mapper import RecordedCommand
from felix.projections.base import Projection
from felix.projections.tenant_tx import Row, TenantTx

#: What an accepted command is counted under; the others under the code of their refusal.
ACCEPTED = "accepted"
_ADD = """
    insert into commands_by_day as c (partition, tenant_id, day, type, actor, outcome, commands)
    select %s, * from unnest(%b::uuid[], %b::date[], %b::text[], %b::text[], %b::text[], %b::bigint[])
    on conflict on constraint commands_by_day_pkey do update set commands = c.commands + excluded.commands
"""


class Commands(Projection):
    """Counters of commands."""

    name = "commands"
    version = 1
    feed = "commands"
    tables = ("commands_by_day",)
    ddl = """
        create table commands_by_day (
          partition int not null,
          tenant_id uuid not null,
          day date not null,
          type text not null,
          actor text not null,
          outcome text not null,
          commands bigint not null check (commands > 0),
          constraint commands_by_day_pkey primary key (partition, tenant_id, day, type, actor, outcome)
        ) with (fillfactor = 70);
    """

    def fold(self, events: Sequence[RecordedCommand], connection: psycopg.Connection[Any]) -> None:
        counts: dict[tuple[UUID, str, str, str, str], int] = {}
        for command in events:
            day = command.recorded_at.isoformat()[:10]
            key = (command.tenant_id, day, command.type, command.actor, command.code or ACCEPTED)
            counts[key] = counts.get(key, 0) + 1
        keys = [list(column) for column in zip(*counts, strict=True)]
        connection.execute(_ADD, (events[0].partition, *keys, list(counts.values())), prepare=True)


PROJECTION = Commands()

#: What commands can be counted by.
DIMENSIONS = ("day", "type", "actor", "outcome")


class UnknownCount(Invalid):
    """Commands can't be counted by this."""


async def counts(
    tx: TenantTx, since: date, until: date, group_by: Iterable[str] = ("day", "outcome"), limit: int = 10_000
) -> list[Row]:
    """Commands from one day to another (both included), added up by dimensions. Raises :class:`UnknownCount`."""
    wanted = set(group_by)
    if unknown := wanted.difference(DIMENSIONS):
        raise UnknownCount(unknown=sorted(unknown), known=list(DIMENSIONS))
    columns = ", ".join(dimension for dimension in DIMENSIONS if dimension in wanted)
    listed, grouped = (columns + ", ", f" group by {columns} order by {columns}") if columns else ("", "")
    query = (
        f"select {listed}coalesce(sum(commands), 0)::bigint as commands from read.commands_by_day"  # noqa: S608 listed from a constant
        f" where partition = %s and tenant_id = %s and day between %s and %s{grouped} limit %s"
    )
    return await tx.fetch(query, tx.partition, tx.tenant_id, since, until, limit)
