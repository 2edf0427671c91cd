"""Effects: what a change means for the people who use an app, worked out from the trees before and after.

Never from what was asked for: whoever wrote the change has no say in how risky it looks. Every place that differs gives
an effect, and a place that no rule knows is of high risk. A file that is only written differently says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from felix.domain.apps.merge import NAMED_LISTS, by_name
from felix.domain.apps.places import ABSENT, opens, pointer_of, same
from felix.domain.apps.spelling import meaning
from felix.domain.apps.tree import AppTree
from felix.domain.changes.forms import unasked
from felix.domain.changes.meanings.difference import Difference
from felix.domain.changes.meanings.rules import said_of
from felix.domain.changes.risk import Risk
from felix.domain.changes.words import Words

#: Objects whose members are effects of their own even when the object itself comes or goes.
_COLLECTIONS = frozenset(
    {"approvals", "at_most_percent_of_usual", "at_most_permille", "config", "mapping", "modules", "watch"}
)


@dataclass(frozen=True, slots=True)
class Effect:
    """One thing that is different afterwards. ``pointer`` leads into the new file, or into the old where it is gone."""

    kind: str
    path: str
    pointer: str
    sentence: str
    risk: Risk

    def shown(self) -> dict[str, str]:
        """As JSON."""
        return asdict(self)


def effects(before: AppTree, after: AppTree) -> list[Effect]:
    """Everything that is different, file by file. Both trees must be apps."""
    old, new = Words(before), Words(after)
    found: list[Effect] = []
    for path in sorted({*before.files, *after.files}):
        was, becomes = before.files.get(path, ABSENT), after.files.get(path, ABSENT)
        if same(was, becomes):
            continue
        was, becomes = (content if content is ABSENT else meaning(path, content) for content in (was, becomes))
        if same(was, becomes):
            found.append(Effect("respelled", path, "", f"Writes {path} differently; it means the same", "low"))
        for parts, pointer, one, other in _differences(was, becomes):
            said = said_of(Difference(path, parts, one, other, old, new))
            if said is not None:
                kind, risk, sentence = said
                found.append(Effect(kind, path, pointer, sentence, risk))
    for view, entity, field in sorted(unasked(after) - unasked(before)):
        form, missing = new.title("views", view), new.field(entity, field)
        sentence = (
            f"The form {form} does not ask for {missing}, which is required, so it can make no {new.entity(entity)}"
        )
        found.append(Effect("form_incomplete", f"views/{view}.json", "/sections", sentence, "medium"))
    return found


def _differences(
    before: Any, after: Any, parts: tuple[str, ...] = (), pointer: str = ""
) -> Iterator[tuple[tuple[str, ...], str, Any, Any]]:
    """Places that differ. Elements of named lists are places too, known by their names: those are the ``parts``."""
    if same(before, after):
        return
    if parts and parts[-1] in _COLLECTIONS:
        before, after = ({} if side is ABSENT else side for side in (before, after))
    if opens(parts, before, after):
        for name in sorted({*before, *after}):
            below = (*parts, name)
            sides = (before.get(name, ABSENT), after.get(name, ABSENT))
            yield from _differences(*sides, below, pointer + pointer_of((name,)))
        return
    named = _named(parts, before, after)
    if named is None:
        yield parts, pointer, before, after
        return
    was, becomes = named
    for name in {**was, **becomes}:
        number = list(becomes if name in becomes else was).index(name)
        sides = (was.get(name, ABSENT), becomes.get(name, ABSENT))
        yield from _differences(*sides, (*parts, name), f"{pointer}/{number}")
    kept, keeps = ([name for name in one if name in other] for one, other in ((was, becomes), (becomes, was)))
    if kept != keeps:
        yield parts, pointer, kept, keeps


def _named(parts: tuple[str, ...], before: Any, after: Any) -> tuple[Mapping[str, Any], Mapping[str, Any]] | None:
    if not parts or parts[-1] not in NAMED_LISTS or not (isinstance(before, list) and isinstance(after, list)):
        return None
    was, becomes = (by_name(side, NAMED_LISTS[parts[-1]]) for side in (before, after))
    return None if was is None or becomes is None else (was, becomes)
