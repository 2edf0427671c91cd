"""What each slot of a pattern reads."""

from __future__ import annotations

from collections.abc import Iterator

from felix.domain.changes.planning.grammar.conditions import conditions
from felix.domain.changes.planning.grammar.figures import groupings, measures
from felix.domain.changes.planning.grammar.labels import STRUCTURE, Label, names_said, texts
from felix.domain.changes.planning.grammar.names import OptionRef
from felix.domain.changes.planning.grammar.new_fields import TYPES, details, new_fields
from felix.domain.changes.planning.grammar.notation import Reader
from felix.domain.changes.planning.grammar.references import (
    bare,
    entities,
    fields,
    options,
    several_fields,
    titled,
    views,
)
from felix.domain.changes.planning.grammar.scene import Scene
from felix.domain.changes.planning.grammar.times import clock_times, recurrences
from felix.domain.changes.planning.grammar.tokens import Token, source_of
from felix.domain.changes.planning.grammar.values import ROLES, number_of

_DOWN = ("descending", "highest first", "newest first", "largest first", "biggest first", "latest first", "desc")
_UP = ("ascending", "lowest first", "oldest first", "smallest first", "earliest first", "asc")


def _words(scene: Scene, start: int) -> Iterator[tuple[int, tuple[Token, ...]]]:
    for end in range(start + 1, min(start + 5, len(scene.tokens)) + 1):
        if scene.tokens[end - 1].kind == "mark" or (scene.tokens[end - 1].word in STRUCTURE and end > start + 1):
            return
        yield end, tuple(scene.tokens[start:end])


def _number(scene: Scene, start: int) -> Iterator[tuple[int, Token]]:
    if start < len(scene.tokens) and number_of(scene.tokens[start]) is not None:
        yield start + 1, scene.tokens[start]


def _field_type(scene: Scene, start: int) -> Iterator[tuple[int, str]]:
    for phrases in TYPES.values():
        for phrase in phrases:
            if (end := scene.phrase(start, phrase)) is not None:
                yield end, phrase


def _one_of(*words: str) -> Reader:
    def read(scene: Scene, start: int) -> Iterator[tuple[int, str]]:
        if scene.word(start) in words:
            yield start + 1, scene.word(start)

    return read


def _roles(scene: Scene, start: int) -> Iterator[tuple[int, list[str]]]:
    found: list[str] = []
    at: int | None = scene.past_articles(start)
    while at is not None and scene.word(at) in ROLES and ROLES[scene.word(at)] not in found:
        found = [*found, ROLES[scene.word(at)]]
        yield at + 1, found
        at = scene.phrase(at + 1, ", and", ",", "and")
        at = None if at is None else scene.past_articles(at)


def _states(scene: Scene, start: int) -> Iterator[tuple[int, tuple[OptionRef, ...]]]:
    for end, ref in options(scene, start):
        yield end, (ref,)
        if (after := scene.phrase(end, ", or", "or", "and", ",")) is not None:
            for further, more in _states(scene, after):
                if ref not in more:
                    yield further, (ref, *more)


def _order(scene: Scene, start: int) -> Iterator[tuple[int, tuple[str, tuple[tuple[str, bool], ...]]]]:
    for end, ref in fields(scene, start):
        turned: list[tuple[int, bool]] = [(end, False)]
        at = end + (scene.word(end) in (",", "in"))
        for phrases, down in ((_DOWN, True), (_UP, False)):
            if (after := scene.phrase(at, *phrases)) is not None:
                turned = [(after + (scene.word(after) == "order"), down)]
        for after, down in turned:
            yield after, (ref.entity, ((ref.field, down),))
            then = scene.phrase(after, "and then by", ", then by", "then by", "and by", "and then", "and", ", and by")
            if then is not None:
                for further, (entity, more) in _order(scene, scene.past_articles(then)):
                    if entity == ref.entity and len(more) < 3 and ref.field not in dict(more):
                        yield further, (entity, ((ref.field, down), *more))


def _code(scene: Scene, start: int) -> Iterator[tuple[int, Label]]:
    for end in range(start + 1, min(start + 6, len(scene.tokens)) + 1):
        text = source_of(scene.text, scene.tokens[start:end])
        if text.replace("_", "").isalnum() and text.isascii():
            yield end, Label(text, quoted=True)


def _chart(scene: Scene, start: int) -> Iterator[tuple[int, str]]:
    for kind in ("bar", "line", "pie"):
        if (end := scene.phrase(start, f"{kind} chart", f"{kind} diagram", f"{kind} graph")) is not None:
            yield end, kind


def _modules(scene: Scene, start: int) -> Iterator[tuple[int, str]]:
    yield from titled("modules", "module")(scene, start)
    yield from bare("modules")(scene, start)


def _automations(scene: Scene, start: int) -> Iterator[tuple[int, str]]:
    yield from titled("automations", "automation", "rule")(scene, start)


SLOTS: dict[str, Reader] = {
    "entity": entities,
    "singular": lambda scene, start: scene.names.one.at(scene.tokens, start),
    "plural": lambda scene, start: scene.names.many.at(scene.tokens, start),
    "field": fields,
    "fields": several_fields,
    "option": options,
    "states": _states,
    "view": views,
    "label": names_said,
    "text": texts,
    "new_fields": new_fields,
    "details": details,
    "words": _words,
    "number": _number,
    "field_type": _field_type,
    "condition": conditions,
    "order": _order,
    "roles": _roles,
    "chart": _chart,
    "measure": measures,
    "grouping": groupings,
    "template": titled("templates", "template", "mail", "email", "message"),
    "automation": _automations,
    "schedule": titled("schedules", "schedule"),
    "report": titled("reports", "report"),
    "integration": titled("integrations", "integration"),
    "integration_alone": bare("integrations"),
    "module": _modules,
    "code": _code,
    "times": recurrences,
    "clock": clock_times,
    "event": _one_of("created", "added", "made", "deleted", "removed"),
    "risk": _one_of("low", "medium", "high", "destructive"),
}
#: What a person is asked for where a slot found nothing.
SAID: dict[str, str] = {
    "entity": "which records", "field": "which field", "fields": "which field", "option": "which option",
    "view": "which view", "label": "what it is called", "new_fields": "which field is to be added",
    "template": "which template", "report": "which report", "module": "which module", "automation": "which automation",
}  # fmt: skip
