"""Keeps the read models up to date: one thread a partition, and one that watches the heads for all of them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import psycopg

from felix.eventstore.frozen import end_frozen
from felix.projections import base
from felix.projections.base import Projection, ProjectorConnection, connect_projector
from felix.projections.feeds import FEEDS, FeedName
from felix.projections.partition_runner import BATCH_FAR_BEHIND, MAX_BACKOFF_S, PartitionRunner
from felix.projections.table_sets import LIVE, TableSet

log = logging.getLogger("felix.projections")

#: The safety net for wake-ups that never came: one query over the small table of heads, for all partitions at once.
POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Lag:
    """How far a projection is behind in a partition. ``error`` says why it stopped, where it did; ``stopped`` counts
    the tenants that it stopped for alone."""

    projection: str
    partition: int
    position: int
    head: int
    owned: bool
    error: str | None
    stopped: int = 0

    @property
    def lag_events(self) -> int:
        """Events committed and not retold yet."""
        return max(0, self.head - self.position)


class ProjectionRunner:
    """Runs projections over partitions until it is stopped.

    Any number of processes may run the same ones: each (projection, partition) belongs to whoever holds its advisory
    lock, and the others wait for it. ``projector_url`` signs in as ``felix_projector``.
    """

    def __init__(
        self,
        projector_url: str,
        projections: Sequence[Projection],
        partitions: Iterable[int],
        tables: TableSet = LIVE,
        *,
        poll_s: float = POLL_S,
        far_behind: int = BATCH_FAR_BEHIND,
    ) -> None:
        self._url = projector_url
        self._tables = tables
        self._poll_s = poll_s
        self._feeds = [FEEDS[name] for name in sorted({projection.feed for projection in projections})]
        self._runners = {
            partition: PartitionRunner(self._connect, projections, partition, tables, far_behind=far_behind)
            for partition in partitions
        }
        self._stopping = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="projections-heads", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        for runner in self._runners.values():
            runner.start()
        self._watcher.start()

    def wake(self, partition: int, position: int, feed: FeedName = "events") -> None:
        """Say that a feed has been committed up to this position. Cheap, from any thread."""
        if (runner := self._runners.get(partition)) is not None:
            runner.wake(position, feed)

    def stop(self, timeout_s: float = 5.0) -> bool:
        """Stop after the batches at hand and give everything back. False when a thread would not end."""
        self._stopping.set()
        for runner in self._runners.values():
            runner.ask_to_stop()
        deadline = time.monotonic() + timeout_s
        ended = [runner.join(max(0.0, deadline - time.monotonic())) for runner in self._runners.values()]
        if self._watcher.ident is not None:
            self._watcher.join(max(1.0, deadline - time.monotonic()))
        return all(ended) and not self._watcher.is_alive()

    def lag(self) -> dict[tuple[str, int], Lag]:
        """How far each projection is in each partition, as this process knows."""
        return {
            (cursor.projection.name, partition): Lag(
                cursor.projection.name,
                partition,
                cursor.position,
                runner.heads[cursor.projection.feed],
                cursor.owned,
                cursor.error,
                len(cursor.stopped),
            )
            for partition, runner in self._runners.items()
            for cursor in runner.cursors
        }

    def _connect(self) -> ProjectorConnection:
        return connect_projector(self._url, schema=self._tables.schema)

    def _watch(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            try:
                with self._connect() as connection:
                    failures, look_at = 0, 0.0
                    while not self._stopping.wait(self._poll_s):
                        if (now := time.monotonic()) >= look_at:
                            look_at = now + base.FROZEN_AFTER_S
                            end_frozen(connection, base.TRANSACTION_TIMEOUT_S)
                        for feed in self._feeds:
                            for partition, position in feed.heads(connection).items():
                                self.wake(partition, position, feed.name)
            except psycopg.Error as error:
                pause = min(0.1 * 2**failures, MAX_BACKOFF_S)
                failures = min(failures + 1, 16)
                log.warning("no database to watch: %s; tried again in %.1f s", error, pause)
                self._stopping.wait(pause)
