"""The schedule asks for each of its times once, whoever ticks and whatever the clock does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from offices import until
from workshop import DONE, Workshop

from felix.application.jobs.kinds import KINDS
from felix.application.jobs.schedule import SCHEDULE, CronEntry
from felix.bootstrap.books import connect_to_jobs
from felix.eventstore.jobs import NewJob, ScheduleBook
from felix.worker.ticker import Ticker

ENTRY = CronEntry("nightly_test", "0 3 * * *", KINDS["test.note"], {"what": "tick"})
THREE = datetime(2026, 3, 1, 3, tzinfo=UTC)
DAY = timedelta(days=1)


class SetClock(ScheduleBook):
    """A schedule whose database has the time that the test says."""

    at = THREE

    def now(self) -> datetime | None:
        return self.at if super().now() else None


@pytest.fixture
def books(workshop: Workshop) -> Iterator[tuple[SetClock, SetClock]]:
    """Two processes that want to tick."""
    connect = connect_to_jobs(workshop.endpoints, "felix_projector")
    pair = SetClock(connect), SetClock(connect)
    yield pair
    for book in pair:
        book.close()


def states(workshop: Workshop) -> list[tuple[Any, ...]]:
    return workshop.rows("select due_at, state from felix.jobs order by due_at")


def test_the_entries_have_names_times_and_kinds_of_the_platform() -> None:
    assert len({entry.name for entry in SCHEDULE}) == len(SCHEDULE)
    for entry in SCHEDULE:
        planned = entry.job_at(entry.last_time(THREE))
        assert planned.tenant_id is None and planned.partition == 0
        assert planned.origin == f"cron:{entry.name}"
        assert planned.due_at <= THREE


def test_the_newest_time_is_the_moment_itself_or_the_last_before() -> None:
    assert ENTRY.last_time(THREE) == THREE
    assert ENTRY.last_time(THREE - timedelta(microseconds=1)) == THREE - DAY
    assert ENTRY.last_time(THREE + timedelta(hours=23)) == THREE


def test_a_new_entry_begins_with_its_next_time(workshop: Workshop, books: tuple[SetClock, SetClock]) -> None:
    book, _ = books
    ticker = Ticker(book, [ENTRY])
    book.at = THREE + timedelta(hours=5)
    ticker.tick()
    assert states(workshop) == [(THREE, "cancelled")]
    book.at = THREE + DAY
    assert ticker.tick() == 1
    assert states(workshop)[1] == (THREE + DAY, "waiting")


def test_a_time_is_asked_for_once_however_often_it_is_looked_at(
    workshop: Workshop, books: tuple[SetClock, SetClock]
) -> None:
    book, _ = books
    Ticker(book, [ENTRY]).tick()
    book.at = THREE + DAY
    for _ in range(3):
        ticker = Ticker(book, [ENTRY])
        for _ in range(3):
            ticker.tick()
    assert len(states(workshop)) == 2
    workshop.do_all()
    assert DONE == {"tick": [1]}


def test_of_two_tickers_one_ticks_and_the_other_takes_over(
    workshop: Workshop, books: tuple[SetClock, SetClock]
) -> None:
    first, second = books
    one, other = Ticker(first, [ENTRY]), Ticker(second, [ENTRY])
    one.tick()
    first.at = second.at = THREE + DAY
    assert (one.tick(), other.tick()) == (1, 0)
    first.at = second.at = THREE + 2 * DAY
    first.close()
    until(lambda: other.tick() == 1, "the server has heard that the first is gone")
    assert one.tick() == 0
    assert len(states(workshop)) == 3


def test_two_tickers_without_the_lock_ask_for_the_same_job(
    workshop: Workshop, books: tuple[SetClock, SetClock]
) -> None:
    """The second belt: were both to tick, the job's id would still be one."""
    first, second = books
    Ticker(first, [ENTRY]).tick()
    planned: NewJob = ENTRY.job_at(THREE + DAY)
    assert first.add(planned) and not second.add(planned)
    assert len(states(workshop)) == 2


def test_of_many_missed_times_the_newest_is_made_up_for(workshop: Workshop, books: tuple[SetClock, SetClock]) -> None:
    book, _ = books
    Ticker(book, [ENTRY]).tick()
    book.at = THREE + 5 * DAY + timedelta(hours=9)
    assert Ticker(book, [ENTRY]).tick() == 1
    assert states(workshop)[1:] == [(THREE + 5 * DAY, "waiting")]


def test_a_clock_that_is_set_back_asks_for_nothing(workshop: Workshop, books: tuple[SetClock, SetClock]) -> None:
    book, _ = books
    ticker = Ticker(book, [ENTRY])
    ticker.tick()
    book.at = THREE + 3 * DAY
    assert ticker.tick() == 1
    for back in (1, 2, 20):
        book.at = THREE + 3 * DAY - back * DAY
        assert ticker.tick() == 0
    book.at = THREE + 3 * DAY + timedelta(hours=1)
    assert ticker.tick() == 0
    assert len(states(workshop)) == 2


def test_how_far_the_schedule_has_come_outlives_the_purge(workshop: Workshop, books: tuple[SetClock, SetClock]) -> None:
    """A monthly entry must not come again because its job of last month was forgotten."""
    book, _ = books
    monthly = replace(ENTRY, name="monthly_test", when="0 3 1 * *")
    Ticker(book, [monthly]).tick()
    book.at = datetime(2026, 4, 1, 4, tzinfo=UTC)
    Ticker(book, [monthly]).tick()
    workshop.do_all()
    workshop.change("update felix.jobs set finished_at = now() - interval '20 days'")
    assert workshop.book.purge(timedelta(days=7)) == 1
    book.at = datetime(2026, 4, 25, tzinfo=UTC)
    assert Ticker(book, [monthly]).tick() == 0
    assert DONE == {"tick": [1]}
