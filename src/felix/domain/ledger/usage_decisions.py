"""What a token account decides about usage: holds before it, debits for it, reversals after it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

from felix.domain.base import FelixEvent, decides
from felix.domain.ledger import errors
from felix.domain.ledger import messages as m
from felix.domain.ledger.lots import Draw
from felix.domain.ledger.messages import Allocation
from felix.domain.ledger.reversals import charged_mtok, debit_id_of, parse_debit_id, unwind
from felix.domain.ledger.rules import AccountRules

#: Meter, quantity, price and how the price came about.
Line = tuple[str, int, int, str]


class UsageDecisions(AccountRules):
    """Holds, debits and reversals."""

    if TYPE_CHECKING:
        TokensDebited: type[m.TokensDebited]

    Event = FelixEvent

    @decides(m.HoldTokens, by="account_id")
    def hold(self, command: m.HoldTokens) -> dict[str, Any]:
        """Set tokens aside, never on credit."""
        at = self._begin_spending()
        if self.debt_mtok > self.credit_limit_mtok:
            raise errors.AccountRestricted(debt_mtok=self.debt_mtok, credit_limit_mtok=self.credit_limit_mtok)
        if len(self.holds) >= m.MAX_OPEN_HOLDS:
            raise errors.TooManyHolds(limit=m.MAX_OPEN_HOLDS)
        amount_mtok, meter = command.amount_mtok, command.meter
        draw = Draw()
        if missing := draw.burn(self.book.order(meter), meter, amount_mtok):
            raise errors.InsufficientTokens(required_mtok=amount_mtok, available_mtok=amount_mtok - missing)
        self._check_caps([(meter, amount_mtok)], command.app, command.person, at)
        hold_id = self.context.mint("hold")
        expires_at = at + timedelta(seconds=command.ttl_s)
        self._happens(
            m.TokensHeld,
            allocation=[(lot_id, meter, slice_mtok, 0) for lot_id, _, slice_mtok, _ in draw.allocation],
            amount_mtok=amount_mtok,
            app=command.app,
            expires_at=expires_at,
            hold_id=hold_id,
            meter=meter,
            person=command.person,
            purpose=command.purpose,
        )
        self._note_passed_caps(at)
        return self._outcome(hold_id=hold_id, amount_mtok=amount_mtok, expires_at=expires_at.isoformat())

    @decides(m.ExtendHold, by="account_id")
    def extend_hold(self, command: m.ExtendHold) -> dict[str, Any]:
        """Give a hold more time; it never gets less."""
        at = self._begin()
        hold = self._hold(command.hold_id)
        expires_at = max(hold.expires_at, at + timedelta(seconds=command.ttl_s))
        self._happens(m.HoldExtended, expires_at=expires_at, hold_id=hold.hold_id)
        return self._outcome(hold_id=hold.hold_id, expires_at=expires_at.isoformat())

    @decides(m.CaptureHold, by="account_id")
    def capture(self, command: m.CaptureHold) -> dict[str, Any]:
        """Pay for the held work. The work is done: no cap, and no frozen account, refuses what it cost."""
        at = self._begin()
        hold = self._hold(command.hold_id)
        asked = command.amount_mtok
        over = max(0, asked - hold.amount_mtok)
        if over and command.overshoot == "deny":
            raise errors.CaptureExceedsHold(required_mtok=asked, held_mtok=hold.amount_mtok)
        draw, left = Draw(), asked - over
        released: Allocation = []
        for lot_id, slice_mtok in hold.slices:
            taken = min(slice_mtok, left)
            if taken:
                draw.take(self.book.lots[lot_id], hold.meter, taken)
                left -= taken
            if slice_mtok > taken:
                released.append((lot_id, hold.meter, slice_mtok - taken, 0))
        captured, draw.allocation = draw.allocation, []
        missing = over and draw.burn(self.book.order(hold.meter), hold.meter, over)
        debt_mtok = missing if command.overshoot == "debt" else 0
        self._check_debt(debt_mtok)
        capture = self._happens(
            m.HoldCaptured,
            amount_mtok=asked,
            app=hold.app,
            captured=captured,
            currencies=draw.currencies,
            debt_mtok=debt_mtok,
            extra=draw.allocation,
            forgiven_mtok=missing - debt_mtok,
            hold_id=hold.hold_id,
            meter=hold.meter,
            person=hold.person,
            quantity=command.quantity,
            reference=command.reference,
            released=released,
        )
        self._after_release(released, at)
        self._note_passed_caps(at)
        return self._outcome(
            hold_id=hold.hold_id,
            debit_id=debit_id_of(capture),
            captured_mtok=asked - over,
            extra_mtok=over - missing,
            new_debt_mtok=debt_mtok,
            forgiven_mtok=missing - debt_mtok,
            released_mtok=hold.amount_mtok - (asked - over),
        )

    @decides(m.ReleaseHold, by="account_id")
    def release(self, command: m.ReleaseHold) -> dict[str, Any]:
        """Give a hold back."""
        at = self._begin()
        hold = self._hold(command.hold_id)
        released = hold.allocation()
        self._happens(m.HoldReleased, hold_id=hold.hold_id, released=released)
        self._after_release(released, at)
        return self._outcome(hold_id=hold.hold_id, released_mtok=hold.amount_mtok)

    # The application prices usage first; one command may charge a thousand times, so this is the fast part.

    def charge(
        self,
        *,
        lines: list[Line],
        app: str | None = None,
        person: str | None = None,
        model: str | None = None,
        rate_card: str | None = None,
        reference: str | None = None,
        usage_source: str | None = None,
        usage_id: str | None = None,
        usage_at: datetime | None = None,
    ) -> m.TokensDebited:
        """Take the tokens for priced lines, all or nothing; what the credit limit allows becomes debt.

        :raises InsufficientTokens, SpendCapReached, AccountFrozen, AccountClosed: and then nothing was taken.
        """
        at = self._begin_spending()
        book, draw = self.book, Draw()
        total = missing = 0
        for meter, _, amount_mtok, _ in lines:
            if amount_mtok:
                total += amount_mtok
                missing += draw.burn(book.order(meter), meter, amount_mtok)
        if missing:
            credit = max(0, self.credit_limit_mtok - self.debt_mtok)
            if missing > credit:
                raise errors.InsufficientTokens(required_mtok=total, available_mtok=total - missing, credit_mtok=credit)
        if self.caps:
            self._check_caps([(meter, amount_mtok) for meter, _, amount_mtok, _ in lines], app, person, at)
        available_after = book.available_mtok - total + missing
        self.trigger_event(
            self.TokensDebited,
            allocation=draw.allocation,
            amount_mtok=total,
            app=app,
            currencies=draw.currencies,
            debt_mtok=missing,
            lines=lines,
            model=model,
            person=person,
            rate_card=rate_card,
            reference=reference,
            usage_at=usage_at,
            usage_id=usage_id,
            usage_source=usage_source,
        )
        debit = cast(m.TokensDebited, self._pending_events[-1])
        if book.available_mtok != available_after or available_after < 0:
            raise errors.BooksDoNotBalance(available_mtok=book.available_mtok, expected_mtok=available_after)
        if self.caps:
            self._note_passed_caps(at)
        return debit

    def charge_outcome(self, debit: m.TokensDebited) -> dict[str, Any]:
        """What the API answers to a debit; batches do without."""
        return self._outcome(
            debit_id=debit_id_of(debit),
            amount_mtok=debit.amount_mtok,
            lines=[
                {"meter": meter, "quantity": quantity, "amount_mtok": amount_mtok, "trace": trace}
                for meter, quantity, amount_mtok, trace in debit.lines
            ],
            allocation=[
                {"lot_id": lot_id, "meter": meter, "amount_mtok": amount_mtok}
                for lot_id, meter, amount_mtok, _ in debit.allocation
            ],
            debt_mtok=debit.debt_mtok,
        )

    def reverse(self, command: m.ReverseDebit, debit: FelixEvent | None) -> dict[str, Any]:
        """Undo a debit or a captured hold, wholly or in part. ``debit`` is what the application found under its id.

        What owed is forgiven first, then tokens go back to their lots, last slice first. What can't go back becomes
        a restitution lot that never expires and pays for what the lots it replaces paid for.
        """
        at = self._begin()
        event_id, version = parse_debit_id(command.debit_id)
        if (
            not isinstance(debit, m.TokensDebited | m.HoldCaptured)
            or (event_id, version) != (debit.event_id, debit.originator_version)
            or debit.originator_id != self.id
        ):
            raise errors.DebitNotFound()
        already = self.reversed.get(str(version), 0)
        reversible = charged_mtok(debit) - already
        amount_mtok = reversible if command.amount_mtok is None else command.amount_mtok
        if not 0 < amount_mtok <= reversible:
            raise errors.ReversalExceedsDebit(
                debited_mtok=charged_mtok(debit), reversed_mtok=already, reversible_mtok=reversible
            )
        self._check_room(amount_mtok)
        returned: Allocation = []
        lines: dict[str, int] = {}
        forgiven = restitution = 0
        promises: list[Sequence[str]] = []
        for lot_id, meter, slice_mtok, cost_minor in unwind(debit, already, amount_mtok):
            lines[meter] = lines.get(meter, 0) + slice_mtok
            lot = self.book.find(lot_id)
            if not lot_id:
                forgiving = min(slice_mtok, self.debt_mtok - forgiven)
                forgiven += forgiving
                slice_mtok -= forgiving
            elif lot is not None and lot.void_reason is None and not lot.expired(at):
                returned.append((lot_id, meter, slice_mtok, cost_minor))
                continue
            if slice_mtok:
                restitution += slice_mtok
                promises.append(lot.meters if lot is not None else [])
        unrestricted = not all(promises)
        self._happens(
            m.DebitReversed,
            allocation=returned,
            amount_mtok=amount_mtok,
            app=debit.app,
            currencies={lot_id: debit.currencies[lot_id] for lot_id, *_ in returned if lot_id in debit.currencies},
            debit_id=command.debit_id,
            debit_version=version,
            debited_at=debit.timestamp,
            debt_mtok=forgiven,
            lines=list(lines.items()),
            lot_id=self.context.mint("lot") if restitution else None,
            model=getattr(debit, "model", None),
            person=debit.person,
            reason=command.reason,
            restitution_meters=[] if unrestricted else sorted({meter for some in promises for meter in some}),
            restitution_mtok=restitution,
        )
        self._after_release(returned, at)
        return self._outcome(
            debit_id=command.debit_id,
            amount_mtok=amount_mtok,
            returned_mtok=sum(slice_mtok for _, _, slice_mtok, _ in returned),
            restitution_mtok=restitution,
            forgiven_debt_mtok=forgiven,
            still_reversible_mtok=reversible - amount_mtok,
        )
