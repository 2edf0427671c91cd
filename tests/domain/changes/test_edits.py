"""Edits: applied whole or not at all, with what each expects checked."""

from __future__ import annotations

import pytest
from grounds import GROUND

from felix.domain.apps.places import ABSENT, at, pointer_of
from felix.domain.apps.tree import AppTree
from felix.domain.changes.edits import Edit, EditConflict, apply, between, disjoint, touches, turned_round

TREE = AppTree({"app.json": {"title": "Bakery", "modules": {"crm": "1"}}, "policy.json": {"a": None}})


def refused(*edits: Edit) -> list[dict[str, object]]:
    """The conflicts, after which the tree is as it was."""
    before = TREE.digest
    with pytest.raises(EditConflict) as conflict:
        apply(TREE, edits)
    assert AppTree(TREE.files).digest == before
    conflicts: list[dict[str, object]] = conflict.value.facts["conflicts"]
    return conflicts


def test_absent_and_null_are_different_things() -> None:
    absent, null = Edit(path="a.json", pointer="/x", after=1), Edit(path="a.json", pointer="/x", before=None, after=1)
    assert absent != null
    assert absent.model_dump() == {"path": "a.json", "pointer": "/x", "after": 1}
    assert null.model_dump_json() == '{"path":"a.json","pointer":"/x","before":null,"after":1}'
    for edit in (absent, null):
        assert Edit.model_validate_json(edit.model_dump_json()) == edit
    assert refused(Edit(path="policy.json", pointer="/a", after=1)) == [
        {"path": "policy.json", "pointer": "/a", "ours": 1, "theirs": None}
    ]
    assert refused(Edit(path="policy.json", pointer="/b", before=None, after=1)) == [
        {"path": "policy.json", "pointer": "/b", "ours": 1}
    ]


def test_true_is_not_one_and_text_that_looks_the_same_is_the_same() -> None:
    tree = AppTree({"a.json": {"flag": True, "name": "Café"}})
    with pytest.raises(EditConflict):
        apply(tree, [Edit(path="a.json", pointer="/flag", before=1, after=False)])
    apply(tree, [Edit(path="a.json", pointer="/name", before="Cafe\u0301", after="x")])


def test_all_of_them_apply_or_none() -> None:
    right = Edit(path="app.json", pointer="/title", before="Bakery", after="Shop")
    wrong = Edit(path="app.json", pointer="/modules/crm", before="2", after="3")
    nowhere = Edit(path="app.json", pointer="/none/inner", after=1)
    assert [conflict["pointer"] for conflict in refused(right, wrong, nowhere)] == ["/modules/crm", "/none/inner"]
    assert apply(TREE, [right]).files["app.json"]["title"] == "Shop"


def test_each_finds_what_the_one_before_it_left() -> None:
    edits = [
        Edit(path="app.json", pointer="/title", before="Bakery", after="Shop"),
        Edit(path="app.json", pointer="/title", before="Shop"),
        Edit(path="new.json", after={"x": {}}),
        Edit(path="new.json", pointer="/x/y", after=1),
        Edit(path="policy.json", before={"a": None}),
    ]
    result = apply(TREE, edits)
    assert result.files == {"app.json": {"modules": {"crm": "1"}}, "new.json": {"x": {"y": 1}}}
    assert apply(result, turned_round(edits)).digest == TREE.digest


def test_the_edits_between_two_trees_are_the_smallest() -> None:
    other = AppTree({"app.json": {"title": "Bakery", "modules": {"crm": "2", "x": "1"}}, "new.json": {}})
    found = between(TREE, other)
    assert [(edit.path, edit.pointer) for edit in found] == [
        ("app.json", "/modules/crm"), ("app.json", "/modules/x"), ("new.json", ""), ("policy.json", ""),
    ]  # fmt: skip
    assert apply(TREE, found).digest == other.digest
    assert between(TREE, TREE) == []


def test_a_condition_is_changed_as_a_whole() -> None:
    where = {"field": "stage", "is": "equal", "value": "open"}
    other = GROUND.with_file("views/deals.json", {**GROUND.files["views/deals.json"], "where": where})
    assert [edit.pointer for edit in between(GROUND, other)] == ["/where"]


@pytest.mark.parametrize(
    ("one", "other", "apart"),
    [
        (Edit(path="a", pointer="/x", after=1), Edit(path="a", pointer="/y", after=1), True),
        (Edit(path="a", pointer="/x", after=1), Edit(path="b", pointer="/x", after=1), True),
        (Edit(path="a", pointer="/x", after=1), Edit(path="a", pointer="/xy", after=1), True),
        (Edit(path="a", pointer="/x", after=1), Edit(path="a", pointer="/x/y", after=1), False),
        (Edit(path="a", before={}), Edit(path="a", pointer="/x/y", after=1), False),
        (Edit(path="a", pointer="/x", before=1, after=1), Edit(path="a", pointer="/x", after=1), False),
        (Edit(path="a", pointer="/x", before=1, after=1), Edit(path="a", pointer="/x", before=1, after=1), True),
    ],
)
def test_edits_are_disjoint_where_neither_writes_what_the_other_needs(one: Edit, other: Edit, apart: bool) -> None:
    assert disjoint([one], [other]) is apart and disjoint([other], [one]) is apart


def test_what_only_expects_writes_nothing() -> None:
    expects = Edit(path="app.json", pointer="/title", before="Bakery", after="Bakery")
    assert touches([expects]) == set() and turned_round([expects]) == []
    assert apply(TREE, [expects]) is TREE


def test_names_with_slashes_have_their_place() -> None:
    tree = AppTree({"a.json": {"x/y~z": 1}})
    pointer = pointer_of(("x/y~z",))
    assert pointer == "/x~1y~0z" and at(tree, "a.json", pointer) == 1 and at(tree, "a.json", "/x/y~z") is ABSENT
