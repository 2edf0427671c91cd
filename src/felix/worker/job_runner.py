"""Does one job: claims it, lets its kind do the work, and says what became of it, if the claim still holds."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from felix import trail
from felix.application.jobs.kinds import (
    FINAL,
    KINDS,
    ClaimLost,
    JobKind,
    NotYet,
    Upkeep,
    WorkerStops,
    kind_of,
    pause_s,
)
from felix.application.outcome import Outcome
from felix.application.performer import Performer, new_context
from felix.application.secrets import Secrets
from felix.domain.base import Command
from felix.domain.errors import Corrupt, FelixError, NotFound, Unavailable
from felix.eventstore.jobs import Job, JobBook
from felix.measures import JOB_RUNS

log = logging.getLogger("felix.jobs")


@dataclass(frozen=True, slots=True)
class _Running:
    """The :class:`~felix.application.jobs.kinds.JobContext` of one job."""

    job: Job
    kind: JobKind
    upkeep: Upkeep
    secrets: Secrets
    book: JobBook
    performer: Performer
    stopping: threading.Event
    claimed_at: float

    def perform(self, command: Command, part: str = "", *, enclosed: Mapping[str, Any] | None = None) -> Outcome:
        if self.job.tenant_id is None:
            raise NotFound("A job of the platform has no tenant to perform a command for.")
        key = f"job:{self.job.job_id}:{part}" if part else f"job:{self.job.job_id}"
        context = new_context(
            self.job.tenant_id, key, self.job.origin,
            correlation_id=self.job.correlation_id, causation_id=self.job.causation_id, enclosed=enclosed,
        )  # fmt: skip
        context.at = max(context.at, self.job.due_at)
        left_s = self.claimed_at + self.kind.lease_s - time.monotonic()
        try:
            return self.performer.perform_blocking(command, context, timeout_s=max(0.1, left_s))
        except TimeoutError:
            raise Unavailable("The command had no outcome within the job's lease.") from None

    def progress(self, done: int, total: int) -> None:
        if self.stopping.is_set():
            raise WorkerStops()
        if not self.book.extend(self.job, self.kind.lease_s, done, total):
            raise ClaimLost()


class JobRunner:
    """Does the jobs that it is told the keys of, from any thread."""

    def __init__(self, book: JobBook, performer: Performer, upkeep: Upkeep, secrets: Secrets) -> None:
        self._book = book
        self._performer = performer
        self._upkeep = upkeep
        self._secrets = secrets
        self._leases_s = {kind.name: kind.lease_s for kind in KINDS.values()}
        self._stopping = threading.Event()
        self._at_hand: dict[UUID, Job] = {}

    def do(self, partition: int, job_id: UUID) -> None:
        """Do a job, unless it is over or somebody else's. Raises nothing: what fails is in the job."""
        if self._stopping.is_set():
            return
        try:
            job = self._book.claim((partition, job_id), self._leases_s)
            if job is not None:
                self._run(job)
        except Unavailable as error:
            # The claim runs out, and the job is done again.
            log.warning("a job was left where it was: %s", error, extra={"job_id": str(job_id)})
        except Exception:
            log.exception("a job could not be done", extra={"job_id": str(job_id)})

    def ask_to_stop(self) -> None:
        """Begin no more jobs; long ones hear of it when they next say how far they are."""
        self._stopping.set()

    def give_back(self) -> int:
        """Let other workers go on with what is still being done here; how many jobs that was."""
        given = 0
        for job in list(self._at_hand.values()):
            with suppress(Unavailable):
                given += self._book.give_back(job)
        return given

    @property
    def at_hand(self) -> int:
        """How many jobs are being done right now."""
        return len(self._at_hand)

    def _run(self, job: Job) -> None:
        about = {
            "job_id": str(job.job_id), "kind": job.kind, "attempt": job.attempts, "partition": job.partition,
            "tenant_id": job.tenant_id and str(job.tenant_id),
            "correlation_id": job.correlation_id and str(job.correlation_id),
        }  # fmt: skip
        self._at_hand[job.claim] = job
        began_at, became = time.monotonic(), "failed"
        try:
            kind = kind_of(job.kind)
            running = _Running(
                job, kind, self._upkeep, self._secrets, self._book, self._performer, self._stopping, began_at
            )
            with trail.about(**about), trail.work(f"job {job.kind}", job.correlation_id, about):
                result = kind.work(running)
            held = self._book.finish(job, result)
            became = "done"
            log.debug("a job is done", extra=about)
        except WorkerStops:
            held, became = self._book.give_back(job), "given_back"
        except NotYet as later:
            held, became = self._book.wait(job, later.until), "waits"
        except ClaimLost:
            held = False
        except FINAL as error:
            held = self._fail(job, error, about, final=True)
        except Exception as error:
            held = self._fail(job, error, about, final=False)
        finally:
            self._at_hand.pop(job.claim, None)
            JOB_RUNS.observe(time.monotonic() - began_at, job.kind, became)
        if not held:
            log.warning("a job was taken from this worker, which took too long", extra=about)

    def _fail(self, job: Job, error: Exception, about: dict[str, Any], *, final: bool) -> bool:
        told = f"{type(error).__name__}: {error}"
        facts = error.facts if isinstance(error, FelixError) else {}
        if final or job.attempts >= job.max_attempts:
            level = logging.CRITICAL if isinstance(error, Corrupt) else logging.ERROR
            log.log(level, "a job is dead: %s", told, extra=about, exc_info=None if final else error)
            return self._book.bury(job, told, facts)
        pause = pause_s(job.attempts)
        log.warning("a job failed and is tried again in %.0f s: %s", pause, told, extra=about, exc_info=error)
        return self._book.put_off(job, told, pause)
