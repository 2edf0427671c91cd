"""Usage: what was used, by day, meter, app, model and person.

Day is the UTC day of use where the usage event told one, else that of the debit. What was reversed is taken off the
entry it was debited in, so a past day shows what it cost in the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

import psycopg

from felix.domain.errors import Invalid
from felix.domain.ledger.postings import EVENTS_WITHOUT_POSTINGS, TOKEN_EVENTS
from felix.domain.values import MAX_AMOUNT
from felix.eventstore.mapper import RecordedEvent
from felix.projections.base import Projection
from felix.projections.tenant_tx import Row, TenantTx

Key = tuple[UUID, str, str, str, str, str, str]

#: Not ``on conflict do update``: that checks the row to insert too, and a reversal alone exceeds what it was debited.
_ADD = """
    with c as (
      select * from unnest(%b::uuid[], %b::text[], %b::date[], %b::text[], %b::text[], %b::text[], %b::text[],
        %b::numeric[], %b::bigint[], %b::bigint[], %b::bigint[])
        as c (tenant_id, account_id, day, meter, app, model, person, quantity, debited_mtok, reversed_mtok, debits)
    ), u as (
      update usage_by_day u set quantity = u.quantity + c.quantity, debited_mtok = u.debited_mtok + c.debited_mtok,
        reversed_mtok = u.reversed_mtok + c.reversed_mtok, debits = u.debits + c.debits from c
      where u.partition = %s and u.tenant_id = c.tenant_id and u.account_id = c.account_id and u.day = c.day
        and u.meter = c.meter and u.app = c.app and u.model = c.model and u.person = c.person
      returning u.tenant_id, u.account_id, u.day, u.meter, u.app, u.model, u.person
    )
    insert into usage_by_day (partition, tenant_id, account_id, day, meter, app, model, person, quantity, debited_mtok,
      reversed_mtok, debits)
    select %s, c.* from c left join u using (tenant_id, account_id, day, meter, app, model, person)
    where u.meter is null
"""


class Usage(Projection):
    """Counters of usage. An empty app, model or person means that nobody said.

    Quantities of a free meter are bounded by nothing but their number, so they are kept as ``numeric``.
    """

    name = "usage"
    version = 1
    reads = frozenset({"ledger.tokens_debited", "ledger.hold_captured", "ledger.debit_reversed"})
    ignores = (TOKEN_EVENTS | EVENTS_WITHOUT_POSTINGS) - reads
    tables = ("usage_by_day",)
    ddl = """
        create table usage_by_day (
          partition int not null,
          tenant_id uuid not null,
          account_id text not null,
          day date not null,
          meter text not null,
          app text not null,
          model text not null,
          person text not null,
          quantity numeric not null check (quantity >= 0),
          debited_mtok bigint not null check (debited_mtok >= 0),
          reversed_mtok bigint not null check (reversed_mtok between 0 and debited_mtok),
          debits bigint not null check (debits >= 0),
          constraint usage_by_day_pkey primary key (partition, tenant_id, day, account_id, meter, app, model, person)
        ) with (fillfactor = 70);
    """

    def fold(self, events: Sequence[RecordedEvent], connection: psycopg.Connection[Any]) -> None:
        counters: dict[Key, list[int]] = {}
        for event in events:
            _add(counters, event)
        if not counters:
            return
        keys = [list(column) for column in zip(*counters, strict=True)]
        quantities, *values = [list(column) for column in zip(*counters.values(), strict=True)]
        partition = events[0].partition
        exact = [Decimal(quantity) for quantity in quantities]
        connection.execute(_ADD, (*keys, exact, *values, partition, partition), prepare=True)


PROJECTION = Usage()


def _add(counters: dict[Key, list[int]], event: RecordedEvent) -> None:
    payload = event.payload
    whose = (payload.get("app") or "", payload.get("model") or "", payload.get("person") or "")
    account = (event.tenant_id, event.local_id)
    if event.type == "ledger.tokens_debited":
        day = (payload["usage_at"] or event.recorded_at.isoformat())[:10]
        for meter, quantity, amount_mtok, _ in payload["lines"]:
            _count(counters, (*account, day, meter, *whose), quantity, amount_mtok, 0)
    elif event.type == "ledger.hold_captured":
        day = event.recorded_at.isoformat()[:10]
        charged_mtok = payload["amount_mtok"] - payload["forgiven_mtok"]
        _count(counters, (*account, day, payload["meter"], *whose), payload["quantity"] or 0, charged_mtok, 0)
    else:
        day = payload["debited_at"][:10]
        for meter, amount_mtok in payload["lines"]:
            _count(counters, (*account, day, meter, *whose), 0, 0, amount_mtok)


def _count(counters: dict[Key, list[int]], key: Key, quantity: int, debited_mtok: int, reversed_mtok: int) -> None:
    debits = 0 if reversed_mtok else 1
    counter = counters.get(key)
    if counter is None:
        counters[key] = [quantity, debited_mtok, reversed_mtok, debits]
    else:
        counter[0] += quantity
        counter[1] += debited_mtok
        counter[2] += reversed_mtok
        counter[3] += debits


#: What usage can be grouped by.
DIMENSIONS = ("day", "account_id", "meter", "app", "model", "person")


class UnknownDimension(Invalid):
    """Usage can't be grouped by this."""


async def usage(
    tx: TenantTx,
    since: date,
    until: date,
    group_by: Iterable[str] = ("day", "meter"),
    account_id: str | None = None,
    limit: int = 10_000,
) -> list[Row]:
    """Usage from one day to another (both included), added up by dimensions. ``amount_mtok`` is without reversals.

    A quantity beyond 64 bits is given as text. Raises :class:`UnknownDimension`.
    """
    wanted = set(group_by)
    if unknown := wanted.difference(DIMENSIONS):
        raise UnknownDimension(unknown=sorted(unknown), known=list(DIMENSIONS))
    columns = ", ".join(dimension for dimension in DIMENSIONS if dimension in wanted)
    listed, grouped = (columns + ", ", f" group by {columns} order by {columns}") if columns else ("", "")
    query = (
        f"select {listed}sum(quantity) as quantity,"  # noqa: S608 listed from a constant
        " sum(debited_mtok - reversed_mtok)::bigint as amount_mtok,"
        " sum(reversed_mtok)::bigint as reversed_mtok, sum(debits)::bigint as debits"
        " from read.usage_by_day where partition = %s and tenant_id = %s and day between %s and %s"
        f" and (%s::text is null or account_id = %s){grouped} limit %s"
    )
    rows = await tx.fetch(query, tx.partition, tx.tenant_id, since, until, account_id, account_id, limit)
    for row in rows:
        quantity = int(row["quantity"] or 0)
        row["quantity"] = quantity if quantity <= MAX_AMOUNT else str(quantity)
    return rows
