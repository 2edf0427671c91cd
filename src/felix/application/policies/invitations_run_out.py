"""An invitation that nobody accepts runs out, and the address is forgotten."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from felix.application.jobs.members import expire_invitation
from felix.application.policies.base import Policy, Terms
from felix.eventstore.jobs import NewJob
from felix.eventstore.mapper import RecordedEvent


class InvitationsRunOut(Policy):
    """One timer for each invitation; of one that is over by then it finds nothing to book."""

    name = "invitations_run_out"
    reads = frozenset({"members.invitation_sent"})
    begins = "beginning"

    def react(self, event: RecordedEvent, terms: Terms) -> Iterable[NewJob]:
        """Set the timer."""
        due_at = datetime.fromisoformat(event.payload["expires_at"])
        yield self.plan(expire_invitation, event, event.local_id, due_at, {"invitation_id": event.local_id})


POLICY = InvitationsRunOut()
