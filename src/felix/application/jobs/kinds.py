"""A kind of job is a function with a name; a job is one call of it that is kept until it has happened.

A job may run more than once: a worker can die after the work and before it says so. So what it does to the books is a
command, under a key that follows from the job, and has its effect once.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from felix.application.apps.at_work import AppsAtWork
from felix.application.changes.steps.stepper import Stepper
from felix.application.documents import DocumentDesk, SourceReader
from felix.application.outcome import Outcome
from felix.application.post import Post
from felix.application.secrets import Secrets
from felix.domain.base import Command
from felix.domain.errors import Corrupt, Forbidden, Invalid, NotFound, Refused, Unavailable
from felix.eventstore.jobs import PLATFORM_PARTITION, Job, NewJob

#: A job is a few commands; one that takes longer says how far it is, which extends its lease.
LEASE_S = 15.0
MAX_ATTEMPTS = 8
#: Pauses between attempts begin with one and end with the other: eight attempts take about ten minutes.
BACKOFF_S, MAX_BACKOFF_S = 2.0, 600.0
#: The same would be said again, however often it is tried.
FINAL = (Corrupt, Forbidden, Invalid, NotFound, Refused)


class ClaimLost(Unavailable):
    """This job was given to another worker, because this one took too long."""


class WorkerStops(Unavailable):
    """The worker stops; another goes on with this job."""


class NotYet(Unavailable):
    """There is nothing to do for this job before a certain time; it waits until then."""

    def __init__(self, until: datetime) -> None:
        super().__init__(until=until.isoformat())
        self.until = until


class UnknownJobKind(Unavailable):
    """This version of Felix does not know this kind of job."""


class Upkeep(Protocol):
    """What the platform does to itself, in words that a job can use. ``told`` hears how far it is, and of how much."""

    def verify_ledger(self, told: Callable[[int, int], None]) -> dict[str, Any]:
        """Prove that what is stored is consistent; counts and violations."""

    def snapshot_long_streams(self, told: Callable[[int, int], None]) -> int:
        """Snapshot every stream whose newest snapshot is far behind; how many."""

    def purge_jobs(self) -> int:
        """Forget jobs that were done long ago; how many."""

    def purge_sign_in(self) -> int:
        """Forget attempts, links and sessions that are long over; how many."""

    def hasten(self, place: tuple[int, UUID], kind: str) -> int:
        """Let a tenant's jobs of a kind that wait for their time be due now; how many."""

    @property
    def changes(self) -> Stepper:
        """Who takes the steps of changes."""

    @property
    def post(self) -> Post:
        """How it writes to people."""

    def forget_outside(self, tenant_id: UUID, subject_id: str) -> dict[str, Any]:
        """Forget what is kept of somebody who was erased outside of the database; what that was."""

    @property
    def apps(self) -> AppsAtWork:
        """What it runs apps with."""

    @property
    def documents(self) -> DocumentDesk:
        """Where it indexes and forgets what planners may read."""

    @property
    def read_source(self) -> SourceReader:
        """How it reads a database or a repository that a client has connected."""


class JobContext(Protocol):
    """What a job sees while it runs."""

    @property
    def job(self) -> Job:
        """The job itself."""

    @property
    def upkeep(self) -> Upkeep:
        """What it may ask of the platform."""

    @property
    def secrets(self) -> Secrets:
        """How it gets a secret, for the adapter that needs it."""

    def perform(self, command: Command, part: str = "", *, enclosed: Mapping[str, Any] | None = None) -> Outcome:
        """Perform a command for the job's tenant. Its key follows from the job and ``part``, which tells several
        commands of one job apart; its time is not before the job was due."""

    def progress(self, done: int, total: int) -> None:
        """Say how far the work is, and keep the claim. Raises :class:`ClaimLost` and :class:`WorkerStops`."""


Work = Callable[[JobContext], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class JobKind:
    """A kind of job: its stored name, what it does, how often it is tried, and how long a worker has it at first."""

    name: str
    work: Work
    max_attempts: int
    lease_s: float

    def of_platform(self, about: str, origin: str, due_at: datetime, payload: Mapping[str, Any]) -> NewJob:
        """A job of the platform itself."""
        return NewJob(PLATFORM_PARTITION, None, self.name, about, origin, self.max_attempts, due_at, payload)

    def of_tenant(
        self,
        place: tuple[int, UUID],
        about: str,
        origin: str,
        due_at: datetime,
        payload: Mapping[str, Any],
        *,
        correlation_id: UUID | None = None,
        causation_id: UUID | None = None,
    ) -> NewJob:
        """A job for a tenant; ``place`` is its partition and its id."""
        partition, tenant_id = place
        return NewJob(
            partition, tenant_id, self.name, about, origin, self.max_attempts, due_at, payload, correlation_id,
            causation_id,
        )  # fmt: skip


KINDS: dict[str, JobKind] = {}


def job(name: str, *, max_attempts: int = MAX_ATTEMPTS, lease_s: float = LEASE_S) -> Callable[[Work], JobKind]:
    """Register a kind of job under its stored name. The function answers its result, which is shown to people."""

    def register(work: Work) -> JobKind:
        if name in KINDS:
            raise TypeError(f"two kinds of job are called {name}")
        KINDS[name] = kind = JobKind(name, work, max_attempts, lease_s)
        return kind

    return register


def kind_of(name: str) -> JobKind:
    """The kind behind a stored name. Raises :class:`UnknownJobKind`."""
    try:
        return KINDS[name]
    except KeyError:
        raise UnknownJobKind(f"This version of Felix knows no jobs called {name!r}.", kind=name) from None


def pause_s(attempts: int) -> float:
    """How long after so many failed attempts the next one comes: doubling, and spread so that they do not all meet."""
    full_s = min(BACKOFF_S * 2.0 ** (attempts - 1), MAX_BACKOFF_S)
    return full_s * random.uniform(0.5, 1.0)
