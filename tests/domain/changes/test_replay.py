"""Lists of operations: whole or not at all, completed, and replayed where somebody else was at it."""

from __future__ import annotations

import pytest
from grounds import GROUND, LIBRARY, op

from felix.domain.apps.places import at
from felix.domain.apps.tree import InvalidApp
from felix.domain.changes.edits import EditConflict
from felix.domain.changes.operations.draft import OperationRefused
from felix.domain.changes.replay import complete, describe, invert, rebase, replay, risk

DEAL, VIEW = "entities/deal.json", "views/deals.json"
DUE = op("add_field", entity="deal", field="due_on", definition={"type": "date", "label": "Due date", "required": True})
SHOWN = op("add_view_column", view="deals", field="due_on")
RENAMED = op("rename_field", entity="deal", field="value", label="Worth")


def test_an_operation_can_build_on_the_one_before_it() -> None:
    result = replay([DUE, SHOWN], GROUND).tree
    assert at(result, VIEW, "/columns")[-1] == {"field": "due_on"}
    assert describe([DUE, SHOWN], GROUND)[1] == "Shows the field 'Due date' in the view 'Deals'"
    with pytest.raises(OperationRefused) as refused:
        replay([RENAMED, SHOWN], GROUND)
    assert refused.value.facts["operation"] == 1


def test_a_list_whose_result_is_no_app_is_refused_whole() -> None:
    with pytest.raises(InvalidApp):
        replay([RENAMED, op("set_field_default", entity="deal", field="stage", default="gone")], GROUND)


def test_what_is_so_already_is_passed_over() -> None:
    once = replay([DUE, SHOWN], GROUND)
    again = replay([SHOWN, RENAMED], once.tree)
    assert not again.already and len([edit for edit in again.edits if edit.writes]) == 1
    assert replay([SHOWN], once.tree).already


def test_what_becomes_required_is_asked_for_in_every_form() -> None:
    completed = complete([DUE, SHOWN], GROUND)
    assert [operation.op for operation in completed] == ["add_field", "add_view_column", "add_form_field"]
    assert "due_on" in at(replay(completed, GROUND).tree, "views/deal_form.json", "/sections")[0]["fields"]
    assert complete(completed, GROUND) == completed
    assert complete([RENAMED], GROUND) == [RENAMED]


def test_one_undo_takes_a_whole_list_back() -> None:
    operations = complete([DUE, SHOWN, op("disable_module", module="crm")], GROUND)
    undo = invert(operations, GROUND, LIBRARY)
    assert undo.apply(replay(operations, GROUND).tree).digest == GROUND.digest
    assert undo.of.startswith("Adds the required date field 'Due date' to deals; ")


def test_taking_back_is_as_risky_as_it_was_however_it_looks() -> None:
    disable = [op("disable_module", module="crm")]
    without = replay(disable, GROUND).tree
    assert risk([], without, GROUND) == "medium"
    assert risk([invert(disable, GROUND)], without, GROUND) == "destructive"


def test_a_change_is_replayed_on_a_head_that_changed_elsewhere() -> None:
    head = op("rename_view", view="deals", title="Chances").apply(GROUND)
    result = rebase([DUE, SHOWN], GROUND, head)
    assert at(result.tree, VIEW, "/title") == "Chances" and at(result.tree, DEAL, "/fields/due_on/type") == "date"


def test_two_that_add_to_the_same_list_do_not_disturb_each_other() -> None:
    head = op("add_view_column", view="deals", field="stage").apply(GROUND)
    columns = at(rebase([DUE, SHOWN], GROUND, head).tree, VIEW, "/columns")
    assert [column["field"] for column in columns] == ["title", "value", "stage", "due_on"]


def test_what_somebody_else_changed_is_not_overwritten() -> None:
    head = op("rename_field", entity="deal", field="value", label="Amount").apply(GROUND)
    with pytest.raises(EditConflict) as refused:
        rebase([RENAMED], GROUND, head)
    assert refused.value.facts["conflicts"] == [
        {"path": DEAL, "pointer": "/fields/value/label", "ours": "Worth", "theirs": "Amount"}
    ]


def test_what_is_relied_on_must_still_be_so() -> None:
    head = op("hide_field", entity="deal", field="rank").apply(GROUND)
    with pytest.raises(EditConflict) as refused:
        rebase([op("add_view_column", view="deals", field="rank")], GROUND, head)
    assert refused.value.facts["conflicts"][0]["pointer"] == "/fields/rank/hidden"
    order = op("set_view_order", view="deals", order=[{"field": "rank"}])
    head = op("set_view_order", view="deals", order=[{"field": "value"}]).apply(GROUND)
    with pytest.raises(EditConflict):
        rebase([order], GROUND, head)


def test_a_view_that_somebody_changed_is_not_removed_unseen() -> None:
    head = op("rename_view", view="won", title="Hooray").apply(GROUND)
    with pytest.raises(EditConflict) as refused:
        rebase([op("remove_view", view="won")], GROUND, head)
    (conflict,) = refused.value.facts["conflicts"]
    assert "ours" not in conflict and conflict["theirs"]["title"] == "Hooray"


def test_what_somebody_else_has_done_already_is_not_done_again() -> None:
    head = RENAMED.apply(op("rename_view", view="deals", title="Chances").apply(GROUND))
    result = rebase([RENAMED], GROUND, head)
    assert result.already and result.tree is head and result.edits == ()
