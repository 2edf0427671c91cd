"""Who is erased is forgotten in files and backups too, and so is whoever was invited, once the invitation is over."""

from __future__ import annotations

from collections.abc import Iterable

from felix.application.jobs.privacy import forget_outside
from felix.application.policies.base import Policy, Terms
from felix.domain.identity.invitation import InvitationAccepted, InvitationExpired, InvitationWithdrawn
from felix.domain.identity.user import UserErased
from felix.domain.privacy.erasure import PersonalDataErased
from felix.eventstore.jobs import NewJob
from felix.eventstore.mapper import RecordedEvent


class ErasedPeopleAreForgotten(Policy):
    """One job for each subject; its stream is called after it."""

    name = "erased_people_are_forgotten"
    reads = frozenset(
        event.TOPIC
        for event in (UserErased, PersonalDataErased, InvitationAccepted, InvitationWithdrawn, InvitationExpired)
    )
    begins = "beginning"

    def react(self, event: RecordedEvent, terms: Terms) -> Iterable[NewJob]:
        """Ask for the work at once."""
        payload = {"subject_id": event.local_id}
        yield self.plan(forget_outside, event, event.local_id, event.recorded_at, payload)


POLICY = ErasedPeopleAreForgotten()
