"""All live streams of this process: how many there may be, what wakes them, and what ends them."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from felix.api.auth import Principal
from felix.api.live.sources import GATHER_S, RETRY_S, Source, Told, message
from felix.api.live.states import StateFeed
from felix.api.live.topics import EVENTS, StateTopic
from felix.api.problems import TooManyStreams
from felix.domain.errors import Forbidden, NotFound, Unauthenticated, Unavailable
from felix.projections import tail
from felix.projections.tenant_tx import ReadPool, Row

log = logging.getLogger("felix.api.live")

#: The safety net for wake-ups that never came: one look at the small table of heads, while anybody listens.
POLL_S = 0.1
#: How often it is asked whether the keys of open streams still open doors.
RECHECK_S = 1.0
#: Questions of live streams that may use the readers' connections at the same time; half of them stay with requests.
READING, CATCHING_UP = 4, 2
#: How long a client that does not read may keep a stream that ends from ending.
LAST_WORDS_S = 0.5


@dataclass(frozen=True, slots=True)
class Limits:
    """How many streams there may be in this process: each is a socket and at worst a page of events in memory.

    A client may have half of all, so that one can't shut out the others; a key is one app or one person's browser
    tabs.
    """

    streams: int = 500
    streams_of_a_tenant: int = 250
    streams_of_a_key: int = 100


@dataclass(eq=False, slots=True)
class Reader:
    """One open stream. ``ending`` says why it ends, once it does."""

    principal: Principal
    tenant_id: UUID | None
    recheck: Callable[[], Awaitable[object]]
    bell: asyncio.Event = field(default_factory=asyncio.Event)
    sources: dict[int, Source] = field(default_factory=dict)
    feeds: list[StateFeed] = field(default_factory=list)
    ending: str | None = None
    #: Runs out when the client does not read what is being written to it.
    writing: asyncio.Timeout | None = None

    @property
    def way(self) -> tuple[object, ...]:
        """How the listener came in, and to whom: one of those who came the same way is asked for all of them."""
        return self.principal.caller.credential_id, self.tenant_id, self.principal.on_behalf_of

    def end(self, why: str) -> None:
        """Let the stream say why, and end."""
        self.ending = self.ending or why
        self.bell.set()
        if self.writing is not None and not self.writing.expired():
            self.writing.reschedule(asyncio.get_running_loop().time() + LAST_WORDS_S)


class PartitionWatch:
    """Finds out which of the tenants that are listened to have news in a partition: one question for all of them."""

    def __init__(self, partition: int, reads: ReadPool, asking: asyncio.Semaphore) -> None:
        self._partition = partition
        self._reads = reads
        self._asking = asking
        self._seen = 0
        self._stale = asyncio.Event()
        self.head = -1
        self.tenants: dict[UUID, Source] = {}
        self.whole: Source | None = None
        self.opened = asyncio.ensure_future(self._open())
        self._following = asyncio.ensure_future(_for_ever(self._look))

    def wake(self) -> None:
        """Say that something was committed."""
        self._stale.set()

    @property
    def is_awake(self) -> bool:
        """Whether the next look is still to come: what is committed now will be in it. From any thread."""
        return self._stale.is_set()

    def close(self) -> None:
        """End; nobody listens any more."""
        self.opened.cancel()
        self._following.cancel()

    async def _open(self) -> None:
        async with self._reads.unbound() as tx:
            self._seen = (await tail.heads(tx)).get(self._partition, 0)

    async def _look(self) -> None:
        await self._stale.wait()
        self._stale.clear()
        if self.whole is not None:
            self.whole.wake()
        if self.tenants:
            try:
                async with self._asking, self._reads.founder() as tx:
                    self._seen, found = await tail.news(tx, self._partition, self._seen)
            except BaseException:
                self.wake()
                raise
            for tenant_id in found & self.tenants.keys():
                self.tenants[tenant_id].wake()
        await asyncio.sleep(GATHER_S)


class LiveHub:
    """Admits streams, wakes them, and ends them. Everything but :meth:`wake` belongs to one event loop."""

    def __init__(self, reads: ReadPool) -> None:
        self.limits = Limits()
        self.poll_s = POLL_S
        #: Set while there are streams to wake.
        self.followed = threading.Event()
        self._reads = reads
        self._loop = asyncio.get_running_loop()
        self._readers: set[Reader] = set()
        self._watches: dict[int, PartitionWatch] = {}
        self._feeds: dict[tuple[UUID, str], StateFeed] = {}
        self._asking = asyncio.Semaphore(1)
        self._reading = asyncio.Semaphore(READING)
        self._catching_up = asyncio.Semaphore(CATCHING_UP)
        self._looking: list[asyncio.Task[None]] = []
        self._ended = False

    def wake(self, partition: int, position: int) -> None:
        """Say that a partition was committed up to a position. Cheap, from any thread; may be wrong or late."""
        watch = self._watches.get(partition)
        if watch is not None and not watch.is_awake:
            with suppress(RuntimeError):  # the loop has ended meanwhile
                self._loop.call_soon_threadsafe(watch.wake)

    def admit(self, principal: Principal, tenant_id: UUID | None, recheck: Callable[[], Awaitable[object]]) -> Reader:
        """A place for one more stream, which :meth:`release` gives back. Raises TooManyStreams and Unavailable.

        ``recheck`` raises ``Unauthenticated``, ``Forbidden`` or ``NotFound`` when the caller may not listen any more.
        """
        if self._ended:
            raise Unavailable("Felix is shutting down; connect again.", retry_after_s=1)
        if len(self._readers) >= self.limits.streams:
            raise Unavailable("This process has as many live streams as it takes.", retry_after_s=5)
        keys = Counter(reader.principal.caller.credential_id for reader in self._readers)
        tenants = Counter(reader.tenant_id for reader in self._readers)
        for count, most, whose in (
            (keys[principal.caller.credential_id], self.limits.streams_of_a_key, "key"),
            (tenants[tenant_id] if tenant_id is not None else 0, self.limits.streams_of_a_tenant, "tenant"),
        ):
            if count >= most:
                raise TooManyStreams(f"This {whose} has {most} live streams open.", limit=most, retry_after_s=5)
        reader = Reader(principal, tenant_id, recheck)
        self._readers.add(reader)
        if not self._looking:
            self._looking = [asyncio.ensure_future(_for_ever(task)) for task in (self._poll, self._recheck)]
            self.followed.set()
        return reader

    async def follow_tenant(
        self, reader: Reader, tenant_id: UUID, partition: int, topics: tuple[StateTopic, ...]
    ) -> None:
        """Let a reader have a tenant's events, and states. Raises ``Unavailable``."""
        watch = self._watch(partition)
        source = watch.tenants.get(tenant_id)
        if source is None:
            source = watch.tenants[tenant_id] = self._tenant_source(watch, tenant_id, partition)
        self._attach(reader, partition, source)
        for topic in topics:
            feed = self._feeds.get((tenant_id, topic.name))
            if feed is None:
                feed = StateFeed(topic, source, self._reads, tenant_id, partition)
                self._feeds[tenant_id, topic.name] = feed
            feed.bells.add(reader.bell)
            reader.feeds.append(feed)
        await asyncio.shield(source.opened)

    async def follow_everything(self, reader: Reader) -> None:
        """Let the founder have the events of every partition. Raises ``Unavailable``."""
        async with self._reads.unbound() as tx:
            partitions = await tail.heads(tx)
        for partition in sorted(partitions):
            watch = self._watch(partition)
            if watch.whole is None:
                watch.whole = self._partition_source(partition)
            self._attach(reader, partition, watch.whole)
        for source in reader.sources.values():
            await asyncio.shield(source.opened)

    def release(self, reader: Reader) -> None:
        """Give a place back; what nobody listens to any more is closed."""
        self._readers.discard(reader)
        for feed in reader.feeds:
            feed.bells.discard(reader.bell)
            if not feed.bells:
                feed.close()
                self._feeds = {key: each for key, each in self._feeds.items() if each is not feed}
        for partition, source in reader.sources.items():
            source.bells.discard(reader.bell)
            if not source.bells:
                self._close_source(partition, source)
        if not self._readers:
            for task in self._looking:
                task.cancel()
            self._looking = []
            self.followed.clear()

    def end(self) -> None:
        """End every stream now, and admit no more: its clients connect again, to another process or the next one."""
        self._ended = True
        for reader in self._readers:
            reader.end("Felix is shutting down, connect again")

    async def close(self) -> None:
        """End every stream and wait until it is gone."""
        self.end()
        with suppress(TimeoutError):
            async with asyncio.timeout(2 * LAST_WORDS_S):
                while self._readers:
                    await asyncio.sleep(0.01)

    @property
    def streams(self) -> int:
        """How many streams are open."""
        return len(self._readers)

    def _watch(self, partition: int) -> PartitionWatch:
        watch = self._watches.get(partition)
        if watch is None:
            watch = self._watches[partition] = PartitionWatch(partition, self._reads, self._asking)
        return watch

    def _attach(self, reader: Reader, partition: int, source: Source) -> None:
        source.bells.add(reader.bell)
        reader.sources[partition] = source

    def _close_source(self, partition: int, source: Source) -> None:
        source.close()
        watch = self._watches[partition]
        watch.tenants = {tenant_id: each for tenant_id, each in watch.tenants.items() if each is not source}
        if watch.whole is source:
            watch.whole = None
        if not watch.tenants and watch.whole is None:
            watch.close()
            del self._watches[partition]

    def _tenant_source(self, watch: PartitionWatch, tenant_id: UUID, partition: int) -> Source:
        async def head() -> int:
            # What is committed after this head must be news to the watch.
            await asyncio.shield(watch.opened)
            async with self._reading, self._reads.tenant(tenant_id, partition) as tx:
                return await tail.tenant_head(tx)

        async def read(after: int, limit: int) -> list[Told]:
            async with self._reading, self._reads.tenant(tenant_id, partition) as tx:
                rows = await tail.tenant_events(tx, after, limit)
            return [_told(row, "tenant_sequence") for row in rows]

        return Source(head, read, self._catching_up)

    def _partition_source(self, partition: int) -> Source:
        async def head() -> int:
            async with self._reads.unbound() as tx:
                return (await tail.heads(tx)).get(partition, 0)

        async def read(after: int, limit: int) -> list[Told]:
            async with self._asking, self._reads.founder() as tx:
                rows = await tail.partition_events(tx, partition, after, limit)
            return [_told(row, "position") for row in rows]

        return Source(head, read, self._catching_up)

    async def _poll(self) -> None:
        await asyncio.sleep(self.poll_s)
        async with self._reads.unbound() as tx:
            heads = await tail.heads(tx)
        for partition, watch in self._watches.items():
            head = heads.get(partition, 0)
            if head != watch.head:
                watch.head = head
                watch.wake()

    async def _recheck(self) -> None:
        await asyncio.sleep(RECHECK_S)
        for way, recheck in {reader.way: reader.recheck for reader in self._readers}.items():
            why = None
            try:
                await recheck()
            except Unauthenticated:
                why = "the API key is not valid any more"
            except (Forbidden, NotFound):
                why = "this may not be followed any more"
            if why is not None:
                for reader in self._readers:
                    if reader.way == way:
                        reader.end(why)


async def _for_ever(look: Callable[[], Coroutine[Any, Any, None]]) -> None:
    while True:
        try:
            await look()
        except Unavailable:
            await asyncio.sleep(RETRY_S)
        except Exception:
            log.exception("live streams could not be looked after, it is tried again")
            await asyncio.sleep(RETRY_S)


def _told(row: Row, by: str) -> Told:
    return Told(row[by], row["type"], row["stream"], message(EVENTS, row))
