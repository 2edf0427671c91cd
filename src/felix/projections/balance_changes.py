"""How a batch of events changes the balances: added up in memory first, then written in a few statements."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg

from felix.domain.ledger.postings import TOKEN, postings_of
from felix.eventstore.mapper import RecordedEvent
from felix.projections.base import change

Thing = tuple[UUID, str, str]

_STANDINGS = {
    "ledger.token_account_closed": "closed",
    "ledger.token_account_frozen": "frozen",
    "ledger.token_account_unfrozen": "open",
}
#: Where lots that nobody gave a priority burn, as in the account itself.
_DEFAULT_PRIORITY = 100


class _Account:
    """What a batch changes in one account. ``opened`` are name and time where the batch opens it."""

    __slots__ = ("consumed", "credit_limit", "debt", "frozen", "held", "last", "opened", "standing")

    def __init__(self) -> None:
        self.opened: tuple[str, datetime] | None = None
        self.standing: str | None = None
        self.credit_limit: int | None = None
        self.held = self.frozen = self.debt = self.consumed = 0
        self.last: RecordedEvent | None = None


class _Lot:
    """What a batch changes in one lot. ``granted`` are the fixed columns where the batch makes it."""

    __slots__ = ("expires_at", "extended", "frozen", "granted", "held", "is_frozen", "is_void", "remaining")

    def __init__(self) -> None:
        self.granted: tuple[Any, ...] | None = None
        self.expires_at: str | None = None
        self.extended = False
        self.remaining = self.held = self.frozen = 0
        self.is_frozen: bool | None = None
        self.is_void: bool | None = None


class BalanceChanges:
    """A batch, added up in memory."""

    def __init__(self) -> None:
        self.accounts: dict[tuple[UUID, str], _Account] = {}
        self.lots: dict[Thing, _Lot] = {}
        self.held: dict[Thing, tuple[Any, ...]] = {}
        self.settled: set[Thing] = set()
        self.extended: dict[Thing, str] = {}

    def add(self, event: RecordedEvent) -> None:
        """Add one event up."""
        tenant_id, account_id, type_, payload = event.tenant_id, event.local_id, event.type, event.payload
        key = (tenant_id, account_id)
        account = self.accounts.get(key)
        if account is None:
            account = self.accounts[key] = _Account()
        account.last = event
        for ledger_account, asset, amount in postings_of(type_, payload):
            if asset != TOKEN:
                continue
            kind, _, which = ledger_account.partition(":")
            if kind == "lot":
                self.lot(tenant_id, account_id, which).remaining += amount
            elif kind == "consumed":
                account.consumed += amount
            elif kind == "held":
                account.held += amount
            elif kind == "debt":
                account.debt -= amount
            elif kind == "frozen":
                account.frozen += amount
        if type_ != "ledger.tokens_debited":
            self._more(event, type_, payload, account)

    def lot(self, tenant_id: UUID, account_id: str, lot_id: str) -> _Lot:
        """What changes in a lot."""
        key = (tenant_id, account_id, lot_id)
        lot = self.lots.get(key)
        if lot is None:
            lot = self.lots[key] = _Lot()
        return lot

    def _more(self, event: RecordedEvent, type_: str, payload: dict[str, Any], account: _Account) -> None:
        """What an event changes beside the amounts of its postings."""
        if type_ == "ledger.token_account_opened":
            account.opened = (payload["name"], event.recorded_at)
            account.standing = "open"
            account.credit_limit = payload["credit_limit_mtok"]
        elif type_ in _STANDINGS:
            account.standing = _STANDINGS[type_]
        elif type_ == "ledger.credit_limit_set":
            account.credit_limit = payload["credit_limit_mtok"]
        elif type_ == "ledger.tokens_granted":
            self._grant(event, payload)
        elif type_ == "ledger.tokens_received":
            for lot in payload["lots"]:
                self._grant(event, lot)
        elif type_ == "ledger.debit_reversed":
            if payload["lot_id"] is not None:
                self._grant(event, payload, "restitution", payload["restitution_meters"], payload["restitution_mtok"])
        elif type_ == "ledger.adjustment_applied":
            if payload["lot_id"] is not None:
                self._grant(event, payload, "goodwill", [], payload["amount_mtok"])
        elif type_ == "ledger.tokens_clawed_back":
            for lot_id, _, amount_mtok, _ in payload["frozen"]:
                self.lot(event.tenant_id, event.local_id, lot_id).frozen -= amount_mtok
        elif type_.startswith("ledger.lot_"):
            self._change_lot(event, type_, payload)
        elif "hold_id" in payload:
            self._hold(event, type_, payload)

    def _grant(
        self,
        event: RecordedEvent,
        made: dict[str, Any],
        kind: str | None = None,
        meters: Sequence[str] | None = None,
        amount_mtok: int | None = None,
    ) -> None:
        lot = self.lot(event.tenant_id, event.local_id, made["lot_id"])
        lot.granted = (
            kind or made["kind"],
            made.get("priority", _DEFAULT_PRIORITY),
            event.recorded_at,
            ",".join(made["meters"] if meters is None else meters),
            made["amount_mtok"] if amount_mtok is None else amount_mtok,
            made.get("cost_minor", 0),
            made.get("currency"),
        )
        lot.expires_at = made.get("expires_at")

    def _change_lot(self, event: RecordedEvent, type_: str, payload: dict[str, Any]) -> None:
        lot = self.lot(event.tenant_id, event.local_id, payload["lot_id"])
        if type_ == "ledger.lot_extended":
            lot.extended, lot.expires_at = True, payload["expires_at"]
        elif type_ == "ledger.lot_frozen":
            lot.is_frozen = True
            lot.frozen += payload["amount_mtok"]
        elif type_ == "ledger.lot_unfrozen":
            lot.is_frozen = False
            lot.frozen -= payload["amount_mtok"]
        elif type_ == "ledger.lot_voided":
            lot.is_void, lot.is_frozen = True, False
            lot.frozen -= payload["frozen_mtok"]

    def _hold(self, event: RecordedEvent, type_: str, payload: dict[str, Any]) -> None:
        tenant_id, account_id = event.tenant_id, event.local_id
        key = (tenant_id, account_id, payload["hold_id"])
        if type_ == "ledger.tokens_held":
            slices = payload["allocation"]
            for lot_id, _, amount_mtok, _ in slices:
                self.lot(tenant_id, account_id, lot_id).held += amount_mtok
            self.held[key] = (
                payload["meter"],
                payload["amount_mtok"],
                ",".join(each[0] for each in slices),
                ",".join(str(each[2]) for each in slices),
                event.recorded_at,
                payload["app"],
                payload["person"],
                payload["purpose"],
            )
            self.extended[key] = payload["expires_at"]
        elif type_ == "ledger.hold_extended":
            self.extended[key] = payload["expires_at"]
        else:
            for lot_id, _, amount_mtok, _ in (*payload.get("captured", ()), *payload["released"]):
                self.lot(tenant_id, account_id, lot_id).held -= amount_mtok
            self.extended.pop(key, None)
            if self.held.pop(key, None) is None:
                self.settled.add(key)

    def write(self, connection: psycopg.Connection[Any], partition: int) -> None:
        """Bring the tables up to date: at most one statement a table for what is new, and one for what changed."""
        _write_accounts(connection, partition, self.accounts)
        _write_lots(connection, partition, self.lots)
        _write_holds(connection, partition, self)


_NEW_ACCOUNTS = """
    insert into token_accounts (partition, tenant_id, account_id, name, opened_at, standing, credit_limit_mtok,
      held_mtok, frozen_mtok, debt_mtok, consumed_mtok, modified_at, last_tenant_sequence, last_version)
    select %s, * from unnest(%b::uuid[], %b::text[], %b::text[], %b::timestamptz[], %b::text[], %b::bigint[],
      %b::bigint[], %b::bigint[], %b::bigint[], %b::bigint[], %b::timestamptz[], %b::bigint[], %b::bigint[])
"""
_CHANGED_ACCOUNTS = """
    update token_accounts t set standing = coalesce(c.standing, t.standing),
      credit_limit_mtok = coalesce(c.credit_limit, t.credit_limit_mtok), held_mtok = t.held_mtok + c.held,
      frozen_mtok = t.frozen_mtok + c.frozen, debt_mtok = t.debt_mtok + c.debt,
      consumed_mtok = t.consumed_mtok + c.consumed, modified_at = c.at, last_tenant_sequence = c.tenant_sequence,
      last_version = c.version
    from unnest(%b::uuid[], %b::text[], %b::text[], %b::bigint[], %b::bigint[], %b::bigint[], %b::bigint[],
      %b::bigint[], %b::timestamptz[], %b::bigint[], %b::bigint[])
      as c (tenant_id, account_id, standing, credit_limit, held, frozen, debt, consumed, at, tenant_sequence, version)
    where t.partition = %s and t.tenant_id = c.tenant_id and t.account_id = c.account_id
"""
_NEW_LOTS = """
    insert into token_lots (partition, tenant_id, account_id, lot_id, kind, priority, granted_at, meters, granted_mtok,
      cost_minor, currency, expires_at, remaining_mtok, held_mtok, frozen_mtok, is_frozen, is_void)
    select %s, tenant_id, account_id, lot_id, kind, priority, granted_at, string_to_array(meters, ','), granted_mtok,
      cost_minor, currency, expires_at, remaining_mtok, held_mtok, frozen_mtok, is_frozen, is_void
    from unnest(%b::uuid[], %b::text[], %b::text[], %b::text[], %b::int[], %b::timestamptz[], %b::text[], %b::bigint[],
      %b::bigint[], %b::text[], %b::timestamptz[], %b::bigint[], %b::bigint[], %b::bigint[], %b::boolean[],
      %b::boolean[])
      as n (tenant_id, account_id, lot_id, kind, priority, granted_at, meters, granted_mtok, cost_minor, currency,
        expires_at, remaining_mtok, held_mtok, frozen_mtok, is_frozen, is_void)
"""
_CHANGED_LOTS = """
    update token_lots t set expires_at = case when c.extended then c.expires_at else t.expires_at end,
      remaining_mtok = t.remaining_mtok + c.remaining, held_mtok = t.held_mtok + c.held,
      frozen_mtok = t.frozen_mtok + c.frozen, is_frozen = coalesce(c.is_frozen, t.is_frozen),
      is_void = coalesce(c.is_void, t.is_void)
    from unnest(%b::uuid[], %b::text[], %b::text[], %b::boolean[], %b::timestamptz[], %b::bigint[], %b::bigint[],
      %b::bigint[], %b::boolean[], %b::boolean[])
      as c (tenant_id, account_id, lot_id, extended, expires_at, remaining, held, frozen, is_frozen, is_void)
    where t.partition = %s and t.tenant_id = c.tenant_id and t.account_id = c.account_id and t.lot_id = c.lot_id
"""
_NEW_HOLDS = """
    insert into token_holds (partition, tenant_id, account_id, hold_id, meter, amount_mtok, lot_ids, lot_mtok, held_at,
      app, person, purpose, expires_at)
    select %s, tenant_id, account_id, hold_id, meter, amount_mtok, string_to_array(lot_ids, ','),
      string_to_array(lot_mtok, ',')::bigint[], held_at, app, person, purpose, expires_at
    from unnest(%b::uuid[], %b::text[], %b::text[], %b::text[], %b::bigint[], %b::text[], %b::text[], %b::timestamptz[],
      %b::text[], %b::text[], %b::text[], %b::timestamptz[])
      as n (tenant_id, account_id, hold_id, meter, amount_mtok, lot_ids, lot_mtok, held_at, app, person, purpose,
        expires_at)
"""
_EXTENDED_HOLDS = """
    update token_holds t set expires_at = c.expires_at
    from unnest(%b::uuid[], %b::text[], %b::text[], %b::timestamptz[]) as c (tenant_id, account_id, hold_id, expires_at)
    where t.partition = %s and t.tenant_id = c.tenant_id and t.account_id = c.account_id and t.hold_id = c.hold_id
"""
_SETTLED_HOLDS = """
    delete from token_holds t using unnest(%b::uuid[], %b::text[], %b::text[]) as c (tenant_id, account_id, hold_id)
    where t.partition = %s and t.tenant_id = c.tenant_id and t.account_id = c.account_id and t.hold_id = c.hold_id
"""


def _columns(rows: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]


def _write_accounts(
    connection: psycopg.Connection[Any], partition: int, accounts: dict[tuple[UUID, str], _Account]
) -> None:
    new, changed = [], []
    for key, a in accounts.items():
        assert a.last is not None
        amounts = (a.standing, a.credit_limit, a.held, a.frozen, a.debt, a.consumed)
        last = (a.last.recorded_at, a.last.tenant_sequence, a.last.version)
        if a.opened is not None:
            new.append((*key, *a.opened, *amounts, *last))
        else:
            changed.append((*key, *amounts, *last))
    if new:
        change(connection, _NEW_ACCOUNTS, (partition, *_columns(new)), len(new))
    if changed:
        change(connection, _CHANGED_ACCOUNTS, (*_columns(changed), partition), len(changed))


def _write_lots(connection: psycopg.Connection[Any], partition: int, lots: dict[Thing, _Lot]) -> None:
    new, changed = [], []
    for key, lot in lots.items():
        amounts = (lot.expires_at, lot.remaining, lot.held, lot.frozen)
        if lot.granted is not None:
            new.append((*key, *lot.granted, *amounts, bool(lot.is_frozen), bool(lot.is_void)))
        else:
            changed.append((*key, lot.extended, *amounts, lot.is_frozen, lot.is_void))
    if new:
        change(connection, _NEW_LOTS, (partition, *_columns(new)), len(new))
    if changed:
        change(connection, _CHANGED_LOTS, (*_columns(changed), partition), len(changed))


def _write_holds(connection: psycopg.Connection[Any], partition: int, changes: BalanceChanges) -> None:
    if changes.settled:
        settled = sorted(changes.settled)
        change(connection, _SETTLED_HOLDS, (*_columns(settled), partition), len(settled))
    if changes.held:
        new = [(*key, *hold, changes.extended.pop(key)) for key, hold in changes.held.items()]
        change(connection, _NEW_HOLDS, (partition, *_columns(new)), len(new))
    if changes.extended:
        extended = [(*key, expires_at) for key, expires_at in changes.extended.items()]
        change(connection, _EXTENDED_HOLDS, (*_columns(extended), partition), len(extended))
