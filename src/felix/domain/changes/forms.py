"""Forms that can't be sent, because they do not ask for a field that is required."""

from __future__ import annotations

from typing import NamedTuple

from felix.domain.apps.tree import AppTree


class Unasked(NamedTuple):
    """A required field without a default, and a form of its entity that does not ask for it."""

    view: str
    entity: str
    field: str


def unasked(tree: AppTree) -> set[Unasked]:
    """Every gap in the forms of an app."""
    found: set[Unasked] = set()
    for path, view in tree.files.items():
        if not path.startswith("views/") or view["kind"] != "form":
            continue
        asked = {name for section in view["sections"] for name in section["fields"]}
        entity = tree.files.get(f"entities/{view['entity']}.json", {"fields": {}})
        for name, field in entity["fields"].items() if not entity.get("hidden") else ():
            needed = field.get("required") and field.get("default") is None and not field.get("hidden")
            if needed and name not in asked:
                found.add(Unasked(path[len("views/") : -len(".json")], view["entity"], name))
    return found
