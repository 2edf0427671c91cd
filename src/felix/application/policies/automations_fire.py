"""When a record changes, the automations of its app run: asked for once, whoever changed it, but for what they did."""

from __future__ import annotations

from collections.abc import Iterable

from felix.application.jobs.apps import run_automations
from felix.application.policies.base import Policy, Terms
from felix.eventstore.jobs import NewJob
from felix.eventstore.mapper import RecordedEvent

#: What automations do themselves has led to everything already that it leads to.
_OWN = "policy:automations_fire"


class AutomationsFire(Policy):
    """One job for each event of a record."""

    name = "automations_fire"
    reads = frozenset({"record.created", "record.changed", "record.step_taken", "record.removed"})

    def react(self, event: RecordedEvent, terms: Terms) -> Iterable[NewJob]:
        """Ask for the job of an event."""
        if event.actor == _OWN:
            return
        told = event.payload
        payload = {
            "app": told["app"], "environment": told["environment"], "record_id": event.local_id,
            "version": event.version, "release": told["release"],
        }  # fmt: skip
        yield self.plan(run_automations, event, f"{event.local_id}/{event.version}", event.recorded_at, payload)


POLICY = AutomationsFire()
