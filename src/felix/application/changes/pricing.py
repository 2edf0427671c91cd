"""What a step, or a whole change, costs: by the client's own rate card, or else by what Felix asks."""

from __future__ import annotations

from collections.abc import Sequence

from felix.application.ledger import DEFAULT_RATE_CARD
from felix.application.unit_of_work import UnitOfWork
from felix.domain.changes import bills
from felix.domain.changes.bills import Bill
from felix.domain.changes.messages import Line, RequestChange
from felix.domain.metering.catalogue import own_price
from felix.domain.metering.rate_card import RateCard, UnknownPrice

#: What is on nobody's card, and how the part of a bill that it makes is called.
OWN_CARD = "felix/0"
#: What a change takes that is neither large nor small, and what it takes at the most.
_LIKELY = {bills.CONTEXT: 10, bills.PLAN: 1, bills.DIFF: 1, bills.CHECK: 500, bills.DEPLOY: 1, bills.SAMPLE: 1}
_MOST = {bills.CONTEXT: 2_000, bills.PLAN: 3, bills.DIFF: 3, bills.CHECK: 90_000, bills.DEPLOY: 1, bills.SAMPLE: 500}
#: What a model is told and answers, in tokens, once and with everything that can be asked of it.
_LIKELY_TOKENS, _MOST_TOKENS = (6_000, 1_000), (120_000, 16_000)


def bill(unit: UnitOfWork, lines: Sequence[Line]) -> Bill:
    """Price lines now. Raises ``UnknownPrice``: what nobody has priced is not done."""
    card = unit.find(RateCard, DEFAULT_RATE_CARD)
    priced, cards = [], []
    for line in lines:
        if not line.quantity:
            continue
        try:
            if card is None:
                raise UnknownPrice(meter=line.meter, model=line.model)
            found = card.price(line.meter, line.quantity, line.model, unit.context.at)
            cards.append(f"{DEFAULT_RATE_CARD}/{found.version}")
        except UnknownPrice as unknown:
            try:
                found = own_price(line.meter, line.quantity)
            except KeyError:
                raise unknown from None
            cards.append(OWN_CARD)
        priced.append((line.meter, line.quantity, found.amount_mtok, found.trace))
    return Bill(priced, "+".join(sorted(set(cards))))


def quotes(unit: UnitOfWork, asked: RequestChange) -> tuple[Bill, Bill]:
    """What a change will probably cost, and what it costs at the most.

    The grammar alone makes the low end, unless a model is to plan whatever happens; the high end has the model. Raises
    ``UnknownPrice`` about a model that was named. One that nobody named is not asked where it has no price.
    """
    model = asked.model or _default(unit, asked)
    likely = model if asked.planner == "llm" else None
    low = bill(unit, _expected(asked.kind, likely, _LIKELY, _LIKELY_TOKENS))
    return low, bill(unit, _expected(asked.kind, model, _MOST, _MOST_TOKENS))


def _default(unit: UnitOfWork, asked: RequestChange) -> str | None:
    """The model that is asked though nobody named one, if it has a price."""
    if asked.default_model is None or asked.kind == "operations" or asked.planner == "grammar":
        return None
    try:
        bill(unit, _reading(asked.default_model, _MOST_TOKENS))
    except UnknownPrice:
        return None
    return asked.default_model


def _expected(kind: str, model: str | None, quantities: dict[str, int], tokens: tuple[int, int]) -> list[Line]:
    unplanned = (bills.CONTEXT, bills.PLAN) if kind == "operations" else ()
    lines = [
        Line(meter=meter, quantity=quantity, model=None)
        for meter, quantity in quantities.items()
        if meter not in unplanned
    ]
    return lines if model is None else [*lines, *_reading(model, tokens)]


def _reading(model: str, tokens: tuple[int, int]) -> list[Line]:
    """What a model reads and answers."""
    meters = ("llm.input_tokens", "llm.output_tokens")
    return [Line(meter=meter, quantity=each, model=model) for meter, each in zip(meters, tokens, strict=True)]
