"""What a step, or a whole change, costs: by the client's own rate card, or else by what Felix asks."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from felix.application.ledger import DEFAULT_RATE_CARD
from felix.application.unit_of_work import UnitOfWork
from felix.domain.changes import bills
from felix.domain.changes.bills import CACHED_INPUT, INPUT, OUTPUT, Bill, key_secret
from felix.domain.changes.messages import Line, ModelKey, RequestChange
from felix.domain.metering.catalogue import own_price
from felix.domain.metering.prices import Priced
from felix.domain.metering.rate_card import RateCard, UnknownPrice
from felix.domain.secrets.tenant_secrets import SECRETS_STREAM, TenantSecrets

#: What is on nobody's card, and how the part of a bill that it makes is called.
OWN_CARD = "felix/0"
#: The card of what a client pays its provider itself.
OWN_KEY_CARD = "own-key/0"
#: Where a card has no price of its own for it, what a model had read before costs what it reads.
_OTHERWISE = {CACHED_INPUT: INPUT}
#: What it costs, and the sum written out.
_FREE = (0, "v0 flat 0")
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
            found = _on_card(card, line, unit.context.at)
            cards.append(f"{DEFAULT_RATE_CARD}/{found.version}")
        except UnknownPrice as unknown:
            try:
                found = own_price(line.meter, line.quantity)
            except KeyError:
                raise unknown from None
            cards.append(OWN_CARD)
        priced.append((line.meter, line.quantity, found.amount_mtok, found.trace))
    return Bill(priced, "+".join(sorted(set(cards))))


def _on_card(card: RateCard, line: Line, at: datetime) -> Priced:
    try:
        return card.price(line.meter, line.quantity, line.model, at)
    except UnknownPrice:
        if (other := _OTHERWISE.get(line.meter)) is None:
            raise
        return card.price(other, line.quantity, line.model, at)


def bill_of_request(unit: UnitOfWork, lines: Sequence[Line], key: ModelKey | None) -> Bill:
    """Price what a request to a model uses. With the client's own key it is counted, and costs no tokens."""
    if key != "tenant":
        return bill(unit, lines)
    return Bill([(line.meter, line.quantity, *_FREE) for line in lines if line.quantity], OWN_KEY_CARD)


def quotes(unit: UnitOfWork, asked: RequestChange) -> tuple[Bill, Bill]:
    """What a change will probably cost, and what it costs at the most.

    The grammar alone makes the low end, unless a model plans whatever happens, as it does code; the high end has the
    model. Raises
    ``UnknownPrice`` about a model that was named. One that nobody named is not asked where it has no price.
    """
    model = asked.model or _default(unit, asked)
    if model is not None and has_own_key(unit, model):
        model = None
    likely = model if asked.planner == "llm" or asked.source is not None else None
    low = bill(unit, _expected(asked.kind, likely, _LIKELY, _LIKELY_TOKENS))
    return low, bill(unit, _expected(asked.kind, model, _MOST, _MOST_TOKENS))


def _default(unit: UnitOfWork, asked: RequestChange) -> str | None:
    """The model that is asked though nobody named one, if it has a price, or nobody else could plan."""
    model = asked.default_model
    if model is None or asked.kind == "operations" or asked.planner == "grammar":
        return None
    try:
        bill(unit, _reading(model, _MOST_TOKENS))
    except UnknownPrice:
        return model if asked.planner == "llm" else None
    return model


def has_own_key(unit: UnitOfWork, model: str) -> bool:
    """Whether the client has a key of its own for a model."""
    secrets = unit.find(TenantSecrets, SECRETS_STREAM)
    return secrets is not None and secrets.has(key_secret(model))


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
    return [Line(meter=meter, quantity=each, model=model) for meter, each in zip((INPUT, OUTPUT), tokens, strict=True)]
