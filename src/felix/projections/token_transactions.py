"""Token transactions: the journal in double entry, one row an event that moves tokens or money, and its sums.

The sums by ledger account are the trial balance, which is zero per asset at every position.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple
from uuid import UUID

import orjson
import psycopg

from felix.domain.errors import Corrupt
from felix.domain.ledger.postings import EVENTS_WITHOUT_POSTINGS, TOKEN, TOKEN_EVENTS, postings_of
from felix.eventstore.mapper import RecordedEvent
from felix.eventstore.rows import COPY_HEADER, COPY_TRAILER, micros, text
from felix.projections.base import Projection, are_sent_together
from felix.projections.packing import bigint_array, nullable_text, text_array
from felix.projections.tenant_tx import ReadTx, Row, TenantTx

#: What an account has, less what it owes: the ledger accounts whose sum is its balance, and its statement's.
_OWN = frozenset({"lot", "held", "frozen", "debt"})
_LAST_BALANCES = """
    select a.tenant_id, a.account_id, t.balance_mtok
    from unnest(%b::uuid[], %b::text[]) as a (tenant_id, account_id) cross join lateral (
      select balance_mtok from token_transactions t
      where t.partition = %s and t.tenant_id = a.tenant_id and t.account_id = a.account_id
      order by t.tenant_sequence desc limit 1
    ) t
"""
#: Not ``on conflict do update``: that checks the row to insert too, and a change alone may be negative.
_ADD_SUMS = """
    with c as (
      select * from unnest(%b::uuid[], %b::text[], %b::text[], %b::text[], %b::bigint[])
        as c (tenant_id, account_id, ledger_account, asset, amount)
    ), u as (
      update ledger_balances b set amount = b.amount + c.amount from c
      where b.partition = %s and b.tenant_id = c.tenant_id and b.account_id = c.account_id
        and b.ledger_account = c.ledger_account and b.asset = c.asset
      returning b.tenant_id, b.account_id, b.ledger_account, b.asset
    )
    insert into ledger_balances (partition, tenant_id, account_id, ledger_account, asset, amount)
    select %s, c.* from c left join u using (tenant_id, account_id, ledger_account, asset) where u.asset is null
"""
_COPY = (
    b"copy token_transactions (partition, tenant_sequence, version, recorded_at, amount_mtok, available_mtok,"
    b" balance_mtok, tenant_id, event_id, account_id, type, actor, command_key, reference, reason, ledger_accounts,"
    b" assets, amounts) from stdin (format binary)"
)
#: The same rows as JSON; ``balance_mtok`` is what it is without what was there before.
_ADD = """
    insert into token_transactions (partition, tenant_sequence, version, recorded_at, amount_mtok, available_mtok,
      balance_mtok, tenant_id, event_id, account_id, type, actor, command_key, reference, reason, ledger_accounts,
      assets, amounts)
    select %s, n.tenant_sequence, n.version, n.recorded_at, n.amount_mtok, n.available_mtok,
      n.balance_mtok + coalesce(l.balance_mtok, 0), n.tenant_id, n.event_id, n.account_id, n.type, n.actor,
      n.command_key, n.reference, n.reason, n.ledger_accounts, n.assets, n.amounts
    from json_to_recordset(%s::json) as n (tenant_sequence bigint, version bigint, recorded_at timestamptz,
      amount_mtok bigint, available_mtok bigint, balance_mtok bigint, tenant_id uuid, event_id uuid, account_id text,
      type text, actor text, command_key text, reference text, reason text, ledger_accounts text[], assets text[],
      amounts bigint[])
    left join lateral (
      select balance_mtok from token_transactions t
      where t.partition = %s and t.tenant_id = n.tenant_id and t.account_id = n.account_id
      order by t.tenant_sequence desc limit 1
    ) l on true
"""
_row_head = struct.Struct(">hiiiqiqiqiqiqiqi16si16s").pack


class TokenTransactions(Projection):
    """The journal of every token account, and its sums by ledger account."""

    name = "token_transactions"
    version = 2
    copies = True
    reads = TOKEN_EVENTS
    ignores = EVENTS_WITHOUT_POSTINGS
    tables = ("token_transactions", "ledger_balances")
    ddl = """
        create table token_transactions (
          partition int not null,
          tenant_sequence bigint not null,
          tenant_id uuid not null,
          account_id text not null,
          version bigint not null,
          event_id uuid not null,
          type text not null,
          recorded_at timestamptz not null,
          amount_mtok bigint not null,
          available_mtok bigint not null,
          balance_mtok bigint not null,
          actor text not null,
          command_key text not null,
          reference text,
          reason text,
          ledger_accounts text[] not null,
          assets text[] not null,
          amounts bigint[] not null,
          constraint token_transactions_pkey primary key (partition, tenant_id, tenant_sequence),
          constraint token_transactions_postings_check check (cardinality(ledger_accounts) = cardinality(assets)
            and cardinality(assets) = cardinality(amounts) and cardinality(amounts) > 1)
        ) with (autovacuum_vacuum_insert_scale_factor = 0.5);
        create index token_transactions_account_idx
          on token_transactions (partition, tenant_id, account_id, tenant_sequence);
        create index token_transactions_recorded_at_idx
          on token_transactions (partition, tenant_id, account_id, recorded_at);
        comment on column token_transactions.amount_mtok is 'What the account has, less what it owes, changed by this.';
        comment on column token_transactions.available_mtok is 'What is free of its lots changed by this.';
        comment on column token_transactions.balance_mtok is 'The sum of amount_mtok up to here.';
        create table ledger_balances (
          partition int not null,
          tenant_id uuid not null,
          account_id text not null,
          ledger_account text not null,
          asset text not null,
          amount bigint not null,
          constraint ledger_balances_pkey primary key (partition, tenant_id, account_id, ledger_account, asset),
          constraint ledger_balances_amount_check check (asset <> 'TOK' or case
            when ledger_account = 'debt' or ledger_account like 'issuance:%' then amount <= 0
            when ledger_account in ('held', 'frozen') or ledger_account like 'lot:%' then amount >= 0
            else true end)
        ) with (fillfactor = 70);
    """

    def fold(self, events: Sequence[RecordedEvent], connection: psycopg.Connection[Any]) -> None:
        partition = events[0].partition
        at_once = are_sent_together(connection)
        balances = {} if at_once else _last_balances(connection, partition, events)
        sums: dict[tuple[UUID, str, str, str], int] = {}
        lines = [line for event in events if (line := _line(event, balances, sums)) is not None]
        if not lines:
            return
        if at_once:
            rows = orjson.dumps([line._asdict() for line in lines])
            connection.execute(_ADD, (partition, rows.decode(), partition), prepare=True)
        else:
            packed = [_packed(partition, line) for line in lines]
            with connection.cursor() as cursor, cursor.copy(_COPY) as copy:
                copy.write(b"".join((COPY_HEADER, *packed, COPY_TRAILER)))
        columns = [list(column) for column in zip(*sums, strict=True)]
        connection.execute(_ADD_SUMS, (*columns, list(sums.values()), partition, partition), prepare=True)


PROJECTION = TokenTransactions()


def _last_balances(
    connection: psycopg.Connection[Any], partition: int, events: Sequence[RecordedEvent]
) -> dict[tuple[UUID, str], int]:
    keys = {(event.tenant_id, event.local_id) for event in events}
    columns = [list(column) for column in zip(*keys, strict=True)]
    found = connection.execute(_LAST_BALANCES, (*columns, partition), prepare=True)
    return {(tenant_id, account_id): balance for tenant_id, account_id, balance in found}


class _Line(NamedTuple):
    """A row without its partition."""

    tenant_sequence: int
    version: int
    recorded_at: datetime
    amount_mtok: int
    available_mtok: int
    balance_mtok: int
    tenant_id: UUID
    event_id: UUID
    account_id: str
    type: str
    actor: str
    command_key: str
    reference: str | None
    reason: str | None
    ledger_accounts: tuple[str, ...]
    assets: tuple[str, ...]
    amounts: tuple[int, ...]


def _line(
    event: RecordedEvent, balances: dict[tuple[UUID, str], int], sums: dict[tuple[UUID, str, str, str], int]
) -> _Line | None:
    """The event's row, or nothing where it moves nothing; adds it to the sums. Raises ``Corrupt`` off balance."""
    payload = event.payload
    postings = postings_of(event.type, payload)
    if not postings:
        return None
    tenant_id, account_id = event.tenant_id, event.local_id
    amount = available = 0
    total: dict[str, int] = {}
    for ledger_account, asset, mtok in postings:
        total[asset] = total.get(asset, 0) + mtok
        key = (tenant_id, account_id, ledger_account, asset)
        sums[key] = sums.get(key, 0) + mtok
        if asset == TOKEN:
            kind = ledger_account.partition(":")[0]
            if kind in _OWN:
                amount += mtok
                if kind == "lot":
                    available += mtok
    if any(total.values()):
        raise Corrupt("The postings of an event do not sum to zero.", position=event.position, sums=total)
    balances[tenant_id, account_id] = balance = balances.get((tenant_id, account_id), 0) + amount
    accounts, assets, amounts = zip(*postings, strict=True)
    return _Line(
        event.tenant_sequence, event.version, event.recorded_at, amount, available, balance, tenant_id, event.event_id,
        account_id, event.type, event.actor, event.command_key, payload.get("reference"), payload.get("reason"),
        accounts, assets, amounts,
    )  # fmt: skip


def _packed(partition: int, line: _Line) -> bytes:
    return b"".join(
        (
            _row_head(
                18, 4, partition, 8, line.tenant_sequence, 8, line.version, 8, micros(line.recorded_at),
                8, line.amount_mtok, 8, line.available_mtok, 8, line.balance_mtok, 16, line.tenant_id.bytes,
                16, line.event_id.bytes,
            ),
            text(line.account_id.encode()),
            text(line.type.encode()),
            text(line.actor.encode()),
            text(line.command_key.encode()),
            nullable_text(line.reference),
            nullable_text(line.reason),
            text_array(line.ledger_accounts),
            text_array(line.assets),
            bigint_array(line.amounts),
        )
    )  # fmt: skip


_LINE = (
    "tenant_sequence, version, event_id, type, recorded_at, amount_mtok, available_mtok, balance_mtok, actor,"
    " command_key, reference, reason, ledger_accounts, assets, amounts"
)
_ACCOUNT_LINES = (
    f"select {_LINE} from read.token_transactions"  # noqa: S608 constants
    " where partition = %s and tenant_id = %s and account_id = %s"
)
_BALANCE_BEFORE = (
    "select balance_mtok from read.token_transactions where partition = %s and tenant_id = %s and account_id = %s"
    " and recorded_at < %s order by recorded_at desc, tenant_sequence desc limit 1"
)
_TRIAL = """
    select asset, case when ledger_account like 'lot:%%' then 'lot' else ledger_account end as ledger_account,
      sum(amount)::bigint as amount from read.ledger_balances {where} group by 1, 2 order by 1, 2
"""
_TENANT_TRIAL = _TRIAL.format(where="where partition = %s and tenant_id = %s")
_FOUNDER_TRIAL = _TRIAL.format(where="")


async def transactions(
    tx: TenantTx,
    account_id: str,
    after: int | None = None,
    limit: int = 100,
    order: Literal["newest", "oldest"] = "newest",
) -> list[Row]:
    """The lines of an account, newest or oldest first, that follow a ``tenant_sequence``; ``postings`` is a list."""
    if order == "newest":
        query = _ACCOUNT_LINES + " and tenant_sequence < %s order by tenant_sequence desc limit %s"
    else:
        query = _ACCOUNT_LINES + " and tenant_sequence > %s order by tenant_sequence limit %s"
    start = after if after is not None else 2**63 - 1 if order == "newest" else 0
    return _told(await tx.fetch(query, tx.partition, tx.tenant_id, account_id, start, limit))


async def statement(
    tx: TenantTx, account_id: str, since: datetime, until: datetime, after: int = 0, limit: int = 1000
) -> Row:
    """What an account had before ``since``, its lines up to ``until`` (excluded), and what it had then.

    ``lines`` is a page: those that follow ``after``; ``next`` is where the next page begins, if there is one.
    """
    mine = (tx.partition, tx.tenant_id, account_id)
    opening = await tx.fetch_one(_BALANCE_BEFORE, *mine, since)
    closing = await tx.fetch_one(_BALANCE_BEFORE, *mine, until)
    lines = await tx.fetch(
        _ACCOUNT_LINES
        + " and recorded_at >= %s and recorded_at < %s and tenant_sequence > %s order by tenant_sequence limit %s",
        *mine, since, until, after, limit + 1,
    )  # fmt: skip
    return {
        "account_id": account_id,
        "from": since,
        "to": until,
        "opening_mtok": opening["balance_mtok"] if opening else 0,
        "closing_mtok": closing["balance_mtok"] if closing else 0,
        "lines": _told(lines[:limit]),
        "next": lines[limit - 1]["tenant_sequence"] if len(lines) > limit else None,
    }


async def trial_balance(tx: ReadTx) -> dict[str, dict[str, int]]:
    """The sum of every ledger account by asset, all lots in one; of one tenant or, for the founder, of all.

    Each asset's amounts sum to zero, or the books are wrong.
    """
    if isinstance(tx, TenantTx):
        rows = await tx.fetch(_TENANT_TRIAL, tx.partition, tx.tenant_id)
    else:
        rows = await tx.fetch(_FOUNDER_TRIAL)
    sums: dict[str, dict[str, int]] = {}
    for row in rows:
        sums.setdefault(row["asset"], {})[row["ledger_account"]] = row["amount"]
    return sums


def _told(rows: list[Row]) -> list[Row]:
    for row in rows:
        columns = zip(row.pop("ledger_accounts"), row.pop("assets"), row.pop("amounts"), strict=True)
        row["postings"] = [{"account": account, "asset": asset, "amount": amount} for account, asset, amount in columns]
    return rows
