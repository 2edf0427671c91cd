"""A source is read when somebody asks for it, and a text that no document needs any more is forgotten."""

from __future__ import annotations

from collections.abc import Iterable

from felix.application.jobs.documents import forget_text, read_source
from felix.application.policies.base import Policy, Terms
from felix.domain.context.document import DocumentIndexed, DocumentRemoved, ReadingAsked
from felix.eventstore.jobs import NewJob
from felix.eventstore.mapper import RecordedEvent


class SourcesAreRead(Policy):
    """One job for each reading that is asked for, and one for each text that is replaced or removed."""

    name = "sources_are_read"
    reads = frozenset({ReadingAsked.TOPIC, DocumentIndexed.TOPIC, DocumentRemoved.TOPIC})
    begins = "beginning"

    def react(self, event: RecordedEvent, terms: Terms) -> Iterable[NewJob]:
        """Ask for the work at once."""
        told, document = event.payload, event.local_id
        if event.type == ReadingAsked.TOPIC:
            payload = {"document_id": document, "source": told["source"]}
            yield self.plan(read_source, event, f"{document}/{told['number']}", event.recorded_at, payload)
        elif (digest := told["digest" if event.type == DocumentRemoved.TOPIC else "replaces"]) is not None:
            about = f"{document}/{digest}/{event.event_id}"
            yield self.plan(forget_text, event, about, event.recorded_at, {"digest": digest})


POLICY = SourcesAreRead()
