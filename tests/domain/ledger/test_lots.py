"""Grants and what becomes of them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from account_harness import START, Ledger
from pydantic import ValidationError

from felix.domain.ledger import errors, lots
from felix.domain.ledger import messages as m
from felix.domain.values import MAX_SINGLE_AMOUNT


@pytest.fixture
def ledger() -> Ledger:
    ledger = Ledger()
    ledger.open()
    return ledger


def test_an_account_opens_empty(ledger: Ledger) -> None:
    account = ledger.account()
    assert account.balance == {"available_mtok": 0, "held_mtok": 0, "frozen_mtok": 0, "debt_mtok": 0}
    assert account.status == "open"
    assert account.local_id.startswith("acct_")


def test_a_grant_is_a_lot(ledger: Ledger) -> None:
    outcome = ledger.do(m.GrantTokens, amount_mtok=500, cost_minor=100, currency="EUR", meters=["y", "x", "y"])
    assert outcome["balance"]["available_mtok"] == 500
    lot = ledger.lot(outcome["lot_id"])
    assert (lot.amount_mtok, lot.free_mtok, lot.cost_minor, lot.meters) == (500, 500, 100, ["x", "y"])


def test_a_grant_that_has_expired_already_is_refused(ledger: Ledger) -> None:
    with pytest.raises(errors.ExpiryInThePast):
        ledger.grant(1, expires_at=ledger.now)


def test_a_price_without_a_currency_is_no_price() -> None:
    with pytest.raises(ValidationError):
        m.GrantTokens(account_id="acct_" + "0" * 32, amount_mtok=1, cost_minor=1)


def test_an_account_has_a_limited_number_of_lots(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(m, "MAX_OPEN_LOTS", 2)
    ledger.grant(10)
    ledger.grant(10)
    with pytest.raises(errors.TooManyLots):
        ledger.grant(10)
    ledger.charge(("x", 10))
    ledger.grant(10)


def test_a_total_beyond_63_bits_is_refused(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(m, "MAX_OPEN_LOTS", 5_000)
    for _ in range(1024):
        # Straight to the account: the harness checks every lot after every command.
        account = ledger.account()
        account.deciding(ledger.context())
        account.grant(m.GrantTokens(account_id=ledger.main, amount_mtok=MAX_SINGLE_AMOUNT))
    account.deciding(ledger.context())
    with pytest.raises(errors.AmountTooLarge):
        account.grant(m.GrantTokens(account_id=ledger.main, amount_mtok=MAX_SINGLE_AMOUNT))


def test_lots_burn_in_the_order_of_the_contract(ledger: Ledger) -> None:
    soon, later = START + timedelta(days=1), START + timedelta(days=2)
    purchased = ledger.grant(1)
    older_promo = ledger.grant(1, kind="promo")
    younger_promo = ledger.grant(1, kind="promo")
    expiring_later = ledger.grant(1, expires_at=later)
    expiring_soon = ledger.grant(1, expires_at=soon)
    urgent = ledger.grant(1, priority=1)
    restricted = ledger.grant(1, priority=900, meters=["x"])
    elsewhere = ledger.grant(1, priority=0, meters=["y"])
    burnt = [slice_[0] for slice_ in ledger.charge(("x", 7)).allocation]
    assert burnt == [restricted, urgent, expiring_soon, expiring_later, older_promo, younger_promo, purchased]
    assert ledger.lot(elsewhere).free_mtok == 1


def test_a_restricted_lot_pays_for_its_meters_only(ledger: Ledger) -> None:
    ledger.grant(10, meters=["x"])
    with pytest.raises(errors.InsufficientTokens) as refusal:
        ledger.charge(("y", 4))
    assert refusal.value.facts == {"required_mtok": 4, "available_mtok": 0, "credit_mtok": 0, "shortfall_mtok": 4}
    assert ledger.charge(("x", 4)).amount_mtok == 4


def test_an_expired_lot_can_not_be_spent_and_is_booked_as_breakage(ledger: Ledger) -> None:
    lot_id = ledger.grant(10, expires_at=START + timedelta(hours=1), cost_minor=7, currency="EUR")
    ledger.charge(("x", 3))
    ledger.wait(hours=1)
    with pytest.raises(errors.InsufficientTokens):
        ledger.charge(("x", 1))
    outcome = ledger.do(m.ExpireLot, lot_id=lot_id)
    assert outcome["amount_mtok"] == 7
    assert ledger.last[0].cost_minor == 5
    assert ledger.do(m.ExpireLot, lot_id=lot_id)["amount_mtok"] == 0


def test_a_lot_does_not_expire_before_its_time(ledger: Ledger) -> None:
    lot_id = ledger.grant(10, expires_at=START + timedelta(hours=1))
    with pytest.raises(errors.LotHasNotExpired):
        ledger.do(m.ExpireLot, lot_id=lot_id)
    with pytest.raises(errors.LotNotFound):
        ledger.do(m.ExpireLot, lot_id="lot_" + "f" * 32)


def test_the_balance_of_a_later_moment_knows_what_expires_until_then(ledger: Ledger) -> None:
    ledger.grant(10, expires_at=START + timedelta(hours=1))
    ledger.grant(5)
    ledger.do(m.HoldTokens, amount_mtok=12, meter="x", ttl_s=7200)
    account = ledger.account()
    assert account.balance_at(START)["available_mtok"] == 3
    assert account.balance_at(START + timedelta(hours=1))["held_mtok"] == 12
    assert account.balance_at(START + timedelta(hours=2)) == {
        "available_mtok": 5,
        "held_mtok": 0,
        "frozen_mtok": 0,
        "debt_mtok": 0,
    }


def test_a_lot_is_extended_to_a_later_moment_only(ledger: Ledger) -> None:
    soon, later = START + timedelta(hours=1), START + timedelta(hours=2)
    lot_id = ledger.grant(10, expires_at=soon)
    with pytest.raises(errors.ExpiryNotLater):
        ledger.do(m.ExtendLot, lot_id=lot_id, expires_at=soon, reason="kindness")
    ledger.do(m.ExtendLot, lot_id=lot_id, expires_at=later, reason="kindness")
    ledger.now = soon
    ledger.charge(("x", 1))
    ledger.do(m.ExtendLot, lot_id=lot_id, expires_at=None, reason="kindness")
    with pytest.raises(errors.ExpiryNotLater):
        ledger.do(m.ExtendLot, lot_id=lot_id, expires_at=later, reason="kindness")


def test_the_expiry_of_a_lot_is_announced_with_what_is_left(ledger: Ledger) -> None:
    soon = START + timedelta(days=7)
    lot_id = ledger.grant(10, expires_at=soon)
    ledger.charge(("x", 4))
    assert ledger.do(m.AnnounceLotExpiry, lot_id=lot_id, expires_at=soon)["announced_mtok"] == 6
    (announced,) = ledger.last
    assert (announced.lot_id, announced.left_mtok, announced.expires_at) == (lot_id, 6, soon)


def test_nothing_is_announced_of_a_lot_that_is_used_up_void_or_runs_out_at_another_time(ledger: Ledger) -> None:
    soon, later = START + timedelta(days=7), START + timedelta(days=8)
    used_up = ledger.grant(4, expires_at=soon)
    ledger.charge(("x", 4))
    void, extended = ledger.grant(5, expires_at=soon), ledger.grant(6, expires_at=soon)
    ledger.do(m.VoidLot, lot_id=void, reason="refund")
    ledger.do(m.ExtendLot, lot_id=extended, expires_at=later, reason="kindness")
    for lot_id in (used_up, void, extended):
        assert ledger.do(m.AnnounceLotExpiry, lot_id=lot_id, expires_at=soon)["announced_mtok"] == 0
    with pytest.raises(errors.LotNotFound):
        ledger.do(m.AnnounceLotExpiry, lot_id="lot_" + "0" * 32, expires_at=soon)


def test_an_expired_lot_is_not_extended(ledger: Ledger) -> None:
    lot_id = ledger.grant(10, expires_at=START + timedelta(hours=1))
    ledger.wait(hours=1)
    with pytest.raises(errors.LotHasExpired):
        ledger.do(m.ExtendLot, lot_id=lot_id, expires_at=None, reason="kindness")


def test_extending_a_lot_moves_it_in_the_burn_order(ledger: Ledger) -> None:
    first = ledger.grant(5, expires_at=START + timedelta(hours=1))
    second = ledger.grant(5, expires_at=START + timedelta(hours=2))
    ledger.charge(("x", 1))
    ledger.do(m.ExtendLot, lot_id=first, expires_at=None, reason="kindness")
    assert ledger.charge(("x", 1)).allocation[0][0] == second


def test_voiding_takes_back_what_is_left(ledger: Ledger) -> None:
    lot_id = ledger.grant(10, cost_minor=100, currency="EUR")
    ledger.charge(("x", 4))
    assert ledger.do(m.VoidLot, lot_id=lot_id, reason="refund")["amount_mtok"] == 6
    assert ledger.last[0].cost_minor == 60
    with pytest.raises(errors.LotIsVoid):
        ledger.do(m.VoidLot, lot_id=lot_id, reason="refund")


def test_voiding_a_frozen_lot_takes_the_frozen_tokens(ledger: Ledger) -> None:
    lot_id = ledger.grant(10)
    ledger.do(m.FreezeLot, lot_id=lot_id, reason="dispute")
    outcome = ledger.do(m.VoidLot, lot_id=lot_id, reason="dispute lost")
    assert outcome["amount_mtok"] == 10
    assert outcome["balance"]["frozen_mtok"] == 0


def test_a_lot_that_is_used_up_is_neither_voided_nor_frozen(ledger: Ledger) -> None:
    lot_id = ledger.grant(1)
    ledger.charge(("x", 1))
    for command in (m.VoidLot, m.FreezeLot, m.UnfreezeLot):
        with pytest.raises(errors.LotUsedUp):
            ledger.do(command, lot_id=lot_id, reason="dispute")


def test_a_frozen_lot_can_not_be_spent_until_it_is_given_back(ledger: Ledger) -> None:
    lot_id = ledger.grant(10)
    outcome = ledger.do(m.FreezeLot, lot_id=lot_id, reason="dispute")
    assert outcome["balance"] == {"available_mtok": 0, "held_mtok": 0, "frozen_mtok": 10, "debt_mtok": 0}
    with pytest.raises(errors.LotIsFrozen):
        ledger.do(m.FreezeLot, lot_id=lot_id, reason="dispute")
    with pytest.raises(errors.InsufficientTokens):
        ledger.charge(("x", 1))
    ledger.do(m.UnfreezeLot, lot_id=lot_id, reason="dispute won")
    with pytest.raises(errors.LotIsNotFrozen):
        ledger.do(m.UnfreezeLot, lot_id=lot_id, reason="dispute won")
    ledger.charge(("x", 10))


def test_a_lot_that_expired_while_frozen_is_breakage_when_it_is_given_back(ledger: Ledger) -> None:
    lot_id = ledger.grant(10, expires_at=START + timedelta(hours=1))
    ledger.do(m.FreezeLot, lot_id=lot_id, reason="dispute")
    ledger.wait(hours=2)
    ledger.do(m.UnfreezeLot, lot_id=lot_id, reason="dispute won")
    assert ledger.happened() == ["LotUnfrozen", "LotExpired"]


def test_tokens_given_back_by_a_frozen_lot_repay_debt(ledger: Ledger) -> None:
    lot_id = ledger.grant(10)
    ledger.do(m.SetCreditLimit, credit_limit_mtok=100, reason="trust")
    ledger.do(m.FreezeLot, lot_id=lot_id, reason="dispute")
    ledger.charge(("x", 4))
    assert ledger.account().debt_mtok == 4
    ledger.do(m.UnfreezeLot, lot_id=lot_id, reason="dispute won")
    assert ledger.happened() == ["LotUnfrozen", "DebtRepaid"]
    assert ledger.account().balance == {"available_mtok": 6, "held_mtok": 0, "frozen_mtok": 0, "debt_mtok": 0}


def test_new_lots_repay_debt_first_but_restricted_ones_never_do(ledger: Ledger) -> None:
    ledger.do(m.SetCreditLimit, credit_limit_mtok=100, reason="trust")
    ledger.charge(("x", 40))
    ledger.grant(10, meters=["x"])
    assert (ledger.account().debt_mtok, ledger.account().available_mtok) == (40, 10)
    outcome = ledger.do(m.GrantTokens, amount_mtok=50, cost_minor=5, currency="EUR")
    assert outcome["debt_repaid_mtok"] == 40
    assert ledger.last[0].debt_cost_minor == 4
    assert (ledger.account().debt_mtok, ledger.account().available_mtok) == (0, 20)


def test_a_claw_back_takes_its_lot_then_the_others_then_books_debt(ledger: Ledger) -> None:
    paid = ledger.grant(10, cost_minor=100, currency="EUR")
    ledger.charge(("x", 8))
    ledger.grant(3)
    outcome = ledger.do(m.ClawBackTokens, lot_id=paid, amount_mtok=9, reason="refund")
    assert outcome["new_debt_mtok"] == 4
    assert outcome["balance"]["debt_mtok"] == 4
    assert ledger.account().status == "restricted"


def test_a_claw_back_takes_frozen_tokens_first(ledger: Ledger) -> None:
    paid = ledger.grant(10, cost_minor=100, currency="EUR")
    ledger.grant(10)
    ledger.do(m.FreezeLot, lot_id=paid, reason="dispute")
    outcome = ledger.do(m.ClawBackTokens, lot_id=paid, amount_mtok=4, reason="dispute lost in part")
    assert outcome["balance"] == {"available_mtok": 10, "held_mtok": 0, "frozen_mtok": 6, "debt_mtok": 0}


def test_the_shares_of_a_price_add_up_to_what_was_paid(ledger: Ledger) -> None:
    ledger.grant(7, cost_minor=100, currency="EUR")
    shares = [ledger.charge(("x", 1)).allocation[0][3] for _ in range(7)]
    assert shares == [14, 14, 14, 15, 14, 14, 15]


def test_only_the_last_used_up_lots_are_remembered(ledger: Ledger) -> None:
    for _ in range(lots.MAX_PAST_LOTS + 10):
        ledger.grant(1)
        ledger.charge(("x", 1))
    assert len(ledger.account().book.past) == lots.MAX_PAST_LOTS
    assert not ledger.account().book.lots


def test_an_extended_lot_expires_at_its_new_time(ledger: Ledger) -> None:
    lot_id = ledger.grant(10, expires_at=START + timedelta(hours=1))
    ledger.do(m.ExtendLot, lot_id=lot_id, expires_at=START + timedelta(hours=2), reason="kindness")
    ledger.wait(hours=1)
    ledger.charge(("x", 1))
    ledger.wait(hours=1)
    with pytest.raises(errors.InsufficientTokens):
        ledger.charge(("x", 1))


def test_a_share_of_the_price_is_never_negative(ledger: Ledger) -> None:
    """Undoing the slices that took no cent along leaves more recognised than the floor says."""
    lot_id = ledger.grant(6, cost_minor=3, currency="EUR")
    debits = [ledger.charge(("x", 1)) for _ in range(6)]
    assert [debit.allocation[0][3] for debit in debits] == [0, 1, 0, 1, 0, 1]
    for debit in debits[::2]:
        ledger.reverse(debit)
    assert ledger.lot(lot_id).recognised_minor == 3
    assert [ledger.charge(("x", 1)).allocation[0][3] for _ in range(3)] == [0, 0, 0]


def test_a_lot_that_a_reversal_revives_still_expires_in_an_account_kept_in_memory(ledger: Ledger) -> None:
    ledger.grant(10, expires_at=START + timedelta(hours=1))
    debit = ledger.charge(("x", 10))
    purse = ledger.purses[ledger.main]
    purse.live = purse.load()
    ledger.reverse(debit)
    ledger.wait(hours=1)
    with pytest.raises(errors.InsufficientTokens):
        ledger.charge(("x", 1))


def test_what_a_voided_lot_has_in_holds_is_in_no_later_balance(ledger: Ledger) -> None:
    lot_id = ledger.grant(10)
    ledger.do(m.HoldTokens, amount_mtok=4, meter="x", ttl_s=60)
    ledger.do(m.VoidLot, lot_id=lot_id, reason="refund")
    ledger.wait(seconds=60)
    assert ledger.account().balance_at(ledger.now)["available_mtok"] == 0
    assert ledger.do(m.BookExpiries)["balance"]["available_mtok"] == 0
