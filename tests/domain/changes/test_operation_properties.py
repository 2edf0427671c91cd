"""What holds for every operation, on every tree."""

from __future__ import annotations

from itertools import combinations

from grounds import ABOUT_ONE_FIELD, GROUND, LIBRARY, fitting, operations, trees
from hypothesis import event, given
from hypothesis import strategies as st

from felix.domain.apps.references import check
from felix.domain.apps.tree import AppTree
from felix.domain.changes.diff import diff
from felix.domain.changes.edits import disjoint
from felix.domain.changes.operations.base import Operation
from felix.domain.changes.replay import complete, describe, invert, rebase, replay
from felix.domain.changes.risk import RISKS
from felix.domain.errors import FelixError

#: Enough that some of them fit a tree, few enough that all pairs can be tried.
SOME = st.lists(operations(), min_size=2, max_size=6)


def outcome(tree: AppTree, *these: Operation) -> str:
    """The digest of what the operations make of a tree, or that one of them was refused."""
    try:
        for operation in these:
            tree = operation.apply(tree, LIBRARY)
    except FelixError:
        return "refused"
    return tree.digest


@given(trees(), SOME)
def test_taking_it_back_restores_every_byte(tree: AppTree, these: list[Operation]) -> None:
    for operation in fitting(tree, these):
        undone = operation.invert(tree, LIBRARY).apply(operation.apply(tree, LIBRARY))
        assert undone.digest == tree.digest
        assert {path: undone.bytes_of(path) for path in undone.files} == _bytes(tree)


@given(trees(), SOME)
def test_operations_on_different_places_commute(tree: AppTree, these: list[Operation]) -> None:
    fit = [(operation, operation.edits(tree, LIBRARY)) for operation in fitting(tree, these)]
    for (one, ones), (other, others) in combinations(fit, 2):
        if disjoint(ones, others):
            both = outcome(tree, one, other)
            event("refused together" if both == "refused" else "apply together")
            assert both == outcome(tree, other, one)


@given(trees(), st.lists(operations(), max_size=5))
def test_a_list_gives_an_app_or_is_refused_whole(tree: AppTree, these: list[Operation]) -> None:
    before, stored = tree.digest, _bytes(tree)
    try:
        result = replay(these, tree, LIBRARY)
    except FelixError as refused:
        event(type(refused).__name__)
    else:
        check(result.tree)
        assert replay(these, tree, LIBRARY).tree.digest == result.tree.digest
        assert len(describe(these, tree, LIBRARY)) == len(these)
        check(replay(complete(these, tree, LIBRARY), tree, LIBRARY).tree)
        if not result.already:
            assert invert(these, tree, LIBRARY).apply(result.tree).digest == before
    assert AppTree(tree.files).digest == before and _bytes(tree) == stored


@given(trees(), operations())
def test_it_can_be_said_of_any_tree(tree: AppTree, operation: Operation) -> None:
    for any_tree in (tree, AppTree({})):
        said = operation.describe(any_tree)
        assert said[0].isupper() and not said.endswith(".") and "\n" not in said


@given(trees(), SOME)
def test_it_is_as_risky_as_what_it_does_and_everything_it_does_is_said(tree: AppTree, these: list[Operation]) -> None:
    for operation in fitting(tree, these):
        result = operation.apply(tree, LIBRARY)
        found, risk = diff(tree, result), operation.risk(tree, LIBRARY)
        assert all(RISKS.index(effect.risk) <= RISKS.index(risk) for effect in found.effects)
        was, becomes = _bytes(tree), _bytes(result)
        differ = {path for path in {*was, *becomes} if was.get(path) != becomes.get(path)}
        assert {file.path for file in found.files} == differ
        # A mail's text is said with its file, and what is kept of a module with the app that names its version.
        told = {effect.path.rpartition(".")[0] for effect in found.effects}
        kept = {path for path in differ if path.startswith("modules") and "app" in told}
        assert {path.rpartition(".")[0] for path in differ - kept} <= told


@given(trees(), SOME, SOME)
def test_on_a_head_that_changed_elsewhere_the_order_does_not_matter(
    tree: AppTree, these: list[Operation], those: list[Operation]
) -> None:
    mine = fitting(tree, these)[:2]
    if not mine or outcome(tree, *mine) == "refused":
        return
    planned = replay(mine, tree, LIBRARY)
    for theirs in fitting(tree, those):
        if disjoint(planned.edits, theirs.edits(tree, LIBRARY)):
            other_way = outcome(planned.tree, theirs)
            if other_way != "refused":
                event("rebased")
                head = theirs.apply(tree, LIBRARY)
                assert rebase(mine, tree, head, LIBRARY).tree.digest == other_way


def test_operations_about_one_field_commute_where_they_are_disjoint_and_only_there() -> None:
    """The control of the rule above: were only what is written compared, some of these would not commute."""
    drawn = [(operation, operation.edits(GROUND, LIBRARY)) for operation in ABOUT_ONE_FIELD]
    apart, only_written_apart = [], []
    for (one, ones), (other, others) in combinations(drawn, 2):
        commute = outcome(GROUND, one, other) == outcome(GROUND, other, one)
        if disjoint(ones, others):
            assert commute, (one, other)
            apart.append((one.op, other.op))
        elif disjoint([edit for edit in ones if edit.writes], [edit for edit in others if edit.writes]):
            only_written_apart.append((one.op, other.op, commute))
    assert len(apart) > 20
    assert {("hide_field", "add_view_column", False), ("hide_field", "set_view_filter", False)} <= {*only_written_apart}


def _bytes(tree: AppTree) -> dict[str, bytes]:
    return {path: tree.bytes_of(path) for path in tree.files}
