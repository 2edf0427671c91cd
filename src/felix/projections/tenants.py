"""Tenants: the founder's directory, with what each has in the log."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg

from felix.eventstore.mapper import RecordedEvent
from felix.projections.base import EVERY_EVENT, Projection
from felix.projections.tenant_tx import FounderTx, Row, TenantTx

_ONBOARDED = "tenancy.tenant_onboarded"
_ADD = """
    insert into tenants as t (partition, tenant_id, events, last_event_at, last_position, slug, name, onboarded_at)
    select %s, * from unnest(%b::uuid[], %b::bigint[], %b::timestamptz[], %b::bigint[], %b::text[], %b::text[],
      %b::timestamptz[])
    on conflict on constraint tenants_pkey do update set events = t.events + excluded.events,
      last_event_at = excluded.last_event_at, last_position = excluded.last_position,
      slug = coalesce(excluded.slug, t.slug), name = coalesce(excluded.name, t.name),
      onboarded_at = coalesce(excluded.onboarded_at, t.onboarded_at)
"""


class Tenants(Projection):
    """One row a tenant. Its name is missing as long as its log does not say it."""

    name = "tenants"
    version = 1
    reads = frozenset({EVERY_EVENT})
    tables = ("tenants",)
    ddl = """
        create table tenants (
          partition int not null,
          tenant_id uuid not null,
          slug text,
          name text,
          onboarded_at timestamptz,
          events bigint not null check (events > 0),
          last_event_at timestamptz not null,
          last_position bigint not null,
          constraint tenants_pkey primary key (partition, tenant_id)
        ) with (fillfactor = 50);
    """

    def fold(self, events: Sequence[RecordedEvent], connection: psycopg.Connection[Any]) -> None:
        counts: dict[UUID, int] = {}
        last: dict[UUID, RecordedEvent] = {}
        named: dict[UUID, tuple[str | None, str | None, datetime | None]] = {}
        for event in events:
            tenant_id = event.tenant_id
            counts[tenant_id] = counts.get(tenant_id, 0) + 1
            last[tenant_id] = event
            if event.type == _ONBOARDED:
                named[tenant_id] = (event.payload["slug"], event.payload["name"], event.recorded_at)
        rows = [
            (tenant_id, count, last[tenant_id].recorded_at, last[tenant_id].position,
             *named.get(tenant_id, (None, None, None)))
            for tenant_id, count in counts.items()
        ]  # fmt: skip
        columns = [list(column) for column in zip(*rows, strict=True)]
        connection.execute(_ADD, (events[0].partition, *columns), prepare=True)


PROJECTION = Tenants()

_ROWS = "select tenant_id, partition, slug, name, onboarded_at, events, last_event_at, last_position from read.tenants"


async def tenants(tx: FounderTx, after: str = "", limit: int = 1000) -> list[Row]:
    """The tenants that follow the short name ``after``, by short name."""
    return await tx.fetch(_ROWS + " where coalesce(slug, '') > %s order by slug limit %s", after, limit)


async def tenant(tx: TenantTx) -> Row | None:
    """The tenant itself."""
    return await tx.fetch_one(_ROWS + " where partition = %s and tenant_id = %s", tx.partition, tx.tenant_id)
