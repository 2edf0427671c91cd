"""``felix privacy``: what is kept about a person, and its erasure for good."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

from cyclopts import App

from felix.cli.errors import UsageError
from felix.cli.options import Acting, Showing
from felix.cli.output import print_facts, print_json
from felix.cli.session import Session, open_session
from felix.domain.errors import NotFound

if TYPE_CHECKING:
    from felix.eventstore.tenants import TenantPlace

app = App(name="privacy", help="Show what is kept about a person, erase it, and check what was revealed.")


@app.command
def erase(subject: str, *, reason: str, tenant: str | None = None, acting: Acting | None = None) -> None:
    """Erase what is personal about a user, or about a customer of a client. There is no way back.

    The vault forgets value and key, and everything that a user signed in with goes. The log keeps what was done, under
    an id, and commitments that nobody can open any more. The worker then lets the erasure key forget too: from that
    moment no backup can be read.

    Parameters
    ----------
    subject
        The id of a user (usr_…); with --tenant that of one of its customers.
    reason
        Why: kept in the log for ever, so without the person's name.
    tenant
        The client whose customer it is, by short name or id.
    """
    from felix.domain.identity.user import EraseUser
    from felix.domain.privacy.erasure import ErasePersonalData

    acting = acting or Acting()
    with open_session() as session:
        place = _place(session, subject, tenant)
        if acting.dry_run:
            kept = _what_is_kept(session, place, subject)
            if acting.json:
                print_json({"dry_run": True, "subject_id": subject, "tenant": place.slug, "would_go": kept})
            else:
                print_facts(kept)
                print("\nThis would go. Nothing was changed.")
            return
        command = (
            EraseUser.model_validate({"user_id": subject, "reason": reason})
            if tenant is None
            else ErasePersonalData.model_validate({"subject_id": subject, "reason": reason})
        )
        session.perform(place, command, acting)


@app.command
def export(subject: str, *, tenant: str | None = None) -> None:
    """Print everything that is kept about a user, or about a customer of a client, as JSON for that person.

    Each value has its salt and the commitment that the log has in its place.

    Parameters
    ----------
    subject
        The id of a user (usr_…); with --tenant that of one of its customers.
    tenant
        The client whose customer it is, by short name or id.
    """
    with open_session() as session:
        place = _place(session, subject, tenant)
        print_json(asyncio.run(_known(session, place, subject)))


@app.command
def check(commitment: str, *, salt: str, showing: Showing | None = None) -> int:
    """Check that a value, read from standard input, is what a commitment in the log was made for.

    Needs no Felix: HMAC-SHA256 of the value, in UTF-8, with the salt as key. The exit code is 1 when it is another one.

    Parameters
    ----------
    commitment
        What the event says, 64 hex digits.
    salt
        What was revealed with the value, 64 hex digits.
    """
    from felix.eventstore.vault import Opening

    showing = showing or Showing()
    try:
        opening = Opening(sys.stdin.read().removesuffix("\n"), bytes.fromhex(salt))
    except ValueError:
        raise UsageError("A salt is 64 hex digits.") from None
    fits = opening.commitment == commitment.lower()
    if showing.json:
        print_json({"commitment": commitment, "fits": fits})
    else:
        print("This is the value." if fits else "This is NOT the value.")
    return 0 if fits else 1


def _place(session: Session, subject: str, tenant: str | None) -> TenantPlace:
    """Whose log a subject is in. Raises NotFound."""
    from felix.domain.identity.roles import PLATFORM_SLUG

    if tenant is None and not subject.startswith("usr_"):
        raise UsageError(f"{subject} is no user (usr_…): for a client's customer say --tenant SLUG.")
    return session.tenant(tenant or PLATFORM_SLUG)


def _what_is_kept(session: Session, place: TenantPlace, subject: str) -> dict[str, Any]:
    from felix import bootstrap
    from felix.application.erasure import what_is_kept
    from felix.eventstore.connections import connect

    with connect(session.endpoints.writer_url) as writer:
        kept = what_is_kept(
            lambda question: writer.execute(question.text, question.parameters).fetchall(),
            place.partition,
            place.tenant_id,
            subject,
        )
    if not any(kept.values()):
        raise NotFound(f"Nothing is kept about {subject}.", id=subject)
    return kept | bootstrap.kept_outside(session.settings, place.tenant_id, subject)


async def _known(session: Session, place: TenantPlace, subject: str) -> dict[str, Any]:
    from felix import bootstrap
    from felix.domain.identity.roles import PLATFORM
    from felix.projections.personal_data import known_of_user, personal_data_of

    vault = bootstrap.open_vault(session.settings)()
    reads = bootstrap.open_read_pool(session.endpoints, max_size=2)
    await reads.open()
    try:
        if place.tenant_id == PLATFORM:
            known = await known_of_user(reads, place.partition, vault, subject)
        else:
            async with reads.tenant(place.tenant_id, place.partition) as tx:
                personal = await personal_data_of(tx, vault, subject)
            known = {"subject_id": subject, "tenant": place.slug, "personal": personal} if personal else None
    finally:
        await reads.close()
    if known is None:
        raise NotFound(f"Nothing is kept about {subject}.", id=subject)
    return known
