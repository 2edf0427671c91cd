"""Changes that are asked for exactly, in the words of operations: by forms, and by people who edit a plan."""

from __future__ import annotations

import json
from typing import Any

from felix.application.apps.releases import ReleaseStore
from felix.domain.apps.tree import AppTree, canonical
from felix.domain.changes.messages import OBJECTS
from felix.domain.changes.operations.base import Operation
from felix.domain.changes.operations.union import InvalidOperations, read_proposed, written

#: What is said of a form in the place of a prompt.
_MAX_SAID_CHARS = 2_000


def read_operations(given: Any) -> list[Operation]:
    """Operations as somebody gave them, parsed from JSON. Raises ``InvalidOperations`` and ``ChangeTooLarge``."""
    try:
        operations = read_proposed(json.dumps(given))
    except InvalidOperations as refused:
        errors = [wrong | {"pointer": f"/operations{wrong['pointer']}"} for wrong in refused.facts["errors"]]
        raise InvalidOperations(errors=errors) from None
    if not operations:
        raise InvalidOperations(errors=[{"pointer": "/operations", "rule": "too_short", "detail": "there are none"}])
    return operations


def keep_operations(store: ReleaseStore, operations: list[Operation]) -> str:
    """Keep them where a change looks for its plan; their digest. Raises ``Unavailable``."""
    return store.put(OBJECTS["operations"], canonical(written(operations)))


def said(operations: list[Operation]) -> str:
    """What they do, as far as it can be said without the app: what a form is remembered by."""
    sentences = "; ".join(operation.describe(AppTree()) for operation in operations)
    return sentences if len(sentences) <= _MAX_SAID_CHARS else sentences[: _MAX_SAID_CHARS - 1] + "…"
