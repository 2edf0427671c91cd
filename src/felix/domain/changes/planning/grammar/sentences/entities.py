"""Sentences about kinds of records."""

from __future__ import annotations

from felix.domain.changes.operations.base import Operation
from felix.domain.changes.operations.entities import AddEntity, HideEntity, RenameEntity, ShowEntity
from felix.domain.changes.planning.grammar.names import capital, slug
from felix.domain.changes.planning.grammar.notation import Bound, Build, Pattern
from felix.domain.changes.planning.grammar.scene import Missing, NoReading, Scene

#: These end like a plural and are none.
_NO_PLURAL = ("news", "series", "species", "goods", "means", "status", "business", "address")


def _add(plural_said: bool) -> Build:
    def build(scene: Scene, bound: Bound) -> list[Operation]:
        said = bound["label"].text
        if scene.names.entities.knows(said):
            raise NoReading
        title, plural = (_singular(said), capital(said)) if plural_said else (capital(said), _plural(said))
        if scene.names.options.knows(title):
            raise Missing(f"Are {plural} a new kind of record, or records that are {title} already?")
        fields = dict(described.definition(scene) for described in bound["new"])
        if len(fields) != len(bound["new"]):
            raise Missing("Two of the fields have the same name. What should they be called?")
        first, named_by = next(iter(fields.items()))
        if named_by.type != "text":
            raise Missing(
                f"By what is a {title} called? Name a text first, such as a name or a title.", ["name", "title"]
            )
        fields[first] = named_by.model_copy(update={"required": True})
        return [
            AddEntity(
                entity=slug(title) or bound["label"].name, title=title, plural=plural, named_by=first, fields=fields
            )
        ]

    return build


def _singular(plural: str) -> str:
    if plural.casefold().endswith(_NO_PLURAL):
        raise Missing(f"What is one of the {plural} called?")
    for ending, singular in (("ies", "y"), ("sses", "ss"), ("xes", "x"), ("ches", "ch"), ("shes", "sh"), ("s", "")):
        if plural.endswith(ending) and not plural.endswith("ss"):
            return capital(plural[: -len(ending)] + singular)
    raise Missing(f"What is one of the {plural} called?")


def _plural(title: str) -> str:
    if title.endswith("y") and title[-2:-1] not in "aeiou":
        return capital(title[:-1] + "ies")
    return capital(title + ("es" if title.endswith(("s", "x", "ch", "sh")) else "s"))


def _rename(scene: Scene, bound: Bound) -> list[Operation]:
    if bound["one"] != bound["many"]:
        raise NoReading
    return [RenameEntity(entity=bound["one"], title=bound["title"].text, plural=bound["plural"].text)]


def _rename_many(scene: Scene, bound: Bound) -> list[Operation]:
    return _rename(scene, {**bound, "one": bound["many"]})


def _half_a_rename(scene: Scene, bound: Bound) -> list[Operation]:
    title = scene.app.entities[bound["entity"]].title
    raise Missing(
        f"What is one called, and what are many? Say: rename {title} to …, and its plural to ….",
        [f"Call {scene.app.entities[bound['entity']].plural}: singular …, plural …"],
    )


def _hide(scene: Scene, bound: Bound) -> list[Operation]:
    return [HideEntity(entity=bound["entity"])]


def _show(scene: Scene, bound: Bound) -> list[Operation]:
    return [ShowEntity(entity=bound["entity"])]


SENTENCES = (
    Pattern(
        "<add> list of {label} with {new:new_fields}",
        "Create a list of suppliers with name, phone and e-mail",
        _add(plural_said=True),
    ),
    Pattern(
        "<add> [new] (kind of record|type of record|record type|entity) [<called>] {label} with {new:new_fields}",
        "Add a new kind of record called Project with name and start date",
        _add(plural_said=False),
    ),
    Pattern(
        "(i want to keep track of|we want to keep track of|keep track of|track) {label} with {new:new_fields}",
        "Keep track of suppliers with name, phone and e-mail",
        _add(plural_said=True),
    ),
    Pattern(
        "<rename> {one:singular} to {title:label} and {many:plural} to {plural:label}",
        "Rename deal to Opportunity and deals to Opportunities",
        _rename,
    ),
    Pattern(
        "call {many:plural} {whatever:label} : singular {title:label} , plural {plural:label}",
        "Call contacts customers: singular Customer, plural Customers",
        _rename_many,
    ),
    Pattern(
        "(call|<rename>) {many:plural} : singular {title:label} , plural {plural:label}",
        "Call contacts: singular Customer, plural Customers",
        _rename_many,
    ),
    Pattern("(call|<rename>) {entity} [to] {label}", "", _half_a_rename),
    Pattern("hide {entity:plural}", "Hide contacts", _hide),
    Pattern("(show {entity} again|unhide {entity})", "", _show),
)
