"""Lists of operations: applied whole or not at all, taken back whole, and replayed where the app has moved on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from felix.domain.apps.merge import Clash, merge_list
from felix.domain.apps.places import ABSENT, at, parts_of, same
from felix.domain.apps.references import check
from felix.domain.apps.tree import AppTree
from felix.domain.changes.edits import Edit, EditConflict, apply, between, turned_round
from felix.domain.changes.effects import effects
from felix.domain.changes.forms import unasked
from felix.domain.changes.limits import check_trees
from felix.domain.changes.operations.base import Operation, Undo
from felix.domain.changes.operations.draft import NO_MODULES, Library, OperationRefused
from felix.domain.changes.operations.views import AddFormField
from felix.domain.changes.risk import Risk, highest


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a list of operations makes of a tree.

    ``edits`` is everything that was written and relied on, in order. ``already`` is whether nothing is different.
    """

    tree: AppTree
    edits: tuple[Edit, ...]
    already: bool = False


def replay(operations: Sequence[Operation], tree: AppTree, library: Library = NO_MODULES) -> Replayed:
    """Apply all the operations, each to what the one before it left; what comes out must be an app.

    One that finds everything as it would make it is passed over.

    Raises :class:`OperationRefused` with the number of the operation, ``InvalidApp``, and what ``limits`` raises.
    """
    result, edits = _drawn(operations, tree, library)
    check_trees(tree, result)
    check(result)
    return Replayed(result, tuple(edits), already=not between(tree, result))


def invert(operations: Sequence[Operation], tree: AppTree, library: Library = NO_MODULES) -> Undo:
    """One operation that takes them all back: applied to what they made of this tree, it restores it exactly."""
    result = replay(operations, tree, library).tree
    said = "; ".join(operation.describe(tree) for operation in operations)
    return Undo(
        steps=turned_round(between(tree, result)),
        of=said if len(said) <= 500 else said[:499] + "…",
        at_least=risk(operations, tree, result),
    )


def risk(operations: Sequence[Operation], before: AppTree, after: AppTree) -> Risk:
    """The risk of a change: that of everything it does, and of everything that it takes back."""
    taken_back = [operation.at_least for operation in operations if isinstance(operation, Undo)]
    return highest([*taken_back, *(effect.risk for effect in effects(before, after))])


def describe(operations: Sequence[Operation], tree: AppTree, library: Library = NO_MODULES) -> list[str]:
    """A sentence for each, in the words of the tree that it finds. Raises what :meth:`Operation.edits` raises."""
    said = []
    for operation in operations:
        said.append(operation.describe(tree))
        tree, _ = _drawn([operation], tree, library)
    return said


def complete(operations: Sequence[Operation], tree: AppTree, library: Library = NO_MODULES) -> list[Operation]:
    """The operations, and those that they need beside them: what becomes required is asked for in every form.

    Planners need not think of it. Raises what :meth:`Operation.edits` raises.
    """
    result, _ = _drawn(operations, tree, library)
    missing = sorted(unasked(result) - unasked(tree))
    return [*operations, *(AddFormField(view=gap.view, field=gap.field) for gap in missing)]


def rebase(operations: Sequence[Operation], base: AppTree, head: AppTree, library: Library = NO_MODULES) -> Replayed:
    """Apply operations that were made for ``base`` to ``head``, where somebody else has changed the app.

    Nothing of theirs is overwritten: every place that is written or relied on must be at the head as it was at the
    base, or be a list that both have only added to, or taken from, side by side. Raises :class:`EditConflict` with
    both sides, :class:`OperationRefused`, ``InvalidApp``.
    """
    result, edits = _drawn(operations, base, library)
    check_trees(base, result)
    written = between(base, result)
    if all(same(at(head, edit.path, edit.pointer), edit.after) for edit in written):
        return Replayed(head, (), already=True)
    relied_on = [edit for edit in edits if not edit.writes and same(at(base, edit.path, edit.pointer), edit.before)]
    clashes = [
        Clash(edit.path, edit.pointer, edit.after, found)
        for edit in (*relied_on, *written)
        if not _fits(edit, found := at(head, edit.path, edit.pointer))
    ]
    if clashes:
        raise EditConflict(clashes)
    return replay(operations, head, library)


def _drawn(operations: Sequence[Operation], tree: AppTree, library: Library) -> tuple[AppTree, list[Edit]]:
    edits: list[Edit] = []
    for number, operation in enumerate(operations):
        try:
            more = operation.edits(tree, library)
        except OperationRefused as refused:
            if refused.facts["rule"] == "already":
                continue
            raise refused.of(number) from None
        tree = apply(tree, more)
        edits += more
    return tree, edits


def _fits(edit: Edit, found: object) -> bool:
    """Whether an edit means at the head what it meant at the base."""
    if same(found, edit.before) or same(found, edit.after):
        return True
    parts = parts_of(edit.pointer)
    return bool(parts) and merge_list(parts[-1], edit.before, edit.after, found) is not ABSENT
