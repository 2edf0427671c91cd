"""Makes a projection anew beside the tables that are read, compares the two, and switches them.

The new tables are filled from position 0 with cursors of their own while everything goes on: folded by the runner that
folds live, so that a kill, a gap or an event that can't be folded means the same here. What is under way stands in
``felix.rebuilds``; whoever runs a rebuild next goes on where it was.

Nobody sees a gap. A name is looked up in the newest catalogue, but rows are seen as of a transaction's snapshot: a
reader whose snapshot is older than the last rows of the new tables must never get to them. So the switch holds the
live cursors, folds the new tables to the same place and *commits* that, waits until every transaction that was running
then has ended, and only then lets the new tables take the old names.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import psycopg
from psycopg.types.json import Jsonb

from felix.domain.errors import Conflict, Corrupt, NotFound, Unavailable
from felix.projections.base import Projection, ProjectorConnection, connect_projector
from felix.projections.partition_runner import PartitionRunner, StandsStill
from felix.projections.rebuild_folders import ALONE_BELOW_EVENTS, BATCH, folding
from felix.projections.table_sets import LIVE, REBUILD, TableSet, differences

log = logging.getLogger("felix.projections")

State = Literal["requested", "folding", "comparing", "switching", "done", "refused", "failed"]
#: One rebuild of a projection at a time, wherever it runs.
_LOCK = 4609
#: The rest is folded while the cursors are held: milliseconds.
NEAR_EVENTS = 500
LOOK_EVERY_S = 0.1
#: How long nothing may move before a rebuild gives up, and before a live projection counts as standing still.
PATIENCE_S = 20.0
LIVE_PATIENCE_S = 10.0
SWITCH_PATIENCE_S = 60.0
#: While the switch waits for a table, readers wait behind it: at most this long, and longer when it was in vain, up to
#: what an autovacuum needs to notice that it is in the way (``deadlock_timeout`` is a second).
FIRST_LOCK_TIMEOUT_MS, LAST_LOCK_TIMEOUT_MS = 100, 1_600
#: How long the cursors are held for readers that began before.
READERS_PATIENCE_S = 2.0

_POSITIONS = "select partition, position from {} where projection = %s order by partition"
_POISONED = "select tenant_id, position, type, error, message from {} where projection = %s"
#: Transactions that may see less than what has just been committed. Those who fold and write read nothing here.
_RUNNING = (
    "select l.virtualtransaction from pg_locks l join pg_stat_activity a using (pid)"
    " where l.locktype = 'virtualxid' and a.datname = current_database() and a.pid <> pg_backend_pid()"
    " and a.application_name not in ('felix_projector', 'felix_rebuild', 'felix_writer')"
)
_STATE = (
    "update felix.rebuilds set state = %s, detail = %s, differences = %s::jsonb,"
    " started_at = case when %s = 'folding' then clock_timestamp() else started_at end,"
    " finished_at = case when %s in ('done', 'refused', 'failed') then clock_timestamp() end where projection = %s"
)


class RebuildUnderWay(Conflict):
    """Another process is rebuilding this projection."""


class NotRequested(NotFound):
    """Nobody asked for a rebuild of this version of the projection."""


class RebuildFailed(Unavailable):
    """The rebuild can't go on; what is read is as it was."""


class ReadersInTheWay(Unavailable):
    """Somebody has been reading the tables for too long to switch them now."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a rebuild is."""

    projection: str
    state: State
    events: int
    total: int


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """How a rebuild ended. ``differences`` say where the tables differ, if anybody compared them."""

    projection: str
    state: State
    detail: str
    differences: list[str]


class Rebuild:
    """One rebuild of one projection, from wherever it is to its end.

    ``processes`` fold a long log; a short one is folded by threads of this process. ``report`` hears how far it is.
    When ``stopping`` is set, :meth:`run` returns ``None`` soon, and the next run goes on from there.
    """

    def __init__(
        self,
        projector_url: str,
        projection: Projection,
        *,
        processes: int = 1,
        report: Callable[[Progress], None] = lambda progress: None,
        stopping: threading.Event | None = None,
    ) -> None:
        self._url = projector_url
        self._projection = projection
        self._processes = processes
        self._report = report
        self._stopping = stopping or threading.Event()
        self._accepts = False

    def run(self) -> Rebuilt | None:
        """Do it. Raises :class:`RebuildUnderWay`, :class:`NotRequested`, :class:`RebuildFailed`, and what the
        database raises when it is away."""
        name = self._projection.name
        with self._connect(REBUILD) as connection:
            row = connection.execute("select pg_try_advisory_lock(%s::int, hashtext(%s))", (_LOCK, name)).fetchone()
            if row != (True,):
                raise RebuildUnderWay(projection=name)
            state, self._accepts = self._order(connection)
            if state == "requested":
                with connection.transaction():
                    connection.execute("select felix.make_table_set(%s, %s::int)", (name, self._projection.version))
                    self._remember(connection, "folding")
            try:
                return self._go_on(connection)
            except (RebuildFailed, Corrupt) as error:
                self._remember(connection, "failed", str(error))
                raise

    def _go_on(self, connection: psycopg.Connection[Any]) -> Rebuilt | None:
        if not self._fold(connection):
            return None
        findings: list[str] = []
        compared = self._same_version(connection)
        if compared:
            self._remember(connection, "comparing")
            findings = self._compare(connection)
            if findings and not self._accepts:
                return self._refuse(connection, findings)
        self._remember(connection, "switching", differences=findings)
        return self._switch(connection, findings, compared=compared)

    def _order(self, connection: psycopg.Connection[Any]) -> tuple[State, bool]:
        row = connection.execute(
            "select state, accept_difference from felix.rebuilds where projection = %s and version = %s"
            " and state not in ('done', 'refused', 'failed')",
            (self._projection.name, self._projection.version),
        ).fetchone()
        if row is None:
            raise NotRequested(projection=self._projection.name, version=self._projection.version)
        return row[0], row[1]

    def _same_version(self, connection: psycopg.Connection[Any]) -> bool:
        found = connection.execute(
            "select distinct version from felix.cursors where projection = %s", (self._projection.name,)
        ).fetchall()
        return found == [(self._projection.version,)]

    def _fold(self, connection: psycopg.Connection[Any]) -> bool:
        """Fold until little is left; False when asked to stop before."""
        heads = self._projection.source.heads
        ends, done = heads(connection), self._positions(connection, REBUILD)
        left = sum(ends.values()) - sum(done.values())
        processes = self._processes if left >= ALONE_BELOW_EVENTS else 0
        moved_at = time.monotonic()
        with folding(self._url, self._projection, sorted(ends), processes) as folders:
            while not self._stopping.is_set():
                before, done = done, self._positions(connection, REBUILD)
                ends = heads(connection)
                self._report(Progress(self._projection.name, "folding", sum(done.values()), sum(ends.values())))
                near = all(end - done.get(partition, 0) <= NEAR_EVENTS for partition, end in ends.items())
                if near and not self._somebody_is_due(connection):
                    return True
                errors = folders.errors()
                now = time.monotonic()
                if done != before:
                    moved_at = now
                elif errors and now - moved_at > PATIENCE_S:
                    partition, error = next(iter(errors.items()))
                    raise RebuildFailed(f"Partition {partition} can't go on: {error}", partition=partition)
                self._stopping.wait(LOOK_EVERY_S)
        return False

    def _somebody_is_due(self, connection: psycopg.Connection[Any]) -> bool:
        """Whether a stopped tenant is still to be tried again: the code may have been mended since."""
        query = "select from felix.rebuild_poisoned where projection = %s and retry_at <= clock_timestamp()"
        return connection.execute(query, (self._projection.name,)).fetchone() is not None

    def _compare(self, connection: psycopg.Connection[Any]) -> list[str]:
        """Where the new tables differ from those that are read, at equal cursors; in sentences.

        The cursors are held only until a snapshot of that moment is taken. It is compared at leisure, while both go
        on from equal to equal.
        """
        name = self._projection.name
        self._report(Progress(name, "comparing", 0, 0))
        deadline = time.monotonic() + LIVE_PATIENCE_S
        with self._connect(LIVE) as snapshot:
            while not self._meet(connection, snapshot):
                if time.monotonic() > deadline:
                    return ["The tables that are read stand still behind the new ones, so nobody can compare them."]
                self._stopping.wait(0.02)
            now, new = (self._poisoned(snapshot, tables) for tables in (LIVE, REBUILD))
            found = differences(snapshot, self._projection.tables, leave_out=now.keys() | new.keys())
            return [str(difference) for difference in found] + _worse(now, new)

    def _meet(self, connection: psycopg.Connection[Any], snapshot: psycopg.Connection[Any]) -> bool:
        """Bring both to the same place and take a snapshot of it; False when what is read is still behind."""
        ahead = self._positions(connection, REBUILD)
        try:
            self._help_live(ahead)
            with connection.transaction():
                live = self._hold(connection)
                if any(live.get(partition, 0) < position for partition, position in ahead.items()):
                    return False
                self._drain(live)
                snapshot.execute("begin isolation level repeatable read, read only")
                snapshot.execute("select 1")
        except (psycopg.errors.LockNotAvailable, StandsStill, ReadersInTheWay) as error:
            log.info("projection %s can't be compared yet: %s", self._projection.name, error)
            return False
        return True

    def _switch(self, connection: psycopg.Connection[Any], findings: list[str], *, compared: bool) -> Rebuilt:
        name = self._projection.name
        deadline = time.monotonic() + SWITCH_PATIENCE_S
        lock_timeout_ms = FIRST_LOCK_TIMEOUT_MS
        while True:
            self._report(Progress(name, "switching", 0, 0))
            try:
                with connection.transaction():
                    live = self._hold(connection)
                    mine = self._positions(connection, REBUILD)
                    self._drain({partition: max(live.get(partition, 0), at) for partition, at in mine.items()})
                    now, new = (self._poisoned(connection, tables) for tables in (LIVE, REBUILD))
                    if compared and not self._accepts and (worse := _worse(now, new)):
                        findings = worse
                    else:
                        self._wait_for_readers(connection)
                        connection.execute("select set_config('lock_timeout', %s, true)", (f"{lock_timeout_ms}ms",))
                        connection.execute("select felix.switch_table_set(%s)", (name,))
                        detail = _told(sum(mine.values()), len(new), compared, findings)
                        self._remember(connection, "done", detail, findings)
                        log.info("projection %s was rebuilt: %s", name, detail)
                        return Rebuilt(name, "done", detail, findings)
                return self._refuse(connection, findings)
            except (psycopg.errors.LockNotAvailable, ReadersInTheWay) as error:
                if time.monotonic() > deadline:
                    raise RebuildFailed(
                        f"The tables could not be switched for {SWITCH_PATIENCE_S:g} s: {error}"
                    ) from error
                lock_timeout_ms = min(2 * lock_timeout_ms, LAST_LOCK_TIMEOUT_MS)
                self._stopping.wait(0.1)

    def _refuse(self, connection: psycopg.Connection[Any], findings: list[str]) -> Rebuilt:
        detail = "The rebuilt tables differ from those that are read. Both are kept, and nothing was switched."
        self._remember(connection, "refused", detail, findings)
        log.error("projection %s was not switched: %s", self._projection.name, "; ".join(findings))
        return Rebuilt(self._projection.name, "refused", detail, findings)

    def _hold(self, connection: psycopg.Connection[Any]) -> dict[int, int]:
        """Lock the live cursors until the end of the transaction: nobody folds meanwhile."""
        connection.execute("set local lock_timeout = '5s'")
        query = _POSITIONS.format(LIVE.cursors) + " for update"
        return dict(connection.execute(query.encode(), (self._projection.name,)).fetchall())

    def _drain(self, until: dict[int, int]) -> None:
        """Fold the new tables to these positions, and commit it."""
        with self._connect(REBUILD) as folding_:
            for partition, position in until.items():
                runner = PartitionRunner(
                    lambda: self._connect(REBUILD), [self._projection], partition, REBUILD, far_behind=BATCH
                )
                if not runner.fold_until(folding_, position):
                    raise ReadersInTheWay("Another process still folds into the new tables.", partition=partition)

    def _help_live(self, until: dict[int, int]) -> None:
        """Fold what is read up to these positions where no worker does."""
        with self._connect(LIVE) as live:
            for partition, position in until.items():
                PartitionRunner(lambda: self._connect(LIVE), [self._projection], partition).fold_until(live, position)

    def _wait_for_readers(self, connection: psycopg.Connection[Any]) -> None:
        deadline = time.monotonic() + READERS_PATIENCE_S
        before = set(connection.execute(_RUNNING).fetchall())
        while before:
            if time.monotonic() > deadline:
                raise ReadersInTheWay(f"{len(before)} transactions that began before have not ended.")
            time.sleep(0.005)
            before &= set(connection.execute(_RUNNING).fetchall())

    def _positions(self, connection: psycopg.Connection[Any], tables: TableSet) -> dict[int, int]:
        query = _POSITIONS.format(tables.cursors).encode()
        return dict(connection.execute(query, (self._projection.name,)).fetchall())

    def _poisoned(self, connection: psycopg.Connection[Any], tables: TableSet) -> dict[Any, tuple[Any, ...]]:
        query = _POISONED.format(tables.poisoned).encode()
        return {row[0]: row[1:] for row in connection.execute(query, (self._projection.name,))}

    def _remember(
        self,
        connection: psycopg.Connection[Any],
        state: State,
        detail: str | None = None,
        differences: list[str] | None = None,
    ) -> None:
        told = Jsonb(differences or [])
        connection.execute(_STATE, (state, detail, told, state, state, self._projection.name))

    def _connect(self, tables: TableSet) -> ProjectorConnection:
        return connect_projector(self._url, schema=tables.schema, patient=True)


def _worse(now: dict[Any, tuple[Any, ...]], new: dict[Any, tuple[Any, ...]]) -> list[str]:
    """Tenants that the new tables stop for, and those that are read do not, or later."""
    return [
        f"The new tables stop for tenant {tenant_id} at {type_} at {position}: {error}: {message}"
        for tenant_id, (position, type_, error, message) in new.items()
        if tenant_id not in now or now[tenant_id][0] > position
    ]


def _told(events: int, stopped: int, compared: bool, findings: list[str]) -> str:
    if not compared:
        same = "a new version, so there was nothing to compare"
    else:
        same = "the differences were accepted" if findings else "the same rows as before"
    kept = f"; {stopped} stopped {'tenant was' if stopped == 1 else 'tenants were'} carried over" if stopped else ""
    return f"{events:,} events, {same}{kept}"
