"""What charts and reports work out: a measure of records, grouped by a field or a period."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from felix.domain.changes.planning.grammar.names import FieldRef, slug, spoken
from felix.domain.changes.planning.grammar.notation import Bound
from felix.domain.changes.planning.grammar.references import definition, fields
from felix.domain.changes.planning.grammar.scene import Missing, NoReading, Scene

_PERIODS = ("day", "week", "month", "quarter", "year")
_FUNCTIONS = {"total": "sum", "sum of": "sum", "average": "average", "highest": "maximum", "lowest": "minimum"}
_NUMBERS = ("integer", "decimal", "money")


class Figures(NamedTuple):
    """What is worked out, and what it is called."""

    entity: str
    name: str
    title: str
    group_by: list[dict[str, Any]]
    measures: list[dict[str, Any]]


class Measured(NamedTuple):
    """A function, of a field unless it counts, and how it begins a title."""

    function: str
    ref: FieldRef | None
    said: str


def measures(scene: Scene, start: int) -> Iterator[tuple[int, Measured]]:
    """ "the value", "the total value", "the number"."""
    if scene.word(start) in ("number", "count"):
        yield start + 1, Measured("count", None, "")
    function, at, said = "sum", start, ""
    for phrase, name in _FUNCTIONS.items():
        if (after := scene.phrase(start, phrase)) is not None:
            function, at, said = name, scene.past_articles(after), f"{phrase.split()[0].capitalize()} "
    for end, ref in fields(scene, at):
        label = definition(scene, ref).label
        yield end, Measured(function, ref, said + (spoken(label) if said else label))


def groupings(scene: Scene, start: int) -> Iterator[tuple[int, tuple[FieldRef, str | None]]]:
    """ "stage", "month of closes on"."""
    if scene.word(start) in _PERIODS and scene.word(start + 1) in ("of", "in"):
        for end, ref in fields(scene, scene.past_articles(start + 2)):
            yield end, (ref, scene.word(start))
    yield from ((end, (ref, None)) for end, ref in fields(scene, start))


def figures(scene: Scene, bound: Bound) -> Figures:
    """What a sentence asks to be worked out. Raises :class:`Missing`, :class:`NoReading`."""
    entity, (by, period), measured = bound["entity"], bound["grouping"], bound.get("measure")
    if by.entity != entity or (measured and measured.ref and measured.ref.entity != entity):
        raise NoReading
    field = definition(scene, by)
    if period is None and field.type in ("date", "moment"):
        raise Missing("By which period?", [f"by {each} of {field.label}" for each in _PERIODS])
    if period is not None and field.type not in ("date", "moment"):
        raise NoReading
    if measured and measured.ref and definition(scene, measured.ref).type not in _NUMBERS:
        raise Missing(f"{definition(scene, measured.ref).label} is no number. What should be worked out?")
    measure = {"function": measured.function if measured else "count"}
    if measured and measured.ref:
        measure["field"] = measured.ref.field
    said = (measured.said if measured else "") or scene.app.entities[entity].plural
    title = bound["label"].text if "label" in bound else f"{said} by {period or spoken(field.label)}"
    name = bound["label"].name if "label" in bound else slug(title)
    group = {"field": by.field} | ({"by": period} if period else {})
    return Figures(entity, name, title, [group], [measure])
