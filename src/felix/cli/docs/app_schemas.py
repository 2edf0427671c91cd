"""``docs/schemas/app/``: a JSON Schema of every kind of file of an app, and one of the operations that change it.

The operations' is what a planner's model is shown: the closed union, each with a sentence that says what it does.
"""

from __future__ import annotations

import json
from typing import Any

from pydantic import TypeAdapter

from felix.domain.apps.tree import FOLDERS, TOP
from felix.domain.changes.operations.union import PROPOSED

FOLDER = "docs/schemas/app"
_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def documents() -> dict[str, str]:
    """Every schema by its path in the checkout."""
    kinds: dict[str, TypeAdapter[Any]] = {
        **{name.removesuffix(".json"): TypeAdapter(model) for name, model in TOP.items()},
        **{folder: TypeAdapter(kind) for folder, kind in FOLDERS.items()},
        "operations": PROPOSED,
    }
    return {f"{FOLDER}/{name}.json": _written(name, adapter) for name, adapter in kinds.items()}


def schema(name: str, adapter: TypeAdapter[Any]) -> dict[str, Any]:
    """The schema of a kind of file, or of the operations, as it is read from JSON."""
    return {"$schema": _DIALECT, "$id": f"urn:felix:app:{name}", **_untitled(adapter.json_schema(by_alias=True))}


def _untitled(value: Any) -> Any:
    """Without the titles that pydantic makes of the names of members: they say nothing more."""
    if isinstance(value, list):
        return [_untitled(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    return {
        name: {member: _untitled(inner) for member, inner in found.items()}
        if name in ("properties", "$defs")
        else _untitled(found)
        for name, found in value.items()
        if not (name == "title" and isinstance(found, str))
    }


def _written(name: str, adapter: TypeAdapter[Any]) -> str:
    return json.dumps(schema(name, adapter), indent=2, ensure_ascii=False) + "\n"
