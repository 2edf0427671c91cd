"""When what runs is different, a lock is free or tokens came in, changes that wait look again."""

from __future__ import annotations

from collections.abc import Iterable

from felix.application.jobs.changes import wake_changes
from felix.application.policies.base import Policy, Terms
from felix.domain.changes import messages as m
from felix.domain.ledger.messages import TokensGranted, TokensReceived
from felix.eventstore.jobs import NewJob
from felix.eventstore.mapper import RecordedEvent


class MovesWakeChanges(Policy):
    """One job for each event; a tenant has few changes that wait, and each looks at itself."""

    name = "moves_wake_changes"
    reads = frozenset(
        event.TOPIC
        for event in (
            m.ReleasePromoted, m.ReleaseRestored, m.EnvironmentUnlocked, m.QueueJoined, m.QueueLeft,
            m.EnvironmentReopened, m.RepositoryMoved, TokensGranted, TokensReceived,
        )
    )  # fmt: skip
    begins = "now"

    def react(self, event: RecordedEvent, terms: Terms) -> Iterable[NewJob]:
        """Ask for it at once."""
        yield self.plan(wake_changes, event, str(event.event_id), event.recorded_at, {})


POLICY = MovesWakeChanges()
