"""Spend caps: how much was spent in a window that is still running.

A window is counted in buckets: a calendar day or month is one bucket, a rolling window is sixty. The oldest of the
sixty may reach a little beyond the window, so a rolling cap errs towards counting too much, never too little.
Spending counts at the moment it is booked; late usage counts when it arrives. Tokens held count when they are held.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

ROLLING_BUCKETS = 60

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)


def utc_day(at: datetime) -> int:
    """The number of the calendar day in UTC, whatever zone a driver has put on the moment."""
    return at.astimezone(UTC).toordinal()


@dataclass(slots=True)
class Cap:
    """One limit and what has been counted against it since the event with version ``since``."""

    cap_id: str
    scope: str
    scope_value: str | None
    limit_mtok: int
    window: str
    window_s: int | None
    hard: bool
    since: int
    buckets: dict[int, int] = field(default_factory=dict)
    passed_in: int | None = None

    @property
    def same_place(self) -> tuple[str, str | None, str, int | None]:
        """Two caps with the same scope and window are the same cap, set again."""
        return (self.scope, self.scope_value, self.window, self.window_s)

    @property
    def span(self) -> int:
        """How many buckets make a window."""
        return ROLLING_BUCKETS if self.window_s else 1

    @property
    def bucket_s(self) -> int:
        """The seconds of one rolling bucket: 59 full ones and the running one cover the window."""
        return -(-(self.window_s or 0) // (ROLLING_BUCKETS - 1))

    def bucket(self, at: datetime) -> int:
        """The number of the bucket that a moment falls into."""
        if self.window == "day":
            return utc_day(at)
        if self.window == "month":
            at = at.astimezone(UTC)
            return at.year * 12 + at.month - 1
        return (at - _EPOCH) // _SECOND // self.bucket_s

    def spent_mtok(self, at: datetime) -> int:
        """What was spent and is held in the window that runs at that moment."""
        first = self.bucket(at) - self.span
        return sum(spent for bucket, spent in self.buckets.items() if bucket > first)

    def resets_at(self, at: datetime) -> datetime:
        """When the first of what was counted stops counting."""
        now = self.bucket(at)
        if self.window == "day":
            return datetime.fromordinal(now + 1).replace(tzinfo=UTC)
        if self.window == "month":
            year, month = divmod(now + 1, 12)
            return datetime(year, month + 1, 1, tzinfo=UTC)
        live = [bucket for bucket, spent in self.buckets.items() if spent and bucket > now - self.span]
        return _EPOCH + timedelta(seconds=(min(live, default=now) + self.span) * self.bucket_s)

    def concerns(self, needs: Iterable[Sequence[Any]], app: str | None, person: str | None) -> int:
        """How much of ``[meter, amount_mtok]`` this cap counts."""
        if self.scope == "app" and app != self.scope_value:
            return 0
        if self.scope == "person" and person != self.scope_value:
            return 0
        if self.scope == "meter":
            return sum(amount_mtok for meter, amount_mtok in needs if meter == self.scope_value)
        return sum(amount_mtok for _, amount_mtok in needs)

    def count(self, amount_mtok: int, at: datetime) -> None:
        """Add to the bucket of a moment and forget the buckets that no window can reach any more."""
        now = self.bucket(at)
        self.buckets[now] = self.buckets.get(now, 0) + amount_mtok
        if len(self.buckets) > self.span:
            first = now - self.span
            self.buckets = {bucket: spent for bucket, spent in self.buckets.items() if bucket > first}

    def uncount(self, amount_mtok: int, counted_at: datetime, version: int) -> None:
        """Take out what was counted by the event with that version, if this cap was there and still knows it."""
        bucket = self.bucket(counted_at)
        if version > self.since and bucket in self.buckets:
            self.buckets[bucket] -= amount_mtok

    def newly_passed(self, at: datetime) -> bool:
        """Whether the limit is passed now and was not yet in this window."""
        if self.passed_in is not None and self.passed_in > self.bucket(at) - self.span:
            return False
        return self.spent_mtok(at) > self.limit_mtok

    def describe(self, at: datetime) -> dict[str, Any]:
        """The cap as the API shows it."""
        return {
            "cap_id": self.cap_id,
            "scope": self.scope,
            "scope_value": self.scope_value,
            "window": self.window,
            "window_s": self.window_s,
            "hard": self.hard,
            "limit_mtok": self.limit_mtok,
            "spent_mtok": self.spent_mtok(at),
            "resets_at": self.resets_at(at).isoformat(),
        }

    def dump(self) -> list[Any]:
        """The cap as JSON-ready values in the order of the fields."""
        return [
            self.cap_id,
            self.scope,
            self.scope_value,
            self.limit_mtok,
            self.window,
            self.window_s,
            self.hard,
            self.since,
            [[bucket, spent] for bucket, spent in self.buckets.items()],
            self.passed_in,
        ]

    @classmethod
    def load(cls, values: Sequence[Any]) -> Cap:
        """The way back from :meth:`dump`."""
        cap = cls(*values)
        cap.buckets = dict(values[8])
        return cap
