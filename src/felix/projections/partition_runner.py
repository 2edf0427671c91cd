"""Retells one partition: reads its events in batches and folds each into every projection that is at that place.

What a fold can't take stops its tenant (:mod:`felix.projections.poison`); what the database can't do right now stops
the projection, or all of them, until it can.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import UUID

import psycopg

from felix.domain.errors import DEFECTS, Corrupt
from felix.eventstore.reader import GapInLog
from felix.projections import poison
from felix.projections.base import Projection, ProjectorConnection, change
from felix.projections.feeds import FEEDS, Feed, FeedName
from felix.projections.poison import FAILURES
from felix.projections.table_sets import LIVE, TableSet

log = logging.getLogger("felix.projections")
T = TypeVar("T")

#: A batch when nothing is in a hurry, and when far behind: a larger one has fewer transactions and more to lose.
BATCH, BATCH_FAR_BEHIND = 500, 2_000
#: A smaller batch is sent at once, a larger one has its rows copied: that takes turns, and less for each row.
COPY_FROM_FACTS = 100
#: Retries of a fold that failed, and of a connection that was lost, begin with one and end with the other.
BACKOFF_S, MAX_BACKOFF_S = 1.0, 30.0
#: How often a runner asks for projections that another process owns.
OWNERSHIP_RETRY_S = 1.0
#: After a batch of each feed, news gathers for so long. A batch costs milliseconds however small it is, so at a steady
#: stream of a few writes a second nearly every one of them would have its own.
GATHER_S = 0.02

#: An idle runner says that it lives, and looks for what it was not told of.
IDLE_S = 3.0
#: How often a runner with stopped tenants looks whether one is due for another try.
RETRY_LOOK_S = 0.5

_ADD_CURSORS = (
    "insert into {0} (projection, partition, version) select name, %s, version"
    " from unnest(%b::text[], %b::int[]) as p (name, version) on conflict do nothing"
)
_CURSORS = "select projection, position, version, generation from {0} where partition = %s and projection = any(%s)"
_MOVE = (
    "update {0} c set position = %s, updated_at = clock_timestamp()"
    " from unnest(%b::text[], %b::int[], %b::int[]) as p (name, version, generation) where c.partition = %s"
    " and c.position = %s and c.projection = p.name and c.version = p.version and c.generation = p.generation"
)


class Fenced(Corrupt):
    """Another runner moved a cursor, or the tables were switched; what this one folded was taken back."""


class StandsStill(Corrupt):
    """A projection can't go on."""


class OtherVersionInstalled(Corrupt):
    """The tables of this projection belong to another version of Felix."""


@dataclass(slots=True)
class Cursor:
    """How far a projection is in this partition, and what keeps it from going on."""

    projection: Projection
    position: int = 0
    generation: int = 0
    owned: bool = False
    #: Tenants that are skipped, and the position that each waits at.
    stopped: dict[UUID, int] = field(default_factory=dict)
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

    def without_stopped(self, facts: Sequence[Any]) -> Sequence[Any]:
        """What is left of a batch when stopped tenants are skipped."""
        stopped = self.stopped
        return [fact for fact in facts if fact.tenant_id not in stopped] if stopped else facts


class PartitionRunner:
    """One thread that owns the projections of one partition, as far as no other process does."""

    def __init__(
        self,
        connect: Callable[[], ProjectorConnection],
        projections: Sequence[Projection],
        partition: int,
        tables: TableSet = LIVE,
        *,
        far_behind: int = BATCH_FAR_BEHIND,
    ) -> None:
        self.partition = partition
        #: The last position of each feed that is known to this runner.
        self.heads = dict.fromkeys((projection.feed for projection in projections), 0)
        self.cursors = [Cursor(projection) for projection in projections]
        self._tables = tables
        self._far_behind = far_behind
        self._own_at = self._retry_at = 0.0
        self._connect = connect
        self._connection: ProjectorConnection | None = None
        self._signal = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=f"projections-{partition}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wake(self, position: int, feed: FeedName = "events") -> None:
        """Something was committed up to this position."""
        if position > self.heads.get(feed, position):
            self.heads[feed] = position
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

    def _retell(self, connection: ProjectorConnection) -> None:
        self._look_at_heads(connection)
        self._own_at = 0.0
        while not self._stopping:
            now = time.monotonic()
            if now >= self._own_at and not all(cursor.owned for cursor in self.cursors):
                self._own_at = now + OWNERSHIP_RETRY_S
                self._own(connection)
            self._signal.clear()
            if self._stopping:  # asked between the loop's condition and the line above
                return
            resumed = self._try_stopped(connection, now)
            if self._fold_feeds(connection, now):
                time.sleep(GATHER_S)
            elif not resumed and not self._signal.wait(self._idle_for(now)):
                self._look_at_heads(connection)

    def _fold_feeds(self, connection: ProjectorConnection, now: float) -> bool:
        """Fold what is furthest behind, and go on as long as that is far behind or of a feed that had no turn yet;
        False when there was nothing to do."""
        had_a_turn: set[FeedName] = set()
        while not self._stopping:
            group, limit = self._next_group(now)
            if not group or (feed := group[0].projection.feed) in had_a_turn:
                break
            if self._fold_batch(connection, group, limit) < BATCH:
                had_a_turn.add(feed)
        return bool(had_a_turn)

    def _look_at_heads(self, connection: ProjectorConnection) -> None:
        for name in self.heads:
            self._look_at_head(connection, FEEDS[name])

    def _look_at_head(self, connection: ProjectorConnection, feed: Feed) -> int:
        head = max(self.heads[feed.name], feed.heads(connection).get(self.partition, 0))
        self.heads[feed.name] = head
        return head

    def lag(self, cursor: Cursor) -> int:
        """What a projection has not retold yet."""
        return max(0, self.heads[cursor.projection.feed] - cursor.position)

    def _idle_for(self, now: float) -> float:
        due = [cursor.due_at for cursor in self.cursors if cursor.owned and self.lag(cursor)]
        if not all(cursor.owned for cursor in self.cursors):
            due.append(self._own_at)
        if any(cursor.stopped for cursor in self.cursors):
            due.append(self._retry_at)
        return min(IDLE_S, max(0.001, min(due) - now)) if due else IDLE_S

    def _own(self, connection: ProjectorConnection) -> None:
        """Take what is free; the lock lasts as long as the connection."""
        wanted = {cursor.projection.name: cursor for cursor in self.cursors if not cursor.owned}
        keys = {_lock_key(name, self.partition, self._tables): name for name in wanted}
        got = connection.execute(
            "select key, pg_try_advisory_lock(key) from unnest(%b::bigint[]) as k (key)", (list(keys),)
        ).fetchall()
        names = [keys[key] for key, taken in got if taken]
        versions = [wanted[name].projection.version for name in names]
        table = self._tables.cursors
        connection.execute(_ADD_CURSORS.format(table).encode(), (self.partition, names, versions))
        stopped = poison.stopped(connection, self._tables, self.partition, names) if names else {}
        cursors = connection.execute(_CURSORS.format(table).encode(), (self.partition, names))
        for name, position, version, generation in cursors:
            cursor = wanted[name]
            cursor.position, cursor.generation, cursor.stopped = position, generation, stopped[name]
            if version == cursor.projection.version:
                cursor.owned = True
            else:
                self._disown(connection, cursor)
                cursor.error = f"{OtherVersionInstalled.__name__}: version {version} is installed"

    def _disown(self, connection: ProjectorConnection, cursor: Cursor) -> None:
        cursor.owned = False
        connection.execute(
            "select pg_advisory_unlock(%s)", (_lock_key(cursor.projection.name, self.partition, self._tables),)
        )

    def fold_until(self, connection: ProjectorConnection, position: int) -> bool:
        """Without a thread: fold up to a position and no further; False where another process is at it.

        Raises :class:`StandsStill`.
        """
        self._own(connection)
        try:
            for cursor in self.cursors:
                while cursor.owned and cursor.position < position:
                    self._fold_batch(connection, [cursor], min(self._far_behind, position - cursor.position))
                    if cursor.owned and cursor.error is not None:
                        raise StandsStill(cursor.error, projection=cursor.projection.name, partition=self.partition)
            return all(cursor.owned for cursor in self.cursors)
        finally:
            for cursor in self.cursors:
                if cursor.owned and not connection.closed:
                    self._disown(connection, cursor)

    def _next_group(self, now: float) -> tuple[list[Cursor], int]:
        """The projections of a feed that are furthest behind, and how far they go: not past the next, to meet it."""
        ready = [cursor for cursor in self.cursors if cursor.owned and cursor.due_at <= now]
        behind = max((cursor for cursor in ready if self.lag(cursor)), key=self.lag, default=None)
        if behind is None:
            return [], 0
        at, feed = behind.position, behind.projection.feed
        limit = self._far_behind if self.lag(behind) > self._far_behind else BATCH
        same = [cursor for cursor in ready if cursor.projection.feed == feed]
        ahead = [cursor.position - at for cursor in same if cursor.position > at]
        return [cursor for cursor in same if cursor.position == at], min([limit, *ahead])

    def _fold_batch(self, connection: ProjectorConnection, group: list[Cursor], limit: int) -> int:
        at, feed = group[0].position, group[0].projection.source
        try:
            events = feed.read(connection, self.partition, at, limit)
            if not events:
                if (head := feed.heads(connection).get(self.partition, 0)) > at:
                    raise GapInLog(
                        f"The {feed.name} of partition {self.partition} end at {at} before their head {head}.",
                        partition=self.partition, position=at + 1,
                    )  # fmt: skip
                self.heads[feed.name] = head
                return 0
        except (Corrupt, *DEFECTS) as error:
            for cursor in group:
                cursor.fail(error, self.partition)
            return 0
        self.heads[feed.name] = max(self.heads[feed.name], events[-1].position)
        self._fold_group(connection, group, events)
        return len(events)

    def _fold_group(self, connection: ProjectorConnection, group: list[Cursor], facts: Sequence[Any]) -> None:
        """Fold into all of them in one transaction; if one fails, into each in its own, and then tenant by tenant."""
        at, to = group[0].position, facts[-1].position

        def fold(cursors: Iterable[Cursor]) -> None:
            for cursor in cursors:
                poison.apply(cursor.projection, cursor.without_stopped(facts), connection)

        try:
            if len(facts) < COPY_FROM_FACTS:
                with connection.transaction_without_waiting():
                    self._move(connection, group, at, to)
                    fold(group)
            else:
                with connection.transaction():
                    self._move(connection, group, at, to)
                    fold(cursor for cursor in group if cursor.projection.copies)
                    with connection.without_waiting():
                        fold(cursor for cursor in group if not cursor.projection.copies)
        except Fenced as error:
            self._step_back(connection, group, error)
        except FAILURES as error:
            if connection.closed:
                raise psycopg.OperationalError(str(error)) from error
            if len(group) > 1:
                for cursor in group:
                    self._fold_group(connection, [cursor], facts)
            elif poison.is_poison(error):
                self._fold_by_tenant(connection, group[0], facts)
            else:
                group[0].fail(error, self.partition)
        else:
            for cursor in group:
                cursor.advance(to)

    def _fold_by_tenant(self, connection: ProjectorConnection, cursor: Cursor, facts: Sequence[Any]) -> None:
        """Fold what can be folded, stop the tenants of the rest, and go on: all of it together or nothing."""
        name, to = cursor.projection.name, facts[-1].position

        def fold() -> list[poison.Poison]:
            found = poison.fold_by_tenant(cursor.projection, cursor.without_stopped(facts), connection)
            for each in found:
                poison.record(connection, self._tables, self.partition, name, each)
            return found

        if (found := self._move_with(connection, cursor, to, fold)) is None:
            return
        for each in found:
            cursor.stopped[each.tenant_id] = each.position
            log.error(
                "projection %s stops for tenant %s in partition %d, and goes on for the others: %s",
                name, each.tenant_id, self.partition, each,
            )  # fmt: skip
        cursor.advance(to)

    def _move_with(self, connection: ProjectorConnection, cursor: Cursor, to: int, fold: Callable[[], T]) -> T | None:
        """Move one cursor and do this, together or not at all; None when it can't be done now."""
        try:
            with connection.transaction():
                self._move(connection, [cursor], cursor.position, to)
                return fold()
        except Fenced as error:
            self._step_back(connection, [cursor], error)
        except FAILURES as error:
            if connection.closed:
                raise psycopg.OperationalError(str(error)) from error
            cursor.fail(error, self.partition)
        return None

    def _try_stopped(self, connection: ProjectorConnection, now: float) -> bool:
        """Fold a page of a stopped tenant that is due for another try; True when there may be more to do at once."""
        cursors = {
            cursor.projection.name: cursor
            for cursor in self.cursors
            if cursor.stopped and cursor.owned and cursor.due_at <= now
        }
        if not cursors or now < self._retry_at:
            return False
        self._retry_at = now + RETRY_LOOK_S
        found = poison.due(connection, self._tables, self.partition, list(cursors))
        if found is None:
            return False
        name, tenant_id = found
        if tenant_id not in cursors[name].stopped:
            # Somebody else stopped it: look again at what is stored.
            self._disown(connection, cursors[name])
            self._own_at = 0.0
            return False
        self._resume(connection, cursors[name], tenant_id)
        self._retry_at = now
        return True

    def _resume(self, connection: ProjectorConnection, cursor: Cursor, tenant_id: UUID) -> None:
        projection, at = cursor.projection, cursor.position
        name, first = projection.name, cursor.stopped[tenant_id]
        read, tables, partition = projection.source.read_tenant, self._tables, self.partition

        def fold() -> tuple[poison.Poison | None, int]:
            facts = read(connection, partition, tenant_id, first, at, BATCH)
            failed = poison.fold_tenant(projection, facts, connection)
            if failed is not None:
                poison.record(connection, tables, partition, name, failed)
                return failed, failed.position
            # The next page begins behind the last event of this one, at whichever position that is. There is none
            # where the cursor was set back before the event: it comes to that again by itself.
            following = read(connection, partition, tenant_id, facts[-1].position if facts else at, at, 2)[1:]
            waits_at = following[0].position if following else 0
            poison.advance(connection, tables, partition, name, tenant_id, waits_at or None)
            return None, waits_at

        if (done := self._move_with(connection, cursor, at, fold)) is None:
            return
        failed, waits_at = done
        if failed is not None:
            log.debug("projection %s still can't go on for tenant %s: %s", name, tenant_id, failed)
        if waits_at:
            cursor.stopped[tenant_id] = waits_at
        else:
            del cursor.stopped[tenant_id]
            log.info("projection %s goes on for tenant %s", name, tenant_id)

    def _step_back(self, connection: ProjectorConnection, group: list[Cursor], error: Fenced) -> None:
        """Give up what others have moved, and look at once where it is now."""
        for cursor in group:
            self._disown(connection, cursor)
            cursor.error = f"Fenced: {error}"
        self._own_at = 0.0
        log.warning("partition %d: %s", self.partition, error)

    def _move(self, connection: ProjectorConnection, group: list[Cursor], at: int, to: int) -> None:
        """Move the cursors first: whoever lost its place waits here for the other's commit, and is turned away."""
        names = [cursor.projection.name for cursor in group]
        versions = [cursor.projection.version for cursor in group]
        generations = [cursor.generation for cursor in group]
        query = _MOVE.format(self._tables.cursors)
        change(connection, query, (to, names, versions, generations, self.partition, at), len(group), Fenced)


def _lock_key(name: str, partition: int, tables: TableSet = LIVE) -> int:
    """The advisory lock of a projection in a partition: 64 bits, apart from the pairs that migrations use."""
    kind = "projection" if tables is LIVE else tables.schema
    digest = hashlib.blake2b(f"felix.{kind}:{name}:{partition}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)
