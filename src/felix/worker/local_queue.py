"""A queue inside this process: for a Felix without Valkey, and for as long as Valkey is away."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from uuid import UUID

from felix.eventstore.jobs import JobKey


class LocalQueue:
    """The same calls as the queue in Valkey. ``do`` raises nothing. What is queued already is not queued twice."""

    def __init__(self, do: Callable[[int, UUID], None], *, threads: int) -> None:
        self._do = do
        self._keys: SimpleQueue[JobKey | None] = SimpleQueue()
        self._queued: set[JobKey] = set()
        self._guard = threading.Lock()
        self._stopping = False
        self._threads = [
            threading.Thread(target=self._run, name=f"jobs-local-{number}", daemon=True) for number in range(threads)
        ]

    def start(self) -> None:
        """Begin to take jobs."""
        for thread in self._threads:
            thread.start()

    def send(self, keys: Sequence[JobKey]) -> None:
        """Put jobs into the queue."""
        with self._guard:
            for key in keys:
                if key not in self._queued:
                    self._queued.add(key)
                    self._keys.put(key)

    def size(self) -> int:
        """How many jobs wait."""
        return len(self._queued)

    def ask_to_stop(self) -> None:
        """Take nothing more and let what is being done end."""
        self._stopping = True
        for _ in self._threads:
            self._keys.put(None)

    def join(self, timeout_s: float) -> bool:
        """Wait for the end. False when it takes longer."""
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(timeout_s / len(self._threads))
        return not any(thread.is_alive() for thread in self._threads)

    def _run(self) -> None:
        while (key := self._keys.get()) is not None and not self._stopping:
            with self._guard:
                self._queued.discard(key)
            self._do(*key)
