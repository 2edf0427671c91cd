"""Times that come again: "every Monday at 8", "on the first of every month at 9:30"."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from felix.domain.changes.planning.grammar.scene import Scene
from felix.domain.changes.planning.grammar.values import DAYS

_ORDINALS = {"first": 1, "second": 2, "third": 3, "fifth": 5, "tenth": 10, "fifteenth": 15}


class Recurrence(NamedTuple):
    """The last three fields of a cron, how it is said, and the hour and minute where they were said."""

    days: str
    said: str
    time: tuple[int, int] | None

    @property
    def cron(self) -> str | None:
        """The whole cron, or None without a time of day."""
        return None if self.time is None else f"{self.time[1]} {self.time[0]} {self.days}"


def clock_times(scene: Scene, start: int) -> Iterator[tuple[int, tuple[int, int]]]:
    """A time of day: "8", "8:30", "8 am", "6 o'clock", "noon"."""
    if scene.word(start) in ("noon", "midnight"):
        yield start + 1, (12 if scene.word(start) == "noon" else 0, 0)
        return
    token = scene.tokens[start] if start < len(scene.tokens) else None
    if token is None or token.kind not in ("number", "time"):
        return
    hour, _, minute = token.word.partition(":")
    if not hour.isdigit() or int(minute or 0) > 59:
        return
    end, number = start + 1, int(hour)
    if scene.word(end) in ("am", "pm"):
        if 1 <= number <= 12:
            yield end + 1, (number % 12 + 12 * (scene.word(end) == "pm"), int(minute or 0))
    elif number <= 23:
        yield end + (scene.word(end) in ("o'clock", "oclock", "h")), (number, int(minute or 0))


def recurrences(scene: Scene, start: int) -> Iterator[tuple[int, Recurrence]]:
    """Days that come again, with or without a time of day."""
    for end, days, said in _days(scene, start):
        yield end, Recurrence(days, said, None)
        if scene.word(end) == "at":
            for after, time in clock_times(scene, end + 1):
                yield after, Recurrence(days, said, time)


def _days(scene: Scene, start: int) -> Iterator[tuple[int, str, str]]:
    if scene.word(start) in ("every", "each"):
        day = scene.word(start + 1)
        if day in DAYS:
            yield start + 2, f"* * {DAYS[day]}", f"every {day.capitalize()}"
        elif day == "day":
            yield start + 2, "* * *", "every day"
        elif day in ("weekday", "workday"):
            yield start + 2, "* * 1-5", f"every {day}"
        elif day == "month" and scene.word(start + 2) == "on":
            for end, number in _day_of_month(scene, start + 3):
                yield end, f"{number} * *", "every month"
    if scene.word(start) == "daily":
        yield start + 1, "* * *", "every day"
    if scene.word(start) == "on":
        if (day := scene.word(start + 1).removesuffix("s")) in DAYS and scene.word(start + 1).endswith("s"):
            yield start + 2, f"* * {DAYS[day]}", f"every {day.capitalize()}"
        for end, number in _day_of_month(scene, start + 1):
            after = scene.phrase(end, "of every month", "of each month", "of the month")
            if after is not None:
                yield after, f"{number} * *", "every month"


def _day_of_month(scene: Scene, start: int) -> Iterator[tuple[int, int]]:
    at = scene.past_articles(start)
    if scene.word(at) in _ORDINALS:
        end = at + 1
        yield end + (scene.word(end) == "day"), _ORDINALS[scene.word(at)]
    elif scene.word(at).isdigit() and 1 <= int(scene.word(at)) <= 28 and scene.word(at + 1) in ("st", "nd", "rd", "th"):
        yield at + 2, int(scene.word(at))
