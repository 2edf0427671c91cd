"""Some days before a lot runs out with something left, its client is told."""

from __future__ import annotations

from collections.abc import Iterable

from felix.application.jobs.ledger import announce_lot_expiry
from felix.application.policies.base import EVENTS_WITH_LOTS, Policy, Terms, deadlines_of_lots
from felix.eventstore.jobs import NewJob
from felix.eventstore.mapper import RecordedEvent


class ExpiringLotsAreAnnounced(Policy):
    """One announcement for each lot and date of expiry: a lot that is extended is announced again."""

    name = "expiring_lots_are_announced"
    reads = EVENTS_WITH_LOTS
    begins = "beginning"

    def react(self, event: RecordedEvent, terms: Terms) -> Iterable[NewJob]:
        """Set the timers of an event's lots."""
        for lot_id, expires_at in deadlines_of_lots(event):
            date = expires_at.isoformat()
            payload = {"account_id": event.local_id, "lot_id": lot_id, "expires_at": date}
            due_at = expires_at - terms.lot_expiry_notice
            yield self.plan(announce_lot_expiry, event, f"{lot_id}@{date}", due_at, payload)


POLICY = ExpiringLotsAreAnnounced()
