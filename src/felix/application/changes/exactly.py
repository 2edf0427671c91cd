"""Changes that are asked for exactly, by forms and by people who edit a plan: operations of an app, edits of files."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any

from felix.application.apps.releases import ReleaseStore
from felix.domain.apps.tree import AppTree, canonical
from felix.domain.changes import code_edits
from felix.domain.changes.code_edits import CodeEdit
from felix.domain.changes.messages import OBJECTS
from felix.domain.changes.operations.base import Operation
from felix.domain.changes.operations.union import InvalidOperations, read_proposed, written

#: What is said of a form in the place of a prompt.
_MAX_SAID_CHARS = 2_000


Exact = list[Operation] | list[CodeEdit]


def read_operations(given: Any, *, of_files: bool = False) -> Exact:
    """Operations, or edits of files, as somebody gave them, parsed from JSON.

    Raises ``InvalidOperations`` and ``ChangeTooLarge``; of edits ``InvalidEdits``, ``PathNotAllowed``, and
    ``SecretInChange`` before anything is kept.
    """
    if of_files:
        return _read_edits(given)
    try:
        operations = read_proposed(json.dumps(given))
    except InvalidOperations as refused:
        errors = [wrong | {"pointer": f"/operations{wrong['pointer']}"} for wrong in refused.facts["errors"]]
        raise InvalidOperations(errors=errors) from None
    if not operations:
        raise InvalidOperations(errors=[{"pointer": "/operations", "rule": "too_short", "detail": "there are none"}])
    return operations


def keep_operations(store: ReleaseStore, operations: Exact) -> str:
    """Keep them where a change looks for its plan; their digest. Raises ``Unavailable``."""
    return store.put(OBJECTS["operations"], content_of(operations))


def digest_of(operations: Exact) -> str:
    """The digest under which they would be kept."""
    return sha256(content_of(operations)).hexdigest()


def said(operations: Exact) -> str:
    """What they do, as far as it can be said without the app: what a form is remembered by."""
    sentences = "; ".join(
        operation.describe(AppTree()) if isinstance(operation, Operation) else operation.describe()
        for operation in operations
    )
    return sentences if len(sentences) <= _MAX_SAID_CHARS else sentences[: _MAX_SAID_CHARS - 1] + "…"


def _read_edits(given: Any) -> list[CodeEdit]:
    try:
        edits = code_edits.read_edits(json.dumps(given).encode())
    except code_edits.InvalidEdits as refused:
        errors = [wrong | {"pointer": f"/operations{wrong['pointer']}"} for wrong in refused.facts["errors"]]
        raise code_edits.InvalidEdits(errors=errors) from None
    code_edits.check_paths(edits, code_edits.risk_of(edits))
    code_edits.check_texts(edits)
    return edits


def content_of(exact: Exact) -> bytes:
    """They as they are kept."""
    operations = [each for each in exact if isinstance(each, Operation)]
    edits = [each for each in exact if not isinstance(each, Operation)]
    return canonical(written(operations) or code_edits.written(edits))
