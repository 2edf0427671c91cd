"""The schedule: what the platform does at fixed times, in UTC.

An entry's job follows from its name and its time, so two tickers, or one that was started again, ask for it once. What
was missed while nobody ticked is made up for by one job, that of the newest missed time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from cronsim import CronSim

from felix.application.jobs.apps import purge_effects
from felix.application.jobs.documents import forget_orphans
from felix.application.jobs.kinds import JobKind
from felix.application.jobs.sign_in import purge_sign_in
from felix.application.jobs.upkeep import purge_jobs, snapshot_long_streams, verify_ledger
from felix.eventstore.jobs import NewJob


@dataclass(frozen=True, slots=True)
class CronEntry:
    """A kind of job and when it comes: minute, hour, day of month, month, day of week."""

    name: str
    when: str
    kind: JobKind
    payload: Mapping[str, Any] = field(default_factory=dict)

    def last_time(self, now: datetime) -> datetime:
        """The newest of its times that is not after ``now``."""
        # The simulator answers what is strictly before; a microsecond makes that "not after".
        found: datetime = next(CronSim(self.when, now + timedelta(microseconds=1), reverse=True))
        return found

    def job_at(self, time: datetime) -> NewJob:
        """The job of one of its times."""
        return self.kind.of_platform(f"{self.name}@{time:%Y-%m-%dT%H:%MZ}", f"cron:{self.name}", time, self.payload)


SCHEDULE = (
    CronEntry("nightly_snapshots", "30 2 * * *", snapshot_long_streams),
    CronEntry("nightly_verification", "0 3 * * *", verify_ledger),
    CronEntry("hourly_purge_of_documents", "27 * * * *", forget_orphans),
    CronEntry("nightly_purge_of_effects", "50 2 * * *", purge_effects),
    CronEntry("hourly_purge_of_jobs", "17 * * * *", purge_jobs),
    CronEntry("hourly_purge_of_sign_in", "37 * * * *", purge_sign_in),
)
