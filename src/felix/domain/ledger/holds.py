"""Open holds, and what runs out when."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from felix.domain.ledger.lots import NEVER
from felix.domain.ledger.messages import Allocation

HOLD, LOT = 0, 1


@dataclass(slots=True)
class Hold:
    """Tokens set aside until they are captured, released or the hold runs out of time.

    ``version`` is that of the event that held them: spend caps set later have not counted this hold.
    """

    hold_id: str
    meter: str
    amount_mtok: int
    slices: list[tuple[str, int]]
    held_at: datetime
    expires_at: datetime
    version: int
    app: str | None = None
    person: str | None = None
    purpose: str | None = None

    def allocation(self) -> Allocation:
        """The held slices; their share of the price is not due before they are captured."""
        return [(lot_id, self.meter, amount_mtok, 0) for lot_id, amount_mtok in self.slices]

    def describe(self) -> dict[str, Any]:
        """The hold as the API shows it."""
        return {
            "hold_id": self.hold_id,
            "meter": self.meter,
            "amount_mtok": self.amount_mtok,
            "held_at": self.held_at.isoformat(),
            "expires_at": self.expires_at.isoformat(),
            "app": self.app,
            "person": self.person,
            "purpose": self.purpose,
        }

    def dump(self) -> list[Any]:
        """The hold as JSON-ready values in the order of the fields."""
        return [
            self.hold_id,
            self.meter,
            self.amount_mtok,
            [list(held) for held in self.slices],
            self.held_at.isoformat(),
            self.expires_at.isoformat(),
            self.version,
            self.app,
            self.person,
            self.purpose,
        ]

    @classmethod
    def load(cls, values: Sequence[Any]) -> Hold:
        """The way back from :meth:`dump`."""
        hold = cls(*values)
        hold.slices = [(lot_id, amount_mtok) for lot_id, amount_mtok in values[3]]
        hold.held_at = datetime.fromisoformat(values[4])
        hold.expires_at = datetime.fromisoformat(values[5])
        return hold


class Deadlines:
    """When which hold or lot runs out, earliest first; ``next_at`` answers without a search.

    Entries are hints: what was captured or extended meanwhile is still listed, and whoever takes an entry off looks
    at the thing itself. Not part of the state: it is made again from holds and lots.
    """

    __slots__ = ("_heap", "next_at")

    def __init__(self, entries: Iterable[tuple[datetime, int, str]] = ()) -> None:
        self._heap = list(entries)
        heapq.heapify(self._heap)
        self.next_at = self._heap[0][0] if self._heap else NEVER

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, at: datetime | None, what: int, which: str) -> None:
        """Remember that a hold or a lot runs out at a moment, or never."""
        if at is not None:
            heapq.heappush(self._heap, (at, what, which))
            self.next_at = self._heap[0][0]

    def take(self, until: datetime) -> Iterator[tuple[int, str]]:
        """Take off what has run out, in order of time."""
        while self.next_at <= until:
            _, what, which = heapq.heappop(self._heap)
            self.next_at = self._heap[0][0] if self._heap else NEVER
            yield what, which
