"""Users, memberships and invitations with the tables that the doors ask, on a real Postgres."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from offices import ACME, GLOBEX, Office, new_key

from felix.application.identity import Inviter, user_of_invitation
from felix.application.outcome import Outcome
from felix.application.performer import new_context
from felix.domain.base import Command
from felix.domain.errors import NotFound
from felix.domain.identity.invitation import (
    AcceptInvitation,
    ExpireInvitation,
    InvitationIsOver,
    SendInvitation,
    WithdrawInvitation,
)
from felix.domain.identity.membership import AlreadyMember, ChangeRole, EndMembership, LastOwner
from felix.domain.identity.roles import PLATFORM
from felix.domain.identity.user import DisableUser, EmailIsTaken, EnableUser, EraseUser, RegisterUser
from felix.domain.tenancy.tenant import FIRST_ACCOUNT, OnboardTenant
from felix.eventstore.sealing import RootKeys, new_root_key
from felix.eventstore.vault import Vault

PASSWORD_HASH = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaGhhc2g"
WHY = "because"


@dataclass
class Registry:
    """Where people are registered and invited, without a door."""

    office: Office
    keys: RootKeys = field(default_factory=lambda: RootKeys([new_root_key()]))

    @property
    def inviter(self) -> Inviter:
        return Inviter(Vault(self.keys), self.keys, "https://felix.example")

    def do(self, command: Command, tenant: UUID = ACME, key: str | None = None, **enclosed: Any) -> Outcome:
        """Perform a command and give its outcome."""
        context = new_context(tenant, key or new_key(), "founder:a", enclosed=enclosed)
        return self.office.performer.perform_blocking(command, context, timeout_s=30)

    def send(self, email: str, role: Any = "client_member", tenant: UUID = ACME, key: str | None = None) -> Outcome:
        """Invite somebody."""
        made = self.inviter.address(tenant, "Acme", key := key or new_key(), email)
        command = SendInvitation(role=role, invitation_id=made.invitation_id, email_commitment=made.email_commitment)
        return self.do(command, tenant, key, **made.enclosed)

    def register(self, email: str, user_id: str | None = None, key: str | None = None, **named: Any) -> Outcome:
        """Make a user."""
        person = Vault(self.keys).enclose(email=email, name="Ada")
        command = RegisterUser(
            user_id=user_id,
            email_commitment=person.commitments["email"],
            name_commitment=person.commitments["name"],
            **named,
        )
        return self.do(
            command,
            PLATFORM,
            key,
            person=person,
            email_index=self.keys.index("email", email),
            password_hash=PASSWORD_HASH,
        )

    def join(self, email: str, role: Any = "client_member", tenant: UUID = ACME) -> str:
        """Somebody new, who is a member."""
        invitation_id = self.send(email, role, tenant).result["invitation_id"]
        user_id: str = self.register(email, user_of_invitation(invitation_id)).result["user_id"]
        self.do(AcceptInvitation(invitation_id=invitation_id, user_id=user_id), tenant).result  # noqa: B018
        return user_id

    def roles(self, tenant: UUID = ACME) -> dict[str, str]:
        """What the doors know of a tenant's members."""
        query = "select user_id, role from felix.memberships where tenant_id = %s"
        return dict(self.office.rows(query, tenant))

    def count(self, table: str, where: str = "true") -> int:
        """Rows of a table."""
        ((found,),) = self.office.rows(f"select count(*) from {table} where {where}")
        return int(found)


@pytest.fixture
def registry(office: Office) -> Iterator[Registry]:
    yield Registry(office)


def test_a_user_is_registered_with_all_that_is_kept_beside(registry: Registry) -> None:
    user_id = registry.register("ada@example.com").result["user_id"]
    assert registry.office.rows("select user_id, email_index, status from felix.users") == [
        (user_id, registry.keys.index("email", "ada@example.com"), "active")
    ]
    assert registry.count("felix.vault", f"subject_id = '{user_id}' and tenant_id = '{PLATFORM}'") == 2
    assert registry.office.rows("select user_id, password_hash from felix.passwords") == [(user_id, PASSWORD_HASH)]
    written = registry.office.rows(
        "select state, command_key from felix.events union all select outcome, 'x' from felix.commands"
    )
    assert not [row for row in written if b"ada@" in bytes(row[0]) or b"Ada" in bytes(row[0])]


def test_nobody_registers_with_an_address_that_is_taken(registry: Registry) -> None:
    first = registry.register("ada@example.com").result["user_id"]
    refused = registry.register("ada@example.com")
    assert isinstance(refused.refusal, EmailIsTaken) and refused.refusal.facts["user_id"] == first
    assert registry.count("felix.users") == 1


def test_a_registration_that_is_retried_is_the_same_user_though_salts_differ(registry: Registry) -> None:
    first, again = (registry.register("ada@example.com", key="the-key") for _ in range(2))
    assert again.replayed and again.result == first.result
    assert registry.count("felix.users") == 1 and registry.count("felix.vault") == 2


def test_an_invitation_keeps_address_link_and_mail_and_forgets_them_when_it_is_accepted(registry: Registry) -> None:
    sent = registry.send("ada@example.com", "client_owner").result
    subject = f"{ACME}:invitation:{sent['invitation_id']}"
    assert registry.office.rows("select subject, purpose from felix.links") == [(subject, "invitation")]
    ((kind, payload),) = registry.office.rows("select kind, payload from felix.jobs")
    assert kind == "mail.send" and payload.keys() == {"sealed"}
    assert registry.count("felix.vault") == 1
    user_id = registry.register("ada@example.com").result["user_id"]
    accept = AcceptInvitation(invitation_id=sent["invitation_id"], user_id=user_id)
    assert registry.do(accept).result["role"] == "client_owner"
    assert registry.roles() == {user_id: "client_owner"}
    assert registry.count("felix.vault", f"tenant_id = '{ACME}'") == 0
    assert registry.count("felix.subject_keys", f"tenant_id = '{ACME}'") == 0
    assert registry.count("felix.links", "used_at is null") == 0
    events = registry.count("felix.events")
    assert registry.do(accept).accepted and registry.count("felix.events") == events


def test_an_invitation_that_is_retried_is_one(registry: Registry) -> None:
    first, again = (registry.send("ada@example.com", key="the-key") for _ in range(2))
    assert again.replayed and again.body == first.body
    assert (registry.count("felix.links"), registry.count("felix.jobs"), registry.count("felix.vault")) == (1, 1, 1)


@pytest.mark.parametrize("how", ["withdrawn", "expired"])
def test_an_invitation_that_is_over_opens_no_door_and_is_forgotten(how: str, registry: Registry) -> None:
    invitation_id = registry.send("ada@example.com").result["invitation_id"]
    if how == "withdrawn":
        registry.do(WithdrawInvitation(invitation_id=invitation_id)).result  # noqa: B018
    else:
        context = new_context(ACME, new_key(), "policy:p")
        context.at = datetime.now(UTC) + timedelta(days=7)
        ended = registry.office.performer.perform_blocking(ExpireInvitation(invitation_id=invitation_id), context)
        assert ended.result["status"] == "expired"
    assert registry.count("felix.links", "used_at is null") == registry.count("felix.vault") == 0
    user_id = registry.register("ada@example.com").result["user_id"]
    refused = registry.do(AcceptInvitation(invitation_id=invitation_id, user_id=user_id))
    assert isinstance(refused.refusal, InvitationIsOver)
    assert registry.roles() == {}


def test_who_is_a_member_is_not_invited_again_until_the_membership_has_ended(registry: Registry) -> None:
    owner, user_id = registry.join("olga@example.com", "client_owner"), registry.join("ada@example.com")
    refused = registry.send("ada@example.com", "client_owner")
    assert isinstance(refused.refusal, AlreadyMember)
    registry.do(EndMembership(user_id=user_id)).result  # noqa: B018
    assert registry.roles() == {owner: "client_owner"}
    again = registry.send("ada@example.com", "client_approver").result["invitation_id"]
    registry.do(AcceptInvitation(invitation_id=again, user_id=user_id)).result  # noqa: B018
    assert registry.roles()[user_id] == "client_approver"


def test_two_invitations_make_one_membership(registry: Registry) -> None:
    first, second = (registry.send("ada@example.com").result["invitation_id"] for _ in range(2))
    user_id = registry.register("ada@example.com").result["user_id"]
    registry.do(AcceptInvitation(invitation_id=first, user_id=user_id)).result  # noqa: B018
    refused = registry.do(AcceptInvitation(invitation_id=second, user_id=user_id))
    assert isinstance(refused.refusal, AlreadyMember)
    assert registry.count("felix.links", "used_at is null") == 1, "the second can be withdrawn"


def test_of_two_owners_one_may_go_and_the_other_stays(registry: Registry) -> None:
    first = registry.join("first@example.com", "client_owner")
    second = registry.join("second@example.com", "client_owner")
    registry.join("elsewhere@example.com", "client_owner", GLOBEX)
    less = {"role": "client_member"}
    assert registry.do(ChangeRole(user_id=first, **less)).accepted
    assert isinstance(registry.do(ChangeRole(user_id=second, **less)).refusal, LastOwner)
    assert isinstance(registry.do(EndMembership(user_id=second)).refusal, LastOwner)
    assert registry.roles() == {first: "client_member", second: "client_owner"}


def test_two_owners_who_remove_each_other_at_once_do_not_both_succeed(registry: Registry) -> None:
    owners = [registry.join(f"owner-{number}@example.com", "client_owner") for number in range(2)]
    outcomes = registry.office.at_once([EndMembership(user_id=owner) for owner in owners])
    assert sorted(outcome.accepted for outcome in outcomes) == [False, True]
    assert len(registry.roles()) == 1


def test_members_of_other_tenants_do_not_exist(registry: Registry) -> None:
    stranger = registry.join("ada@example.com", tenant=GLOBEX)
    nobody = "usr_" + "0" * 32
    for command in (ChangeRole(user_id=stranger, role="client_owner"), EndMembership(user_id=stranger)):
        foreign = registry.do(command)
        unknown = registry.do(command.model_copy(update={"user_id": nobody}))
        assert isinstance(foreign.refusal, NotFound)
        assert foreign.body.replace(stranger.encode(), nobody.encode()) == unknown.body


def session_of(registry: Registry, user_id: str, number: int) -> str:
    """A session, begun as doors begin them."""
    from felix.application.sign_in import Shown
    from felix.domain.identity.session import BeginSession

    shown = Shown(token_hash=bytes([number]) * 32)
    command = BeginSession(user_id=user_id, method="password")
    session_id: str = registry.do(command, PLATFORM, **shown.enclosed()).result["session_id"]
    return session_id


def test_disabling_ends_every_session_in_the_same_transaction(registry: Registry) -> None:
    user_id, other = registry.join("ada@example.com"), registry.join("ben@example.com")
    for number, whose in enumerate((user_id, user_id, other)):
        session_of(registry, whose, number)
    disabled = registry.do(DisableUser(user_id=user_id, reason=WHY), PLATFORM)
    assert disabled.result == {"user_id": user_id, "status": "disabled"}
    assert registry.count("felix.sessions", "ended_at is null") == 1
    first, last = disabled.first_position, disabled.last_position
    types = registry.office.rows(
        "select type from felix.events where partition = 0 and position between %s and %s order by 1", first, last
    )
    assert types == [("identity.session_ended",)] * 2 + [("identity.user_disabled",)]
    assert registry.do(EnableUser(user_id=user_id, reason=WHY), PLATFORM).result["status"] == "active"
    assert registry.count("felix.sessions", "ended_at is null") == 1, "sessions that ended stay so"


def test_a_role_that_changes_ends_the_sessions_and_one_that_stays_does_not(registry: Registry) -> None:
    registry.join("owner@example.com", "client_owner")
    user_id = registry.join("ada@example.com")
    session_of(registry, user_id, 1)
    registry.do(ChangeRole(user_id=user_id, role="client_member")).result  # noqa: B018
    assert registry.count("felix.sessions", "ended_at is null") == 1
    registry.do(ChangeRole(user_id=user_id, role="client_approver")).result  # noqa: B018
    assert registry.count("felix.sessions", "ended_at is null") == 0


def test_an_erased_user_leaves_an_address_that_is_free_and_nothing_else(registry: Registry) -> None:
    user_id = registry.join("ada@example.com")
    erased = registry.do(EraseUser(user_id=user_id, reason=WHY), PLATFORM).result
    assert erased["status"] == "erased" and erased["erased"]["felix.vault"] == 2
    assert registry.office.rows("select status, email_index from felix.users") == [("erased", None)]
    assert registry.count("felix.vault") == registry.count("felix.passwords") == 0
    assert registry.do(EraseUser(user_id=user_id, reason=WHY), PLATFORM).accepted
    assert registry.register("ada@example.com").result["user_id"] != user_id


def test_a_client_comes_on_board_with_all_that_it_begins_with(registry: Registry) -> None:
    made = registry.inviter.address(ACME, "Acme", "onboard", "owner@example.com")
    command = OnboardTenant(
        slug="acme",
        name="Acme",
        welcome_mtok=250_000,
        modules=["order_sync", "inventory", "order_sync"],
        invitation_id=made.invitation_id,
        email_commitment=made.email_commitment,
    )
    told = registry.do(command, ACME, "onboard", **made.enclosed)
    result = told.result
    assert result["modules"] == ["inventory", "order_sync"]
    assert result["invitation_id"] == made.invitation_id
    assert result["balance"]["available_mtok"] == 250_000
    account = registry.office.replay(result["account_id"])
    assert account.name == FIRST_ACCOUNT
    types = registry.office.rows(
        "select type from felix.events where partition = 0 and position between %s and %s order by position",
        told.first_position, told.last_position,
    )  # fmt: skip
    assert [name for (name,) in types] == [
        "tenancy.tenant_onboarded", "ledger.token_account_opened", "ledger.tokens_granted", "members.invitation_sent"
    ]  # fmt: skip
    for key in ("onboard", "another-key"):
        again = registry.do(command, ACME, key, **registry.inviter.address(ACME, "Acme", key, "x@example.com").enclosed)
        assert again.result["tenant_id"] == str(ACME)
    assert registry.count("felix.events") == 4 and registry.count("felix.links") == 1


def test_a_client_of_a_name_alone_begins_with_nothing(registry: Registry) -> None:
    told = registry.do(OnboardTenant(slug="acme", name="Acme"))
    assert told.result == {"tenant_id": str(ACME), "slug": "acme", "name": "Acme", "partition": 0, "modules": []}
    assert told.first_position == told.last_position


def test_what_makes_an_onboarding_fail_makes_all_of_it_fail(registry: Registry) -> None:
    registry.join("owner@example.com", "client_owner")
    events = registry.count("felix.events")
    made = registry.inviter.address(ACME, "Acme", "onboard", "owner@example.com")
    command = OnboardTenant(
        slug="acme", name="Acme", invitation_id=made.invitation_id, email_commitment=made.email_commitment
    )
    assert isinstance(registry.do(command, ACME, "onboard", **made.enclosed).refusal, AlreadyMember)
    assert registry.count("felix.events") == events
