"""How the library's recorders reach the database: small pools to read with, an appender that settles every commit."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import psycopg
from eventsourcing import persistence
from psycopg_pool import ConnectionPool

from felix.domain.errors import FelixError, Unavailable, VersionConflict
from felix.eventstore.connections import IDLE_IN_TRANSACTION_TIMEOUT_MS, connect, role_url, writer_url
from felix.eventstore.partition_log import NewEvent, PartitionLog
from felix.eventstore.subscription import library_error, ring

#: Connections a role may have in one application, and how long a caller waits for one of them.
POOL_SIZE = 4
POOL_TIMEOUT_S = 5.0
#: Threads of one recorder append one after the other; a caller gives up after this.
TURN_TIMEOUT_S = 30.0
#: Longer than ``transaction_timeout``: by then a transaction whose end nobody heard of has ended.
SETTLE_TIMEOUT_S = 20.0

WRITER, PROJECTOR = "felix_writer", "felix_projector"

_RECORDED = (
    "select e.position, e.event_id from unnest(%s::text[], %s::bigint[]) as n (stream, version) join felix.events e"
    " on e.partition = %s and e.stream = n.stream and e.version = n.version order by e.position"
)


@contextmanager
def translated() -> Iterator[None]:
    """Raise the library's errors instead of the driver's and the log's."""
    try:
        yield
    except psycopg.Error as error:
        raise library_error(error) from error
    except VersionConflict as error:
        raise persistence.IntegrityError(error.detail) from error
    except Unavailable as error:
        cause = error.__cause__
        if isinstance(cause, psycopg.Error):
            raise library_error(cause) from error
        raise persistence.OperationalError(error.detail) from error


class FelixDatastore:
    """One database as an application's recorders use it: a small pool a role, opened when it is first needed."""

    def __init__(self, url: str, *, password: str | None = None) -> None:
        idle = {"idle_in_transaction_session_timeout": IDLE_IN_TRANSACTION_TIMEOUT_MS}
        self._urls = {
            WRITER: writer_url(url, password=password),
            PROJECTOR: role_url(url, PROJECTOR, password=password, **idle),
        }
        self._pools: dict[str, ConnectionPool[psycopg.Connection[Any]]] = {}
        self._appenders: list[Appender] = []
        self._lock = threading.Lock()
        # The library's projection runner never closes the factory that it makes for its view.
        weakref.finalize(self, _close, self._pools, self._appenders)

    def connect(self, role: str) -> psycopg.Connection[Any]:
        """A connection outside the pools, for who keeps it: the appender and the subscriptions."""
        return connect(self._urls[role])

    def appender(self, partition: int) -> Appender:
        """A writer of one partition."""
        url = self._urls[WRITER]
        appender = Appender(lambda: connect(url), partition)
        self._appenders.append(appender)
        return appender

    @contextmanager
    def connection(self, role: str) -> Iterator[psycopg.Connection[Any]]:
        """A pooled connection in autocommit mode, alive when handed out. Raises the library's errors."""
        with translated(), self._pool(role).connection() as connection:
            yield connection

    @contextmanager
    def transaction(self, role: str) -> Iterator[psycopg.Connection[Any]]:
        """A transaction on a pooled connection. Raises the library's errors."""
        with self.connection(role) as connection, connection.transaction():
            yield connection

    def close(self) -> None:
        """Close every connection; what is used afterwards opens anew."""
        with self._lock:
            _close(self._pools, self._appenders)

    def _pool(self, role: str) -> ConnectionPool[psycopg.Connection[Any]]:
        with self._lock:
            if (pool := self._pools.get(role)) is None:
                pool = self._pools[role] = ConnectionPool(
                    self._urls[role],
                    kwargs={"autocommit": True},
                    min_size=0,
                    max_size=POOL_SIZE,
                    timeout=POOL_TIMEOUT_S,
                    check=ConnectionPool.check_connection,
                    num_workers=1,
                    open=True,
                )
            return pool


def _close(pools: dict[str, ConnectionPool[psycopg.Connection[Any]]], appenders: list[Appender]) -> None:
    for appender in appenders:
        appender.close()
    while pools:
        pools.popitem()[1].close()


class Appender:
    """The writing side of one partition for many threads: each append is settled before the next begins.

    When the database goes away during a commit, the answer is not guessed: the next holder of the head asks, by
    event id, whether the events are there. The head is free only once the transaction in doubt has ended.
    """

    def __init__(self, connect: Callable[[], psycopg.Connection[Any]], partition: int) -> None:
        self.partition = partition
        self._connect_anew = connect
        self._log = PartitionLog(self._connect, partition)
        self._turn = threading.Lock()
        self._tenants: set[UUID] = set()

    def append(
        self, events: Sequence[NewEvent], also: Callable[[psycopg.Connection[Any]], None] | None = None
    ) -> list[int]:
        """Append ``events`` and do what ``also`` does, in one transaction; the positions of the events.

        Raises the library's IntegrityError when a stream already has one of the versions.
        """
        if not self._turn.acquire(timeout=TURN_TIMEOUT_S):
            raise persistence.OperationalError(f"Partition {self.partition} is busy in this process.")
        try:
            with translated():
                positions = self._append(events, also)
        finally:
            self._turn.release()
        ring(self.partition)
        return positions

    def close(self) -> None:
        """Close the connection; the next append makes a new one."""
        self._log.close()

    def _append(self, events: Sequence[NewEvent], also: Callable[[psycopg.Connection[Any]], None] | None) -> list[int]:
        tenants = list({event.tenant_id for event in events})
        head = self._open()
        try:
            self._refuse_tenants_of_other_partitions(tenants)
            sequences = self._log.last_tenant_sequences(tenants)
            if also is not None:
                also(self._connection)
        except BaseException:
            self._log.rollback()
            raise
        try:
            last = self._log.commit(events, sequences, [])
        except Unavailable:
            if (positions := self._settle(events)) is None:
                raise
            return positions
        except BaseException:
            self._log.rollback()
            raise
        return list(range(head + 1, last + 1))

    def _open(self) -> int:
        """Take the head. A connection that has died since the last append is replaced: nothing is in doubt yet."""
        try:
            return self._log.open_batch([])[0]
        except Unavailable as error:
            # Only a lost session (none, 08…, 57P…) is tried again; after a timeout the caller has waited enough.
            sqlstate = error.facts.get("sqlstate")
            if sqlstate and not sqlstate.startswith(("08", "57P")):
                raise
            return self._log.open_batch([])[0]
        except FelixError:
            self._log.rollback()
            raise

    def _settle(self, events: Sequence[NewEvent]) -> list[int] | None:
        """The positions of events whose commit was not acknowledged; none when they were not recorded."""
        streams, versions = [event.stream for event in events], [event.version for event in events]
        deadline = time.monotonic() + SETTLE_TIMEOUT_S
        while True:
            try:
                self._log.open_batch([])
                found = self._connection.execute(_RECORDED, (streams, versions, self.partition)).fetchall()
                break
            except (Unavailable, psycopg.OperationalError) as error:
                self._log.close()
                if time.monotonic() > deadline:
                    raise persistence.OperationalError(
                        "The database went away during a commit: whether the events were recorded is not known."
                    ) from error
                time.sleep(0.05)
        self._log.rollback()
        if [event_id for _, event_id in found] == [event.event_id for event in events] and events:
            return [position for position, _ in found]
        return None

    def _refuse_tenants_of_other_partitions(self, tenants: list[UUID]) -> None:
        if self._tenants.issuperset(tenants):
            return
        homes = self._connection.execute(
            "select tenant_id, partition from felix.tenants where tenant_id = any(%s)", (tenants,), prepare=True
        )
        for tenant_id, home in homes:
            if home != self.partition:
                raise persistence.ProgrammingError(
                    f"Tenant {tenant_id} lives in partition {home}, not in partition {self.partition}."
                )
            self._tenants.add(tenant_id)

    def _connect(self) -> psycopg.Connection[Any]:
        self._connection = self._connect_anew()
        return self._connection
