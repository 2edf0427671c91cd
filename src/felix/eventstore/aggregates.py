"""Aggregates as they are: from the newest snapshot and the events after it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar
from uuid import UUID

import orjson
import psycopg

from felix.domain.base import FelixAggregate, stream_name
from felix.eventstore.kept_connections import KeptConnections
from felix.eventstore.mapper import RecordedEvent
from felix.eventstore.reader import read_stream
from felix.eventstore.snapshots import fold, snapshot_type

A = TypeVar("A", bound=FelixAggregate)

_SNAPSHOT = (
    "select version, created_on, modified_on, state from felix.snapshots"
    " where partition = %s and stream = %s and type = %s order by version desc limit 1"
)
_TAIL = (
    "select version, type, event_id, recorded_at, state from felix.events"
    " where partition = %s and stream = %s and version > %s order by version"
)


def replay(
    connection: psycopg.Connection[Any], partition: int, aggregate_class: type[FelixAggregate], stream: str
) -> tuple[FelixAggregate, int] | None:
    """An aggregate, and the version of the snapshot that it was begun from (0: none); None where there is none."""
    snapshot = connection.execute(
        _SNAPSHOT, (partition, stream, snapshot_type(aggregate_class)), prepare=True
    ).fetchone()
    aggregate: FelixAggregate | None = None
    at = 0
    if snapshot is not None:
        at = snapshot[0]
        aggregate = aggregate_class.restore(
            stream=stream, version=at, created_on=snapshot[1], modified_on=snapshot[2], state=orjson.loads(snapshot[3])
        )
    for version, type_, event_id, recorded_at, state in connection.execute(
        _TAIL, (partition, stream, at), prepare=True, binary=True
    ):
        aggregate = fold(aggregate, type_, state, stream, version, recorded_at, event_id)
    return None if aggregate is None else (aggregate, at)


class Aggregates:
    """Aggregates for whoever looks at them before a command: what they say may be over by the time it is performed.

    Safe from any thread.
    """

    def __init__(self, connect: Callable[[], psycopg.Connection[Any]]) -> None:
        self._connections = KeptConnections(connect, "The log")

    def find(self, place: tuple[int, UUID], aggregate_class: type[A], local_id: str) -> A | None:
        """An aggregate of a tenant as it is now; ``place`` is partition and tenant. Raises ``Unavailable``."""
        partition, tenant_id = place
        stream = stream_name(tenant_id, aggregate_class.kind, local_id)
        found = self._connections.call(lambda connection: replay(connection, partition, aggregate_class, stream))
        if found is None:
            return None
        aggregate, _ = found
        assert isinstance(aggregate, aggregate_class)
        return aggregate

    def events(self, place: tuple[int, UUID], aggregate_class: type[A], local_id: str) -> list[RecordedEvent]:
        """Everything that has happened to it, in order. Raises ``Unavailable``."""
        partition, tenant_id = place
        stream = stream_name(tenant_id, aggregate_class.kind, local_id)

        def read(connection: psycopg.Connection[Any]) -> list[RecordedEvent]:
            found: list[RecordedEvent] = []
            while page := read_stream(connection, partition, stream, len(found)):
                found += page
            return found

        return self._connections.call(read)

    def close(self) -> None:
        """Give the connections back."""
        self._connections.close()
