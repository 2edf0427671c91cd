"""Balances as they were: the answers of :mod:`felix.projections.balances` at a moment that has passed.

Accounts are replayed from the log up to the events recorded at that moment, those included; what had run out by then
is taken off as it was then. Only what the account itself does not remember, how much it has consumed, is added up from
the books: the last closing figures that are not younger, and the journal after them.
"""

from __future__ import annotations

from datetime import datetime

from felix.domain.base import stream_name
from felix.domain.errors import Corrupt
from felix.domain.ledger.token_account import TokenAccount
from felix.projections.balances import Balances
from felix.projections.history import aggregate_at
from felix.projections.tenant_tx import Row, TenantTx

_LAST_EVENT = (
    "select version, tenant_sequence, recorded_at from felix.events where partition = %s and tenant_id = %s"
    " and stream = %s and version <= %s and type = any(%s) order by version desc limit 1"
)
_CONSUMED = """
    select coalesce(b.consumed_mtok, 0) + coalesce(j.consumed_mtok, 0) as consumed_mtok
    from (values (1)) as one (row) left join lateral (
      select last_tenant_sequence, consumed_mtok from read.balance_snapshots
      where partition = %s and tenant_id = %s and account_id = %s and last_tenant_sequence <= %s
      order by day desc limit 1
    ) b on true left join lateral (
      select sum(p.amount)::bigint as consumed_mtok
      from read.token_transactions t cross join lateral unnest(t.ledger_accounts, t.amounts) as p (account, amount)
      where t.partition = %s and t.tenant_id = %s and t.account_id = %s
        and t.tenant_sequence > coalesce(b.last_tenant_sequence, 0) and t.tenant_sequence <= %s
        and p.account like 'consumed:%%'
    ) j on true
"""
_OPENED = (
    "select account_id from read.token_accounts where partition = %s and tenant_id = %s and account_id > %s"
    " and opened_at <= %s order by account_id limit %s"
)


async def account(tx: TenantTx, account_id: str, at: datetime) -> Row | None:
    """One account with its balance then, without ``consumed_mtok``; ``None`` where there was no such account."""
    then = await aggregate_at(tx, TokenAccount, account_id, at=at)
    if then is None:
        return None
    stream = stream_name(tx.tenant_id, TokenAccount.kind, account_id)
    last = await tx.fetch_one(_LAST_EVENT, tx.partition, tx.tenant_id, stream, then.version, list(Balances.reads))
    if last is None:
        raise Corrupt(f"{stream} has no first event.", stream=stream)
    return {
        "account_id": account_id,
        "name": then.name,
        "status": then.status,
        **then.balance_at(at),
        "credit_limit_mtok": then.credit_limit_mtok,
        "opened_at": then.created_on,
        "modified_at": last["recorded_at"],
        "version": last["version"],
        "tenant_sequence": last["tenant_sequence"],
        "as_of": at,
    }


async def accounts(tx: TenantTx, after: str, limit: int, at: datetime) -> list[Row]:
    """The accounts that were open then and follow ``after``, by id, without ``consumed_mtok``."""
    opened = await tx.fetch(_OPENED, tx.partition, tx.tenant_id, after, at, limit)
    found = [await account(tx, row["account_id"], at) for row in opened]
    return [row for row in found if row is not None]


async def consumed_mtok(tx: TenantTx, account_id: str, until: int) -> int:
    """What an account had consumed up to a ``tenant_sequence`` that the journal has retold."""
    mine = (tx.partition, tx.tenant_id, account_id, until)
    found = await tx.fetch_one(_CONSUMED, *mine, *mine)
    return 0 if found is None else int(found["consumed_mtok"])


async def lots(tx: TenantTx, account_id: str, at: datetime) -> list[Row] | None:
    """The lots that had something left then, in burn order; ``None`` where there was no such account."""
    then = await aggregate_at(tx, TokenAccount, account_id, at=at)
    if then is None:
        return None
    found = []
    for left in then.lots_at(at):
        lot = then.book.lots[left["lot_id"]]
        found.append(
            {
                "account_id": account_id,
                "lot_id": lot.lot_id,
                "kind": lot.kind,
                "priority": lot.priority,
                "granted_at": lot.granted_at,
                "expires_at": lot.expires_at,
                "meters": list(lot.meters),
                "granted_mtok": lot.amount_mtok,
                "cost_minor": lot.cost_minor,
                "currency": lot.currency,
                "is_frozen": lot.frozen_reason is not None,
                "is_void": lot.void_reason is not None,
                "available_mtok": left["available_mtok"],
                "held_mtok": left["held_mtok"],
                "frozen_mtok": left["frozen_mtok"],
            }
        )
    return found


async def holds(tx: TenantTx, account_id: str, at: datetime) -> list[Row] | None:
    """The holds that were open then, next to run out first; ``None`` where there was no such account."""
    then = await aggregate_at(tx, TokenAccount, account_id, at=at)
    if then is None:
        return None
    still_open = [hold for hold in then.holds.values() if hold.expires_at > at]
    return [
        {
            "hold_id": hold.hold_id,
            "meter": hold.meter,
            "amount_mtok": hold.amount_mtok,
            "held_at": hold.held_at,
            "expires_at": hold.expires_at,
            "app": hold.app,
            "person": hold.person,
            "purpose": hold.purpose,
        }
        for hold in sorted(still_open, key=lambda hold: (hold.expires_at, hold.hold_id))
    ]
