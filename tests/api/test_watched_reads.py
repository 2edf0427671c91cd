"""What staff read of a client is written down in the client's log before they get it, once, and nothing else is."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from felix_world import Caller, World, make_app
from live_streams import eventually, listen, serve
from starlette.testclient import TestClient

from felix.api.live.hub import RECHECK_S
from felix.api.watched_reads import PLAIN
from felix.application.performer import new_context
from felix.domain.identity.access import ACTIONS
from felix.domain.identity.access_log import RecordRead
from felix.domain.identity.roles import CLIENT_ROLES, PLATFORM, ROLES, Role
from felix.settings import Settings

STAFF: tuple[Role, ...] = ("founder", "founder_readonly", "auditor")
READ = "access.sensitive_data_read"


def written(world: World, tenant: Caller, reader: str = "") -> list[dict[str, Any]]:
    """What is in the client's log of what staff read, asked without a door, the oldest first."""
    with psycopg.connect(world.endpoints.database_url) as connection:
        rows = connection.execute(
            "select actor, metadata, state from felix.events_readable where tenant_id = %s and type = %s"
            " and actor like %s order by tenant_sequence",
            (tenant.tenant_id, READ, f"%{reader}"),
        ).fetchall()
    return [{"actor": actor, **metadata, **state} for actor, metadata, state in rows]


@pytest.mark.parametrize("role", STAFF)
def test_what_staff_read_is_in_the_clients_log(role: Role, world: World, bakery: Caller) -> None:
    somebody = world.person(role, bakery)
    correlation_id = str(uuid4())
    answered = somebody.get("/v1/events?limit=2&actor=maria", Felix_Correlation_Id=correlation_id)
    assert answered.status_code == 200
    (entry,) = written(world, bakery, somebody.id)
    assert (entry["actor"], entry["action"]) == (f"{role}:{somebody.id}", "log.read")
    assert entry["what"] == "/v1/events?actor&limit=2"
    assert entry["rows"] == len(answered.json()["data"])
    assert entry["correlation_id"] == correlation_id


def test_what_a_founders_key_reads_is_there_too(world: World, bakery: Caller, founder: Caller) -> None:
    before = len(written(world, bakery))
    founder.seen("/v1/token-accounts")
    assert len(written(world, bakery)) == before + 1


@pytest.mark.parametrize("role", sorted(CLIENT_ROLES))
def test_what_the_clients_own_people_and_machines_read_is_not(role: Role, world: World) -> None:
    tenant = world.new_tenant()
    for own in (tenant, world.person(role, tenant)):
        own.seen("/v1/events")
    assert written(world, tenant) == []


def test_a_query_is_written_down_without_what_may_be_somebodys_name(world: World, bakery: Caller) -> None:
    auditor = world.person("auditor", bakery)
    auditor.seen("/v1/audit?actor=maria@example.com&outcome=accepted&code=x&limit=5")
    (entry,) = written(world, bakery, auditor.id)
    assert entry["what"] == "/v1/audit?actor&code&limit=5&outcome=accepted"
    assert PLAIN.isdisjoint({"actor", "person", "prefix", "stream", "tenant", "correlation_id"})


def test_what_is_refused_is_no_read(world: World, bakery: Caller) -> None:
    auditor = world.person("auditor", bakery)
    assert auditor.get("/v1/streams/nowhere/events").status_code == 404
    assert auditor.get("/v1/events?limit=nothing").status_code == 422
    assert auditor.get("/v1/tenants").status_code == 403
    assert written(world, bakery, auditor.id) == []


def test_reading_the_access_log_is_one_more_entry_and_not_for_ever(world: World, bakery: Caller) -> None:
    auditor = world.person("auditor", bakery)
    shown = auditor.seen("/v1/access-log?limit=1")
    assert len(shown["data"]) <= 1
    assert [entry["action"] for entry in written(world, bakery, auditor.id)] == ["access_log.read"]


def test_what_polls_leaves_nothing(world: World, bakery: Caller, founder: Caller) -> None:
    before = len(written(world, bakery))
    for path in ("/v1/projections", "/v1/tenants", "/v1/jobs", "/metrics"):
        assert founder.get(path).status_code == 200, path
    assert len(written(world, bakery)) == before


def test_the_client_sees_who_read_what(world: World, bakery: Caller) -> None:
    auditor, owner = world.person("auditor", bakery), world.person("client_owner", bakery)
    auditor.seen("/v1/trial-balance")
    entry = until(lambda: owner.seen(f"/v1/access-log?actor=auditor:{auditor.id}")["data"])[0]
    assert (entry["kind"], entry["action"], entry["what"]) == ("read", "ledger.read", "/v1/trial-balance")
    event = owner.seen(f"/v1/events?cursor={entry['tenant_sequence'] - 1}&limit=1")["data"][0]
    assert (event["type"], event["actor"]) == (READ, entry["actor"])


def test_pages_of_the_access_log_show_every_entry_once(world: World) -> None:
    tenant = world.new_tenant()
    auditor = world.person("auditor", tenant)
    for _ in range(5):
        auditor.seen("/v1/trial-balance")
    owner = world.person("client_owner", tenant)
    until(lambda: len(owner.seen("/v1/access-log")["data"]) == 5)
    seen, cursor = [], ""
    while page := owner.seen(f"/v1/access-log?limit=2{cursor}")["data"]:
        seen += [entry["tenant_sequence"] for entry in page]
        cursor = f"&cursor={seen[-1]}"
    assert len(seen) == 5 and seen == sorted(set(seen), reverse=True)


@pytest.mark.parametrize("role", ROLES)
def test_who_may_see_the_access_log(role: Role, world: World, bakery: Caller) -> None:
    caller = bakery if role == "service" else world.person(role, bakery)
    expected = 200 if role in ACTIONS["access_log.read"].grants else 403
    assert caller.get("/v1/access-log").status_code == expected


def test_an_auditor_may_do_nothing_that_writes() -> None:
    may = [
        action for action in ACTIONS.values() if "auditor" in action.grants and action.place in ("tenant", "platform")
    ]
    assert len(may) > 5 and not any(action.writes for action in may)


def test_an_auditor_sees_the_client_that_they_were_granted_and_no_other(
    world: World, bakery: Caller, garage: Caller
) -> None:
    auditor = world.person("auditor", bakery)
    assert auditor.get("/v1/events").status_code == 200
    assert auditor.get("/v1/events", Felix_Tenant=garage.tenant_id).status_code == 404
    assert written(world, garage, auditor.id) == []


def test_an_auditors_access_ends_at_its_second_on_every_process(world: World, bakery: Caller) -> None:
    with TestClient(make_app(settings_of(world))) as other_process:
        ends_at = datetime.now(UTC) + timedelta(seconds=1.2)
        auditor = world.person("auditor", bakery, member_until=ends_at)
        elsewhere = Caller(other_process, auditor.headers)
        for caller in (auditor, elsewhere):
            assert caller.get("/v1/events?limit=1").status_code == 200
        while datetime.now(UTC) < ends_at:
            time.sleep(0.01)
        for caller in (auditor, elsewhere):
            assert caller.get("/v1/events?limit=1").status_code == 403


def test_a_live_stream_is_an_entry_when_it_begins(world: World, bakery: Caller) -> None:
    auditor = world.person("auditor", bakery)
    assert auditor.get("/v1/live?follow=false&from=beginning").status_code == 200
    (entry,) = written(world, bakery, auditor.id)
    assert (entry["action"], entry["what"], entry["rows"]) == (
        "live.follow",
        "/v1/live?follow=false&from=beginning",
        None,
    )


def test_a_live_stream_ends_with_the_auditors_access(world: World, bakery: Caller) -> None:
    with serve(settings_of(world)) as served:
        ends_at = datetime.now(UTC) + timedelta(seconds=1)
        auditor = world.person("auditor", bakery, member_until=ends_at)
        listening = listen(served.url, auditor.headers)
        listening.wait_for(lambda it: "ready" in [message.event for message in it.messages])
        eventually(lambda: listening.ended)
        assert ends_at <= datetime.now(UTC) < ends_at + timedelta(seconds=RECHECK_S + 1)
    assert len(written(world, bakery, auditor.id)) == 1


def test_a_stream_of_all_clients_is_in_the_platforms_log(world: World) -> None:
    founder = world.person("founder")
    headers = {name: value for name, value in founder.headers.items() if name != "Felix-Tenant"}
    assert world.client.get("/v1/live?follow=false", headers=headers).status_code == 200
    (entry,) = written(world, Caller(world.client, {}, str(PLATFORM)), founder.id)
    assert entry["action"] == "live.follow"


def test_a_read_that_is_recorded_again_under_its_key_is_one_read(world: World, bakery: Caller) -> None:
    command = RecordRead(reader_id="usr_" + "1" * 32, action="log.read", what="/v1/events", rows=1)
    performer = world.app.state.services.performer

    async def recorded() -> bool:
        context = new_context(UUID(bakery.tenant_id), "read:the-same-request", "auditor:usr_" + "1" * 32)
        return (await performer.perform(command, context)).replayed

    assert [asyncio.run(recorded()) for _ in range(3)] == [False, True, True]
    assert len(written(world, bakery, "1" * 32)) == 1


def test_what_can_not_be_written_down_is_not_shown(own_world: World) -> None:
    auditor, owner = own_world.person("auditor"), own_world.person("client_owner")
    assert auditor.get("/v1/trial-balance").status_code == owner.get("/v1/trial-balance").status_code == 200
    with psycopg.connect(own_world.endpoints.database_url, autocommit=True) as connection:
        # The read models go on answering; nothing can be written.
        connection.execute("alter table felix.partitions rename to partitions_away")
        refused = auditor.get("/v1/trial-balance")
        assert refused.status_code == 503 and refused.json().keys().isdisjoint({"data", "accounts"})
        assert owner.get("/v1/trial-balance").status_code == 200
        connection.execute("alter table felix.partitions_away rename to partitions")
    assert until(lambda: auditor.get("/v1/trial-balance").status_code == 200)


def settings_of(world: World) -> Settings:
    """Settings of another process on the same database."""
    return Settings(_env_file=None, database_url=world.endpoints.database_url, partitions=4)


def until(condition: Any, timeout_s: float = 10) -> Any:
    """What a condition answers as soon as it is something."""
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found
