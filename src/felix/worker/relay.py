"""Hands due jobs to a queue, and finds those again that a queue or a worker has lost.

Nothing is lost that is in the table. A job that was handed out and not claimed for :data:`LOST_AFTER_S` is handed out
again; sooner, when the queue holds fewer messages than jobs were handed out, or does not answer. A job whose claim ran
out is given to another worker. A queue that is away costs the relay one timeout in :data:`PAUSE_S`; meanwhile jobs
take the queue inside this process.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Protocol

from felix.domain.errors import Unavailable
from felix.eventstore.jobs import JobBook, JobKey
from felix.worker.local_queue import LocalQueue
from felix.worker.loop import Loop

log = logging.getLogger("felix.jobs")

#: How often due jobs are looked for: what a timer is late at the most.
POLL_S = 0.1
#: Jobs that may be handed out and not begun; beyond, they wait in the table, where cancelling them is easy.
MOST_HANDED_OUT = 256
#: How often lost jobs are looked for, and how long one has been handed out before it can be one.
LOOK_FOR_LOST_S = 1.0
LOST_AFTER_S = 15.0
#: How long a queue that failed is left alone.
PAUSE_S = 3.0


class Queue(Protocol):
    """Where keys of jobs go to be taken by a worker. Both calls raise ``Unavailable`` when it is away."""

    def send(self, keys: Sequence[JobKey]) -> None:
        """Put jobs into the queue; some of them may be in it also when this fails."""

    def size(self) -> int:
        """How many messages wait, or are with a worker."""


class Relay(Loop):
    """One thread between the table and the queues. Any number of processes may have one."""

    def __init__(self, book: JobBook, queue: Queue | None, local: LocalQueue) -> None:
        """Without a ``queue``, or while it is away, jobs go to the ``local`` one."""
        super().__init__("jobs-relay")
        self._book = book
        self._queue = queue
        self._local = local
        self._away_until = 0.0

    @property
    def queue_is_away(self) -> bool:
        """Whether jobs take the queue of this process, though there should be a better one."""
        return time.monotonic() < self._away_until

    def _run(self) -> None:
        look_at, away = 0.0, False
        while not self._stopping.wait(POLL_S):
            try:
                if time.monotonic() >= look_at:
                    self._find_lost()
                    look_at = time.monotonic() + LOOK_FOR_LOST_S
                if handed := self._book.hand_out(MOST_HANDED_OUT):
                    self._send(handed)
                away = False
            except Unavailable as error:
                if not away:
                    log.warning("jobs wait: %s", error)
                away = True
                self._stopping.wait(LOOK_FOR_LOST_S)

    def _send(self, keys: list[JobKey]) -> None:
        if self._queue is not None and not self.queue_is_away:
            try:
                self._queue.send(keys)
                return
            except Unavailable as error:
                self._leave_alone(error)
        self._local.send(keys)

    def _find_lost(self) -> None:
        for partition, job_id, kind, state in self._book.lapse():
            extra = {"job_id": str(job_id), "kind": kind, "partition": partition}
            log.warning("the worker of a job was not heard of any more; the job is %s", state, extra=extra)
        if not (handed := self._book.handed_out(LOOK_FOR_LOST_S)):
            return
        lost = self._held() < handed
        if taken := self._book.take_back(LOOK_FOR_LOST_S if lost else LOST_AFTER_S):
            log.warning("%d jobs were handed out and not begun; they are handed out again", taken)

    def _held(self) -> int:
        """Messages in the queues; what is in one that is away counts for nothing."""
        held = self._local.size()
        if self._queue is not None and not self.queue_is_away:
            try:
                held += self._queue.size()
            except Unavailable as error:
                self._leave_alone(error)
        return held

    def _leave_alone(self, error: Unavailable) -> None:
        self._away_until = time.monotonic() + PAUSE_S
        log.warning("jobs are done without the queue for %.0f s: %s", PAUSE_S, error)
