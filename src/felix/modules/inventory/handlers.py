"""How many there are: what stock moves and reservations make of items, locations and the levels of items at them.

A level is the sum of the moves, is never below nothing, and is written by nobody but here. What is reserved is still
there and is nobody else's: ``available`` is what is left.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from felix.sdk import Consequence, Decide, NotFound, Records, Refused, Values, Writing, derived_id

#: What is worked out of an item, and what it is before anything has moved.
_KEPT: dict[str, Any] = {
    "on_hand": 0, "reserved": 0, "available": 0, "stock_value": 0, "low_stock": False, "to_order": 0,
}  # fmt: skip
_COUNTED = ("on_hand", "reserved", "available", "stock_value")


class InsufficientStock(Refused):
    """There is not as much of this item as would be taken."""


class StockIsReserved(Refused):
    """That would leave less of this item than is reserved; release reservations first."""


class StockMoveFinal(Refused):
    """A stock move is not changed or removed; make one that goes the other way."""


class StockMoveIncomplete(Refused):
    """A stock move says how many, and a transfer from where to where."""


class StockFollowsMoves(Refused):
    """How many there are follows from stock moves and reservations, and is not written by hand."""


class StillInStock(Refused):
    """This is not empty yet; move out what is left and release what is reserved."""


class ReservationFinal(Refused):
    """What a reservation is of is not changed; release it and make another."""


class NoSuchItem(NotFound):
    """There is no such item or location in this app."""


class NotCountable(Refused):
    """Stock is counted in whole numbers, and this field holds something else in this app."""


class _Stock:
    """Items, locations and levels while moves are being made; what became of them is written at the end."""

    def __init__(self, records: Records, config: Values) -> None:
        self._records, self._config = records, config
        self._found: dict[tuple[str, str], dict[str, Any]] = {}
        self._written: dict[tuple[str, str], dict[str, Any]] = {}

    def get(self, entity: str, record_id: Any) -> dict[str, Any]:
        """A record as it is now. Raises :class:`NoSuchItem`."""
        if (entity, record_id) not in self._found:
            known = self._records.find(entity, str(record_id))
            if known is None:
                raise NoSuchItem(entity=entity, id=record_id)
            self._found[entity, record_id] = dict(known)
        return self._found[entity, record_id]

    def set(self, entity: str, record_id: Any, values: dict[str, Any]) -> None:
        """Give a record other values."""
        self.get(entity, record_id).update(values)
        self._written.setdefault((entity, record_id), {}).update(values)

    def level(self, item_id: Any, location_id: Any) -> int:
        """How many of an item are at a location. Raises :class:`NoSuchItem`."""
        self.get("item", item_id), self.get("location", location_id)
        known = self._records.find("stock_level", derived_id("stock_level", item_id, location_id))
        return _number(known or {}, "on_hand")

    def move(self, item_id: Any, location_id: Any, by: int, cost_minor: int | None = None) -> None:
        """Put so many to a location, or take them from it. Raises :class:`InsufficientStock`."""
        item, location = self.get("item", item_id), self.get("location", location_id)
        level = self.level(item_id, location_id)
        if level + by < 0:
            raise InsufficientStock(item=item.get("sku"), location=location.get("name"), available=level, asked=-by)
        label = f"{item.get('sku')} · {location.get('name')}"[:500]
        key = ("stock_level", derived_id("stock_level", item_id, location_id))
        values = {"label": label, "item": item_id, "location": location_id, "on_hand": level + by}
        self._written.setdefault(key, {}).update(values)
        self.set("location", location_id, {"on_hand": _number(location, "on_hand") + by})
        on_hand = _number(item, "on_hand")
        if cost_minor is not None and on_hand + by > 0:
            if self._config.get("valuation") == "average":
                whole_minor = on_hand * _number(item, "unit_cost") + by * cost_minor
                cost_minor = (2 * whole_minor + on_hand + by) // (2 * (on_hand + by))
            self.set("item", item_id, {"unit_cost": cost_minor})
        self.set("item", item_id, {"on_hand": on_hand + by})

    def reserve(self, item_id: Any, by: int) -> None:
        """Keep so many for somebody, or keep so many less."""
        self.set("item", item_id, {"reserved": _number(self.get("item", item_id), "reserved") + by})

    def refuse_promised(self, item_id: Any) -> None:
        """Raises :class:`StockIsReserved` where more is promised than there is."""
        item = self.get("item", item_id)
        if _number(item, "reserved") > _number(item, "on_hand"):
            raise StockIsReserved(
                item=item.get("sku"), reserved=_number(item, "reserved"), on_hand=_number(item, "on_hand")
            )

    def consequences(self) -> Iterable[Consequence]:
        """What is written, items with all that is worked out of them."""
        for (entity, record_id), values in self._written.items():
            worked_out = _sums(self.get("item", record_id)) if entity == "item" else {}
            yield Consequence(entity, record_id, values | worked_out)


def _move(writing: Writing, records: Records, config: Values) -> Iterable[Consequence]:
    if writing.before is not None:
        if writing.after is None or writing.changes("kind", "item", "location", "to_location", "quantity", "unit_cost"):
            raise StockMoveFinal
        return ()
    move, stock = writing.after or {}, _Stock(records, config)
    kind, item_id, location_id, to_id = (move.get(name) for name in ("kind", "item", "location", "to_location"))
    quantity = _number(move, "quantity")
    cost_minor = _number(move, "unit_cost") if move.get("unit_cost") is not None else None
    if (kind == "transfer") != (to_id is not None) or to_id == location_id or (kind != "count" and quantity < 1):
        raise StockMoveIncomplete(kind=kind, quantity=quantity)
    match kind:
        case "in":
            stock.move(item_id, location_id, quantity, cost_minor)
        case "out":
            stock.move(item_id, location_id, -quantity)
        case "transfer":
            stock.move(item_id, location_id, -quantity)
            stock.move(item_id, to_id, quantity)
        case _:
            stock.move(item_id, location_id, quantity - stock.level(item_id, location_id))
    if kind in ("out", "count"):
        stock.refuse_promised(item_id)
    return stock.consequences()


def _reserve(writing: Writing, records: Records, config: Values) -> Iterable[Consequence]:
    was, becomes = writing.before, writing.after
    if was is not None and becomes is not None and writing.changes("item", "location", "quantity"):
        raise ReservationFinal
    open_before, open_after = (side is not None and side.get("state") == "open" for side in (was, becomes))
    if open_before == open_after:
        return
    reservation, stock = becomes or was or {}, _Stock(records, config)
    item_id, location_id = reservation.get("item"), reservation.get("location")
    quantity = _number(reservation, "quantity")
    stock.reserve(item_id, quantity if open_after else -quantity)
    if open_after and config.get("reserve_available_only") is not False:
        item = stock.get("item", item_id)
        if _number(item, "reserved") > _number(item, "on_hand"):
            raise InsufficientStock(item=item.get("sku"), available=_number(item, "available"), asked=quantity)
    if becomes is not None and becomes.get("state") == "fulfilled":
        stock.move(item_id, location_id, -quantity)
        # So that the level is still the sum of the moves.
        said = {"kind": "out", "item": item_id, "location": location_id, "quantity": quantity}
        reference = f"Reserved for {reservation.get('purpose')}"[:100]
        yield Consequence("stock_move", derived_id("fulfilled", writing.record_id), said | {"reference": reference})
    yield from stock.consequences()


def _item(writing: Writing, records: Records, config: Values) -> Iterable[Consequence]:
    before, item = writing.before, writing.after
    if item is None:
        if before and (_number(before, "on_hand") or _number(before, "reserved")):
            raise StillInStock(on_hand=_number(before, "on_hand"), reserved=_number(before, "reserved"))
        return
    known = _KEPT | dict(before or {})
    if any(item.get(name, _KEPT[name]) != known[name] for name in (_COUNTED if before is None else _KEPT)):
        raise StockFollowsMoves
    found = {name: value for name, value in _sums(item).items() if item.get(name) != value}
    if found:
        yield Consequence("item", writing.record_id, found)


def _location(writing: Writing, records: Records, config: Values) -> Iterable[Consequence]:
    on_hand = _number(writing.before or {}, "on_hand")
    if writing.after is None and on_hand:
        raise StillInStock(on_hand=on_hand)
    if writing.after is not None and _number(writing.after, "on_hand") != on_hand:
        raise StockFollowsMoves
    return ()


def _level(writing: Writing, records: Records, config: Values) -> Iterable[Consequence]:
    if writing.before is None or writing.after is None or writing.changes("item", "location", "on_hand"):
        raise StockFollowsMoves
    return ()


def _sums(item: Values) -> dict[str, Any]:
    """What follows from how many there are. An item with a reorder level of 0 never runs low."""
    on_hand, reserved, least = (_number(item, name) for name in ("on_hand", "reserved", "reorder_level"))
    available = on_hand - reserved
    low = least > 0 and available <= least and item.get("status") != "discontinued"
    return {
        "on_hand": on_hand,
        "reserved": reserved,
        "available": available,
        "stock_value": on_hand * _number(item, "unit_cost"),
        "low_stock": low,
        "to_order": max(_number(item, "order_quantity"), least + 1 - available) if low else 0,
    }


def _number(values: Values, name: str) -> int:
    found = values.get(name) or 0
    if not isinstance(found, int):
        raise NotCountable(field=name)
    return found


HOOKS: dict[str, Decide] = {
    "stock_move": _move,
    "reservation": _reserve,
    "item": _item,
    "location": _location,
    "stock_level": _level,
}
