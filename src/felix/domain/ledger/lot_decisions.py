"""What a token account decides about its lots: what comes in, what is taken back, what moves to another account."""

from __future__ import annotations

from typing import Any

from felix.domain.base import FelixEvent, decides
from felix.domain.ledger import errors
from felix.domain.ledger import messages as m
from felix.domain.ledger.lots import EVERY_LOT, Draw
from felix.domain.ledger.messages import Allocation
from felix.domain.ledger.rules import AccountRules


class LotDecisions(AccountRules):
    """Grants, expiries, claw-backs and transfers."""

    Event = FelixEvent

    @decides(m.GrantTokens, by="account_id")
    def grant(self, command: m.GrantTokens) -> dict[str, Any]:
        """Take in a new lot, after debt has been repaid from it."""
        at = self._begin()
        self._check_expiry(command.expires_at, at)
        self._check_room(command.amount_mtok)
        repaid = 0 if command.meters else min(self.debt_mtok, command.amount_mtok)
        lot_id = self.context.mint("lot")
        self._happens(
            m.TokensGranted,
            amount_mtok=command.amount_mtok,
            cost_minor=command.cost_minor,
            currency=command.currency,
            debt_cost_minor=command.cost_minor * repaid // command.amount_mtok,
            debt_repaid_mtok=repaid,
            expires_at=command.expires_at,
            kind=command.kind,
            lot_id=lot_id,
            meters=sorted(set(command.meters)),
            priority=command.priority,
            reason=command.reason,
            reference=command.reference,
        )
        return self._outcome(lot_id=lot_id, amount_mtok=command.amount_mtok, debt_repaid_mtok=repaid)

    @decides(m.BookExpiries, by="account_id")
    def book_expiries(self, command: m.BookExpiries) -> dict[str, Any]:
        """Book what has run out; every other decision begins with the same."""
        first = len(self._pending_events)
        self._begin()
        booked = self._pending_events[first:]
        return self._outcome(
            holds=[e.hold_id for e in booked if isinstance(e, m.HoldExpired)],
            lots=[e.lot_id for e in booked if isinstance(e, m.LotExpired)],
        )

    @decides(m.ExpireLot, by="account_id")
    def expire_lot(self, command: m.ExpireLot) -> dict[str, Any]:
        """Book the breakage of a lot; 0 where it has been booked before."""
        first = len(self._pending_events)
        at = self._begin()
        lot = self._lot(command.lot_id)
        if not lot.expired(at):
            raise errors.LotHasNotExpired(expires_at=lot.expires_at and lot.expires_at.isoformat())
        booked = [e for e in self._pending_events[first:] if isinstance(e, m.LotExpired)]
        amount_mtok = sum(e.amount_mtok for e in booked if e.lot_id == lot.lot_id)
        return self._outcome(lot_id=lot.lot_id, amount_mtok=amount_mtok)

    @decides(m.VoidLot, by="account_id")
    def void_lot(self, command: m.VoidLot) -> dict[str, Any]:
        """Take back what is free or frozen of a lot now, and what is held when it is released."""
        at = self._begin()
        lot = self._open_lot(command.lot_id, at, even_expired=True)
        amount_mtok = lot.free_mtok + lot.frozen_mtok
        self._void(lot, command.reason)
        return self._outcome(lot_id=lot.lot_id, amount_mtok=amount_mtok, still_held_mtok=lot.held_mtok)

    @decides(m.ExtendLot, by="account_id")
    def extend_lot(self, command: m.ExtendLot) -> dict[str, Any]:
        """Let a lot live longer."""
        at = self._begin()
        lot = self._open_lot(command.lot_id, at)
        self._check_expiry(command.expires_at, at)
        if lot.expires_at is None or (command.expires_at is not None and command.expires_at <= lot.expires_at):
            raise errors.ExpiryNotLater(expires_at=lot.expires_at and lot.expires_at.isoformat())
        self._happens(m.LotExtended, expires_at=command.expires_at, lot_id=lot.lot_id, reason=command.reason)
        return self._outcome(lot_id=lot.lot_id, expires_at=command.expires_at and command.expires_at.isoformat())

    @decides(m.AnnounceLotExpiry, by="account_id")
    def announce_lot_expiry(self, command: m.AnnounceLotExpiry) -> dict[str, Any]:
        """Say what a lot still has; nothing is said of one that is used up, void, or runs out at another time."""
        self._begin()
        lot = self._lot(command.lot_id)
        announced_mtok = lot.left_mtok if lot.expires_at == command.expires_at and lot.void_reason is None else 0
        if announced_mtok:
            self._happens(
                m.LotExpiryAnnounced, expires_at=command.expires_at, left_mtok=announced_mtok, lot_id=lot.lot_id
            )
        return self._outcome(lot_id=lot.lot_id, announced_mtok=announced_mtok)

    @decides(m.FreezeLot, by="account_id")
    def freeze_lot(self, command: m.FreezeLot) -> dict[str, Any]:
        """Put what is left of a lot out of reach; what is held follows when it is released."""
        at = self._begin()
        lot = self._open_lot(command.lot_id, at)
        if lot.frozen_reason is not None:
            raise errors.LotIsFrozen()
        amount_mtok = lot.free_mtok
        self._happens(m.LotFrozen, amount_mtok=amount_mtok, lot_id=lot.lot_id, reason=command.reason)
        return self._outcome(lot_id=lot.lot_id, amount_mtok=amount_mtok, still_held_mtok=lot.held_mtok)

    @decides(m.UnfreezeLot, by="account_id")
    def unfreeze_lot(self, command: m.UnfreezeLot) -> dict[str, Any]:
        """Give a frozen lot back; if its expiry has passed meanwhile it is breakage at once."""
        at = self._begin()
        lot = self._open_lot(command.lot_id, at, even_expired=True)
        if lot.frozen_reason is None:
            raise errors.LotIsNotFrozen()
        amount_mtok = lot.frozen_mtok
        self._happens(m.LotUnfrozen, amount_mtok=amount_mtok, lot_id=lot.lot_id, reason=command.reason)
        self._after_release([(lot.lot_id, "", amount_mtok, 0)], at)
        return self._outcome(lot_id=lot.lot_id, amount_mtok=amount_mtok)

    @decides(m.ClawBackTokens, by="account_id")
    def claw_back(self, command: m.ClawBackTokens) -> dict[str, Any]:
        """Take tokens of a refunded payment back: from its lot, then from the others, then as debt."""
        self._begin()
        draw, missing = Draw(), command.amount_mtok
        frozen: Allocation = []
        if (lot := self.book.find(command.lot_id)) is not None:
            if taken := min(lot.frozen_mtok, missing):
                draw.take(lot, "", taken)
                frozen, draw.allocation = draw.allocation, []
            missing -= taken
            missing = missing and draw.burn([lot], "", missing)
        missing = missing and draw.burn(self.book.order(EVERY_LOT), "", missing)
        self._check_debt(missing)
        self._happens(
            m.TokensClawedBack,
            allocation=draw.allocation,
            amount_mtok=command.amount_mtok,
            currencies=draw.currencies,
            debt_mtok=missing,
            frozen=frozen,
            lot_id=command.lot_id,
            reason=command.reason,
            reference=command.reference,
        )
        return self._outcome(lot_id=command.lot_id, amount_mtok=command.amount_mtok, new_debt_mtok=missing)

    # Transfers: the application lets the one account send and the other receive in one transaction.

    def send(self, amount_mtok: int, to_account_id: str, reason: str | None) -> m.TokensSent:
        """Let tokens go to another account of the tenant, the unrestricted ones first."""
        self._begin_spending()
        if to_account_id == self.local_id:
            raise errors.TransferToItself()
        draw = Draw()
        if missing := draw.burn(self.book.order(EVERY_LOT), "", amount_mtok):
            raise errors.InsufficientTokens(required_mtok=amount_mtok, available_mtok=amount_mtok - missing)
        lots = []
        for lot_id, _, slice_mtok, cost_minor in draw.allocation:
            lot = self.book.lots[lot_id]
            lots.append(
                {
                    "amount_mtok": slice_mtok,
                    "cost_minor": cost_minor,
                    "currency": lot.currency,
                    "expires_at": lot.expires_at and lot.expires_at.isoformat(),
                    "kind": lot.kind,
                    "meters": lot.meters,
                    "priority": lot.priority,
                }
            )
        sent = self._happens(
            m.TokensSent,
            allocation=draw.allocation,
            amount_mtok=amount_mtok,
            currencies=draw.currencies,
            lots=lots,
            reason=reason,
            to_account_id=to_account_id,
            transfer_id=self.context.mint("trf"),
        )
        self.assert_sums()
        return sent

    def receive(self, sent: m.TokensSent) -> m.TokensReceived:
        """Take in what another account has sent, as lots like the ones it comes from; debt is repaid first."""
        at = self._begin()
        self._check_room(sent.amount_mtok, lots=len(sent.lots))
        lots = []
        owed = self.debt_mtok
        for made in sent.lots:
            repaid = 0 if made["meters"] else min(owed, made["amount_mtok"])
            owed -= repaid
            lots.append(
                made
                | {
                    "debt_cost_minor": made["cost_minor"] * repaid // made["amount_mtok"],
                    "debt_repaid_mtok": repaid,
                    "lot_id": self.context.mint("lot"),
                }
            )
        received = self._happens(
            m.TokensReceived,
            amount_mtok=sent.amount_mtok,
            debt_repaid_mtok=self.debt_mtok - owed,
            from_account_id=sent.originator_id.rsplit(":", 1)[1],
            lots=lots,
            transfer_id=sent.transfer_id,
        )
        # This account's last event may be later than the sender's time, and a lot may have expired between.
        self._book_what_ran_out(at)
        self.assert_sums()
        return received
