"""What a rotation leaves behind is cleared away: versions after their overlap, and what an old key has sealed."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from felix.application.jobs.secrets import end_version, seal_anew
from felix.application.policies.base import Policy, Terms
from felix.eventstore.jobs import NewJob
from felix.eventstore.mapper import RecordedEvent


class RotationsAreFinished(Policy):
    """A timer for each version with an overlap, and one job for each new key of a tenant."""

    name = "rotations_are_finished"
    reads = frozenset({"secrets.secret_rotated", "secrets.tenant_key_rotated"})
    begins = "beginning"

    def react(self, event: RecordedEvent, terms: Terms) -> Iterable[NewJob]:
        """Set the timer, or ask for the work."""
        told = event.payload
        if event.type == "secrets.tenant_key_rotated":
            payload = {"key_version": told["key_version"]}
            yield self.plan(seal_anew, event, f"key {told['key_version']}", event.recorded_at, payload)
        elif told["earlier_until"] is not None:
            payload = {"name": told["name"], "version": told["version"] - 1}
            about = f"{told['name']}/{told['version'] - 1}"
            yield self.plan(end_version, event, about, datetime.fromisoformat(told["earlier_until"]), payload)


POLICY = RotationsAreFinished()
