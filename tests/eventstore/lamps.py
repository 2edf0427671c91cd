"""A small aggregate for the event store's tests: a lamp whose second event has been through one change of shape."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from itertools import islice
from typing import Any, ClassVar
from uuid import UUID, uuid4

from eventsourcing.domain import event
from eventsourcing.persistence import Notification, StoredEvent, Subscription

from felix.domain.base import CommandContext, FelixAggregate, FelixCreated, FelixEvent

ACME = UUID("0192f000-0000-7000-8000-000000000001")
GLOBEX = UUID("0192f000-0000-7000-8000-000000000002")
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class LampInstalled(FelixCreated):
    """A lamp hangs in a room."""

    TOPIC: ClassVar[str] = "test.lamp_installed"
    room: str


class LampDimmed(FelixEvent):
    """A lamp was set to a level. Version 1 called ``level_percent`` just ``level``."""

    TOPIC: ClassVar[str] = "test.lamp_dimmed"
    class_version: ClassVar[int] = 2
    level_percent: int

    @staticmethod
    def upcast_v1_v2(state: dict[str, Any]) -> None:
        state["level_percent"] = state.pop("level")


class Lamp(FelixAggregate):
    """A lamp. Its state has had two versions as well."""

    TOPIC = "test.lamp"
    class_version = 2
    kind = "lamp"
    Event = FelixEvent
    LampInstalled = LampInstalled
    LampDimmed = LampDimmed

    @event(LampInstalled)
    def __init__(self, room: str) -> None:
        self.room = room
        self.level_percent = 100

    def dim(self, level_percent: int) -> None:
        self._dimmed(level_percent=level_percent)

    @event(LampDimmed)
    def _dimmed(self, level_percent: int) -> None:
        self.level_percent = level_percent


def context(tenant_id: UUID = ACME) -> CommandContext:
    """A command's context with ids of its own."""
    command_id = UUID(int=uuid4().int >> 16 << 16)
    return CommandContext(tenant_id=tenant_id, command_key="k", command_id=command_id, actor="test", at=NOON)


def stream(tenant_id: UUID = ACME) -> str:
    """The name of a new stream."""
    return f"{tenant_id}:thing:{uuid4().hex}"


def stored(name: str, version: int = 1, topic: str = "thing", state: bytes = b"{}") -> StoredEvent:
    """A plain stored event."""
    return StoredEvent(name, version, topic, state)


def take(subscription: Subscription[Any], events: int, timeout_s: float = 15) -> list[Notification]:
    """The next events of a subscription; fewer when they do not come."""
    timer = threading.Timer(timeout_s, subscription.stop)
    timer.start()
    try:
        return list(islice(subscription, events))
    finally:
        timer.cancel()
