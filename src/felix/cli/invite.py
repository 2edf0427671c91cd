"""``felix invite``: ask somebody to become a member of a client."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from cyclopts import Parameter

from felix.cli.options import Acting, Moment
from felix.cli.session import open_session
from felix.domain.identity.roles import Role

ClientRole = Literal["client_owner", "client_approver", "client_member", "auditor"]


def invite(
    email: str,
    *,
    tenant: str | None = None,
    role: ClientRole = "client_member",
    until: Moment | None = None,
    mail: Annotated[bool, Parameter(negative="--no-mail", show_default=False)] = True,
    acting: Acting | None = None,
) -> None:
    """Invite somebody to become a member of a client, and print the link with which they accept.

    Parameters
    ----------
    email
        Where the person can be reached.
    tenant
        Short name or id of the client. May be left out while there is only one.
    role
        What they will be there.
    until
        For auditors: when their access ends.
    mail
        Send the link by mail, too. `--no-mail`: hand it over yourself.
    """
    invite_to(tenant, email, role, until, acting or Acting(), by_mail=mail)


def invite_to(
    tenant: str | None, email: str, role: Role, until: datetime | None, acting: Acting, *, by_mail: bool
) -> None:
    """Invite and print the link, which is shown this once: only its hash is kept. Raises the refusal of a refusal."""
    from felix.domain.identity.invitation import SendInvitation

    with open_session() as session:
        place = session.tenant(tenant)
        invited = session.invitation(place.tenant_id, place.name, email, acting, by_mail=by_mail)
        command = SendInvitation(
            role=role,
            expires_at=until,
            invitation_id=invited.invitation_id,
            email_commitment=invited.email_commitment,
        )
        session.perform(place, command, acting, enclosed=invited.enclosed, shown_once={"url": invited.url})
