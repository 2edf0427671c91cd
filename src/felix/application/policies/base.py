"""What a policy is: a pure function from an event to the jobs that follow from it.

It reads the log as a projection does, and its jobs are written in the transaction that moves its cursor, so each event
is reacted to once. A policy that wants a command plans a job that performs it: that job's key makes the command's.
Policies are never rebuilt: what they asked for has happened.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar, Literal
from uuid import UUID

from felix.application.jobs.kinds import JobKind
from felix.eventstore.jobs import NewJob
from felix.eventstore.mapper import RecordedEvent


@dataclass(frozen=True, slots=True)
class Terms:
    """What this installation has set for its policies."""

    lot_expiry_notice: timedelta = timedelta(days=7)


class Policy(ABC):
    """A subscriber that turns events into jobs.

    ``name`` is a present-tense sentence and its stored name. ``reads`` names the events it gets. ``begins`` says where
    it starts when it is new to an installation: at the beginning of the log, or with what happens from now on.
    """

    name: ClassVar[str]
    reads: ClassVar[frozenset[str]]
    begins: ClassVar[Literal["beginning", "now"]] = "now"

    @abstractmethod
    def react(self, event: RecordedEvent, terms: Terms) -> Iterable[NewJob]:
        """The jobs that follow from an event. No clock, no random number: the same event gives the same jobs."""

    def plan(
        self, kind: JobKind, event: RecordedEvent, about: str, due_at: datetime, payload: Mapping[str, Any]
    ) -> NewJob:
        """A job for the event's tenant, caused by the event."""
        correlation_id = event.metadata.get("correlation_id")
        return kind.of_tenant(
            (event.partition, event.tenant_id),
            about,
            f"policy:{self.name}",
            due_at,
            payload,
            correlation_id=UUID(correlation_id) if correlation_id else None,
            causation_id=event.event_id,
        )


def deadlines_of_lots(event: RecordedEvent) -> list[tuple[str, datetime]]:
    """The lots that an event gives an expiry, and when: a grant, a move of the expiry, or lots from another account."""
    told = event.payload
    lots = told["lots"] if event.type == "ledger.tokens_received" else [told]
    return [(lot["lot_id"], datetime.fromisoformat(lot["expires_at"])) for lot in lots if lot["expires_at"]]


#: The events that :func:`deadlines_of_lots` reads.
EVENTS_WITH_LOTS = frozenset({"ledger.tokens_granted", "ledger.lot_extended", "ledger.tokens_received"})
