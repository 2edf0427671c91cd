"""A thread of the worker that goes round until it is asked to stop."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod


class Loop(ABC):
    """One thread, started, asked to stop, and waited for."""

    def __init__(self, name: str) -> None:
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def ask_to_stop(self) -> None:
        """End after the round at hand."""
        self._stopping.set()

    def join(self, timeout_s: float) -> bool:
        """Wait for the end. False when it takes longer."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    @abstractmethod
    def _run(self) -> None:
        """Go round until ``_stopping`` is set."""
