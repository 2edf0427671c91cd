"""Every operation: one tree that it fits, one that it does not, and what it says to who approves it."""

from __future__ import annotations

import json

import pytest
from grounds import CRM_1, DOES_NOT_FIT, FITS, GROUND, LIBRARY, STOCK, changed, module, op

from felix.domain.apps.places import ABSENT, at
from felix.domain.apps.references import check
from felix.domain.apps.tree import InvalidApp
from felix.domain.changes.edits import EditConflict
from felix.domain.changes.operations.base import METER, Operation
from felix.domain.changes.operations.draft import OperationRefused
from felix.domain.changes.operations.modules import ModuleConflict
from felix.domain.changes.operations.union import PROPOSED, InvalidOperations, read_proposed, read_recorded, written
from felix.domain.metering.prices import price_table

DEAL = "entities/deal.json"


def names(operations: list[Operation]) -> set[str]:
    return {operation.op for operation in operations}


def known() -> set[str]:
    """Every name of the closed union."""
    return set(PROPOSED.json_schema()["items"]["discriminator"]["mapping"])


def test_the_ground_is_an_app() -> None:
    check(GROUND)


def test_every_operation_is_told_once_as_it_fits_and_once_as_it_does_not() -> None:
    needs_a_state = {"show_entity", "disable_automation", "enable_schedule"}
    assert names([operation for operation, _, _ in FITS]) == known() - needs_a_state
    assert names([operation for operation, _ in DOES_NOT_FIT]) == known()


@pytest.mark.parametrize(("operation", "sentence", "risk"), FITS, ids=lambda value: getattr(value, "op", None))
def test_an_operation_that_fits(operation: Operation, sentence: str, risk: str) -> None:
    assert operation.describe(GROUND) == sentence
    operation.preconditions(GROUND, LIBRARY)
    result = operation.apply(GROUND, LIBRARY)
    assert result.digest != GROUND.digest
    assert operation.risk(GROUND, LIBRARY) == risk, operation.effects(GROUND, LIBRARY)
    assert operation.invert(GROUND, LIBRARY).apply(result).digest == GROUND.digest


@pytest.mark.parametrize(("operation", "rule"), DOES_NOT_FIT, ids=lambda value: getattr(value, "op", value))
def test_an_operation_that_does_not_fit(operation: Operation, rule: str) -> None:
    before = GROUND.digest
    with pytest.raises((OperationRefused, InvalidApp)) as refused:
        operation.apply(GROUND, LIBRARY)
    facts = refused.value.facts
    assert rule in ([facts["rule"]] if "rule" in facts else [entry["rule"] for entry in facts["errors"]]), facts
    assert refused.value.detail and GROUND.digest == before
    assert operation.describe(GROUND)


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (op("hide_entity", entity="deal"), op("show_entity", entity="deal")),
        (op("enable_automation", automation="thank"), op("disable_automation", automation="thank")),
        (op("disable_schedule", schedule="monthly"), op("enable_schedule", schedule="monthly")),
        (op("show_field", entity="deal", field="old"), op("hide_field", entity="deal", field="old")),
    ],
    ids=lambda operation: operation.op,
)
def test_what_was_switched_is_switched_back_to_the_same_bytes(first: Operation, then: Operation) -> None:
    assert then.apply(first.apply(GROUND)).digest == GROUND.digest


def test_a_hidden_field_goes_out_of_every_view_that_shows_it() -> None:
    tree = changed(GROUND, "views/deals.json", "where", to={
        "all": [{"not": {"field": "closes_on", "is": "is_empty"}}, {"field": "stage", "is": "equal", "value": "won"}]
    })  # fmt: skip
    tree = (
        tree.without_file("views/won.json")
        .without_file("reports/won_deals.json")
        .without_file("schedules/monthly.json")
    )
    result = op("hide_field", entity="deal", field="closes_on").apply(tree)
    assert at(result, "views/deals.json", "/where") == {"all": [{"field": "stage", "is": "equal", "value": "won"}]}
    assert at(result, "views/deals.json", "/order") is ABSENT
    assert "closes_on" not in at(result, "views/deal_form.json", "/sections")[0]["fields"]
    assert at(result, DEAL, "/fields/closes_on/type") == "date"


def test_a_field_that_something_gives_a_value_is_not_hidden() -> None:
    tree = changed(GROUND, "tests/winning.json", "given", 0, "values", "size", to="small")
    with pytest.raises(OperationRefused) as refused:
        op("hide_field", entity="deal", field="size").apply(tree)
    assert (refused.value.facts["path"], refused.value.facts["pointer"]) == ("tests/winning.json", "/given")


def test_a_field_is_not_purged_while_a_mail_names_it() -> None:
    tree = GROUND.with_file("templates/thanks.liquid", "It was {% if deal.old %}{{ deal.old }}{% endif %}")
    with pytest.raises(OperationRefused) as refused:
        op("purge_field", entity="deal", field="old").apply(tree)
    assert refused.value.facts["path"] == "templates/thanks.liquid"
    op("purge_field", entity="deal", field="old").apply(GROUND.with_file("templates/thanks.liquid", "deal.old {{ x }}"))


def test_an_operation_says_what_it_relies_on() -> None:
    edits = op("add_view_column", view="deals", field="stage").edits(GROUND)
    assert [(edit.path, edit.pointer, edit.writes) for edit in edits] == [
        (DEAL, "/hidden", False),
        (DEAL, "/fields/stage/type", False),
        (DEAL, "/fields/stage/hidden", False),
        ("views/deals.json", "/columns", True),
    ]


def test_an_undo_is_never_less_risky_than_what_it_takes_back() -> None:
    purge = op("purge_field", entity="deal", field="old")
    undo = purge.invert(GROUND)
    assert undo.risk(purge.apply(GROUND)) == "destructive"
    assert undo.describe(GROUND) == "Takes back: Removes the field 'Old' of deals for good, with all its values"
    # To take back what is new is to remove it.
    added = op("add_field", entity="deal", field="note", definition={"type": "text", "label": "Note"})
    assert added.risk(GROUND) == "medium" and added.invert(GROUND).risk(added.apply(GROUND)) == "destructive"


def test_an_undo_does_not_overwrite_what_came_after() -> None:
    rename = op("rename_field", entity="deal", field="value", label="Worth")
    later = op("rename_field", entity="deal", field="value", label="Amount").apply(rename.apply(GROUND))
    with pytest.raises(EditConflict) as refused:
        rename.invert(GROUND).apply(later)
    assert refused.value.facts["conflicts"] == [
        {"path": DEAL, "pointer": "/fields/value/label", "ours": "Value", "theirs": "Amount"}
    ]


def test_an_undo_of_an_undo_does_it_again() -> None:
    hide = op("hide_field", entity="deal", field="contact")
    hidden = hide.apply(GROUND)
    undo = hide.invert(GROUND)
    assert undo.invert(hidden).apply(undo.apply(hidden)).digest == hidden.digest


def test_no_planner_proposes_an_undo() -> None:
    undo = written([op("hide_entity", entity="deal").invert(GROUND)])
    assert read_recorded(json.dumps(undo))[0].op == "undo"
    with pytest.raises(InvalidOperations):
        read_proposed(json.dumps(undo))


def test_a_module_that_wants_something_else_is_named_with_both_sides() -> None:
    ours = changed(GROUND, "entities/contact.json", "fields", "phone", to={"type": "text", "label": "Call"})
    with pytest.raises(ModuleConflict) as refused:
        op("upgrade_module", module="crm", version="1.1.0").apply(ours, LIBRARY)
    assert [conflict["pointer"] for conflict in refused.value.facts["conflicts"]] == ["/fields/phone"]
    for side, label in (("ours", "Call"), ("theirs", "Phone")):
        upgraded = op("upgrade_module", module="crm", version="1.1.0", prefer=side).apply(ours, LIBRARY)
        assert at(upgraded, "entities/contact.json", "/fields/phone/label") == label
        assert at(upgraded, "modules.lock.json", "/modules/crm/version") == "1.1.0"


def test_an_upgrade_keeps_what_the_client_changed() -> None:
    ours = changed(GROUND, "entities/contact.json", "fields", "name", "label", to="Full name")
    upgraded = op("upgrade_module", module="crm", version="1.1.0").apply(ours, LIBRARY)
    assert at(upgraded, "entities/contact.json", "/fields/name/label") == "Full name"
    assert at(upgraded, "entities/contact.json", "/fields/phone/type") == "phone"


def test_an_upgrade_from_files_that_nobody_knows_is_refused() -> None:
    strange = changed(GROUND, "modules.lock.json", "modules", "crm", "digest", to="0" * 64)
    with pytest.raises(OperationRefused) as refused:
        op("upgrade_module", module="crm", version="1.1.0").apply(strange, LIBRARY)
    assert refused.value.facts["rule"] == "lock"


def test_what_the_client_hid_stays_hidden_when_a_module_brings_a_view_of_it() -> None:
    columns = [{"field": "name"}, {"field": "vip"}]
    view = {"kind": "list", "entity": "contact", "title": "People", "columns": columns}
    library = LIBRARY | module("crm", "1.2.0", CRM_1.with_file("views/people.json", view))
    hidden = op("hide_field", entity="contact", field="vip").apply(GROUND)
    upgraded = op("upgrade_module", module="crm", version="1.2.0").apply(hidden, library)
    assert at(upgraded, "views/people.json", "/columns") == [{"field": "name"}]


def test_a_module_that_is_taken_out_takes_its_schedules_along_and_comes_back() -> None:
    install = op("install_module", module="stock", version="1.0.0")
    installed = install.apply(GROUND, LIBRARY)
    assert at(installed, "modules.lock.json", "/modules/stock/digest") == STOCK.digest
    without = op("disable_module", module="stock").apply(installed)
    assert "schedules/reorder.json" not in without.files and "entities/item.json" in without.files
    assert install.apply(without, LIBRARY).digest == installed.digest


def test_an_operation_costs_what_the_rate_card_says() -> None:
    rename = op("rename_view", view="deals", title="Chances")
    assert rename.price({}) == 0
    prices = [{"meter": METER, "kind": "flat", "price_mtok": 500}]
    assert rename.price(price_table(prices, 1)) == 500
    dear = [*prices, {"meter": METER, "model": "rename_view", "kind": "flat", "price_mtok": 900}]
    assert rename.price(price_table(dear, 1)) == 900


@pytest.mark.parametrize(
    ("stored", "pointer"),
    [
        ("{}", ""),
        ("[1]", "/0"),
        ('[{"op": "fly"}]', "/0"),
        ('[{"op": "rename_view", "view": "deals"}]', "/0/title"),
        ('[{"op": "rename_view", "view": "../deals", "title": "x"}]', "/0/view"),
        ('[{"op": "rename_view", "view": "deals", "title": "x", "more": 1}]', "/0/more"),
        ('[{"op": "set_field_default", "entity": "a", "field": "b", "default": NaN}]', ""),
        ('[{"op": "rename_view", "view": "deals", "title": "\\ud800"}]', ""),
        ("not json", ""),
        ("[" * 100_000, ""),
    ],
)
def test_what_is_no_operation_is_refused_with_its_place(stored: str, pointer: str) -> None:
    with pytest.raises(InvalidOperations) as refused:
        read_proposed(stored)
    assert refused.value.facts["errors"][0]["pointer"] == pointer


def test_operations_are_written_as_they_are_read() -> None:
    operations = [operation for operation, _, _ in FITS]
    assert read_recorded(json.dumps(written(operations))) == operations


def test_what_cannot_be_seen_does_not_turn_a_sentence_into_another_one() -> None:
    sly = op("rename_view", view="deals", title="Deals\u202e\n\u200bApproved")
    assert sly.describe(GROUND) == "Calls the view 'Deals' 'Deals Approved' from now on"
