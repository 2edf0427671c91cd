"""Reads one partition in order and follows it while it grows.

Whoever follows polls the partition's head, a row that never moves back, and reads up to it: everything at or below a
committed head is committed and visible, so nothing can appear behind a reader. Positions are dense, and every batch
that is read without a filter proves it. Recorders of the same process cut the pause short by :func:`ring`.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from eventsourcing import persistence

from felix.domain.errors import Corrupt
from felix.eventstore.mapper import FelixStoredEvent
from felix.eventstore.reader import GapInLog

log = logging.getLogger("felix.subscription")

MAX_POSITION = 2**63 - 1
#: Positions read at a time; with a filter most of them are only looked at, not carried.
BATCH_POSITIONS = 500
FILTERED_BATCH_POSITIONS = 5_000
#: An idle reader looks at the head this often: a look costs some 50 µs, and nobody notices 50 ms.
IDLE_MIN_S, IDLE_MAX_S = 0.01, 0.05
#: Pauses between attempts to reach a database that has gone away.
RETRY_MIN_S, RETRY_MAX_S = 0.02, 1.0

_BATCH = (
    "select p.position, e.* from felix.partitions p left join lateral (select position, stream, version, type, state,"
    " event_id, recorded_at from felix.events where partition = p.partition and position between %s and %s{}"
    " order by position limit %s) e on true where p.partition = %s order by e.position"
)
_READ = _BATCH.format("")
_READ_FILTERED = _BATCH.format(" and type = any(%s)")


class NoSuchPartition(Corrupt, persistence.ProgrammingError):
    """The log has no partition of this number."""


_LIBRARY_ERRORS: tuple[tuple[type[psycopg.Error], type[persistence.PersistenceError]], ...] = (
    (psycopg.IntegrityError, persistence.IntegrityError),
    (psycopg.OperationalError, persistence.OperationalError),
    (psycopg.DataError, persistence.DataError),
    (psycopg.InternalError, persistence.InternalError),
    (psycopg.ProgrammingError, persistence.ProgrammingError),
    (psycopg.NotSupportedError, persistence.NotSupportedError),
    (psycopg.InterfaceError, persistence.InterfaceError),
    (psycopg.DatabaseError, persistence.DatabaseError),
)


def library_error(error: psycopg.Error) -> persistence.PersistenceError:
    """The library's error for one of the driver's: both follow PEP 249."""
    for theirs, ours in _LIBRARY_ERRORS:
        if isinstance(error, theirs):
            return ours(str(error))
    return persistence.PersistenceError(str(error))


@dataclass(frozen=True, eq=False)
class ReadEvent(FelixStoredEvent):
    """A stored event with its envelope, equal to a plain one of the same stream, version, topic and state."""

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, persistence.StoredEvent):
            return NotImplemented
        return (self.originator_id, self.originator_version, self.topic, self.state) == (
            other.originator_id,
            other.originator_version,
            other.topic,
            other.state,
        )

    __hash__ = persistence.StoredEvent.__hash__


@dataclass(frozen=True)
class FelixNotification(FelixStoredEvent, persistence.Notification):
    """The library's notification with the two envelope fields; ``id`` is the position in the partition."""


def read_head(connection: psycopg.Connection[Any], partition: int) -> int:
    """The position of the last committed event, 0 when there is none. Raises :class:`NoSuchPartition`."""
    row = connection.execute(
        "select position from felix.partitions where partition = %s", (partition,), prepare=True, binary=True
    ).fetchone()
    if row is None:
        raise NoSuchPartition(f"The log has no partition {partition}.", partition=partition)
    return int(row[0])


def read_batch(
    connection: psycopg.Connection[Any],
    partition: int,
    *,
    first: int,
    stop: int = MAX_POSITION,
    limit: int = BATCH_POSITIONS,
    topics: Sequence[str] = (),
) -> list[FelixNotification]:
    """The events at positions ``first`` to ``stop``, at most ``limit`` of them, of these stored types or of all.

    Head and events are one snapshot, so a batch without a filter must be dense up to the head:
    raises ``GapInLog`` when it is not, and :class:`NoSuchPartition`.
    """
    bounds = (first, stop)
    found = connection.execute(
        _READ_FILTERED if topics else _READ,
        (*bounds, list(topics), limit, partition) if topics else (*bounds, limit, partition),
        prepare=True,
        binary=True,
    ).fetchall()
    if not found:
        raise NoSuchPartition(f"The log has no partition {partition}.", partition=partition)
    batch = [
        FelixNotification(
            originator_id=stream, originator_version=version, topic=type_, state=state, id=position,
            event_id=event_id, recorded_at=recorded_at,
        )
        for _, position, stream, version, type_, state, event_id, recorded_at in found
        if position is not None
    ]  # fmt: skip
    if not topics:
        last = min(found[0][0], stop, first + limit - 1)
        if len(batch) != max(0, last - first + 1) or (batch and (batch[0].id, batch[-1].id) != (first, last)):
            raise GapInLog(
                f"Partition {partition} lacks a position between {first} and {last}.",
                partition=partition,
                first=first,
                last=last,
                found=len(batch),
            )
    return batch


_bells: dict[int, weakref.WeakSet[threading.Event]] = {}
_bells_lock = threading.Lock()


def ring(partition: int) -> None:
    """Wake this process's subscriptions to a partition, after a commit. A wrong or a lost call does no harm."""
    with _bells_lock:
        for bell in _bells.get(partition, ()):
            bell.set()


class FelixSubscription(persistence.Subscription[persistence.ApplicationRecorder]):
    """Every event of one partition after ``gt``, once and in order, for as long as somebody iterates.

    It reads in the iterating thread with a connection of its own, which it makes anew when it is lost: the position
    moves on only with what has been read, so an outage neither loses nor repeats an event. :meth:`stop` may be
    called from any thread and ends the iteration at once.
    """

    def __init__(
        self,
        recorder: persistence.ApplicationRecorder,
        *,
        partition: int,
        connect: Callable[[], psycopg.Connection[Any]],
        gt: int | None = None,
        topics: Sequence[str] = (),
    ) -> None:
        super().__init__(recorder, gt, topics)
        self._partition = partition
        self._connect = connect
        self._connection: psycopg.Connection[Any] | None = None
        self._was_connected = False
        self._in_use = threading.Lock()
        self._position = gt or 0
        self._batch: deque[FelixNotification] = deque()
        self._idle_s, self._retry_s = IDLE_MIN_S, RETRY_MIN_S
        self._bell = threading.Event()
        with _bells_lock:
            _bells.setdefault(partition, weakref.WeakSet()).add(self._bell)

    def stop(self) -> None:
        """End the iteration, also from another thread."""
        super().stop()
        self._bell.set()
        self._disconnect()

    def __next__(self) -> persistence.Notification:
        while not self._has_been_stopped:
            if self._batch:
                return self._batch.popleft()
            self._bell.clear()
            pause_s = self._pull()
            # A stop during the pull found the connection in use and left it to be closed here.
            if self._has_been_stopped:
                self._disconnect()
            elif pause_s:
                self._bell.wait(pause_s)
        raise StopIteration

    def _pull(self) -> float:
        """Read the next batch, if there is one; the pause to make before the next look."""
        try:
            with self._in_use:
                moved = self._read()
        except psycopg.Error as error:
            if not (self._was_connected and isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError))):
                raise library_error(error) from error
            if self._retry_s == RETRY_MIN_S:
                log.warning("partition %s: connection lost, reconnecting: %s", self._partition, error)
            self._disconnect()
            self._retry_s, pause_s = min(2 * self._retry_s, RETRY_MAX_S), self._retry_s
            return pause_s
        self._retry_s = RETRY_MIN_S
        self._idle_s, pause_s = (IDLE_MIN_S, 0.0) if moved else (min(1.5 * self._idle_s, IDLE_MAX_S), self._idle_s)
        return pause_s

    def _read(self) -> bool:
        if self._has_been_stopped:
            return False
        if self._connection is None:
            self._connection = self._connect()
            self._was_connected = True
        head = read_head(self._connection, self._partition)
        if head <= self._position:
            return False
        stop = min(head, self._position + (FILTERED_BATCH_POSITIONS if self._topics else BATCH_POSITIONS))
        self._batch.extend(
            read_batch(
                self._connection,
                self._partition,
                first=self._position + 1,
                stop=stop,
                limit=stop - self._position,
                topics=self._topics,
            )
        )
        self._position = stop
        return True

    def _disconnect(self) -> None:
        """Close the connection unless the iterating thread is reading with it, which then closes it itself."""
        if self._in_use.acquire(blocking=False):
            try:
                if self._connection is not None:
                    self._connection.close()
                    self._connection = None
            finally:
                self._in_use.release()
