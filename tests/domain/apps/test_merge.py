"""Three-way merge: what both sides did is kept, and nothing is guessed."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_app import TREE

from felix.domain.apps.merge import merge, merge_list
from felix.domain.apps.places import ABSENT
from felix.domain.apps.tree import AppTree

VIEW = "views/deals.json"


def changed(path: str, *parts: Any, to: Any) -> AppTree:
    """The sample with one value changed."""
    content = copy.deepcopy(TREE.files[path])
    place = content
    for part in parts[:-1]:
        place = place[part]
    place[parts[-1]] = to
    return TREE.with_file(path, content)


def columns(*names: str) -> list[dict[str, str]]:
    return [{"field": name} for name in names]


def test_each_side_keeps_what_it_changed() -> None:
    ours = changed(VIEW, "title", to="Chances").without_file("views/won.json")
    theirs = changed("entities/deal.json", "fields", "value", "label", to="Worth").with_file("views/new.json", {"a": 1})
    merged = merge(TREE, ours, theirs)
    assert merged.clashes == ()
    assert merged.tree.files[VIEW]["title"] == "Chances" and "views/won.json" not in merged.tree.files
    assert merged.tree.files["entities/deal.json"]["fields"]["value"]["label"] == "Worth"
    assert merged.tree.files["views/new.json"] == {"a": 1}


def test_where_both_changed_one_value_both_are_named() -> None:
    merged = merge(TREE, changed(VIEW, "title", to="Ours"), changed(VIEW, "title", to="Theirs"))
    assert [clash.shown() for clash in merged.clashes] == [
        {"path": VIEW, "pointer": "/title", "ours": "Ours", "theirs": "Theirs"}
    ]
    assert merged.tree.files[VIEW]["title"] == "Ours"
    gone = merge(TREE, TREE.without_file(VIEW), changed(VIEW, "title", to="Theirs"))
    assert [(clash.pointer, clash.ours) for clash in gone.clashes] == [("", ABSENT)]
    assert "ours" not in gone.clashes[0].shown() and VIEW not in gone.tree.files


def test_conditions_are_never_mixed() -> None:
    ours = changed(VIEW, "where", to={"field": "stage", "is": "equal", "value": "won"})
    theirs = changed(VIEW, "where", to={"field": "value", "is": "equal", "value": 1})
    assert [clash.pointer for clash in merge(TREE, ours, theirs).clashes] == ["/where"]


@pytest.mark.parametrize(
    ("base", "ours", "theirs", "merged"),
    [
        ("ab", "abx", "aby", "abxy"), ("ab", "xab", "ab", "xab"), ("ab", "a", "abc", "ac"), ("ab", "ba", "abc", "bca"),
        ("abc", "abc", "cab", "cab"), ("abc", "axbc", "cab", "caxb"), ("ab", "ab", "", ""), ("ab", "b", "a", ""),
        ("abc", "bac", "acb", None),
    ],
)  # fmt: skip
def test_lists_of_named_elements(base: str, ours: str, theirs: str, merged: str | None) -> None:
    found = merge_list("columns", columns(*base), columns(*ours), columns(*theirs))
    if merged is None:
        assert found is ABSENT
    else:
        assert [column["field"] for column in found] == list(merged)


def test_a_list_without_names_is_one_value() -> None:
    assert merge_list("order", columns("a"), columns("a", "b"), columns("a", "c")) is ABSENT
    assert merge_list("columns", columns("a"), [*columns("a"), {"label": "b"}], columns("a", "c")) is ABSENT
    assert merge_list("columns", columns("a"), columns("a", "a"), columns("a", "c")) is ABSENT


def test_an_element_that_both_changed_is_merged_by_its_members() -> None:
    ours = [{"field": "a", "label": "A"}]
    assert merge_list("columns", columns("a"), ours, [{"field": "a", "width": 2}]) == [
        {"field": "a", "label": "A", "width": 2}
    ]
    assert merge_list("columns", columns("a"), ours, [{"field": "a", "label": "B"}]) is ABSENT


_VALUES = st.recursive(
    st.integers(0, 3) | st.sampled_from(["x", "y"]),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3) | st.lists(inner, max_size=2),
    max_leaves=6,
)
_TREES = st.dictionaries(
    st.sampled_from(["one.json", "two.json"]), st.dictionaries(st.sampled_from("abc"), _VALUES, max_size=3)
).map(AppTree)


@given(_TREES, _TREES, _TREES)
def test_a_merge_is_the_same_from_both_sides_and_loses_nothing(base: AppTree, ours: AppTree, theirs: AppTree) -> None:
    merged, other = merge(base, ours, theirs), merge(base, theirs, ours)
    assert [(clash.path, clash.pointer) for clash in merged.clashes] == [
        (clash.path, clash.pointer) for clash in other.clashes
    ]
    if not merged.clashes:
        assert merged.tree.digest == other.tree.digest
    assert merge(base, ours, base).tree.digest == ours.digest
    assert merge(base, base, theirs).tree.digest == theirs.digest
    assert merge(base, ours, ours).tree.digest == ours.digest
