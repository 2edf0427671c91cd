"""``felix keys``: API keys of clients, of founders and of the platform's machines."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from felix.cli.errors import UsageError
from felix.cli.options import Acting, Moment, Showing
from felix.cli.output import print_facts, print_json, print_table
from felix.cli.session import Session, open_session
from felix.domain.errors import NotFound

if TYPE_CHECKING:
    from felix.domain.base import Command
    from felix.eventstore.tenants import TenantPlace

app = App(name="keys", help="Make, list, rotate and revoke API keys.")
SHOWN_BEFORE = "This command made its key before, and no key is shown twice. Make another one."


@app.command
def create(
    *,
    tenant: str | None = None,
    founder: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    read_only: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    label: str = "made on the command line",
    scope: Annotated[list[str] | None, Parameter(negative="")] = None,
    expires: Moment | None = None,
    acting: Acting | None = None,
) -> None:
    """Make a key and print it; it is shown this once, only its hash is kept.

    Parameters
    ----------
    tenant
        The client that the key is for, by short name or id.
    founder
        A key of the founder, who may name any client.
    read_only
        With --founder: a key that sees everything and changes nothing.
    label
        What the key is used for.
    scope
        What the key is limited to: actions such as ledger.debit_tokens, or groups such as ledger.* and *.read; may be
        given several times. Default: all that its role may do.
    expires
        Until when it works. Default: until it is revoked.
    """
    from felix.domain.identity.api_key import CreateApiKey
    from felix.domain.identity.roles import PLATFORM_SLUG

    if founder == (tenant is not None) or (read_only and not founder):
        raise UsageError("Give --tenant SLUG, or --founder, which may be --read-only.")
    role = ("founder_readonly" if read_only else "founder") if founder else "service"
    command = CreateApiKey.model_validate({"label": label, "role": role, "scopes": scope, "expires_at": expires})
    with open_session() as session:
        _make(session, session.tenant(PLATFORM_SLUG if founder else tenant), command, acting or Acting())


@app.command(name="list")
def list_keys(*, showing: Showing | None = None) -> None:
    """List every key that was ever made; the keys themselves are not known."""
    from felix.projections import api_keys

    showing = showing or Showing()
    with open_session() as session:
        slugs = {place.tenant_id: place.slug for place in session.directory.all()}
        found = session.ask_as_founder(lambda tx: api_keys.everybodys_keys(tx, api_keys.NEWEST, 100_000))
    rows = [
        {"key_id": row["key_id"], "tenant": slugs.get(row["tenant_id"])}
        | {name: value for name, value in row.items() if name not in ("key_id", "tenant_id")}
        for row in found
    ]
    if showing.json:
        print_json(rows)
        return
    for row in rows:
        row["scopes"] = ", ".join(row["scopes"] or ["everything"])
    headings = {"label": "label", "tenant": "tenant", "role": "role", "scopes": "may do", "status": "status"}
    headings |= {"expires_at": "expires", "last_used_at": "last used", "key_id": "id"}
    print_table(rows, headings, empty="There are no keys.")


@app.command
def rotate(key_id: str, *, overlap_hours: float = 24, acting: Acting | None = None) -> None:
    """Make a successor of a key and print it; the key itself goes on for a while, so that nothing stands still.

    Parameters
    ----------
    key_id
        The id that `felix keys list` shows (key_…), not the key.
    overlap_hours
        How long the old key still works: 0 to 168 hours.
    """
    from felix.domain.identity.api_key import RotateApiKey

    command = RotateApiKey(key_id=key_id, overlap_s=round(timedelta(hours=overlap_hours).total_seconds()))
    with open_session() as session:
        _make(session, _place_of(session, key_id), command, acting or Acting())


@app.command
def revoke(key_id: str, *, reason: str | None = None, acting: Acting | None = None) -> None:
    """Make a key worthless, everywhere within a second.

    Parameters
    ----------
    key_id
        The id that `felix keys list` shows (key_…), not the key.
    reason
        Why, for the log.
    """
    from felix.domain.identity.api_key import RevokeApiKey

    command = RevokeApiKey(key_id=key_id, reason=reason)
    with open_session() as session:
        session.perform(_place_of(session, key_id), command, acting or Acting())


def _make(session: Session, place: TenantPlace, command: Command, acting: Acting) -> None:
    """Perform a command that makes a key, and print the key: alone, for scripts, or with what is known of it."""
    from felix.application.api_keys import enclosing
    from felix.eventstore.api_keys import new_key

    key = new_key()
    if acting.dry_run:
        session.perform(place, command, acting)
        return
    outcome = session.send(place, command, acting, enclosing(key))
    result: dict[str, Any] = outcome.result
    if not outcome.replayed:
        result |= {"key": key}
    if acting.json:
        print_json(result)
    elif outcome.replayed:
        print_facts(result)
        print(SHOWN_BEFORE)
    else:
        print(key)


def _place_of(session: Session, key_id: str) -> TenantPlace:
    """Where the log of a key is. Raises ``NotFound``."""
    from felix.domain.identity.roles import PLATFORM
    from felix.projections import api_keys

    owners = session.ask_as_founder(lambda tx: api_keys.owners_of(tx, key_id))
    place = session.directory.find(str(owners[0] or PLATFORM)) if owners else None
    if place is None:
        raise NotFound(f"There is no API key {key_id}.", id=key_id)
    return place
