"""A rate card's versions follow each other and never change."""

from __future__ import annotations

from typing import Any

import pytest
from eventsourcing.utils import get_topic
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from rate_card_stories import (
    DAY,
    NOW,
    TENANT,
    a_card,
    context,
    flat,
    per_unit,
    prices,
    published,
    quantities,
    replayed,
    tiered,
)

from felix.domain.base import stream_name
from felix.domain.metering import rate_card
from felix.domain.metering.messages import PublishRateCard
from felix.domain.metering.prices import ChargeTooLarge, Priced, amount_of
from felix.domain.metering.rate_card import (
    MeterComparison,
    RateCard,
    RateCardFull,
    RateCardInThePast,
    RateCardOutOfOrder,
    RateCardVersionNotFound,
    UnknownPrice,
    quote,
    what_if,
)

# --- publishing ---------------------------------------------------------------------------------------------


def test_the_first_version_is_in_force_at_once() -> None:
    card = RateCard.begin(context(), "default")
    outcome = card.publish(PublishRateCard(prices=[per_unit(1500)]))
    assert outcome == {"rate_card_id": "default", "version": 1, "effective_from": "2026-01-01T12:00:00+00:00"}
    assert [get_topic(type(event)) for event in card.pending_events] == [
        "metering.rate_card_created",
        "metering.rate_card_published",
    ]
    assert card.id == stream_name(TENANT, "rate_card", "default")


def test_the_first_version_may_lie_in_the_past() -> None:
    card = a_card(per_unit(1500), effective_from=NOW - 30 * DAY)
    assert card.price("llm.input_tokens", 1000, None, NOW - 30 * DAY).amount_mtok == 1500


def test_a_later_version_in_the_past_is_refused() -> None:
    card = a_card(per_unit(1500), effective_from=NOW - 30 * DAY)
    with pytest.raises(RateCardInThePast):
        published(card, per_unit(9), effective_from=NOW - DAY)
    assert card.version_at(NOW) == 1


def test_a_version_before_the_last_one_is_refused() -> None:
    card = published(a_card(per_unit(1)), per_unit(2), effective_from=NOW + 2 * DAY)
    for effective_from in (NOW + DAY, None):
        with pytest.raises(RateCardOutOfOrder) as refusal:
            published(card, per_unit(3), effective_from=effective_from)
        assert refusal.value.facts["previous_effective_from"] == (NOW + 2 * DAY).isoformat()


def test_a_version_that_is_waiting_is_replaced_by_one_for_the_same_moment() -> None:
    card = published(a_card(per_unit(1)), per_unit(2), effective_from=NOW + DAY)
    published(card, per_unit(3), effective_from=NOW + DAY)
    assert [card.version_at(NOW - DAY), card.version_at(NOW), card.version_at(NOW + DAY)] == [None, 1, 3]


def test_a_card_keeps_only_so_many_prices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_card, "MAX_PRICES_KEPT", 2)
    card = published(a_card(per_unit(1)), per_unit(2))
    with pytest.raises(RateCardFull):
        published(card, per_unit(3))


def test_a_list_prices_a_meter_and_model_once() -> None:
    with pytest.raises(ValidationError, match="two prices"):
        PublishRateCard(prices=[per_unit(1), per_unit(2)])
    with pytest.raises(ValidationError):
        PublishRateCard(prices=[])


# --- pricing ------------------------------------------------------------------------------------------------


def test_the_version_in_force_at_the_time_sets_the_price() -> None:
    card = published(a_card(per_unit(1000)), per_unit(2000), effective_from=NOW + DAY)
    assert card.price("llm.input_tokens", 1000, None, NOW) == Priced(1000, 1, "v1 per_unit 1000/1000 x1000")
    assert card.price("llm.input_tokens", 1000, None, NOW + DAY) == Priced(2000, 2, "v2 per_unit 2000/1000 x1000")


def test_the_exact_model_goes_before_the_default() -> None:
    card = a_card(per_unit(1000), per_unit(2500, model="gpt-4o"))
    asked = {
        model: card.price("llm.input_tokens", 1000, model, NOW).amount_mtok for model in ("gpt-4o", "GPT-4o", None)
    }
    assert asked == {"gpt-4o": 2500, "GPT-4o": 1000, None: 1000}


def test_an_unknown_price_is_refused() -> None:
    card = a_card(per_unit(2500, model="gpt-4o"))
    for meter, model in (("llm.input_tokens", None), ("llm.input_tokens", "other"), ("module.run", "gpt-4o")):
        with pytest.raises(UnknownPrice) as refusal:
            card.price(meter, 1, model, NOW)
        assert refusal.value.facts == {
            "meter": meter,
            "model": model,
            "at": NOW.isoformat(),
            "rate_card_version": 1,
        }


def test_before_the_first_version_nothing_has_a_price() -> None:
    with pytest.raises(UnknownPrice) as refusal:
        a_card(per_unit(1)).price("llm.input_tokens", 1, None, NOW - DAY)
    assert refusal.value.facts["rate_card_version"] is None
    with pytest.raises(UnknownPrice):
        RateCard.begin(context(), "empty").price("llm.input_tokens", 1, None, NOW)


def test_a_price_beyond_one_debit_is_refused() -> None:
    with pytest.raises(ChargeTooLarge):
        a_card(per_unit(2**53 - 1, per=1)).price("llm.input_tokens", 2, None, NOW)


@given(prices, quantities, st.sampled_from([None, "gpt-4o"]))
def test_what_was_charged_is_recomputed_from_version_and_inputs(price: Any, quantity: int, model: str | None) -> None:
    card = a_card(price)
    charged = card.price(price.meter, quantity, model, NOW)
    published(card, flat(1, meter=price.meter), at=NOW + DAY)

    again = replayed(card).recompute(version=charged.version, meter=price.meter, quantity=quantity, model=model)

    assert again == charged
    assert amount_of(charged.trace) in (charged.amount_mtok, None)


def test_a_version_that_never_was_is_not_recomputed() -> None:
    for version in (-1, 0, 2):
        with pytest.raises(RateCardVersionNotFound):
            a_card(per_unit(1)).recompute(version=version, meter="llm.input_tokens", quantity=1, model=None)
    with pytest.raises(UnknownPrice):
        a_card(per_unit(1)).recompute(version=1, meter="module.run", quantity=1, model=None)


def test_a_card_is_the_same_from_its_events_and_from_its_snapshot() -> None:
    card = published(a_card(per_unit(1), tiered((5, 1, 2), (None, 1, 3))), per_unit(2), effective_from=NOW + DAY)
    card.price("llm.input_tokens", 1, None, NOW)
    restored = RateCard.restore(
        stream=card.id, version=card.version, created_on=NOW, modified_on=NOW, state=card.snapshot()
    )
    assert replayed(card).snapshot() == restored.snapshot() == card.snapshot()
    assert restored.price("storage.gb_hour", 9, None, NOW) == card.price("storage.gb_hour", 9, None, NOW)
    published(restored, per_unit(3), effective_from=NOW + DAY)
    assert card.version_at(NOW + DAY) == 2


# --- questions ----------------------------------------------------------------------------------------------


def test_a_quote_prices_every_line_and_adds_them_up() -> None:
    card = a_card(per_unit(1500), flat(5000))
    quoted = quote(card, [("llm.input_tokens", 4808, "gpt-4o"), ("change.plan", 1, None)], NOW)
    assert [line.amount_mtok for line in quoted.lines] == [7212, 5000]
    assert quoted.lines[0].trace == "v1 per_unit 1500/1000 x4808"
    assert quoted.total_mtok == 12212
    with pytest.raises(UnknownPrice):
        quote(card, [("module.run", 1, None)], NOW)


def test_a_draft_is_replayed_over_what_was_charged() -> None:
    draft = [per_unit(2000), flat(1, meter="change.plan")]
    debits = [
        ("llm.input_tokens", 1000, "gpt-4o", 1500),
        ("llm.input_tokens", 1, None, 2),
        ("module.run", 3, None, 300),
        ("change.plan", 1, None, 5000),
    ]
    assert what_if(draft, iter(debits)) == {
        "llm.input_tokens": MeterComparison(lines=2, quantity=1001, charged_mtok=1502, draft_mtok=2002),
        "module.run": MeterComparison(
            lines=1, quantity=3, charged_mtok=300, unpriced_lines=1, unpriced_charged_mtok=300
        ),
        "change.plan": MeterComparison(lines=1, quantity=1, charged_mtok=5000, draft_mtok=1),
    }


@given(st.lists(st.tuples(prices, quantities), min_size=1, max_size=8, unique_by=lambda pair: pair[0].meter))
def test_the_same_prices_would_have_charged_the_same(lines: list[tuple[Any, int]]) -> None:
    draft = [price for price, _ in lines]
    card = a_card(*draft)
    debits = [(p.meter, quantity, None, card.price(p.meter, quantity, None, NOW).amount_mtok) for p, quantity in lines]
    assert all(total.charged_mtok == total.draft_mtok for total in what_if(draft, debits).values())
