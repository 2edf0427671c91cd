"""Reads the log: a partition from a position on, a stream from a version on, and the heads.

Positions are dense per partition and in commit order, so a reader that has seen ``n`` has seen all before it. Every
batch is checked for that, in production too: what is missing must stop the reader, never be skipped by it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson
import psycopg

from felix.domain.errors import Corrupt
from felix.eventstore.mapper import RecordedEvent

#: The columns of a :class:`RecordedEvent`, in its order.
COLUMNS = (
    "partition, position, tenant_id, tenant_sequence, stream, version, type, event_id, recorded_at, command_key,"
    " actor, metadata::text, state"
)
_SELECT = f"select {COLUMNS} from felix.events where partition = %s"  # noqa: S608 constants
_PARTITION = _SELECT + " and position > %s order by position limit %s"
_STREAM = _SELECT + " and stream = %s and version > %s order by version limit %s"


class GapInLog(Corrupt):
    """The log misses a position or a version; whoever reads it stops here."""


def read_partition(
    connection: psycopg.Connection[Any], partition: int, after: int, limit: int = 500
) -> list[RecordedEvent]:
    """The events that follow position ``after``, at most ``limit``. Raises :class:`GapInLog`."""
    found = recorded(connection.execute(_PARTITION, (partition, after, limit), prepare=True, binary=True))
    if found and (found[0].position != after + 1 or found[-1].position != after + len(found)):
        expected = after + 1
        for event in found:
            if event.position != expected:
                break
            expected += 1
        raise GapInLog(f"Partition {partition} has no position {expected}.", partition=partition, position=expected)
    return found


def read_stream(
    connection: psycopg.Connection[Any], partition: int, stream: str, after_version: int = 0, limit: int = 500
) -> list[RecordedEvent]:
    """The events of a stream that follow a version, at most ``limit``. Raises :class:`GapInLog`."""
    found = recorded(connection.execute(_STREAM, (partition, stream, after_version, limit), prepare=True, binary=True))
    for version, event in enumerate(found, after_version + 1):
        if event.version != version:
            raise GapInLog(f"{stream} has no version {version}.", partition=partition, stream=stream, version=version)
    return found


def heads(connection: psycopg.Connection[Any]) -> dict[int, int]:
    """The last position of every partition."""
    return dict(connection.execute("select partition, position from felix.partitions", prepare=True, binary=True))


def recorded(rows: Iterable[tuple[Any, ...]]) -> list[RecordedEvent]:
    """Rows of :data:`COLUMNS` as events."""
    loads = orjson.loads
    return [
        RecordedEvent(
            partition, position, tenant_id, tenant_sequence, stream, version, type_, event_id, recorded_at,
            command_key, actor, loads(metadata), state,
        )
        for (
            partition, position, tenant_id, tenant_sequence, stream, version, type_, event_id, recorded_at,
            command_key, actor, metadata, state,
        ) in rows
    ]  # fmt: skip
