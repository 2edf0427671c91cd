"""When another release becomes active, the timers of its schedules are set; those of the one before find it gone."""

from __future__ import annotations

from collections.abc import Iterable

from felix.application.jobs.apps import plan_schedules
from felix.application.policies.base import Policy, Terms
from felix.eventstore.jobs import NewJob
from felix.eventstore.mapper import RecordedEvent


class DeploysSetTimers(Policy):
    """One job for each move of an environment to another release."""

    name = "deploys_set_timers"
    reads = frozenset({"apps.environment_created", "apps.release_promoted", "apps.release_restored"})
    begins = "beginning"

    def react(self, event: RecordedEvent, terms: Terms) -> Iterable[NewJob]:
        """Ask for the job of a move."""
        app, _, environment = event.local_id.rpartition(".")
        payload = {"app": app, "environment": environment}
        yield self.plan(plan_schedules, event, f"{event.local_id}/{event.version}", event.recorded_at, payload)


POLICY = DeploysSetTimers()
