"""Asks for the jobs of the schedule when their time has come, by the database's clock.

One ticker ticks, whoever has the lock; the others wait for it. It keeps nothing: at every look it asks for the job of
the newest time of each entry, which is one job however often it is asked for. So a clock that is set back asks for
nothing, and a ticker that was away makes up for the newest time it missed and for no other.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from felix.application.jobs.schedule import CronEntry
from felix.domain.errors import Unavailable
from felix.eventstore.jobs import ScheduleBook
from felix.worker.loop import Loop

log = logging.getLogger("felix.jobs")

#: How often the clock is looked at.
LOOK_EVERY_S = 1.0
#: How long a database that is away is left alone.
PAUSE_S = 3.0


class Ticker(Loop):
    """One thread that looks at the clock. Any number of processes may have one."""

    def __init__(self, book: ScheduleBook, schedule: Sequence[CronEntry]) -> None:
        super().__init__("jobs-ticker")
        self._book = book
        self._schedule = schedule
        self._asked: set[str] = set()

    def tick(self) -> int:
        """Look at the clock once; how many jobs were asked for. Raises ``Unavailable``."""
        now = self._book.now()
        if now is None:
            return 0
        due = {job.about: job for entry in self._schedule for job in [entry.job_at(entry.last_time(now))]}
        asked = sum(self._book.add(job) for about, job in due.items() if about not in self._asked)
        self._asked = set(due)
        return asked

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self.tick()
                self._stopping.wait(LOOK_EVERY_S)
            except Unavailable as error:
                log.warning("the schedule waits: %s", error)
                self._stopping.wait(PAUSE_S)
        self._book.close()
