"""What a change does exactly, from a file: as it is asked for, or in the place of what was planned."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from felix.cli.errors import UsageError

if TYPE_CHECKING:
    from felix.application.changes.exactly import Exact
    from felix.cli.options import Writing
    from felix.cli.session import Session
    from felix.eventstore.tenants import TenantPlace

#: Standard input, in the place of a file.
STDIN = Path("-")
File = Annotated[Path, Parameter(allow_leading_hyphen=True)]


def read_file(file: Path, *, of_files: bool = False) -> Exact:
    """The operations of a JSON file: a list of them, or a document that has it under ``operations``. Those
    ``of_files`` are edits of a repository.

    Raises UsageError where there is no JSON, and ``InvalidOperations``, which names each that is wrong and its field.
    """
    import orjson

    from felix.application.changes.exactly import read_operations
    from felix.domain.changes.operations.union import InvalidOperations

    named = "Standard input" if file == STDIN else str(file)
    try:
        found = orjson.loads(sys.stdin.buffer.read() if file == STDIN else file.read_bytes())
    except OSError as error:
        raise UsageError(f"{named} can't be read: {error.strerror}.") from None
    except orjson.JSONDecodeError as error:
        raise UsageError(f"{named} is no JSON: {error}.") from None
    given = found.get("operations") if isinstance(found, dict) else found
    if not isinstance(given, list):
        raise UsageError(f'{named} holds no operations. They look like [{{"op": "hide_field", "entity": "deal", …}}].')
    try:
        return read_operations(given, of_files=of_files)
    except InvalidOperations as refused:
        raise InvalidOperations(errors=[_named(wrong, given) for wrong in refused.facts["errors"]]) from None


def refuse_own_secrets(session: Session, place: TenantPlace, **texts: str) -> None:
    """Whether texts, by what they are, hold none of the client's own secrets. Raises ``SecretInPrompt``."""
    from felix import bootstrap
    from felix.api.own_secrets import refuse_own_secrets

    root_keys = bootstrap.following_root_keys(session.settings)
    session.ask(place, lambda tx: refuse_own_secrets(tx, root_keys, **texts))


def keep(session: Session, place: TenantPlace, operations: Exact, writing: Writing) -> str:
    """Keep them where the change looks for its plan, unless nothing is to be done; their digest."""
    from felix import bootstrap
    from felix.application.changes.exactly import content_of, digest_of, keep_operations

    refuse_own_secrets(session, place, operations=content_of(operations).decode())
    return (
        digest_of(operations)
        if writing.dry_run
        else keep_operations(bootstrap.open_objects(session.settings), operations)
    )


def _named(wrong: dict[str, str], given: list[Any]) -> dict[str, str]:
    """The same with the name of the operation, as nobody counts them from zero."""
    number = wrong["pointer"].split("/")[2:3]
    operation = given[int(number[0])] if number else None
    op = operation.get("op") if isinstance(operation, dict) else None
    return wrong if op is None else wrong | {"detail": f"{wrong['detail']} (of {op})"}
