"""When the schedules of an app come: five fields of cron, read by the clock on the wall of their zone.

Where the clocks go forward, a time that is left out comes at the next minute that there is; where they go back, a time
that comes twice is meant once, unless the schedule comes every hour or oftener.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from felix.domain.apps.behaviour import Schedule
from felix.domain.errors import Refused


class NeverComes(Refused):
    """This schedule has no time at which it comes."""


def next_time(schedule: Schedule, after: datetime) -> datetime:
    """The first of its times that is after this one, in UTC. Raises :class:`NeverComes`."""
    try:
        found: datetime = next(CronSim(schedule.cron, after.astimezone(ZoneInfo(schedule.zone))))
    except (CronSimError, StopIteration):
        raise NeverComes(cron=schedule.cron) from None
    return found.astimezone(UTC)


def comes_at(schedule: Schedule, at: datetime) -> bool:
    """Whether this is one of its times."""
    try:
        return next_time(schedule, at - timedelta(microseconds=1)) == at
    except NeverComes:
        return False
