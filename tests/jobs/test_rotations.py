"""What a rotation leaves behind, a worker clears away: sooner or later, and once."""

from __future__ import annotations

from typing import Any

import pytest
from offices import ACME, new_key, until
from workshop import CALLS, ROOT_KEY, Workshop

from felix.application.jobs.kinds import KINDS, JobContext
from felix.application.performer import new_context
from felix.application.secrets import User, setting, with_root_keys
from felix.domain.base import Command
from felix.domain.secrets.tenant_secrets import RotateTenantKey
from felix.eventstore.sealing import RootKeys

KEYS = RootKeys([ROOT_KEY])


def perform(workshop: Workshop, command: Command, enclosed: Any) -> dict[str, Any]:
    context = new_context(ACME, new_key(), "founder:a", enclosed=enclosed)
    result: dict[str, Any] = workshop.office.performer.perform_blocking(command, context).result
    return result


def put(workshop: Workshop, name: str, value: str, overlap_s: int = 0) -> None:
    perform(workshop, *setting(KEYS, ACME, {"name": name, "overlap_s": overlap_s}, value))


def kept(workshop: Workshop) -> list[tuple[Any, ...]]:
    return workshop.rows("select name, version, key_version from felix.tenant_secrets order by 1, 2")


def test_a_job_uses_a_secret_in_its_own_name(workshop: Workshop) -> None:
    put(workshop, "github", "the-token")
    seen = []

    def work(context: JobContext) -> dict[str, Any]:
        job = context.job
        user = User(job.origin, f"job:{job.job_id}", job.correlation_id, job.causation_id)
        with context.secrets.use(ACME, "github", purpose="deploy", user=user) as value:
            seen.append(value)
        return {}

    CALLS["deploy"] = work
    key = workshop.plan("test.call", "deploy")
    workshop.do_all()
    assert workshop.row(key)["state"] == "done", workshop.row(key)
    assert seen == ["the-token"]
    told = "select actor, convert_from(state, 'UTF8')::json from felix.events where type = 'secrets.secret_used'"
    ((actor, used),) = workshop.rows(told)
    assert (actor, used["reference"], used["purpose"]) == ("policy:of_the_test", f"job:{key[1]}", "deploy")
    ((payload,),) = workshop.rows("select (payload::text || coalesce(result::text, '')) from felix.jobs")
    assert "the-token" not in payload


def test_a_new_key_seals_everything_by_itself(workshop: Workshop) -> None:
    put(workshop, "a", "1")
    put(workshop, "b", "2")
    perform(workshop, RotateTenantKey(), with_root_keys(KEYS))
    perform(workshop, RotateTenantKey(), with_root_keys(KEYS))
    workshop.retell()
    assert workshop.do_all() == 2
    assert kept(workshop) == [("a", 1, 3), ("b", 1, 3)]
    assert workshop.rows("select version from felix.tenant_keys") == [(3,)]
    results = workshop.rows("select result::text from felix.jobs where kind = 'secrets.seal_anew' order by 1")
    assert len(results) == 2 and any("replaced_by" in result for (result,) in results)
    assert {state for (state,) in workshop.rows("select state from felix.jobs")} == {"done"}


def test_a_version_goes_when_its_overlap_ends_and_not_before(workshop: Workshop) -> None:
    put(workshop, "github", "old")
    put(workshop, "github", "new", overlap_s=3600)
    workshop.retell()
    assert workshop.do_all() == 0, "the timer is set and not due"
    assert [version for _, version, _ in kept(workshop)] == [1, 2]
    (due,) = workshop.rows("select due_at > now() + interval '50 minutes' from felix.jobs")
    assert due == (True,)


def test_a_version_is_gone_after_its_overlap(workshop: Workshop) -> None:
    put(workshop, "github", "old")
    put(workshop, "github", "new", overlap_s=1)
    workshop.retell()
    until(lambda: workshop.do_all() == 1, "the overlap has ended")
    assert [version for _, version, _ in kept(workshop)] == [2]
    ((told,),) = workshop.rows("select result from felix.jobs")
    assert told == {"name": "github", "version": 1, "ended": True}


@pytest.mark.parametrize("kind", ["secrets.end_version", "secrets.seal_anew"])
def test_the_kinds_of_jobs_are_known(kind: str) -> None:
    assert kind in KINDS
