"""When a hold or a lot runs out, the account books it, also if nobody asks the account anything at that time."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from felix.application.jobs.ledger import book_expiries
from felix.application.policies.base import EVENTS_WITH_LOTS, Policy, Terms, deadlines_of_lots
from felix.eventstore.jobs import NewJob
from felix.eventstore.mapper import RecordedEvent

_LAST_MINUTE = datetime.max.replace(second=0, microsecond=0, tzinfo=UTC)


class DeadlinesBookExpiries(Policy):
    """One timer for each account and minute in which something of it can run out.

    A thousand holds a second with the same time to live so make one job a minute. Its cause is the first of the events
    that asked for it. A hold that was captured meanwhile leaves its timer, which then finds nothing to book.
    """

    name = "deadlines_book_expiries"
    reads = frozenset({"ledger.tokens_held", "ledger.hold_extended"}) | EVENTS_WITH_LOTS
    begins = "beginning"

    def react(self, event: RecordedEvent, terms: Terms) -> Iterable[NewJob]:
        """Set the timers of an event's deadlines."""
        if event.type in EVENTS_WITH_LOTS:
            deadlines = [expires_at for _, expires_at in deadlines_of_lots(event)]
        else:
            deadlines = [datetime.fromisoformat(event.payload["expires_at"])]
        for due_at in sorted({_end_of_minute(deadline) for deadline in deadlines}):
            about, payload = f"{event.local_id}@{due_at:%Y-%m-%dT%H:%MZ}", {"account_id": event.local_id}
            yield self.plan(book_expiries, event, about, due_at, payload)


def _end_of_minute(at: datetime) -> datetime:
    """The first whole minute that is not before ``at``; of the last minute of the calendar, its beginning."""
    begun = at.replace(second=0, microsecond=0)
    return begun if begun == at or begun >= _LAST_MINUTE else begun + timedelta(minutes=1)


POLICY = DeadlinesBookExpiries()
