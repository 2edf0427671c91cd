"""Balance snapshots: the closing figures of every account on every UTC day on which something happened to it.

They come from the journal's postings alone. What a lot or a hold loses to the clock is in the figures of the day on
which it is booked, as in the books.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any
from uuid import UUID

import psycopg

from felix.domain.errors import Invalid
from felix.domain.ledger.postings import EVENTS_WITHOUT_POSTINGS, TOKEN, TOKEN_EVENTS, postings_of
from felix.eventstore.mapper import RecordedEvent
from felix.projections.base import Projection
from felix.projections.tenant_tx import Row, TenantTx

_OPENED = "ledger.token_account_opened"
#: The figures of a day, in the order of the columns. All but the first four only grow, but for reversals.
FIGURES = (
    "available_mtok",
    "held_mtok",
    "frozen_mtok",
    "debt_mtok",
    "granted_mtok",
    "received_mtok",
    "consumed_mtok",
    "expired_mtok",
    "revoked_mtok",
    "sent_mtok",
)
_AT = {name: index for index, name in enumerate(FIGURES)}
#: By ledger account: the figure it moves, and in which direction.
_MOVES = {
    "lot": (_AT["available_mtok"], 1),
    "held": (_AT["held_mtok"], 1),
    "frozen": (_AT["frozen_mtok"], 1),
    "debt": (_AT["debt_mtok"], -1),
    "issuance": (_AT["granted_mtok"], -1),
    "consumed": (_AT["consumed_mtok"], 1),
    "breakage": (_AT["expired_mtok"], 1),
    "revoked": (_AT["revoked_mtok"], 1),
}
_SENT, _RECEIVED = _AT["sent_mtok"], _AT["received_mtok"]
_FIGURES = ", ".join(FIGURES)
#: A batch says how often something happened on a day and what has moved since the batch before; the account's last day
#: so far says where that begins.
_PUT = f"""
    insert into balance_snapshots as s (partition, tenant_id, account_id, day, events, last_tenant_sequence, {_FIGURES})
    select %s, n.tenant_id, n.account_id, n.day, n.events + case when l.day = n.day then l.events else 0 end,
      n.last_tenant_sequence, {", ".join(f"n.{name} + coalesce(l.{name}, 0)" for name in FIGURES)}
    from unnest(%b::uuid[], %b::text[], %b::date[], %b::bigint[], %b::bigint[]{", %b::bigint[]" * len(FIGURES)})
      as n (tenant_id, account_id, day, events, last_tenant_sequence, {_FIGURES})
    left join lateral (
      select * from balance_snapshots s
      where s.partition = %s and s.tenant_id = n.tenant_id and s.account_id = n.account_id
      order by s.day desc limit 1
    ) l on true
    on conflict on constraint balance_snapshots_pkey do update set events = excluded.events,
      last_tenant_sequence = excluded.last_tenant_sequence, {", ".join(f"{name} = excluded.{name}" for name in FIGURES)}
"""  # noqa: S608 constants


class BalanceSnapshots(Projection):
    """One row an account and day with events. What came in is what is there, or has gone, on every line."""

    name = "balance_snapshots"
    version = 2
    reads = TOKEN_EVENTS | {_OPENED}
    ignores = EVENTS_WITHOUT_POSTINGS - {_OPENED}
    tables = ("balance_snapshots",)
    ddl = """
        create table balance_snapshots (
          partition int not null,
          tenant_id uuid not null,
          account_id text not null,
          day date not null,
          events bigint not null check (events > 0),
          last_tenant_sequence bigint not null,
          available_mtok bigint not null check (available_mtok >= 0),
          held_mtok bigint not null check (held_mtok >= 0),
          frozen_mtok bigint not null check (frozen_mtok >= 0),
          debt_mtok bigint not null check (debt_mtok >= 0),
          granted_mtok bigint not null check (granted_mtok >= 0),
          received_mtok bigint not null check (received_mtok >= 0),
          consumed_mtok bigint not null,
          expired_mtok bigint not null check (expired_mtok >= 0),
          revoked_mtok bigint not null check (revoked_mtok >= 0),
          sent_mtok bigint not null check (sent_mtok >= 0),
          constraint balance_snapshots_pkey primary key (partition, tenant_id, account_id, day),
          constraint balance_snapshots_sum_check check (granted_mtok + received_mtok = available_mtok + held_mtok
            + frozen_mtok - debt_mtok + consumed_mtok + expired_mtok + revoked_mtok + sent_mtok)
        ) with (fillfactor = 70);
    """

    def fold(self, events: Sequence[RecordedEvent], connection: psycopg.Connection[Any]) -> None:
        partition = events[0].partition
        moved: dict[tuple[UUID, str], list[int]] = {}
        days: dict[tuple[UUID, str, str], tuple[int, ...]] = {}
        for event in events:
            account, day = (event.tenant_id, event.local_id), event.recorded_at.isoformat()[:10]
            figures = moved.setdefault(account, [0] * len(FIGURES))
            _move(figures, event)
            known = days.get((*account, day), (0,))[0]
            days[*account, day] = (known + 1, event.tenant_sequence, *figures)
        columns = [list(column) for column in zip(*((*key, *row) for key, row in days.items()), strict=True)]
        connection.execute(_PUT.encode(), (partition, *columns, partition), prepare=True)


PROJECTION = BalanceSnapshots()


def _move(figures: list[int], event: RecordedEvent) -> None:
    if event.type == _OPENED:
        return
    for ledger_account, asset, amount in postings_of(event.type, event.payload):
        if asset != TOKEN:
            continue
        if ledger_account == "transfer":
            figures[_SENT if amount > 0 else _RECEIVED] += abs(amount)
        else:
            figure, direction = _MOVES[ledger_account.partition(":")[0]]
            figures[figure] += direction * amount


#: Days of one answer: ten years.
MAX_DAYS = 3_660
_HISTORY = f"""
    select d.day::date as day, case when s.day = d.day::date then s.events else 0 end as events,
      available_mtok + held_mtok + frozen_mtok - debt_mtok as balance_mtok, {_FIGURES}
    from generate_series(%s::date, %s::date, interval '1 day') as d (day) cross join lateral (
      select * from read.balance_snapshots
      where partition = %s and tenant_id = %s and account_id = %s and day <= d.day::date order by day desc limit 1
    ) s order by d.day
"""  # noqa: S608 constants
_FIRST_DAY = (
    "select min(day) as day from read.balance_snapshots where partition = %s and tenant_id = %s and account_id = %s"
)


class TooManyDays(Invalid):
    """This is more days than one answer has."""


async def balance_history(tx: TenantTx, account_id: str, since: date | None, until: date) -> list[Row]:
    """The closing figures of every day from one to another (both included), the first when there is no ``since``.

    A day without events closes as the day before. Days before the account was opened are missing. Raises
    :class:`TooManyDays`.
    """
    first = await tx.fetch_one(_FIRST_DAY, tx.partition, tx.tenant_id, account_id)
    if first is None or first["day"] is None:
        return []
    start = first["day"] if since is None else max(since, first["day"])
    if (until - start).days >= MAX_DAYS:
        raise TooManyDays(days=(until - start).days + 1, most=MAX_DAYS)
    return await tx.fetch(_HISTORY, start, until, tx.partition, tx.tenant_id, account_id)
