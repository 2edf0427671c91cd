"""A quantity becomes millitokens in whole numbers, rounded up once, with the sum written out."""

from __future__ import annotations

from fractions import Fraction
from math import ceil
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from rate_card_stories import PRICE, amounts, flat, per_unit, pers, prices, quantities, tiered, tiered_prices

from felix.domain.metering.prices import (
    MAX_TRACE_CHARS,
    ChargeTooLarge,
    DuplicatePrice,
    amount_of,
    charge,
    price_table,
)
from felix.domain.values import MAX_SINGLE_AMOUNT


def charged(price: Any, quantity: int) -> tuple[int, str]:
    (rule,) = price_table([price.model_dump(mode="json")], version=3).values()
    return charge(rule, quantity)


def test_the_traces_are_as_documented() -> None:
    assert charged(flat(1500), 9) == (1500, "v3 flat 1500")
    assert charged(per_unit(1500), 4808) == (7212, "v3 per_unit 1500/1000 x4808")
    assert charged(tiered((1000, 1500, 1000), (None, 1200, 1000)), 4808) == (
        6070,
        "v3 tiered 1500/1000 x1000 + 1200/1000 x3808",
    )
    assert charged(tiered((1000, 1500, 1000), (None, 1200, 1000)), 1000) == (1500, "v3 tiered 1500/1000 x1000")


def test_rounding_is_up_and_once_a_line_not_once_a_tier() -> None:
    assert charged(per_unit(1, per=1000), 1)[0] == 1
    assert charged(per_unit(1, per=1000), 1001)[0] == 2
    assert charged(tiered((1, 1, 2), (2, 1, 3), (None, 1, 6)), 3)[0] == 1
    assert charged(per_unit(0), 5)[0] == 0


@given(amounts, pers, quantities)
def test_a_price_per_unit_is_the_ceiling_of_the_exact_product(price_mtok: int, per: int, quantity: int) -> None:
    assert charged(per_unit(price_mtok, per), quantity)[0] == ceil(Fraction(price_mtok * quantity, per))


@given(tiered_prices(), quantities)
def test_a_tiered_price_is_the_ceiling_of_the_exact_sum(price: Any, quantity: int) -> None:
    exact, below = Fraction(0), 0
    for tier in price.tiers:
        end = quantity if tier.up_to is None else tier.up_to
        exact += Fraction(tier.price_mtok, tier.per) * max(0, min(quantity, end) - below)
        below = end
    assert charged(price, quantity)[0] == ceil(exact)


@given(tiered_prices(), quantities, quantities)
def test_more_usage_never_costs_less(price: Any, one: int, other: int) -> None:
    less, more = sorted((one, other))
    assert charged(price, less)[0] <= charged(price, more)[0]


@given(prices, quantities)
def test_a_trace_is_short_and_gives_the_amount_again(price: Any, quantity: int) -> None:
    amount_mtok, trace = charged(price, quantity)
    assert len(trace) <= MAX_TRACE_CHARS
    assert amount_of(trace) in (amount_mtok, None)
    assert amount_of(trace) is not None or len(price.tiers) > 3


def test_a_trace_that_would_be_too_long_is_shortened() -> None:
    price = tiered(*((n * 10**6, 10**6 - n, 10**9 - n) for n in range(1, 20)), (None, 1, 1))
    _, trace = charged(price, 10**9)
    assert trace == "v3 tiered x1000000000"
    assert amount_of(trace) is None


@pytest.mark.parametrize("text", ["", "v3", "v3 flat", "v3 flat -1", "v3 flat 1\n", "v3 per_unit 1/1", "x" * 5000])
def test_other_text_is_no_trace(text: str) -> None:
    with pytest.raises(ValueError, match="not a price trace"):
        amount_of(text)


def test_a_charge_beyond_one_debit_is_refused() -> None:
    assert charged(per_unit(1, per=1), MAX_SINGLE_AMOUNT)[0] == MAX_SINGLE_AMOUNT
    for price in (per_unit(2, per=1), tiered((None, 2, 1))):
        with pytest.raises(ChargeTooLarge):
            charged(price, MAX_SINGLE_AMOUNT)


def test_a_meter_and_model_have_one_price() -> None:
    two = [per_unit(1).model_dump(), per_unit(2).model_dump()]
    with pytest.raises(DuplicatePrice):
        price_table(two, version=1)
    assert len(price_table([two[0], per_unit(2, model="gpt-4o").model_dump()], version=1)) == 2


@pytest.mark.parametrize(
    "price",
    [
        {"kind": "per_unit", "meter": "m", "price_mtok": 1.0},
        {"kind": "per_unit", "meter": "m", "price_mtok": "1"},
        {"kind": "per_unit", "meter": "m", "price_mtok": True},
        {"kind": "per_unit", "meter": "m", "price_mtok": -1},
        {"kind": "per_unit", "meter": "m", "price_mtok": 1, "per": 0},
        {"kind": "per_unit", "meter": "M", "price_mtok": 1},
        {"kind": "per_unit", "meter": "m", "model": "", "price_mtok": 1},
        {"kind": "flat", "meter": "m", "price_mtok": 1, "per": 1},
        {"kind": "cheap", "meter": "m", "price_mtok": 1},
        {"meter": "m", "price_mtok": 1},
        {"kind": "tiered", "meter": "m", "tiers": []},
        {"kind": "tiered", "meter": "m", "tiers": [{"up_to": 5, "price_mtok": 1}]},
        {"kind": "tiered", "meter": "m", "tiers": [{"price_mtok": 1}, {"price_mtok": 1}]},
        {"kind": "tiered", "meter": "m", "tiers": [{"up_to": n, "price_mtok": 1} for n in (5, 5, None)]},
        {"kind": "tiered", "meter": "m", "tiers": [{"up_to": n, "price_mtok": 1} for n in (*range(1, 21), None)]},
    ],
)
def test_a_price_that_makes_no_sense_is_refused(price: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        PRICE.validate_python(price)


@given(st.lists(prices, max_size=3))
def test_every_kind_of_price_survives_json(some: list[Any]) -> None:
    for price in some:
        assert PRICE.validate_json(price.model_dump_json()) == price
