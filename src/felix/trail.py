"""What the work at hand belongs to: the ids that its log lines and spans carry, from request to command to job.

The trace of a command has its correlation id as trace id. So the spans of a job or of a policy, which know that id from
the log, stand in the trace of the request that caused them, and nothing else has to be stored for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")
_ids: ContextVar[dict[str, Any]] = ContextVar("felix_trail")


def begin(**ids: Any) -> None:
    """Begin a trail that lasts as long as the task or thread."""
    _ids.set(ids)


def note(**ids: Any) -> None:
    """Add to the trail, if one was begun."""
    if (known := _ids.get(None)) is not None:
        known.update(ids)


def ids() -> Mapping[str, Any]:
    """The ids of the work at hand."""
    return _ids.get(None) or {}


@contextmanager
def about(**ids: Any) -> Iterator[None]:
    """The trail of one piece of work within a longer one."""
    token = _ids.set((_ids.get(None) or {}) | ids)
    try:
        yield
    finally:
        _ids.reset(token)


@dataclass(frozen=True, slots=True)
class BatchTimes:
    """When a batch of a lane began, had decided and was committed, in nanoseconds since 1970."""

    begun_ns: int
    decided_ns: int
    ended_ns: int


@dataclass(frozen=True, slots=True)
class TracedCommand:
    """A command whose caller is traced: ``parent`` is what :meth:`Tracer.here` gave when it was submitted."""

    name: str
    parent: Any
    submitted_ns: int
    attributes: Mapping[str, str]
    failed: bool


class Tracer(Protocol):
    """Makes spans. There is none unless traces are asked for, and then nothing of this is called."""

    def request(
        self, method: str, request_id: UUID, headers: Sequence[tuple[bytes, bytes]]
    ) -> Callable[[str, int], None]:
        """Begin the span of a request; call the answer with the route and the status to end it."""

    def here(self) -> Any:
        """The span at hand, for what goes on in another thread."""

    def batch(self, partition: int, times: BatchTimes, commands: Sequence[TracedCommand]) -> None:
        """Tell of the commands of a batch: how long each waited, and how long deciding and committing took."""

    def work(self, name: str, correlation_id: UUID | None, about: Mapping[str, Any]) -> AbstractContextManager[None]:
        """A span around a piece of work that a command caused; an error that leaves it marks it."""


tracer: Tracer | None = None


def trace_with(chosen: Tracer | None) -> None:
    """From now on spans of this process are made by it; None for nobody."""
    global tracer
    tracer = chosen


def trace_of(traceparent: str | None) -> UUID | None:
    """The trace that a caller's `traceparent` header names (W3C Trace Context), if it does."""
    found = _TRACEPARENT.fullmatch(traceparent) if traceparent else None
    return UUID(found[1]) if found and found[1].strip("0") else None


def work(name: str, correlation_id: UUID | None, about: Mapping[str, Any]) -> AbstractContextManager[None]:
    """A span around a piece of work that a command caused, if anybody traces."""
    return nullcontext() if tracer is None else tracer.work(name, correlation_id, about)
