"""Reads the log: a partition from a position on, a stream from a version on, the commands, and the heads.

Positions are dense per partition and in commit order, so a reader that has seen ``n`` has seen all before it. Every
batch is checked for that, in production too: what is missing must stop the reader, never be skipped by it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

import orjson
import psycopg
from eventsourcing.persistence import InternalError

from felix.domain.errors import Corrupt
from felix.eventstore.mapper import RecordedCommand, RecordedEvent

R = TypeVar("R", RecordedEvent, RecordedCommand)

#: The columns of a :class:`RecordedEvent`, in its order.
COLUMNS = (
    "partition, position, tenant_id, tenant_sequence, stream, version, type, event_id, recorded_at, command_key,"
    " actor, metadata::text, state"
)
_SELECT = f"select {COLUMNS} from felix.events where partition = %s"  # noqa: S608 constants
_PARTITION = _SELECT + " and position > %s order by position limit %s"
_STREAM = _SELECT + " and stream = %s and version > %s order by version limit %s"
#: The columns of a :class:`RecordedCommand`, in its order.
COMMAND_COLUMNS = (
    "partition, sequence, tenant_id, command_key, type, actor, accepted, first_position, last_position, recorded_at,"
    " metadata::text, reason, outcome, last_tenant_sequence"
)
_COMMANDS = (
    f"select {COMMAND_COLUMNS} from felix.commands"  # noqa: S608 constants
    " where partition = %s and sequence > %s order by sequence limit %s"
)


class GapInLog(Corrupt, InternalError):
    """The log misses a position, a version or a command; whoever reads it stops here."""


def read_partition(
    connection: psycopg.Connection[Any], partition: int, after: int, limit: int = 500
) -> list[RecordedEvent]:
    """The events that follow position ``after``, at most ``limit``. Raises :class:`GapInLog`."""
    found = recorded(connection.execute(_PARTITION, (partition, after, limit), prepare=True, binary=True))
    return dense(found, partition, after)


def read_commands(
    connection: psycopg.Connection[Any], partition: int, after: int, limit: int = 500
) -> list[RecordedCommand]:
    """The commands that follow a place in their feed, at most ``limit``. Raises :class:`GapInLog`."""
    found = recorded_commands(connection.execute(_COMMANDS, (partition, after, limit), prepare=True, binary=True))
    return dense(found, partition, after, "command")


def dense(found: list[R], partition: int, after: int, what: str = "position") -> list[R]:
    """The same, when nothing is missing from what follows ``after``. Raises :class:`GapInLog`."""
    if found and (found[0].position != after + 1 or found[-1].position != after + len(found)):
        missing = next(expected for expected, each in enumerate(found, after + 1) if each.position != expected)
        raise GapInLog(f"Partition {partition} has no {what} {missing}.", partition=partition, position=missing)
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


def command_heads(connection: psycopg.Connection[Any]) -> dict[int, int]:
    """The last command of every partition, as its place in the feed of commands."""
    return dict(connection.execute("select partition, commands from felix.partitions", prepare=True, binary=True))


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


def recorded_commands(rows: Iterable[tuple[Any, ...]]) -> list[RecordedCommand]:
    """Rows of :data:`COMMAND_COLUMNS` as commands."""
    loads = orjson.loads
    return [
        RecordedCommand(
            partition, sequence, tenant_id, command_key, type_, actor, accepted, first, last, recorded_at,
            loads(metadata), reason, outcome, last_own,
        )
        for (
            partition, sequence, tenant_id, command_key, type_, actor, accepted, first, last, recorded_at,
            metadata, reason, outcome, last_own,
        ) in rows
    ]  # fmt: skip
