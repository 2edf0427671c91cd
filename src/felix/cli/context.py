"""``felix context``: what a planner would be told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cyclopts import App

from felix.cli.options import Reading
from felix.cli.output import print_json
from felix.cli.session import Session, open_session

if TYPE_CHECKING:
    from felix.domain.apps.tree import AppTree
    from felix.eventstore.tenants import TenantPlace

commands = App(name="context", help="Show what a planner would be told of a prompt.")


@commands.command
def show(prompt: str, *, app: str | None = None, reading: Reading | None = None) -> None:
    """Show what a planner would be given beside a prompt, as it would be given it.

    Parameters
    ----------
    prompt
        A prompt, or some words of one.
    app
        The app that it is about, as it runs in production; without one there is no outline.
    """
    from felix import bootstrap
    from felix.application.context import LOOKED_AT, assemble

    reading = reading or Reading()
    with open_session() as session:
        place = session.tenant(reading.tenant)
        tree = None if app is None else _tree(session, place, app)
        index = bootstrap.open_context_index(session.endpoints)
        try:
            found = index.find((place.partition, place.tenant_id), prompt, LOOKED_AT)
        finally:
            index.close()
    context = assemble(prompt, found, app or "", tree)
    if reading.json:
        passages = [{"source": each.source, "heading": each.heading, "text": each.text} for each in context.passages]
        print_json({"digest": context.digest, **context.described(), "outline": context.outline, "data": passages})
    elif context.passages or context.outline:
        print(context.fenced())
    else:
        print("No document has any of these words. Add one: felix documents add FILE --account ACCOUNT")


def _tree(session: Session, place: TenantPlace, app: str) -> AppTree:
    from felix import bootstrap
    from felix.domain.errors import NotFound
    from felix.eventstore.app_pointers import POINTER

    asked = (place.partition, place.tenant_id, app, "production")
    pointer = session.ask(place, lambda tx: tx.fetch_one(POINTER, *asked))
    if pointer is None:
        raise NotFound(f"There is no app {app}.", id=app)
    return bootstrap.open_releases(session.settings).tree(pointer["stable"])
