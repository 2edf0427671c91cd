"""What jobs ask the platform to do to itself, done."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any
from uuid import UUID

from felix import bootstrap
from felix.application.apps.at_work import AppsAtWork
from felix.application.changes.steps.stepper import Stepper
from felix.application.lane import SNAPSHOT_EVERY
from felix.application.secrets import Secrets
from felix.eventstore.connections import connect
from felix.eventstore.jobs import JobBook
from felix.eventstore.long_streams import long_streams, snapshot_long_stream
from felix.settings import Settings

#: How long it can be seen what became of a job. Dead ones stay until a person has settled them.
KEEP_FINISHED = timedelta(days=7)
#: Violations that are kept with the job; `felix verify ledger` shows all.
MOST_VIOLATIONS = 10


class PlatformUpkeep:
    """The :class:`~felix.application.jobs.kinds.Upkeep` of this installation."""

    def __init__(
        self,
        endpoints: bootstrap.Endpoints,
        book: JobBook,
        secrets: Secrets,
        *,
        partitions: int,
        settings: Settings | None = None,
    ) -> None:
        self._endpoints = endpoints
        self._book = book
        self._secrets = secrets
        self._partitions = partitions
        self._settings = settings or Settings()
        self._opened = ExitStack()
        self._sign_in = bootstrap.open_sign_in_book(endpoints)
        self.post = bootstrap.open_post(self._settings, self._sign_in)
        self.documents = bootstrap.open_documents(endpoints, self._settings)
        self.read_source = bootstrap.open_source_reader(self._settings)

    @cached_property
    def apps(self) -> AppsAtWork:
        """Opened by the first job of an app: most processes that have an upkeep run none."""
        return self._opened.enter_context(bootstrap.open_apps_at_work(self._endpoints, self._settings))

    @cached_property
    def changes(self) -> Stepper:
        """Opened by the first step of a change, and takes it with what apps are run with."""
        index = self.documents.index
        opened = bootstrap.open_stepper(self._endpoints, self._settings, self.apps, index, self._secrets)
        return self._opened.enter_context(opened)

    def hasten(self, place: tuple[int, UUID], kind: str) -> int:
        """In the table of jobs; what is under way stays as it is."""
        return self._book.hasten(place, kind)

    def verify_ledger(self, told: Callable[[int, int], None]) -> dict[str, Any]:
        """Everything that ``felix verify ledger`` looks at."""
        report = bootstrap.verify_ledger(self._endpoints, partitions=self._partitions, told=told)
        return {
            "consistent": report.consistent,
            "events": report.events,
            "looked_at": report.looked_at,
            "violations": sum(report.found.values()),
            "first": [
                {"check": each.check, "place": each.place, "detail": each.detail[:200]}
                for each in report.violations[:MOST_VIOLATIONS]
            ],
        }

    def snapshot_long_streams(self, told: Callable[[int, int], None]) -> int:
        """One after the other, on one connection, so that lanes hardly notice."""
        made = 0
        with connect(self._endpoints.writer_url) as connection:
            for partition in range(self._partitions):
                for long in long_streams(connection, partition, SNAPSHOT_EVERY):
                    snapshot_long_stream(connection, long)
                    made += 1
                    told(partition, self._partitions)
                told(partition + 1, self._partitions)
        return made

    def purge_jobs(self) -> int:
        """A week is enough to see what became of a job."""
        return self._book.purge(KEEP_FINISHED)

    def close(self) -> None:
        """Give the connections back."""
        self._opened.close()
        self._sign_in.close()
        self.documents.index.close()

    def purge_sign_in(self) -> int:
        """Each kind of row for as long as somebody may want to look at it."""
        return self._sign_in.purge(datetime.now(UTC))

    def forget_outside(self, tenant_id: UUID, subject_id: str) -> dict[str, Any]:
        """The erasure key forgets, here and in the backups, and mails that were left in files go."""
        return bootstrap.forget_outside(self._settings, tenant_id, subject_id)
