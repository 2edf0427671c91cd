"""Three-way merge of trees: what two sides made of the same base, put together member by member.

Lists whose elements have a name (the columns of a list, the options of a choice, the steps of a workflow) are merged
element by element; every other list, and every condition, is one value. Where both sides changed one value and not to
the same, nothing is guessed: the place is named with what each side says.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from felix.domain.apps.places import ABSENT, opens, pointer_of, same
from felix.domain.apps.tree import AppTree, canonical

#: Lists by their member, and the member that an element is known by; ``None``: the element itself.
NAMED_LISTS: dict[str, str | None] = {
    "columns": "field",
    "options": "value",
    "transitions": "action",
    "sections": "title",
    "fields": None,
    "card": None,
}
#: Of each side, in a refusal that is remembered; the trees have the rest.
MAX_SHOWN_CHARS = 4_000


@dataclass(frozen=True, slots=True)
class Clash:
    """A place where two sides want different things. ``ABSENT`` stands for nothing at all."""

    path: str
    pointer: str
    ours: Any
    theirs: Any

    def shown(self) -> dict[str, Any]:
        """As JSON: what is absent is left out, and what is long is cut to a text."""
        sides = {"ours": self.ours, "theirs": self.theirs}
        return {"path": self.path, "pointer": self.pointer} | {
            side: _cut(value) for side, value in sides.items() if value is not ABSENT
        }


@dataclass(frozen=True, slots=True)
class Merged:
    """What a merge gave; at the places of the clashes the tree says what ours says."""

    tree: AppTree
    clashes: tuple[Clash, ...]


def merge(base: AppTree, ours: AppTree, theirs: AppTree) -> Merged:
    """Put together what two sides made of ``base``. For an upgrade: the old module, the app, the new module.

    Files that are in none of ``base`` and ``theirs`` are left as they are.
    """
    files = dict(ours.files)
    clashes: list[Clash] = []
    for path in sorted({*base.files, *theirs.files}):
        sides = [tree.files.get(path, ABSENT) for tree in (base, ours, theirs)]
        merging = _Merging(path)
        files[path] = merging.of((), *sides)
        clashes += merging.clashes
    return Merged(AppTree({path: content for path, content in files.items() if content is not ABSENT}), tuple(clashes))


def merge_list(name: str, base: Any, ours: Any, theirs: Any) -> Any:
    """A named list put together, or ``ABSENT`` where that would be a guess."""
    if name not in NAMED_LISTS or not all(isinstance(side, list) for side in (base, ours, theirs)):
        return ABSENT
    key = NAMED_LISTS[name]
    was, mine, others = (by_name(side, key) for side in (base, ours, theirs))
    if was is None or mine is None or others is None:
        return ABSENT
    merging = _Merging("")
    kept = {element: merging.of((), *(side.get(element, ABSENT) for side in (was, mine, others))) for element in
            {**others, **mine}}  # fmt: skip
    kept = {element: value for element, value in kept.items() if value is not ABSENT}
    order = _order(list(was), list(mine), list(others))
    return ABSENT if merging.clashes or order is None else [kept[element] for element in order if element in kept]


@dataclass(slots=True)
class _Merging:
    """One file that is being merged."""

    path: str
    clashes: list[Clash] = field(default_factory=list)

    def of(self, parts: tuple[str, ...], base: Any, ours: Any, theirs: Any) -> Any:
        if same(ours, theirs) or same(base, theirs):
            return ours
        if same(base, ours):
            return theirs
        if opens(parts, ours, theirs) and not (base is ABSENT and _is_one_thing(self.path, parts)):
            was = base if opens(parts, base) else {}
            found = {
                name: self.of((*parts, name), *(side.get(name, ABSENT) for side in (was, ours, theirs)))
                for name in sorted({*ours, *theirs})
            }
            return {name: value for name, value in found.items() if value is not ABSENT}
        merged = merge_list(parts[-1], base, ours, theirs) if parts else ABSENT
        if merged is ABSENT:
            self.clashes.append(Clash(self.path, pointer_of(parts), ours, theirs))
            return ours
        return merged


def _is_one_thing(path: str, parts: tuple[str, ...]) -> bool:
    """Whether half of what one side has added here and half of what the other has would be neither: a field."""
    return path.startswith("entities/") and len(parts) == 2 and parts[0] == "fields"


def by_name(elements: list[Any], key: str | None) -> dict[str, Any] | None:
    """The elements by their names, if each has one of its own."""
    if key is None:
        names = elements
    elif all(isinstance(element, dict) for element in elements):
        names = [element.get(key) for element in elements]
    else:
        return None
    if not all(isinstance(name, str) for name in names) or len(set(names)) != len(names):
        return None
    return dict(zip(names, elements, strict=True))


def _order(base: list[str], ours: list[str], theirs: list[str]) -> list[str] | None:
    """The names of both in one order, or None where both moved what was there."""
    if _kept(base, ours):
        frame, others = theirs, ours
    elif _kept(base, theirs):
        frame, others = ours, theirs
    else:
        return None
    order = list(frame)
    for place, name in enumerate(others):
        if name not in order and name not in base:
            before = [known for known in others[:place] if known in order]
            order.insert(order.index(before[-1]) + 1 if before else 0, name)
    return order


def _cut(value: Any) -> Any:
    stored = canonical(value).decode()
    return value if len(stored) <= MAX_SHOWN_CHARS else stored[: MAX_SHOWN_CHARS - 1] + "…"


def _kept(base: list[str], side: list[str]) -> bool:
    return [name for name in base if name in side] == [name for name in side if name in base]
