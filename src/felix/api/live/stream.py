"""One connection of ``GET /v1/live``: what it is told, in order, and from where it can go on."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass
from secrets import randbelow

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from felix.api.live.hub import LAST_WORDS_S, LiveHub, Reader
from felix.api.live.sources import RETRY_S, message
from felix.api.live.topics import Topics
from felix.domain.errors import Corrupt, Unavailable

log = logging.getLogger("felix.api.live")

#: A comment this often keeps proxies from closing the connection, and finds out that a client is gone.
HEARTBEAT_S = 15.0
#: A client that takes nothing of what is written for this long is cut off; it comes back where it was.
WRITE_TIMEOUT_S = 10.0
#: Bytes that are gathered before they are written; with the server's own buffer, all that waits for a slow reader.
PORTION_BYTES = 32 * 1024
#: A client connects again after this, or up to twice of it, so that not all of a process that ended come at once.
RECONNECT_MS = 750
#: How long a stream that does not follow waits for read models to tell the last states.
STATES_PATIENCE_S = 2.0


class _Stuck(Exception):
    """The client takes nothing of what is written."""


@dataclass(slots=True)
class Place:
    """What a reader has been told: the last of every source, and up to where the states.

    It is written as the id of a message, and nothing else is needed to go on: ``17`` for a tenant (its
    ``tenant_sequence``), ``17/15`` where states are still those of 15, ``0:12,3:5`` for the founder who listens to
    all partitions (what is not named is at 0).
    """

    seen: dict[int, int]
    states: int | None = None
    is_founders: bool = False

    def __str__(self) -> str:
        if self.is_founders:
            told = ",".join(f"{partition}:{position}" for partition, position in self.seen.items() if position)
            return told or "0"
        (sequence,) = self.seen.values()
        return f"{sequence}" if self.states in (None, sequence) else f"{sequence}/{self.states}"


class LiveStream(Response):
    """An event stream (text/event-stream) that ends with its client, its key, the server, or when it need not follow.

    Every event after its place is told once and in order; that no one is missing is checked here once more.
    """

    media_type = "text/event-stream"

    def __init__(
        self, hub: LiveHub, reader: Reader, topics: Topics, place: Place, until: dict[int, int] | None
    ) -> None:
        """``until`` are the sequences after which the stream ends; None where it follows."""
        self.status_code = 200
        self.background = None
        self.init_headers({"X-Accel-Buffering": "no"})
        self._hub = hub
        self._reader = reader
        self._topics = topics
        self._place = place
        self._states = dict.fromkeys((feed.topic.name for feed in reader.feeds), place.states or 0)
        self._until = until
        self._portion: list[bytes] = []
        self._portion_bytes = 0
        self._wrote_at = 0.0
        self._send: Send

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Tell until the end. The place in the hub is given back whatever happens."""
        self._send = send
        leaving = asyncio.ensure_future(self._await_leave(receive))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            try:
                await self._tell()
            except _Stuck:
                raise
            except Exception:
                log.exception("a live stream broke")
                self._portion = [b": something went wrong inside Felix, it has been logged\n\n"]
                await self._write(more=False)
        except _Stuck:
            # The rest can't be written: the server's buffer would keep it for as long as the client likes.
            log.info("a live stream was cut off: its client does not read")
            if (abort := scope.get("felix.abort")) is not None:
                abort()
                await leaving
        finally:
            leaving.cancel()
            self._hub.release(self._reader)

    async def _await_leave(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._reader.end("")

    async def _tell(self) -> None:
        """Everything from the place on, as long as somebody listens."""
        reader, now = self._reader, asyncio.get_running_loop().time
        self._portion.append(b"retry: %d\n" % (RECONNECT_MS + randbelow(RECONNECT_MS)))
        self._put(message("ready", {"position": str(self._place), "topics": list(self._topics.names)}))
        await self._write()
        impatient_at = now() + STATES_PATIENCE_S
        while reader.ending is None:
            reader.bell.clear()
            pause_s = self._wrote_at + HEARTBEAT_S - now()
            if pause_s <= 0:
                self._portion.append(b": beat\n" + self._id() + b"\n")
                await self._write()
                continue
            try:
                moved = await self._gather()
            except Unavailable:
                moved, pause_s = False, RETRY_S
            await self._write()
            if moved:
                continue
            if self._until is not None:
                if self._has_told(self._until) or now() > impatient_at:
                    break
                pause_s = 0.1
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await reader.bell.wait()
        if reader.ending:
            self._portion.append(f": {reader.ending}\n{self._id().decode()}\n".encode())
        await self._write(more=False)

    async def _gather(self) -> bool:
        """Put what is new into the portion; False when there is nothing."""
        seen, moved = self._place.seen, False
        for partition, source in self._reader.sources.items():
            for told in await source.after(seen[partition]):
                if told.sequence != seen[partition] + 1:
                    raise Corrupt("A live stream lacks an event.", after=seen[partition], found=told.sequence)
                seen[partition] = told.sequence
                moved = True
                if self._topics.want(told.type):
                    self._put(told.message)
                    if self._portion_bytes >= PORTION_BYTES:
                        await self._write()
        for feed in self._reader.feeds:
            async for messages, until in feed.after(self._states[feed.topic.name]):
                moved = True
                self._portion += messages
                self._states[feed.topic.name] = until
                self._place.states = min(self._states.values())
                self._portion.append(self._id() + b"\n")
                await self._write()
        return moved

    def _has_told(self, until: dict[int, int]) -> bool:
        return all(self._place.seen[partition] >= goal for partition, goal in until.items()) and all(
            told >= goal for told in self._states.values() for goal in until.values()
        )

    def _put(self, message: bytes) -> None:
        """A message with the id of the place that is reached by it."""
        self._portion += (self._id(), message)
        self._portion_bytes += len(message)

    def _id(self) -> bytes:
        return b"id: %s\n" % str(self._place).encode()

    async def _write(self, *, more: bool = True) -> None:
        """Write what is gathered. Raises ``_Stuck`` when the client does not take it."""
        body = b"".join(self._portion)
        self._portion.clear()
        self._portion_bytes = 0
        if not body and more:
            return
        limit_s = WRITE_TIMEOUT_S if self._reader.ending is None else LAST_WORDS_S
        try:
            async with asyncio.timeout(limit_s) as self._reader.writing:
                await self._send({"type": "http.response.body", "body": body, "more_body": more})
        except TimeoutError:
            raise _Stuck() from None
        finally:
            self._reader.writing = None
        self._wrote_at = asyncio.get_running_loop().time()
