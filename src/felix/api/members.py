"""People over HTTP: who is invited, who is a member of what, and who the caller is.

Owners see to the members of their client; founders to everybody's, and to those of the platform, which they name like
a client: ``Felix-Tenant: felix-platform``. Names and addresses come from the vault.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from felix.api import documents, examples
from felix.api.auth import Caller
from felix.api.http import (
    MAX_PAGE,
    address_of,
    allowed,
    answer,
    caller_of,
    chosen,
    command_from,
    correlation_id,
    decide,
    fresh,
    idempotency_key,
    integer,
    paged,
    place_of,
    read_json,
    respond,
    services,
)
from felix.api.ledger import performs, reads, writes
from felix.api.sessions import Asked, asked_for, begin_session, carry, posts
from felix.application.identity import Addressed, Invited
from felix.application.outcome import Outcome
from felix.domain.errors import CommandKeyReused, Invalid
from felix.domain.identity.credentials import LinkNotValid
from felix.domain.identity.email import Email
from felix.domain.identity.invitation import AcceptInvitation, SendInvitation, WithdrawInvitation
from felix.domain.identity.membership import ChangeRole, EndMembership, ForSomebody
from felix.domain.identity.roles import PLATFORM
from felix.domain.identity.user import DisableUser, EmailIsTaken, EnableUser
from felix.domain.values import Name, Presented
from felix.eventstore.sign_in import hash_token
from felix.eventstore.vault import SEALED
from felix.projections import members
from felix.projections.sign_in import subject_of_link

router = APIRouter(tags=["people"])

CURSOR = (documents.query("cursor", "`next` of the page before.", type="string"), documents.PAGE[1])
_STATES = ("sent", "accepted", "withdrawn", "expired")


class InvitePerson(ForSomebody):
    """Invite a person to become a member."""

    email: Email


class Acceptance(Asked):
    """Who somebody is who has an invitation; name and password only where the address is not known yet."""

    token: Presented
    name: Name | None = None
    password: Presented | None = None


async def people(request: Request, tenant_id: UUID, subjects: Iterable[str]) -> dict[str, dict[str, str]]:
    """What the vault has of some of a tenant's subjects: names and addresses, by field. Users are the platform's."""
    found, asked = services(request), sorted(set(subjects))
    if not asked:
        return {}
    async with found.reads.tenant(*place(request, tenant_id)) as tx:
        return found.vault().open(await tx.fetch(SEALED, tx.partition, tx.tenant_id, asked))


def _named(row: dict[str, Any], person: dict[str, str] | None) -> dict[str, Any]:
    """A row with what its person is called, as far as anybody knows: nobody does after an erasure."""
    return row | {name: value for name, value in (person or {}).items() if name in ("email", "name")}


async def send_invitation(request: Request) -> Response:
    """Invite a person to become a member.

    A link goes to the address by mail and can be used once, within seven days. An auditor's access ends at
    `expires_at`; nobody else's has an end. Founders invite founders with `Felix-Tenant: felix-platform`.
    """
    principal = await allowed(request, SendInvitation.command_name)
    asked = command_from(InvitePerson, await read_json(request), {})
    assert isinstance(asked, InvitePerson)
    async with services(request).reads.tenant(*place(request, principal.tenant_id)) as tx:
        _, called = await members.names(tx)
    addressed = addressed_to(request, principal.tenant_id, called, asked.email)
    command = SendInvitation(
        role=asked.role,
        expires_at=asked.expires_at,
        invitation_id=addressed.invitation_id,
        email_commitment=addressed.email_commitment,
    )
    outcome = await decide(request, principal, command, enclosed=addressed.enclosed)
    if outcome.replayed:
        await refuse_other_address(request, principal.tenant_id, addressed.invitation_id, asked.email)
    return respond(outcome, 201)


def place(request: Request, tenant_id: UUID) -> tuple[UUID, int]:
    """A tenant and its partition."""
    return tenant_id, services(request).partition_of(tenant_id)


def addressed_to(request: Request, tenant_id: UUID, called: str, email: str) -> Addressed:
    """An invitation under the key of the request, to be sent by mail."""
    return services(request).inviter().address(tenant_id, called, idempotency_key(request), email)


async def refuse_other_address(request: Request, tenant_id: UUID, invitation_id: str, email: str) -> None:
    """The address is in no fingerprint; as long as it is in the vault, a key that was used for another is found so.

    Raises ``CommandKeyReused``.
    """
    invited = await people(request, tenant_id, [invitation_id])
    if invited and invited[invitation_id]["email"] != email:
        raise CommandKeyReused(conflicting_fields=["email"])


performs(
    "/v1/invitations",
    send_invitation,
    SendInvitation.command_name,
    documents.write(InvitePerson, frozenset(), examples.SEND_INVITATION[0], 201, examples.SEND_INVITATION[1]),
    status=201,
    router=router,
)
writes("/v1/invitations/{invitation_id}/withdraw", WithdrawInvitation, router=router)


@posts(
    "/v1/invitations/accept",
    Acceptance,
    examples.ACCEPT_INVITATION,
    403,
    409,
    429,
    action=AcceptInvitation.command_name,
    status=201,
    router=router,
)
async def accept_invitation(request: Request) -> Response:
    """Become a member by the link of an invitation.

    Whoever is not known yet gives a name and a password, becomes a user and is signed in. Whoever is known becomes a
    member and signs in as ever: a link in a mail is no password.
    """
    asked = await asked_for(request, Acceptance)
    tenant_id, invitation_id = await invited_by(request, asked.token)
    invited = await people(request, tenant_id, [invitation_id])
    if not invited:
        raise LinkNotValid()
    user_id, registered = await _user_behind(request, tenant_id, invitation_id, invited[invitation_id]["email"], asked)
    outcome = await accept(request, tenant_id, invitation_id, user_id)
    told = outcome.result | {"tenant_id": str(tenant_id), "signed_in": registered}
    answered = answer(told, 201)
    if (position := respond(outcome, 201).headers.get("felix-position")) is not None:
        answered.headers["Felix-Position"] = position
    if not registered:
        return answered
    token, session = await begin_session(services(request), user_id, "invitation", False, request)
    return carry(answered, token, session)


async def accept(request: Request, tenant_id: UUID, invitation_id: str, user_id: str) -> Outcome:
    """Make a user a member by an invitation to them."""
    invited = Invited(tenant_id, services(request).partition_of(tenant_id), invitation_id, "")
    return await services(request).performer.perform(*invited.acceptance(user_id, correlation_id(request)))


async def invited_by(request: Request, token: str) -> tuple[UUID, str]:
    """The tenant and the invitation behind a link. Raises ``LinkNotValid``."""
    async with services(request).reads.unbound() as tx:
        subject = await subject_of_link(tx, hash_token(token), "invitation", datetime.now(UTC))
    if subject is None:
        services(request).rate_limits.take_stranger(address_of(request))
        raise LinkNotValid()
    tenant_id, _, invitation_id = subject.split(":")
    return UUID(tenant_id), invitation_id


async def _user_behind(
    request: Request, tenant_id: UUID, invitation_id: str, email: str, asked: Acceptance
) -> tuple[str, bool]:
    """Who has an address, and whether they have just become known by it.

    The command follows from the invitation: whoever tries again after a crash is the same user, with the password that
    was given first, and signs in with that.
    """
    found = services(request)
    email_index = found.root_keys().index("email", email)
    async with found.reads.unbound() as tx:
        known = await tx.fetch_one("select user_id from felix.user_by_email_index(%s)", email_index)
    if known is not None:
        return known["user_id"], False
    if asked.name is None or asked.password is None:
        missing = [name for name in ("name", "password") if getattr(asked, name) is None]
        raise Invalid(
            "Nobody has this address yet: give a name and a password.",
            errors=[{"pointer": f"/{name}", "rule": "missing", "detail": "is needed"} for name in missing],
        )
    password_hash = await found.passwords.accept(asked.password, (email, asked.name))
    return await register(request, tenant_id, invitation_id, email, asked.name, password_hash)


async def register(
    request: Request, tenant_id: UUID, invitation_id: str, email: str, name: str | None, password_hash: str | None
) -> tuple[str, bool]:
    """Make known who is invited; who has the address then, and whether they have just become known by it."""
    found = services(request)
    invited = Invited(tenant_id, found.partition_of(tenant_id), invitation_id, email)
    outcome = await found.performer.perform(
        *invited.registration(found.vault(), found.root_keys(), name, password_hash, correlation_id(request))
    )
    if not outcome.accepted and isinstance(outcome.refusal, EmailIsTaken):
        return outcome.refusal.facts["user_id"], False
    return outcome.result["user_id"], not outcome.replayed


@reads(
    "/v1/invitations",
    examples.INVITATIONS,
    *CURSOR,
    documents.query("status", "Only invitations in this state.", type="string", enum=list(_STATES)),
    action="invitations.read",
    router=router,
)
async def list_invitations(request: Request) -> Response:
    """Whom the tenant has invited, as what, and what became of it; addresses as long as they are needed."""
    tenant_id, partition = await place_of(request, "invitations.read")
    await fresh(request, tenant_id, partition, "members")
    cursor, limit = request.query_params.get("cursor", ""), integer(request, "limit", 100, 1, MAX_PAGE)
    status = chosen(request, "status", *_STATES)
    async with services(request).reads.tenant(tenant_id, partition) as tx:
        rows = await members.invitations(tx, cursor, limit, status=status)
    known = await people(request, tenant_id, [row["invitation_id"] for row in rows if row["status"] == "sent"])
    known |= await people(request, PLATFORM, [row["user_id"] for row in rows if row["user_id"]])
    shown = [_named(row, known.get(row["user_id"] or row["invitation_id"])) for row in rows]
    return answer(paged(shown, limit, "invitation_id"))


@reads("/v1/members", examples.MEMBERS, *CURSOR, action="members.read", router=router)
async def list_members(request: Request) -> Response:
    """The people who are members of the tenant, and as what."""
    tenant_id, partition = await place_of(request, "members.read")
    await fresh(request, tenant_id, partition, "members")
    cursor, limit = request.query_params.get("cursor", ""), integer(request, "limit", 100, 1, MAX_PAGE)
    async with services(request).reads.tenant(tenant_id, partition) as tx:
        rows = await members.members(tx, cursor, limit, at=datetime.now(UTC))
    known = await people(request, PLATFORM, [row["user_id"] for row in rows])
    return answer(paged([_named(row, known.get(row["user_id"])) for row in rows], limit, "user_id"))


writes("/v1/members/{user_id}/role", ChangeRole, router=router)
writes("/v1/members/{user_id}/remove", EndMembership, router=router)


@reads(
    "/v1/users",
    examples.USERS,
    *CURSOR,
    action="users.read",
    router=router,
    min_position=documents.NEVER_BEHIND,
    problems=(403, 422),
)
async def list_users(request: Request) -> Response:
    """Everybody who is known to this Felix, and what they are where."""
    await allowed(request, "users.read")
    cursor, limit = request.query_params.get("cursor", ""), integer(request, "limit", 100, 1, MAX_PAGE)
    async with services(request).reads.founder() as founder:
        rows = await members.users(founder, cursor, limit)
    known = await people(request, PLATFORM, [row["user_id"] for row in rows])
    return answer(paged([_named(row, known.get(row["user_id"])) for row in rows], limit, "user_id"))


writes("/v1/users/{user_id}/disable", DisableUser, router=router)
writes("/v1/users/{user_id}/enable", EnableUser, router=router)


@reads(
    "/v1/me",
    examples.ME,
    action="me.read",
    router=router,
    min_position=documents.NEVER_BEHIND,
    problems=(),
)
async def show_me(request: Request) -> Response:
    """Who the caller is, how they came in, and what they are in which tenants."""
    caller = await caller_of(request)
    is_person = caller.method != "api_key"
    known = await people(request, PLATFORM, [caller.id] if is_person else [])
    row: dict[str, Any] = {
        "id": caller.id,
        "kind": "person" if is_person else "api_key",
        "method": caller.method,
        "second_factor": caller.second_factor,
        "tenants": await _tenants_of(request, caller),
    }
    row |= {name: at for name in ("stepped_up_at", "expires_at") if (at := getattr(caller, name)) is not None}
    return answer(_named(row, known.get(caller.id)))


async def _tenants_of(request: Request, caller: Caller) -> list[dict[str, Any]]:
    """What the caller is where, now. A key knows its tenant by the id alone, which is then asked for its name."""
    found, now, told = services(request), datetime.now(UTC), []
    for access in caller.accesses:
        if access.expires_at is not None and now >= access.expires_at:
            continue
        slug = access.slug
        if not slug:
            async with found.reads.tenant(*place(request, access.tenant_id)) as tx:
                slug, _ = await members.names(tx)
        told.append(
            {"tenant_id": str(access.tenant_id), "tenant": slug, "role": access.role, "expires_at": access.expires_at}
        )
    return told
