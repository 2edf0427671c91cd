"""What every decision of a token account begins and ends with, and what it checks on the way."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar, cast

from felix.domain.base import FelixAggregate, FelixEvent
from felix.domain.ledger import errors
from felix.domain.ledger import messages as m
from felix.domain.ledger.caps import Cap
from felix.domain.ledger.holds import HOLD, LOT, Deadlines, Hold
from felix.domain.ledger.lots import Draw, Lot, LotBook
from felix.domain.ledger.messages import Allocation
from felix.domain.values import MAX_AMOUNT

E = TypeVar("E", bound=FelixEvent)


class AccountRules(FelixAggregate):
    """The state of a token account and the rules its decisions share."""

    Event = FelixEvent

    if TYPE_CHECKING:
        # Set by the fold of TokenAccountOpened; annotations at run time would make this a dataclass.
        name: str
        standing: str
        credit_limit_mtok: int
        debt_mtok: int
        book: LotBook
        holds: dict[str, Hold]
        caps: dict[str, Cap]
        adjustments: dict[str, dict[str, Any]]
        reversed: dict[str, int]
        alone_day: int
        alone_mtok: dict[str, int]
        _deadlines: Deadlines

    @property
    def available_mtok(self) -> int:
        """Free tokens of all lots; some may be restricted to meters."""
        return self.book.available_mtok

    @property
    def held_mtok(self) -> int:
        """Tokens in open holds."""
        return self.book.held_mtok

    @property
    def frozen_mtok(self) -> int:
        """Tokens of frozen lots."""
        return self.book.frozen_mtok

    @property
    def balance(self) -> dict[str, int]:
        """The balance after the last event."""
        return {
            "available_mtok": self.book.available_mtok,
            "held_mtok": self.book.held_mtok,
            "frozen_mtok": self.book.frozen_mtok,
            "debt_mtok": self.debt_mtok,
        }

    @property
    def status(self) -> str:
        """``open``, ``restricted`` (owes more than its credit limit), ``frozen`` or ``closed``."""
        if self.standing == "open" and self.debt_mtok > self.credit_limit_mtok:
            return "restricted"
        return self.standing

    def _happens(self, event_class: type[E], **payload: Any) -> E:
        """Make the event that the class of the aggregate made of ``event_class``, and give it back."""
        self.trigger_event(getattr(self, event_class.__name__), **payload)
        return cast(E, self._pending_events[-1])

    def _begin(self) -> datetime:
        """The time of this decision, once everything that has run out by then is booked."""
        at = self.deciding_at
        if self.standing == "closed":
            raise errors.AccountClosed()
        if at >= self._deadlines.next_at:
            self._book_what_ran_out(at)
        return at

    def _begin_spending(self) -> datetime:
        at = self._begin()
        if self.standing == "frozen":
            raise errors.AccountFrozen()
        return at

    def _outcome(self, **facts: Any) -> dict[str, Any]:
        self.assert_sums()
        return {"account_id": self.local_id, **facts, "balance": self.balance}

    def _book_what_ran_out(self, at: datetime) -> None:
        for what, which in self._deadlines.take(at):
            hold, lot = self.holds.get(which), self.book.lots.get(which)
            if what == HOLD and hold is not None and hold.expires_at <= at:
                released = hold.allocation()
                self._happens(m.HoldExpired, hold_id=which, released=released)
                self._settle_lots(released, at)
            elif what == LOT and lot is not None and lot.free_mtok and lot.expired(at):
                self._expire(lot)
        self._repay_debt()
        if len(self._deadlines) > 2 * (len(self.holds) + len(self.book.lots)) + 64:
            self._deadlines = self._make_deadlines()

    def _after_release(self, released: Allocation, at: datetime) -> None:
        self._settle_lots(released, at)
        self._repay_debt()

    def _settle_lots(self, released: Allocation, at: datetime) -> None:
        """Tokens that came back to a voided, frozen or expired lot share its fate."""
        for lot_id, *_ in released:
            lot = self.book.lots.get(lot_id)
            if lot is None or not lot.free_mtok:
                continue
            if lot.void_reason is not None:
                self._void(lot, lot.void_reason)
            elif lot.frozen_reason is not None:
                self._happens(m.LotFrozen, amount_mtok=lot.free_mtok, lot_id=lot_id, reason=lot.frozen_reason)
            elif lot.expired(at):
                self._expire(lot)

    def _expire(self, lot: Lot) -> None:
        self._happens(
            m.LotExpired,
            amount_mtok=lot.free_mtok,
            cost_minor=lot.share(lot.free_mtok),
            currency=lot.currency,
            lot_id=lot.lot_id,
        )

    def _void(self, lot: Lot, reason: str) -> None:
        amount_mtok = lot.free_mtok + lot.frozen_mtok
        self._happens(
            m.LotVoided,
            amount_mtok=amount_mtok,
            cost_minor=lot.share(amount_mtok),
            currency=lot.currency,
            frozen_mtok=lot.frozen_mtok,
            lot_id=lot.lot_id,
            reason=reason,
        )

    def _repay_debt(self) -> None:
        if not self.debt_mtok or not (order := self.book.order("")):
            return
        draw = Draw()
        missing = draw.burn(order, "", self.debt_mtok)
        self._happens(
            m.DebtRepaid,
            allocation=draw.allocation,
            amount_mtok=self.debt_mtok - missing,
            currencies=draw.currencies,
        )

    def _check_expiry(self, expires_at: datetime | None, at: datetime) -> None:
        if expires_at is not None and expires_at <= at:
            raise errors.ExpiryInThePast(expires_at=expires_at.isoformat(), now=at.isoformat())

    def _check_room(self, amount_mtok: int, lots: int = 1) -> None:
        if self.available_mtok + self.held_mtok + self.frozen_mtok + amount_mtok > MAX_AMOUNT:
            raise errors.AmountTooLarge(limit_mtok=MAX_AMOUNT)
        if len(self.book.lots) + lots > m.MAX_OPEN_LOTS:
            raise errors.TooManyLots(limit=m.MAX_OPEN_LOTS)

    def _check_debt(self, amount_mtok: int) -> None:
        if self.debt_mtok + amount_mtok > MAX_AMOUNT:
            raise errors.AmountTooLarge(limit_mtok=MAX_AMOUNT)

    def _check_caps(self, needs: Sequence[tuple[str, int]], app: str | None, person: str | None, at: datetime) -> None:
        for cap in self.caps.values():
            needed = cap.concerns(needs, app, person) if cap.hard else 0
            if needed and (spent := cap.spent_mtok(at)) + needed > cap.limit_mtok:
                raise errors.SpendCapReached(
                    cap_id=cap.cap_id,
                    limit_mtok=cap.limit_mtok,
                    spent_mtok=spent,
                    required_mtok=needed,
                    resets_at=cap.resets_at(at).isoformat(),
                )

    def _note_passed_caps(self, at: datetime) -> None:
        for cap in self.caps.values():
            if cap.newly_passed(at):
                self._happens(
                    m.SpendCapPassed,
                    cap_id=cap.cap_id,
                    limit_mtok=cap.limit_mtok,
                    spent_mtok=cap.spent_mtok(at),
                )

    def _hold(self, hold_id: str) -> Hold:
        if (hold := self.holds.get(hold_id)) is None:
            raise errors.HoldNotOpen()
        return hold

    def _adjustment(self, adjustment_id: str) -> dict[str, Any]:
        if (adjustment := self.adjustments.get(adjustment_id)) is None:
            raise errors.AdjustmentNotFound()
        return adjustment

    def _lot(self, lot_id: str) -> Lot:
        if (lot := self.book.find(lot_id)) is None:
            raise errors.LotNotFound()
        return lot

    def _open_lot(self, lot_id: str, at: datetime, even_expired: bool = False) -> Lot:
        lot = self._lot(lot_id)
        if lot.void_reason is not None:
            raise errors.LotIsVoid()
        if lot.expired(at) and not (even_expired and lot.left_mtok):
            raise errors.LotHasExpired()
        if not lot.left_mtok:
            raise errors.LotUsedUp()
        return lot

    def _make_deadlines(self) -> Deadlines:
        holds = [(hold.expires_at, HOLD, hold.hold_id) for hold in self.holds.values()]
        lots = [(lot.expires_at, LOT, lot.lot_id) for lot in self.book.lots.values() if lot.expires_at]
        return Deadlines(holds + lots)

    def assert_sums(self) -> None:
        """What must always be so and costs nothing to look at."""
        if min(*self.balance.values(), self.credit_limit_mtok) < 0:
            raise errors.BooksDoNotBalance(**self.balance)

    def assert_invariants(self) -> None:
        """Everything that must always be so between two decisions, looking at every lot and hold.

        :raises BooksDoNotBalance: with what contradicts what.
        """
        self.assert_sums()
        book = self.book
        for lot in [*book.lots.values(), *book.past.values()]:
            gone = lot.amount_mtok - lot.left_mtok
            facts = {"lot_id": lot.lot_id}
            self._must(min(lot.free_mtok, lot.held_mtok, lot.frozen_mtok, gone) >= 0, "lot in bounds", **facts)
            self._must(0 <= lot.recognised_minor <= lot.cost_minor, "recognised in bounds", **facts)
            self._must(bool(lot.left_mtok) == (lot.lot_id in book.lots), "used up lots are past", **facts)
            if not lot.left_mtok:
                self._must(lot.recognised_minor == lot.cost_minor, "shares add up to the price", **facts)
            if lot.frozen_reason is None:
                self._must(not lot.frozen_mtok, "only frozen lots have frozen tokens", **facts)
            else:
                self._must(not lot.free_mtok, "a frozen lot has no free tokens", **facts)
            if lot.void_reason is not None:
                self._must(lot.left_mtok == lot.held_mtok, "a voided lot has held tokens only", **facts)
        held: dict[str, int] = {}
        for hold in self.holds.values():
            self._must(hold.amount_mtok == sum(n for _, n in hold.slices), "hold is its slices", hold_id=hold.hold_id)
            for lot_id, slice_mtok in hold.slices:
                held[lot_id] = held.get(lot_id, 0) + slice_mtok
        lots = book.lots.values()
        self._must(held == {lot.lot_id: lot.held_mtok for lot in lots if lot.held_mtok}, "held is in open holds")
        self._must(book.available_mtok == sum(lot.free_mtok for lot in lots), "available is in lots")
        self._must(book.held_mtok == sum(lot.held_mtok for lot in lots), "held is in lots")
        self._must(book.frozen_mtok == sum(lot.frozen_mtok for lot in lots), "frozen is in lots")
        if self.debt_mtok:
            free = sum(lot.free_mtok for lot in lots if not lot.meters)
            self._must(not free, "debt means no unrestricted tokens", available_mtok=free)
        self._must(self.standing != "closed" or not any(self.balance.values()), "closed is empty")

    def _must(self, so: bool, what: str, **facts: Any) -> None:
        if not so:
            raise errors.BooksDoNotBalance(f"Not so: {what}.", account_id=self.local_id, **facts)
