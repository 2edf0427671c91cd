"""Where jobs are planned and done in a test, and what it asks about them afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from offices import ACME, PARTITIONS, Office, open_office, until

from felix import bootstrap
from felix.application.jobs.kinds import KINDS, JobContext, job
from felix.application.secrets import Secrets
from felix.eventstore.jobs import Job, JobBook, JobKey, NewJob
from felix.eventstore.sealing import new_root_key
from felix.projections.runner import ProjectionRunner
from felix.settings import Settings
from felix.worker.job_runner import JobRunner
from felix.worker.upkeep import PlatformUpkeep

#: What the kinds below did, by what they were about: appended to from whatever thread.
DONE: dict[str, list[int]] = {}
#: What a job of kind ``test.call`` calls.
CALLS: dict[str, Callable[[JobContext], Mapping[str, Any]]] = {}
LEASE_S = 1.0
ROOT_KEY = new_root_key()


@job("test.note", max_attempts=3, lease_s=LEASE_S)
def note(context: JobContext) -> Mapping[str, Any]:
    """Note that it ran: an effect that is doubled when the job is."""
    DONE.setdefault(context.job.payload["what"], []).append(context.job.attempts)
    return {"noted": context.job.payload["what"]}


@job("test.call", max_attempts=3, lease_s=LEASE_S)
def call(context: JobContext) -> Mapping[str, Any]:
    """Do what the test says."""
    return CALLS[context.job.payload["what"]](context)


@dataclass
class Workshop:
    """The table of jobs, who does them, and the accounts that they are about."""

    office: Office
    endpoints: bootstrap.Endpoints
    book: JobBook
    runner: JobRunner
    secrets: Secrets
    partition: int = 0
    made: list[JobKey] = field(default_factory=list)

    def plan(self, kind: str, what: str, *, in_s: float = 0.0, tenant: UUID | None = ACME) -> JobKey:
        """Ask for a job, due in so many seconds."""
        due_at = datetime.now(UTC) + timedelta(seconds=in_s) - timedelta(milliseconds=5)
        attempts = KINDS[kind].max_attempts if kind in KINDS else 3
        new = NewJob(self.partition, tenant, kind, what, "policy:of_the_test", attempts, due_at, {"what": what})
        self.book.add([new])
        return (new.partition, new.job_id)

    def do_all(self) -> int:
        """Hand out what is due and do it; how many jobs that were."""
        keys = self.book.hand_out(1_000)
        for key in keys:
            self.runner.do(*key)
        return len(keys)

    def claim(self, key: JobKey, lease_s: float = LEASE_S) -> Job:
        """Claim a job that nobody has."""
        claimed = self.book.claim(key, dict.fromkeys(KINDS, lease_s))
        assert claimed is not None
        return claimed

    def row(self, key: JobKey) -> dict[str, Any]:
        """A job as it is."""
        names = "state, attempts, error, result, origin, correlation_id, causation_id, due_at, kind, settled_by"
        names += ", progress_done, progress_total, claimed_until"
        (found,) = self.office.rows(f"select {names} from felix.jobs where partition = %s and job_id = %s", *key)
        return dict(zip(names.split(", "), found, strict=True))

    def rows(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Ask the database."""
        return self.office.rows(query, *parameters)

    def change(self, statement: str, *parameters: Any) -> None:
        """Change the database, as nobody but a test may."""
        with bootstrap.connect_owner(self.endpoints) as owner:
            owner.execute(statement.encode(), parameters)

    def retell(self) -> None:
        """Let projections and policies see every event."""
        runner = bootstrap.open_runner(self.endpoints, partitions=PARTITIONS)
        runner.start()
        try:
            until(lambda: all(lag.owned and not lag.lag_events for lag in runner.lag().values()), "all is retold")
        finally:
            assert runner.stop()

    def open_runner(self) -> ProjectionRunner:
        """What a worker follows the log with."""
        return bootstrap.open_runner(self.endpoints, partitions=PARTITIONS)


@contextmanager
def open_workshop(database: str) -> Iterator[Workshop]:
    """A workshop on a database."""
    endpoints = bootstrap.Endpoints(database, None, None)
    settings = Settings(_env_file=None, database_url=database, partitions=PARTITIONS, root_key=ROOT_KEY)
    with open_office(database) as office:
        book = bootstrap.open_job_book(endpoints)
        directory = bootstrap.open_directory(endpoints, partitions=PARTITIONS)
        secrets = bootstrap.open_secrets(endpoints, office.performer, directory.partition_of, settings)
        upkeep = PlatformUpkeep(endpoints, book, secrets, partitions=PARTITIONS)
        runner = JobRunner(book, office.performer, upkeep, secrets)
        DONE.clear()
        CALLS.clear()
        try:
            yield Workshop(office, endpoints, book, runner, secrets)
        finally:
            directory.close()
            upkeep.close()
            book.close()
