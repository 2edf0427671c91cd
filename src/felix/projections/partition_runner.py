"""Retells one partition: reads its events in batches and folds each into every projection that is at that place."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from felix.domain.errors import DEFECTS, Corrupt, FelixError
from felix.eventstore.mapper import RecordedEvent
from felix.eventstore.reader import GapInLog, heads, read_partition
from felix.projections.base import Projection

log = logging.getLogger("felix.projections")

#: A batch when nothing is in a hurry, and when far behind: a larger one has fewer transactions and more to lose.
BATCH, BATCH_FAR_BEHIND = 500, 2_000
#: Retries of a fold that failed, and of a connection that was lost, begin with one and end with the other.
BACKOFF_S, MAX_BACKOFF_S = 1.0, 30.0
#: How often a runner asks for projections that another process owns.
OWNERSHIP_RETRY_S = 1.0
#: After a batch, events gather for this long: at a steady stream a batch then has more than a few of them.
GATHER_S = 0.01

_ADD_CURSORS = (
    "insert into felix.cursors (projection, partition, version) select name, %s, version"
    " from unnest(%b::text[], %b::int[]) as p (name, version) on conflict do nothing"
)
_CURSORS = "select projection, position, version from felix.cursors where partition = %s and projection = any(%s)"
_MOVE = (
    "update felix.cursors set position = %s, updated_at = clock_timestamp() from unnest(%b::text[], %b::int[])"
    " as p (name, version) where partition = %s and position = %s and projection = p.name"
    " and cursors.version = p.version"
)


class Fenced(Corrupt):
    """Another runner moved this cursor; what this one folded was taken back."""


class OtherVersionInstalled(Corrupt):
    """The tables of this projection belong to another version of Felix."""


@dataclass(slots=True)
class Cursor:
    """How far a projection is in this partition, and what keeps it from going on."""

    projection: Projection
    position: int = 0
    owned: bool = False
    error: str | None = None
    failures: int = 0
    due_at: float = 0.0

    def fail(self, error: BaseException, partition: int) -> None:
        """Stop for a while: longer each time."""
        pause = min(BACKOFF_S * 2**self.failures, MAX_BACKOFF_S)
        self.failures = min(self.failures + 1, 16)
        self.error = f"{type(error).__name__}: {error}"
        self.due_at = time.monotonic() + pause
        log.error(
            "projection %s stopped in partition %d after position %d: %s; tried again in %.0f s",
            self.projection.name, partition, self.position, self.error, pause, exc_info=error,
        )  # fmt: skip

    def advance(self, position: int) -> None:
        """Go on from here."""
        self.position = position
        self.failures, self.error = 0, None


class PartitionRunner:
    """One thread that owns the projections of one partition, as far as no other process does."""

    def __init__(
        self, connect: Callable[[], psycopg.Connection[Any]], projections: Sequence[Projection], partition: int
    ) -> None:
        self.partition = partition
        self.head = 0
        self.cursors = [Cursor(projection) for projection in projections]
        self._connect = connect
        self._connection: psycopg.Connection[Any] | None = None
        self._signal = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=f"projections-{partition}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wake(self, position: int) -> None:
        """Something was committed up to this position."""
        if position > self.head:
            self.head = position
            self._signal.set()

    def ask_to_stop(self) -> None:
        """Stop after the batch at hand."""
        self._stopping = True
        self._signal.set()

    def join(self, timeout_s: float) -> bool:
        """Wait for the end; a statement that takes longer is cancelled. False when even that did not help."""
        if self._thread.ident is None:
            return True
        self._thread.join(timeout_s)
        if self._thread.is_alive() and (connection := self._connection) is not None:
            connection.cancel_safe(timeout=1.0)
            self._thread.join(1.0)
        return not self._thread.is_alive()

    def _run(self) -> None:
        failures = 0
        while not self._stopping:
            try:
                with self._connect() as self._connection:
                    failures = 0
                    self._retell(self._connection)
            except (psycopg.Error, *DEFECTS) as error:
                pause = min(0.1 * 2**failures, MAX_BACKOFF_S)
                failures = min(failures + 1, 16)
                log.warning("partition %d: %r; connected again in %.1f s", self.partition, error, pause)
                self._pause(pause)
            finally:
                self._connection = None
                for cursor in self.cursors:
                    cursor.owned = False

    def _pause(self, pause_s: float) -> None:
        until = time.monotonic() + pause_s
        while not self._stopping and (left := until - time.monotonic()) > 0:
            self._signal.wait(min(left, 0.25))
            self._signal.clear()

    def _retell(self, connection: psycopg.Connection[Any]) -> None:
        self.head = max(self.head, heads(connection).get(self.partition, 0))
        asked_at = 0.0
        while not self._stopping:
            now = time.monotonic()
            if now >= asked_at + OWNERSHIP_RETRY_S and not all(cursor.owned for cursor in self.cursors):
                self._own(connection)
                asked_at = now
            self._signal.clear()
            if self._stopping:  # asked between the loop's condition and the line above
                return
            group, limit = self._next_group(now)
            if group:
                if self._fold_batch(connection, group, limit) < BATCH:
                    time.sleep(GATHER_S)
            else:
                self._signal.wait(self._idle_for(now, asked_at))

    def _idle_for(self, now: float, asked_at: float) -> float | None:
        due = [cursor.due_at for cursor in self.cursors if cursor.owned and cursor.position < self.head]
        if not all(cursor.owned for cursor in self.cursors):
            due.append(asked_at + OWNERSHIP_RETRY_S)
        return max(0.001, min(due) - now) if due else None

    def _own(self, connection: psycopg.Connection[Any]) -> None:
        """Take what is free; the lock lasts as long as the connection."""
        wanted = {cursor.projection.name: cursor for cursor in self.cursors if not cursor.owned}
        keys = {_lock_key(name, self.partition): name for name in wanted}
        got = connection.execute(
            "select key, pg_try_advisory_lock(key) from unnest(%b::bigint[]) as k (key)", (list(keys),)
        )
        names = [keys[key] for key, taken in got if taken]
        versions = [wanted[name].projection.version for name in names]
        connection.execute(_ADD_CURSORS, (self.partition, names, versions))
        for name, position, version in connection.execute(_CURSORS, (self.partition, names)):
            cursor = wanted[name]
            cursor.position = position
            if version == cursor.projection.version:
                cursor.owned = True
            else:
                self._disown(connection, cursor)
                cursor.error = f"{OtherVersionInstalled.__name__}: version {version} is installed"

    def _disown(self, connection: psycopg.Connection[Any], cursor: Cursor) -> None:
        cursor.owned = False
        connection.execute("select pg_advisory_unlock(%s)", (_lock_key(cursor.projection.name, self.partition),))

    def _next_group(self, now: float) -> tuple[list[Cursor], int]:
        """The projections that are furthest behind, and how far they go: not past the next, so that they meet."""
        ready = [cursor for cursor in self.cursors if cursor.owned and cursor.due_at <= now]
        places = sorted({cursor.position for cursor in ready if cursor.position < self.head})
        if not places:
            return [], 0
        at = places[0]
        limit = BATCH_FAR_BEHIND if self.head - at > BATCH_FAR_BEHIND else BATCH
        ahead = [cursor.position - at for cursor in ready if cursor.position > at]
        return [cursor for cursor in ready if cursor.position == at], min([limit, *ahead])

    def _fold_batch(self, connection: psycopg.Connection[Any], group: list[Cursor], limit: int) -> int:
        at = group[0].position
        try:
            events = read_partition(connection, self.partition, at, limit)
            if not events:
                self.head = heads(connection).get(self.partition, 0)
                if self.head > at:
                    raise GapInLog(
                        f"Partition {self.partition} ends at {at} before its head {self.head}.",
                        partition=self.partition, position=at + 1,
                    )  # fmt: skip
                return 0
        except (Corrupt, *DEFECTS) as error:
            for cursor in group:
                cursor.fail(error, self.partition)
            return 0
        self.head = max(self.head, events[-1].position)
        self._fold_group(connection, group, events)
        return len(events)

    def _fold_group(
        self, connection: psycopg.Connection[Any], group: list[Cursor], events: Sequence[RecordedEvent]
    ) -> None:
        """Fold into all of them in one transaction; if one fails, into each in its own."""
        at, to = group[0].position, events[-1].position
        try:
            with connection.transaction():
                self._move(connection, group, at, to)
                for cursor in group:
                    wanted = cursor.projection.wants(events)
                    if wanted:
                        cursor.projection.fold(wanted, connection)
        except Fenced as error:
            for cursor in group:
                self._disown(connection, cursor)
                cursor.error = f"Fenced: {error}"
            log.warning("partition %d: %s", self.partition, error)
        except (psycopg.Error, FelixError, *DEFECTS) as error:
            if connection.closed:
                raise psycopg.OperationalError(str(error)) from error
            if len(group) == 1:
                group[0].fail(error, self.partition)
                return
            for cursor in group:
                self._fold_group(connection, [cursor], events)
        else:
            for cursor in group:
                cursor.advance(to)

    def _move(self, connection: psycopg.Connection[Any], group: list[Cursor], at: int, to: int) -> None:
        """Move the cursors first: whoever lost its place waits here for the other's commit, and is turned away."""
        names = [cursor.projection.name for cursor in group]
        versions = [cursor.projection.version for cursor in group]
        moved = connection.execute(_MOVE, (to, names, versions, self.partition, at), prepare=True).rowcount
        if moved != len(group):
            raise Fenced(f"The cursors of {', '.join(names)} are no longer at {at}.", position=at)


def _lock_key(name: str, partition: int) -> int:
    """The advisory lock of a projection in a partition: 64 bits, apart from the pairs that migrations use."""
    digest = hashlib.blake2b(f"felix.projection:{name}:{partition}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)
