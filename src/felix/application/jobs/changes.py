"""Jobs of changes: taking steps, and looking again when something else has moved."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from felix.application.jobs.kinds import JobContext, NotYet, job
from felix.domain.base import Command
from felix.domain.errors import NotFound

#: Longer than a planner may take; a worker that dies in another step is made up for by the job of that step's event.
LEASE_S = 180.0
#: Steps that one job takes, one after the other: a whole change has about twenty.
MAX_STEPS = 60
#: A change that waits looks again after so long, should nobody have woken it.
LOOK_AGAIN = timedelta(minutes=10)


def _take_steps(context: JobContext) -> Mapping[str, Any]:
    """Take the steps of a change for as long as there is one to take, and come back when there may be another.

    The job belongs to one version of the change: whoever moves it on, its next event has a job of its own. One that
    was begun by a worker that died goes on in any case.
    """
    told = context.job.payload
    if context.job.tenant_id is None:
        raise NotFound("The platform has no changes.")
    place, change_id = (context.job.partition, context.job.tenant_id), told["change_id"]
    stepper = context.upkeep.changes
    if context.job.attempts == 1 and stepper.version(place, change_id) != told["version"]:
        return {"went_on": True}
    did: list[str] = []

    def perform(command: Command) -> Any:
        # A step that was refused may be the right one later: the same key would be answered with the refusal.
        seen = command.model_dump(include={"expected_version"}).get("expected_version")
        return context.perform(command, f"{command.command_name}@{seen}.{context.job.attempts}.{len(did)}")

    for _ in range(MAX_STEPS):
        at = max(datetime.now(UTC), context.job.due_at)
        stepped = stepper.step(place, change_id, perform, at)
        if stepped.did is not None:
            did.append(stepped.did)
        if not stepped.goes_on:
            break
    if stepped.version == told["version"] and stepped.until is not None:
        raise NotYet(min(stepped.until, at + LOOK_AGAIN))
    return {"state": stepped.state, "did": did}


take_steps = job("changes.step", lease_s=LEASE_S)(_take_steps)
#: The same where nobody may be hurried: while a planner is asked, only a worker that died is followed by another.
plan_anew = job("changes.plan_anew", lease_s=LEASE_S)(_take_steps)


@job("changes.wake")
def wake_changes(context: JobContext) -> Mapping[str, Any]:
    """Let every change of the tenant that waits look again: what runs is different, or there are tokens."""
    if context.job.tenant_id is None:
        raise NotFound("The platform has no changes.")
    return {"woken": context.upkeep.hasten((context.job.partition, context.job.tenant_id), take_steps.name)}
