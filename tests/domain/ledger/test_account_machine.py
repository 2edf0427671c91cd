"""No sequence of commands, refusals and waiting overdraws an account, loses a token or a cent, or can't be replayed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from account_harness import Ledger, examples
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from felix.domain.errors import Corrupt, FelixError
from felix.domain.ledger import limit_decisions
from felix.domain.ledger import messages as m

METERS = ["x", "y", "z"]
amounts = st.integers(1, 60)
accounts = st.integers(0, 1)
picks = st.integers(0, 1_000_000)
actors = st.sampled_from(["founder:ada", "founder:bob"])
waits = st.sampled_from([1, 0, 30, 59, 60, 61, 600, 3600, 86_400, 40 * 86_400])
apps = st.sampled_from([None, "shop", "blog"])


class Accounts(RuleBasedStateMachine):
    """Two accounts of one tenant, small amounts, short lives: everything meets everything."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger()
        self.ids: list[str] = []
        self.lots: list[str] = ["lot_" + "0" * 32]
        self.holds: list[str] = ["hold_" + "0" * 32]
        self.caps: list[str] = ["cap_" + "0" * 32]
        self.adjustments: list[str] = ["adj_" + "0" * 32]
        self.debits: list[Any] = []

    @initialize(credit=st.sampled_from([0, 20]))
    def begin(self, credit: int) -> None:
        self.ids = [self.ledger.open(credit_limit_mtok=credit), self.ledger.open()]
        for who in (0, 1):
            self.do(m.GrantTokens, who, amount_mtok=150, cost_minor=77, currency="EUR")
            self.do(m.GrantTokens, who, amount_mtok=50, kind="promo", meters=["x"], priority=1)

    def do(self, command: Any, who: int, **fields: Any) -> dict[str, Any] | None:
        return self.attempt(lambda: self.ledger.do(command, account=self.ids[who], **fields))

    def attempt(self, action: Any) -> Any:
        """Refusals are answers; they leave no trace. That facts contradict each other is none."""
        before = [self.ledger.account(i).snapshot() for i in self.ids]
        try:
            outcome = action()
        except Corrupt:
            raise
        except FelixError:
            assert before == [self.ledger.account(i).snapshot() for i in self.ids]
            return None
        for event in self.ledger.last:
            if isinstance(event, m.TokensDebited | m.HoldCaptured):
                self.debits.append(event)
            for name, known in (("lot_id", self.lots), ("hold_id", self.holds), ("cap_id", self.caps)):
                if (new := getattr(event, name, None)) and new not in known:
                    known.append(new)
            if isinstance(event, m.TokensReceived):
                self.lots += [lot["lot_id"] for lot in event.lots]
            if isinstance(event, m.AdjustmentProposed):
                self.adjustments.append(event.adjustment_id)
        return outcome

    @rule(seconds=waits)
    def wait(self, seconds: int) -> None:
        self.ledger.wait(seconds=seconds)

    @rule(
        who=accounts,
        amount=st.integers(1, 200),
        kind=st.sampled_from(["purchased", "promo", "goodwill", "restitution", "migration"]),
        priority=st.integers(0, 1),
        life=st.sampled_from([None, None, 30, 60, 3600]),
        meters=st.sampled_from([[], [], ["x"], ["x", "y"]]),
        cost=st.sampled_from([0, 1, 7, 100]),
        currency=st.sampled_from(["EUR", "USD"]),
    )
    def grant(self, who: int, amount: int, life: int | None, cost: int, **fields: Any) -> None:
        expires_at = None if life is None else self.ledger.now + timedelta(seconds=life)
        self.do(m.GrantTokens, who, amount_mtok=amount, expires_at=expires_at, cost_minor=cost, **fields)

    @rule(
        who=accounts,
        lines=st.lists(st.tuples(st.sampled_from(METERS), st.integers(0, 40)), min_size=1, max_size=3),
        app=apps,
        person=apps,
    )
    def charge(self, who: int, lines: list[tuple[str, int]], app: str | None, person: str | None) -> None:
        account = self.ledger.account(self.ids[who])
        debit = self.attempt(lambda: self.ledger.charge(*lines, account=self.ids[who], app=app, person=person))
        if debit is not None and debit.debt_mtok:
            after = self.ledger.account(self.ids[who])
            assert after.debt_mtok <= account.credit_limit_mtok, "a debit never owes more than the limit"

    @rule(who=accounts, amount=amounts, meter=st.sampled_from(METERS), ttl=st.sampled_from([3600, 60, 1]), app=apps)
    def hold(self, who: int, amount: int, meter: str, ttl: int, app: str | None) -> None:
        self.do(m.HoldTokens, who, amount_mtok=amount, meter=meter, ttl_s=ttl, app=app)

    @rule(
        who=accounts,
        amount=amounts,
        share=st.sampled_from([0, 50, 100, 130]),
        overshoot=st.sampled_from(["debt", "take_available", "deny"]),
        seconds=st.sampled_from([0, 70]),
        between=st.sampled_from([None, m.VoidLot, m.FreezeLot]),
        pick=picks,
    )
    def work(self, who: int, amount: int, share: int, overshoot: str, seconds: int, between: Any, pick: int) -> None:
        """The whole life of a hold, with something happening to a lot in between."""
        if held := self.do(m.HoldTokens, who, amount_mtok=amount, meter="x", ttl_s=600):
            self.ledger.wait(seconds=seconds)
            if between is not None:
                self.touch_lot(who, pick, between)
            self.do(
                m.CaptureHold,
                who,
                hold_id=held["hold_id"],
                amount_mtok=amount * share // 100,
                overshoot=overshoot,
            )

    @rule(who=accounts, pick=picks, ttl=st.sampled_from([1, 600]))
    def extend_hold(self, who: int, pick: int, ttl: int) -> None:
        self.do(m.ExtendHold, who, hold_id=self.hold_of(who, pick), ttl_s=ttl)

    @rule(
        who=accounts,
        pick=picks,
        amount=st.integers(0, 80),
        overshoot=st.sampled_from(["deny", "take_available", "debt"]),
    )
    def capture(self, who: int, pick: int, amount: int, overshoot: str) -> None:
        self.do(m.CaptureHold, who, hold_id=self.hold_of(who, pick), amount_mtok=amount, overshoot=overshoot)

    @rule(who=accounts, pick=picks)
    def release(self, who: int, pick: int) -> None:
        self.do(m.ReleaseHold, who, hold_id=self.hold_of(who, pick))

    @rule(who=accounts, pick=picks, amount=st.one_of(st.none(), st.integers(1, 30)))
    def reverse(self, who: int, pick: int, amount: int | None) -> None:
        if self.debits:
            here = [debit for debit in self.debits if debit.originator_id.endswith(self.ids[who])]
            debit = self.pick(here, self.debits, pick)
            self.attempt(lambda: self.ledger.reverse(debit, amount, account=self.ids[who]))

    @rule(who=accounts, to=accounts, amount=amounts)
    def transfer(self, who: int, to: int, amount: int) -> None:
        if who != to:
            self.attempt(lambda: self.ledger.transfer(amount, self.ids[who], self.ids[to]))

    @rule(
        who=accounts,
        pick=picks,
        command=st.sampled_from([m.VoidLot, m.FreezeLot, m.FreezeLot, m.UnfreezeLot]),
    )
    def touch_lot(self, who: int, pick: int, command: Any) -> None:
        self.do(command, who, lot_id=self.lot_of(who, pick), reason="dispute")

    @rule(who=accounts, pick=picks, amount=amounts)
    def claw_back(self, who: int, pick: int, amount: int) -> None:
        self.do(m.ClawBackTokens, who, lot_id=self.lot_of(who, pick), amount_mtok=amount, reason="refund")

    @rule(who=accounts, pick=picks, life=st.sampled_from([None, 60, 7200]))
    def extend_lot(self, who: int, pick: int, life: int | None) -> None:
        expires_at = None if life is None else self.ledger.now + timedelta(seconds=life)
        self.do(m.ExtendLot, who, lot_id=self.lot_of(who, pick), expires_at=expires_at, reason="kindness")

    @rule(who=accounts, pick=picks)
    def expire_lot(self, who: int, pick: int) -> None:
        self.do(m.ExpireLot, who, lot_id=self.lot_of(who, pick))

    @rule(who=accounts, limit=st.integers(0, 50))
    def set_credit_limit(self, who: int, limit: int) -> None:
        self.do(m.SetCreditLimit, who, credit_limit_mtok=limit, reason="trust")

    @rule(who=accounts, command=st.sampled_from([m.UnfreezeTokenAccount, m.FreezeTokenAccount]))
    def freeze(self, who: int, command: Any) -> None:
        self.do(command, who, reason="fraud?")

    @rule(
        who=accounts,
        limit=st.integers(0, 80),
        window=st.sampled_from([("day", None), ("month", None), ("rolling", 60), ("rolling", 86_400)]),
        scope=st.sampled_from([("account", None), ("meter", "x"), ("app", "shop"), ("person", "blog")]),
        hard=st.booleans(),
    )
    def set_cap(self, who: int, limit: int, window: Any, scope: Any, hard: bool) -> None:
        self.do(
            m.SetSpendCap,
            who,
            limit_mtok=limit,
            window=window[0],
            window_s=window[1],
            scope=scope[0],
            scope_value=scope[1],
            hard=hard,
        )

    @rule(who=accounts, pick=picks)
    def remove_cap(self, who: int, pick: int) -> None:
        self.do(m.RemoveSpendCap, who, cap_id=self.pick(list(self.ledger.account(self.ids[who]).caps), self.caps, pick))

    @rule(who=accounts, amount=st.integers(-60, 60), big=st.booleans(), actor=actors)
    def propose(self, who: int, amount: int, big: bool, actor: str) -> None:
        amount += (big and amount and (1 if amount > 0 else -1) * limit_decisions.ADJUSTMENT_LIMIT_MTOK) or 0
        self.do(m.ProposeAdjustment, who, amount_mtok=amount, reason="goodwill", actor=actor)

    @rule(who=accounts, pick=picks, actor=actors)
    def approve(self, who: int, pick: int, actor: str) -> None:
        self.do(
            m.ApproveAdjustment,
            who,
            adjustment_id=self.pick(list(self.ledger.account(self.ids[who]).adjustments), self.adjustments, pick),
            actor=actor,
        )

    @rule(who=accounts, pick=picks, actor=actors)
    def reject(self, who: int, pick: int, actor: str) -> None:
        self.do(
            m.RejectAdjustment,
            who,
            adjustment_id=self.pick(list(self.ledger.account(self.ids[who]).adjustments), self.adjustments, pick),
            reason="no",
            actor=actor,
        )

    @rule(who=accounts, ahead=waits)
    def foresee(self, who: int, ahead: int) -> None:
        """What ``balance_at`` says of a later moment is what the account books when it comes."""
        if self.ledger.account(self.ids[who]).status == "closed":
            return
        self.ledger.wait(seconds=ahead)
        foreseen = self.ledger.account(self.ids[who]).balance_at(self.ledger.now)
        assert self.ledger.do(m.BookExpiries, account=self.ids[who])["balance"] == foreseen

    @rule(who=accounts, dice=st.integers(0, 9))
    def close(self, who: int, dice: int) -> None:
        if dice == 9:
            self.do(m.CloseTokenAccount, who, reason="done")

    @invariant()
    def no_cap_counts_below_zero(self) -> None:
        for account_id in self.ids:
            for cap in self.ledger.account(account_id).caps.values():
                assert min(cap.buckets.values(), default=0) >= 0
                assert len(cap.buckets) <= 60

    def hold_of(self, who: int, pick: int) -> str:
        return self.pick(list(self.ledger.account(self.ids[who]).holds), self.holds, pick)

    def lot_of(self, who: int, pick: int) -> str:
        return self.pick(list(self.ledger.account(self.ids[who]).book.lots), self.lots, pick)

    @staticmethod
    def pick(open_things: list[Any], known: list[Any], pick: int) -> Any:
        """One that is open, and now and then one that never was, is no more, or belongs to the other account."""
        things = known if pick % 8 == 7 else open_things or known
        return things[-1 - pick // 8 % len(things)]


TestAccounts = Accounts.TestCase
TestAccounts.settings = examples(40, stateful_step_count=40)
