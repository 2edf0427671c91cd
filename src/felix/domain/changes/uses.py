"""Who uses a field: every place of an app that names one, with the value where a place names that too.

``references`` says whether a tree is whole; this says what an operation has to look after so that it stays so. It reads
plain files, because a tree in the middle of a change need not be an app yet.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from felix.domain.apps.tree import AppTree

_IN_LIQUID = re.compile(r"\{[{%](.*?)[%}]\}", re.DOTALL)

#: Where values are written, by the folder of the file.
_FILLED = {("automations", "/actions"), ("tests", "/given"), ("tests", "/when")}


class Use(NamedTuple):
    """A place that names an entity, a field of it, or values of that field. ``pointer`` leads to the next object."""

    path: str
    pointer: str
    entity: str
    field: str | None = None
    values: tuple[str, ...] = ()

    @property
    def shows(self) -> bool:
        """Whether the field is shown or filled in here, which a hidden one can't be."""
        folder = self.path.partition("/")[0]
        return folder in ("views", "reports", "workflows") or (folder, self.pointer) in _FILLED


def uses_in(tree: AppTree) -> Iterator[Use]:
    """Every use of every field, in the order of the files."""
    for path in sorted(tree.files):
        yield from uses_of(path, tree.files[path], tree)


def uses_of(path: str, content: Any, tree: AppTree) -> Iterator[Use]:
    """The uses in one file."""
    folder, _, name = path.partition("/")
    match folder:
        case "entities":
            yield Use(path, "/named_by", name.removesuffix(".json"), content["named_by"])
            for field, definition in content["fields"].items():
                if "to" in definition:
                    yield Use(path, f"/fields/{field}/to", definition["to"])
        case "views" | "reports":
            yield from _surface(path, content)
        case "workflows":
            yield from _workflow(path, content)
        case "automations":
            yield from _automation(path, content)
        case "templates" if path.endswith(".liquid"):
            yield from _text(path, content, tree)
        case "templates" if "entity" in content:
            yield Use(path, "/entity", content["entity"])
        case "tests":
            yield from _example(path, content, tree)


def modules_of(path: str, content: Any) -> Iterator[str]:
    """The modules whose handlers a file runs."""
    if path.startswith("schedules/") and content["job"]["run"] == "module":
        yield content["job"]["module"]


def _surface(path: str, content: Mapping[str, Any]) -> Iterator[Use]:
    entity = content["entity"]
    yield Use(path, "/entity", entity)
    yield from _condition(path, "/where", entity, content.get("where"))
    for column in content.get("columns", ()):
        yield Use(path, "/columns", entity, column["field"])
    for order in content.get("order", ()):
        yield Use(path, "/order", entity, order["field"])
    for field in content.get("card", ()):
        yield Use(path, "/card", entity, field)
    for section in content.get("sections", ()):
        for field in section["fields"]:
            yield Use(path, "/sections", entity, field)
    for member in ("group_by", "measure", "measures"):
        for part in _each(content.get(member, ())):
            field = part if isinstance(part, str) else part.get("field")
            if field is not None:
                yield Use(path, f"/{member}", entity, field)


def _workflow(path: str, content: Mapping[str, Any]) -> Iterator[Use]:
    entity, field = content["entity"], content["field"]
    yield Use(path, "/field", entity, field)
    yield Use(path, "/initial", entity, field, (content["initial"],))
    for transition in content["transitions"]:
        yield Use(path, "/transitions", entity, field, (*transition["from"], transition["to"]))
        yield from _condition(path, "/transitions", entity, transition.get("when"))


def _automation(path: str, content: Mapping[str, Any]) -> Iterator[Use]:
    entity = content["on"]["entity"]
    yield Use(path, "/on", entity, content["on"].get("field"))
    yield from _condition(path, "/when", entity, content.get("when"))
    for action in content["actions"]:
        match action:
            case {"do": "send_email", "to_field": field}:
                yield Use(path, "/actions", entity, field)
            case {"do": "set_field", "field": field, "value": value}:
                yield Use(path, "/actions", entity, field, _texts(value))
            case {"do": "create_record", "entity": other}:
                yield Use(path, "/actions", other)
                yield from _values(path, "/actions", other, action.get("values", {}))
                for field, source in action.get("from_fields", {}).items():
                    yield Use(path, "/actions", other, field)
                    yield Use(path, "/actions", entity, source)


def _text(path: str, text: str, tree: AppTree) -> Iterator[Use]:
    """What a template's text names of the entity that its file says it is about."""
    entity = tree.files.get(path.removesuffix(".liquid") + ".json", {}).get("entity")
    fields = tree.files.get(f"entities/{entity}.json", {}).get("fields", {})
    inside = " ".join(_IN_LIQUID.findall(text))
    for field in fields:
        if re.search(rf"\b(?:{entity}|record)\.{field}\b", inside):
            yield Use(path, "", entity, field)


def _example(path: str, content: Mapping[str, Any], tree: AppTree) -> Iterator[Use]:
    known: dict[str, str] = {}
    for given in content.get("given", ()):
        known[given["record"]] = given["entity"]
        yield Use(path, "/given", given["entity"])
        yield from _values(path, "/given", given["entity"], given["values"])
    for step in content["when"]:
        match step:
            case {"create": record, "entity": entity}:
                known[record] = entity
                yield Use(path, "/when", entity)
                yield from _values(path, "/when", entity, step["values"])
            case {"change": record} if record in known:
                yield from _values(path, "/when", known[record], step["values"])
    for expected in content["then"]:
        if expected.get("record") in known:
            yield from _values(path, "/then", known[expected["record"]], expected.get("has", {}))


def _condition(path: str, pointer: str, entity: str, condition: Any) -> Iterator[Use]:
    match condition:
        case {"field": field}:
            compared = condition.get("value") if condition["is"] in ("equal", "not_equal", "one_of") else None
            yield Use(path, pointer, entity, field, _texts(compared))
        case {"all": parts} | {"any": parts}:
            for part in parts:
                yield from _condition(path, pointer, entity, part)
        case {"not": part}:
            yield from _condition(path, pointer, entity, part)


def _values(path: str, pointer: str, entity: str, values: Mapping[str, Any]) -> Iterator[Use]:
    for field, value in values.items():
        yield Use(path, pointer, entity, field, _texts(value))


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(one for one in _each(value) if isinstance(one, str))


def _each(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]
