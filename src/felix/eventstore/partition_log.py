"""One partition of the log, as its writer sees it.

A batch is one transaction: :meth:`PartitionLog.open_batch` takes the partition's head (the lock and the counter),
:meth:`PartitionLog.commit` appends and moves it. Positions are therefore dense and in commit order, a rollback
undoes the counter, and two processes on one partition take turns.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
import psycopg
from psycopg import errors as pg
from psycopg.adapt import Dumper
from psycopg.pq import Format

from felix.domain.base import FelixAggregate, FelixEvent
from felix.domain.errors import Corrupt, Unavailable, VersionConflict
from felix.eventstore import rows
from felix.eventstore.mapper import canonical_json, decode_state, domain_event

#: Up to this many rows an array insert inside the pipeline is quicker than COPY with its own round trips.
COPY_FROM_ROWS = 24

_HEAD = "select position from felix.partitions where partition = %s for no key update"
_KNOWN = (
    "select c.tenant_id, c.command_key, c.accepted, c.first_position, c.last_position, c.fingerprint, c.outcome,"
    " c.recorded_at from felix.commands c join unnest(%s::uuid[], %s::text[]) as k (tenant_id, command_key)"
    " using (tenant_id, command_key) where c.partition = %s"
)
_MOVE = "update felix.partitions set position = %s where partition = %s and position = %s"
_INSERT_EVENTS = (
    f"insert into felix.events ({rows.EVENT_COLUMNS})"  # noqa: S608 constants; values are parameters
    " select %s, * from unnest(%s::bigint[], %s::uuid[], %s::bigint[],"
    " %s::bigint[], %s::timestamptz[], %s::uuid[], %s::text[], %s::text[], %s::text[], %s::text[], %s::json[],"
    " %s::bytea[], %s::bytea[])"
)
_INSERT_COMMANDS = (
    f"insert into felix.commands ({rows.COMMAND_COLUMNS})"  # noqa: S608 constants; values are parameters
    " select %s, * from unnest(%s::uuid[], %s::text[],"
    " %s::text[], %s::text[], %s::boolean[], %s::bigint[], %s::bigint[], %s::timestamptz[], %s::bytea[], %s::bytea[])"
)
_INSERT_SNAPSHOT = (
    "insert into felix.snapshots (partition, tenant_id, stream, version, type, created_on, modified_on, state)"
    " values (%s, %s, %s, %s, %s, %s, %s, %s) on conflict do nothing"
)
_KNOWN_KEYS = "select dedupe_key from felix.events where partition = %s and dedupe_key = any(%s)"
_SELECT_TAIL = (
    "select version, type, event_id, recorded_at, state from felix.events"
    " where partition = %s and stream = %s and version > %s order by version"
)


class _Keys:
    """16-byte keys as one ``bytea[]`` parameter."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self.keys = keys


class _KeysDumper(Dumper):
    """Packs :class:`_Keys` in one go; the driver's generic list dumper takes several µs a key."""

    format = Format.BINARY
    oid = 1001  # bytea[]

    def dump(self, obj: _Keys) -> bytes:
        """Array header (one dimension, no nulls, bytea, length, lower bound 1), then length and bytes of each."""
        head = struct.pack(">iiIii", 1, 0, 17, len(obj.keys), 1)
        return head + b"".join([b"\x00\x00\x00\x10" + key for key in obj.keys])


psycopg.adapters.register_dumper(_Keys, _KeysDumper)


@dataclass(slots=True)
class NewEvent:
    """An event on its way into the log. ``state`` is canonical JSON, ``dedupe_key`` 16 bytes or none."""

    tenant_id: UUID
    stream: str
    version: int
    type: str
    event_id: UUID
    recorded_at: datetime
    command_key: str
    actor: str
    metadata: bytes
    state: bytes
    dedupe_key: bytes | None = None


@dataclass(slots=True)
class CommandOutcome:
    """What became of a command: remembered under its key for ever. ``outcome`` is canonical JSON."""

    tenant_id: UUID
    command_key: str
    type: str
    actor: str
    accepted: bool
    first_position: int | None
    last_position: int | None
    recorded_at: datetime
    fingerprint: bytes
    outcome: bytes


@dataclass(slots=True)
class NewSnapshot:
    """An aggregate's state at a version, in the order of the table's columns. ``state`` is canonical JSON."""

    tenant_id: UUID
    stream: str
    version: int
    type: str
    created_on: datetime
    modified_on: datetime
    state: bytes


class PartitionLog:
    """The writer's side of one partition. Not thread-safe: one lane owns it.

    Every method raises :class:`Unavailable` when the database can't be reached or gave up on the transaction; after
    that the connection is made anew at the next batch. Whether a commit that failed that way took place is answered
    by the command's key.
    """

    def __init__(self, connect: Callable[[], psycopg.Connection[Any]], partition: int) -> None:
        self.partition = partition
        self._connect = connect
        self._connection: psycopg.Connection[Any] | None = None
        self._head = 0

    def open_batch(self, keys: Sequence[tuple[UUID, str]]) -> tuple[int, dict[tuple[UUID, str], CommandOutcome]]:
        """Begin a transaction, take the head, and look ``keys`` up.

        Returns the head's position and the outcomes already remembered (with ``type`` and ``actor`` left empty).
        """
        try:
            connection = self._ready()
            with connection.pipeline():
                connection.execute("begin")
                head = connection.execute(_HEAD, (self.partition,), prepare=True)
                known = connection.execute(
                    _KNOWN, ([t for t, _ in keys], [k for _, k in keys], self.partition), prepare=True, binary=True
                )
            row = head.fetchone()
            if row is None:
                raise Corrupt(f"Partition {self.partition} has no head.", partition=self.partition)
            self._head = row[0]
            return self._head, {
                (r[0], r[1]): CommandOutcome(r[0], r[1], "", "", r[2], r[3], r[4], r[7], r[5], r[6]) for r in known
            }
        except psycopg.Error as error:
            raise self._unavailable(error) from error

    def load(self, aggregate_class: type[FelixAggregate], stream: str) -> tuple[FelixAggregate, int] | None:
        """An aggregate from its newest snapshot and the events after it, and the snapshot's version (0: none)."""
        try:
            connection = self._ready()
            snapshot = connection.execute(
                "select version, created_on, modified_on, state from felix.snapshots"
                " where partition = %s and stream = %s and type = %s order by version desc limit 1",
                (self.partition, stream, snapshot_type(aggregate_class)),
                prepare=True,
            ).fetchone()
            aggregate: FelixAggregate | None = None
            at = 0
            if snapshot is not None:
                at = snapshot[0]
                aggregate = aggregate_class.restore(
                    stream=stream,
                    version=at,
                    created_on=snapshot[1],
                    modified_on=snapshot[2],
                    state=orjson.loads(snapshot[3]),
                )
            for version, type_, event_id, recorded_at, state in connection.execute(
                _SELECT_TAIL, (self.partition, stream, at), prepare=True, binary=True
            ):
                aggregate = fold(aggregate, type_, state, stream, version, recorded_at, event_id)
        except psycopg.Error as error:
            raise self._unavailable(error) from error
        return None if aggregate is None else (aggregate, at)

    def event_at(self, stream: str, version: int) -> FelixEvent | None:
        """One event of a stream."""
        try:
            row = (
                self._ready()
                .execute(
                    "select type, event_id, recorded_at, state from felix.events"
                    " where partition = %s and stream = %s and version = %s",
                    (self.partition, stream, version),
                    prepare=True,
                )
                .fetchone()
            )
        except psycopg.Error as error:
            raise self._unavailable(error) from error
        if row is None:
            return None
        payload = decode_state(row[0], row[3])
        return domain_event(row[0], payload, stream, version, recorded_at=row[2], event_id=row[1])

    def last_tenant_sequences(self, tenant_ids: Sequence[UUID]) -> dict[UUID, int]:
        """The last ``tenant_sequence`` of each tenant; 0 where it has no event yet."""
        try:
            found = self._ready().execute(
                "select t.id, coalesce((select max(e.tenant_sequence) from felix.events e"
                " where e.partition = %s and e.tenant_id = t.id), 0) from unnest(%s::uuid[]) as t (id)",
                (self.partition, list(tenant_ids)),
                prepare=True,
            )
            return dict(found.fetchall())
        except psycopg.Error as error:
            raise self._unavailable(error) from error

    def known_dedupe_keys(self, keys: Sequence[bytes]) -> set[bytes]:
        """Which of these 16-byte keys already have an event."""
        try:
            found = self._ready().execute(_KNOWN_KEYS, (self.partition, _Keys(keys)), prepare=True, binary=True)
            return {row[0] for row in found}
        except psycopg.Error as error:
            raise self._unavailable(error) from error

    def commit(
        self,
        events: Sequence[NewEvent],
        sequences: dict[UUID, int],
        outcomes: Sequence[CommandOutcome],
        snapshots: Sequence[NewSnapshot] = (),
    ) -> int:
        """Append everything and end the transaction; returns the new head.

        Positions follow the order of ``events``. ``sequences`` holds each tenant's last sequence and is moved on.
        Raises :class:`VersionConflict` when a stream already has one of the versions; the transaction is undone.
        """
        head = self._head + len(events)
        try:
            connection = self._ready()
            if len(events) >= COPY_FROM_ROWS:
                self._copy(connection, f"felix.events ({rows.EVENT_COLUMNS})", self._event_rows(events, sequences))
            if len(outcomes) >= COPY_FROM_ROWS:
                self._copy(connection, f"felix.commands ({rows.COMMAND_COLUMNS})", self._command_rows(outcomes))
            with connection.pipeline():
                if 0 < len(events) < COPY_FROM_ROWS:
                    connection.execute(_INSERT_EVENTS, self._event_arrays(events, sequences), prepare=True, binary=True)
                if 0 < len(outcomes) < COPY_FROM_ROWS:
                    connection.execute(_INSERT_COMMANDS, self._command_arrays(outcomes), prepare=True, binary=True)
                for s in snapshots:
                    connection.execute(
                        _INSERT_SNAPSHOT,
                        (
                            self.partition,
                            s.tenant_id,
                            s.stream,
                            s.version,
                            s.type,
                            s.created_on,
                            s.modified_on,
                            s.state,
                        ),
                    )
                if events:
                    connection.execute(_MOVE, (head, self.partition, self._head), prepare=True)
                connection.execute("commit")
        except pg.UniqueViolation as error:
            self.rollback()
            raise VersionConflict(
                "Another writer appended first.", constraint=error.diag.constraint_name or ""
            ) from error
        except psycopg.Error as error:
            raise self._unavailable(error) from error
        self._head = head
        return head

    def rollback(self) -> None:
        """Give the batch up."""
        connection = self._connection
        if connection is None or connection.closed:
            return
        try:
            connection.execute("rollback")
        except psycopg.Error:
            self.close()

    def close(self) -> None:
        """Drop the connection; the next batch makes a new one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _ready(self) -> psycopg.Connection[Any]:
        if self._connection is None or self._connection.closed:
            self._connection = self._connect()
        return self._connection

    def _unavailable(self, error: psycopg.Error) -> Unavailable:
        self.close()
        return Unavailable(
            "The database can't be reached right now; the same key can be used again.",
            sqlstate=error.sqlstate or "",
        )

    @staticmethod
    def _copy(connection: psycopg.Connection[Any], target: str, packed: list[bytes]) -> None:
        with connection.cursor() as cursor, cursor.copy(f"copy {target} from stdin (format binary)".encode()) as copy:
            copy.write(b"".join((rows.COPY_HEADER, *packed, rows.COPY_TRAILER)))

    def _event_rows(self, events: Sequence[NewEvent], sequences: dict[UUID, int]) -> list[bytes]:
        packed = []
        partition, position = self.partition, self._head
        event_row = rows.event_row
        tails: dict[tuple[str, str, str, bytes], bytes] = {}
        tenant_bytes = {tenant_id: tenant_id.bytes for tenant_id in sequences}
        at, at_micros = None, 0
        for event in events:
            position += 1
            tenant_id = event.tenant_id
            sequences[tenant_id] = sequence = sequences[tenant_id] + 1
            shared = (event.type, event.command_key, event.actor, event.metadata)
            tail = tails.get(shared)
            if tail is None:
                tail = tails[shared] = rows.event_tail(
                    event.type, event.command_key, event.actor.encode(), event.metadata
                )
            if event.recorded_at is not at:
                at = event.recorded_at
                at_micros = rows.micros(at)
            packed.append(
                event_row(
                    partition,
                    position,
                    tenant_bytes[tenant_id],
                    sequence,
                    event.version,
                    at_micros,
                    event.event_id.bytes,
                    event.stream.encode(),
                    tail,
                    event.state,
                    event.dedupe_key,
                )
            )
        return packed

    def _event_arrays(self, events: Sequence[NewEvent], sequences: dict[UUID, int]) -> tuple[Any, ...]:
        columns: tuple[list[Any], ...] = tuple([] for _ in range(13))
        position = self._head
        for e in events:
            position += 1
            sequences[e.tenant_id] = sequence = sequences[e.tenant_id] + 1
            for column, value in zip(
                columns,
                (
                    position, e.tenant_id, sequence, e.version, e.recorded_at, e.event_id, e.stream, e.type,
                    e.command_key, e.actor, e.metadata.decode(), e.state, e.dedupe_key,
                ),
                strict=True,
            ):  # fmt: skip
                column.append(value)
        return (self.partition, *columns)

    def _command_rows(self, outcomes: Sequence[CommandOutcome]) -> list[bytes]:
        return [
            rows.command_row(
                self.partition, o.tenant_id, o.command_key, o.type, o.actor, o.accepted, o.first_position,
                o.last_position, rows.micros(o.recorded_at), o.fingerprint, o.outcome,
            )
            for o in outcomes
        ]  # fmt: skip

    def _command_arrays(self, outcomes: Sequence[CommandOutcome]) -> tuple[Any, ...]:
        return (
            self.partition,
            [o.tenant_id for o in outcomes],
            [o.command_key for o in outcomes],
            [o.type for o in outcomes],
            [o.actor for o in outcomes],
            [o.accepted for o in outcomes],
            [o.first_position for o in outcomes],
            [o.last_position for o in outcomes],
            [o.recorded_at for o in outcomes],
            [o.fingerprint for o in outcomes],
            [o.outcome for o in outcomes],
        )


def fold(
    aggregate: FelixAggregate | None,
    type_: str,
    state: bytes,
    stream: str,
    version: int,
    recorded_at: datetime,
    event_id: UUID,
) -> FelixAggregate:
    """Add one stored event up. Raises :class:`Corrupt` when its version is not the next one."""
    event = domain_event(type_, decode_state(type_, state), stream, version, recorded_at=recorded_at, event_id=event_id)
    if aggregate is None:
        made = event.mutate(None)
        if not isinstance(made, FelixAggregate):
            raise Corrupt(f"{stream} begins with {type_}, which makes no aggregate.", stream=stream)
        return made
    if version != aggregate.version + 1:
        raise Corrupt(f"{stream} has no version {aggregate.version + 1}.", stream=stream, version=version)
    event.apply(aggregate)
    aggregate.version = version
    aggregate.modified_on = recorded_at
    return aggregate


def snapshot_type(aggregate_class: type[FelixAggregate]) -> str:
    """Stored with a snapshot: a snapshot of an older state version is ignored and the stream replayed."""
    return f"{aggregate_class.TOPIC}/{getattr(aggregate_class, 'class_version', 1)}"  # type: ignore[attr-defined]


def snapshot_of(aggregate: FelixAggregate, tenant_id: UUID) -> NewSnapshot:
    """The snapshot of an aggregate as it is now."""
    return NewSnapshot(
        tenant_id=tenant_id,
        stream=aggregate.id,
        version=aggregate.version,
        type=snapshot_type(type(aggregate)),
        created_on=aggregate.created_on,
        modified_on=aggregate.modified_on,
        state=canonical_json(aggregate.snapshot()),
    )
