"""Given what was published, when somebody publishes, prices or asks, then …"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from hypothesis import strategies as st
from pydantic import TypeAdapter

from felix.domain.base import CommandContext
from felix.domain.metering.catalogue import CATALOGUE_ID, MeterCatalogue
from felix.domain.metering.messages import PublishRateCard
from felix.domain.metering.prices import Price
from felix.domain.metering.rate_card import RateCard

TENANT = UUID(int=7)
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
PRICE: TypeAdapter[Any] = TypeAdapter(Price)


def context(at: datetime = NOW) -> CommandContext:
    """A founder's command at a moment."""
    return CommandContext(TENANT, "key", UUID(int=1 << 16), "founder", at)


def per_unit(price_mtok: int, per: int = 1000, meter: str = "llm.input_tokens", model: str | None = None) -> Any:
    return PRICE.validate_python(
        {"kind": "per_unit", "meter": meter, "model": model, "price_mtok": price_mtok, "per": per}
    )


def flat(price_mtok: int, meter: str = "change.plan") -> Any:
    return PRICE.validate_python({"kind": "flat", "meter": meter, "price_mtok": price_mtok})


def tiered(*tiers: tuple[int | None, int, int], meter: str = "storage.gb_hour") -> Any:
    return PRICE.validate_python(
        {
            "kind": "tiered",
            "meter": meter,
            "tiers": [{"up_to": up_to, "price_mtok": price, "per": per} for up_to, price, per in tiers],
        }
    )


def a_card(*prices: Any, effective_from: datetime | None = None, at: datetime = NOW) -> RateCard:
    """A rate card with one version."""
    card = RateCard.begin(context(at), "default")
    card.publish(PublishRateCard(prices=list(prices), effective_from=effective_from))
    return card


def published(card: RateCard, *prices: Any, at: datetime = NOW, effective_from: datetime | None = None) -> RateCard:
    card.deciding(context(at)).publish(PublishRateCard(prices=list(prices), effective_from=effective_from))
    return card


def replayed(aggregate: Any) -> Any:
    """The same aggregate, added up again from its events."""
    again = None
    for event in aggregate.pending_events:
        again = event.mutate(again)
    return again


def a_catalogue() -> MeterCatalogue:
    return MeterCatalogue.begin(context(), CATALOGUE_ID)


amounts = st.integers(0, 10**7)
pers = st.sampled_from([1, 3, 7, 1000, 10**6]) | st.integers(1, 10**9)
quantities = st.integers(1, 10**8)


@st.composite
def tiered_prices(draw: st.DrawFn) -> Any:
    ends = sorted(draw(st.sets(st.integers(1, 10**8), max_size=8)))
    return tiered(*((end, draw(amounts), draw(pers)) for end in [*ends, None]))


prices = st.one_of(st.builds(per_unit, amounts, pers), st.builds(flat, amounts), tiered_prices())
