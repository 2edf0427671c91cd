"""How a quantity becomes millitokens: three kinds of price, in whole numbers, rounded up once a line.

A price is data that is checked when it is published (:data:`Price`) and compiled to a :class:`Rule` when it is used.
Published prices are kept as the JSON they were published as: a limit that is tightened later never makes an old
rate card unreadable. Every charge carries a **trace**, the sum written out, from which :func:`amount_of` gets the
same amount again without the card::

    v3 flat 1500
    v3 per_unit 1500/1000 x4808
    v3 tiered 1500/1000 x1000 + 1200/1000 x3808

A tiered trace over 200 characters is shortened to ``v3 tiered x4808``; then the card's version is needed too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from fractions import Fraction
from math import ceil, lcm
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from felix.domain.errors import Invalid, TooMuch
from felix.domain.values import MAX_SINGLE_AMOUNT, AmountOrZero, MeterName, Name, Quantity

MAX_PRICES = 500
MAX_TIERS = 20
#: A trace is kept beside every charge, and there are millions of those.
MAX_TRACE_CHARS = 200

#: So many units cost ``price_mtok``: 1,000 or 1,000,000 for language models. The limit keeps the sums of tiers short.
Per = Annotated[int, Field(gt=0, le=10**9, strict=True)]


class ChargeTooLarge(TooMuch):
    """The price of this quantity is beyond what one debit can take (2^53 - 1 mtok)."""


class DuplicatePrice(Invalid):
    """A meter and model have two prices in one list."""


# --- what is published --------------------------------------------------------------------------------------


class _Price(BaseModel):
    """The meter that is priced, for one exact ``model`` or, without, for every model that has no price of its own."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    meter: MeterName
    model: Name | None = None


class FlatPrice(_Price):
    """``price_mtok`` for every line, whatever its quantity."""

    kind: Literal["flat"] = "flat"
    price_mtok: AmountOrZero


class PerUnitPrice(_Price):
    """``price_mtok`` for every ``per`` units, in proportion."""

    kind: Literal["per_unit"] = "per_unit"
    price_mtok: AmountOrZero
    per: Per = 1


class Tier(BaseModel):
    """The units from the tier below up to ``up_to`` (inclusive; the last tier has no end) at one price."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    up_to: Quantity | None = None
    price_mtok: AmountOrZero
    per: Per = 1


def _ascending(tiers: list[Tier]) -> list[Tier]:
    ends = [tier.up_to for tier in tiers]
    if ends[-1] is not None:
        raise ValueError("the last tier must have no up_to, or large quantities would have no price")
    below = 0
    for end in ends[:-1]:
        if end is None or end <= below:
            raise ValueError("every tier but the last needs an up_to above the one before")
        below = end
    return tiers


class TieredPrice(_Price):
    """Graduated: the units within each tier at that tier's price. Counting starts anew with every line."""

    kind: Literal["tiered"] = "tiered"
    tiers: Annotated[list[Tier], Field(min_length=1, max_length=MAX_TIERS), AfterValidator(_ascending)]


def _once_each(prices: list[Price]) -> list[Price]:
    seen: set[tuple[str, str | None]] = set()
    for price in prices:
        if (key := (price.meter, price.model)) in seen:
            raise ValueError(f"{price.meter} has two prices for {price.model or 'the default model'}")
        seen.add(key)
    return prices


Price = Annotated[FlatPrice | PerUnitPrice | TieredPrice, Field(discriminator="kind")]
PriceList = Annotated[list[Price], Field(min_length=1, max_length=MAX_PRICES), AfterValidator(_once_each)]


# --- what is charged ----------------------------------------------------------------------------------------


class Priced(NamedTuple):
    """What a quantity costs, by which version of the rate card, and how the amount came about."""

    amount_mtok: int
    version: int
    trace: str


class TierRule(NamedTuple):
    """A tier, and its price in the common denominator of all tiers of the rule."""

    up_to: int | None
    price_mtok: int
    per: int
    weight: int


class Rule(NamedTuple):
    """A price made ready for use. ``per`` is 0 unless the price is per unit; ``label`` begins the trace."""

    price_mtok: int
    per: int
    label: str
    tiers: tuple[TierRule, ...] = ()
    denominator: int = 1


#: The prices of one version, by meter and model (``None``: the default).
Table = dict[tuple[str, str | None], Rule]


def price_table(prices: Iterable[Mapping[str, Any]], version: int) -> Table:
    """Compile a version's prices. Raises :class:`DuplicatePrice`."""
    table: Table = {}
    for price in prices:
        key = (price["meter"], price.get("model"))
        if key in table:
            raise DuplicatePrice(meter=key[0], model=key[1])
        table[key] = _rule(price, version)
    return table


def _rule(price: Mapping[str, Any], version: int) -> Rule:
    kind = price["kind"]
    if kind == "per_unit":
        amount, per = price["price_mtok"], price["per"]
        return Rule(amount, per, f"v{version} per_unit {amount}/{per} x")
    if kind == "flat":
        return Rule(price["price_mtok"], 0, f"v{version} flat {price['price_mtok']}")
    common = lcm(*(tier["per"] for tier in price["tiers"]))
    tiers = tuple(
        TierRule(
            up_to=tier.get("up_to"),
            price_mtok=tier["price_mtok"],
            per=tier["per"],
            weight=tier["price_mtok"] * (common // tier["per"]),
        )
        for tier in price["tiers"]
    )
    return Rule(0, 0, f"v{version} tiered ", tiers, common)


def charge(rule: Rule, quantity: int) -> tuple[int, str]:
    """The amount in mtok of a quantity, rounded up once, and its trace. Raises :class:`ChargeTooLarge`."""
    if rule.per:
        amount, trace = -(-quantity * rule.price_mtok // rule.per), f"{rule.label}{quantity}"
    elif rule.tiers:
        amount, trace = _graduated(rule, quantity)
    else:
        amount, trace = rule.price_mtok, rule.label
    if amount > MAX_SINGLE_AMOUNT:
        raise ChargeTooLarge(amount_mtok=amount, limit_mtok=MAX_SINGLE_AMOUNT, trace=trace)
    return amount, trace


def _graduated(rule: Rule, quantity: int) -> tuple[int, str]:
    below = total = 0
    sums: list[str] = []
    for up_to, price_mtok, per, weight in rule.tiers:
        within = (quantity if up_to is None or quantity < up_to else up_to) - below
        total += within * weight
        sums.append(f"{price_mtok}/{per} x{within}")
        if up_to is None or quantity <= up_to:
            break
        below = up_to
    trace = rule.label + " + ".join(sums)
    if len(trace) > MAX_TRACE_CHARS:
        trace = f"{rule.label}x{quantity}"
    return -(-total // rule.denominator), trace


_FLAT = re.compile(r"v[0-9]+ flat ([0-9]+)")
_SUMS = re.compile(r"v[0-9]+ (?:per_unit|tiered) ([0-9]+/[0-9]+ x[0-9]+(?: \+ [0-9]+/[0-9]+ x[0-9]+)*)")
_SHORT = re.compile(r"v[0-9]+ tiered x[0-9]+")


def amount_of(trace: str) -> int | None:
    """Do the sum that a trace writes out; ``None`` where it was too long to be written out.

    It is worked out with fractions, not with the code that charged. Raises ``ValueError`` for any other text.
    """
    if found := _FLAT.fullmatch(trace):
        return int(found[1])
    if found := _SUMS.fullmatch(trace):
        total = Fraction(0)
        for part in found[1].split(" + "):
            price, quantity = part.split(" x")
            total += Fraction(price) * int(quantity)
        return ceil(total)
    if _SHORT.fullmatch(trace):
        return None
    raise ValueError(f"not a price trace: {trace[:MAX_TRACE_CHARS]!r}")
