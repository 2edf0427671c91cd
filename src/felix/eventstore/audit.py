"""Reads what an audit compares: the log without trusting it, the commands, the snapshots, and the cursors.

For a connection as ``felix_founder``, who sees every tenant and can change nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg

from felix.eventstore.mapper import RecordedEvent
from felix.eventstore.reader import COLUMNS, recorded

#: Rows that are fetched at once; what is held in memory does not grow with the log.
PAGE = 1_000

_EVENTS = (
    f"select {COLUMNS} from felix.events where partition = %s and position > %s and position <= %s"  # noqa: S608 constants
    " order by position limit %s"
)
_COMMANDS = (
    "select tenant_id, command_key, accepted, first_position, last_position from felix.commands"
    " where partition = %s and first_position <= %s order by first_position, command_key"
)
_SEQUENCES = "select sequence from felix.commands where partition = %s and sequence <= %s order by sequence"
_SNAPSHOTS = (
    "select stream, version, type, sha256(state) from felix.snapshots where partition = %s order by stream, version"
)


@dataclass(frozen=True, slots=True)
class CommandSpan:
    """A command that left events, and where they are."""

    tenant_id: UUID
    command_key: str
    accepted: bool
    first_position: int
    last_position: int


@dataclass(frozen=True, slots=True)
class SnapshotDigest:
    """A snapshot by the SHA-256 of its state; ``type`` names the aggregate and the version of its state."""

    stream: str
    version: int
    type: str
    sha256: bytes


def every_event(connection: psycopg.Connection[Any], partition: int, until: int) -> Iterator[RecordedEvent]:
    """The events of a partition up to a position, in order, with whatever gaps there are."""
    after = 0
    while page := recorded(connection.execute(_EVENTS, (partition, after, until, PAGE), prepare=True, binary=True)):
        yield from page
        after = page[-1].position


def command_spans(connection: psycopg.Connection[Any], partition: int, until: int) -> Iterator[CommandSpan]:
    """The commands whose events begin at or before a position, in the order of the log."""
    with connection.transaction(), connection.cursor(name="felix_command_spans") as cursor:
        cursor.itersize = PAGE
        cursor.execute(_COMMANDS, (partition, until))
        for row in cursor:
            yield CommandSpan(*row)


def command_sequences(connection: psycopg.Connection[Any], partition: int, until: int) -> Iterator[int]:
    """The places that are taken in the feed of commands up to one of them, in order, with whatever gaps there are."""
    with connection.transaction(), connection.cursor(name="felix_command_sequences") as cursor:
        cursor.itersize = PAGE
        cursor.execute(_SEQUENCES, (partition, until))
        for (sequence,) in cursor:
            yield sequence


def snapshot_digests(connection: psycopg.Connection[Any], partition: int) -> list[SnapshotDigest]:
    """Every snapshot of a partition."""
    return [SnapshotDigest(*row) for row in connection.execute(_SNAPSHOTS, (partition,), binary=True)]


def cursors(connection: psycopg.Connection[Any]) -> list[tuple[str, int, int]]:
    """How far each projection is: name, partition and position."""
    return connection.execute("select projection, partition, position from felix.cursors").fetchall()
