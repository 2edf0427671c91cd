"""Reads the log for those who fold it: bounded in bytes as well as in rows, one tenant alone if need be.

Small payloads come with their rows. Larger ones are fetched one by one, until the batch is as large as a batch may be;
one that is beyond every limit is never fetched at all, and whoever wants it is told so.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

import psycopg

from felix.domain.errors import Corrupt
from felix.eventstore.mapper import RecordedCommand, RecordedEvent
from felix.eventstore.reader import COLUMNS, COMMAND_COLUMNS, dense, recorded, recorded_commands

#: A payload up to this size comes with its row: 5,000 rows of it are 80 MB at the very worst.
INLINE_BYTES = 16 * 1024
#: What the larger payloads of a batch may have together; the batch ends before the one that would be too many.
BATCH_BYTES = 8 * 1024 * 1024
#: No command that the API takes makes an event of more: bodies are limited to 64 kB, an item of a batch to less.
MAX_STATE_BYTES = 1024 * 1024

_COLUMNS = COLUMNS.removesuffix("state") + f"case when octet_length(state) <= {INLINE_BYTES} then state end"
_EVENTS = f"select {_COLUMNS} from felix.events where partition = %s"  # noqa: S608 constants
_BATCH = _EVENTS + " and position > %s order by position limit %s"
_OF_TENANT = (
    f"{_EVENTS} and tenant_id = %s and position <= %s and tenant_sequence >="  # noqa: S608 constants
    " (select tenant_sequence from felix.events where partition = %s and position = %s)"
    " order by tenant_sequence limit %s"
)
_SIZES = "select position, octet_length(state) from felix.events where partition = %s and position = any(%b)"
_STATE = "select state from felix.events where partition = %s and position = %s"
_COMMANDS_OF_TENANT = (
    f"select {COMMAND_COLUMNS} from felix.commands"  # noqa: S608 constants
    " where partition = %s and tenant_id = %s and sequence >= %s and sequence <= %s order by sequence limit %s"
)


class EventTooLarge(Corrupt):
    """The payload of an event is larger than any that Felix writes; it was not read into memory."""


class OversizedEvent(RecordedEvent):
    """An event without its payload: only its envelope can be looked at."""

    __slots__ = ("size_bytes",)

    size_bytes: int

    def _refuse(self) -> EventTooLarge:
        return EventTooLarge(
            f"The event at {self.partition}:{self.position} has a payload of {self.size_bytes} bytes;"
            f" {MAX_STATE_BYTES} are allowed.",
            partition=self.partition, position=self.position, size_bytes=self.size_bytes,
        )  # fmt: skip

    @property
    def state(self) -> bytes:
        """Raises :class:`EventTooLarge`."""
        raise self._refuse()

    @state.setter
    def state(self, state: bytes) -> None:
        """There is none."""

    @property
    def payload(self) -> dict[str, Any]:
        """Raises :class:`EventTooLarge`."""
        raise self._refuse()


def read_batch(connection: psycopg.Connection[Any], partition: int, after: int, limit: int) -> list[RecordedEvent]:
    """The events that follow position ``after``, at most ``limit``, fewer when they are large.

    Raises ``GapInLog``.
    """
    rows = connection.execute(_BATCH, (partition, after, limit), prepare=True, binary=True)
    return dense(_with_payloads(connection, recorded(rows)), partition, after)


def read_tenant(
    connection: psycopg.Connection[Any], partition: int, tenant_id: UUID, first: int, last: int, limit: int
) -> list[RecordedEvent]:
    """A tenant's events from position ``first``, which is one of them, to ``last``; at most ``limit``."""
    rows = connection.execute(_OF_TENANT, (partition, tenant_id, last, partition, first, limit), binary=True)
    return _with_payloads(connection, recorded(rows))


def read_tenant_commands(
    connection: psycopg.Connection[Any], partition: int, tenant_id: UUID, first: int, last: int, limit: int
) -> list[RecordedCommand]:
    """A tenant's commands from one place of their feed to another; at most ``limit``."""
    rows = connection.execute(_COMMANDS_OF_TENANT, (partition, tenant_id, first, last, limit), binary=True)
    return recorded_commands(rows)


def _with_payloads(connection: psycopg.Connection[Any], found: list[RecordedEvent]) -> list[RecordedEvent]:
    large = [place for place, event in enumerate(found) if event.state is None]
    if not large:
        return found
    partition = found[0].partition
    sizes = dict(connection.execute(_SIZES, (partition, [found[place].position for place in large])))
    fetched_bytes = 0
    for place in large:
        event = found[place]
        size = sizes[event.position]
        if size > MAX_STATE_BYTES:
            found[place] = _oversized(event, size)
            continue
        if fetched_bytes and fetched_bytes + size > BATCH_BYTES:
            return found[:place]
        fetched_bytes += size
        row = connection.execute(_STATE, (partition, event.position), binary=True).fetchone()
        assert row is not None
        event.state = row[0]
    return found


def _oversized(event: RecordedEvent, size_bytes: int) -> OversizedEvent:
    oversized = OversizedEvent(
        event.partition, event.position, event.tenant_id, event.tenant_sequence, event.stream, event.version,
        event.type, event.event_id, event.recorded_at, event.command_key, event.actor, event.metadata, b"",
    )  # fmt: skip
    oversized.size_bytes = size_bytes
    return oversized
