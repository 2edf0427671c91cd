"""Whose turn it is in a lane: each tenant's commands stay in their order, and the tenants take turns.

So whoever sends ten thousand commands waits for ten thousand, and who sends one beside them waits for a batch.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, Protocol, TypeVar
from uuid import UUID


class _Context(Protocol):
    @property
    def tenant_id(self) -> UUID: ...


class Waiting(Protocol):
    """What waits: for which tenant, and how much work it is."""

    @property
    def context(self) -> _Context:
        """Whose it is."""

    @property
    def weight(self) -> int:
        """How much of a batch it is."""


W = TypeVar("W", bound=Waiting)


class Turns(Generic[W]):
    """What waits, by tenant; the first tenant is the one whose turn it is. For one thread."""

    def __init__(self) -> None:
        self._waiting: dict[UUID, deque[W]] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, one: W) -> None:
        """Let one more wait, behind its tenant's others."""
        own = self._waiting.get(one.context.tenant_id)
        if own is None:
            own = self._waiting[one.context.tenant_id] = deque()
        own.append(one)

    def take(self, most: int, heaviest: int) -> list[W]:
        """One of each tenant in turn, as many as there may be and no heavier than may be, and the first in any case."""
        waiting, taken, weight = self._waiting, list[W](), 0
        while waiting and len(taken) < most:
            tenant_id = next(iter(waiting))
            own = waiting[tenant_id]
            weight += own[0].weight
            if taken and weight > heaviest:
                break
            taken.append(own.popleft())
            # The next turn is after everybody else's; with nobody else it is theirs again.
            if not own:
                del waiting[tenant_id]
            elif len(waiting) > 1:
                waiting[tenant_id] = waiting.pop(tenant_id)
        return taken
