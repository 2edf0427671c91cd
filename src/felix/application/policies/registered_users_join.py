"""Whoever registers by an invitation becomes a member of the tenant that invited them."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from felix.application.jobs.members import accept_invitation
from felix.application.policies.base import Policy, Terms
from felix.eventstore.jobs import NewJob
from felix.eventstore.mapper import RecordedEvent


class RegisteredUsersJoin(Policy):
    """The user is in the platform's log and the membership in the tenant's, so no transaction holds both.

    The door performs one command after the other; this makes up for the second where a process died in between.
    Accepting twice is accepting once.
    """

    name = "registered_users_join"
    reads = frozenset({"identity.user_registered"})
    begins = "beginning"

    def react(self, event: RecordedEvent, terms: Terms) -> Iterable[NewJob]:
        """Ask for the second command."""
        told = event.payload
        if told["invitation_id"] is None:
            return
        correlation_id = event.metadata.get("correlation_id")
        yield accept_invitation.of_tenant(
            (told["partition"], UUID(told["invited_to"])),
            told["invitation_id"],
            f"policy:{self.name}",
            event.recorded_at,
            {"invitation_id": told["invitation_id"], "user_id": event.local_id},
            correlation_id=UUID(correlation_id) if correlation_id else None,
            causation_id=event.event_id,
        )


POLICY = RegisteredUsersJoin()
