"""``perform(command, context)`` is the only way to write."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from datetime import UTC, datetime
from secrets import randbits
from typing import Any
from uuid import UUID

from felix import trail
from felix.application.lane import Lane, Submission
from felix.application.outcome import Outcome, fingerprint
from felix.application.unit_of_work import handler_of
from felix.domain.base import IDS_PER_COMMAND_BITS, Command, CommandContext
from felix.domain.errors import Unavailable
from felix.eventstore.partition_log import PartitionLog

MAX_COMMAND_KEY_LENGTH = 255


def new_command_id(at_ms: int | None = None) -> UUID:
    """A UUIDv7 (RFC 9562) whose low 16 bits are zero, so that the command can count its ids up from it."""
    milliseconds = time.time_ns() // 1_000_000 if at_ms is None else at_ms
    random_bits = randbits(74 - IDS_PER_COMMAND_BITS) << IDS_PER_COMMAND_BITS
    value = (milliseconds & 0xFFFFFFFFFFFF) << 80 | 0x7 << 76 | (random_bits >> 62) << 64
    return UUID(int=value | 0b10 << 62 | (random_bits & ((1 << 62) - 1)))


def new_context(
    tenant_id: UUID,
    command_key: str,
    actor: str,
    *,
    correlation_id: UUID | None = None,
    causation_id: UUID | None = None,
    on_behalf_of: str | None = None,
    enclosed: Mapping[str, Any] | None = None,
) -> CommandContext:
    """The context of a command that arrives now: this is where time and ids come from."""
    return CommandContext(
        tenant_id=tenant_id,
        command_key=command_key,
        command_id=new_command_id(),
        actor=actor,
        at=datetime.now(UTC),
        correlation_id=correlation_id,
        causation_id=causation_id,
        on_behalf_of=on_behalf_of,
        enclosed=enclosed or {},
    )


class Performer:
    """Takes commands to the lanes of their tenants' partitions and waits for the outcome."""

    def __init__(
        self,
        open_log: Callable[[int], PartitionLog],
        partition_of: Callable[[UUID], int],
        *,
        committed: Callable[[int, int], None] | None = None,
    ) -> None:
        """``open_log`` makes the writer of a partition; ``partition_of`` raises ``NotFound`` for unknown tenants."""
        self._open_log = open_log
        self._partition_of = partition_of
        self._committed = committed
        self._lanes: dict[int, Lane] = {}
        self._guard = threading.Lock()
        self._closed = False

    async def perform(self, command: Command, context: CommandContext) -> Outcome:
        """Perform a command and wait for its outcome, accepted or refused.

        Raises :class:`~felix.domain.errors.CommandKeyReused`, ``CommandInProgress``, ``TooMuch`` and ``Unavailable``;
        a refusal is an outcome, ``outcome.result`` raises it.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Outcome] = loop.create_future()
        self._submit(command, context, future, loop)
        return await future

    def perform_blocking(self, command: Command, context: CommandContext, *, timeout_s: float = 60) -> Outcome:
        """The same for callers without an event loop."""
        future: Future[Outcome] = Future()
        self._submit(command, context, future, None)
        return future.result(timeout_s)

    def waiting(self) -> dict[int, int]:
        """Commands that wait in each lane or are being performed, by partition."""
        return {partition: lane.waiting for partition, lane in list(self._lanes.items())}

    def close(self) -> None:
        """Finish what is waiting in every lane, then stop them."""
        with self._guard:
            self._closed = True
            lanes = list(self._lanes.values())
        for lane in lanes:
            lane.close()

    def _submit(
        self,
        command: Command,
        context: CommandContext,
        future: asyncio.Future[Outcome] | Future[Outcome],
        loop: asyncio.AbstractEventLoop | None,
    ) -> None:
        self._lane(self._partition_of(context.tenant_id)).submit(
            Submission(
                command=command,
                context=context,
                handler=handler_of(type(command)),
                fingerprint=fingerprint(command, context.tenant_id),
                future=future,
                loop=loop,
                weight=command.weight,
                parent=None if trail.tracer is None else trail.tracer.here(),
                submitted_ns=0 if trail.tracer is None else time.perf_counter_ns(),
            )
        )

    def _lane(self, partition: int) -> Lane:
        lane = self._lanes.get(partition)
        if lane is None or lane.closed:
            with self._guard:
                if self._closed:
                    raise Unavailable("Felix is shutting down; the same key can be used again.", retry_after_s=2)
                lane = self._lanes.get(partition)
                if lane is None or lane.closed:
                    lane = self._lanes[partition] = Lane(self._open_log(partition), committed=self._committed)
        return lane
