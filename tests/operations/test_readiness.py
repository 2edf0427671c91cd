"""`/readyz` names what is wrong and what to do, within two seconds, whatever hangs."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from felix_world import make_app, open_world
from starlette.testclient import TestClient

from felix import bootstrap
from felix.api.readiness import Check, answer_of, checks_of
from felix.application.jobs.upkeep import purge_jobs, verify_ledger
from felix.eventstore.jobs import insert_jobs
from felix.eventstore.migrations import read_migrations
from felix.projections.vital_signs import VERIFICATION, Poisoned, ProjectionLag, Verification, VitalSigns
from felix.settings import Settings

NOW = datetime(2026, 5, 1, 3, 0, tzinfo=UTC)
HEALTHY = VitalSigns(
    skew_s=0.1,
    retold=True,
    pending=[],
    lags=[ProjectionLag("balances", 0, 12, 0.5, 0.1)],
    heads={0: (40, 40), 1: (0, 0)},
    jobs={"waiting": 3},
    verification=Verification(NOW, 0, None),
)
NEEDED = {"database", "migrations", "log"}
WRONG: dict[str, tuple[VitalSigns | str, str, str]] = {
    "the database is away": ("It does not answer.", "database", "No command is taken"),
    "a migration is pending": (replace(HEALTHY, pending=read_migrations()[-1:]), "migrations", "1 is pending"),
    "migrations are pending": (replace(HEALTHY, pending=None), "migrations", "run `felix migrate`"),
    "a head is ahead": (replace(HEALTHY, heads={0: (41, 40)}), "log", "head of partition 0"),
    "a cursor is ahead": (
        replace(HEALTHY, lags=[ProjectionLag("usage", 2, -3, 0, 0)]), "projections", "usage is ahead of the log",
    ),
    "a projection is far behind": (
        replace(HEALTHY, lags=[ProjectionLag("usage", 2, 20_000, 9, 0)]),
        "projections",
        "usage is 20,000 events and 9 s behind in partition 2",
    ),
    "a projection stands still": (
        replace(HEALTHY, lags=[ProjectionLag("usage", 2, 3, 99, 99)]), "worker", "has not moved for 99 s",
    ),
    "nobody retells": (replace(HEALTHY, retold=False), "worker", "no worker is connected"),
    "a tenant is poisoned": (
        replace(HEALTHY, poisoned=[Poisoned("usage", 2, "KeyError")]), "poisoned", "usage has stopped for 2 tenants",
    ),
    "a model has no price": (replace(HEALTHY, model_can_be_paid=False), "planner model", "no price on any client's"),
    "a job is overdue": (replace(HEALTHY, overdue_s=400.0), "jobs", "overdue by 400 s"),
    "a job is dead": (replace(HEALTHY, jobs={"dead": 1}), "jobs", "1 is dead"),
    "the books are wrong": (
        replace(HEALTHY, verification=Verification(NOW, 2, "x")), "verification", "found 2 violations",
    ),
    "the books were not looked through": (
        replace(HEALTHY, verification=Verification(NOW, None, "OSError")), "verification", "did not end (OSError)",
    ),
    "the clocks differ": (replace(HEALTHY, skew_s=7.0), "clock", "7.0 s behind the database"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_said_in_a_sentence(what: str, tmp_path: Path) -> None:
    signs, name, sentence = WRONG[what]
    found = {check.name: check for check in checks_of(signs, True, tmp_path)}
    assert not found[name].ok and sentence in found[name].detail
    assert found[name].needed == (name in NEEDED)


def test_all_is_well_when_it_is(tmp_path: Path) -> None:
    found = checks_of(HEALTHY, None, tmp_path / "not" / "there" / "yet")
    assert all(check.ok for check in found), found
    assert {check.name for check in found} == {
        "database", "migrations", "log", "projections", "poisoned", "worker", "jobs", "verification", "valkey", "disk",
        "clock",
    }  # fmt: skip


def test_a_full_disk_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("felix.api.readiness.DISK_ALARM_BYTES", 2**62)
    (disk,) = [check for check in checks_of(HEALTHY, None, tmp_path) if check.name == "disk"]
    assert not disk.ok and "make room" in disk.detail and str(tmp_path.parent) not in disk.detail


@pytest.mark.parametrize("skew_s", [-61.0, 61.0])
def test_a_process_whose_clock_is_far_off_takes_no_commands(tmp_path: Path, skew_s: float) -> None:
    answer = answer_of(checks_of(replace(HEALTHY, skew_s=skew_s), None, tmp_path))
    assert answer["status"] == "not ready"


def test_the_job_that_verifies_is_the_one_that_is_looked_for() -> None:
    assert verify_ledger.name == VERIFICATION


@contextmanager
def answering(database: str, **settings: Any) -> Iterator[TestClient]:
    """The API alone: no worker beside it."""
    with TestClient(make_app(Settings(_env_file=None, database_url=database, partitions=4, **settings))) as client:
        yield client


def told(client: TestClient) -> tuple[int, dict[str, Check]]:
    began_at = time.monotonic()
    answer = client.get("/readyz")
    assert time.monotonic() - began_at < 2.0
    body = answer.json()
    assert body["status"] == ("ready" if answer.status_code == 200 else "not ready")
    return answer.status_code, {each["name"]: Check(**each) for each in body["checks"]}


def test_what_the_database_says_is_what_is_told(database: str) -> None:
    with answering(database) as client, psycopg.connect(database, autocommit=True) as owner:
        status, checks = told(client)
        assert status == 200 and "no worker is connected" in checks["worker"].detail
        tenant = uuid4()
        # A hundred seconds ago something happened in partition 2, and nobody has retold it.
        owner.execute(
            "insert into felix.events (partition, position, tenant_id, tenant_sequence, version, recorded_at, event_id,"
            " stream, type, command_key, actor, metadata, state) values (2, 1, %s, 1, 1, now() - interval '100 s', %s,"
            " 's', 't', 'k', 'a', '{}', '{}')",
            (tenant, uuid4()),
        )
        assert told(client)[1]["log"] == Check(
            "log", False, "the head of partition 2 is not its last event: stop writing and run `felix verify ledger`",
            needed=True,
        )  # fmt: skip
        owner.execute("update felix.partitions set position = 1 where partition = 2")
        owner.execute(
            "insert into felix.poisoned (partition, projection, tenant_id, position, type, error, message, retry_at)"
            " values (2, 'usage', %s, 1, 't', 'KeyError', 'a secret', now())",
            (tenant,),
        )
        insert_jobs(owner, [purge_jobs.of_platform("x", "test", datetime.now(UTC) - timedelta(hours=1), {})])
        status, checks = told(client)
        assert status == 200, "none of this stops the money"
        assert "1 events and 100 s behind in partition 2" in checks["projections"].detail
        assert checks["poisoned"].detail.startswith("usage has stopped for 1 tenant (KeyError)")
        assert "overdue by 36" in checks["jobs"].detail
        assert "a secret" not in json.dumps([check.detail for check in checks.values()])
        owner.execute("update felix.jobs set state = 'dead', finished_at = now(), error = 'x'")
        assert "1 is dead" in told(client)[1]["jobs"].detail
        owner.execute("delete from felix_migrations where version = (select max(version) from felix_migrations)")
        status, checks = told(client)
        assert (status, checks["migrations"].detail) == (503, "1 is pending: run `felix migrate`")
        owner.execute("drop view felix.applied_migrations")
        status, checks = told(client)
        assert (status, checks["migrations"].ok) == (503, False)


def test_a_database_that_hangs_is_told_of_in_time_and_found_again(database: str) -> None:
    with answering(database) as client, psycopg.connect(database) as holder:
        assert told(client)[0] == 200
        holder.execute("lock table felix.partitions in access exclusive mode")
        for _ in range(2):
            status, checks = told(client)
            assert status == 503 and "within 1 s" in checks["database"].detail
        assert client.get("/healthz").status_code == 200
        holder.rollback()
        deadline = time.monotonic() + 5
        while told(client)[0] != 200:
            assert time.monotonic() < deadline


def test_a_valkey_that_is_away_or_hangs_takes_nobody_out_of_service(database: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        for port in (9, deaf.getsockname()[1]):
            with answering(database, redis_url=f"redis://127.0.0.1:{port}/0") as client:
                status, checks = told(client)
                assert status == 200 and not checks["valkey"].ok and "nothing is lost" in checks["valkey"].detail


def test_ready_needs_no_more_than_the_roles_of_a_process_may_see(database: str) -> None:
    endpoints = bootstrap.Endpoints(database, None, None)
    for role in ("felix_founder", "felix_reader"):
        with psycopg.connect(endpoints.as_role(role), autocommit=True) as connection:
            assert connection.execute("select count(*) from felix.applied_migrations").fetchone() == (
                len(read_migrations()),
            )
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("select * from public.felix_migrations")


def test_a_worker_that_is_connected_is_seen(database: str) -> None:
    with open_world(database) as world:
        deadline = time.monotonic() + 10
        while True:
            checks = {each["name"]: each for each in world.client.get("/readyz").json()["checks"]}
            if checks["worker"]["ok"] and checks["projections"]["ok"]:
                break
            assert time.monotonic() < deadline, checks
