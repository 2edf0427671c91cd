"""Everything of jobs that runs in a worker: relay, ticker, queues, and the threads that do the work."""

from __future__ import annotations

import logging
import time

from felix import bootstrap
from felix.adapters.job_queue import JobQueue
from felix.application.jobs.schedule import SCHEDULE
from felix.application.performer import Performer
from felix.application.secrets import Secrets
from felix.worker.job_runner import JobRunner
from felix.worker.local_queue import LocalQueue
from felix.worker.relay import Relay
from felix.worker.ticker import Ticker
from felix.worker.upkeep import PlatformUpkeep

log = logging.getLogger("felix.jobs")

#: Jobs that are done at the same time; they mostly wait for their lane, which likes company.
THREADS = 8
#: The same while Valkey is away: a worker then does what others could have helped with.
LOCAL_THREADS = 4
#: What Valkey may take to have back what was fetched and not begun; without that it is found to be lost.
QUEUE_STOP_S = 1.0


class JobService:
    """What a worker does about jobs, started and stopped in order."""

    def __init__(
        self, endpoints: bootstrap.Endpoints, performer: Performer, secrets: Secrets, *, partitions: int
    ) -> None:
        self._book = bootstrap.open_job_book(endpoints)
        self._upkeep = PlatformUpkeep(endpoints, self._book, secrets, partitions=partitions)
        self._runner = JobRunner(self._book, performer, self._upkeep, secrets)
        url = endpoints.redis_url
        self._queue = None if url is None else JobQueue(url, self._runner.do, threads=THREADS)
        self._local = LocalQueue(self._runner.do, threads=THREADS if self._queue is None else LOCAL_THREADS)
        self._relay = Relay(self._book, self._queue, self._local)
        self._ticker = Ticker(bootstrap.open_schedule(endpoints), SCHEDULE)

    def start(self) -> None:
        """Begin; returns at once."""
        self._local.start()
        if self._queue is not None:
            self._queue.start()
        self._relay.start()
        self._ticker.start()

    def ask_to_stop(self) -> None:
        """Take no more jobs and let those at hand end. Returns at once."""
        self._relay.ask_to_stop()
        self._ticker.ask_to_stop()
        self._runner.ask_to_stop()
        self._local.ask_to_stop()
        if self._queue is not None:
            self._queue.ask_to_stop()

    def stop(self, timeout_s: float) -> bool:
        """Wait for the jobs at hand; whatever is not done in time another worker goes on with at once. Whether all
        were done."""
        self.ask_to_stop()
        deadline = time.monotonic() + timeout_s
        while self._runner.at_hand and time.monotonic() < deadline:
            time.sleep(0.02)
        given = self._runner.give_back()
        if given:
            log.warning("%d jobs were given back unfinished", given)
        left_s = max(0.2, deadline - time.monotonic())
        for part in (self._relay, self._ticker, self._local):
            part.join(left_s)
        if self._queue is not None:
            self._queue.join(QUEUE_STOP_S)
            self._queue.close()
        self._upkeep.close()
        self._book.close()
        return not given
