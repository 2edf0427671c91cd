"""What a step, or a whole change, costs: by the client's own rate card, or else by what Felix asks."""

from __future__ import annotations

from collections.abc import Sequence

from felix.application.ledger import DEFAULT_RATE_CARD
from felix.application.unit_of_work import UnitOfWork
from felix.domain.changes import bills
from felix.domain.changes.bills import Bill
from felix.domain.changes.messages import Line
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


def quotes(unit: UnitOfWork, kind: str, model: str | None) -> tuple[Bill, Bill]:
    """What a change will probably cost, and what it costs at the most. Raises ``UnknownPrice``."""
    return tuple(  # type: ignore[return-value]
        bill(unit, _expected(kind, model, quantities, tokens))
        for quantities, tokens in ((_LIKELY, _LIKELY_TOKENS), (_MOST, _MOST_TOKENS))
    )


def _expected(kind: str, model: str | None, quantities: dict[str, int], tokens: tuple[int, int]) -> list[Line]:
    unplanned = (bills.CONTEXT, bills.PLAN) if kind == "operations" else ()
    lines = [
        Line(meter=meter, quantity=quantity, model=None)
        for meter, quantity in quantities.items()
        if meter not in unplanned
    ]
    if model is not None:
        for meter, quantity in zip(("llm.input_tokens", "llm.output_tokens"), tokens, strict=True):
            lines.append(Line(meter=meter, quantity=quantity, model=model))
    return lines
