"""What a connection of ``GET /v1/live`` may ask for: events, kinds of events, and states."""

from __future__ import annotations

import pkgutil
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

import felix.api.live
from felix.domain.base import FelixEvent
from felix.domain.errors import Invalid
from felix.projections.tenant_tx import TenantTx

EVENTS = "events"

#: Things by their ids, as they are shown.
States = list[tuple[str, Any]]


@dataclass(frozen=True, slots=True)
class StateTopic:
    """Things of one kind as their read model has them, told anew whenever one of them changed.

    ``touches(type, stream)`` is the id of the thing that an event changes, or None. ``states(tx, ids)`` shows some of
    them. ``changed(tx, since, after, limit)`` shows those that changed after a ``tenant_sequence``, by id, from the id
    ``after`` on.
    """

    name: str
    projection: str
    touches: Callable[[str, str], str | None]
    states: Callable[[TenantTx, Sequence[str]], Awaitable[States]]
    changed: Callable[[TenantTx, int, str, int], Awaitable[States]]


@dataclass(frozen=True, slots=True)
class Topics:
    """What one connection asked for."""

    names: tuple[str, ...]
    types: frozenset[str]
    states: tuple[StateTopic, ...]

    def want(self, type_: str) -> bool:
        """Whether events of this type are told."""
        return EVENTS in self.names or type_ in self.types or f"{type_.partition('.')[0]}.*" in self.types


@cache
def state_topics() -> dict[str, StateTopic]:
    """Every ``TOPIC`` of the modules of this package, by name."""
    package = felix.api.live
    modules = (import_module(found.name) for found in pkgutil.iter_modules(package.__path__, package.__name__ + "."))
    found = [topic for module in modules if isinstance(topic := getattr(module, "TOPIC", None), StateTopic)]
    return {topic.name: topic for topic in sorted(found, key=lambda topic: topic.name)}


def event_types() -> set[str]:
    """The stored names of all events that this process knows."""
    classes, found = [FelixEvent], set[str]()
    while classes:
        cls = classes.pop()
        classes += cls.__subclasses__()
        if "TOPIC" in vars(cls):
            found.add(cls.TOPIC)
    return found


def read_topics(given: Iterable[str]) -> Topics:
    """The topics of a query such as ``events,balances`` or ``ledger.*``; events where none is named.

    Raises ``Invalid`` that names those that do not exist.
    """
    names = tuple(dict.fromkeys(name for each in given for name in each.split(",") if name)) or (EVENTS,)
    kept, known = state_topics(), event_types()
    patterns = known | {f"{type_.partition('.')[0]}.*" for type_ in known}
    unknown = [name[:100] for name in names if name != EVENTS and name not in kept and name not in patterns][:10]
    if unknown:
        raise Invalid(
            f"There is no topic {', '.join(unknown)}.",
            topics=unknown,
            known=[EVENTS, *kept, "a type of events", "ledger.*"],
            errors=[{"pointer": "?topics", "rule": "topic", "detail": f"{name} is no topic"} for name in unknown],
        )
    return Topics(names, frozenset(patterns.intersection(names)), tuple(kept[name] for name in names if name in kept))
