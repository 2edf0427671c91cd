"""``felix rates``: what usage costs, version by version."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
from cyclopts import App

from felix.cli.errors import UsageError
from felix.cli.options import Reading, Writing
from felix.cli.output import print_json, print_table, tokens
from felix.cli.session import open_session
from felix.domain.errors import NotFound

app = App(name="rates", help="Publish rate cards and show them.")


@app.command
def publish(file: Path, *, card: str = "default", writing: Writing | None = None) -> None:
    """Publish the next version of a rate card from a JSON file; a published version never changes.

    The file: {"prices": [{"meter": "llm.input_tokens", "model": "gpt-4o", "kind": "per_unit", "price_mtok": 2500,
    "per": 1000}, …], "effective_from": "2027-01-01T00:00:00Z", "note": "…"}; only prices are needed. Kinds are flat,
    per_unit and tiered.

    Parameters
    ----------
    file
        The prices.
    card
        Which rate card.
    """
    from felix.domain.metering.messages import PublishRateCard

    writing = writing or Writing()
    try:
        said = orjson.loads(file.read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise UsageError(f"{file} can't be read as JSON: {error}") from error
    if not isinstance(said, dict):
        raise UsageError(f"{file} is not a JSON object with prices.")
    command = PublishRateCard.model_validate(said | {"rate_card_id": card})
    with open_session() as session:
        session.perform(session.tenant(writing.tenant), command, writing)


@app.command
def show(*, card: str = "default", version: int | None = None, reading: Reading | None = None) -> None:
    """Show the prices of a rate card.

    Parameters
    ----------
    card
        Which rate card.
    version
        Which version. Default: the newest.
    """
    from felix.domain.metering.rate_card import RateCard
    from felix.projections.history import aggregate_at

    reading = reading or Reading()
    with open_session() as session:
        place = session.tenant(reading.tenant)
        found = session.ask(place, lambda tx: aggregate_at(tx, RateCard, card))
    if found is None or not found.prices:
        raise NotFound(f"{place.slug} has no rate card {card}.")
    number = len(found.prices) if version is None else version
    if not 1 <= number <= len(found.prices):
        raise NotFound(f"The rate card {card} has versions 1 to {len(found.prices)}.")
    prices = found.prices[number - 1]
    since = found.effective_from[number - 1]
    if reading.json:
        print_json({"rate_card_id": card, "version": number, "effective_from": since, "prices": prices})
        return
    print_table(
        [{"meter": price["meter"], "model": price.get("model"), "price": _price(price)} for price in prices],
        {"meter": "meter", "model": "model", "price": "tokens"},
        empty="It has no prices.",
        title=f"{card}, version {number}, in force from {since:%Y-%m-%d %H:%M:%S}",
    )


def _price(price: dict[str, Any]) -> str:
    if price["kind"] == "flat":
        return f"{tokens(price['price_mtok'])} each time"
    if price["kind"] == "per_unit":
        return f"{tokens(price['price_mtok'])} for {price['per']:,}"
    return "; ".join(
        (f"up to {tier['up_to']:,}" if tier.get("up_to") else "beyond")
        + f" {tokens(tier['price_mtok'])} for {tier['per']:,}"
        for tier in price["tiers"]
    )
