"""A lane performs the commands of one partition: everything that is waiting, in one transaction, the tenants in turn
and the commands of each in the order of their arrival.

While a commit is under way the next batch gathers, so batching grows with load and costs nothing when idle. One
thread a lane; several processes on the same partition take turns at its head and drop what they remembered when it
moved without them.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, TypeVar, cast
from uuid import UUID

from felix.application.batch_measures import count_batch
from felix.application.outcome import DETERMINISTIC, Outcome, conflicting_fields, record_of
from felix.application.turns import Turns
from felix.application.unit_of_work import Handler, not_found
from felix.domain.base import Command, CommandContext, FelixAggregate, FelixEvent, stream_name
from felix.domain.errors import (
    DEFECTS,
    CommandInProgress,
    CommandKeyReused,
    Corrupt,
    FelixError,
    TooMuch,
    Unavailable,
)
from felix.eventstore.mapper import canonical_json, decode_state, domain_event, encode_state, stored_name
from felix.eventstore.partition_log import CommandOutcome, NewEvent, PartitionLog, Remembered
from felix.eventstore.side_statements import SideStatement
from felix.eventstore.snapshots import fold, snapshot_of
from felix.measures import EVENTS, SNAPSHOTS

log = logging.getLogger("felix.lane")
A = TypeVar("A", bound=FelixAggregate)

#: Commands of one batch, and usage items of one batch: bounds on how long a partition's head is held.
MAX_BATCH_COMMANDS = 512
MAX_BATCH_WEIGHT = 4_000
#: Commands that may wait in one lane; beyond, callers are told to come back.
MAX_WAITING = 10_000
#: Of these one tenant may have so many, so that there is always room for the others.
MAX_WAITING_OF_A_TENANT = 5_000
#: Aggregates a lane keeps in memory; the oldest quarter goes when there are more.
MAX_REMEMBERED = 20_000
#: Events after the last snapshot at which a new one is stored: at about 15 µs an event, 15 ms of replay.
SNAPSHOT_EVERY = 1_000


class TooManyRequests(TooMuch):
    """More commands are waiting than Felix takes on; try again with the same key."""


class DefectFound(Corrupt):
    """A defect in Felix stopped this command; nothing was changed."""


@dataclass(slots=True)
class Submission:
    """A command in a lane, with the future that its caller awaits."""

    command: Command
    context: CommandContext
    handler: Handler
    fingerprint: bytes
    future: Any
    loop: asyncio.AbstractEventLoop | None
    weight: int = 1
    #: The caller's span and when it came, by ``perf_counter_ns``; set only while somebody traces.
    parent: Any = None
    submitted_ns: int = 0
    answer: Outcome | FelixError | None = None


class Lane:
    """The one writer of a partition in this process."""

    def __init__(self, partition_log: PartitionLog, *, committed: Callable[[int, int], None] | None = None) -> None:
        """``committed(partition, position)`` is called after each commit, outside the transaction."""
        self.partition = partition_log.partition
        self._log = partition_log
        self._committed = committed
        self._queue: SimpleQueue[Submission | None] = SimpleQueue()
        self._turns: Turns[Submission] = Turns()
        self._ending = False
        self._running: set[tuple[UUID, str]] = set()
        self._running_of: Counter[UUID] = Counter()
        self._guard = threading.Lock()
        self._closed = False
        self._remembered: dict[str, FelixAggregate] = {}
        self._snapshots: dict[str, int] = {}
        self._sequences: dict[UUID, int] = {}
        self._head = -1
        self._decided_ns: int | None = None
        self._thread = threading.Thread(target=self._run, name=f"lane-{self.partition}", daemon=True)
        self._thread.start()

    def submit(self, submission: Submission) -> None:
        """Put a command in the queue. Raises TooManyRequests, CommandInProgress and Unavailable."""
        key = (submission.context.tenant_id, submission.context.command_key)
        with self._guard:
            if self._closed:
                raise Unavailable("Felix is shutting down; the same key can be used again.", retry_after_s=2)
            if key in self._running:
                raise CommandInProgress(retry_after_s=1)
            if len(self._running) >= MAX_WAITING or self._running_of[key[0]] >= MAX_WAITING_OF_A_TENANT:
                raise TooManyRequests(retry_after_s=1)
            self._running.add(key)
            self._running_of[key[0]] += 1
            self._queue.put(submission)

    def close(self) -> None:
        """Finish what is waiting, then stop."""
        with self._guard:
            if self._closed:
                return
            self._closed = True
            self._queue.put(None)
        self._thread.join()
        self._log.close()

    @property
    def waiting(self) -> int:
        """Commands that wait here or are being performed."""
        return len(self._running)

    @property
    def closed(self) -> bool:
        """Whether this lane takes no more commands: it was closed, or its thread has died."""
        return self._closed

    def _run(self) -> None:
        try:
            while (batch := self._gather()) is not None:
                self._run_batch(batch)
        finally:
            # Only something that nobody foresaw gets here with work left: whoever waits is told, nobody hangs.
            with self._guard:
                self._closed = True
            self._take_in()
            while left := self._turns.take(MAX_BATCH_COMMANDS, MAX_BATCH_WEIGHT):
                for submission in left:
                    submission.answer = Unavailable(
                        "This lane has stopped; the same key can be used again.", retry_after_s=1
                    )
                self._answer(left)
            self._log.close()

    def _run_batch(self, batch: list[Submission]) -> None:
        failure: FelixError = DefectFound()
        done = False
        begun_ns, self._decided_ns = time.perf_counter_ns(), None
        try:
            self._perform(batch)
            done = True
        except FelixError as error:
            failure = error
        except DEFECTS:
            log.exception("a batch failed", extra={"partition": self.partition})
        finally:
            if not done:
                self._forget()
                self._log.rollback()
                for submission in batch:
                    submission.answer = failure
            self._answer(batch)
            count_batch(self.partition, batch, begun_ns, self._decided_ns)

    def _gather(self) -> list[Submission] | None:
        self._take_in(wait=not self._turns and not self._ending)
        return self._turns.take(MAX_BATCH_COMMANDS, MAX_BATCH_WEIGHT) or None

    def _take_in(self, *, wait: bool = False) -> None:
        """Let everything that has arrived take its turn; ``wait`` until something has."""
        while wait or not self._queue.empty():
            arrived, wait = self._queue.get(), False
            if arrived is None:
                # Nothing is put behind it.
                self._ending = True
            else:
                self._turns.add(arrived)

    def _answer(self, batch: list[Submission]) -> None:
        with self._guard:
            for submission in batch:
                tenant_id = submission.context.tenant_id
                self._running.discard((tenant_id, submission.context.command_key))
                self._running_of[tenant_id] -= 1
            if not self._running:
                self._running_of.clear()
        loops: dict[asyncio.AbstractEventLoop, list[Submission]] = {}
        for submission in batch:
            if submission.loop is None:
                _settle(submission)
            else:
                loops.setdefault(submission.loop, []).append(submission)
        for loop, submissions in loops.items():
            if not loop.is_closed():
                loop.call_soon_threadsafe(_settle_all, submissions)

    def _forget(self) -> None:
        self._head = -1
        self._remembered.clear()
        self._snapshots.clear()
        self._sequences.clear()

    def _open(self, keys: list[tuple[UUID, str]]) -> dict[tuple[UUID, str], Remembered]:
        """Open the batch; one more try on a fresh connection, because a kept one may have died while idle."""
        try:
            head, known = self._log.open_batch(keys)
        except Unavailable:
            self._forget()
            head, known = self._log.open_batch(keys)
        if head != self._head:
            self._forget()
            self._head = head
        return known

    def _perform(self, batch: list[Submission]) -> None:
        known = self._open([(s.context.tenant_id, s.context.command_key) for s in batch])
        tenants = {s.context.tenant_id for s in batch}
        if missing := tenants - self._sequences.keys():
            self._sequences.update(self._log.last_tenant_sequences(list(missing)))
        sequences = {tenant_id: self._sequences[tenant_id] for tenant_id in tenants}
        work = _Batch(self._log, self._head, sequences, self._remembered, self._snapshots)
        outcomes: list[CommandOutcome] = []
        for submission in batch:
            earlier = known.get((submission.context.tenant_id, submission.context.command_key))
            if earlier is not None:
                submission.answer = _replay(submission, earlier, self.partition)
            else:
                outcome = work.decide(submission)
                if outcome is not None:
                    outcomes.append(outcome)
        if not outcomes:
            self._log.rollback()
            return
        due = work.due_snapshots(SNAPSHOT_EVERY)
        self._decided_ns = time.perf_counter_ns()
        self._head = self._log.commit(work.events, self._sequences, outcomes, due)
        EVENTS.add(by=len(work.events))
        if due:
            SNAPSHOTS.add(by=len(due))
        if len(self._remembered) > MAX_REMEMBERED:
            for stream in list(self._remembered)[: MAX_REMEMBERED // 4]:
                del self._remembered[stream]
                self._snapshots.pop(stream, None)
        if work.events and self._committed is not None:
            self._committed(self.partition, self._head)


class _Batch:
    """The commands of one transaction, decided one after the other against the same memory."""

    def __init__(
        self,
        partition_log: PartitionLog,
        head: int,
        sequences: dict[UUID, int],
        remembered: dict[str, FelixAggregate],
        snapshots: dict[str, int],
    ) -> None:
        """``sequences`` are the last ``tenant_sequence`` of every tenant of the batch; they are moved on."""
        self.events: list[NewEvent] = []
        self.partition = partition_log.partition
        self._log = partition_log
        self._head = head
        self._sequences = sequences
        self._remembered = remembered
        self._snapshots = snapshots
        self._changed: dict[str, FelixAggregate] = {}
        self._usage: set[bytes] = set()

    def decide(self, submission: Submission) -> CommandOutcome | None:
        """Let a command decide; returns what to remember, or None when it failed in a way that is not."""
        context = submission.context
        unit = _Unit(self, context)
        before = len(self.events)
        error: FelixError | None = None
        try:
            try:
                body = canonical_json(submission.handler(submission.command, unit))
                unit.collect()
                for write in unit.side_writes:
                    self._log.run_beside(write)
            except DETERMINISTIC as refusal:
                error = refusal
                body = canonical_json(record_of(refusal))
                unit.undo()
        except Unavailable:
            raise
        except FelixError as failure:
            submission.answer = failure
            self._take_back(unit, before)
            return None
        except DEFECTS:
            log.exception(
                "a command failed",
                extra={
                    "command": submission.command.command_name,
                    "command_key": context.command_key,
                    "command_id": context.command_id,
                    "tenant_id": context.tenant_id,
                    "correlation_id": context.correlation_id,
                },
            )
            submission.answer = DefectFound()
            self._take_back(unit, before)
            return None
        first = last = last_own = None
        if (added := len(self.events) - before) > 0:
            first, last = self._head + before + 1, self._head + len(self.events)
            self._sequences[context.tenant_id] += added
            last_own = self._sequences[context.tenant_id]
        submission.answer = Outcome(
            error is None, body, context.tenant_id, self.partition, first, last, last_own, unit.metadata
        )
        return CommandOutcome(
            context.tenant_id, context.command_key, submission.command.command_name, context.actor, error is None,
            first, last, context.at, submission.fingerprint, body, unit.metadata, submission.command.why,
            last_own,
        )  # fmt: skip

    def _take_back(self, unit: _Unit, before: int) -> None:
        """After a failure nobody knows what is half done: everything that the command touched is loaded again."""
        del self.events[before:]
        self._usage.difference_update(unit.usage_keys.values())
        unit.undo(everything=True)

    def load(self, aggregate_class: type[A], stream: str) -> A | None:
        """An aggregate from memory, or from the log and the events of this batch."""
        remembered = self._remembered.get(stream)
        if remembered is None:
            loaded = self._log.load(aggregate_class, stream)
            remembered, snapshot = loaded if loaded is not None else (None, 0)
            for event in self.events:
                if event.stream == stream:
                    remembered = fold(
                        remembered, event.type, event.state, stream, event.version, event.recorded_at, event.event_id
                    )
            if remembered is None:
                return None
            self._remembered[stream] = remembered
            self._snapshots[stream] = snapshot
        if not isinstance(remembered, aggregate_class):
            raise Corrupt(f"{stream} is not a {aggregate_class.__name__}.", stream=stream)
        return remembered

    def add(self, aggregate: FelixAggregate) -> None:
        self._remembered[aggregate.id] = aggregate
        self._snapshots[aggregate.id] = 0

    def forget(self, aggregate: FelixAggregate) -> None:
        self._remembered.pop(aggregate.id, None)
        self._changed.pop(aggregate.id, None)

    def append(
        self, aggregate: FelixAggregate, context: CommandContext, metadata: bytes, keys: dict[int, bytes]
    ) -> None:
        stream, tenant_id, actor, command_key = aggregate.id, context.tenant_id, context.actor, context.command_key
        append = self.events.append
        for event in cast("list[FelixEvent]", aggregate.pending_events):
            key = keys.get(id(event)) if keys else None
            if key is not None:
                self._usage.add(key)
            append(
                NewEvent(
                    tenant_id,
                    stream,
                    event.originator_version,
                    stored_name(type(event)),
                    event.event_id,
                    event.timestamp,
                    command_key,
                    actor,
                    metadata,
                    encode_state(event),
                    key,
                )
            )
        aggregate.pending_events.clear()
        self._changed[stream] = aggregate

    def ask_beside(self, question: SideStatement) -> list[tuple[Any, ...]]:
        return self._log.run_beside(question)

    def known_usage(self, keys: list[bytes]) -> set[bytes]:
        known = self._log.known_dedupe_keys(keys)
        return known | self._usage.intersection(keys) if self._usage else known

    def event_at(self, stream: str, version: int) -> FelixEvent | None:
        for event in self.events:
            if event.stream == stream and event.version == version:
                return domain_event(
                    event.type, decode_state(event.type, event.state), stream, version,
                    recorded_at=event.recorded_at, event_id=event.event_id,
                )  # fmt: skip
        return self._log.event_at(stream, version)

    def due_snapshots(self, every: int) -> list[Any]:
        due = []
        for stream, aggregate in self._changed.items():
            if aggregate.version - self._snapshots.get(stream, 0) >= every:
                due.append(snapshot_of(aggregate, UUID(stream[:36])))
                self._snapshots[stream] = aggregate.version
        return due


class _Unit:
    """The :class:`~felix.application.unit_of_work.UnitOfWork` of one command."""

    def __init__(self, batch: _Batch, context: CommandContext) -> None:
        self.context = context
        self.partition = batch.partition
        self.metadata = canonical_json(context.metadata())
        self._batch = batch
        self._touched: dict[str, FelixAggregate] = {}
        self.usage_keys: dict[int, bytes] = {}
        self.side_writes: list[SideStatement] = []

    def find(self, aggregate_class: type[A], local_id: str) -> A | None:
        stream = stream_name(self.context.tenant_id, aggregate_class.kind, local_id)
        aggregate = self._batch.load(aggregate_class, stream)
        if aggregate is not None:
            self._touched[stream] = aggregate
            aggregate.deciding(self.context)
        return aggregate

    def get(self, aggregate_class: type[A], local_id: str) -> A:
        aggregate = self.find(aggregate_class, local_id)
        if aggregate is None:
            raise not_found(aggregate_class, local_id)
        return aggregate

    def add(self, aggregate: FelixAggregate) -> None:
        self._touched[aggregate.id] = aggregate
        self._batch.add(aggregate)

    def event_at(self, aggregate: FelixAggregate, version: int) -> FelixEvent | None:
        return self._batch.event_at(aggregate.id, version)

    def known_usage(self, keys: list[bytes]) -> set[bytes]:
        return self._batch.known_usage(keys)

    def beside(self, write: SideStatement) -> None:
        self.side_writes.append(write)

    def ask_beside(self, question: SideStatement) -> list[tuple[Any, ...]]:
        return self._batch.ask_beside(question)

    def remember_usage(self, event: FelixEvent, key: bytes) -> None:
        self.usage_keys[id(event)] = key

    def collect(self) -> None:
        """Move the new events of every touched aggregate into the batch."""
        for aggregate in self._touched.values():
            if aggregate.pending_events:
                self._batch.append(aggregate, self.context, self.metadata, self.usage_keys)

    def undo(self, *, everything: bool = False) -> None:
        """Leave no trace: what this command changed in memory is loaded again when it is next needed.

        A refusal has changed what has pending events, and nothing else; after a failure that is not certain.
        """
        for aggregate in self._touched.values():
            if everything or aggregate.pending_events:
                self._batch.forget(aggregate)


def _replay(submission: Submission, earlier: Remembered, partition: int) -> Outcome | FelixError:
    differing = conflicting_fields(earlier.fingerprint, submission.fingerprint)
    if differing:
        return CommandKeyReused(conflicting_fields=differing)
    return Outcome(
        earlier.accepted,
        earlier.outcome,
        submission.context.tenant_id,
        partition,
        earlier.first_position,
        earlier.last_position,
        earlier.last_tenant_sequence,
        earlier.metadata,
        replayed=True,
    )


def _settle(submission: Submission) -> None:
    future: Future[Outcome] | asyncio.Future[Outcome] = submission.future
    if future.done():
        return
    if isinstance(submission.answer, Outcome):
        future.set_result(submission.answer)
    else:
        future.set_exception(submission.answer or DefectFound())


def _settle_all(submissions: Iterable[Submission]) -> None:
    for submission in submissions:
        _settle(submission)
