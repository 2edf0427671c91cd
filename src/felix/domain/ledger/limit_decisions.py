"""What a token account decides about itself: whether and how much it may spend, and founders' overrides."""

from __future__ import annotations

from typing import Any

from felix.domain.base import FelixEvent, decides
from felix.domain.ledger import errors
from felix.domain.ledger import messages as m
from felix.domain.ledger.caps import utc_day
from felix.domain.ledger.lots import EVERY_LOT, Draw
from felix.domain.ledger.rules import AccountRules

#: What one person may adjust alone, per account and UTC day: 100,000 tokens, roughly a month of a small client.
#: Counted by the day, because a limit per adjustment alone is passed by adjusting twice.
ADJUSTMENT_LIMIT_MTOK = 100_000_000
#: Proposals are part of every snapshot, and nobody reads more of them than this.
MAX_PENDING_ADJUSTMENTS = 100


class LimitDecisions(AccountRules):
    """Status, credit limit, spend caps and adjustments."""

    Event = FelixEvent

    @decides(m.FreezeTokenAccount, by="account_id")
    def freeze(self, command: m.FreezeTokenAccount) -> dict[str, Any]:
        """Stop debits, holds and transfers out. What is held already may still be captured."""
        self._begin_spending()
        self._happens(m.TokenAccountFrozen, reason=command.reason)
        return self._outcome(status=self.status)

    @decides(m.UnfreezeTokenAccount, by="account_id")
    def unfreeze(self, command: m.UnfreezeTokenAccount) -> dict[str, Any]:
        """Let the account spend again."""
        self._begin()
        if self.standing != "frozen":
            raise errors.AccountNotFrozen()
        self._happens(m.TokenAccountUnfrozen, reason=command.reason)
        return self._outcome(status=self.status)

    @decides(m.CloseTokenAccount, by="account_id")
    def close(self, command: m.CloseTokenAccount) -> dict[str, Any]:
        """End the account."""
        self._begin()
        if self.holds or any(self.balance.values()):
            raise errors.AccountNotEmpty(**self.balance)
        self._happens(m.TokenAccountClosed, reason=command.reason)
        return self._outcome(status=self.status)

    @decides(m.SetCreditLimit, by="account_id")
    def set_credit_limit(self, command: m.SetCreditLimit) -> dict[str, Any]:
        """Change how much may be owed. What is owed beyond a lower limit stays owed, and restricts."""
        self._begin()
        self._happens(m.CreditLimitSet, credit_limit_mtok=command.credit_limit_mtok, reason=command.reason)
        return self._outcome(credit_limit_mtok=command.credit_limit_mtok, status=self.status)

    @decides(m.SetSpendCap, by="account_id")
    def set_spend_cap(self, command: m.SetSpendCap) -> dict[str, Any]:
        """Put a cap in force, which counts from now; set again, a cap keeps its id and its count."""
        at = self._begin()
        place = (command.scope, command.scope_value, command.window, command.window_s)
        cap_id = next((cap.cap_id for cap in self.caps.values() if cap.same_place == place), None)
        if cap_id is None:
            if len(self.caps) >= m.MAX_CAPS:
                raise errors.TooManyCaps(limit=m.MAX_CAPS)
            cap_id = self.context.mint("cap")
        self._happens(
            m.SpendCapSet,
            cap_id=cap_id,
            hard=command.hard,
            limit_mtok=command.limit_mtok,
            reason=command.reason,
            scope=command.scope,
            scope_value=command.scope_value,
            window=command.window,
            window_s=command.window_s,
        )
        self._note_passed_caps(at)
        return self._outcome(**self.caps[cap_id].describe(at))

    @decides(m.RemoveSpendCap, by="account_id")
    def remove_spend_cap(self, command: m.RemoveSpendCap) -> dict[str, Any]:
        """Lift a cap."""
        self._begin()
        if command.cap_id not in self.caps:
            raise errors.CapNotFound()
        self._happens(m.SpendCapRemoved, cap_id=command.cap_id, reason=command.reason)
        return self._outcome(cap_id=command.cap_id)

    @decides(m.ProposeAdjustment, by="account_id")
    def propose_adjustment(self, command: m.ProposeAdjustment) -> dict[str, Any]:
        """Ask for an override; within what one person may adjust alone today it is applied at once."""
        at = self._begin()
        if not command.amount_mtok:
            raise errors.AdjustmentOfNothing()
        proposer = self.context.actor
        alone = self.alone_mtok.get(proposer, 0) if self.alone_day == utc_day(at) else 0
        needs_approval = alone + abs(command.amount_mtok) > ADJUSTMENT_LIMIT_MTOK
        if needs_approval and len(self.adjustments) >= MAX_PENDING_ADJUSTMENTS:
            raise errors.TooManyAdjustments(limit=MAX_PENDING_ADJUSTMENTS)
        adjustment_id = self.context.mint("adj")
        self._happens(
            m.AdjustmentProposed,
            adjustment_id=adjustment_id,
            amount_mtok=command.amount_mtok,
            needs_approval=needs_approval,
            proposer=proposer,
            reason=command.reason,
        )
        if not needs_approval:
            self._adjust(adjustment_id, approver=None)
        return self._outcome(adjustment_id=adjustment_id, needs_approval=needs_approval)

    @decides(m.ApproveAdjustment, by="account_id")
    def approve_adjustment(self, command: m.ApproveAdjustment) -> dict[str, Any]:
        """Apply an override that somebody else has proposed."""
        self._begin()
        adjustment = self._adjustment(command.adjustment_id)
        if adjustment["proposer"] == self.context.actor:
            raise errors.OwnApproval()
        self._adjust(command.adjustment_id, approver=self.context.actor)
        return self._outcome(adjustment_id=command.adjustment_id, amount_mtok=adjustment["amount_mtok"])

    @decides(m.RejectAdjustment, by="account_id")
    def reject_adjustment(self, command: m.RejectAdjustment) -> dict[str, Any]:
        """Turn an override down; the one who proposed it may withdraw it so."""
        self._begin()
        self._adjustment(command.adjustment_id)
        self._happens(
            m.AdjustmentRejected,
            adjustment_id=command.adjustment_id,
            reason=command.reason,
            rejecter=self.context.actor,
        )
        return self._outcome(adjustment_id=command.adjustment_id)

    def _adjust(self, adjustment_id: str, approver: str | None) -> None:
        adjustment = self.adjustments[adjustment_id]
        amount_mtok = adjustment["amount_mtok"]
        draw, missing, repaid, lot_id = Draw(), 0, 0, None
        if amount_mtok > 0:
            self._check_room(amount_mtok)
            repaid = min(self.debt_mtok, amount_mtok)
            lot_id = self.context.mint("lot")
        else:
            missing = draw.burn(self.book.order(EVERY_LOT), "", -amount_mtok)
            self._check_debt(missing)
        self._happens(
            m.AdjustmentApplied,
            adjustment_id=adjustment_id,
            allocation=draw.allocation,
            amount_mtok=amount_mtok,
            approver=approver,
            currencies=draw.currencies,
            debt_mtok=missing,
            debt_repaid_mtok=repaid,
            lot_id=lot_id,
            proposer=adjustment["proposer"],
            reason=adjustment["reason"],
        )
