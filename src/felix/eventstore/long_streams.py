"""Finds streams that have grown far beyond their newest snapshot, and snapshots them.

Lanes snapshot what they write themselves. This is for what came otherwise: an import, or a new state version, after
which older snapshots are read no more. Nothing is locked: events never change, so a snapshot at any version is right.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
import psycopg

from felix.domain.base import FelixAggregate
from felix.domain.errors import Corrupt
from felix.eventstore.reader import read_stream
from felix.eventstore.snapshots import fold, snapshot_of, snapshot_type

#: Streams that are looked at with one question.
PAGE = 500

# One step of the index a stream, however long it is: the next name after the last one, and its highest version.
_STREAMS = """
    with recursive named as (
      (select stream from felix.events where partition = %(partition)s and stream > %(after)s
        order by stream limit 1)
      union all
      select (select e.stream from felix.events e where e.partition = %(partition)s and e.stream > n.stream
        order by e.stream limit 1) from named n where n.stream is not null
    )
    select stream,
      (select version from felix.events e where e.partition = %(partition)s and e.stream = n.stream
        order by version desc limit 1),
      coalesce((select version from felix.snapshots s where s.partition = %(partition)s and s.stream = n.stream
        and s.type = any(%(types)s) order by version desc limit 1), 0),
      coalesce((select version from felix.snapshots s where s.partition = %(partition)s and s.stream = n.stream
        order by version desc limit 1), 0)
    from named n where stream is not null limit %(page)s
"""
_SNAPSHOT = (
    "select version, created_on, modified_on, state from felix.snapshots"
    " where partition = %s and stream = %s and version = %s"
)
_INSERT = (
    "insert into felix.snapshots (partition, tenant_id, stream, version, type, created_on, modified_on, state)"
    " values (%s, %s, %s, %s, %s, %s, %s, %s) on conflict do nothing"
)


@dataclass(frozen=True, slots=True)
class LongStream:
    """A stream, the version that can be snapshot, and that of its newest usable snapshot (0: none).

    A version has one snapshot for ever. Where the last one has one that is read no more, it is the one before.
    """

    partition: int
    stream: str
    version: int
    snapshot: int


def aggregate_classes() -> dict[str, type[FelixAggregate]]:
    """Every aggregate by its kind, as far as it has been imported."""
    found, waiting = {}, list(FelixAggregate.__subclasses__())
    while waiting:
        cls = waiting.pop()
        waiting += cls.__subclasses__()
        if "TOPIC" in vars(cls):
            found[cls.kind] = cls
    return found


def long_streams(connection: psycopg.Connection[Any], partition: int, every: int) -> Iterator[LongStream]:
    """The streams of a partition that have ``every`` or more events after their newest usable snapshot."""
    known = aggregate_classes()
    asked: dict[str, Any] = {
        "partition": partition, "after": "", "types": [snapshot_type(cls) for cls in known.values()], "page": PAGE
    }  # fmt: skip
    while page := connection.execute(_STREAMS, asked).fetchall():
        for stream, last, snapshot, newest in page:
            version = last - (newest == last)
            if version - snapshot >= every and stream.split(":", 2)[1] in known:
                yield LongStream(partition, stream, version, snapshot)
        asked["after"] = page[-1][0]


def snapshot_long_stream(connection: psycopg.Connection[Any], long: LongStream) -> None:
    """Add a stream up and store what it comes to. ``connection`` is a writer's."""
    cls = aggregate_classes()[long.stream.split(":", 2)[1]]
    aggregate: FelixAggregate | None = None
    row = connection.execute(_SNAPSHOT, (long.partition, long.stream, long.snapshot)).fetchone()
    if row is not None:
        version, created_on, modified_on, state = row
        aggregate = cls.restore(
            stream=long.stream, version=version, created_on=created_on, modified_on=modified_on,
            state=orjson.loads(state),
        )  # fmt: skip
    at = long.snapshot
    while page := read_stream(connection, long.partition, long.stream, at, min(PAGE, long.version - at)):
        for event in page:
            aggregate = fold(
                aggregate, event.type, event.state, long.stream, event.version, event.recorded_at, event.event_id
            )
        at = page[-1].version
    if not isinstance(aggregate, cls):
        raise Corrupt(f"{long.stream} is not a {cls.__name__}.", stream=long.stream)
    made = snapshot_of(aggregate, UUID(long.stream[:36]))
    connection.execute(
        _INSERT,
        (
            long.partition, made.tenant_id, made.stream, made.version, made.type, made.created_on, made.modified_on,
            made.state,
        ),
    )  # fmt: skip
