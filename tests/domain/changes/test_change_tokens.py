"""How a change is paid for: quoted, held, settled; what happens where the tokens run out; what nobody pays for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from change_book import ADA, MEMBER, OWNER, Shop, Walk, digest, line

from felix.domain.changes import errors
from felix.domain.changes import messages as m
from felix.domain.ledger.messages import FreezeTokenAccount, SetSpendCap, UnfreezeTokenAccount, VoidLot
from felix.domain.metering.messages import PublishRateCard
from felix.domain.metering.prices import PerUnitPrice
from felix.domain.metering.rate_card import UnknownPrice


def test_nothing_is_held_before_the_first_step_and_the_quote_is_shown() -> None:
    shop = Shop(tokens_mtok=0)
    walk = shop.request()
    change = walk.change
    assert shop.book.names() == ["change_requested", "tokens_quoted"]
    assert 0 < shop.book.last[1].low_mtok < shop.book.last[1].high_mtok == change.ceiling_mtok  # type: ignore[attr-defined]
    assert change.held_mtok == 0


def test_each_step_is_held_and_settled_and_the_ledger_says_which() -> None:
    shop = Shop()
    before = shop.account.available_mtok
    walk = shop.request().go_live()
    settled = [event for event in shop.book.events[walk.change.id] if isinstance(event, m.TokensSettled)]
    assert [(event.step, event.settled_mtok) for event in settled] == [
        ("ingest", 1_000), ("plan", 1_000), ("diff", 500), ("check", 1_000), ("deploy", 2_100),
    ]  # fmt: skip
    assert walk.change.spent_mtok == 5_600 == before - shop.account.available_mtok
    captured = [event for event in shop.book.events[shop.account.id] if type(event).__name__ == "HoldCaptured"]
    assert {event.meter for event in captured} == {  # type: ignore[attr-defined]
        "changes.context_kb", "changes.plan", "changes.diff", "changes.check_cpu_ms", "changes.deploy",
    }  # fmt: skip
    assert {event.reference for event in captured} == {walk.id}  # type: ignore[attr-defined]
    assert {(event.app, event.person) for event in captured} == {("shop", "usr_mia")}  # type: ignore[attr-defined]


#: Each step that holds tokens: how a change comes before it, the step itself, and where it goes on.
STEPS: dict[str, tuple[Callable[[Walk], object], Callable[[Walk], object], str, str]] = {
    "ingest": (lambda walk: None, lambda walk: walk.ingest(), "requested", "ingested"),
    "plan": (lambda walk: walk.ingest(), lambda walk: walk.start_planning(), "ingested", "planning"),
    "request": (
        lambda walk: walk.ingest().start_planning(),
        lambda walk: walk.do(m.HoldForRequest(**walk.step, lines=[line("changes.plan", 1)])),
        "ingested",
        "",
    ),
    "diff": (lambda walk: walk.ingest().plan(), lambda walk: walk.diff(), "planned", "diffed"),
    "check": (lambda walk: walk.ingest().plan().diff(), lambda walk: walk.start_checks(), "diffed", "checking"),
    "deploy": (lambda walk: walk.to_queue(), lambda walk: walk.start(), "approved", "deploying"),
}


@pytest.mark.parametrize("step", STEPS)
def test_a_step_without_tokens_does_nothing_and_goes_on_when_they_come(step: str) -> None:
    before, takes, resumes_at, then = STEPS[step]
    shop = Shop()
    walk = shop.request()
    before(walk)
    drain(shop)
    takes(walk)
    change = walk.change
    assert (change.state, change.resumes_at, change.holds) == ("blocked_funds", resumes_at, {})
    assert shop.account.held_mtok == 0 and walk.environment.lock is None and walk.environment.queue == []
    assert why(shop) == "insufficient_tokens"
    shop.grant(1_000_000)
    walk.do(m.UnblockChange(**walk.step))
    if then:
        assert walk.change.state == ("queued" if step == "deploy" else resumes_at)
        takes(walk)
        assert walk.change.state == then


def why(shop: Shop) -> str:
    """Why the last step could not be paid for."""
    return next(event.why for event in shop.book.last if isinstance(event, m.FundsInsufficient))


def drain(shop: Shop) -> None:
    """Let the account have nothing to spend, whatever it holds."""
    for lot_id in list(shop.account.book.lots):
        shop.book.do(VoidLot(account_id=shop.account_id, lot_id=lot_id, reason="test"), ADA)


def test_a_spend_cap_and_a_frozen_account_block_a_change_like_missing_tokens() -> None:
    shop = Shop()
    walk = shop.request()
    shop.book.do(FreezeTokenAccount(account_id=shop.account_id, reason="dispute"), ADA)
    walk.ingest()
    assert walk.change.state == "blocked_funds" and why(shop) == "account_frozen"
    shop.book.do(UnfreezeTokenAccount(account_id=shop.account_id, reason="settled"), ADA)
    shop.book.do(SetSpendCap(account_id=shop.account_id, limit_mtok=10, window="day"), ADA)
    walk.do(m.UnblockChange(**walk.step))
    walk.ingest()
    assert walk.change.state == "blocked_funds" and why(shop) == "spend_cap_reached"


def test_a_change_that_waits_for_tokens_expires_after_a_week() -> None:
    shop = Shop(tokens_mtok=0)
    walk = shop.request().ingest()
    shop.book.wait(days=7)
    with pytest.raises(errors.ChangeExpiredAlready):
        walk.do(m.UnblockChange(**walk.step))
    walk.do(m.ExpireChange(**walk.step))
    assert walk.change.state == "expired"


def test_no_step_goes_beyond_the_ceiling_and_the_client_can_raise_it() -> None:
    shop = Shop()
    walk = shop.request(ceiling_mtok=4_100).ingest().plan()
    walk.diff()
    walk.start_checks()
    assert walk.change.state == "blocked_funds"
    assert why(shop) == "price_ceiling_reached"
    with pytest.raises(errors.CeilingNotHigher):
        walk.do(m.RaiseCeiling(**walk.step, ceiling_mtok=4_000), MEMBER)
    with pytest.raises(errors.NotYourChange):
        walk.do(m.RaiseCeiling(**walk.step, ceiling_mtok=9_000), "client_member:usr_other")
    walk.do(m.RaiseCeiling(**walk.step, ceiling_mtok=9_000), MEMBER)
    walk.do(m.UnblockChange(**walk.step))
    walk.check()
    assert walk.change.state == "checked"


def test_nobody_is_asked_to_approve_what_could_not_be_deployed() -> None:
    shop = Shop()
    walk = shop.request(ceiling_mtok=6_000).ingest().plan().diff().check().ask_people()
    assert (walk.change.state, walk.change.resumes_at) == ("blocked_funds", "checked")
    walk = shop.request().ingest().plan().diff().check().ask_people(max_change_mtok=5_000)
    assert walk.change.state == "blocked_funds" and why(shop) == "policy_maximum"


def test_what_costs_more_than_was_held_is_the_platforms_loss() -> None:
    shop = Shop()
    walk = shop.request()
    walk.do(m.StartIngestion(**walk.step, lines=[line("changes.context_kb", 10)]))
    walk.do(m.RecordIngested(**walk.step, context=digest("c"), lines=[line("changes.context_kb", 1_000)]))
    settled = next(event for event in shop.book.last if isinstance(event, m.TokensSettled))
    assert (settled.cost_mtok, settled.settled_mtok, settled.absorbed_mtok) == (10_000, 100, 9_900)
    walk = shop.request()
    walk.do(m.StartIngestion(**walk.step))
    walk.do(m.RecordIngested(**walk.step, context=digest("c"), lines=[line("changes.context_kb", 1_000)]))
    assert (walk.change.spent_mtok, walk.change.absorbed_mtok) == (0, 10_000)


def test_a_hold_that_ran_out_of_time_costs_nobody_anything() -> None:
    shop = Shop()
    before = shop.account.available_mtok
    walk = shop.request()
    walk.do(m.StartIngestion(**walk.step, lines=[line("changes.context_kb", 100)]))
    shop.book.wait(hours=2)
    walk.do(m.RecordIngested(**walk.step, context=digest("c"), lines=[line("changes.context_kb", 100)]))
    assert (walk.change.spent_mtok, walk.change.absorbed_mtok, walk.change.held_mtok) == (0, 1_000, 0)
    assert shop.account.available_mtok == before


def test_a_long_deployment_keeps_its_hold() -> None:
    walk = Shop().request().to_queue(bake_s=5 * 86_400).start().promote()
    for _ in range(10):
        walk.shop.book.wait(hours=13)
        walk.measure()
    assert walk.change.held_mtok == walk.shop.account.held_mtok > 0
    walk.succeed()
    assert walk.change.absorbed_mtok == 0


# --- models -------------------------------------------------------------------------------------------------


def card(shop: Shop) -> None:
    """A card that prices one model, and plans for nothing."""
    prices = [
        PerUnitPrice(meter="llm.input_tokens", model="small", price_mtok=10),
        PerUnitPrice(meter="llm.output_tokens", model="small", price_mtok=30),
        PerUnitPrice(meter="changes.plan", price_mtok=0),
    ]
    shop.book.do(PublishRateCard(prices=prices), ADA)


def model_lines(tokens_in: int, tokens_out: int) -> list[m.Line]:
    """What a request used."""
    return [line("llm.input_tokens", tokens_in, "small"), line("llm.output_tokens", tokens_out, "small")]


def asking_a_model() -> Walk:
    """A change that is planned by a model."""
    shop = Shop()
    card(shop)
    return shop.request(model="small").ingest().start_planning()


def test_a_request_is_held_at_its_worst_and_paid_as_it_was() -> None:
    walk = asking_a_model()
    told = walk.do(m.HoldForRequest(**walk.step, lines=model_lines(1_000, 500)))
    assert walk.change.held_mtok == 25_000
    walk.do(m.SettleRequest(**walk.step, hold_id=told["hold_id"], lines=model_lines(900, 100)))
    assert (walk.change.held_mtok, walk.change.spent_mtok - 1_000) == (0, 12_000)


def test_a_provider_that_failed_without_a_word_costs_the_client_nothing() -> None:
    walk = asking_a_model()
    told = walk.do(m.HoldForRequest(**walk.step, lines=model_lines(1_000, 500)))
    walk.do(m.SettleRequest(**walk.step, hold_id=told["hold_id"], unmeasured=3))
    assert "provider_usage_unmeasured" in walk.shop.book.names()
    assert (walk.change.held_mtok, walk.change.spent_mtok) == (0, 1_000)
    with pytest.raises(errors.NoSuchHold):
        walk.do(m.SettleRequest(**walk.step, hold_id=told["hold_id"]))


def quoted(shop: Shop, **asked: Any) -> tuple[int, int]:
    """The low and the high end."""
    shop.request(**asked)
    quote = shop.book.last[1]
    assert isinstance(quote, m.TokensQuoted)
    return quote.low_mtok, quote.high_mtok


def test_the_range_of_a_quote_is_the_grammar_alone_and_the_model_that_is_asked_else() -> None:
    shop = Shop()
    card(shop)

    low, high = quoted(shop)
    with_model = quoted(shop, default_model="small")
    assert with_model[0] == low and with_model[1] > high
    assert quoted(shop, model="small") == with_model
    assert quoted(shop, planner="llm", default_model="small")[0] > low, "the grammar is not asked"
    assert quoted(shop, planner="grammar", default_model="small") == (low, high)
    said_exactly: dict[str, Any] = {"kind": "operations", "operations": digest("operations")}
    assert quoted(shop, **said_exactly, default_model="small") == quoted(shop, **said_exactly)


def test_a_model_that_nobody_named_is_not_quoted_without_a_price() -> None:
    shop = Shop()
    assert quoted(shop, default_model="unheard-of") == quoted(shop)


def test_what_nobody_priced_is_not_done() -> None:
    shop = Shop()
    with pytest.raises(UnknownPrice):
        shop.request(model="unheard-of")
    walk = shop.request().ingest().start_planning()
    with pytest.raises(UnknownPrice):
        walk.do(m.HoldForRequest(**walk.step, lines=model_lines(1, 1)))


def test_a_request_that_is_under_way_is_paid_before_the_change_is_cancelled() -> None:
    walk = asking_a_model()
    told = walk.do(m.HoldForRequest(**walk.step, lines=model_lines(1_000, 500)))
    assert walk.do(m.CancelChange(change_id=walk.id), MEMBER)["state"] == "planning"
    walk.do(m.CancelChange(change_id=walk.id), MEMBER)
    walk.do(m.SettleRequest(**walk.step, hold_id=told["hold_id"], lines=model_lines(100, 0)))
    assert (walk.change.state, walk.change.spent_mtok - 1_000) == ("cancelled", 1_000)


def test_no_request_leaves_after_somebody_has_cancelled() -> None:
    walk = asking_a_model()
    walk.do(m.HoldForRequest(**walk.step, lines=model_lines(10, 10)))
    walk.do(m.CancelChange(change_id=walk.id), MEMBER)
    told = walk.do(m.HoldForRequest(**walk.step, lines=model_lines(10, 10)))
    assert told["hold_id"] is None and walk.change.state == "cancelled"


# --- endings ------------------------------------------------------------------------------------------------


def test_only_its_own_people_cancel_a_change() -> None:
    walk = Shop().request()
    with pytest.raises(errors.NotYourChange):
        walk.do(m.CancelChange(change_id=walk.id), "client_approver:usr_anton")
    walk.do(m.CancelChange(change_id=walk.id), OWNER)
    assert walk.change.state == "cancelled"


def test_a_failure_of_the_machinery_is_tried_again_three_times() -> None:
    walk = Shop().request().ingest()
    for attempt in range(4):
        walk.start_planning()
        told = walk.do(m.FailStep(**walk.step, step="plan", failure="infra", reason="the network is away"))
        assert told["retried"] is (attempt < 3)
    assert walk.change.state == "failed" and walk.shop.account.held_mtok == 0


def test_any_other_failure_ends_the_change_and_pays_what_was_used() -> None:
    walk = Shop().request().ingest().start_planning()
    spent = walk.change.spent_mtok
    walk.do(m.FailStep(**walk.step, step="plan", failure="planner", reason="no", lines=[line("changes.plan", 1)]))
    assert walk.change.state == "failed"
    assert walk.change.spent_mtok - spent == 1_000 and walk.shop.account.held_mtok == 0


def test_going_back_costs_nothing_and_asks_for_no_balance() -> None:
    shop = Shop()
    walk = shop.request().go_live()
    drain(shop)
    told = walk.do(m.RequestRollback(change_id=walk.id, reason="people complain"), OWNER)
    back = Walk(shop, told["change_id"], digest("back"))
    assert back.change.state == "rolling_back" and walk.environment.stable == digest("r0")
    walk.do(m.FinishRollback(**back.deploy_step))
    assert (back.change.state, back.change.spent_mtok) == ("deployed", 0)
    assert shop.account.available_mtok == 0
