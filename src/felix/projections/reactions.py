"""Lets a policy follow the log as a projection does.

The jobs it asks for are written in the transaction that moves its cursor. So order, fencing, lag and what becomes of an
event that it fails on are those of every projection; only that it has no table and is never rebuilt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import psycopg

from felix.eventstore.jobs import NewJob, insert_jobs
from felix.eventstore.mapper import RecordedEvent
from felix.projections.base import Projection


def reaction(called: str, to: frozenset[str], react: Callable[[RecordedEvent], Iterable[NewJob]]) -> Projection:
    """What retells the events ``to`` as the jobs that follow from them."""

    class Reaction(Projection):
        """A policy at work."""

        name = called
        reads = to
        tables = ()
        ddl = ""

        def fold(self, events: Sequence[RecordedEvent], connection: psycopg.Connection[Any]) -> None:
            insert_jobs(connection, [job for event in events for job in react(event)])

    return Reaction()


def place_cursors(url: str, begins_now: Iterable[str]) -> None:
    """Let reactions that are new here begin with what happens from now on, not with the beginning of the log.

    ``url`` names a role that may take ``felix_owner`` on. Those that have a cursor keep it.
    """
    with psycopg.connect(url) as connection:
        connection.execute("set local role felix_owner")
        connection.execute(
            "insert into felix.cursors (projection, partition, position, version)"
            " select name, partition, position, 1 from felix.partitions cross join unnest(%s::text[]) as r (name)"
            " on conflict do nothing",
            (list(begins_now),),
        )
