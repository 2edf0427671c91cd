"""One partition of the log, as its writer sees it.

A batch is one transaction: :meth:`PartitionLog.open_batch` takes the partition's head (the lock and the counter),
:meth:`PartitionLog.commit` appends and moves it. Positions are therefore dense and in commit order, a rollback
undoes the counter, and two processes on one partition take turns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
from psycopg import errors as pg
from psycopg import pq

from felix.domain.base import FelixAggregate, FelixEvent
from felix.domain.errors import Corrupt, Unavailable, VersionConflict
from felix.eventstore import connections, rows
from felix.eventstore.aggregates import replay
from felix.eventstore.frozen import end_frozen
from felix.eventstore.mapper import decode_state, domain_event
from felix.eventstore.pipeline import Pipeline, Statement
from felix.eventstore.side_statements import SideStatement
from felix.eventstore.snapshots import NewSnapshot

#: Up to this many rows an array insert inside the pipeline is quicker than COPY with its own round trips.
COPY_FROM_ROWS = 100

_BEGIN = Statement(b"begin", b"begin")
_COMMIT = Statement(b"commit", b"commit")
_ROLLBACK = Statement(b"rollback", b"rollback")
_HEAD = Statement(
    b"head", b"select position, commands from felix.partitions where partition = $1::int for no key update"
)
# The lateral join keeps the plan to one index look-up a key: joined flat, the generic plan that is made while the table
# is small reads every command of the partition, and is kept.
_KNOWN = Statement(
    b"known",
    b"select c.* from unnest($2::uuid[], $3::text[]) as k (tenant_id, command_key) cross join lateral ("
    b"select tenant_id, command_key, accepted, first_position, last_position, fingerprint, outcome, metadata,"
    b" last_tenant_sequence"
    b" from felix.commands where partition = $1::int and tenant_id = k.tenant_id and command_key = k.command_key"
    b" limit 1) c",
)
_KNOWN_KEYS = Statement(
    b"known_keys", b"select dedupe_key from felix.events where partition = $1::int and dedupe_key = any($2::bytea[])"
)
_MOVE = Statement(
    b"move",
    b"update felix.partitions set position = $2::bigint, commands = $3::bigint"
    b" where partition = $1::int and position = $4::bigint",
)
_INSERT_EVENTS = Statement(
    b"insert_events",
    f"insert into felix.events ({rows.EVENT_COLUMNS})"  # noqa: S608 constants; values are parameters
    " select $1::int, * from unnest($2::bigint[], $3::uuid[], $4::bigint[], $5::bigint[], $6::timestamptz[],"
    " $7::uuid[], $8::text[], $9::text[], $10::text[], $11::text[], $12::json[], $13::bytea[], $14::bytea[])".encode(),
)
_INSERT_COMMANDS = Statement(
    b"insert_commands",
    f"insert into felix.commands ({rows.COMMAND_COLUMNS})"  # noqa: S608 constants; values are parameters
    " select $1::int, * from unnest($2::bigint[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::boolean[],"
    " $8::bigint[], $9::bigint[], $10::timestamptz[], $11::bytea[], $12::bytea[], $13::json[], $14::text[],"
    " $15::bigint[])".encode(),
)
_INSERT_SNAPSHOT = (
    "insert into felix.snapshots (partition, tenant_id, stream, version, type, created_on, modified_on, state)"
    " values (%s, %s, %s, %s, %s, %s, %s, %s) on conflict do nothing"
)


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
    """What became of a command: remembered under its key for ever. ``outcome`` and ``metadata`` are canonical JSON."""

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
    metadata: bytes
    reason: str | None = None
    #: The ``tenant_sequence`` of its last event.
    last_tenant_sequence: int | None = None


@dataclass(slots=True)
class Remembered:
    """What a later command under the same key is answered with, or told apart by."""

    accepted: bool
    first_position: int | None
    last_position: int | None
    fingerprint: bytes
    outcome: bytes
    metadata: bytes
    last_tenant_sequence: int | None


class PartitionLog:
    """The writer's side of one partition. Not thread-safe: one lane owns it.

    Every method raises :class:`Unavailable` when the database can't be reached or gave up on the transaction; after
    that the connection is made anew at the next batch. Whether a commit that failed that way took place is answered
    by the command's key.
    """

    def __init__(self, connect: Callable[[], psycopg.Connection[Any]], partition: int) -> None:
        self.partition = partition
        self._connect = connect
        self._pipeline: Pipeline | None = None
        #: For the head: whoever has it may be frozen.
        self._waited_in_vain = False
        self._partition = partition.to_bytes(4, "big")
        self._head = 0
        self._commands = 0

    def open_batch(self, keys: Sequence[tuple[UUID, str]]) -> tuple[int, dict[tuple[UUID, str], Remembered]]:
        """Begin a transaction, take the head, and look ``keys`` up.

        Returns the head's position and the outcomes already remembered.
        """
        if not keys:
            self._open([])
            return self._head, {}
        tenants = rows.array(rows.UUID_, [tenant_id.bytes for tenant_id, _ in keys])
        command_keys = rows.array(rows.TEXT, [key.encode() for _, key in keys])
        known = self._open([(_KNOWN, (self._partition, tenants, command_keys))])
        return self._head, dict(_remembered(known[0]))

    def _open(self, steps: Sequence[tuple[Statement, Sequence[bytes | None]]]) -> list[pq.abc.PGresult]:
        """Begin, take the head, and run ``steps``; their results."""
        try:
            _, head, *results = self._ready().run([(_BEGIN, ()), (_HEAD, (self._partition,)), *steps])
        except psycopg.Error as error:
            self._waited_in_vain = True
            raise self._unavailable(error) from error
        position, commands = (head.get_value(0, 0), head.get_value(0, 1)) if head.ntuples else (None, None)
        if position is None or commands is None:
            self.rollback()
            raise Corrupt(f"Partition {self.partition} has no head.", partition=self.partition)
        self._head = int.from_bytes(position, "big", signed=True)
        self._commands = int.from_bytes(commands, "big", signed=True)
        return results

    def load(self, aggregate_class: type[FelixAggregate], stream: str) -> tuple[FelixAggregate, int] | None:
        """An aggregate from its newest snapshot and the events after it, and the snapshot's version (0: none)."""
        try:
            return replay(self._ready().connection, self.partition, aggregate_class, stream)
        except psycopg.Error as error:
            raise self._unavailable(error) from error

    def event_at(self, stream: str, version: int) -> FelixEvent | None:
        """One event of a stream."""
        try:
            row = (
                self._ready()
                .connection.execute(
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
            found = self._ready().connection.execute(
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
            (found,) = self._ready().run([(_KNOWN_KEYS, (self._partition, rows.array(rows.BYTEA, keys)))])
            return {found.get_value(row, 0) or b"" for row in range(found.ntuples)}
        except psycopg.Error as error:
            raise self._unavailable(error) from error

    def run_beside(self, statement: SideStatement) -> list[tuple[Any, ...]]:
        """Run a statement on a table that is kept beside the log, in this batch's transaction; its rows."""
        try:
            cursor = self._ready().connection.execute(statement.text, statement.parameters)
            return cursor.fetchall() if cursor.description else []
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

        Positions follow the order of ``events``, and places in the feed of commands that of ``outcomes``.
        ``sequences`` holds each tenant's last sequence and is moved on. Raises :class:`VersionConflict` when a stream
        already has one of the versions; the transaction is undone.
        """
        head, commands = self._head + len(events), self._commands + len(outcomes)
        try:
            pipeline = self._ready()
            steps: list[tuple[Statement, Sequence[bytes | None]]] = []
            if len(events) >= COPY_FROM_ROWS:
                self._copy(f"felix.events ({rows.EVENT_COLUMNS})", self._event_rows(events, sequences))
            elif events:
                steps.append((_INSERT_EVENTS, self._event_arrays(events, sequences)))
            if len(outcomes) >= COPY_FROM_ROWS:
                self._copy(f"felix.commands ({rows.COMMAND_COLUMNS})", self._command_rows(outcomes))
            elif outcomes:
                steps.append((_INSERT_COMMANDS, self._command_arrays(outcomes)))
            for s in snapshots:
                pipeline.connection.execute(
                    _INSERT_SNAPSHOT,
                    (self.partition, s.tenant_id, s.stream, s.version, s.type, s.created_on, s.modified_on, s.state),
                )
            if events or outcomes:
                moved = (self._partition, rows.bigint(head), rows.bigint(commands), rows.bigint(self._head))
                steps.append((_MOVE, moved))
            pipeline.run([*steps, (_COMMIT, ())])
        except pg.UniqueViolation as error:
            self.rollback()
            raise VersionConflict(
                "Another writer appended first.", constraint=error.diag.constraint_name or ""
            ) from error
        except psycopg.Error as error:
            raise self._unavailable(error) from error
        self._head, self._commands = head, commands
        return head

    def rollback(self) -> None:
        """Give the batch up."""
        if self._pipeline is None or self._pipeline.connection.closed:
            return
        try:
            self._pipeline.run([(_ROLLBACK, ())])
        except psycopg.Error:
            self.close()

    def close(self) -> None:
        """Drop the connection; the next batch makes a new one."""
        if self._pipeline is not None:
            self._pipeline.connection.close()
            self._pipeline = None

    def _ready(self) -> Pipeline:
        if self._pipeline is None or self._pipeline.connection.closed:
            connection = self._connect()
            if self._waited_in_vain:
                try:
                    end_frozen(connection, connections.TRANSACTION_TIMEOUT_MS / 1000)
                except psycopg.Error:
                    connection.close()
                    raise
            self._waited_in_vain = False
            self._pipeline = Pipeline(connection)
        return self._pipeline

    def _unavailable(self, error: psycopg.Error) -> Unavailable:
        self.close()
        return Unavailable(
            "The database can't be reached right now; the same key can be used again.",
            sqlstate=error.sqlstate or "",
        )

    def _copy(self, target: str, packed: list[bytes]) -> None:
        connection = self._ready().connection
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

    def _event_arrays(self, events: Sequence[NewEvent], sequences: dict[UUID, int]) -> tuple[bytes, ...]:
        own_sequences = []
        for event in events:
            sequences[event.tenant_id] = sequence = sequences[event.tenant_id] + 1
            own_sequences.append(rows.bigint(sequence))
        return (
            self._partition,
            rows.array(rows.BIGINT, [rows.bigint(self._head + n) for n in range(1, len(events) + 1)]),
            rows.array(rows.UUID_, [e.tenant_id.bytes for e in events]),
            rows.array(rows.BIGINT, own_sequences),
            rows.array(rows.BIGINT, [rows.bigint(e.version) for e in events]),
            rows.array(rows.TIMESTAMPTZ, [rows.bigint(rows.micros(e.recorded_at)) for e in events]),
            rows.array(rows.UUID_, [e.event_id.bytes for e in events]),
            rows.array(rows.TEXT, [e.stream.encode() for e in events]),
            rows.array(rows.TEXT, [e.type.encode() for e in events]),
            rows.array(rows.TEXT, [e.command_key.encode() for e in events]),
            rows.array(rows.TEXT, [e.actor.encode() for e in events]),
            rows.array(rows.JSON, [e.metadata for e in events]),
            rows.array(rows.BYTEA, [e.state for e in events]),
            rows.array(rows.BYTEA, [e.dedupe_key for e in events]),
        )

    def _command_rows(self, outcomes: Sequence[CommandOutcome]) -> list[bytes]:
        return [
            rows.command_row(
                self.partition, sequence, o.tenant_id, o.command_key, o.type, o.actor, o.accepted, o.first_position,
                o.last_position, rows.micros(o.recorded_at), o.fingerprint, o.outcome, o.metadata, o.reason,
                o.last_tenant_sequence,
            )
            for sequence, o in enumerate(outcomes, self._commands + 1)
        ]  # fmt: skip

    def _command_arrays(self, outcomes: Sequence[CommandOutcome]) -> tuple[bytes, ...]:
        return (
            self._partition,
            rows.array(rows.BIGINT, [rows.bigint(self._commands + n) for n in range(1, len(outcomes) + 1)]),
            rows.array(rows.UUID_, [o.tenant_id.bytes for o in outcomes]),
            rows.array(rows.TEXT, [o.command_key.encode() for o in outcomes]),
            rows.array(rows.TEXT, [o.type.encode() for o in outcomes]),
            rows.array(rows.TEXT, [o.actor.encode() for o in outcomes]),
            rows.array(rows.BOOL, [b"\x01" if o.accepted else b"\x00" for o in outcomes]),
            rows.array(rows.BIGINT, [_position(o.first_position) for o in outcomes]),
            rows.array(rows.BIGINT, [_position(o.last_position) for o in outcomes]),
            rows.array(rows.TIMESTAMPTZ, [rows.bigint(rows.micros(o.recorded_at)) for o in outcomes]),
            rows.array(rows.BYTEA, [o.fingerprint for o in outcomes]),
            rows.array(rows.BYTEA, [o.outcome for o in outcomes]),
            rows.array(rows.JSON, [o.metadata for o in outcomes]),
            rows.array(rows.TEXT, [None if o.reason is None else o.reason.encode() for o in outcomes]),
            rows.array(rows.BIGINT, [_position(o.last_tenant_sequence) for o in outcomes]),
        )


def _position(position: int | None) -> bytes | None:
    return None if position is None else rows.bigint(position)


def _remembered(found: pq.abc.PGresult) -> Iterator[tuple[tuple[UUID, str], Remembered]]:
    for row in range(found.ntuples):
        tenant, key, accepted, first, last, fingerprint, outcome, metadata, last_own = (
            found.get_value(row, n) or b"" for n in range(9)
        )
        yield (
            (UUID(bytes=tenant), key.decode()),
            Remembered(
                accepted=accepted == b"\x01",
                first_position=int.from_bytes(first, "big") if first else None,
                last_position=int.from_bytes(last, "big") if last else None,
                fingerprint=fingerprint,
                outcome=outcome,
                metadata=metadata,
                last_tenant_sequence=int.from_bytes(last_own, "big") if last_own else None,
            ),
        )
