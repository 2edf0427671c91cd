"""Edits: what a change writes, and what it expects to find where it writes.

A change is a list of edits, and either all of them apply or none does. An edit whose ``before`` is its ``after`` writes
nothing and only expects: so a change says what it relies on. Edits that are disjoint can be applied in any order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints, model_serializer

from felix.domain.apps.merge import Clash
from felix.domain.apps.places import ABSENT, at, differences, parts_of, pointer_of, same, within
from felix.domain.apps.tree import MAX_PROBLEMS, AppTree
from felix.domain.errors import Refused


class EditConflict(Refused):
    """What the change expects to find is no longer there; it was made for another state of the app."""

    def __init__(self, clashes: Sequence[Clash]) -> None:
        super().__init__(conflicts=[clash.shown() for clash in clashes[:MAX_PROBLEMS]])


def _nothing() -> Any:
    return ABSENT


class Edit(BaseModel):
    """One place, what is there before and what is there after. As JSON, the member of what is absent is left out."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    path: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    pointer: Annotated[str, StringConstraints(pattern=r"^(/[^/]*)*$", max_length=500)] = ""
    before: JsonValue = Field(default_factory=_nothing)
    after: JsonValue = Field(default_factory=_nothing)

    @model_serializer
    def _shown(self) -> dict[str, Any]:
        return {name: value for name, value in self if value is not ABSENT}

    @property
    def writes(self) -> bool:
        """Whether this changes anything, or only expects."""
        return not same(self.before, self.after)

    def turned_round(self) -> Edit:
        """The edit that takes this one back."""
        return self.model_copy(update={"before": self.after, "after": self.before})

    def overlaps(self, other: Edit) -> bool:
        """Whether both are about the same place, or one's place is inside the other's."""
        return within(self.path, self.pointer, other.path, other.pointer)


def between(before: AppTree, after: AppTree) -> list[Edit]:
    """The smallest edits that lead from one tree to the other."""
    return [
        Edit.model_construct(path=path, pointer=pointer_of(parts), before=old, after=new)
        for path in sorted({*before.files, *after.files})
        for parts, old, new in differences(before.files.get(path, ABSENT), after.files.get(path, ABSENT))
    ]


def apply(tree: AppTree, edits: Iterable[Edit]) -> AppTree:
    """The tree after all the edits, each on what the one before it left. Raises :class:`EditConflict`, with every
    place that is not as expected; the tree itself never changes."""
    clashes: list[Clash] = []
    for edit in edits:
        found = at(tree, edit.path, edit.pointer)
        if not same(found, edit.before) or (edit.writes and not _has_a_place(tree, edit)):
            clashes.append(Clash(edit.path, edit.pointer, edit.after, found))
        elif edit.writes:
            content = _put(tree.files.get(edit.path, ABSENT), parts_of(edit.pointer), edit.after)
            tree = tree.without_file(edit.path) if content is ABSENT else tree.with_file(edit.path, content)
    if clashes:
        raise EditConflict(clashes)
    return tree


def turned_round(edits: Sequence[Edit]) -> list[Edit]:
    """The edits that take these back: the last one first."""
    return [edit.turned_round() for edit in reversed(edits) if edit.writes]


def touches(edits: Iterable[Edit]) -> set[tuple[str, str]]:
    """The places that are written."""
    return {(edit.path, edit.pointer) for edit in edits if edit.writes}


def disjoint(ours: Iterable[Edit], theirs: Iterable[Edit]) -> bool:
    """Whether neither writes where the other writes, or what the other relies on."""
    others = list(theirs)
    return not any((one.writes or other.writes) and one.overlaps(other) for one in ours for other in others)


def _has_a_place(tree: AppTree, edit: Edit) -> bool:
    """A member can only be written into an object that is there."""
    above = pointer_of(parts_of(edit.pointer)[:-1])
    return not edit.pointer or isinstance(at(tree, edit.path, above), Mapping)


def _put(content: Any, parts: tuple[str, ...], value: Any) -> Any:
    if not parts:
        return value
    inner = _put(content.get(parts[0], ABSENT), parts[1:], value)
    others = {name: member for name, member in content.items() if name != parts[0]}
    return others if inner is ABSENT else {**others, parts[0]: inner}
