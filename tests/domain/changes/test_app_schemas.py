"""The schemas of files and operations let in what Felix lets in, as far as a schema can say it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from grounds import DOES_NOT_FIT, FITS, GROUND
from jsonschema import Draft202012Validator

from felix.cli.docs.app_schemas import FOLDER, documents
from felix.domain.apps.tree import kind_of
from felix.domain.changes.operations.union import PROPOSED, InvalidOperations, read_proposed, written

SCHEMAS = {path: json.loads(text) for path, text in documents().items()}
OPERATIONS = Draft202012Validator(SCHEMAS[f"{FOLDER}/operations.json"])


@pytest.mark.parametrize("path", SCHEMAS)
def test_a_schema_is_one(path: str) -> None:
    Draft202012Validator.check_schema(SCHEMAS[path])


def test_every_file_of_the_ground_is_what_its_schema_says() -> None:
    for path, content in GROUND.files.items():
        if not path.endswith(".liquid"):
            kind = str(kind_of(path)).removesuffix(".json")
            Draft202012Validator(SCHEMAS[f"{FOLDER}/{kind}.json"]).validate(content)


def test_every_operation_is_what_the_schema_says() -> None:
    told = [operation for operation, *_ in FITS] + [operation for operation, _ in DOES_NOT_FIT]
    OPERATIONS.validate(written(told))


@pytest.mark.parametrize(
    "stored",
    [
        [{"op": "fly"}], [{"view": "deals", "title": "x"}], [{"op": "rename_view", "view": "deals"}],
        [{"op": "rename_view", "view": "../deals", "title": "x"}],
        [{"op": "rename_view", "view": "deals", "title": "x", "more": 1}],
        [{"op": "undo", "steps": [], "of": "x", "at_least": "low"}], {},
    ],
)  # fmt: skip
def test_what_felix_refuses_the_schema_refuses(stored: Any) -> None:
    assert not OPERATIONS.is_valid(stored)
    with pytest.raises(InvalidOperations):
        read_proposed(json.dumps(stored))


def test_every_operation_says_what_it_does() -> None:
    definitions = SCHEMAS[f"{FOLDER}/operations.json"]["$defs"]
    mapping = PROPOSED.json_schema()["items"]["discriminator"]["mapping"]
    assert len(mapping) >= 50
    for name, place in mapping.items():
        definition = definitions[place.rpartition("/")[2]]
        assert definition["description"].endswith(".") and definition["required"][0] == "op", name
