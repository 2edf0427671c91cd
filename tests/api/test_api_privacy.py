"""People see what is known about them and are erased for good; the log goes on to be what it was."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID, uuid4

import pytest
from felix_world import PARTITIONS, Caller, World, new_key

from felix import bootstrap
from felix.api.auth import SESSION_COOKIE
from felix.application.erasure import KEPT_OF_USERS, OF_USERS, keep
from felix.application.performer import new_context
from felix.application.unit_of_work import UnitOfWork, handles
from felix.domain.base import Command
from felix.domain.errors import Refused
from felix.domain.identity.roles import PLATFORM
from felix.domain.identity.user import EraseUser, RegisterUser
from felix.eventstore.erasure_key import ErasureKeyFile
from felix.eventstore.sign_in import hash_token
from felix.eventstore.vault import Vault, commitment

WHY = {"reason": "They asked for it."}
PAGE = Path(__file__).parents[2] / "docs" / "privacy.md"
#: Tables of subjects of every kind, which the vault itself clears.
THE_VAULT = {"felix.vault", "felix.subject_keys"}


class KeepCustomer(Command):
    """Keep what is personal about a customer, as an app of a client does."""

    command_name: ClassVar[str] = "test.keep_customer"
    subject_id: str


@handles(KeepCustomer)
def keep_customer(command: KeepCustomer, unit: UnitOfWork) -> dict[str, Any]:
    """Beside an event there would be one of the app."""
    keep(unit, command.subject_id, unit.context.enclosed["customer"])
    return {"subject_id": command.subject_id}


@dataclass(frozen=True)
class Office:
    """What a test does behind the doors."""

    world: World

    @property
    def vault(self) -> Vault:
        found: Vault = self.world.app.state.services.vault()
        return found

    def perform(self, tenant_id: UUID, command: Command, **enclosed: Any) -> dict[str, Any]:
        context = new_context(tenant_id, new_key(), "user:test", enclosed=enclosed)
        performer = self.world.app.state.services.performer
        return dict(performer.perform_blocking(command, context).result)

    def register(self, email: str, name: str) -> str:
        person = self.vault.enclose(email=email, name=name)
        command = RegisterUser(email_commitment=person.commitments["email"], name_commitment=person.commitments["name"])
        told = self.perform(PLATFORM, command, person=person, email_index=secrets.token_bytes(32))
        user_id: str = told["user_id"]
        return user_id

    def sign_in(self, user_id: str) -> Caller:
        """A session of a user who is an owner of the bakery."""
        now, token = datetime.now(UTC), secrets.token_urlsafe(32)
        with bootstrap.connect_owner(self.world.endpoints) as owner, owner.transaction():
            owner.execute(
                "insert into felix.memberships (tenant_id, user_id, role, granted_at) values (%s, %s, %s, %s)",
                (self.world.bakery.tenant_id, user_id, "client_owner", now),
            )
            owner.execute(
                "insert into felix.sessions (session_id, token_hash, user_id, method, second_factor, began_at,"
                " last_seen_at, expires_at, device) values (%s, %s, %s, 'password', false, %s, %s, %s, 'Firefox')",
                (f"sess_{uuid4().hex}", hash_token(token), user_id, now, now, now + timedelta(hours=1)),
            )
        headers = {"Cookie": f"{SESSION_COOKIE}={token}", "Sec-Fetch-Site": "same-origin"}
        return Caller(self.world.client, headers, self.world.bakery.tenant_id, user_id)

    def keep(self, tenant: Caller, subject_id: str, **values: str) -> dict[str, str]:
        customer = self.vault.enclose(**values)
        self.perform(UUID(tenant.tenant_id), KeepCustomer(subject_id=subject_id), customer=customer)
        return customer.commitments

    def rows(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        with bootstrap.connect_owner(self.world.endpoints) as owner:
            return owner.execute(query.encode(), parameters).fetchall()


@pytest.fixture
def office(world: World) -> Iterator[Office]:
    yield Office(world)


def test_a_person_sees_what_is_known_and_what_proves_it(office: Office) -> None:
    user_id = office.register("ada@example.com", "Ada Lovelace")
    ada = office.sign_in(user_id)
    told = ada.seen("/v1/me/data")
    assert told["user_id"] == user_id and told["status"] == "active"
    assert [membership["role"] for membership in told["memberships"]] == ["client_owner"]
    assert [session["device"] for session in told["sessions"]] == ["Firefox"]
    assert {name: each["value"] for name, each in told["personal"].items()} == {
        "email": "ada@example.com", "name": "Ada Lovelace",
    }  # fmt: skip
    ((state,),) = office.rows("select state from felix.events where stream like %s", f"%:user:{user_id}")
    for each in told["personal"].values():
        assert commitment(bytes.fromhex(each["salt"]), each["value"]) == each["commitment"]
        assert each["commitment"].encode() in bytes(state)
        assert each["value"].encode() not in bytes(state)


def test_a_key_and_a_stranger_see_nothing(world: World) -> None:
    assert world.bakery.get("/v1/me/data").status_code == 403
    assert world.bakery.without_key().get("/v1/me/data").status_code == 401


def test_an_erased_user_is_known_to_nobody_and_the_log_is_as_it_was(world: World, office: Office) -> None:
    user_id = office.register("grace@example.com", "Grace Hopper")
    grace = office.sign_in(user_id)
    assert grace.get("/v1/me/data").status_code == 200
    before = office.rows("select state from felix.events where stream like %s order by version", f"%:user:{user_id}")
    told = world.founder.done(f"/v1/users/{user_id}/erase", WHY)
    assert told["status"] == "erased"
    assert {name: rows for name, rows in told["erased"].items() if rows} == {"felix.vault": 2, "felix.sessions": 1}
    world.app.state.services.authenticator.forget()
    assert grace.get("/v1/me/data").status_code == 401
    for table, column in [("felix.vault", "subject_id"), ("felix.subject_keys", "subject_id")] + [
        (each.table, each.column) for each in OF_USERS
    ]:
        assert office.rows(f"select count(*) from {table} where {column} = %s", user_id) == [(0,)], table
    assert office.rows("select status, email_index from felix.users where user_id = %s", user_id) == [("erased", None)]
    after = office.rows("select state from felix.events where stream like %s order by version", f"%:user:{user_id}")
    assert after[: len(before)] == before and len(after) == len(before) + 1
    again = world.founder.done(f"/v1/users/{user_id}/erase", WHY)
    assert not any(again["erased"].values())
    report = bootstrap.verify_ledger(world.endpoints, partitions=PARTITIONS, told=lambda done, total: None)
    assert not [each for each in report.violations if each.check != "balances"], report.violations


def test_only_a_founder_who_has_proved_who_they_are_erases_a_user(world: World, office: Office) -> None:
    user_id = office.register("alan@example.com", "Alan Turing")
    path = f"/v1/users/{user_id}/erase"
    for caller in (world.bakery, world.person("client_owner", stepped_up=True), world.person("founder_readonly")):
        assert caller.post(path, WHY).status_code == 403
    assert world.person("founder").post(path, WHY).json()["code"] == "step_up_needed"
    assert office.rows("select status from felix.users where user_id = %s", user_id) == [("active",)]
    assert world.person("founder", stepped_up=True).post(path, WHY).status_code == 200
    assert world.founder.post(f"/v1/users/usr_{'0' * 32}/erase", WHY).status_code == 404
    assert world.founder.post(path, {}).status_code == 422


def test_nobody_erases_themselves(world: World, office: Office) -> None:
    user_id = office.register("mary@example.com", "Mary Founder")
    context = new_context(PLATFORM, new_key(), f"founder:{user_id}")
    outcome = world.app.state.services.performer.perform_blocking(EraseUser(user_id=user_id, **WHY), context)
    assert not outcome.accepted and outcome.refusal.code == "own_account"


def test_an_owner_erases_a_customer_of_the_client_and_of_nobody_else(world: World, office: Office) -> None:
    subject = f"cust_{uuid4().hex}"
    for tenant in (world.bakery, world.garage):
        office.keep(tenant, subject, email="blum@example.com", phone="+49 30 1234")
    owner = world.person("client_owner", stepped_up=True)
    told = owner.done(f"/v1/subjects/{subject}/erase", WHY, key="erase-blum")
    assert told == {"subject_id": subject, "fields": ["email", "phone"]}
    assert owner.done(f"/v1/subjects/{subject}/erase", WHY) == told, "what is gone stays gone"
    left = office.rows("select tenant_id, field from felix.vault where subject_id = %s order by field", subject)
    assert left == [(UUID(world.garage.tenant_id), "email"), (UUID(world.garage.tenant_id), "phone")]
    ((partition,),) = office.rows(
        "select partition from felix.events where type = 'privacy.personal_data_erased' and tenant_id = %s",
        world.bakery.tenant_id,
    )
    assert partition == world.app.state.services.partition_of(UUID(world.bakery.tenant_id))
    with pytest.raises(Refused) as refused:
        office.keep(world.bakery, subject, email="again@example.com")
    assert refused.value.code == "subject_is_erased"


def test_who_is_not_there_or_of_another_client_can_not_be_erased(world: World, office: Office) -> None:
    subject = f"cust_{uuid4().hex}"
    office.keep(world.garage, subject, name="A garage's customer")
    owner = world.person("client_owner", stepped_up=True)
    answers = [
        owner.post(f"/v1/subjects/{each}/erase", WHY) for each in (subject, f"cust_{uuid4().hex}", "Ada@b.c", "x")
    ]
    assert [answered.status_code for answered in answers] == [404] * 4
    assert {answered.json()["code"] for answered in answers} == {"not_found"}
    assert world.person("client_owner").post(f"/v1/subjects/{subject}/erase", WHY).json()["code"] == "step_up_needed"
    assert world.person("client_member", stepped_up=True).post(f"/v1/subjects/{subject}/erase", WHY).status_code == 403
    assert world.bakery.post(f"/v1/subjects/{subject}/erase", WHY).status_code == 403
    user_id = office.register("katherine@example.com", "Katherine")
    platform = {"Felix_Tenant": "felix-platform"}
    assert world.founder.post(f"/v1/subjects/{user_id}/erase", WHY, **platform).status_code == 404


def test_a_value_is_added_to_a_customer_under_the_same_key(world: World, office: Office) -> None:
    subject = f"cust_{uuid4().hex}"
    office.keep(world.bakery, subject, email="first@example.com")
    office.keep(world.bakery, subject, email="second@example.com", name="Second")
    ((keys,),) = office.rows("select count(*) from felix.subject_keys where subject_id = %s", subject)
    assert keys == 1
    assert office.rows("select field from felix.vault where subject_id = %s order by field", subject) == [
        ("email",), ("name",),
    ]  # fmt: skip


def test_whom_the_erasure_key_has_forgotten_is_erased_again_after_a_restore(office: Office, tmp_path: Path) -> None:
    endpoints, bakery = office.world.endpoints, office.world.bakery
    stays, goes = office.register("stays@example.com", "Stays"), office.register("goes@example.com", "Goes")
    customer = f"cust_{uuid4().hex}"
    office.keep(bakery, customer, email="customer@example.com")
    key = ErasureKeyFile(tmp_path / "erasure-key")
    assert bootstrap.erase_again(endpoints, key, partitions=PARTITIONS) == 0, (
        "without a key nobody is known to be erased"
    )
    key.make()
    assert bootstrap.erase_again(endpoints, key, partitions=PARTITIONS) == 0
    key.forget([(str(PLATFORM), goes), (bakery.tenant_id, customer)])
    assert bootstrap.erase_again(endpoints, key, partitions=PARTITIONS) == 2
    assert bootstrap.erase_again(endpoints, key, partitions=PARTITIONS) == 0
    left = office.rows(
        "select distinct subject_id from felix.vault where subject_id = any(%s)", [stays, goes, customer]
    )
    assert left == [(stays,)]
    assert office.rows("select status from felix.users where user_id = %s", goes) == [("erased",)]


def test_every_table_that_names_a_person_is_cleared_or_said_to_stay(office: Office) -> None:
    named = office.rows(
        "select distinct 'felix.' || c.relname from pg_attribute a join pg_class c on c.oid = a.attrelid"
        " join pg_namespace n on n.oid = c.relnamespace where n.nspname = 'felix' and c.relkind in ('r', 'p')"
        " and a.attname in ('user_id', 'subject', 'subject_id', 'person_id', 'email', 'email_index')"
        " and not a.attisdropped"
    )
    known = {each.table for each in OF_USERS} | KEPT_OF_USERS.keys() | THE_VAULT
    assert {table for (table,) in named} == known
    assert {table for table in known if f"`{table}`" not in PAGE.read_text()} == set(), "docs/privacy.md names them all"
