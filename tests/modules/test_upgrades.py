"""An upgrade keeps what the client has made of a module, brings what is new, and names both sides where they differ."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from felix.domain.apps.founding import new_app
from felix.domain.apps.merge import NAMED_LISTS, by_name
from felix.domain.apps.places import ABSENT, at, parts_of, same
from felix.domain.apps.references import check
from felix.domain.apps.tree import AppTree, InvalidApp
from felix.domain.changes.diff import diff
from felix.domain.changes.edits import Edit, between
from felix.domain.changes.modules import newest
from felix.domain.changes.operations.base import Operation
from felix.domain.changes.operations.draft import OperationRefused
from felix.domain.changes.operations.modules import DisableModule, InstallModule, ModuleConflict, Side, UpgradeModule
from felix.domain.changes.operations.union import read_proposed
from felix.domain.changes.planning.base import Asked, Planned
from felix.domain.changes.planning.grammar.planner import plan
from felix.domain.changes.replay import replay
from felix.modules.library import library

LIBRARY = library()
OLD = new_app("shop", "Shop", ["inventory", "crm"], LIBRARY, {"inventory": "1.0.0"})
NEW = new_app("shop", "Shop", ["inventory", "crm"], LIBRARY)
ITEM, ITEMS = "entities/item.json", "views/items.json"
TO_1_1 = UpgradeModule(module="inventory", version="1.1.0")


def op(name: str, /, **members: Any) -> Operation:
    (made,) = read_proposed(json.dumps([{"op": name, **members}]))
    return made


def of_item(name: str, field: str, /, **members: Any) -> Operation:
    return op(name, entity="item", field=field, **members)


def with_edits(*operations: Operation, tree: AppTree = OLD) -> AppTree:
    return replay(operations, tree, LIBRARY).tree


def test_an_app_that_nobody_changed_becomes_what_a_new_one_is() -> None:
    upgraded = TO_1_1.apply(OLD, LIBRARY)
    assert upgraded.digest == NEW.digest
    assert at(upgraded, ITEM, "/fields/reorder_level/label") == "Reorder level"
    assert at(upgraded, ITEM, "/fields/barcode/type") == "text"
    assert "views/value_by_category.json" in upgraded.files
    assert at(upgraded, ITEM, "/fields/shelf/hidden") is True
    said = [effect.sentence for effect in diff(OLD, upgraded).effects]
    assert "Changes the module inventory from 1.0.0 to 1.1.0" in said
    assert TO_1_1.invert(OLD, LIBRARY).apply(upgraded).digest == OLD.digest


def test_what_the_client_has_changed_survives() -> None:
    mine = {"kind": "list", "entity": "item", "title": "Shelves", "columns": [{"field": "sku"}, {"field": "shelf"}]}
    ours = with_edits(
        of_item("rename_field", "supplier", label="Vendor"),
        of_item("add_field", "colour", definition={"type": "text", "label": "Colour"}),
        op("add_view_column", view="items", field="colour"),
        op("remove_view_column", view="items", field="unit"),
        op("add_list_view", view="shelves", definition=mine),
        op("set_module_config", module="inventory", key="valuation", value="last"),
        op("disable_automation", automation="low_stock"),
    )
    upgraded = TO_1_1.apply(ours, LIBRARY)
    assert at(upgraded, ITEM, "/fields/supplier/label") == "Vendor"
    columns = [column["field"] for column in at(upgraded, ITEMS, "/columns")]
    assert "colour" in columns and not {"unit", "shelf"} & set(columns)
    assert at(upgraded, "modules/inventory.json", "/config/valuation") == "last"
    assert at(upgraded, "automations/low_stock.json", "/enabled") is False
    assert at(upgraded, ITEM, "/fields/reorder_level/label") == "Reorder level"
    # The migration hides the field in the client's own list too, which a merge of files could not.
    assert at(upgraded, "views/shelves.json", "/columns") == [{"field": "sku"}]


def test_what_both_have_changed_is_shown_with_both_sides_and_decided_by_the_client() -> None:
    ours = with_edits(of_item("rename_field", "reorder_level", label="Warn me at"))
    with pytest.raises(ModuleConflict) as refused:
        TO_1_1.apply(ours, LIBRARY)
    assert refused.value.facts["conflicts"] == [
        {"path": ITEM, "pointer": "/fields/reorder_level/label", "ours": "Warn me at", "theirs": "Reorder level"}
    ]
    for side, label in (("ours", "Warn me at"), ("theirs", "Reorder level")):
        decided = UpgradeModule(module="inventory", version="1.1.0", prefer=side).apply(ours, LIBRARY)
        assert at(decided, ITEM, "/fields/reorder_level/label") == label
        assert at(decided, ITEM, "/fields/barcode/label") == "Barcode"


def test_in_plain_words_a_conflict_is_asked_back_and_answered() -> None:
    ours = with_edits(of_item("rename_field", "reorder_level", label="Warn me at"))
    asked = plan("Upgrade the inventory module", ours, newest(LIBRARY), LIBRARY)
    assert isinstance(asked, Asked)
    assert "'Warn me at' here and 'Reorder level' in the module" in asked.question
    for candidate, label in zip(asked.candidates, ("Warn me at", "Reorder level"), strict=True):
        answer = plan(candidate, ours, newest(LIBRARY), LIBRARY)
        assert isinstance(answer, Planned), answer
        assert at(with_edits(*answer.operations, tree=ours), ITEM, "/fields/reorder_level/label") == label


def test_a_migration_overwrites_nothing_that_the_client_has_set() -> None:
    """Hidden and shown again is shown: the client wants the field, and says so in the same place as the migration."""
    shown = OLD.with_file(ITEM, {**OLD.files[ITEM], "fields": {
        **OLD.files[ITEM]["fields"], "shelf": {**OLD.files[ITEM]["fields"]["shelf"], "hidden": False},
    }})  # fmt: skip
    with pytest.raises(ModuleConflict) as refused:
        TO_1_1.apply(shown, LIBRARY)
    assert [clash["pointer"] for clash in refused.value.facts["conflicts"]] == ["/fields/shelf/hidden"]
    kept = UpgradeModule(module="inventory", version="1.1.0", prefer="ours").apply(shown, LIBRARY)
    assert at(kept, ITEM, "/fields/shelf/hidden") is False


def test_an_upgrade_needs_the_files_that_the_app_was_made_from() -> None:
    strange = OLD.with_file("modules.lock.json", {"modules": {
        **OLD.files["modules.lock.json"]["modules"], "inventory": {"version": "1.0.0", "digest": "0" * 64},
    }})  # fmt: skip
    with pytest.raises(OperationRefused) as refused:
        TO_1_1.apply(strange, LIBRARY)
    assert refused.value.facts["rule"] == "lock"
    with pytest.raises(OperationRefused) as older:
        UpgradeModule(module="inventory", version="1.0.0").apply(NEW, LIBRARY)
    assert older.value.facts["rule"] == "older"


_FIELDS = sorted(OLD.files[ITEM]["fields"])
_OPTIONAL = ["supplier", "shelf", "note", "order_quantity"]
_LISTS = ["items", "running_low", "stock_levels", "locations"]
EDITS = st.one_of(
    st.builds(lambda field, label: of_item("rename_field", field, label=label),
              st.sampled_from(_FIELDS), st.sampled_from(["Mine", "Reorder level", "Ours"])),
    st.builds(lambda field: of_item("hide_field", field), st.sampled_from(_OPTIONAL)),
    st.builds(lambda field, text: of_item("set_field_help", field, help=text),
              st.sampled_from(_FIELDS), st.sampled_from(["See the manual.", None])),
    st.builds(lambda field: of_item("require_field", field), st.sampled_from(_OPTIONAL)),
    st.builds(lambda name, kind: of_item("add_field", name, definition={"type": kind, "label": "Own"}),
              st.sampled_from(["colour", "barcode", "weight"]), st.sampled_from(["text", "integer"])),
    st.builds(lambda view, field: op("remove_view_column", view=view, field=field),
              st.sampled_from(_LISTS), st.sampled_from([*_FIELDS, "label"])),
    st.builds(lambda field: op("add_view_column", view="items", field=field), st.sampled_from(_FIELDS)),
    st.builds(lambda field, after: op("move_view_column", view="items", field=field, after=after),
              st.sampled_from(_FIELDS), st.sampled_from([None, *_FIELDS])),
    st.builds(lambda view: op("rename_view", view=view, title="Our view"), st.sampled_from(_LISTS)),
    st.builds(lambda view: op("remove_view", view=view), st.sampled_from(["moves_by_month", "locations", "items"])),
    st.builds(lambda value: of_item("add_option", "category", value=value, label="Own"),
              st.sampled_from(["spare", "tool"])),
    st.builds(lambda value: op("set_module_config", module="inventory", key="valuation", value=value),
              st.sampled_from(["last", "average", None])),
    st.just(op("disable_automation", automation="low_stock")),
    st.just(op("hide_entity", entity="reservation")),
    st.just(op("remove_example", example="goods_in")),
)  # fmt: skip


CHANGES = st.lists(EDITS, max_size=8)


def after(changes: list[Operation]) -> AppTree:
    """The app with version 1.0.0 after a client's changes: those that fit."""
    tree = OLD
    for operation in changes:
        with suppress(OperationRefused, InvalidApp):
            tree = operation.apply(tree, LIBRARY)
    return tree


def holds(edit: Edit, tree: AppTree) -> bool:
    """Whether what an edit has made is still so: a value as it is, of a named list what came and what went."""
    parts, found = parts_of(edit.pointer), at(tree, edit.path, edit.pointer)
    if same(found, edit.after):
        return True
    if not parts or parts[-1] not in NAMED_LISTS or not isinstance(found, list):
        return False
    before, after, now = (
        by_name(side if isinstance(side, list) else [], NAMED_LISTS[parts[-1]]) or {}
        for side in (edit.before, edit.after, found)
    )
    came, went = after.keys() - before.keys(), before.keys() - after.keys()
    return came <= now.keys() and not went & now.keys()


def resolve(ours: AppTree, side: Side) -> AppTree:
    return UpgradeModule(module="inventory", version="1.1.0", prefer=side).apply(ours, LIBRARY)


def at_the_same_place(edit: Edit, others: list[Edit]) -> bool:
    return any(edit.overlaps(other) for other in others)


@settings(max_examples=20, deadline=None)
@given(CHANGES)
def test_nothing_is_lost_and_nothing_is_ignored(changes: list[Operation]) -> None:
    ours = after(changes)
    mine, theirs = between(OLD, ours), between(OLD, NEW)
    try:
        upgraded = TO_1_1.apply(ours, LIBRARY)
    except OperationRefused as refused:
        # The migration hides the shelf, which the client has made required, or the only thing that a list shows.
        assert refused.facts["rule"] in ("required", "last") and "shelf" in str(refused)
        return
    except ModuleConflict as conflict:
        for clash in conflict.facts["conflicts"]:
            place = Edit(path=clash["path"], pointer=clash["pointer"])
            assert at_the_same_place(place, mine) and at_the_same_place(place, theirs), clash
            assert clash.keys() > {"path", "pointer"}
        upgraded = resolve(ours, "ours")
        resolved = resolve(ours, "theirs")
        check(resolved)
        assert all(
            same(at(resolved, clash["path"], clash["pointer"]), clash.get("theirs", ABSENT))
            for clash in conflict.facts["conflicts"]
            if not isinstance(clash.get("theirs"), list)
        )
    check(upgraded)
    # What is hidden goes out of every view, whoever has put it there.
    hidden = {name for name, field in upgraded.files[ITEM]["fields"].items() if field.get("hidden")}
    lost = [edit for edit in mine if not holds(edit, upgraded) and not _of_hidden(edit, hidden)]
    assert not lost, lost
    ignored = [
        edit for edit in theirs
        if not holds(edit, upgraded) and not at_the_same_place(edit, mine) and not _of_hidden(edit, hidden)
    ]  # fmt: skip
    assert not ignored, ignored


def _of_hidden(edit: Edit, hidden: set[str]) -> bool:
    """Whether an edit put a hidden field into a view."""
    return edit.path.startswith("views/") and any(field in json.dumps(edit.after, default=str) for field in hidden)


@settings(max_examples=12, deadline=None)
@given(CHANGES)
def test_a_module_that_is_taken_out_and_put_back_has_lost_nothing_of_the_client(changes: list[Operation]) -> None:
    ours = after(changes)
    without = DisableModule(module="inventory").apply(ours, LIBRARY)
    assert "inventory" not in without.files["app.json"]["modules"]
    assert {path for path in ours.files if path.startswith(("entities/", "views/"))} <= without.files.keys()
    assert DisableModule(module="inventory").invert(ours, LIBRARY).apply(without).digest == ours.digest
    again = InstallModule(module="inventory", version="1.0.0", prefer="ours").apply(without, LIBRARY)
    mine = [edit for edit in between(OLD, ours) if edit.after is not ABSENT and edit.path.startswith("entities/")]
    assert all(holds(edit, again) for edit in mine)
