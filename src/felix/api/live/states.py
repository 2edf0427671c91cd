"""What a read model says now of the things that events have changed, for all who listen to one topic of a tenant."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from uuid import UUID

from felix.api.live.sources import PAGE, RETRY_S, Source, message
from felix.api.live.topics import StateTopic
from felix.domain.errors import Unavailable
from felix.projections.freshness import wait_for_own
from felix.projections.tenant_tx import ReadPool

log = logging.getLogger("felix.api.live")

#: Things whose newest state is kept for those who are nearly at the end, and asked for at once.
KEPT_STATES, ASKED_STATES = 1_000, 500


class StateFeed:
    """Follows a tenant's events and keeps the newest state of what they touched; what is overtaken is not told.

    ``end`` is the ``tenant_sequence`` up to which everything is told: the read model has always passed it.
    """

    def __init__(self, topic: StateTopic, source: Source, reads: ReadPool, tenant_id: UUID, partition: int) -> None:
        self.topic = topic
        self.source = source
        self._reads = reads
        self._tenant_id = tenant_id
        self._partition = partition
        #: By id, in the order in which they were told: the sequence at which, and the message.
        self._newest: dict[str, tuple[int, bytes]] = {}
        self.start = self.end = 0
        self.is_open = False
        self.bells: set[asyncio.Event] = set()
        self._bell = asyncio.Event()
        self._following = asyncio.ensure_future(self._follow())

    def close(self) -> None:
        """End; nobody listens any more."""
        self._following.cancel()
        self.source.bells.discard(self._bell)

    async def after(self, seen: int) -> AsyncIterator[tuple[list[bytes], int]]:
        """Messages in portions, each with the sequence that everything is told up to once it has been written."""
        if not self.is_open or seen >= self.end:
            return
        if seen >= self.start:
            yield [told for sequence, told in self._newest.values() if sequence > seen], self.end
            return
        until, after = self.end, ""
        while True:
            async with self._reads.tenant(self._tenant_id, self._partition) as tx:
                states = await self.topic.changed(tx, seen, after, PAGE)
            last = len(states) < PAGE
            yield [message(self.topic.name, state) for _, state in states], until if last else seen
            if last:
                return
            after = states[-1][0]

    async def _follow(self) -> None:
        self.source.bells.add(self._bell)
        await asyncio.wait([self.source.opened])
        start = self.source.end
        while True:
            try:
                if not self.is_open:
                    await self._passed(start)
                    self.start = self.end = start
                    self.is_open = True
                    self._ring()
                self._bell.clear()
                if not await self._tell():
                    await self._bell.wait()
            except Unavailable:
                await asyncio.sleep(RETRY_S)
            except Exception:
                log.exception("a live topic could not be told, it is tried again")
                await asyncio.sleep(RETRY_S)

    async def _tell(self) -> bool:
        """Ask for what the events since the last time touched; False when there were none."""
        touched: dict[str, None] = {}
        until = self.end
        while len(touched) < ASKED_STATES and (page := await self.source.after(until)):
            ids = (self.topic.touches(told.type, told.stream) for told in page)
            touched |= dict.fromkeys(id_ for id_ in ids if id_ is not None)
            until = page[-1].sequence
        if until == self.end:
            return False
        if touched:
            await self._passed(until)
            async with self._reads.tenant(self._tenant_id, self._partition) as tx:
                states = await self.topic.states(tx, list(touched))
            for id_, state in states:
                self._newest.pop(id_, None)
                self._newest[id_] = (until, message(self.topic.name, state))
            while len(self._newest) > KEPT_STATES:
                self.start = self._newest.pop(next(iter(self._newest)))[0]
        self.end = until
        self._ring()
        return True

    async def _passed(self, sequence: int) -> None:
        await wait_for_own(self._reads, self.topic.projection, self._tenant_id, self._partition, sequence)

    def _ring(self) -> None:
        for bell in self.bells:
            bell.set()
