"""``felix tenants``: the clients."""

from __future__ import annotations

import re
import unicodedata
from uuid import UUID, uuid5

from cyclopts import App

from felix.cli.options import Acting, Showing
from felix.cli.output import print_facts, print_json, print_table
from felix.cli.session import open_session

app = App(name="tenants", help="List clients and take new ones on board.")

#: Tenants made here get their id from the key, so that the same command sent again means the same tenant.
_TENANTS = UUID("0d0cf7c4-6c0d-5d7c-8f0e-0a5e6c3f1b7e")


@app.command(name="list")
def list_tenants(*, showing: Showing | None = None) -> None:
    """List every client with its partition and its events."""
    from felix.projections import tenants

    showing = showing or Showing()
    with open_session() as session:
        told = {row["tenant_id"]: row for row in session.ask_as_founder(tenants.tenants)}
        rows = [
            {
                "slug": place.slug,
                "name": place.name,
                "tenant_id": str(place.tenant_id),
                "partition": place.partition,
                "events": told[place.tenant_id]["events"] if place.tenant_id in told else 0,
                "last_event_at": told[place.tenant_id]["last_event_at"] if place.tenant_id in told else None,
            }
            for place in session.directory.all()
        ]
    if showing.json:
        print_json(rows)
    else:
        headings = {"slug": "tenant", "name": "name", "partition": "partition", "events": "events"}
        headings |= {"last_event_at": "last event", "tenant_id": "id"}
        print_table(rows, headings, empty="There are no clients yet. Add one: felix tenants add NAME")


@app.command
def add(
    name: str,
    *,
    slug: str | None = None,
    partition: int | None = None,
    owner: str | None = None,
    account: str | None = None,
    welcome_mtok: int = 0,
    modules: str = "",
    acting: Acting | None = None,
) -> None:
    """Take a new client on board, with all that it begins with.

    Parameters
    ----------
    name
        What the client is called.
    slug
        Short name for commands and headers: lower-case letters, digits and hyphens. Default: made from the name.
    partition
        Where its log is written, for life. Default: chosen by its id; give a big client its own.
    owner
        E-mail address of its first owner, to whom an invitation is sent; its link is printed, too.
    account
        Name of its first token account. Default: none, or "Main account" where there is a welcome grant.
    welcome_mtok
        Tokens in thousandths that it begins with and need not pay.
    modules
        What its apps are made of, separated by commas.
    """
    from felix.domain.tenancy.tenant import NewClient, OnboardTenant

    acting = acting or Acting()
    client = NewClient.model_validate(
        {"slug": slug or slug_of(name), "name": name, "account_name": account, "welcome_mtok": welcome_mtok}
        | {"modules": [module.strip() for module in modules.split(",") if module.strip()]}
    )
    tenant_id = uuid5(_TENANTS, acting.key)
    with open_session() as session:
        fields = client.model_dump(exclude_defaults=True)
        if acting.dry_run:
            print_json({"dry_run": True, "command": OnboardTenant.command_name, "fields": fields})
            return
        invited = None
        if owner is not None:
            invited = session.invitation(tenant_id, name, owner, acting)
            fields |= {"invitation_id": invited.invitation_id, "email_commitment": invited.email_commitment}
        session.perform(
            session.directory.pin(tenant_id, client.slug, name, partition=partition),
            OnboardTenant(**fields),
            acting,
            enclosed=invited.enclosed if invited else None,
            shown_once={"url": invited.url} if invited else None,
        )


@app.command
def show(tenant: str, *, showing: Showing | None = None) -> None:
    """Show one client: where it lives, and what it has.

    Parameters
    ----------
    tenant
        Short name or id.
    """
    from felix.projections import balances

    showing = showing or Showing()
    with open_session() as session:
        place = session.tenant(tenant)
        accounts = session.ask(place, lambda tx: balances.accounts(tx, "", 1000))
    known = {
        "slug": place.slug,
        "name": place.name,
        "tenant_id": str(place.tenant_id),
        "partition": place.partition,
        "accounts": len(accounts),
        "available_mtok": sum(row["available_mtok"] for row in accounts),
        "held_mtok": sum(row["held_mtok"] for row in accounts),
        "consumed_mtok": sum(row["consumed_mtok"] for row in accounts),
    }
    if showing.json:
        print_json(known)
    else:
        print_facts(known)


def slug_of(name: str) -> str:
    """A short name made from a name: ``Café Zur Post`` is ``cafe-zur-post``."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:63].strip("-")
