"""How a change is paid for: quoted, held, settled, step by step, and never beyond its ceiling.

What a step costs at the most is set aside before it begins, in the append that says it began. Where that can't be, the
append says so instead and nothing of the step is done. A step that cost more than was held is the platform's loss.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from felix.domain.base import FelixEvent, adds_up
from felix.domain.changes import errors
from felix.domain.changes import messages as m
from felix.domain.changes.approvals import person_of
from felix.domain.changes.bills import METERS, NOTHING, Bill
from felix.domain.changes.change_rules import FUNDS_LAST, ChangeRules
from felix.domain.changes.messages import State, Step
from felix.domain.errors import PaymentRequired
from felix.domain.ledger.errors import AccountClosed, AccountFrozen, TooManyHolds
from felix.domain.ledger.messages import MAX_HOLD_TTL_S, BookExpiries, CaptureHold, ExtendHold, HoldTokens, ReleaseHold
from felix.domain.ledger.token_account import TokenAccount

#: Longer than any step but a deployment takes; what a worker that died has left is given back after it.
STEP_TTL_S = 3_600
#: A deployment's hold is extended with each of its steps while less than this is left.
EXTEND_BELOW_S = MAX_HOLD_TTL_S // 2


class TokenFlow(ChangeRules):
    """Holds of the change's account, from their making to their end."""

    Event = FelixEvent

    def quote(self, low: Bill, high: Bill, ceiling_mtok: int | None) -> None:
        """Say what it will probably cost. The ceiling is what the client says, or the high end."""
        self._happens(
            m.TokensQuoted,
            ceiling_mtok=high.amount_mtok if ceiling_mtok is None else ceiling_mtok,
            high_mtok=high.amount_mtok,
            lines=high.lines,
            low_mtok=low.amount_mtok,
            price_card=high.price_card,
        )

    @adds_up(m.TokensQuoted)
    def _quoted(self, ceiling_mtok: int, high_mtok: int) -> None:
        self.ceiling_mtok = ceiling_mtok
        self.quoted_high_mtok = high_mtok

    def raise_ceiling(self, command: m.RaiseCeiling) -> dict[str, Any]:
        """Let it cost more; one that waits for nothing else goes on."""
        self.enter(command)
        raised_by = self._is_mine_to_change()
        if command.ceiling_mtok <= self.ceiling_mtok:
            raise errors.CeilingNotHigher(ceiling_mtok=self.ceiling_mtok)
        self._happens(m.CeilingRaised, ceiling_mtok=command.ceiling_mtok, raised_by=raised_by)
        return self.told()

    @adds_up(m.CeilingRaised)
    def _ceiling_raised(self, ceiling_mtok: int) -> None:
        self.ceiling_mtok = ceiling_mtok

    # Holding.

    def reserve(
        self, account: TokenAccount, step: Step, bill: Bill, resumes_at: State, ttl_s: int = STEP_TTL_S
    ) -> bool:
        """Set aside what a step costs at the most; where that can't be, say so, and the step does not begin."""
        amount_mtok = bill.amount_mtok
        if not amount_mtok:
            return True
        if not self.fits_ceiling(amount_mtok):
            self.lack(account, step, amount_mtok, resumes_at, errors.PriceCeilingReached.code)
            return False
        try:
            held = account.hold(
                HoldTokens(
                    account_id=account.local_id,
                    amount_mtok=amount_mtok,
                    meter=METERS[step],
                    ttl_s=ttl_s,
                    purpose=f"{step} of {self.local_id}",
                    app=self.app,
                    person=person_of(self.requester)[:200] or None,
                )
            )
        except (PaymentRequired, AccountClosed, AccountFrozen, TooManyHolds) as refusal:
            opens_at = refusal.facts.get("resets_at")
            self.lack(
                account,
                step,
                amount_mtok,
                resumes_at,
                refusal.code,
                None if opens_at is None else datetime.fromisoformat(opens_at),
            )
            return False
        self._reserve(step, bill, held["hold_id"])
        return True

    def reserve_nothing(self, step: Step, bill: Bill) -> None:
        """Write down what costs nothing like what is held for: whoever is late is fenced by it all the same."""
        self._reserve(step, bill, self.context.mint("hold"))

    def _reserve(self, step: Step, bill: Bill, hold_id: str) -> None:
        self._happens(
            m.TokensReserved,
            amount_mtok=bill.amount_mtok,
            hold_id=hold_id,
            lines=bill.lines,
            price_card=bill.price_card,
            step=step,
        )

    def fits_ceiling(self, amount_mtok: int) -> bool:
        """Whether the change may cost so much more."""
        return self.spent_mtok + self.held_mtok + amount_mtok <= self.ceiling_mtok

    def lack(
        self,
        account: TokenAccount,
        step: Step,
        needed_mtok: int,
        resumes_at: State,
        why: str,
        opens_at: datetime | None = None,
    ) -> None:
        """A step can't be paid for. What its other requests have set aside is given back."""
        self.give_back(account)
        expires_at = self.deciding_at + FUNDS_LAST
        self._happens(
            m.FundsInsufficient,
            expires_at=expires_at,
            free_mtok=account.available_mtok,
            needed_mtok=needed_mtok,
            opens_at=opens_at,
            resumes_at=resumes_at,
            step=step,
            why=why,
        )

    @adds_up(m.TokensReserved)
    def _reserved(self, amount_mtok: int, hold_id: str, step: Step) -> None:
        self.holds[hold_id] = {"step": step, "amount_mtok": amount_mtok}

    @adds_up(m.FundsInsufficient)
    def _funds_insufficient(self, expires_at: Any, resumes_at: State) -> None:
        self._waits("blocked_funds", expires_at)
        self.resumes_at = resumes_at

    def unblock(self, command: m.UnblockChange) -> dict[str, Any]:
        """Go on where the tokens ran out; the step itself says whether there are enough now."""
        self.enter(command)
        self._happens(m.FundsReturned)
        return self.told()

    @adds_up(m.FundsReturned)
    def _funds_returned(self) -> None:
        state = self.resumes_at or "requested"
        deadlines = {"awaiting_approval": self.approval_ends_at, "approved": self.starts_until}
        self._waits(state, deadlines.get(state))
        self.resumes_at = None

    # Settling.

    def settle(self, account: TokenAccount, step: Step, bill: Bill = NOTHING, *, estimated: bool = False) -> None:
        """Pay for a step from what was held for it, and give the rest back."""
        holds = [hold_id for hold_id, hold in self.holds.items() if hold["step"] == step]
        due = bill.amount_mtok
        for number, hold_id in enumerate(holds):
            last = number == len(holds) - 1
            part = min(due, self.holds[hold_id]["amount_mtok"])
            due -= part
            self.settle_hold(account, hold_id, part, bill if last else NOTHING, due if last else 0, estimated)
        if due and not holds:
            self._settled_without_a_hold(step, bill, estimated)

    def settle_hold(
        self, account: TokenAccount, hold_id: str, part_mtok: int, bill: Bill, absorbed_mtok: int, estimated: bool
    ) -> None:
        """End one hold. One that ran out of time has given everything back already: what it cost is absorbed."""
        hold = self.holds[hold_id]
        if hold["amount_mtok"] and not _is_open(account, hold_id):
            account.book_expiries(BookExpiries(account_id=account.local_id))
            part_mtok, absorbed_mtok = 0, absorbed_mtok + part_mtok
        elif part_mtok:
            account.capture(
                CaptureHold(
                    account_id=account.local_id, hold_id=hold_id, amount_mtok=part_mtok, reference=self.local_id
                )
            )
        elif hold["amount_mtok"]:
            account.release(ReleaseHold(account_id=account.local_id, hold_id=hold_id))
        self._happens(
            m.TokensSettled,
            absorbed_mtok=absorbed_mtok,
            cost_mtok=part_mtok + absorbed_mtok,
            estimated=estimated,
            hold_id=hold_id,
            lines=bill.lines,
            price_card=bill.price_card,
            released_mtok=hold["amount_mtok"] - part_mtok,
            settled_mtok=part_mtok,
            step=hold["step"],
        )

    def _settled_without_a_hold(self, step: Step, bill: Bill, estimated: bool) -> None:
        """Nothing was expected to cost anything: the loss is the platform's."""
        self._happens(
            m.TokensSettled,
            absorbed_mtok=bill.amount_mtok,
            cost_mtok=bill.amount_mtok,
            estimated=estimated,
            hold_id=None,
            lines=bill.lines,
            price_card=bill.price_card,
            released_mtok=0,
            settled_mtok=0,
            step=step,
        )

    def give_back(self, account: TokenAccount) -> None:
        """Give back everything that is held."""
        for hold_id in list(self.holds):
            self.settle_hold(account, hold_id, 0, NOTHING, 0, estimated=False)

    @adds_up(m.TokensSettled)
    def _settled(self, absorbed_mtok: int, hold_id: str | None, settled_mtok: int) -> None:
        if hold_id is not None:
            del self.holds[hold_id]
        self.spent_mtok += settled_mtok
        self.absorbed_mtok += absorbed_mtok

    def extend_holds(self, account: TokenAccount) -> None:
        """Let the holds of a long deployment live on."""
        for hold_id in self.holds:
            if _is_open(account, hold_id) and _left_s(account, hold_id) < EXTEND_BELOW_S:
                account.extend_hold(ExtendHold(account_id=account.local_id, hold_id=hold_id, ttl_s=MAX_HOLD_TTL_S))


def _is_open(account: TokenAccount, hold_id: str) -> bool:
    return hold_id in account.holds and _left_s(account, hold_id) > 0


def _left_s(account: TokenAccount, hold_id: str) -> float:
    return (account.holds[hold_id].expires_at - account.deciding_at).total_seconds()
