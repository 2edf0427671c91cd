"""Jobs over HTTP: who sees which, and who may step in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from uuid import UUID, uuid4

import pytest
from felix_world import Caller, World

from felix import bootstrap
from felix.eventstore.jobs import JobBook, NewJob

_numbers = count(1)


@pytest.fixture
def book(world: World) -> Iterator[JobBook]:
    """The table of jobs, as a worker sees it."""
    opened = bootstrap.open_job_book(world.endpoints)
    yield opened
    opened.close()


def planned(world: World, book: JobBook, caller: Caller | None, *, dead: bool = False) -> str:
    """A job of a client, or of the platform."""
    tenant_id = UUID(str(caller.tenant_id)) if caller else None
    partition = world.app.state.services.partition_of(tenant_id) if tenant_id else 0
    due_at = datetime.now(UTC) - timedelta(minutes=next(_numbers))
    new = NewJob(partition, tenant_id, "test.made_up", str(next(_numbers)), "policy:p", 3, due_at, {"n": 1})
    book.add([new])
    if dead:
        claimed = book.claim((partition, new.job_id), {})
        assert claimed is not None and book.bury(claimed, "LookupError: the inside of Felix")
    return str(new.job_id)


def ids(answered: Any) -> set[str]:
    return {job["job_id"] for job in answered["data"]}


def everybody(founder: Caller) -> Caller:
    """The founder, speaking for nobody."""
    return replace(founder, headers={"Authorization": founder.headers["Authorization"]})


def test_a_client_sees_its_own_jobs_and_the_founder_all(
    world: World, book: JobBook, bakery: Caller, garage: Caller, founder: Caller
) -> None:
    mine, others, platforms = (planned(world, book, who) for who in (bakery, garage, None))
    chosen = "?kind=test.made_up&limit=1000"
    assert ids(bakery.seen(f"/v1/jobs{chosen}")) & {mine, others, platforms} == {mine}
    assert ids(founder.about(bakery).seen(f"/v1/jobs{chosen}")) & {mine, others, platforms} == {mine}
    assert {mine, others, platforms} <= ids(everybody(founder).seen(f"/v1/jobs{chosen}"))
    for hidden in (others, platforms, str(uuid4()), "nothing"):
        answered = bakery.get(f"/v1/jobs/{hidden}")
        assert (answered.status_code, answered.json()["code"]) == (404, "not_found")
    assert "tenant_id" not in everybody(founder).seen(f"/v1/jobs/{platforms}")


def test_what_failed_inside_felix_is_the_founders_to_read(
    world: World, book: JobBook, bakery: Caller, founder: Caller
) -> None:
    dead = planned(world, book, bakery, dead=True)
    shown = bakery.seen(f"/v1/jobs/{dead}")
    assert shown["state"] == "dead" and "error" not in shown and "settled_by" not in shown
    assert founder.seen(f"/v1/jobs/{dead}")["error"] == "LookupError: the inside of Felix"
    assert dead in ids(bakery.seen("/v1/jobs?state=dead"))
    assert dead not in ids(bakery.seen("/v1/jobs?state=done"))


def test_the_founder_retries_and_cancels_and_a_client_does_not(
    world: World, book: JobBook, bakery: Caller, founder: Caller
) -> None:
    dead = planned(world, book, bakery, dead=True)
    for what in ("retry", "cancel"):
        assert bakery.post(f"/v1/jobs/{dead}/{what}").status_code == 403
    assert founder.done(f"/v1/jobs/{dead}/retry")["state"] == "waiting"
    assert founder.done(f"/v1/jobs/{dead}/retry")["attempts"] == 0
    cancelled = founder.done(f"/v1/jobs/{dead}/cancel")
    assert cancelled["state"] == "cancelled" and cancelled["settled_by"].startswith("founder:")
    again = founder.post(f"/v1/jobs/{dead}/cancel")
    assert (again.status_code, again.json()["code"]) == (409, "job_not_settled")
    assert everybody(founder).post(f"/v1/jobs/{uuid4()}/retry").status_code == 404


def test_the_list_goes_on_where_a_page_ended(world: World, book: JobBook, garage: Caller) -> None:
    made = {planned(world, book, garage) for _ in range(5)}
    chosen, cursor, found = "/v1/jobs?kind=test.made_up&limit=2", "", list[str]()
    while cursor is not None:
        page = garage.seen(f"{chosen}&cursor={cursor.replace('+', '%2B')}")
        found += [job["job_id"] for job in page["data"]]
        cursor = page["next"]
    assert len(found) == len(set(found)) and made <= set(found)


@pytest.mark.parametrize("asked", ["state=odd", "cursor=odd", "cursor=2026-01-01T00:00:00_x", "limit=0"])
def test_a_question_that_makes_no_sense_is_refused(asked: str, bakery: Caller) -> None:
    assert bakery.get(f"/v1/jobs?{asked}").status_code == 422
