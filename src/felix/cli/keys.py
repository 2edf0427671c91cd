"""``felix keys``: API keys of clients and of the founder."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter

from felix.cli.errors import UsageError
from felix.cli.options import Showing
from felix.cli.output import print_json, print_table
from felix.cli.session import open_session
from felix.domain.errors import NotFound

app = App(name="keys", help="Make, list and revoke API keys.")


@app.command
def create(
    *,
    tenant: str | None = None,
    founder: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    label: str = "made on the command line",
    showing: Showing | None = None,
) -> None:
    """Make a key and print it; it is shown this once, only its hash is kept.

    Parameters
    ----------
    tenant
        The client that the key is for, by short name or id.
    founder
        A key of the founder, who may name any client.
    label
        What the key is used for.
    """
    from felix import bootstrap
    from felix.eventstore.api_keys import create_key

    showing = showing or Showing()
    if founder == (tenant is not None):
        raise UsageError("Give --tenant SLUG or --founder.")
    with open_session() as session:
        tenant_id = None if founder else session.tenant(tenant).tenant_id
        with bootstrap.connect_owner(session.endpoints) as owner:
            key, record = create_key(owner, "founder" if founder else "service", tenant_id, label)
    if showing.json:
        print_json({"key": key, "key_id": record.key_id, "role": record.role, "label": record.label})
    else:
        print(key)


@app.command(name="list")
def list_keys(*, showing: Showing | None = None) -> None:
    """List every key that was ever made; the keys themselves are not known."""
    from felix import bootstrap
    from felix.eventstore import api_keys

    showing = showing or Showing()
    with open_session() as session:
        slugs = {place.tenant_id: place.slug for place in session.directory.all()}
        with bootstrap.connect_owner(session.endpoints) as owner:
            keys = api_keys.list_keys(owner)
    rows = [
        {
            "key_id": key.key_id,
            "role": key.role,
            "tenant": slugs.get(key.tenant_id) if key.tenant_id else None,
            "label": key.label,
            "revoked": key.revoked,
        }
        for key in keys
    ]
    if showing.json:
        print_json(rows)
    else:
        print_table(
            rows, {name: name.replace("_", " ") for name in rows[0]} if rows else {}, empty="There are no keys."
        )


@app.command
def revoke(key_id: str, *, showing: Showing | None = None) -> None:
    """Make a key worthless, everywhere within a second.

    Parameters
    ----------
    key_id
        The id that `felix keys list` shows (key_…), not the key.
    """
    from felix import bootstrap
    from felix.eventstore import api_keys

    showing = showing or Showing()
    with open_session() as session, bootstrap.connect_owner(session.endpoints) as owner:
        if not api_keys.revoke_key(owner, key_id):
            raise NotFound(f"There is no key {key_id} in force.")
    if showing.json:
        print_json({"key_id": key_id, "revoked": True})
    else:
        print(f"{key_id} is revoked.")
