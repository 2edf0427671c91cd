"""Balances: every token account with its lots and open holds.

Amounts come from the journal's postings, so this read model can't disagree with it; only what the journal has no
account for (how much of a lot is held or frozen) is added up from the events themselves. Lots and holds that have run
out are not taken off by the fold, which knows no clock, but by the questions, which are asked at a moment.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import psycopg

from felix.domain.ledger.postings import EVENTS_WITHOUT_POSTINGS, TOKEN_EVENTS
from felix.eventstore.mapper import RecordedEvent
from felix.projections.balance_changes import BalanceChanges
from felix.projections.base import Projection
from felix.projections.tenant_tx import Row, TenantTx


class Balances(Projection):
    """Token accounts with what they have, hold and owe; their lots; their open holds."""

    name = "balances"
    version = 2
    #: Whatever moves tokens, and what else a row says of an account, a lot or a hold.
    reads = TOKEN_EVENTS | {
        "ledger.token_account_opened",
        "ledger.token_account_closed",
        "ledger.token_account_frozen",
        "ledger.token_account_unfrozen",
        "ledger.lot_extended",
        "ledger.hold_extended",
        "ledger.credit_limit_set",
    }
    ignores = EVENTS_WITHOUT_POSTINGS - reads
    tables = ("token_accounts", "token_lots", "token_holds")
    ddl = """
        create table token_accounts (
          partition int not null,
          tenant_id uuid not null,
          account_id text not null,
          name text not null,
          standing text not null check (standing in ('open', 'frozen', 'closed')),
          credit_limit_mtok bigint not null check (credit_limit_mtok >= 0),
          held_mtok bigint not null check (held_mtok >= 0),
          frozen_mtok bigint not null check (frozen_mtok >= 0),
          debt_mtok bigint not null check (debt_mtok >= 0),
          consumed_mtok bigint not null,
          opened_at timestamptz not null,
          modified_at timestamptz not null,
          last_tenant_sequence bigint not null,
          last_version bigint not null,
          constraint token_accounts_pkey primary key (partition, tenant_id, account_id)
        ) with (fillfactor = 70);
        create table token_lots (
          partition int not null,
          tenant_id uuid not null,
          account_id text not null,
          lot_id text not null,
          kind text not null,
          priority int not null,
          granted_at timestamptz not null,
          expires_at timestamptz,
          meters text[] not null,
          granted_mtok bigint not null check (granted_mtok > 0),
          remaining_mtok bigint not null check (remaining_mtok >= 0),
          held_mtok bigint not null check (held_mtok >= 0),
          frozen_mtok bigint not null check (frozen_mtok >= 0),
          is_frozen boolean not null,
          is_void boolean not null,
          cost_minor bigint not null check (cost_minor >= 0),
          currency text,
          constraint token_lots_pkey primary key (partition, tenant_id, account_id, lot_id),
          constraint token_lots_issued_check check (remaining_mtok + held_mtok + frozen_mtok <= granted_mtok)
        ) with (fillfactor = 70);
        create table token_holds (
          partition int not null,
          tenant_id uuid not null,
          account_id text not null,
          hold_id text not null,
          meter text not null,
          amount_mtok bigint not null check (amount_mtok > 0),
          lot_ids text[] not null,
          lot_mtok bigint[] not null,
          held_at timestamptz not null,
          expires_at timestamptz not null,
          app text,
          person text,
          purpose text,
          constraint token_holds_pkey primary key (partition, tenant_id, account_id, hold_id)
        );
    """

    def fold(self, events: Sequence[RecordedEvent], connection: psycopg.Connection[Any]) -> None:
        changes = BalanceChanges()
        for event in events:
            changes.add(event)
        changes.write(connection, events[0].partition)


PROJECTION = Balances()

# Questions. ``at`` is now or later: lots and holds that have run out by then are counted as gone or given back. What
# was at an earlier moment is answered from the log, not from here.

_LOTS_AT = """
    lots as (
      select t.account_id, t.lot_id, t.kind, t.priority, t.granted_at, t.expires_at, t.meters, t.granted_mtok,
        t.cost_minor, t.currency, t.is_frozen, t.is_void,
        case when t.is_frozen or t.is_void or t.expires_at <= a.at then 0
          else t.remaining_mtok + coalesce(b.mtok, 0) end as available_mtok,
        t.held_mtok - coalesce(b.mtok, 0) as held_mtok,
        t.frozen_mtok + case when t.is_frozen then coalesce(b.mtok, 0) else 0 end as frozen_mtok
      from accounts a
      join read.token_lots t on t.account_id = a.account_id
      left join lateral (
        select sum(s.mtok)::bigint as mtok
        from read.token_holds h cross join lateral unnest(h.lot_ids, h.lot_mtok) as s (lot_id, mtok)
        where h.partition = %s and h.tenant_id = %s and h.account_id = t.account_id and h.expires_at <= a.at
          and s.lot_id = t.lot_id and t.held_mtok > 0
      ) b on true
      where t.partition = %s and t.tenant_id = %s
    )
"""
_ACCOUNTS = f"""
    with accounts as (
      select *, coalesce(%s::timestamptz, now()) as at from read.token_accounts
      where partition = %s and tenant_id = %s and {{which}}
      order by account_id limit %s
    ), {_LOTS_AT}, sums as (
      select account_id, sum(available_mtok)::bigint as available_mtok, sum(held_mtok)::bigint as held_mtok,
        sum(frozen_mtok)::bigint as frozen_mtok,
        coalesce(sum(available_mtok) filter (where meters = '{{{{}}}}'), 0)::bigint as unrestricted_mtok
      from lots group by account_id
    )
    select a.account_id, a.name,
      case when a.standing = 'open' and a.debt_mtok > a.credit_limit_mtok then 'restricted'
        else a.standing end as status,
      coalesce(s.available_mtok, 0) - least(a.debt_mtok, coalesce(s.unrestricted_mtok, 0)) as available_mtok,
      coalesce(s.held_mtok, 0) as held_mtok, coalesce(s.frozen_mtok, 0) as frozen_mtok,
      a.debt_mtok - least(a.debt_mtok, coalesce(s.unrestricted_mtok, 0)) as debt_mtok,
      a.consumed_mtok, a.credit_limit_mtok, a.opened_at, a.modified_at, a.last_version as version,
      a.last_tenant_sequence as tenant_sequence, a.at as as_of
    from accounts a left join sums s using (account_id) order by account_id
"""  # noqa: S608 constants
_ACCOUNT = _ACCOUNTS.format(which="account_id = %s")
_ACCOUNT_PAGE = _ACCOUNTS.format(which="account_id > %s")
_ACCOUNTS_NAMED = _ACCOUNTS.format(which="account_id = any(%s)")
_ACCOUNTS_CHANGED = _ACCOUNTS.format(which="last_tenant_sequence > %s and account_id > %s")
_LOTS = f"""
    with accounts as (
      select account_id, coalesce(%s::timestamptz, now()) as at from read.token_accounts
      where partition = %s and tenant_id = %s and account_id = %s
    ), {_LOTS_AT}
    select * from lots where %s or available_mtok > 0 or held_mtok > 0 or frozen_mtok > 0
    order by priority, coalesce(expires_at, 'infinity'), kind in ('purchased', 'migration'), granted_at, lot_id
    limit %s
"""  # noqa: S608 constants
_HOLDS = """
    select hold_id, meter, amount_mtok, held_at, expires_at, app, person, purpose from read.token_holds
    where partition = %s and tenant_id = %s and account_id = %s and expires_at > coalesce(%s::timestamptz, now())
    order by expires_at, hold_id limit %s
"""


async def account(tx: TenantTx, account_id: str, at: datetime | None = None) -> Row | None:
    """One account with its balance at a moment; ``None`` where the tenant has no such account."""
    mine = (tx.partition, tx.tenant_id)
    return await tx.fetch_one(_ACCOUNT, at, *mine, account_id, 1, *mine, *mine)


async def accounts(tx: TenantTx, after: str = "", limit: int = 100, at: datetime | None = None) -> list[Row]:
    """The accounts that follow ``after``, by id."""
    mine = (tx.partition, tx.tenant_id)
    return await tx.fetch(_ACCOUNT_PAGE, at, *mine, after, limit, *mine, *mine)


async def accounts_named(tx: TenantTx, account_ids: Sequence[str]) -> list[Row]:
    """These accounts, by id, as far as the tenant has them."""
    mine = (tx.partition, tx.tenant_id)
    return await tx.fetch(_ACCOUNTS_NAMED, None, *mine, list(account_ids), len(account_ids), *mine, *mine)


async def accounts_changed(tx: TenantTx, since: int, after: str = "", limit: int = 100) -> list[Row]:
    """The accounts that changed after a ``tenant_sequence`` and follow the account ``after``, by id."""
    mine = (tx.partition, tx.tenant_id)
    return await tx.fetch(_ACCOUNTS_CHANGED, None, *mine, since, after, limit, *mine, *mine)


async def lots(
    tx: TenantTx, account_id: str, at: datetime | None = None, *, used_up: bool = False, limit: int = 1000
) -> list[Row]:
    """The lots of an account in burn order without regard to meters; those with nothing left only if asked for."""
    mine = (tx.partition, tx.tenant_id)
    return await tx.fetch(_LOTS, at, *mine, account_id, *mine, *mine, used_up, limit)


async def holds(tx: TenantTx, account_id: str, at: datetime | None = None, limit: int = 1000) -> list[Row]:
    """The open holds of an account, next to run out first."""
    return await tx.fetch(_HOLDS, tx.partition, tx.tenant_id, account_id, at, limit)


async def paying_account(tx: TenantTx) -> str | None:
    """The account that pays where nobody says which: the oldest that is open."""
    row = await tx.fetch_one(
        "select account_id from read.token_accounts where partition = %s and tenant_id = %s and standing = 'open'"
        " order by opened_at, account_id limit 1",
        tx.partition, tx.tenant_id,
    )  # fmt: skip
    return None if row is None else str(row["account_id"])
