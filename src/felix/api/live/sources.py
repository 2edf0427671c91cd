"""The log as live streams read it: each wake-up costs one question, however many listen.

Nothing is queued for a reader. It asks for what follows what it has seen, gets a page of it, and asks again once that
is written: out of what the source keeps when it is near the end, out of the log itself when it is far behind. So a
slow reader costs one page of memory, and being late loses nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from felix.domain.errors import Unavailable
from felix.eventstore.mapper import canonical_json

log = logging.getLogger("felix.api.live")

#: Events read at once: what a reader that is far behind holds in memory.
PAGE = 100
#: What a source keeps for those who are nearly at the end: a reconnect of all its readers reads the log once.
KEPT_EVENTS, KEPT_BYTES = 1_000, 1_000_000
#: After each look commits gather for this long: at a steady stream of writes a page then has more than one.
GATHER_S = 0.01
#: How long a database that is away is left alone.
RETRY_S = 0.5


@dataclass(frozen=True, slots=True)
class Told:
    """One event on its way out. ``sequence`` counts in its source; ``message`` lacks only its id."""

    sequence: int
    type: str
    stream: str
    message: bytes


def message(name: str, value: Any) -> bytes:
    """An event of the event stream format, without its id. JSON has no line breaks of its own."""
    return b"event: " + name.encode() + b"\ndata: " + canonical_json(value) + b"\n\n"


class Source:
    """A tenant's events by ``tenant_sequence``, or a partition's by position, for all who listen in this process."""

    def __init__(
        self,
        open_at: Callable[[], Awaitable[int]],
        read: Callable[[int, int], Awaitable[list[Told]]],
        catching_up: asyncio.Semaphore,
    ) -> None:
        """``open_at`` answers the last sequence, ``read(after, limit)`` what follows a sequence.

        ``catching_up`` is how many readers that are far behind may ask the log at the same time.
        """
        self._open_at = open_at
        self._read = read
        self._catching_up = catching_up
        self._asked: dict[int, asyncio.Task[list[Told]]] = {}
        self._kept: list[Told] = []
        self._kept_bytes = 0
        self._stale = asyncio.Event()
        self._error: Exception | None = None
        self.start = self.end = 0
        self.bells: set[asyncio.Event] = set()
        self._following: asyncio.Task[None] | None = None
        self.opened = asyncio.ensure_future(self._open())

    def wake(self) -> None:
        """Say that there may be more."""
        self._stale.set()

    async def after(self, seen: int) -> list[Told]:
        """What follows, at most a page; empty when nothing is known to. Raises what broke the source."""
        if self._error is not None:
            raise self._error
        if seen >= self.end:
            return []
        if seen >= self.start:
            return self._kept[seen - self.start : seen - self.start + PAGE]
        # After a restart all readers come back at the same place: they go through the log together.
        asked = self._asked.get(seen)
        if asked is None:
            asked = self._asked[seen] = asyncio.ensure_future(self._read_behind(seen))
            asked.add_done_callback(lambda done: self._answered(seen, done))
        return await asyncio.shield(asked)

    async def head(self) -> int:
        """The last sequence there is in the log, which another process may have told before this one read it."""
        self.wake()
        return await self._open_at()

    def close(self) -> None:
        """End; nobody listens any more."""
        for task in (self.opened, self._following, *self._asked.values()):
            if task is not None:
                task.cancel()

    async def _open(self) -> None:
        self.end = await self._open_at()
        self.start = self.end
        # What was committed meanwhile may have rung before anybody could hear it.
        self.wake()
        self._following = asyncio.ensure_future(self._follow())

    def _answered(self, seen: int, done: asyncio.Task[list[Told]]) -> None:
        del self._asked[seen]
        if not done.cancelled():
            done.exception()  # whoever asked may be gone: seen, so that nobody complains of it

    async def _read_behind(self, seen: int) -> list[Told]:
        async with self._catching_up:
            return await self._read(seen, PAGE)

    async def _follow(self) -> None:
        while self._error is None:
            await self._stale.wait()
            self._stale.clear()
            try:
                while page := await self._read(self.end, PAGE):
                    self._keep(page)
            except Unavailable:
                await asyncio.sleep(RETRY_S)
                self.wake()
            except Exception as error:
                log.exception("a live source broke")
                self._error = error
            for bell in self.bells:
                bell.set()
            await asyncio.sleep(GATHER_S)

    def _keep(self, page: list[Told]) -> None:
        self._kept += page
        self._kept_bytes += sum(len(told.message) for told in page)
        self.end = page[-1].sequence
        gone = 0
        while len(self._kept) - gone > KEPT_EVENTS or self._kept_bytes > KEPT_BYTES:
            self._kept_bytes -= len(self._kept[gone].message)
            gone += 1
        del self._kept[:gone]
        self.start += gone
