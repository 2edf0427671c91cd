"""One change, as commands name it: found, what people wrote about it, and decided about."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from felix.cli.options import Writing
from felix.cli.session import Session, open_session
from felix.domain.errors import NotFound

if TYPE_CHECKING:
    from felix.domain.base import Command
    from felix.eventstore.tenants import TenantPlace
    from felix.projections.tenant_tx import Row, TenantTx

Environment = Literal["production", "sandbox"]
Named = Annotated[str, Parameter(help="Its id, or last for the newest.")]
Why = Annotated[str, Parameter(help="Why, for the log.")]
#: The newest change of the client, in the place of an id.
LAST = "last"


def find(session: Session, place: TenantPlace, change: str) -> Row:
    """A change by its id, or the newest. Raises NotFound."""
    from felix.projections import changes

    async def question(tx: TenantTx) -> Row | None:
        if change != LAST:
            return await changes.change_of(tx, change)
        return next(iter(await changes.changes(tx, None, 1)), None)

    found = session.ask(place, question)
    if found is None:
        raise NotFound(f"{place.slug} has no change {change}." if change != LAST else f"{place.slug} has no changes.")
    return found


def wrote(session: Session, place: TenantPlace, rows: list[Row]) -> dict[str, dict[str, str]]:
    """What people wrote about some changes, as far as it is kept."""
    from felix import bootstrap
    from felix.eventstore.vault import SEALED

    subjects = sorted({row["subject_id"] for row in rows if row["prompt_chars"]})
    if not subjects:
        return {}
    sealed = session.ask(place, lambda tx: tx.fetch(SEALED, tx.partition, tx.tenant_id, subjects))
    return bootstrap.open_vault(session.settings)().open(sealed)


def decide(change: str, command: type[Command], writing: Writing | None, *, seen: bool = False, **said: Any) -> None:
    """Perform a command about a change; where it matters what was seen, as it is now."""
    writing = writing or Writing()
    with open_session() as session:
        place = session.tenant(writing.tenant)
        row = find(session, place, change)
        saw = {"expected_version": row["version"]} if seen else {}
        session.perform(place, command.model_validate({"change_id": row["change_id"], **saw, **said}), writing)
