"""The only way to a cursor on the read side: a transaction bound to one tenant, or to a founder.

Two belts keep tenants apart, and each holds without the other: row-level security, which sees the tenant that was
bound with ``set local``, and ``partition = %s and tenant_id = %s`` in every question. A transaction is read-only and
sees one moment (repeatable read), so a page that asks several questions gets answers that fit together.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from select import POLLIN, poll
from typing import Any, LiteralString
from uuid import UUID

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

from felix.domain.errors import Corrupt, Unavailable

Connection = psycopg.AsyncConnection[dict[str, Any]]
Row = dict[str, Any]

#: How long a request waits for a connection before it is told to come back.
CHECKOUT_TIMEOUT_S = 5.0
#: The pool pauses longer and longer between attempts to connect, up to minutes after the database is back, unless it
#: gives up; then the next request that waits makes it try at once.
RECONNECT_TIMEOUT_S = 0.5
#: A connection that does not even roll back within this is closed.
ROLLBACK_TIMEOUT_S = 5.0

_BEGIN = b"begin isolation level repeatable read, read only"
_BOUND = b"select current_setting('felix.tenant', true) as bound"
_PREDICATES = ("partition = %s", "tenant_id = %s")


class PoolPoisoned(Corrupt):
    """A connection came out of the pool with a tenant still bound to it; it was closed and nothing was read."""


class PredicateMissing(Corrupt):
    """A question does not name partition and tenant; row-level security alone is one belt too few."""


class BeingRebuilt(Unavailable):
    """This read model is being rebuilt for a new version; its tables can't answer this yet."""


class ReadTx:
    """A read-only transaction. It begins with the first question, in the same round trip."""

    def __init__(self, pool: ReadPool, source: AsyncConnectionPool[Connection]) -> None:
        self._pool = pool
        self._source = source
        self._connection: Connection | None = None
        self._begun = False

    async def fetch(self, query: LiteralString, *parameters: Any) -> list[Row]:
        """Ask, and get all rows. Raises :class:`Unavailable` when the database is away, and :class:`BeingRebuilt`."""
        try:
            if self._connection is not None:
                cursor = await self._connection.execute(query, parameters)
                return await cursor.fetchall()
            return await self._first(query, parameters)
        except psycopg.OperationalError as error:
            raise unavailable(error) from error
        except (psycopg.errors.UndefinedColumn, psycopg.errors.UndefinedTable) as error:
            # The question is of this version, and the tables of the one before, until the rebuild switches them.
            raise BeingRebuilt() from error

    async def fetch_one(self, query: LiteralString, *parameters: Any) -> Row | None:
        """Ask, and get the first row, if there is one."""
        rows = await self.fetch(query, *parameters)
        return rows[0] if rows else None

    def opening(self) -> Sequence[bytes]:
        """The statements that come before the first question."""
        return (_BEGIN, _BOUND)

    async def _first(self, query: LiteralString, parameters: Sequence[Any]) -> list[Row]:
        connection = await self._pool.checkout(self._source)
        self._connection = connection
        begin, bound, *bind = self.opening()
        async with connection.pipeline():
            await connection.execute(begin)
            leftover = await connection.execute(bound)
            for statement in bind:
                await connection.execute(statement)
            cursor = await connection.execute(query, parameters)
        self._begun = True
        row = await leftover.fetchone()
        if row is None or row["bound"]:
            await connection.close()
            raise PoolPoisoned()
        return await cursor.fetchall()

    async def end(self) -> None:
        """Give the connection back, whatever became of the transaction. A second call does nothing.

        One whose beginning was cut short is closed: the driver may believe that it prepared what the server dropped.
        """
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            busy = connection.pgconn.pipeline_status or connection.pgconn.transaction_status == TransactionStatus.ACTIVE
            if busy or not self._begun:
                await connection.close()
            elif not connection.closed:
                async with asyncio.timeout(ROLLBACK_TIMEOUT_S):
                    await connection.execute(b"rollback")
        except (psycopg.Error, TimeoutError):
            await connection.close()
        finally:
            await self._source.putconn(connection)


class TenantTx(ReadTx):
    """What one tenant may read. ``partition`` and ``tenant_id`` belong into every question."""

    _seen: set[str] = set()

    def __init__(
        self, pool: ReadPool, source: AsyncConnectionPool[Connection], tenant_id: UUID, partition: int
    ) -> None:
        super().__init__(pool, source)
        self.tenant_id = tenant_id
        self.partition = partition

    def opening(self) -> Sequence[bytes]:
        return (*super().opening(), f"set local felix.tenant = '{self.tenant_id}'".encode())

    async def fetch(self, query: LiteralString, *parameters: Any) -> list[Row]:
        """Ask, and get all rows. Raises :class:`PredicateMissing`, and :class:`Unavailable` as ever."""
        if query not in self._seen:
            if not all(predicate in query for predicate in _PREDICATES):
                raise PredicateMissing(query=query)
            self._seen.add(query)
        return await super().fetch(query, *parameters)


class FounderTx(ReadTx):
    """What the founder may read: every tenant."""


@dataclass(frozen=True, slots=True)
class PoolUse:
    """How many connections of a pool are busy and idle, and how many requests wait for one."""

    pool: str
    busy: int
    idle: int
    waiting: int


class ReadPool:
    """The connections of the read side. ``max_size`` is for the readers; founders share two connections of their own.

    Readers have all of theirs from the beginning: a new one takes 8 ms to its first answer on an idle machine, and
    would be opened when requests wait already, which makes more of them wait.
    """

    def __init__(self, reader_url: str, founder_url: str | None = None, max_size: int = 8) -> None:
        self._readers = _pool(reader_url, "readers", max_size, max_size)
        self._founders = _pool(founder_url, "founders", 0, 2) if founder_url is not None else None
        self._ending: set[asyncio.Task[None]] = set()
        #: Queries for cursors that are under way, by partition; :mod:`felix.projections.freshness` shares them.
        self.asking: dict[int, asyncio.Task[dict[str, int]]] = {}

    async def open(self) -> None:
        """Begin to connect, in the background: a database that is away makes questions fail, not the start."""
        await self._readers.open()
        if self._founders is not None:
            await self._founders.open()

    async def close(self) -> None:
        """Wait for what is being given back, and close every connection."""
        while self._ending or self.asking:
            await asyncio.wait([*self._ending, *self.asking.values()])
        await self._readers.close()
        if self._founders is not None:
            await self._founders.close()

    @asynccontextmanager
    async def tenant(self, tenant_id: UUID, partition: int) -> AsyncIterator[TenantTx]:
        """A transaction that sees one tenant."""
        tx = TenantTx(self, self._readers, UUID(str(tenant_id)), partition)
        try:
            yield tx
        finally:
            await self._end(tx)

    @asynccontextmanager
    async def founder(self) -> AsyncIterator[FounderTx]:
        """A transaction that sees every tenant. Raises :class:`Unavailable` where no founder's URL was given."""
        if self._founders is None:
            raise Unavailable("This process has no access to the founder's questions.")
        tx = FounderTx(self, self._founders)
        try:
            yield tx
        finally:
            await self._end(tx)

    @asynccontextmanager
    async def unbound(self) -> AsyncIterator[ReadTx]:
        """A transaction bound to nobody: it can look keys, heads and cursors up, and sees no tenant's rows."""
        tx = ReadTx(self, self._readers)
        try:
            yield tx
        finally:
            await self._end(tx)

    async def cursors(self, partition: int) -> dict[str, int]:
        """How far every projection is in a partition. Belongs to no tenant, so none is bound."""
        connection = await self.checkout(self._readers)
        try:
            found = await connection.execute(
                "select projection, position from felix.cursors where partition = %s", (partition,)
            )
            return {row["projection"]: row["position"] async for row in found}
        except psycopg.OperationalError as error:
            raise unavailable(error) from error
        finally:
            await asyncio.shield(self._apart(self._readers.putconn(connection)))

    def use(self) -> list[PoolUse]:
        """How the connections are used at this moment."""
        found = []
        for pool in filter(None, (self._readers, self._founders)):
            stats = pool.get_stats()
            idle = stats.get("pool_available", 0)
            busy = stats.get("pool_size", 0) - idle
            found.append(PoolUse(pool.name.removeprefix("felix-"), busy, idle, stats.get("requests_waiting", 0)))
        return found

    async def checkout(self, source: AsyncConnectionPool[Connection]) -> Connection:
        """A connection that is alive as far as its socket knows."""
        deadline = time.monotonic() + CHECKOUT_TIMEOUT_S
        try:
            while True:
                connection = await source.getconn(timeout=max(0.001, deadline - time.monotonic()))
                if _is_alive(connection):
                    return connection
                await connection.close()
                self._apart(source.putconn(connection))
        except psycopg.OperationalError as error:
            raise unavailable(error) from error

    async def _end(self, tx: ReadTx) -> None:
        await asyncio.shield(self._apart(tx.end()))

    def _apart(self, ending: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run in a task of its own: a caller that is cancelled, once or twice, must not keep a connection."""
        task = asyncio.ensure_future(ending)
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
        return task


def unavailable(error: psycopg.Error) -> Unavailable:
    """What the caller hears when the database is away or gave up."""
    return Unavailable("The read models can't be reached right now; try again.", sqlstate=error.sqlstate or "")


def _pool(url: str, name: str, min_size: int, max_size: int) -> AsyncConnectionPool[Connection]:
    return AsyncConnectionPool(
        url,
        connection_class=psycopg.AsyncConnection[Row],
        kwargs={"autocommit": True, "row_factory": dict_row},
        min_size=min_size,
        max_size=max_size,
        reconnect_timeout=RECONNECT_TIMEOUT_S,
        name=f"felix-{name}",
        open=False,
    )


def _is_alive(connection: Connection) -> bool:
    """Look at the socket, without a round trip: a server that went away has closed it.

    Not the pool's own ``check``: that waits longer and longer after each dead connection, and all die together.
    """
    try:
        watch = poll()
        watch.register(connection.fileno(), POLLIN)
        while watch.poll(0):
            connection.pgconn.consume_input()
    except psycopg.OperationalError:
        return False
    return True
