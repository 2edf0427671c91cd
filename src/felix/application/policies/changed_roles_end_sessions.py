"""Whoever becomes something else in a tenant signs in anew."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from felix.application.jobs.sign_in import book_end_of_sessions
from felix.application.policies.base import Policy, Terms
from felix.domain.identity.roles import PLATFORM
from felix.eventstore.jobs import PLATFORM_PARTITION, NewJob
from felix.eventstore.mapper import RecordedEvent


class ChangedRolesEndSessions(Policy):
    """The tokens are worthless from the transaction of the change on; this writes the sessions' own events, which are
    in the platform's log. Sessions that began since then stay."""

    name = "changed_roles_end_sessions"
    reads = frozenset({"members.role_changed"})
    begins = "beginning"

    def react(self, event: RecordedEvent, terms: Terms) -> Iterable[NewJob]:
        """One job a change."""
        correlation_id = event.metadata.get("correlation_id")
        yield book_end_of_sessions.of_tenant(
            (PLATFORM_PARTITION, PLATFORM),
            str(event.event_id),
            f"policy:{self.name}",
            event.recorded_at,
            {"user_id": event.local_id, "ending": "role_changed", "began_before": event.recorded_at.isoformat()},
            correlation_id=UUID(correlation_id) if correlation_id else None,
            causation_id=event.event_id,
        )


POLICY = ChangedRolesEndSessions()
