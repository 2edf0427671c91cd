"""A founder sees a client as one of its people does: reading only, for a while, and the client sees that."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from felix_world import Caller, World, make_app
from starlette.testclient import TestClient
from test_watched_reads import settings_of, until, written

from felix.api.auth import BELIEVED_FOR_S
from felix.domain.identity.access import ACTIONS
from felix.domain.identity.roles import CLIENT_ROLES, PLATFORM, Role

#: Ending one is not done with a client's eyes, whatever headers are sent along.
ENDING = {"access.end_impersonation"}
WHY = {"role": "client_owner", "reason": "They do not see their invoice."}


@pytest.fixture
def person(world: World, bakery: Caller) -> Caller:
    """A founder in a browser who has just proved again who they are."""
    return world.person("founder", bakery, stepped_up=True)


def begin(founder: Caller, **fields: Any) -> str:
    begun: str = founder.done("/v1/impersonations", WHY | fields)["impersonation_id"]
    return begun


def seeing_with(founder: Caller, impersonation_id: str) -> Caller:
    """The founder with a client's eyes."""
    return replace(founder, headers=founder.headers | {"Felix-Impersonation": impersonation_id})


@pytest.mark.parametrize("role", sorted(CLIENT_ROLES))
def test_a_founder_sees_what_a_role_sees_and_every_read_is_written_down(
    role: Role, person: Caller, world: World, bakery: Caller
) -> None:
    own = world.person(role, bakery)
    impersonation_id = begin(person, role=role)
    as_client = seeing_with(person, impersonation_id)
    for path in ("/v1/trial-balance", "/v1/access-log", "/v1/meters"):
        assert as_client.get(path).status_code == own.get(path).status_code, path
    entries = written(world, bakery, person.id)
    assert entries and {entry["actor"] for entry in entries} == {f"founder:{person.id}"}
    assert {entry["on_behalf_of"] for entry in entries} == {f"{role}:{impersonation_id}"}
    assert {entry["impersonation_id"] for entry in entries} == {impersonation_id}


def test_it_can_change_nothing_whatever_the_role_may(person: Caller, world: World, bakery: Caller) -> None:
    as_client = seeing_with(person, begin(person))
    opened = "/v1/events?limit=1000&type=ledger.token_account_opened"
    before = bakery.seen(opened)["data"]
    tried = 0
    for path, operations in world.app.openapi()["paths"].items():
        for method, operation in operations.items():
            action = ACTIONS[operation["x-felix-action"]]
            if not action.writes or action.place not in ("tenant", "platform") or action.name in ENDING:
                continue
            sent = as_client.headers | {"Idempotency-Key": f"as-somebody-{path}"}
            refused = world.client.request(method, re.sub(r"\{\w+\}", "x", path), json={"name": "x"}, headers=sent)
            told = (refused.status_code, refused.json()["code"])
            assert told == (403, "read_only_impersonation"), (path, refused.text)
            tried += 1
    assert tried > 30
    assert bakery.seen(opened)["data"] == before
    assert bakery.post("/v1/token-accounts", {"name": "x"}).status_code == 201


def test_the_client_is_told_while_it_lasts(person: Caller, world: World, bakery: Caller) -> None:
    member = world.person("client_member", bakery)
    begun = person.post("/v1/impersonations", WHY)
    impersonation_id = begun.json()["impersonation_id"]
    shown = member.get("/v1/impersonations?active=true", begun).json()["data"]
    (told,) = [row for row in shown if row["impersonation_id"] == impersonation_id]
    assert told["active"] and person.id in told["text"] and told["text"].endswith("They do not see their invoice.")
    ended = person.post(f"/v1/impersonations/{impersonation_id}/end")
    over = member.get("/v1/impersonations", ended).json()["data"]
    (told,) = [row for row in over if row["impersonation_id"] == impersonation_id]
    assert not told["active"] and told["ended_at"]
    assert impersonation_id not in {
        row["impersonation_id"] for row in member.seen("/v1/impersonations?active=true")["data"]
    }
    owner = world.person("client_owner", bakery)
    kinds = [row["kind"] for row in owner.seen(f"/v1/access-log?impersonation_id={impersonation_id}")["data"]]
    assert kinds == ["impersonation_ended", "impersonation_began"]


def test_only_a_founder_who_has_stepped_up_begins_one(world: World, bakery: Caller) -> None:
    for somebody, code in (
        (world.person("founder", bakery), "step_up_needed"),
        (world.person("founder_readonly", bakery, stepped_up=True), "forbidden"),
        (world.person("client_owner", bakery, stepped_up=True), "forbidden"),
        (world.person("auditor", bakery, stepped_up=True), "forbidden"),
        (bakery, "forbidden"),
    ):
        refused = somebody.post("/v1/impersonations", WHY)
        assert (refused.status_code, refused.json()["code"]) == (403, code)
    assert world.founder.post("/v1/impersonations", WHY).status_code == 201, "a founder's key gives a reason"


def test_nobody_else_can_use_it(person: Caller, world: World, bakery: Caller, garage: Caller) -> None:
    impersonation_id = begin(person)
    assert seeing_with(person, impersonation_id).get("/v1/trial-balance").status_code == 200
    others = {
        "another founder": world.person("founder", bakery, stepped_up=True),
        "the founder's key": world.founder,
        "a client": bakery,
        "an auditor": world.person("auditor", bakery),
        "the founder in another client": person.about(garage),
    }
    for who, caller in others.items():
        refused = seeing_with(caller, impersonation_id).get("/v1/trial-balance")
        assert (refused.status_code, refused.json()["code"]) == (403, "not_impersonating"), who


@pytest.mark.parametrize("given", ["", "x", "imp_", f"imp_{'0' * 32}", f"imp_{'0' * 31}\u0663", "imp_' or true --"])
def test_what_is_no_impersonation_opens_nothing(given: str, person: Caller, world: World, bakery: Caller) -> None:
    sent = {**person.headers, "Felix-Impersonation": given.encode()}
    refused = world.client.get("/v1/trial-balance", headers=sent)  # type: ignore[arg-type]
    assert (refused.status_code, refused.json()["code"]) == (403, "not_impersonating")


def test_it_ends_when_it_is_ended_on_every_process(person: Caller, world: World) -> None:
    with TestClient(make_app(settings_of(world))) as other_process:
        impersonation_id = begin(person)
        here = seeing_with(person, impersonation_id)
        elsewhere = replace(here, client=other_process)
        assert here.get("/v1/trial-balance").status_code == elsewhere.get("/v1/trial-balance").status_code == 200
        for _ in range(2):
            assert (
                seeing_with(person, impersonation_id).post(f"/v1/impersonations/{impersonation_id}/end").status_code
                == 200
            )
        ended_at = time.monotonic()
        assert here.get("/v1/trial-balance").status_code == 403
        until(lambda: elsewhere.get("/v1/trial-balance").status_code == 403)
        assert time.monotonic() - ended_at < BELIEVED_FOR_S + 1


def test_it_ends_at_its_time(person: Caller, world: World) -> None:
    impersonation_id = begin(person, minutes=1)
    as_client = seeing_with(person, impersonation_id)
    with psycopg.connect(world.endpoints.database_url) as connection:
        ends_at = datetime.now(UTC) + timedelta(seconds=0.5)
        connection.execute(
            "update felix.impersonations set expires_at = %s where impersonation_id = %s", (ends_at, impersonation_id)
        )
    assert as_client.get("/v1/trial-balance").status_code == 200
    while datetime.now(UTC) < ends_at:
        time.sleep(0.01)
    assert as_client.get("/v1/trial-balance").status_code == 403


def test_it_ends_with_the_session_that_began_it(person: Caller, world: World) -> None:
    as_client = seeing_with(person, begin(person))
    assert as_client.get("/v1/trial-balance").status_code == 200
    with psycopg.connect(world.endpoints.database_url) as connection:
        connection.execute("update felix.sessions set ended_at = now() where session_id = %s", (person.session_id,))
    until(lambda: as_client.get("/v1/trial-balance").status_code == 401)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"role": "client_owner"},
        {"reason": "x"},
        WHY | {"role": "founder"},
        WHY | {"role": "auditor"},
        WHY | {"role": "service"},
        WHY | {"minutes": 0},
        WHY | {"minutes": 61},
        WHY | {"minutes": True},
        WHY | {"reason": ""},
        WHY | {"caller_id": "usr_x"},
        WHY | {"credential_id": "sess_x"},
        [],
    ],
)
def test_what_does_not_say_who_why_and_how_long_is_refused(body: Any, person: Caller) -> None:
    refused = person.post("/v1/impersonations", body)
    assert refused.status_code == 422, refused.text


def test_nobody_is_impersonated_in_the_platform(person: Caller) -> None:
    refused = person.post("/v1/impersonations", WHY, Felix_Tenant=str(PLATFORM))
    assert (refused.status_code, refused.json()["code"]) == (409, "nobody_to_impersonate")


def test_an_impersonation_of_another_client_is_not_found(person: Caller, garage: Caller) -> None:
    impersonation_id = begin(person)
    for path in (impersonation_id, f"imp_{uuid4().hex}"):
        assert person.about(garage).post(f"/v1/impersonations/{path}/end").status_code == 404


def test_beginning_again_under_the_same_key_is_one_impersonation(person: Caller) -> None:
    key = f"impersonate-{uuid4()}"
    once, again = (person.post("/v1/impersonations", WHY, key) for _ in range(2))
    assert once.content == again.content and again.headers["idempotent-replayed"] == "true"
