"""Stream heads: every stream of a tenant, how long it is, and when something last happened in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import psycopg

from felix.eventstore.mapper import RecordedEvent
from felix.projections.base import EVERY_EVENT, Projection
from felix.projections.tenant_tx import Row, TenantTx

_ADD = """
    insert into stream_heads as h (partition, tenant_id, stream, kind, local_id, version, events, first_tenant_sequence,
      first_at, last_tenant_sequence, last_at, last_type)
    select %s, * from unnest(%b::uuid[], %b::text[], %b::text[], %b::text[], %b::bigint[], %b::bigint[], %b::bigint[],
      %b::timestamptz[], %b::bigint[], %b::timestamptz[], %b::text[])
    on conflict on constraint stream_heads_pkey do update set version = excluded.version,
      events = h.events + excluded.events, last_tenant_sequence = excluded.last_tenant_sequence,
      last_at = excluded.last_at, last_type = excluded.last_type
"""


class StreamHeads(Projection):
    """One row a stream. Names sort and search by their bytes, so that a prefix is a range of the index."""

    name = "stream_heads"
    version = 2
    reads = frozenset({EVERY_EVENT})
    tables = ("stream_heads",)
    ddl = """
        create table stream_heads (
          partition int not null,
          tenant_id uuid not null,
          stream text collate "C" not null,
          kind text collate "C" not null,
          local_id text collate "C" not null,
          version bigint not null,
          events bigint not null check (events > 0),
          first_tenant_sequence bigint not null,
          first_at timestamptz not null,
          last_tenant_sequence bigint not null,
          last_at timestamptz not null,
          last_type text not null,
          constraint stream_heads_pkey primary key (partition, tenant_id, stream),
          constraint stream_heads_tenant_sequences_check check (first_tenant_sequence <= last_tenant_sequence)
        ) with (fillfactor = 70);
        create index stream_heads_local_id_idx on stream_heads (partition, tenant_id, local_id);
        create index stream_heads_last_tenant_sequence_idx on stream_heads (partition, tenant_id, last_tenant_sequence);
    """

    def fold(self, events: Sequence[RecordedEvent], connection: psycopg.Connection[Any]) -> None:
        first: dict[str, RecordedEvent] = {}
        last: dict[str, RecordedEvent] = {}
        counts: dict[str, int] = {}
        for event in events:
            stream = event.stream
            first.setdefault(stream, event)
            last[stream] = event
            counts[stream] = counts.get(stream, 0) + 1
        rows = []
        for stream, end in last.items():
            begin = first[stream]
            rows.append(
                (end.tenant_id, stream, end.kind, end.local_id, end.version, counts[stream],
                 begin.tenant_sequence, begin.recorded_at, end.tenant_sequence, end.recorded_at, end.type)
            )  # fmt: skip
        columns = [list(column) for column in zip(*rows, strict=True)]
        connection.execute(_ADD, (events[0].partition, *columns), prepare=True)


PROJECTION = StreamHeads()

#: Sorts after every character of a name.
_LAST = "\U0010ffff"
_HEADS = (
    "select stream, kind, local_id as id, version, events, first_tenant_sequence, first_at, last_tenant_sequence,"
    " last_at, last_type from read.stream_heads where partition = %s and tenant_id = %s"
)


async def streams(
    tx: TenantTx,
    *,
    kind: str | None = None,
    prefix: str = "",
    order: Literal["newest", "name"] = "newest",
    after: str | None = None,
    limit: int = 100,
) -> list[Row]:
    """The tenant's streams, of one kind or with ids that begin with ``prefix`` if asked.

    The one with the newest event comes first; ``after`` is then the ``last_tenant_sequence`` at which the page before
    ended. By name, it is the ``stream``.
    """
    query, given = _HEADS, [tx.partition, tx.tenant_id]
    if kind is not None:
        name = f"{tx.tenant_id}:{kind}:{prefix}"
        query, given = query + " and stream >= %s and stream < %s", [*given, name, name + _LAST]
    elif prefix:
        query, given = query + " and local_id >= %s and local_id < %s", [*given, prefix, prefix + _LAST]
    if order == "newest":
        start = 2**63 - 1 if after is None else int(after)
        return await tx.fetch(
            query + " and last_tenant_sequence < %s order by last_tenant_sequence desc limit %s", *given, start, limit
        )
    return await tx.fetch(query + " and stream > %s order by stream limit %s", *given, after or "", limit)
