"""Spend caps, and founders' overrides under two pairs of eyes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from account_harness import Ledger
from pydantic import ValidationError

from felix.domain.ledger import errors, limit_decisions
from felix.domain.ledger import messages as m

LIMIT = limit_decisions.ADJUSTMENT_LIMIT_MTOK


@pytest.fixture
def ledger() -> Ledger:
    ledger = Ledger()
    ledger.open()
    ledger.grant(1_000)
    return ledger


def cap(ledger: Ledger, limit_mtok: int, **fields: object) -> str:
    cap_id: str = ledger.do(m.SetSpendCap, **{"limit_mtok": limit_mtok, "window": "day"} | fields)["cap_id"]
    return cap_id


def test_a_hard_cap_refuses_what_would_pass_it_until_its_window_ends(ledger: Ledger) -> None:
    cap_id = cap(ledger, 100)
    ledger.charge(("x", 70))
    with pytest.raises(errors.SpendCapReached) as refusal:
        ledger.charge(("x", 20), ("y", 11))
    assert refusal.value.facts == {
        "cap_id": cap_id,
        "limit_mtok": 100,
        "spent_mtok": 70,
        "required_mtok": 31,
        "resets_at": "2026-03-02T00:00:00+00:00",
    }
    ledger.charge(("x", 30))
    ledger.charge(("x", 0))
    ledger.now = datetime(2026, 3, 2, tzinfo=UTC)
    ledger.charge(("x", 100))


def test_a_monthly_cap_ends_with_the_month(ledger: Ledger) -> None:
    cap(ledger, 100, window="month")
    ledger.charge(("x", 100))
    ledger.now = datetime(2026, 3, 31, 23, 59, tzinfo=UTC)
    with pytest.raises(errors.SpendCapReached) as refusal:
        ledger.charge(("x", 1))
    assert refusal.value.facts["resets_at"] == "2026-04-01T00:00:00+00:00"
    ledger.now = datetime(2026, 4, 1, tzinfo=UTC)
    ledger.charge(("x", 1))


def test_a_rolling_cap_never_lets_more_pass_in_any_window(ledger: Ledger) -> None:
    cap(ledger, 100, window="rolling", window_s=3600)
    charged: list[tuple[datetime, int]] = []
    for _ in range(200):
        ledger.wait(seconds=97)
        try:
            ledger.charge(("x", 9))
            charged.append((ledger.now, 9))
        except errors.SpendCapReached as refusal:
            assert datetime.fromisoformat(refusal.facts["resets_at"]) > ledger.now
        recent = [n for at, n in charged if at > ledger.now - timedelta(hours=1)]
        assert sum(recent) <= 100
    assert len(charged) > 50
    assert len(next(iter(ledger.account().caps.values())).buckets) <= 60


def test_a_cap_counts_what_it_is_about(ledger: Ledger) -> None:
    cap(ledger, 10, scope="meter", scope_value="x")
    cap(ledger, 10, scope="app", scope_value="shop")
    cap(ledger, 10, scope="person", scope_value="ada")
    ledger.charge(("x", 10), ("y", 500))
    for refused in (
        lambda: ledger.charge(("x", 1)),
        lambda: ledger.charge(("y", 11), app="shop"),
        lambda: ledger.charge(("y", 11), person="ada"),
        lambda: ledger.do(m.HoldTokens, amount_mtok=11, meter="y", person="ada"),
    ):
        with pytest.raises(errors.SpendCapReached):
            refused()
    ledger.charge(("y", 10), app="shop", person="ada")


def test_held_tokens_count_until_they_are_captured_or_given_back(ledger: Ledger) -> None:
    cap(ledger, 100)
    one = ledger.do(m.HoldTokens, amount_mtok=60, meter="x")["hold_id"]
    with pytest.raises(errors.SpendCapReached):
        ledger.do(m.HoldTokens, amount_mtok=41, meter="x")
    ledger.do(m.CaptureHold, hold_id=one, amount_mtok=20)
    other = ledger.do(m.HoldTokens, amount_mtok=80, meter="x", ttl_s=60)["hold_id"]
    ledger.do(m.ReleaseHold, hold_id=other)
    ledger.do(m.HoldTokens, amount_mtok=80, meter="x", ttl_s=60)
    ledger.wait(seconds=60)
    ledger.charge(("x", 80))


def test_a_hold_older_than_the_cap_gives_nothing_back_to_it(ledger: Ledger) -> None:
    hold_id = ledger.do(m.HoldTokens, amount_mtok=60, meter="x")["hold_id"]
    cap(ledger, 100)
    ledger.charge(("x", 50))
    ledger.do(m.ReleaseHold, hold_id=hold_id)
    with pytest.raises(errors.SpendCapReached):
        ledger.charge(("x", 51))


def test_a_reversal_gives_room_back_to_the_cap_in_the_same_window_only(ledger: Ledger) -> None:
    cap(ledger, 100)
    today = ledger.charge(("x", 100))
    ledger.reverse(today, 40)
    yesterday = ledger.charge(("x", 40))
    ledger.wait(days=1)
    ledger.charge(("x", 90))
    ledger.reverse(yesterday)
    with pytest.raises(errors.SpendCapReached):
        ledger.charge(("x", 11))


def test_a_capture_is_never_refused_by_a_cap_but_says_that_it_passed(ledger: Ledger) -> None:
    cap(ledger, 60)
    hold_id = ledger.do(m.HoldTokens, amount_mtok=60, meter="x")["hold_id"]
    ledger.do(m.CaptureHold, hold_id=hold_id, amount_mtok=61, overshoot="debt")
    assert ledger.happened() == ["HoldCaptured", "SpendCapPassed"]


def test_a_soft_cap_says_once_a_window_that_it_was_passed(ledger: Ledger) -> None:
    cap(ledger, 10, hard=False)
    ledger.charge(("x", 10))
    assert ledger.happened() == ["TokensDebited"]
    ledger.charge(("x", 1))
    assert ledger.happened() == ["TokensDebited", "SpendCapPassed"]
    ledger.charge(("x", 1))
    assert ledger.happened() == ["TokensDebited"]
    ledger.wait(days=1)
    ledger.charge(("x", 11))
    assert ledger.happened() == ["TokensDebited", "SpendCapPassed"]


def test_a_cap_set_again_keeps_its_id_and_its_count(ledger: Ledger) -> None:
    cap_id = cap(ledger, 100)
    ledger.charge(("x", 90))
    assert cap(ledger, 95) == cap_id
    with pytest.raises(errors.SpendCapReached):
        ledger.charge(("x", 6))
    ledger.do(m.RemoveSpendCap, cap_id=cap_id)
    ledger.charge(("x", 6))
    with pytest.raises(errors.CapNotFound):
        ledger.do(m.RemoveSpendCap, cap_id=cap_id)


def test_the_number_of_caps_is_limited(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(m, "MAX_CAPS", 1)
    cap(ledger, 1)
    with pytest.raises(errors.TooManyCaps):
        cap(ledger, 1, window="month")


@pytest.mark.parametrize(
    "fields",
    [
        {"window": "rolling"},
        {"window": "day", "window_s": 60},
        {"window": "day", "scope": "app"},
        {"window": "day", "scope_value": "shop"},
    ],
)
def test_a_cap_with_half_a_window_or_scope_is_no_command(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        m.SetSpendCap(account_id="acct_" + "0" * 32, limit_mtok=1, **fields)


def test_a_small_adjustment_is_applied_at_once(ledger: Ledger) -> None:
    outcome = ledger.do(m.ProposeAdjustment, amount_mtok=500, reason="goodwill")
    assert outcome["needs_approval"] is False
    assert ledger.happened() == ["AdjustmentProposed", "AdjustmentApplied"]
    assert ledger.lot(ledger.last[1].lot_id).kind == "goodwill"


def test_an_adjustment_down_takes_tokens_and_then_books_debt(ledger: Ledger) -> None:
    ledger.grant(10, meters=["x"])
    outcome = ledger.do(m.ProposeAdjustment, amount_mtok=-1_040, reason="wrong grant")
    assert outcome["balance"] == {"available_mtok": 0, "held_mtok": 0, "frozen_mtok": 0, "debt_mtok": 30}
    outcome = ledger.do(m.ProposeAdjustment, amount_mtok=50, reason="not so wrong")
    assert outcome["balance"] == {"available_mtok": 20, "held_mtok": 0, "frozen_mtok": 0, "debt_mtok": 0}


def test_an_adjustment_by_nothing_is_refused(ledger: Ledger) -> None:
    with pytest.raises(errors.AdjustmentOfNothing):
        ledger.do(m.ProposeAdjustment, amount_mtok=0, reason="why")


def test_a_large_adjustment_waits_for_somebody_else(ledger: Ledger) -> None:
    outcome = ledger.do(m.ProposeAdjustment, amount_mtok=LIMIT + 1, reason="goodwill", actor="founder:ada")
    assert outcome["needs_approval"] is True
    assert ledger.account().available_mtok == 1_000
    adjustment_id = outcome["adjustment_id"]
    with pytest.raises(errors.OwnApproval):
        ledger.do(m.ApproveAdjustment, adjustment_id=adjustment_id, actor="founder:ada")
    ledger.do(m.ApproveAdjustment, adjustment_id=adjustment_id, actor="founder:bob")
    assert ledger.account().available_mtok == LIMIT + 1_001
    for command, fields in ((m.ApproveAdjustment, {}), (m.RejectAdjustment, {"reason": "no"})):
        with pytest.raises(errors.AdjustmentNotFound):
            ledger.do(command, adjustment_id=adjustment_id, actor="founder:bob", **fields)


def test_a_rejected_adjustment_changes_nothing(ledger: Ledger) -> None:
    adjustment_id = ledger.do(m.ProposeAdjustment, amount_mtok=-LIMIT - 1, reason="?")["adjustment_id"]
    ledger.do(m.RejectAdjustment, adjustment_id=adjustment_id, reason="no", actor="founder:bob")
    assert ledger.account().available_mtok == 1_000


def test_what_one_person_adjusts_alone_is_limited_by_the_day(ledger: Ledger) -> None:
    def needs_approval(amount_mtok: int, actor: str) -> bool:
        found: bool = ledger.do(m.ProposeAdjustment, amount_mtok=amount_mtok, reason="goodwill", actor=actor)[
            "needs_approval"
        ]
        return found

    assert not needs_approval(LIMIT, "founder:ada")
    assert needs_approval(-1, "founder:ada")
    assert not needs_approval(1, "founder:bob")
    ledger.wait(days=1)
    assert not needs_approval(-1, "founder:ada")


def test_the_number_of_waiting_adjustments_is_limited(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limit_decisions, "MAX_PENDING_ADJUSTMENTS", 1)
    ledger.do(m.ProposeAdjustment, amount_mtok=LIMIT + 1, reason="goodwill")
    with pytest.raises(errors.TooManyAdjustments):
        ledger.do(m.ProposeAdjustment, amount_mtok=LIMIT + 1, reason="goodwill")
