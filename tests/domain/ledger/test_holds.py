"""Tokens are set aside before work begins, and the hold ends once."""

from __future__ import annotations

from datetime import timedelta

import pytest
from account_harness import START, Ledger
from pydantic import ValidationError

from felix.domain.ledger import errors
from felix.domain.ledger import messages as m


@pytest.fixture
def ledger() -> Ledger:
    ledger = Ledger()
    ledger.open()
    ledger.grant(100, cost_minor=100, currency="EUR")
    return ledger


def hold(ledger: Ledger, amount_mtok: int = 60, **fields: object) -> str:
    held: str = ledger.do(m.HoldTokens, amount_mtok=amount_mtok, meter="x", **fields)["hold_id"]
    return held


def capture(ledger: Ledger, hold_id: str, amount_mtok: int, overshoot: str = "deny") -> dict[str, object]:
    outcome: dict[str, object] = ledger.do(m.CaptureHold, hold_id=hold_id, amount_mtok=amount_mtok, overshoot=overshoot)
    return outcome


def test_held_tokens_are_not_available(ledger: Ledger) -> None:
    hold(ledger)
    assert ledger.account().balance == {"available_mtok": 40, "held_mtok": 60, "frozen_mtok": 0, "debt_mtok": 0}
    with pytest.raises(errors.InsufficientTokens) as refusal:
        ledger.charge(("x", 41))
    assert refusal.value.facts["shortfall_mtok"] == 1


def test_no_more_is_held_than_is_available_even_with_credit(ledger: Ledger) -> None:
    ledger.do(m.SetCreditLimit, credit_limit_mtok=1000, reason="trust")
    with pytest.raises(errors.InsufficientTokens):
        hold(ledger, 101)


def test_a_hold_lives_a_day_at_the_most() -> None:
    with pytest.raises(ValidationError):
        m.HoldTokens(account_id="acct_" + "0" * 32, amount_mtok=1, meter="x", ttl_s=86_401)


def test_the_number_of_open_holds_is_limited(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(m, "MAX_OPEN_HOLDS", 1)
    hold(ledger, 1)
    with pytest.raises(errors.TooManyHolds):
        hold(ledger, 1)


def test_a_capture_takes_what_it_cost_and_releases_the_rest(ledger: Ledger) -> None:
    outcome = capture(ledger, hold(ledger), 45)
    assert (outcome["captured_mtok"], outcome["released_mtok"]) == (45, 15)
    assert ledger.account().available_mtok == 55
    assert ledger.last[0].captured[0][3] == 45


def test_a_hold_is_settled_once(ledger: Ledger) -> None:
    hold_id = hold(ledger)
    capture(ledger, hold_id, 60)
    for command, fields in (
        (m.CaptureHold, {"amount_mtok": 1}),
        (m.ReleaseHold, {}),
        (m.ExtendHold, {"ttl_s": 60}),
    ):
        with pytest.raises(errors.HoldNotOpen):
            ledger.do(command, hold_id=hold_id, **fields)


def test_a_capture_beyond_the_hold_follows_its_overshoot_policy(ledger: Ledger) -> None:
    denied, taken, owed = hold(ledger, 20), hold(ledger, 20), hold(ledger, 20)
    with pytest.raises(errors.CaptureExceedsHold):
        capture(ledger, denied, 21)
    outcome = capture(ledger, taken, 100, "take_available")
    assert (outcome["extra_mtok"], outcome["forgiven_mtok"], outcome["new_debt_mtok"]) == (40, 40, 0)
    outcome = capture(ledger, owed, 30, "debt")
    assert (outcome["extra_mtok"], outcome["forgiven_mtok"], outcome["new_debt_mtok"]) == (0, 0, 10)
    assert ledger.account().status == "restricted"


def test_a_release_while_tokens_are_owed_repays_first(ledger: Ledger) -> None:
    one, other = hold(ledger, 50), hold(ledger, 50)
    capture(ledger, one, 70, "debt")
    ledger.do(m.ReleaseHold, hold_id=other)
    assert ledger.happened() == ["HoldReleased", "DebtRepaid"]
    assert ledger.account().balance == {"available_mtok": 30, "held_mtok": 0, "frozen_mtok": 0, "debt_mtok": 0}


def test_who_owes_more_than_the_limit_holds_nothing(ledger: Ledger) -> None:
    capture(ledger, hold(ledger, 100), 120, "debt")
    ledger.grant(5, meters=["x"])
    with pytest.raises(errors.AccountRestricted):
        hold(ledger, 1)


def test_a_hold_runs_out_at_its_time_inside_the_next_command(ledger: Ledger) -> None:
    hold_id = hold(ledger, 100, ttl_s=60)
    ledger.wait(seconds=60)
    ledger.charge(("x", 1))
    assert ledger.happened() == ["HoldExpired", "TokensDebited"]
    with pytest.raises(errors.HoldNotOpen):
        capture(ledger, hold_id, 1)


def test_the_sweeper_books_what_has_run_out(ledger: Ledger) -> None:
    hold_id = hold(ledger, ttl_s=60)
    lot_id = ledger.grant(1, expires_at=START + timedelta(seconds=30))
    ledger.wait(seconds=60)
    outcome = ledger.do(m.BookExpiries)
    assert (outcome["holds"], outcome["lots"]) == ([hold_id], [lot_id])
    assert ledger.do(m.BookExpiries)["holds"] == []


def test_a_hold_can_be_extended_and_never_gets_shorter(ledger: Ledger) -> None:
    hold_id = hold(ledger, ttl_s=600)
    ledger.do(m.ExtendHold, hold_id=hold_id, ttl_s=1)
    ledger.wait(seconds=599)
    ledger.do(m.ExtendHold, hold_id=hold_id, ttl_s=600)
    ledger.wait(seconds=599)
    capture(ledger, hold_id, 60)


def test_tokens_released_into_an_expired_lot_are_breakage_but_a_capture_is_good(ledger: Ledger) -> None:
    ledger.grant(50, expires_at=START + timedelta(minutes=1), priority=1)
    hold_id = hold(ledger, 50)
    ledger.wait(minutes=5)
    capture(ledger, hold_id, 20)
    assert ledger.happened() == ["HoldCaptured", "LotExpired"]
    assert ledger.account().available_mtok == 100


def test_tokens_released_into_a_voided_lot_are_taken_back(ledger: Ledger) -> None:
    hold_id = hold(ledger, 60)
    lot_id = next(iter(ledger.account().book.lots))
    assert ledger.do(m.VoidLot, lot_id=lot_id, reason="refund")["still_held_mtok"] == 60
    capture(ledger, hold_id, 10)
    assert ledger.happened() == ["HoldCaptured", "LotVoided"]
    assert ledger.last[1].reason == "refund"
    assert ledger.account().available_mtok == 0


def test_tokens_released_into_a_frozen_lot_are_frozen(ledger: Ledger) -> None:
    hold_id = hold(ledger, 60)
    lot_id = next(iter(ledger.account().book.lots))
    ledger.do(m.FreezeLot, lot_id=lot_id, reason="dispute")
    ledger.do(m.ReleaseHold, hold_id=hold_id)
    assert ledger.happened() == ["HoldReleased", "LotFrozen"]
    assert ledger.account().frozen_mtok == 100


def test_an_extended_hold_runs_out_at_its_new_time(ledger: Ledger) -> None:
    hold_id = hold(ledger, 100, ttl_s=60)
    ledger.do(m.ExtendHold, hold_id=hold_id, ttl_s=120)
    ledger.wait(seconds=60)
    with pytest.raises(errors.InsufficientTokens):
        ledger.charge(("x", 1))
    ledger.do(m.BookExpiries)
    ledger.wait(seconds=60)
    ledger.charge(("x", 1))
    assert ledger.happened() == ["HoldExpired", "TokensDebited"]


def test_an_account_in_memory_forgets_the_deadlines_of_settled_holds(ledger: Ledger) -> None:
    for _ in range(300):
        ledger.do(m.ReleaseHold, hold_id=hold(ledger, 1, ttl_s=600))
        ledger.wait(seconds=30)
    assert len(ledger.account()._deadlines) < 100
