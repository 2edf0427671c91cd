"""The lots of one account: which tokens there are, in which order they burn, and what they cost.

Every grant stays a lot of its own, so that what is left of each payment is always known; merging equal lots would
save little and lose the payment. The number of lots with something left is limited instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from felix.domain.ledger.messages import Allocation

#: Sorts after every expiry: a lot without one burns last.
NEVER = datetime.max.replace(tzinfo=UTC)
#: Used up lots that are remembered, so that a reversal soon after can give tokens back to where they came from.
#: What comes later goes to a restitution lot. Each costs about 200 bytes of every snapshot.
MAX_PAST_LOTS = 64
#: Meters whose burn order is kept ready; far above what one account uses between two changes of its lots.
MAX_READY_ORDERS = 256
#: The order of transfers and adjustments, which concern no meter: every lot, the unrestricted ones first.
EVERY_LOT = "*"
#: Paid tokens burn after given ones. Migrated balances were paid for elsewhere.
_PAID_KINDS = frozenset({"purchased", "migration"})


@dataclass(slots=True)
class Lot:
    """One grant and what became of it.

    ``amount_mtok`` = free + held + frozen + gone; ``recognised_minor`` of ``cost_minor`` has gone with the gone part.
    """

    lot_id: str
    kind: str
    priority: int
    granted_at: datetime
    expires_at: datetime | None
    meters: list[str]
    amount_mtok: int
    cost_minor: int = 0
    currency: str | None = None
    free_mtok: int = 0
    held_mtok: int = 0
    frozen_mtok: int = 0
    recognised_minor: int = 0
    frozen_reason: str | None = None
    void_reason: str | None = None

    @property
    def left_mtok(self) -> int:
        """What has not gone: free, held or frozen."""
        return self.free_mtok + self.held_mtok + self.frozen_mtok

    def expired(self, at: datetime) -> bool:
        """Whether nobody may spend this lot at that moment any more."""
        return self.expires_at is not None and self.expires_at <= at

    def share(self, going_mtok: int, gone_mtok: int = 0, shared_minor: int = 0) -> int:
        """The part of the price that goes with the next ``going_mtok`` (cumulative floor).

        ``gone_mtok`` and ``shared_minor`` have been set apart by the same event already. After reversals more may
        be recognised than the floor says: then the share is 0 until the floor has caught up, and the shares still
        add up to the price when the last token goes.
        """
        if not self.cost_minor:
            return 0
        gone = self.amount_mtok - self.left_mtok + gone_mtok + going_mtok
        due = self.cost_minor * gone // self.amount_mtok - self.recognised_minor - shared_minor
        return due if due > 0 else 0

    def burn_key(self) -> tuple[int, datetime, bool, datetime, str]:
        """Priority, earliest expiry, given before paid, oldest, id."""
        return (
            self.priority,
            self.expires_at or NEVER,
            self.kind in _PAID_KINDS,
            self.granted_at,
            self.lot_id,
        )

    def describe(self) -> dict[str, Any]:
        """The lot as the API shows it."""
        return {
            "lot_id": self.lot_id,
            "kind": self.kind,
            "priority": self.priority,
            "granted_at": self.granted_at.isoformat(),
            "expires_at": self.expires_at and self.expires_at.isoformat(),
            "meters": list(self.meters),
            "amount_mtok": self.amount_mtok,
            "available_mtok": self.free_mtok,
            "held_mtok": self.held_mtok,
            "frozen_mtok": self.frozen_mtok,
            "cost_minor": self.cost_minor,
            "currency": self.currency,
            "recognised_minor": self.recognised_minor,
        }

    def dump(self) -> list[Any]:
        """The lot as JSON-ready values in the order of the fields: snapshots repeat no field names."""
        return [
            self.lot_id,
            self.kind,
            self.priority,
            self.granted_at.isoformat(),
            self.expires_at and self.expires_at.isoformat(),
            list(self.meters),
            self.amount_mtok,
            self.cost_minor,
            self.currency,
            self.free_mtok,
            self.held_mtok,
            self.frozen_mtok,
            self.recognised_minor,
            self.frozen_reason,
            self.void_reason,
        ]

    @classmethod
    def load(cls, values: Sequence[Any]) -> Lot:
        """The way back from :meth:`dump`."""
        lot = cls(*values)
        lot.granted_at = datetime.fromisoformat(values[3])
        lot.expires_at = values[4] and datetime.fromisoformat(values[4])
        return lot


class Draw:
    """Slices being set apart for one event, before anything has changed.

    Remembers what it took, because several lines of one debit may draw on the same lot.
    """

    __slots__ = ("_free", "_gone", "_shared", "allocation", "currencies")

    def __init__(self) -> None:
        self.allocation: Allocation = []
        self.currencies: dict[str, str] = {}
        self._free: dict[str, int] = {}
        self._gone: dict[str, int] = {}
        self._shared: dict[str, int] = {}

    def take(self, lot: Lot, meter: str, amount_mtok: int) -> None:
        """Set ``amount_mtok`` of a lot apart, with its share of the price."""
        cost = 0
        if lot.cost_minor:
            lot_id = lot.lot_id
            gone, shared = self._gone.get(lot_id, 0), self._shared.get(lot_id, 0)
            cost = lot.share(amount_mtok, gone, shared)
            self._gone[lot_id] = gone + amount_mtok
            self._shared[lot_id] = shared + cost
            self.currencies[lot_id] = lot.currency or ""
        self.allocation.append((lot.lot_id, meter, amount_mtok, cost))

    def burn(self, order: Sequence[Lot], meter: str, amount_mtok: int) -> int:
        """Take free tokens in burn order (``order`` is reversed); the answer is what was not there."""
        free_taken = self._free
        for lot in reversed(order):
            free = lot.free_mtok
            if free_taken:
                free -= free_taken.get(lot.lot_id, 0)
            if free <= 0:
                continue
            slice_mtok = free if free < amount_mtok else amount_mtok
            self.take(lot, meter, slice_mtok)
            free_taken[lot.lot_id] = free_taken.get(lot.lot_id, 0) + slice_mtok
            amount_mtok -= slice_mtok
            if not amount_mtok:
                return 0
        return amount_mtok


@dataclass(slots=True)
class LotBook:
    """All lots of one account with their running sums. Its methods only add up; none refuses."""

    lots: dict[str, Lot] = field(default_factory=dict)
    past: dict[str, Lot] = field(default_factory=dict)
    available_mtok: int = 0
    held_mtok: int = 0
    frozen_mtok: int = 0
    _orders: dict[str, list[Lot]] = field(default_factory=dict, repr=False, compare=False)

    def order(self, meter: str) -> list[Lot]:
        """The lots that pay for a meter, first to burn last, so that used up ones are popped off the end."""
        order = self._orders.get(meter)
        if order is None:
            order = self._sort(meter)
        while order and not order[-1].free_mtok:
            order.pop()
        return order

    def _sort(self, meter: str) -> list[Lot]:
        if len(self._orders) >= MAX_READY_ORDERS:
            self._orders.clear()
        free = [lot for lot in self.lots.values() if lot.free_mtok]
        general = [lot for lot in free if not lot.meters]
        restricted = [lot for lot in free if lot.meters and (meter == EVERY_LOT or meter in lot.meters)]
        general.sort(key=Lot.burn_key, reverse=True)
        restricted.sort(key=Lot.burn_key, reverse=True)
        order = restricted + general if meter == EVERY_LOT else general + restricted
        self._orders[meter] = order
        return order

    def find(self, lot_id: str) -> Lot | None:
        """A lot that has something left, or was used up not long ago."""
        return self.lots.get(lot_id) or self.past.get(lot_id)

    def add(self, lot: Lot) -> None:
        """A new lot; one that debt ate whole is past at once."""
        self.lots[lot.lot_id] = lot
        self.available_mtok += lot.free_mtok
        self._orders.clear()
        self._retire_if_empty(lot)

    def extend(self, lot_id: str, expires_at: datetime | None) -> None:
        """The expiry has moved, and with it the place in the burn order."""
        self.lots[lot_id].expires_at = expires_at
        self._orders.clear()

    def spend(self, allocation: Iterable[Sequence[Any]]) -> None:
        """Free tokens have gone."""
        lots = self.lots
        for lot_id, _, amount_mtok, cost_minor in allocation:
            lot = lots[lot_id]
            lot.free_mtok -= amount_mtok
            self.available_mtok -= amount_mtok
            if cost_minor:
                lot.recognised_minor += cost_minor
            if not lot.free_mtok:
                self._retire_if_empty(lot)

    def hold(self, allocation: Iterable[Sequence[Any]]) -> None:
        """Free tokens were set aside."""
        for lot_id, _, amount_mtok, _ in allocation:
            lot = self.lots[lot_id]
            lot.free_mtok -= amount_mtok
            lot.held_mtok += amount_mtok
            self.available_mtok -= amount_mtok
            self.held_mtok += amount_mtok

    def release(self, allocation: Iterable[Sequence[Any]]) -> None:
        """Held tokens are free again."""
        for lot_id, _, amount_mtok, _ in allocation:
            lot = self.lots[lot_id]
            lot.held_mtok -= amount_mtok
            self.held_mtok -= amount_mtok
            self._free(lot, amount_mtok)

    def spend_held(self, allocation: Iterable[Sequence[Any]]) -> None:
        """Held tokens have gone."""
        for lot_id, _, amount_mtok, cost_minor in allocation:
            lot = self.lots[lot_id]
            lot.held_mtok -= amount_mtok
            self.held_mtok -= amount_mtok
            lot.recognised_minor += cost_minor
            self._retire_if_empty(lot)

    def give_back(self, allocation: Iterable[Sequence[Any]]) -> None:
        """Tokens that had gone are free again, and their share of the price is no longer recognised."""
        for lot_id, _, amount_mtok, cost_minor in allocation:
            if (lot := self.lots.get(lot_id)) is None:
                lot = self.lots[lot_id] = self.past.pop(lot_id)
            lot.recognised_minor -= cost_minor
            self._free(lot, amount_mtok)

    def freeze(self, lot_id: str, amount_mtok: int, reason: str) -> None:
        """Free tokens of a lot are out of reach."""
        lot = self.lots[lot_id]
        lot.frozen_reason = reason
        lot.free_mtok -= amount_mtok
        lot.frozen_mtok += amount_mtok
        self.available_mtok -= amount_mtok
        self.frozen_mtok += amount_mtok

    def unfreeze(self, lot_id: str, amount_mtok: int) -> None:
        """Frozen tokens of a lot are free again."""
        lot = self.lots[lot_id]
        lot.frozen_reason = None
        lot.frozen_mtok -= amount_mtok
        self.frozen_mtok -= amount_mtok
        self._free(lot, amount_mtok)

    def spend_frozen(self, allocation: Iterable[Sequence[Any]]) -> None:
        """Frozen tokens have gone."""
        for lot_id, _, amount_mtok, cost_minor in allocation:
            lot = self.lots[lot_id]
            lot.frozen_mtok -= amount_mtok
            self.frozen_mtok -= amount_mtok
            lot.recognised_minor += cost_minor
            self._retire_if_empty(lot)

    def void(self, lot_id: str, amount_mtok: int, frozen_mtok: int, cost_minor: int, reason: str) -> None:
        """What was free or frozen was taken back; what is held follows when it is released."""
        lot = self.lots[lot_id]
        lot.void_reason = reason
        lot.frozen_reason = None
        lot.frozen_mtok -= frozen_mtok
        self.frozen_mtok -= frozen_mtok
        self.spend([(lot_id, "", amount_mtok - frozen_mtok, cost_minor)])

    def _free(self, lot: Lot, amount_mtok: int) -> None:
        if not lot.free_mtok:
            self._orders.clear()
        lot.free_mtok += amount_mtok
        self.available_mtok += amount_mtok

    def _retire_if_empty(self, lot: Lot) -> None:
        if lot.free_mtok or lot.held_mtok or lot.frozen_mtok:
            return
        del self.lots[lot.lot_id]
        self.past[lot.lot_id] = lot
        if len(self.past) > MAX_PAST_LOTS:
            del self.past[next(iter(self.past))]

    def dump(self) -> dict[str, Any]:
        """The book as JSON-ready values; sums are kept too, so that a snapshot can be checked against its lots."""
        return {
            "lots": [lot.dump() for lot in self.lots.values()],
            "past": [lot.dump() for lot in self.past.values()],
            "available_mtok": self.available_mtok,
            "held_mtok": self.held_mtok,
            "frozen_mtok": self.frozen_mtok,
        }

    @classmethod
    def load(cls, values: dict[str, Any]) -> LotBook:
        """The way back from :meth:`dump`."""
        return cls(
            lots={lot.lot_id: lot for lot in map(Lot.load, values["lots"])},
            past={lot.lot_id: lot for lot in map(Lot.load, values["past"])},
            available_mtok=values["available_mtok"],
            held_mtok=values["held_mtok"],
            frozen_mtok=values["frozen_mtok"],
        )
