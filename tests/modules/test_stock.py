"""Whatever is moved, reserved and handed out: levels are the sums of the moves, and never below nothing."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from felix.domain.apps.founding import new_app
from felix.domain.apps.references import check
from felix.domain.apps.shapes import CompiledApp, compile_app
from felix.domain.apps.tree import AppTree
from felix.domain.errors import FelixError, NotFound, Refused
from felix.domain.records.hooks import Writing
from felix.modules.library import hooks, library

APP = compile_app("r", check(new_app("shop", "Shop", ["inventory"], library())), hooks())


def record_id(number: int) -> str:
    return f"rec_{number:032x}"


ITEM, PLACES, NOBODY = record_id(1001), (record_id(1002), record_id(1003)), record_id(1004)


_WITHOUT_SURFACES = {"app.json", "entities", "modules"}


class Store:
    """Records in memory: a write is taken with all that follows from it, or not at all."""

    def __init__(self, app: CompiledApp = APP) -> None:
        self.app = app
        self.records: dict[str, tuple[str, dict[str, Any]]] = {}
        self.write("item", ITEM, {"sku": "S", "name": "Screws", "reorder_level": 5})
        for place in PLACES:
            self.write("location", place, {"name": place})

    def find(self, entity: str, record_id: str) -> dict[str, Any] | None:
        kind, values = self.records.get(record_id, ("", {}))
        return values if kind == entity else None

    def write(self, entity: str, record_id: str, values: dict[str, Any]) -> bool:
        """Make or change a record; whether that was not refused."""
        before = self.find(entity, record_id)
        after = (self.app.shapes[entity].whole(values) if before is None else before) | values
        try:
            follows = self.app.consequences(Writing(entity, record_id, before, after), self)
        except (Refused, NotFound):
            return False
        self.records[record_id] = (entity, after)
        for each in follows:
            known = self.find(each.entity, each.record_id) or {}
            self.records[each.record_id] = (each.entity, known | dict(each.values))
        return True

    def all(self, entity: str) -> list[dict[str, Any]]:
        return [values for kind, values in self.records.values() if kind == entity]


NUMBERS = st.integers(0, 12)
MOVES = st.tuples(
    st.sampled_from(["in", "out", "count", "transfer"]),
    st.sampled_from(PLACES),
    NUMBERS,
    st.sampled_from([None, 7, 100]),
)
RESERVATIONS = st.tuples(st.just("reserve"), st.sampled_from(PLACES), NUMBERS, st.none())
CLOSINGS = st.tuples(st.sampled_from(["fulfilled", "released"]), st.none(), NUMBERS, st.none())


@settings(max_examples=60, deadline=None)
@given(st.lists(MOVES | RESERVATIONS | CLOSINGS, max_size=25))
def test_levels_are_the_sums_of_moves_and_never_below_nothing(steps: list[tuple[str, Any, int, Any]]) -> None:
    store = Store()
    for number, (kind, place, quantity, cost_minor) in enumerate(steps):
        if kind == "reserve":
            wanted = {
                "purpose": "Order",
                "item": ITEM,
                "location": place,
                "quantity": max(1, quantity),
                "state": "open",
            }
            store.write("reservation", record_id(number), wanted)
        elif kind in ("fulfilled", "released"):
            waiting = [
                key for key, (of, kept) in store.records.items() if of == "reservation" and kept["state"] == "open"
            ]
            if waiting:
                store.write("reservation", waiting[quantity % len(waiting)], {"state": kind})
        else:
            move = {"reference": "4711", "kind": kind, "item": ITEM, "location": place, "quantity": quantity}
            move |= {"to_location": PLACES[place == PLACES[0]]} if kind == "transfer" else {}
            before = _level(store, place)
            if store.write("stock_move", record_id(number), move | ({"unit_cost": cost_minor} if cost_minor else {})):
                store.records[record_id(number)][1]["was"] = before
        _consistent(store)


def _consistent(store: Store) -> None:
    item = store.find("item", ITEM)
    assert item is not None
    levels = store.all("stock_level")
    assert all(level["on_hand"] >= 0 for level in levels)
    assert item["on_hand"] == sum(level["on_hand"] for level in levels) == sum(map(_moved, store.all("stock_move")))
    assert item["on_hand"] == sum(location["on_hand"] for location in store.all("location"))
    promised = sum(one["quantity"] for one in store.all("reservation") if one["state"] == "open")
    assert (item["reserved"], item["available"]) == (promised, item["on_hand"] - promised)
    assert item["available"] >= 0
    assert item["stock_value"] == item["on_hand"] * item["unit_cost"]
    assert item["low_stock"] == (item["available"] <= 5) == (item["to_order"] > 0)


def _moved(move: dict[str, Any]) -> int:
    quantity: int = move["quantity"]
    return {"in": quantity, "out": -quantity, "transfer": 0}.get(move["kind"], quantity - move.get("was", 0))


def _level(store: Store, place: str) -> int:
    return sum(level["on_hand"] for level in store.all("stock_level") if level["location"] == place)


def test_what_is_not_empty_is_not_removed() -> None:
    store = Store()
    assert store.write("stock_move", record_id(1), _in(3))
    for entity, called in (("item", ITEM), ("location", PLACES[0]), ("stock_move", record_id(1))):
        assert _refusal(store, Writing(entity, called, store.find(entity, called), None))
    assert _refusal(store, Writing("location", PLACES[1], store.find("location", PLACES[1]), None)) is None
    assert not store.write("stock_move", record_id(2), _in(1) | {"item": NOBODY})


def test_reservations_beyond_the_stock_are_a_matter_of_configuration() -> None:
    wanted = {"purpose": "Order", "item": ITEM, "location": PLACES[0], "quantity": 5, "state": "open"}
    assert not Store().write("reservation", record_id(1), wanted)
    tree = new_app("shop", "Shop", ["inventory"], library())
    lax = {**tree.files["modules/inventory.json"], "config": {"reserve_available_only": False, "valuation": "last"}}
    store = Store(compile_app("r", check(tree.with_file("modules/inventory.json", lax)), hooks()))
    assert store.write("reservation", record_id(1), wanted)
    item = store.find("item", ITEM)
    assert item is not None and (item["on_hand"], item["available"]) == (0, -5)
    assert store.write("stock_move", record_id(2), _in(1, 100)) and store.write("stock_move", record_id(3), _in(1, 300))
    assert (store.find("item", ITEM) or {})["unit_cost"] == 300


def test_an_app_with_an_earlier_version_gets_only_the_fields_that_it_has() -> None:
    tree = new_app("shop", "Shop", ["inventory"], library())
    kept = {path: content for path, content in tree.files.items() if path.partition("/")[0] in _WITHOUT_SURFACES}
    item = dict(kept["entities/item.json"])
    item["fields"] = {name: field for name, field in item["fields"].items() if name != "to_order"}
    store = Store(compile_app("r", check(AppTree({**kept, "entities/item.json": item})), hooks()))
    assert store.write("stock_move", record_id(1), _in(3))
    assert "to_order" not in (store.find("item", ITEM) or {})


def _in(quantity: int, cost_minor: int | None = None) -> dict[str, Any]:
    move = {"reference": "4711", "kind": "in", "item": ITEM, "location": PLACES[0], "quantity": quantity}
    return move | ({"unit_cost": cost_minor} if cost_minor else {})


def _refusal(store: Store, writing: Writing) -> FelixError | None:
    try:
        store.app.consequences(writing, store)
    except Refused as refused:
        return refused
    return None


_NAMES = sorted({name for shape in APP.shapes.values() for name in shape.entity.fields})
ANYTHING = st.dictionaries(
    st.sampled_from(_NAMES),
    st.none()
    | st.booleans()
    | st.integers(-5, 20)
    | st.sampled_from(["", "in", "count", "open", "x", ITEM, PLACES[0]]),
    max_size=8,
)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted({hook.entity for hook in APP.hooks})), ANYTHING | st.none(), ANYTHING | st.none())
def test_whatever_an_app_made_of_the_fields_is_decided_or_refused(
    entity: str, before: dict[str, Any] | None, after: dict[str, Any] | None
) -> None:
    after = after if after is None else {"kind": "count", "state": "open"} | after
    store = Store()
    try:
        for each in APP.consequences(Writing(entity, record_id(1), before, after), store):
            assert each.values.keys() <= APP.shapes[each.entity].entity.fields.keys()
    except (Refused, NotFound) as refused:
        assert refused.code
