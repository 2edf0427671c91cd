"""The tenant's meters: what is counted, and in which unit."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from eventsourcing.domain import event

from felix.domain.base import FelixAggregate, FelixEvent
from felix.domain.errors import Refused
from felix.domain.metering.messages import DefineMeter, MeterCatalogueOpened, MeterDefined
from felix.domain.metering.prices import PerUnitPrice, Priced, charge, price_table

#: The only stream of its kind: ``<tenant>:meters:meters``.
CATALOGUE_ID = "meters"
IMPLICIT_UNIT = "unit"
MAX_METERS = 1_000
#: What Felix itself meters, and what it costs as long as no rate card of the client prices it.
OWN_PRICES = (
    PerUnitPrice(meter="apps.automation_runs", price_mtok=20),
    PerUnitPrice(meter="apps.record_writes", price_mtok=10),
    PerUnitPrice(meter="changes.context_kb", price_mtok=1_000, per=100),
    PerUnitPrice(meter="changes.plan", price_mtok=1_000),
    PerUnitPrice(meter="changes.operation", price_mtok=0),
    PerUnitPrice(meter="changes.diff", price_mtok=500),
    PerUnitPrice(meter="changes.check_cpu_ms", price_mtok=100, per=1_000),
    PerUnitPrice(meter="changes.deploy", price_mtok=2_000),
    PerUnitPrice(meter="changes.canary_sample", price_mtok=10),
)
_OWN = price_table((price.model_dump() for price in OWN_PRICES), version=0)


def own_price(meter: str, quantity: int) -> Priced:
    """What Felix asks for what it meters itself; version 0 is on no card. Raises ``KeyError`` for other meters."""
    amount_mtok, trace = charge(_OWN[meter, None], quantity)
    return Priced(amount_mtok, 0, trace)


class MeterUnitFixed(Refused):
    """The meter is defined in another unit; what was counted would change its meaning. Define a new meter."""


class TooManyMeters(Refused):
    """The tenant has as many meters as it can have."""


class MeterCatalogue(FelixAggregate):
    """Meters are defined by hand, or by the first price that names them, then in the unit ``unit``.

    A meter that a price defined can still be given its real unit by hand, once.
    """

    TOPIC = "metering.meter_catalogue"
    kind = "meters"
    Event = FelixEvent
    MeterCatalogueOpened = MeterCatalogueOpened
    MeterDefined = MeterDefined

    @event(MeterCatalogueOpened)
    def __init__(self) -> None:
        #: By name: ``unit``, ``description``, ``aggregation``, ``implicit``.
        self.meters: dict[str, dict[str, Any]] = {}

    def define(self, command: DefineMeter) -> dict[str, Any]:
        """Define a meter or describe it anew; the same definition again changes nothing."""
        known = self.meters.get(command.name)
        if known is None:
            self._refuse_beyond_limit(1)
        elif not known["implicit"] and (known["unit"], known["aggregation"]) != (command.unit, command.aggregation):
            raise MeterUnitFixed(name=command.name, unit=known["unit"], aggregation=known["aggregation"])
        new = command.model_dump(exclude={"name"}) | {"implicit": False}
        if known != new:
            self._defined(name=command.name, **new)
        return {"name": command.name, **new}

    def define_priced(self, meters: Iterable[str]) -> list[str]:
        """Define the meters that prices name and nobody has defined, in the unit ``unit``; answers their names."""
        new = sorted(set(meters) - self.meters.keys())
        self._refuse_beyond_limit(len(new))
        for name in new:
            self._defined(aggregation="sum", description="", implicit=True, name=name, unit=IMPLICIT_UNIT)
        return new

    @event(MeterDefined)
    def _defined(self, aggregation: str, description: str, implicit: bool, name: str, unit: str) -> None:
        self.meters[name] = {
            "unit": unit,
            "description": description,
            "aggregation": aggregation,
            "implicit": implicit,
        }

    @classmethod
    def thaw(cls, state: dict[str, Any]) -> dict[str, Any]:
        """Take a copy: meters that are defined later must not show up in the snapshot."""
        return {"meters": dict(state["meters"])}

    def _refuse_beyond_limit(self, more: int) -> None:
        if more and len(self.meters) + more > MAX_METERS:
            raise TooManyMeters(meters=len(self.meters), limit=MAX_METERS)
