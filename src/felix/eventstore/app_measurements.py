"""The table of what is counted of running releases. It is written by and by, and forgets by itself."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from felix.domain.apps.measured import KEEP_COUNTS, Measure, Running
from felix.domain.errors import Unavailable
from felix.eventstore.kept_connections import KeptConnections

log = logging.getLogger("felix.apps")

#: How long a count waits for others to be written with.
WRITE_EVERY_S = 1.0
PURGE_EVERY = timedelta(hours=1)
#: Counts that may wait while the database is away; beyond that new ones are let go.
MAX_WAITING = 10_000

#: In one order, so that processes that write at the same time wait for each other instead of for ever.
_ADD = """
    insert into felix.app_measurements as known
      (partition, tenant_id, app, environment, release, minute, measure, counted)
    select * from unnest(%s::int[], %s::uuid[], %s::text[], %s::text[], %s::text[], %s::timestamptz[], %s::text[],
      %s::bigint[]) as given (partition, tenant_id, app, environment, release, minute, measure, counted)
    order by partition, tenant_id, app, environment, release, minute, measure
    on conflict (partition, tenant_id, app, environment, release, minute, measure)
      do update set counted = known.counted + excluded.counted
"""
_COUNTED = """
    select measure, sum(counted)::bigint from felix.app_measurements
    where partition = %s and tenant_id = %s and app = %s and environment = %s and (release = %s) = %s
      and minute >= %s and minute < %s group by measure
"""
_PURGE = """
    delete from felix.app_measurements
    where partition in (select partition from felix.partitions) and minute < %s
"""


class AppMeasurements:
    """The counts of this process on their way to the table, and what is in the table.

    A thread begins with the first count and writes once a second what has come together.
    """

    def __init__(self, connect: Callable[[], psycopg.Connection[Any]]) -> None:
        self._connections = KeptConnections(connect, "The table of measurements")
        self._waiting: Counter[tuple[Running, datetime, Measure]] = Counter()
        self._guard = threading.Lock()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def count(self, running: Running, measure: Measure, number: int = 1) -> None:
        """Count something in the minute that it is."""
        key = (running, datetime.now(UTC).replace(second=0, microsecond=0), measure)
        with self._guard:
            if key in self._waiting or len(self._waiting) < MAX_WAITING:
                self._waiting[key] += number
            if self._thread is None:
                self._thread = threading.Thread(target=self._write_on, name="app-measurements", daemon=True)
                self._thread.start()

    def counted(self, running: Running, since: datetime, until: datetime) -> Mapping[Measure, int]:
        """Sums of a release by measure. Raises ``Unavailable``."""
        return self._ask((*running, True, since, until))

    def counted_of_others(self, running: Running, since: datetime, until: datetime) -> Mapping[Measure, int]:
        """Sums of all other releases of the app there, by measure. Raises ``Unavailable``."""
        return self._ask((*running, False, since, until))

    def write(self) -> None:
        """Write what waits. Raises ``Unavailable``; it waits on then."""
        with self._guard:
            waiting, self._waiting = self._waiting, Counter()
        if not waiting:
            return
        rows = [(*running, minute, measure, number) for (running, minute, measure), number in waiting.items()]
        columns = [list(column) for column in zip(*rows, strict=True)]
        try:
            self._connections.call(lambda connection: connection.execute(_ADD, columns))
        except Unavailable:
            with self._guard:
                self._waiting.update(waiting)
            raise

    def close(self) -> None:
        """Write what waits, if the database is there, and give the connections back."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join(WRITE_EVERY_S)
        with suppress(Unavailable):
            self.write()
        self._connections.close()

    def _ask(self, asked: tuple[Any, ...]) -> Mapping[Measure, int]:
        return dict(self._connections.call(lambda connection: connection.execute(_COUNTED, asked).fetchall()))

    def _purge(self, before: datetime) -> None:
        self._connections.call(lambda connection: connection.execute(_PURGE, (before,)))

    def _write_on(self) -> None:
        purged_at = datetime.min.replace(tzinfo=UTC)
        while not self._closing.wait(WRITE_EVERY_S):
            now = datetime.now(UTC)
            try:
                self.write()
                if now - purged_at >= PURGE_EVERY:
                    self._purge(now - KEEP_COUNTS)
                    purged_at = now
            except Unavailable as error:
                log.warning("what is counted of apps is written later: %s", error)
