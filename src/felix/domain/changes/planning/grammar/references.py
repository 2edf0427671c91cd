"""What a sentence speaks of, looked up in the app: entities, fields, options, views and all other files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from felix.domain.apps.entities import Field
from felix.domain.changes.planning.grammar.names import FieldRef, Forms, OptionRef
from felix.domain.changes.planning.grammar.notation import Bound, Reader
from felix.domain.changes.planning.grammar.scene import Missing, NoReading, Scene

_FIELD_NOUNS = ("field", "column", "attribute", "fields", "columns")
_SCOPES = ("of", "on", "in", "for", "from")
_DETERMINERS = ("every", "each", "our")
KINDS = {"list": "list", "table": "list", "board": "board", "chart": "chart", "form": "form", "view": ""}


class ViewRef(NamedTuple):
    """The views that some words may mean; ``named`` is whether they say more than the kind."""

    views: tuple[str, ...]
    named: bool


def entities(scene: Scene, start: int) -> Iterator[tuple[int, str]]:
    """An entity in the singular or the plural."""
    start = scene.past_articles(start)
    if scene.word(start) in _DETERMINERS:
        start += 1
    yield from _distinct(scene.names.entities, scene, start)


def fields(scene: Scene, start: int) -> Iterator[tuple[int, FieldRef]]:
    """A field: "value", "the value field of deals", "a deal's value", "deal value", "it"."""
    if scene.word(start) == "it" and scene.it is not None:
        yield start + 1, scene.it
        return
    yield from _plain_fields(scene, start, None)
    for end, entity in entities(scene, start):
        yield from _plain_fields(scene, end + (scene.word(end) == "'s"), entity)


def _plain_fields(scene: Scene, start: int, entity: str | None) -> Iterator[tuple[int, FieldRef]]:
    start = scene.past_articles(start)
    if scene.word(start) in ("field", "column", "attribute"):
        start += 1
        start += scene.word(start) in ("called", "named")
    for end, ref in scene.names.fields.at(scene.tokens, start):
        if entity not in (None, ref.entity):
            continue
        if (
            scene.word(end) in _FIELD_NOUNS
            or scene.app.entities[ref.entity].fields[ref.field].type == scene.word(end) == "date"
        ):
            end += 1
        yield end, ref
        if entity is None and scene.word(end) in _SCOPES:
            for after, scope in entities(scene, end + 1):
                if scope == ref.entity and scene.word(after) not in KINDS and scene.word(after) != "'s":
                    yield after, ref


def several_fields(scene: Scene, start: int) -> Iterator[tuple[int, tuple[FieldRef, ...]]]:
    """Fields of one entity in a row; one is several too."""
    for end, ref in fields(scene, start):
        yield from _more(scene, end, (ref,))


def _more(scene: Scene, end: int, found: tuple[FieldRef, ...]) -> Iterator[tuple[int, tuple[FieldRef, ...]]]:
    yield end, found
    after = scene.phrase(end, ", and", ",", "and")
    if after is None or len(found) == 20:
        return
    for further, ref in fields(scene, scene.past_articles(after)):
        if ref.entity == found[0].entity and ref not in found:
            yield from _more(scene, further, (*found, ref))


def options(scene: Scene, start: int) -> Iterator[tuple[int, OptionRef]]:
    """An option of a choice by its label or value."""
    yield from _distinct(scene.names.options, scene, start)


def views(scene: Scene, start: int) -> Iterator[tuple[int, ViewRef]]:
    """A view: "the Deals list", "the list of deals", "the chart Won by month", "the pipeline", "the list"."""
    if scene.word(start) == "our":
        start += 1
    for end, view in _distinct(scene.names.views, scene, start):
        wanted = KINDS.get(scene.word(end))
        if wanted is not None:
            if wanted in ("", scene.app.views[view].kind):
                yield end + 1, ViewRef((view,), named=True)
        elif not any(_everything_else(scene, start, end)):
            yield end, ViewRef((view,), named=True)
    for end, entity in _distinct(scene.names.entities, scene, start):
        kind = KINDS.get(scene.word(end), "")
        if kind:
            yield end + 1, _of_kind(scene, kind, entity)
    kind = KINDS.get(scene.word(start), "")
    if not kind:
        return
    yield start + 1, _of_kind(scene, kind, None)
    after = start + 1 + (scene.word(start + 1) in ("called", "named"))
    for end, view in _distinct(scene.names.views, scene, scene.past_articles(after)):
        if scene.app.views[view].kind == kind:
            yield end, ViewRef((view,), named=True)
    if scene.word(start + 1) in ("of", "for"):
        for end, entity in entities(scene, start + 2):
            yield end, _of_kind(scene, kind, entity)


def _of_kind(scene: Scene, kind: str, entity: str | None) -> ViewRef:
    found = [
        (name, view) for name, view in scene.app.views.items() if view.kind == kind and entity in (None, view.entity)
    ]
    if entity is not None:
        called = {scene.app.entities[entity].plural.casefold(), scene.app.entities[entity].title.casefold()}
        found = [each for each in found if each[1].title.casefold() in called] or found
    return ViewRef(tuple(name for name, _ in found), named=entity is not None)


def _everything_else(scene: Scene, start: int, end: int) -> Iterator[bool]:
    """Whether words that name a view name something else too."""
    names = scene.names
    for forms in (names.entities, names.fields, names.options, names.modules, names.templates):
        for other, _ in forms.at(scene.tokens, start):
            yield other == end


def titled(kind: str, *nouns: str) -> Reader:
    """A reader of files by their titles, with a noun before or after."""

    def read(scene: Scene, start: int) -> Iterator[tuple[int, str]]:
        forms: Forms[str] = getattr(scene.names, kind)
        for end, name in _distinct(forms, scene, start):
            if scene.word(end) in nouns:
                yield end + 1, name
        if scene.word(start) in nouns:
            after = start + 1 + (scene.word(start + 1) in ("called", "named"))
            yield from _distinct(forms, scene, scene.past_articles(after))

    return read


def bare(kind: str) -> Reader:
    """A reader of files by their titles alone."""
    return lambda scene, start: _distinct(getattr(scene.names, kind), scene, start)


def _distinct(forms: Forms[Any], scene: Scene, start: int) -> Iterator[tuple[int, Any]]:
    seen = set()
    for found in forms.at(scene.tokens, start):
        if found not in seen:
            seen.add(found)
            yield found


def definition(scene: Scene, ref: FieldRef) -> Field:
    """A field as it is."""
    return scene.app.entities[ref.entity].fields[ref.field]


def field_in(bound: Bound) -> FieldRef:
    """The field of a sentence. Raises :class:`NoReading` where the sentence says another entity."""
    ref: FieldRef = bound["field"]
    if bound.get("entity", ref.entity) != ref.entity:
        raise NoReading
    return ref


def fields_in(bound: Bound) -> tuple[FieldRef, ...]:
    """The fields of a sentence, all of its entity."""
    refs: tuple[FieldRef, ...] = bound["fields"]
    if bound.get("entity", refs[0].entity) != refs[0].entity:
        raise NoReading
    return refs


def view_in(scene: Scene, bound: Bound, kinds: tuple[str, ...], entity: str | None = None) -> str:
    """The one view of a sentence, of some kinds, and of an entity where that is known."""
    ref: ViewRef = bound["view"]
    return one_view(scene, ref, kinds, entity)


def one_view(scene: Scene, ref: ViewRef, kinds: tuple[str, ...], entity: str | None) -> str:
    """The one view that some words mean. Raises :class:`Missing`, :class:`NoReading`."""
    known = {name: scene.app.views[name] for name in ref.views}
    found = [name for name, view in known.items() if view.kind in kinds and entity in (None, view.entity)]
    if not found and ref.named and known:
        raise NoReading
    if len(found) != 1 or (entity is None and not ref.named):
        titles = [
            view.title for view in scene.app.views.values() if view.kind in kinds and entity in (None, view.entity)
        ]
        raise Missing(f"Which {' or '.join(kinds)}?" if titles else f"There is no such {' or '.join(kinds)}.", titles)
    return found[0]


def entity_view(scene: Scene, entity: str, kind: str) -> str:
    """The one view of a kind that an entity has."""
    return one_view(scene, _of_kind(scene, kind, entity), (kind,), entity)
