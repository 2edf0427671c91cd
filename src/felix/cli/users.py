"""``felix users``: everybody who is known to this Felix, and what they are where."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from felix.cli.errors import UsageError
from felix.cli.invite import invite_to
from felix.cli.options import Acting, Showing
from felix.cli.output import print_facts, print_json, print_table
from felix.cli.session import Session, open_session
from felix.domain.errors import NotFound
from felix.domain.identity.roles import PLATFORM_SLUG, Role

if TYPE_CHECKING:
    from felix.domain.base import Command

app = App(name="users", help="List the people who are known, and let them in or keep them out.")


@app.command(name="list")
def list_users(*, showing: Showing | None = None) -> None:
    """List everybody who is known, with what they are where."""
    showing = showing or Showing()
    with open_session() as session:
        found = everybody(session)
    if showing.json:
        print_json(found)
        return
    rows = [row | {"roles": [f"{each['role']} of {each['tenant']}" for each in row["memberships"]]} for row in found]
    headings = {"user_id": "user", "email": "e-mail", "name": "name", "status": "status", "roles": "is"}
    print_table(rows, headings, empty="Nobody is known yet. Invite somebody: felix users add --founder EMAIL")


@app.command
def show(user: str, *, showing: Showing | None = None) -> None:
    """Show one person.

    Parameters
    ----------
    user
        Id or e-mail address.
    """
    showing = showing or Showing()
    with open_session() as session:
        found = find(session, user)
    if showing.json:
        print_json(found)
    else:
        print_facts({name: value for name, value in found.items() if name != "memberships"})
        for each in found["memberships"]:
            until = f" until {each['expires_at']}" if each["expires_at"] else ""
            print(f"{each['role']} of {each['tenant']}{until}")


@app.command
def add(
    email: str,
    *,
    founder: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    readonly: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    acting: Acting | None = None,
) -> None:
    """Invite somebody to run this Felix, and print the link with which they set a password and a second factor.

    Parameters
    ----------
    email
        Where the person can be reached. No mail is sent: hand the link over yourself.
    founder
        They may do everything, for every client.
    readonly
        They may see everything and change nothing.
    """
    if founder == readonly:
        raise UsageError("Say as what: --founder or --readonly. Members of clients are invited with `felix invite`.")
    role: Role = "founder" if founder else "founder_readonly"
    invite_to(PLATFORM_SLUG, email, role, None, acting or Acting(), by_mail=False)


@app.command
def disable(user: str, *, reason: str, acting: Acting | None = None) -> None:
    """Let somebody sign in no more, everywhere within a second.

    Parameters
    ----------
    user
        Id or e-mail address.
    reason
        Why; kept in the audit trail.
    """
    from felix.domain.identity.user import DisableUser

    _change(user, DisableUser, reason, acting)


@app.command
def enable(user: str, *, reason: str, acting: Acting | None = None) -> None:
    """Let somebody who was disabled sign in again.

    Parameters
    ----------
    user
        Id or e-mail address.
    reason
        Why; kept in the audit trail.
    """
    from felix.domain.identity.user import EnableUser

    _change(user, EnableUser, reason, acting)


@app.command(name="password-reset")
def password_reset(user: str, *, showing: Showing | None = None) -> None:
    """Print a link with which somebody sets a new password, once; hand it to the right person.

    Parameters
    ----------
    user
        Id or e-mail address.
    """
    from felix import bootstrap

    showing = showing or Showing()
    with open_session() as session:
        user_id = find(session, user)["user_id"]
        url = bootstrap.make_link(session.settings, session.endpoints, "password_reset", user_id)
    if showing.json:
        print_json({"user_id": user_id, "url": url})
    else:
        print(url)


@app.command(name="remove-second-factor")
def remove_second_factor(user: str, *, acting: Acting | None = None) -> None:
    """Take the second factor of somebody out of use who has lost the device and the recovery codes.

    Parameters
    ----------
    user
        Id or e-mail address. Make sure that it is them who ask.
    """
    from felix.domain.identity.credentials import RemoveSecondFactor

    with open_session() as session:
        command = RemoveSecondFactor(user_id=find(session, user)["user_id"], remover="operator")
        session.perform(session.tenant(PLATFORM_SLUG), command, acting or Acting())


def _change(user: str, command_class: type[Command], reason: str, acting: Acting | None) -> None:
    with open_session() as session:
        user_id = find(session, user)["user_id"]
        command = command_class.model_validate({"user_id": user_id, "reason": reason})
        session.perform(session.tenant(PLATFORM_SLUG), command, acting or Acting())


def find(session: Session, user: str) -> dict[str, Any]:
    """A person by id or e-mail address. Raises NotFound."""
    from felix.domain.identity.email import normalised

    for row in everybody(session):
        if user == row["user_id"] or normalised(user) == row["email"]:
            return row
    raise NotFound(f"There is no user {user}.")


def everybody(session: Session) -> list[dict[str, Any]]:
    """Everybody, with names and addresses from the vault."""
    from felix.projections import members
    from felix.projections.tenant_tx import FounderTx

    async def all_of_them(tx: FounderTx) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while page := await members.users(tx, found[-1]["user_id"] if found else "", 1000):
            found += page
        return found

    rows = session.ask_as_founder(all_of_them)
    known = names(session, [row["user_id"] for row in rows])
    return [row | {name: known.get(row["user_id"], {}).get(name) for name in ("email", "name")} for row in rows]


def names(session: Session, user_ids: Iterable[str]) -> dict[str, dict[str, str]]:
    """What the vault has of users: names and addresses, by field."""
    from felix import bootstrap
    from felix.eventstore.vault import SEALED
    from felix.projections.tenant_tx import Row, TenantTx

    async def sealed(tx: TenantTx) -> list[Row]:
        return await tx.fetch(SEALED, tx.partition, tx.tenant_id, sorted(user_ids))

    rows = session.ask(session.tenant(PLATFORM_SLUG), sealed)
    return bootstrap.open_vault(session.settings)().open(rows)
