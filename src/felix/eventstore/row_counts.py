"""Counts what a database holds, and notes it for one exact moment of a database that goes on.

A restore to that moment must bring back precisely these rows. For the administrator, who sees every tenant.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg

from felix.eventstore.connections import connect

#: Every writer of a partition holds its row until its commit, so whoever holds all rows stands between two commits.
_HOLD_ALL_HEADS = "select partition from felix.partitions order by partition for update"
_HEADS_PATIENCE_MS = 5_000
_ROWS = """
    select p.partition, p.position, coalesce(e.events, 0), coalesce(e.highest, 0), coalesce(c.commands, 0),
           coalesce(e.checksum, 0)::text, e.last_event_at
    from felix.partitions p
    left join (
      select partition, count(*) as events, max(position) as highest, max(recorded_at) as last_event_at,
             sum(crc32c(state || uuid_send(event_id)) # position) as checksum
      from felix.events group by partition
    ) e using (partition)
    left join (select partition, count(*) as commands from felix.commands group by partition) c using (partition)
    order by p.partition
"""


@dataclass(frozen=True, slots=True)
class PartitionRows:
    """What a partition holds. ``checksum`` is over the stored bytes of all its events and their positions."""

    partition: int
    head: int
    events: int
    highest: int
    commands: int
    checksum: str
    last_event_at: datetime | None

    @property
    def dense(self) -> bool:
        """Whether there are as many events as the head says, and no other."""
        return self.events == self.highest == self.head


def count_rows(connection: psycopg.Connection[Any]) -> list[PartitionRows]:
    """What every partition holds."""
    return [PartitionRows(*row) for row in connection.execute(_ROWS)]


def note_rows(url: str) -> tuple[datetime, list[PartitionRows]]:
    """A moment of the server's clock, and what every partition held then: every commit is before it or after it.

    Writers wait for the instant that the moment takes, not for the counting. The end of the transaction that keeps
    them out is itself a commit after the moment, at which a restore stops.
    """
    with connect(url) as noted, connect(url) as holding, noted.transaction():
        noted.execute("set transaction isolation level repeatable read, read only")
        with holding.transaction():
            holding.execute(f"set local lock_timeout = {_HEADS_PATIENCE_MS}")
            holding.execute(_HOLD_ALL_HEADS)
            noted.execute("select from felix.partitions")  # the snapshot is taken now
            at = holding.execute("select clock_timestamp()").fetchone()
        assert at is not None
        return at[0], count_rows(noted)
