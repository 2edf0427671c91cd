"""Handlers for people: who is known, who is invited, and who is a member of what.

What is personal or secret travels enclosed: ``email_index`` (what the address is found by), ``person`` (what goes into
the vault), ``password_hash``, ``token_hash`` (of an invitation's link) and ``post`` (the mail that carries it).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid5

from felix.application.erasure import forget_user, keep, what_is_kept
from felix.application.jobs.sign_in import mail
from felix.application.performer import new_context
from felix.application.post import Letter, link_url
from felix.application.sign_in import end_sessions
from felix.application.unit_of_work import UnitOfWork, handles
from felix.domain.base import CommandContext
from felix.domain.errors import NotFound
from felix.domain.identity.credentials import Credentials
from felix.domain.identity.invitation import (
    AcceptInvitation,
    ExpireInvitation,
    Invitation,
    SendInvitation,
    WithdrawInvitation,
)
from felix.domain.identity.membership import LEADING_ROLES, AlreadyMember, ChangeRole, EndMembership, Membership
from felix.domain.identity.roles import PLATFORM
from felix.domain.identity.user import DisableUser, EmailIsTaken, EnableUser, EraseUser, RegisterUser, User
from felix.eventstore import people, sign_in, vault
from felix.eventstore.jobs import asked_beside
from felix.eventstore.sealing import RootKeys
from felix.eventstore.vault import Vault

#: Ids of invitations follow from the tenant and the key of the command, so that a retry means the same one; ids of
#: users from the invitation that made them known.
_INVITATIONS = UUID("c3f9a6e2-6f0b-4a55-9d0e-2f1c7b8a4d31")
_USERS = UUID("3b0d5d3e-9c1f-4e6a-8b7d-5a2e4f6c8091")
_SUBJECT = "You are invited to {called}"
_TEXT = (
    "You are invited to become a member of {called} on Felix. With this link you accept, once and within seven days:"
    "\n\n{url}\n\nIf you do not know what this is about, do nothing.\n"
)


@dataclass(frozen=True, slots=True)
class Addressed:
    """An invitation on its way to an address: what its command says, and what travels with it."""

    invitation_id: str
    email_commitment: str
    enclosed: Mapping[str, Any] = field(repr=False)
    #: What the mail says to follow; for those who hand it over themselves.
    url: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Inviter:
    """Prepares invitations at a door, where secrets are made and addresses sealed."""

    vault: Vault
    root_keys: RootKeys
    #: Where people reach Felix.
    public_url: str

    def address(self, tenant_id: UUID, called: str, command_key: str, email: str, *, by_mail: bool = True) -> Addressed:
        """An invitation to a tenant, ``called`` so in the mail, to ``email``, normalised.

        Whoever does not have it mailed hands the address of the link over.
        """
        invitation_id = f"inv_{uuid5(_INVITATIONS, f'{tenant_id}/{command_key}').hex}"
        person, token = self.vault.enclose(email=email), sign_in.new_token()
        url = link_url(self.public_url, "invitation", token)
        letter = Letter(email, _SUBJECT.format(called=called), _TEXT.format(called=called, url=url), invitation_id)
        post = mail(self.root_keys, letter, invitation_id, "door", datetime.now(UTC))
        return Addressed(
            invitation_id,
            person.commitments["email"],
            {
                "email_index": self.root_keys.index("email", email),
                "person": person,
                "token_hash": sign_in.hash_token(token),
                "post": asked_beside(post) if by_mail else None,
            },
            url,
        )


@dataclass(frozen=True, slots=True)
class Invited:
    """Somebody who is at the door with an invitation."""

    tenant_id: UUID
    partition: int
    invitation_id: str
    email: str

    @property
    def user_id(self) -> str:
        """The id of whoever becomes known by accepting this."""
        return user_of_invitation(self.invitation_id)

    def registration(
        self,
        vault: Vault,
        root_keys: RootKeys,
        name: str | None,
        password_hash: str | None,
        correlation_id: UUID | None = None,
    ) -> tuple[RegisterUser, CommandContext]:
        """Make them known, under a key that follows from the invitation: who tries again is the same user."""
        personal = {"email": self.email} if name is None else {"email": self.email, "name": name}
        person = vault.enclose(**personal)
        command = RegisterUser(
            user_id=self.user_id,
            email_commitment=person.commitments["email"],
            name_commitment=person.commitments.get("name"),
            invitation_id=self.invitation_id,
            invited_to=str(self.tenant_id),
            partition=self.partition,
        )
        context = new_context(
            PLATFORM,
            f"register:{self.invitation_id}",
            f"user:{self.user_id}",
            correlation_id=correlation_id,
            enclosed={
                "email_index": root_keys.index("email", self.email),
                "person": person,
                "password_hash": password_hash,
            },
        )
        return command, context

    def acceptance(self, user_id: str, correlation_id: UUID | None = None) -> tuple[AcceptInvitation, CommandContext]:
        """Make a user a member by it."""
        context = new_context(
            self.tenant_id, f"accept:{self.invitation_id}", f"user:{user_id}", correlation_id=correlation_id
        )
        return AcceptInvitation(invitation_id=self.invitation_id, user_id=user_id), context


def user_of_invitation(invitation_id: str) -> str:
    """The id of whoever becomes known by accepting an invitation."""
    return f"usr_{uuid5(_USERS, invitation_id).hex}"


@handles(RegisterUser)
def register_user(command: RegisterUser, unit: UnitOfWork) -> dict[str, Any]:
    """Nobody shares an address: the table is asked in the transaction that writes to it, and there is one platform."""
    context = unit.context
    email_index = context.enclosed["email_index"]
    for (user_id,) in unit.ask_beside(people.user_behind(email_index)):
        raise EmailIsTaken(user_id=user_id)
    user = User.register(context, command)
    unit.add(user)
    unit.beside(people.keep_user(user.local_id, email_index, context.at))
    keep(unit, user.local_id, context.enclosed["person"])
    password_hash = context.enclosed.get("password_hash")
    if password_hash is not None:
        credentials = Credentials.open(context, user.local_id)
        credentials.set_password("invitation")
        unit.add(credentials)
        unit.beside(sign_in.password_kept(user.local_id, password_hash, context.at))
    return user.describe()


@handles(DisableUser)
def disable_user(command: DisableUser, unit: UnitOfWork) -> dict[str, Any]:
    """Every session ends with it."""
    user = unit.get(User, command.user_id)
    if user.disable(command):
        unit.beside(people.set_status(command.user_id, user.status))
        end_sessions(unit, command.user_id, "user_disabled")
    return user.describe()


@handles(EnableUser)
def enable_user(command: EnableUser, unit: UnitOfWork) -> dict[str, Any]:
    """The user signs in again; sessions that have ended stay so."""
    user = unit.get(User, command.user_id)
    if user.enable(command):
        unit.beside(people.set_status(command.user_id, user.status))
    return user.describe()


@handles(EraseUser)
def erase_user(command: EraseUser, unit: UnitOfWork) -> dict[str, Any]:
    """The address becomes free, every session ends, and everything that is kept beside the log goes."""
    user = unit.get(User, command.user_id)
    kept = what_is_kept(unit.ask_beside, unit.partition, unit.context.tenant_id, command.user_id)
    if user.erase(command):
        unit.beside(people.set_status(command.user_id, user.status))
        end_sessions(unit, command.user_id, "user_erased")
    forget_user(unit, command.user_id)
    return user.describe() | {"erased": kept}


@handles(SendInvitation)
def send_invitation(command: SendInvitation, unit: UnitOfWork) -> dict[str, Any]:
    """Refuse to invite who is a member already; send the link beside."""
    return invite(command, unit).describe()


def invite(command: SendInvitation, unit: UnitOfWork) -> Invitation:
    """Begin an invitation with all that is kept beside it. Raises ``AlreadyMember`` and what the domain refuses."""
    context = unit.context
    for (user_id,) in unit.ask_beside(people.user_behind(context.enclosed["email_index"])):
        membership = unit.find(Membership, user_id)
        if membership is not None and membership.is_in_force:
            raise AlreadyMember(user_id=user_id, role=membership.role)
    invitation = Invitation.send(context, command)
    unit.add(invitation)
    keep(unit, invitation.local_id, context.enclosed["person"])
    unit.beside(
        sign_in.link_made(
            context.enclosed["token_hash"], "invitation", invitation.id, context.at, invitation.expires_at
        )
    )
    if context.enclosed["post"] is not None:
        unit.beside(context.enclosed["post"])
    return invitation


@handles(AcceptInvitation)
def accept_invitation(command: AcceptInvitation, unit: UnitOfWork) -> dict[str, Any]:
    """The invitation is used up and the person a member, both or neither."""
    context = unit.context
    invitation = unit.get(Invitation, command.invitation_id)
    membership = unit.find(Membership, command.user_id)
    if invitation.accept(command):
        if membership is None:
            membership = Membership.grant(context, command.user_id, invitation.role, invitation.access_expires_at)
            unit.add(membership)
        else:
            membership.resume(invitation.role, invitation.access_expires_at)
        _keep_membership(unit, membership)
        _forget_invited(unit, invitation)
    return {"invitation_id": command.invitation_id, "user_id": command.user_id, "role": invitation.role}


@handles(WithdrawInvitation)
def withdraw_invitation(command: WithdrawInvitation, unit: UnitOfWork) -> dict[str, Any]:
    """The link is good for nothing any more."""
    invitation = unit.get(Invitation, command.invitation_id)
    if invitation.withdraw(command):
        _forget_invited(unit, invitation)
    return invitation.describe()


@handles(ExpireInvitation)
def expire_invitation(command: ExpireInvitation, unit: UnitOfWork) -> dict[str, Any]:
    """The address of somebody who did not want it is kept no longer."""
    invitation = unit.get(Invitation, command.invitation_id)
    if invitation.expire(command):
        _forget_invited(unit, invitation)
    return invitation.describe()


@handles(ChangeRole)
def change_role(command: ChangeRole, unit: UnitOfWork) -> dict[str, Any]:
    """Whoever may do something else from now on signs in anew."""
    membership = _member(unit, command.user_id)
    before = membership.version
    membership.change_role(command, others_lead=_others_lead(unit, command.user_id))
    if membership.version > before:
        _keep_membership(unit, membership)
        unit.beside(sign_in.sessions_over(command.user_id, unit.context.at))
    return membership.describe()


@handles(EndMembership)
def end_membership(command: EndMembership, unit: UnitOfWork) -> dict[str, Any]:
    """What the person is elsewhere stays as it is."""
    membership = _member(unit, command.user_id)
    membership.end(command, others_lead=_others_lead(unit, command.user_id))
    unit.beside(people.end_membership(unit.context.tenant_id, command.user_id))
    return membership.describe()


def _member(unit: UnitOfWork, user_id: str) -> Membership:
    """Whoever is no member here might as well not exist."""
    membership = unit.find(Membership, user_id)
    if membership is None:
        raise NotFound(f"There is no user {user_id}.", id=user_id)
    return membership


def _others_lead(unit: UnitOfWork, user_id: str) -> bool:
    return bool(unit.ask_beside(people.other_leaders(unit.context.tenant_id, user_id, sorted(LEADING_ROLES))))


def _keep_membership(unit: UnitOfWork, membership: Membership) -> None:
    context = unit.context
    assert membership.role is not None
    unit.beside(
        people.keep_membership(
            context.tenant_id, membership.local_id, membership.role, membership.expires_at, context.at
        )
    )


def _forget_invited(unit: UnitOfWork, invitation: Invitation) -> None:
    """An invitation that is over opens no door, and its address has served its purpose."""
    unit.beside(sign_in.links_void(invitation.id, unit.context.at))
    for write in vault.forget(unit.partition, unit.context.tenant_id, invitation.local_id):
        unit.beside(write)
