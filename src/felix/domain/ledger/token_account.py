"""The token account: the consistency boundary of every balance.

Reads top to bottom: what the account is, what it can be asked and what can have happened, how that adds up, and how it
is kept. The decisions are in ``lot_decisions``, ``usage_decisions`` and ``limit_decisions``, on the common ground of
``rules``; their pieces in ``lots`` (what burns first, and what it cost), ``holds`` (what runs out when), ``caps`` and
``reversals``. ``views`` shows an account, ``postings`` tells each event as double entry.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Self

from eventsourcing.domain import event

from felix.domain.base import CommandContext, FelixEvent, register_decisions
from felix.domain.ledger import messages as m
from felix.domain.ledger import views
from felix.domain.ledger.caps import Cap, utc_day
from felix.domain.ledger.holds import HOLD, LOT, Deadlines, Hold
from felix.domain.ledger.limit_decisions import LimitDecisions
from felix.domain.ledger.lot_decisions import LotDecisions
from felix.domain.ledger.lots import Lot, LotBook
from felix.domain.ledger.messages import Allocation
from felix.domain.ledger.usage_decisions import UsageDecisions

#: Where lots that nobody gave a priority burn; the default of ``GrantTokens`` as well.
DEFAULT_PRIORITY = 100


@register_decisions
class TokenAccount(LotDecisions, UsageDecisions, LimitDecisions):
    """One purse of one tenant's tokens. Nothing is spent twice, and what is owed is never hidden.

    Issued = available + held + frozen + consumed + expired + taken back + sent, always. Each token belongs to a lot,
    so what was paid for it, what it may pay for and when it expires are known until it is gone.

    A lot restricted to meters is a promise that its tokens pay for these and nothing else, and debt has no meter:
    so restricted tokens neither prevent nor repay debt, and *debt > 0 implies available = 0* is said of the
    unrestricted tokens. Lots that expire and holds that run out are booked at the start of the next decision, at
    its time.
    """

    TOPIC = "ledger.token_account"
    kind = "token_account"
    Event = FelixEvent

    TokenAccountOpened = m.TokenAccountOpened
    TokenAccountClosed = m.TokenAccountClosed
    TokenAccountFrozen = m.TokenAccountFrozen
    TokenAccountUnfrozen = m.TokenAccountUnfrozen
    TokensGranted = m.TokensGranted
    LotExpired = m.LotExpired
    LotVoided = m.LotVoided
    LotExtended = m.LotExtended
    LotExpiryAnnounced = m.LotExpiryAnnounced
    LotFrozen = m.LotFrozen
    LotUnfrozen = m.LotUnfrozen
    TokensClawedBack = m.TokensClawedBack
    TokensHeld = m.TokensHeld
    HoldExtended = m.HoldExtended
    HoldCaptured = m.HoldCaptured
    HoldReleased = m.HoldReleased
    HoldExpired = m.HoldExpired
    TokensDebited = m.TokensDebited
    DebitReversed = m.DebitReversed
    DebtRepaid = m.DebtRepaid
    TokensSent = m.TokensSent
    TokensReceived = m.TokensReceived
    CreditLimitSet = m.CreditLimitSet
    SpendCapSet = m.SpendCapSet
    SpendCapRemoved = m.SpendCapRemoved
    SpendCapPassed = m.SpendCapPassed
    AdjustmentProposed = m.AdjustmentProposed
    AdjustmentRejected = m.AdjustmentRejected
    AdjustmentApplied = m.AdjustmentApplied

    @classmethod
    def open(cls, context: CommandContext, command: m.OpenTokenAccount) -> Self:
        """A new account without tokens."""
        return cls.begin(context, context.mint("acct"), name=command.name, credit_limit_mtok=command.credit_limit_mtok)

    def balance_at(self, at: datetime) -> dict[str, int]:
        """The balance at a moment, without lots and holds that have run out by then."""
        return views.balance_at(self, at)

    def lots_at(self, at: datetime) -> list[dict[str, Any]]:
        """The lots with something left at a moment."""
        return views.lots_at(self, at)

    def describe(self, at: datetime) -> dict[str, Any]:
        """The entire account at a moment, JSON-ready."""
        return views.describe(self, at)

    # How it adds up. Nothing below refuses: it runs again whenever the account is loaded.

    @event(m.TokenAccountOpened)
    def __init__(self, name: str, credit_limit_mtok: int) -> None:
        self.name = name
        self.standing = "open"
        self.credit_limit_mtok = credit_limit_mtok
        self.debt_mtok = 0
        self.book = LotBook()
        self.holds = {}
        self.caps = {}
        self.adjustments = {}
        self.reversed = {}
        self.alone_day = 0
        self.alone_mtok = {}
        self._deadlines = Deadlines()

    @event(m.TokenAccountClosed)
    def _closed(self) -> None:
        self.standing = "closed"

    @event(m.TokenAccountFrozen)
    def _frozen(self) -> None:
        self.standing = "frozen"

    @event(m.TokenAccountUnfrozen)
    def _unfrozen(self) -> None:
        self.standing = "open"

    @event(m.TokensGranted)
    def _granted(
        self,
        amount_mtok: int,
        cost_minor: int,
        currency: str | None,
        debt_cost_minor: int,
        debt_repaid_mtok: int,
        expires_at: datetime | None,
        kind: str,
        lot_id: str,
        meters: list[str],
        priority: int,
        timestamp: datetime,
    ) -> None:
        self._add_lot(
            Lot(
                lot_id=lot_id,
                kind=kind,
                priority=priority,
                granted_at=timestamp,
                expires_at=expires_at,
                meters=meters,
                amount_mtok=amount_mtok,
                cost_minor=cost_minor,
                currency=currency,
                free_mtok=amount_mtok - debt_repaid_mtok,
                recognised_minor=debt_cost_minor,
            ),
            debt_repaid_mtok,
        )

    def _add_lot(self, lot: Lot, debt_repaid_mtok: int = 0) -> None:
        self.debt_mtok -= debt_repaid_mtok
        self.book.add(lot)
        self._deadlines.add(lot.expires_at, LOT, lot.lot_id)

    @event(m.LotExpired)
    def _lot_expired(self, amount_mtok: int, cost_minor: int, lot_id: str) -> None:
        self.book.spend([(lot_id, "", amount_mtok, cost_minor)])

    @event(m.LotVoided)
    def _lot_voided(self, amount_mtok: int, cost_minor: int, frozen_mtok: int, lot_id: str, reason: str) -> None:
        self.book.void(lot_id, amount_mtok, frozen_mtok, cost_minor, reason)

    @event(m.TokensClawedBack)
    def _clawed_back(self, allocation: Allocation, debt_mtok: int, frozen: Allocation) -> None:
        self.book.spend_frozen(frozen)
        self.book.spend(allocation)
        self.debt_mtok += debt_mtok

    @event(m.LotExtended)
    def _lot_extended(self, expires_at: datetime | None, lot_id: str) -> None:
        self.book.extend(lot_id, expires_at)
        self._deadlines.add(expires_at, LOT, lot_id)

    @event(m.LotExpiryAnnounced)
    def _expiry_announced(self) -> None:
        """Being told changes nothing."""

    @event(m.LotFrozen)
    def _lot_frozen(self, amount_mtok: int, lot_id: str, reason: str) -> None:
        self.book.freeze(lot_id, amount_mtok, reason)

    @event(m.LotUnfrozen)
    def _lot_unfrozen(self, amount_mtok: int, lot_id: str) -> None:
        self.book.unfreeze(lot_id, amount_mtok)

    @event(m.TokensHeld)
    def _held(
        self,
        allocation: Allocation,
        amount_mtok: int,
        app: str | None,
        expires_at: datetime,
        hold_id: str,
        meter: str,
        originator_version: int,
        person: str | None,
        purpose: str | None,
        timestamp: datetime,
    ) -> None:
        self.book.hold(allocation)
        slices = [(lot_id, slice_mtok) for lot_id, _, slice_mtok, _ in allocation]
        self.holds[hold_id] = Hold(
            hold_id,
            meter,
            amount_mtok,
            slices,
            timestamp,
            expires_at,
            originator_version,
            app,
            person,
            purpose,
        )
        self._deadlines.add(expires_at, HOLD, hold_id)
        self._count([(meter, amount_mtok)], app, person, timestamp)

    @event(m.HoldExtended)
    def _hold_extended(self, expires_at: datetime, hold_id: str) -> None:
        self.holds[hold_id].expires_at = expires_at
        self._deadlines.add(expires_at, HOLD, hold_id)

    @event(m.HoldCaptured)
    def _captured(
        self,
        amount_mtok: int,
        app: str | None,
        captured: Allocation,
        debt_mtok: int,
        extra: Allocation,
        forgiven_mtok: int,
        hold_id: str,
        meter: str,
        person: str | None,
        released: Allocation,
        timestamp: datetime,
    ) -> None:
        self._end_hold(hold_id)
        self.book.spend_held(captured)
        self.book.release(released)
        self.book.spend(extra)
        self.debt_mtok += debt_mtok
        self._count([(meter, amount_mtok - forgiven_mtok)], app, person, timestamp)

    @event(m.HoldReleased)
    def _released(self, hold_id: str, released: Allocation) -> None:
        self._end_hold(hold_id)
        self.book.release(released)

    @event(m.HoldExpired)
    def _hold_expired(self, hold_id: str, released: Allocation) -> None:
        self._end_hold(hold_id)
        self.book.release(released)

    def _end_hold(self, hold_id: str) -> None:
        hold = self.holds.pop(hold_id)
        for cap in self.caps.values():
            held = cap.concerns([(hold.meter, hold.amount_mtok)], hold.app, hold.person)
            cap.uncount(held, hold.held_at, hold.version)

    @event(m.TokensDebited)
    def _debited(
        self,
        allocation: Allocation,
        app: str | None,
        debt_mtok: int,
        lines: list[tuple[str, int, int, str]],
        person: str | None,
        timestamp: datetime,
    ) -> None:
        self.book.spend(allocation)
        self.debt_mtok += debt_mtok
        if self.caps:
            self._count([(meter, amount_mtok) for meter, _, amount_mtok, _ in lines], app, person, timestamp)

    def _count(self, needs: list[tuple[str, int]], app: str | None, person: str | None, at: datetime) -> None:
        for cap in self.caps.values():
            if spent := cap.concerns(needs, app, person):
                cap.count(spent, at)

    @event(m.DebitReversed)
    def _reversed(
        self,
        allocation: Allocation,
        amount_mtok: int,
        app: str | None,
        debit_version: int,
        debited_at: datetime,
        debt_mtok: int,
        lines: list[tuple[str, int]],
        lot_id: str | None,
        person: str | None,
        restitution_meters: list[str],
        restitution_mtok: int,
        timestamp: datetime,
    ) -> None:
        self.book.give_back(allocation)
        for returned_id, *_ in allocation:
            self._deadlines.add(self.book.lots[returned_id].expires_at, LOT, returned_id)
        self.debt_mtok -= debt_mtok
        if lot_id is not None:
            self._add_lot(
                Lot(
                    lot_id=lot_id,
                    kind="restitution",
                    priority=DEFAULT_PRIORITY,
                    granted_at=timestamp,
                    expires_at=None,
                    meters=restitution_meters,
                    amount_mtok=restitution_mtok,
                    free_mtok=restitution_mtok,
                )
            )
        self.reversed[str(debit_version)] = self.reversed.get(str(debit_version), 0) + amount_mtok
        for cap in self.caps.values():
            cap.uncount(cap.concerns(lines, app, person), debited_at, debit_version)

    @event(m.DebtRepaid)
    def _debt_repaid(self, allocation: Allocation, amount_mtok: int) -> None:
        self.book.spend(allocation)
        self.debt_mtok -= amount_mtok

    @event(m.TokensSent)
    def _sent(self, allocation: Allocation) -> None:
        self.book.spend(allocation)

    @event(m.TokensReceived)
    def _received(self, lots: list[dict[str, Any]], timestamp: datetime) -> None:
        for lot in lots:
            self._add_lot(
                Lot(
                    lot_id=lot["lot_id"],
                    kind=lot["kind"],
                    priority=lot["priority"],
                    granted_at=timestamp,
                    expires_at=lot["expires_at"] and datetime.fromisoformat(lot["expires_at"]),
                    meters=lot["meters"],
                    amount_mtok=lot["amount_mtok"],
                    cost_minor=lot["cost_minor"],
                    currency=lot["currency"],
                    free_mtok=lot["amount_mtok"] - lot["debt_repaid_mtok"],
                    recognised_minor=lot["debt_cost_minor"],
                ),
                lot["debt_repaid_mtok"],
            )

    @event(m.CreditLimitSet)
    def _credit_limit_set(self, credit_limit_mtok: int) -> None:
        self.credit_limit_mtok = credit_limit_mtok

    @event(m.SpendCapSet)
    def _cap_set(
        self,
        cap_id: str,
        hard: bool,
        limit_mtok: int,
        originator_version: int,
        scope: str,
        scope_value: str | None,
        window: str,
        window_s: int | None,
    ) -> None:
        if (cap := self.caps.get(cap_id)) is None:
            self.caps[cap_id] = Cap(
                cap_id, scope, scope_value, limit_mtok, window, window_s, hard, since=originator_version
            )
        else:
            cap.limit_mtok, cap.hard, cap.passed_in = limit_mtok, hard, None

    @event(m.SpendCapRemoved)
    def _cap_removed(self, cap_id: str) -> None:
        del self.caps[cap_id]

    @event(m.SpendCapPassed)
    def _cap_passed(self, cap_id: str, timestamp: datetime) -> None:
        cap = self.caps[cap_id]
        cap.passed_in = cap.bucket(timestamp)

    @event(m.AdjustmentProposed)
    def _adjustment_proposed(
        self, adjustment_id: str, amount_mtok: int, proposer: str, reason: str, timestamp: datetime
    ) -> None:
        self.adjustments[adjustment_id] = {
            "amount_mtok": amount_mtok,
            "proposer": proposer,
            "proposed_at": timestamp.isoformat(),
            "reason": reason,
        }

    @event(m.AdjustmentRejected)
    def _adjustment_rejected(self, adjustment_id: str) -> None:
        del self.adjustments[adjustment_id]

    @event(m.AdjustmentApplied)
    def _adjustment_applied(
        self,
        adjustment_id: str,
        allocation: Allocation,
        amount_mtok: int,
        approver: str | None,
        debt_mtok: int,
        debt_repaid_mtok: int,
        lot_id: str | None,
        proposer: str,
        timestamp: datetime,
    ) -> None:
        del self.adjustments[adjustment_id]
        self.book.spend(allocation)
        self.debt_mtok += debt_mtok
        if lot_id is not None:
            self._add_lot(
                Lot(
                    lot_id=lot_id,
                    kind="goodwill",
                    priority=DEFAULT_PRIORITY,
                    granted_at=timestamp,
                    expires_at=None,
                    meters=[],
                    amount_mtok=amount_mtok,
                    free_mtok=amount_mtok - debt_repaid_mtok,
                ),
                debt_repaid_mtok,
            )
        if approver is None:
            if self.alone_day != utc_day(timestamp):
                self.alone_day, self.alone_mtok = utc_day(timestamp), {}
            self.alone_mtok[proposer] = self.alone_mtok.get(proposer, 0) + abs(amount_mtok)

    # How it is kept.

    def snapshot(self) -> dict[str, Any]:
        """The state as JSON values; small, whatever the number of debits: used up lots and settled holds are gone."""
        return {
            "name": self.name,
            "standing": self.standing,
            "credit_limit_mtok": self.credit_limit_mtok,
            "debt_mtok": self.debt_mtok,
            "book": self.book.dump(),
            "holds": [hold.dump() for hold in self.holds.values()],
            "caps": [cap.dump() for cap in self.caps.values()],
            "adjustments": {name: dict(adjustment) for name, adjustment in self.adjustments.items()},
            "reversed": dict(self.reversed),
            "alone_day": self.alone_day,
            "alone_mtok": dict(self.alone_mtok),
        }

    @classmethod
    def thaw(cls, state: dict[str, Any]) -> dict[str, Any]:
        """Make lots, holds and caps of a snapshot's values again."""
        holds, caps = map(Hold.load, state["holds"]), map(Cap.load, state["caps"])
        state["book"] = LotBook.load(state["book"])
        state["holds"] = {hold.hold_id: hold for hold in holds}
        state["caps"] = {cap.cap_id: cap for cap in caps}
        return state

    @classmethod
    def restore(cls, **kept: Any) -> Self:
        """Rebuild an account from a snapshot, and with it the list of what runs out when.

        ``kept`` are the arguments of :meth:`FelixAggregate.restore`.
        """
        account = super().restore(**kept)
        account._deadlines = account._make_deadlines()
        return account
