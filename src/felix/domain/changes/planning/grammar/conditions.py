"""Conditions in plain words: "where value is more than 1000 and stage is not lost", "without a contact"."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from felix.domain.changes.planning.grammar.labels import STRUCTURE
from felix.domain.changes.planning.grammar.names import FieldRef
from felix.domain.changes.planning.grammar.references import definition, fields
from felix.domain.changes.planning.grammar.scene import Missing, Scene
from felix.domain.changes.planning.grammar.tokens import source_of
from felix.domain.changes.planning.grammar.values import value_of

_COMPARISONS = {
    "not_equal": ("is not", "isn't", "is different from"),
    "more": ("is more than", "is greater than", "is above", "is over", "is higher than", "is larger than", "is after"),
    "less": ("is less than", "is below", "is under", "is smaller than", "is lower than", "is before"),
    "at_least": ("is at least",),
    "at_most": ("is at most",),
    "equal": ("is", "equals", "is equal to"),
}
_ORDERED = ("integer", "decimal", "money", "date")
_EMPTY = ("is empty", "is missing", "is not filled in", "is not set")
_FILLED = ("is not empty", "is filled in", "is filled", "is set")

#: The entity that a condition is about, and the condition.
Said = tuple[str, dict[str, Any]]


def conditions(scene: Scene, start: int) -> Iterator[tuple[int, Said]]:
    """One comparison, or several that are all joined by "and", or all by "or"."""
    for end, said in _first(scene, start):
        yield end, said
        for joint, member in (("and", "all"), ("or", "any")):
            for last, (entity, parts) in _rest(scene, end, said[0], [said[1]], joint):
                yield last, (entity, {member: parts})


def _rest(
    scene: Scene, end: int, entity: str, parts: list[dict[str, Any]], joint: str
) -> Iterator[tuple[int, tuple[str, list[dict[str, Any]]]]]:
    if scene.word(end) != joint or len(parts) == 10:
        return
    for further, (other, part) in [*_first(scene, end + 1), *_compared(scene, end + 1)]:
        if other == entity:
            yield further, (entity, [*parts, part])
            yield from _rest(scene, further, entity, [*parts, part], joint)


def _first(scene: Scene, start: int) -> Iterator[tuple[int, Said]]:
    after = scene.phrase(start, "where", "whose", "for which", "if", "when")
    if after is not None:
        yield from _compared(scene, after)
    if scene.word(start) in ("with", "without"):
        for end, ref in fields(scene, scene.past_articles(start + 1)):
            # A no is filled in as well: "with a newsletter" says nothing of a checkbox.
            if definition(scene, ref).type != "boolean":
                comparison = "is_empty" if scene.word(start) == "without" else "is_filled"
                yield end, (ref.entity, {"field": ref.field, "is": comparison})
            if scene.word(start) == "with":
                yield from _against(scene, ref, "equal", end)


def _compared(scene: Scene, start: int) -> Iterator[tuple[int, Said]]:
    for end, ref in fields(scene, scene.past_articles(start)):
        for comparison, said in (("is_empty", _EMPTY), ("is_filled", _FILLED)):
            after = scene.phrase(end, *said)
            if after is not None:
                yield after, (ref.entity, {"field": ref.field, "is": comparison})
        best: tuple[int, str] | None = None
        for comparison, phrases in _COMPARISONS.items():
            after = scene.phrase(end, *phrases)
            if after is not None and (best is None or after > best[0]):
                best = after, comparison
        if best is not None:
            yield from _against(scene, ref, best[1], best[0])


def _against(scene: Scene, ref: FieldRef, comparison: str, start: int) -> Iterator[tuple[int, Said]]:
    field = definition(scene, ref)
    if comparison in ("more", "less", "at_least", "at_most") and field.type not in _ORDERED:
        return
    end = start
    while end < len(scene.tokens) and end < start + 5 and scene.tokens[end].kind != "mark":
        if scene.tokens[end].word in STRUCTURE and end > start:
            return
        end += 1
        tokens = list(scene.tokens[start:end])
        try:
            value = value_of(field, tokens, source_of(scene.text, tokens))
        except Missing:
            continue
        after = end
        if field.type == "money" and scene.word(end).upper() == field.currency:
            after = end + 1
        yield after, (ref.entity, {"field": ref.field, "is": comparison, "value": value})
