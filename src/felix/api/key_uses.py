"""When keys were last used: collected in memory and written down now and then, so that no request waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime

from starlette.concurrency import run_in_threadpool

from felix.domain.errors import Unavailable

WRITE_EVERY_S = 60.0

Uses = Mapping[str, datetime]


class LastUses:
    """Writes down once a minute, and once more at the end, what was collected since."""

    def __init__(
        self, take: Callable[[], Uses], write: Callable[[Uses], None], *, every_s: float = WRITE_EVERY_S
    ) -> None:
        self._take = take
        self._write = write
        self._every_s = every_s
        self._waiting: dict[str, datetime] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin; inside an event loop."""
        self._task = asyncio.create_task(self._keep_writing())

    async def close(self) -> None:
        """Write the rest."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            await self.write_down()

    async def write_down(self) -> None:
        """Write what was collected; what can't be written now is kept for the next time."""
        self._waiting.update(self._take())
        with suppress(Unavailable):
            await run_in_threadpool(self._write, dict(self._waiting))
            self._waiting.clear()

    async def _keep_writing(self) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            await self.write_down()
