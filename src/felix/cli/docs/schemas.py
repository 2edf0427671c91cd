"""``docs/schemas/``: a JSON Schema of every stored event, and one of the row it is shown in.

A schema describes what is stored: bytes that were written once. So the file of an old version stays where it is when
an event gets a new one, and only the current versions are written.
"""

from __future__ import annotations

import json
from typing import Any

from felix.cli.docs.catalogue import stored_events, told
from felix.domain.base import ENVELOPE_FIELDS, FelixEvent

FOLDER = "docs/schemas"
_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_TEXT = {"type": "string", "minLength": 1}
_ID = {"type": "string", "format": "uuid"}
_COUNT = {"type": "integer", "minimum": 1}

#: The row of an event, as ``/v1/events`` and ``felix events`` show it.
_ENVELOPE: dict[str, Any] = {
    "partition": {"type": "integer", "minimum": 0, "description": "where its tenant lives"},
    "position": _COUNT | {"description": "dense in the partition, in the order of the commits"},
    "tenant_id": _ID,
    "tenant_sequence": _COUNT | {"description": "dense for the tenant"},
    "stream": _TEXT | {"pattern": "^[^:]+:[^:]+:.+$", "description": "<tenant>:<kind>:<id>"},
    "version": _COUNT | {"description": "dense in the stream"},
    "type": {"enum": []},
    "event_id": _ID,
    "recorded_at": {"type": "string", "format": "date-time", "description": "moment, UTC"},
    "command_key": _TEXT | {"description": "the command that caused it"},
    "actor": _TEXT | {"description": "who did it"},
    "metadata": {"type": "object", "additionalProperties": {"type": "string"}},
    "state": {"type": "object", "description": "what the schema of its type and version describes"},
}


def documents() -> dict[str, str]:
    """Every schema by its path in the checkout."""
    found = {f"{FOLDER}/event.json": _written(envelope())}
    for cls in stored_events().values():
        found[path_of(cls)] = _written(state_of(cls))
    return found


def path_of(cls: type[FelixEvent]) -> str:
    """Where the schema of an event's current version is."""
    return f"{FOLDER}/events/{cls.TOPIC}.v{cls.class_version}.json"


def envelope() -> dict[str, Any]:
    """The schema of the row that an event is shown in."""
    properties = _ENVELOPE | {"type": {"enum": list(stored_events())}}
    return {
        "$schema": _DIALECT,
        "$id": "urn:felix:event",
        "title": "event",
        "description": "An event as it is shown: its row of the log, with its state.",
        "type": "object",
        "required": list(properties),
        "additionalProperties": False,
        "properties": properties,
    }


def state_of(cls: type[FelixEvent]) -> dict[str, Any]:
    """The schema of an event's stored state in its current version."""
    schema = cls.model_json_schema(mode="serialization")
    properties = {name: field for name, field in schema["properties"].items() if name not in ENVELOPE_FIELDS}
    for field in properties.values():
        field.pop("title", None)
    if cls.class_version > 1:
        properties["class_version"] = {"const": cls.class_version}
    made = {
        "$schema": _DIALECT,
        "$id": f"urn:felix:event:{cls.TOPIC}:v{cls.class_version}",
        "title": cls.TOPIC,
        "description": " ".join(" ".join(told(cls)).split()),
        "type": "object",
        "required": list(properties),
        "additionalProperties": False,
        "properties": properties,
    }
    return made | ({"$defs": schema["$defs"]} if "$defs" in schema else {})


def _written(schema: dict[str, Any]) -> str:
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
