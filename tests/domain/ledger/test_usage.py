"""Debits, their reversal, and transfers."""

from __future__ import annotations

from datetime import timedelta

import orjson
import pytest
from account_harness import START, Ledger, examples
from hypothesis import given
from hypothesis import strategies as st

from felix.domain.ledger import errors, lots
from felix.domain.ledger import messages as m
from felix.domain.ledger.reversals import debit_id_of, parse_debit_id
from felix.domain.ledger.token_account import TokenAccount


@pytest.fixture
def ledger() -> Ledger:
    ledger = Ledger()
    ledger.open()
    ledger.grant(100, cost_minor=33, currency="EUR")
    return ledger


def test_a_debit_takes_the_tokens_of_all_its_lines(ledger: Ledger) -> None:
    debit = ledger.charge(("x", 30), ("y", 0), ("x", 20), app="shop", person="ada", model="m", usage_at=START)
    assert debit.amount_mtok == 50
    assert ledger.account().available_mtok == 50
    account = ledger.account().deciding(ledger.context())
    outcome = account.charge_outcome(debit)
    assert orjson.loads(orjson.dumps(outcome)) == outcome
    assert [line["amount_mtok"] for line in outcome["lines"]] == [30, 0, 20]
    assert [part["amount_mtok"] for part in outcome["allocation"]] == [30, 20]


def test_a_debit_beyond_the_balance_is_refused(ledger: Ledger) -> None:
    with pytest.raises(errors.InsufficientTokens) as refusal:
        ledger.charge(("x", 60), ("y", 60))
    assert refusal.value.facts == {
        "required_mtok": 120,
        "available_mtok": 100,
        "credit_mtok": 0,
        "shortfall_mtok": 20,
    }


def test_a_free_meter_costs_nothing_even_on_an_empty_account() -> None:
    ledger = Ledger()
    ledger.open()
    assert ledger.charge(("x", 0)).allocation == []


def test_credit_becomes_debt_and_no_more_than_the_limit(ledger: Ledger) -> None:
    ledger.do(m.SetCreditLimit, credit_limit_mtok=20, reason="trust")
    assert ledger.charge(("x", 115)).debt_mtok == 15
    with pytest.raises(errors.InsufficientTokens) as refusal:
        ledger.charge(("x", 6))
    assert refusal.value.facts["credit_mtok"] == 5
    ledger.charge(("x", 5))


def test_a_frozen_account_spends_nothing_but_settles_its_holds(ledger: Ledger) -> None:
    held = ledger.do(m.HoldTokens, amount_mtok=10, meter="x")["hold_id"]
    other = ledger.open()
    ledger.do(m.FreezeTokenAccount, reason="fraud?")
    for forbidden in (
        lambda: ledger.charge(("x", 1)),
        lambda: ledger.do(m.HoldTokens, amount_mtok=1, meter="x"),
        lambda: ledger.transfer(1, ledger.main, other),
        lambda: ledger.do(m.FreezeTokenAccount, reason="again"),
    ):
        with pytest.raises(errors.AccountFrozen):
            forbidden()
    ledger.grant(1)
    ledger.do(m.CaptureHold, hold_id=held, amount_mtok=10)
    ledger.do(m.UnfreezeTokenAccount, reason="it was not")
    with pytest.raises(errors.AccountNotFrozen):
        ledger.do(m.UnfreezeTokenAccount, reason="again")
    ledger.charge(("x", 1))


def test_only_an_empty_account_is_closed_and_then_for_good(ledger: Ledger) -> None:
    with pytest.raises(errors.AccountNotEmpty):
        ledger.do(m.CloseTokenAccount, reason="done")
    ledger.charge(("x", 100))
    ledger.do(m.CloseTokenAccount, reason="done")
    for forbidden in (
        lambda: ledger.charge(("x", 0)),
        lambda: ledger.grant(1),
        lambda: ledger.do(m.CloseTokenAccount, reason="done"),
    ):
        with pytest.raises(errors.AccountClosed):
            forbidden()


def test_a_debit_id_says_where_the_debit_is(ledger: Ledger) -> None:
    debit = ledger.charge(("x", 1))
    assert parse_debit_id(debit_id_of(debit)) == (debit.event_id, debit.originator_version)
    assert len(debit_id_of(debit)) == len("deb_") + 42


def test_a_reversal_gives_tokens_and_price_back_to_their_lots(ledger: Ledger) -> None:
    lot_id = next(iter(ledger.account().book.lots))
    before = ledger.account().book.dump()
    debit = ledger.charge(("x", 60), ("y", 40))
    assert ledger.lot(lot_id).left_mtok == 0
    outcome = ledger.reverse(debit)
    assert (outcome["returned_mtok"], outcome["still_reversible_mtok"]) == (100, 0)
    assert ledger.last[0].lines == [("y", 40), ("x", 60)]
    assert ledger.account().book.dump() == before


def test_a_debit_is_reversed_in_parts_and_never_beyond_itself(ledger: Ledger) -> None:
    debit = ledger.charge(("x", 10))
    ledger.reverse(debit, 4)
    with pytest.raises(errors.ReversalExceedsDebit) as refusal:
        ledger.reverse(debit, 7)
    assert refusal.value.facts == {"debited_mtok": 10, "reversed_mtok": 4, "reversible_mtok": 6}
    ledger.reverse(debit, 6)
    with pytest.raises(errors.ReversalExceedsDebit):
        ledger.reverse(debit)


def test_a_debit_of_another_account_is_not_found(ledger: Ledger) -> None:
    debit = ledger.charge(("x", 10))
    other = ledger.open()
    with pytest.raises(errors.DebitNotFound):
        ledger.reverse(debit, account=other)
    account = ledger.account().deciding(ledger.context())
    command = m.ReverseDebit(account_id=ledger.main, debit_id=debit_id_of(debit), reason="mistake")
    with pytest.raises(errors.DebitNotFound):
        account.reverse(command, None)


def test_a_reversal_forgives_what_the_debit_still_owes(ledger: Ledger) -> None:
    ledger.do(m.SetCreditLimit, credit_limit_mtok=50, reason="trust")
    debit = ledger.charge(("x", 130))
    outcome = ledger.reverse(debit, 40)
    assert (outcome["forgiven_debt_mtok"], outcome["returned_mtok"]) == (30, 10)
    assert ledger.account().balance["available_mtok"] == 10


def test_a_reversal_of_debt_that_was_repaid_is_restitution(ledger: Ledger) -> None:
    ledger.do(m.SetCreditLimit, credit_limit_mtok=50, reason="trust")
    debit = ledger.charge(("x", 130))
    ledger.grant(30)
    outcome = ledger.reverse(debit)
    assert (outcome["forgiven_debt_mtok"], outcome["restitution_mtok"], outcome["returned_mtok"]) == (0, 30, 100)
    assert ledger.lot(ledger.last[0].lot_id).kind == "restitution"


def test_tokens_that_go_back_repay_other_debt_first(ledger: Ledger) -> None:
    ledger.do(m.SetCreditLimit, credit_limit_mtok=50, reason="trust")
    debit = ledger.charge(("x", 100))
    ledger.charge(("x", 20))
    ledger.reverse(debit)
    assert ledger.happened() == ["DebitReversed", "DebtRepaid"]
    assert ledger.account().balance == {"available_mtok": 80, "held_mtok": 0, "frozen_mtok": 0, "debt_mtok": 0}


def test_what_can_not_go_back_is_restitution_for_the_same_meters(ledger: Ledger) -> None:
    ledger.grant(10, expires_at=START + timedelta(hours=1), meters=["x", "y"])
    debit = ledger.charge(("x", 15))
    ledger.wait(hours=2)
    outcome = ledger.reverse(debit)
    assert (outcome["returned_mtok"], outcome["restitution_mtok"]) == (5, 10)
    lot = ledger.lot(ledger.last[0].lot_id)
    assert (lot.kind, lot.meters, lot.expires_at, lot.cost_minor) == ("restitution", ["x", "y"], None, 0)


def test_what_came_from_a_lot_used_up_long_ago_is_restitution(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lots, "MAX_PAST_LOTS", 1)
    debit = ledger.charge(("x", 100))
    ledger.grant(1)
    ledger.charge(("x", 1))
    assert ledger.reverse(debit)["restitution_mtok"] == 100


def test_a_captured_hold_is_reversed_like_a_debit(ledger: Ledger) -> None:
    held = ledger.do(m.HoldTokens, amount_mtok=90, meter="x")["hold_id"]
    outcome = ledger.do(m.CaptureHold, hold_id=held, amount_mtok=120, overshoot="take_available")
    capture = ledger.last[0]
    assert outcome["debit_id"] == debit_id_of(capture)
    assert ledger.reverse(capture)["returned_mtok"] == 100


@given(parts=st.lists(st.integers(1, 40), min_size=1, max_size=6), cost=st.integers(0, 200))
@examples(30)
def test_a_debit_undone_bit_by_bit_gives_back_all_it_took(parts: list[int], cost: int) -> None:
    ledger = Ledger()
    ledger.open(credit_limit_mtok=1000)
    for amount in parts:
        ledger.grant(amount, cost_minor=cost, currency="EUR", priority=amount)
    before = ledger.account().book.dump()
    debit = ledger.charge(("x", sum(parts) // 2 + 1), ("y", sum(parts)))
    for amount in parts:
        ledger.reverse(debit, amount)
    ledger.reverse(debit)
    after = ledger.account().book.dump()
    assert sorted(after["lots"]) == sorted(before["lots"])
    assert ledger.account().debt_mtok == 0


def test_a_transfer_keeps_what_the_lots_are(ledger: Ledger) -> None:
    other = ledger.open()
    ledger.grant(10, kind="promo", priority=5, expires_at=START + timedelta(days=1), meters=["x"])
    received = ledger.transfer(110, ledger.main, other)
    paid, promo = [ledger.lot(lot["lot_id"], other) for lot in received.lots]
    assert (paid.kind, paid.cost_minor, paid.currency, paid.amount_mtok) == ("purchased", 33, "EUR", 100)
    assert (promo.kind, promo.priority, promo.meters, promo.amount_mtok) == ("promo", 5, ["x"], 10)
    assert promo.expires_at == START + timedelta(days=1)
    assert ledger.account().available_mtok == 0


def test_a_transfer_beyond_the_balance_or_to_itself_is_refused(ledger: Ledger) -> None:
    other = ledger.open()
    with pytest.raises(errors.InsufficientTokens):
        ledger.transfer(101, ledger.main, other)
    account = ledger.account().deciding(ledger.context())
    with pytest.raises(errors.TransferToItself):
        account.send(1, ledger.main, None)


def test_tokens_received_repay_debt_first(ledger: Ledger) -> None:
    other = ledger.open(credit_limit_mtok=50)
    ledger.charge(("x", 30), account=other)
    received = ledger.transfer(40, ledger.main, other)
    assert received.debt_repaid_mtok == 30
    assert ledger.account(other).balance["available_mtok"] == 10


def test_a_closed_account_receives_nothing(ledger: Ledger) -> None:
    other = ledger.open()
    ledger.do(m.CloseTokenAccount, account=other, reason="done")
    with pytest.raises(errors.AccountClosed):
        ledger.transfer(1, ledger.main, other)
    assert ledger.account().available_mtok == 100


def test_a_snapshot_stays_small_however_much_is_debited() -> None:
    ledger = Ledger()
    ledger.open()
    account = ledger.account().deciding(ledger.context())
    account.grant(m.GrantTokens(account_id=ledger.main, amount_mtok=10**9))
    for _ in range(3_000):
        account.charge(lines=[("x", 1, 7, "")])
    assert len(orjson.dumps(account.snapshot())) < 1_000


def test_an_account_describes_itself_in_json(ledger: Ledger) -> None:
    ledger.do(m.HoldTokens, amount_mtok=10, meter="x", purpose="a change")
    ledger.do(m.SetSpendCap, limit_mtok=50, window="day")
    ledger.do(m.ProposeAdjustment, amount_mtok=200_000_000, reason="goodwill")
    shown = ledger.account().describe(START)
    assert orjson.loads(orjson.dumps(shown)) == shown
    assert shown["balance"] == ledger.account().balance
    assert [len(shown[part]) for part in ("lots", "holds", "caps", "adjustments")] == [1, 1, 1, 1]


def test_every_event_of_the_account_adds_up_by_a_fold_of_its_own() -> None:
    from eventsourcing.domain import AbstractDecoratedFuncCaller

    from felix.domain.base import FelixCreated, FelixEvent

    events = [e for e in vars(m).values() if isinstance(e, type) and issubclass(e, FelixEvent) and "TOPIC" in vars(e)]
    for event in events:
        if not issubclass(event, FelixCreated):
            assert issubclass(getattr(TokenAccount, event.__name__), AbstractDecoratedFuncCaller), event


def test_a_reversal_forgives_no_more_than_is_still_owed(ledger: Ledger) -> None:
    other = ledger.open(credit_limit_mtok=20)
    debit = ledger.charge(("x", 10), ("y", 10), account=other)
    ledger.grant(15, account=other)
    outcome = ledger.reverse(debit, account=other)
    assert (outcome["forgiven_debt_mtok"], outcome["restitution_mtok"]) == (5, 15)
