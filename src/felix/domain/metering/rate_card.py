"""A rate card: what a tenant's usage costs, version by version, for ever recomputable."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from eventsourcing.domain import event

from felix.domain.base import FelixAggregate, FelixEvent
from felix.domain.errors import NotFound, Refused
from felix.domain.metering.messages import PublishRateCard, RateCardCreated, RateCardPublished
from felix.domain.metering.prices import Price, Priced, Rule, Table, charge, price_table
from felix.domain.values import MAX_SINGLE_AMOUNT

#: Prices of all versions of one card: the card is loaded whole. A fuller one is continued by a card of a new name.
MAX_PRICES_KEPT = 50_000


class UnknownPrice(Refused):
    """The rate card has no price for this meter and model at this time; nothing was charged."""


class RateCardOutOfOrder(Refused):
    """A version can't take effect before the version published last."""


class RateCardInThePast(Refused):
    """Only the first version of a rate card may take effect in the past; later ones would change past prices."""


class RateCardFull(Refused):
    """The rate card keeps as many prices as it can; publish under a new name."""


class RateCardVersionNotFound(NotFound):
    """The rate card has no such version."""


class RateCard(FelixAggregate):
    """One stream per tenant and card. A published version is never changed: what was charged stays explainable.

    ``price`` is called up to 1,000 times a batch, so the rules of a version are compiled once, by need.
    """

    TOPIC = "metering.rate_card"
    kind = "rate_card"
    Event = FelixEvent
    RateCardCreated = RateCardCreated
    RateCardPublished = RateCardPublished

    @event(RateCardCreated)
    def __init__(self) -> None:
        #: Version n is at index n - 1 of both.
        self.effective_from: list[datetime] = []
        self.prices: list[list[dict[str, Any]]] = []
        self._tables: dict[int, Table] = {}

    def publish(self, command: PublishRateCard) -> dict[str, Any]:
        """Add the next version. Refuses one that would change what past or already announced usage costs."""
        now = self.deciding_at
        effective_from = command.effective_from or now
        if self.effective_from:
            last = self.effective_from[-1]
            if effective_from < last:
                raise RateCardOutOfOrder(
                    effective_from=effective_from.isoformat(), previous_effective_from=last.isoformat()
                )
            if effective_from < now:
                raise RateCardInThePast(effective_from=effective_from.isoformat(), now=now.isoformat())
        kept = sum(map(len, self.prices))
        if kept + len(command.prices) > MAX_PRICES_KEPT:
            raise RateCardFull(prices_kept=kept, limit=MAX_PRICES_KEPT)
        self._published(
            effective_from=effective_from,
            note=command.note,
            prices=[price.model_dump(mode="json") for price in command.prices],
            rate_card_version=len(self.effective_from) + 1,
        )
        return {
            "rate_card_id": self.local_id,
            "version": len(self.effective_from),
            "effective_from": effective_from.isoformat(),
        }

    @event(RateCardPublished)
    def _published(
        self, effective_from: datetime, note: str | None, prices: list[dict[str, Any]], rate_card_version: int
    ) -> None:
        self.effective_from.append(effective_from)
        self.prices.append(prices)

    def price(self, meter: str, quantity: int, model: str | None, at: datetime) -> Priced:
        """What a quantity costs by the version in force at ``at``, rounded up once.

        The exact model's price goes before the meter's default. Raises :class:`UnknownPrice` when there is neither,
        or no version was in force yet, and ``ChargeTooLarge``.
        """
        starts = self.effective_from
        version = len(starts)
        if not version or at < starts[-1]:
            version = bisect_right(starts, at)
        table = self._tables.get(version)
        if table is None:
            table = self._table(version)
        rule = table.get((meter, model)) or table.get((meter, None))
        if rule is None:
            raise UnknownPrice(meter=meter, model=model, at=at.isoformat(), rate_card_version=version or None)
        price_mtok, per, label, _, _ = rule
        if per:
            amount_mtok = -(-quantity * price_mtok // per)
            if amount_mtok <= MAX_SINGLE_AMOUNT:
                return Priced(amount_mtok, version, f"{label}{quantity}")
        amount_mtok, trace = charge(rule, quantity)
        return Priced(amount_mtok, version, trace)

    def recompute(self, *, version: int, meter: str, quantity: int, model: str | None) -> Priced:
        """Charge once more what was charged, from the recorded version and inputs.

        Raises :class:`RateCardVersionNotFound`, :class:`UnknownPrice`.
        """
        if not 1 <= version <= len(self.prices):
            raise RateCardVersionNotFound(version=version, last_version=len(self.prices))
        rule = find_rule(price_table(self.prices[version - 1], version), meter, model)
        if rule is None:
            raise UnknownPrice(meter=meter, model=model, rate_card_version=version)
        amount_mtok, trace = charge(rule, quantity)
        return Priced(amount_mtok, version, trace)

    def version_at(self, at: datetime) -> int | None:
        """The number of the version in force at a moment, if there is one."""
        return bisect_right(self.effective_from, at) or None

    def _table(self, version: int) -> Table:
        table = self._tables[version] = price_table(self.prices[version - 1], version) if version else {}
        return table

    def snapshot(self) -> dict[str, Any]:
        """The versions as JSON-ready values."""
        return {"effective_from": [at.isoformat() for at in self.effective_from], "prices": list(self.prices)}

    @classmethod
    def thaw(cls, state: dict[str, Any]) -> dict[str, Any]:
        """Read the times of a snapshot again."""
        state["effective_from"] = [datetime.fromisoformat(at) for at in state["effective_from"]]
        return {**state, "prices": list(state["prices"]), "_tables": {}}


def find_rule(table: Mapping[tuple[str, str | None], Rule], meter: str, model: str | None) -> Rule | None:
    """The exact model's price, or else the meter's default."""
    return table.get((meter, model)) or table.get((meter, None))


# --- questions that change nothing --------------------------------------------------------------------------


class QuotedLine(NamedTuple):
    """A line as it would be charged."""

    meter: str
    quantity: int
    model: str | None
    amount_mtok: int
    version: int
    trace: str


class Quote(NamedTuple):
    """What usage would cost."""

    lines: list[QuotedLine]
    total_mtok: int


def quote(card: RateCard, lines: Iterable[tuple[str, int, str | None]], at: datetime) -> Quote:
    """Price lines of ``(meter, quantity, model)`` without charging. Raises what :meth:`RateCard.price` raises."""
    quoted = [
        QuotedLine(meter, quantity, model, *card.price(meter, quantity, model, at)) for meter, quantity, model in lines
    ]
    return Quote(quoted, sum(line.amount_mtok for line in quoted))


class MeterComparison(NamedTuple):
    """One meter over a period: what was charged, and what the draft would have charged for the lines it prices.

    ``unpriced_lines`` have no price in the draft and count with ``unpriced_charged_mtok`` of ``charged_mtok``:
    were it published, they would be refused.
    """

    lines: int = 0
    quantity: int = 0
    charged_mtok: int = 0
    draft_mtok: int = 0
    unpriced_lines: int = 0
    unpriced_charged_mtok: int = 0


def what_if(prices: Iterable[Price], debits: Iterable[tuple[str, int, str | None, int]]) -> dict[str, MeterComparison]:
    """What clients would have paid: replay debits of ``(meter, quantity, model, charged_mtok)`` under draft prices.

    Pure and in one pass, so a period of any length fits. Meters come in the order in which they are met.
    """
    table = price_table((price.model_dump() for price in prices), version=0)
    totals: dict[str, list[int]] = {}
    for meter, quantity, model, charged_mtok in debits:
        total = totals.setdefault(meter, [0] * len(MeterComparison._fields))
        total[0] += 1
        total[1] += quantity
        total[2] += charged_mtok
        if (rule := find_rule(table, meter, model)) is None:
            total[4] += 1
            total[5] += charged_mtok
        else:
            total[3] += charge(rule, quantity)[0]
    return {meter: MeterComparison(*total) for meter, total in totals.items()}
