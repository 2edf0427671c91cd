"""Carries jobs to whichever worker is free: dramatiq over Valkey.

A message is only a key, and the table of jobs is the truth: a message that is lost is sent again, one that comes twice
or late finds nothing to claim. So dramatiq's own retries, results and dead letters are not used.

``maintenance_chance`` is per million commands, and only maintenance gives back what a dead worker had fetched: at the
default of a thousand an idle queue took hours (Bogdanp/dramatiq#527), at a million it takes the heartbeat's timeout.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any
from uuid import UUID

import dramatiq
import redis
from dramatiq.brokers.redis import RedisBroker
from redis.backoff import NoBackoff
from redis.retry import Retry

from felix.domain.errors import Unavailable

log = logging.getLogger("felix.jobs")

NAMESPACE, QUEUE, ACTOR = "felix:jobs", "jobs", "do_job"
#: One answer of Valkey takes microseconds; a server that needs longer than this is taken for gone.
TIMEOUT_S = 1.0
#: What a worker that went silent had fetched is given to others after this.
HEARTBEAT_TIMEOUT_S = 5.0
#: An idle worker looks for messages this often.
LOOK_EVERY_S = 0.1


class QueueAway(Unavailable):
    """The queue of jobs can't be reached, or takes nothing more; jobs are done without it meanwhile."""


class _Client(redis.Redis):
    """Says of everything that keeps Valkey from answering well, be it silence or memory, that it is away.

    dramatiq waits and tries again on a lost connection, and takes anything else for a defect of its own.
    """

    def execute_command(self, *args: Any, **options: Any) -> Any:
        try:
            return super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
        except (redis.TimeoutError, redis.exceptions.OutOfMemoryError) as error:
            raise redis.ConnectionError(str(error)) from error
        except redis.ResponseError as error:
            # A script that ran out of memory says so in the middle of its message.
            if "OOM" in str(error):
                raise redis.ConnectionError(str(error)) from error
            raise


class JobQueue:
    """The queue, and the threads of this process that take jobs from it.

    ``do`` is called with a job's partition and id, in one of ``threads`` threads, and raises nothing.
    """

    def __init__(self, url: str, do: Callable[[int, UUID], None], *, threads: int) -> None:
        self._pool = redis.ConnectionPool.from_url(
            url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S, retry=Retry(NoBackoff(), 0)
        )
        self._broker = RedisBroker(  # type: ignore[no-untyped-call]
            client=_Client(connection_pool=self._pool),
            middleware=[],
            namespace=NAMESPACE,
            maintenance_chance=1_000_000,
            heartbeat_timeout=int(HEARTBEAT_TIMEOUT_S * 1000),
        )

        def do_job(partition: int, job_id: str) -> None:
            do(partition, UUID(job_id))

        self._actor = dramatiq.actor(actor_name=ACTOR, queue_name=QUEUE, broker=self._broker)(do_job)
        self._worker = dramatiq.Worker(self._broker, worker_threads=threads, worker_timeout=int(LOOK_EVERY_S * 1000))
        self._stopping: threading.Thread | None = None

    def start(self) -> None:
        """Begin to take jobs; a Valkey that is not there yet is tried again until it is."""
        self._worker.start()

    def send(self, keys: Sequence[tuple[int, UUID]]) -> None:
        """Put jobs into the queue. Raises :class:`QueueAway`; some of them may be in it then."""
        try:
            for partition, job_id in keys:
                self._actor.send(partition, str(job_id))
        except (redis.RedisError, dramatiq.BrokerError) as error:
            raise QueueAway(f"Valkey takes no jobs: {error}") from error

    def size(self) -> int:
        """How many messages wait, or are with a worker. Raises :class:`QueueAway`."""
        try:
            return int(self._broker.do_qsize(QUEUE))
        except (redis.RedisError, dramatiq.BrokerError) as error:
            raise QueueAway(f"Valkey says nothing of its jobs: {error}") from error

    def ask_to_stop(self) -> None:
        """Take nothing more, let what is being done end, and give the rest back to the queue. Returns at once."""
        # What dramatiq waits for at its end may be a Valkey that is away; its threads then end with the process.
        self._stopping = threading.Thread(target=self._stop, name="jobs-queue-stop", daemon=True)
        self._stopping.start()

    def join(self, timeout_s: float) -> bool:
        """Wait for the end. False when it takes longer."""
        if self._stopping is None:
            return True
        self._stopping.join(timeout_s)
        return not self._stopping.is_alive()

    def close(self) -> None:
        """Give the connections back."""
        self._pool.disconnect()

    def _stop(self) -> None:
        with suppress(redis.RedisError, dramatiq.BrokerError):
            self._worker.stop()
