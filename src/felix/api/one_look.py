"""Looks at something that may hang: one look at a time, however many ask, and nobody waits longer than they must."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")

#: With what else an answer takes, `/readyz` says well within two seconds that the database hangs.
LOOK_TIMEOUT_S = 1.0


class OneLook(Generic[T]):
    """A question with a time limit. A look that takes longer goes on, and whoever asks next waits for that one.

    It is not cancelled: a driver that gives up a query first asks the server to, and the server is what hangs.
    """

    def __init__(self, ask: Callable[[], Awaitable[T]], instead: T, timeout_s: float) -> None:
        """``instead`` is the answer when the look takes too long."""
        self._ask = ask
        self._instead = instead
        self._timeout_s = timeout_s
        self._looking: asyncio.Task[T] | None = None

    async def look(self) -> T:
        """The answer, or what is said instead."""
        looking = self._looking
        if looking is None or looking.done():
            looking = self._looking = asyncio.ensure_future(self._ask())
        done, _ = await asyncio.wait({looking}, timeout=self._timeout_s)
        return looking.result() if done else self._instead

    async def close(self) -> None:
        """End a look that nobody waits for any more."""
        if self._looking is not None and not self._looking.done():
            self._looking.cancel()
            await asyncio.wait({self._looking}, timeout=self._timeout_s)
