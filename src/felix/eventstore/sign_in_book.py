"""What the doors of sign-in write without a command: who tries too often, who was seen, and links that mails carry."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import psycopg

from felix.eventstore.kept_connections import KeptConnections
from felix.eventstore.side_statements import SideStatement

#: Waits double with every failure that is not free, up to this. Nobody is kept out for longer.
MAX_WAIT = timedelta(minutes=15)
#: Failures are forgotten after so long without another.
FORGET_AFTER = timedelta(days=1)
#: How long what is over can still be looked at: sessions by their user, links by whoever wonders.
KEEP_OVER = timedelta(days=30)

_COUNT = """
    insert into felix.sign_in_attempts as known (subject, failures, failed_at)
    select subject, 1, %(at)s from unnest(%(subjects)s::bytea[]) as given (subject) order by subject
    on conflict (subject) do update set failed_at = %(at)s,
      failures = case when known.failed_at < %(forgotten)s then 1 else known.failures + 1 end
    returning subject, failures, wait_until
"""
_WAIT = """
    update felix.sign_in_attempts known set wait_until = given.wait_until
    from unnest(%s::bytea[], %s::timestamptz[]) as given (subject, wait_until) where known.subject = given.subject
"""
_FORGIVE = """
    update felix.sign_in_attempts set failures = greatest(failures - 1, 0), wait_until = null where subject = %s
"""
#: In one order, so that processes that write at the same time wait for each other instead of for ever.
_SEEN = """
    with seen as materialized (
      select s.session_id, given.at from felix.sessions s
        join unnest(%s::text[], %s::timestamptz[]) as given (session_id, at) on s.session_id = given.session_id
      where s.last_seen_at < given.at order by s.session_id for update of s)
    update felix.sessions s set last_seen_at = seen.at from seen where s.session_id = seen.session_id
"""


@dataclass(frozen=True, slots=True)
class Tried:
    """Whom an attempt counts against, by a hash, and how many failures in a row cost no wait."""

    subject: bytes
    free: int


class SignInBook:
    """Safe from any thread; a call that is interrupted leaves nothing that does harm.

    Raises :class:`~felix.domain.errors.Unavailable` when the database is away.
    """

    def __init__(self, connect: Callable[[], psycopg.Connection[Any]]) -> None:
        self._connections = KeptConnections(connect, "Sign-in")

    def attempt(self, tried: Sequence[Tried], at: datetime) -> float:
        """Count an attempt as failed before it is made, so that many at once count as many. Seconds to wait; 0: go on.

        An attempt that has to wait is not counted: who keeps knocking makes nobody wait for longer.
        """
        free = {each.subject: each.free for each in tried}
        counted = {"at": at, "forgotten": at - FORGET_AFTER, "subjects": sorted(free)}

        def count(connection: psycopg.Connection[Any]) -> float:
            wait_s = 0.0
            with connection.transaction():
                rows = connection.execute(_COUNT, counted).fetchall()
                wait_s = max(0.0 if until is None else float((until - at).total_seconds()) for _, _, until in rows)
                if wait_s > 0:
                    raise psycopg.Rollback()
                waits = {
                    subject: at + wait_after(failures - free[subject])
                    for subject, failures, _ in rows
                    if failures >= free[subject]
                }
                if waits:
                    connection.execute(_WAIT, (list(waits), list(waits.values())))
            return max(0.0, wait_s)

        return self._connections.call(count)

    def succeeded(self, forgotten: bytes, forgiven: Sequence[bytes]) -> None:
        """An attempt was right: all failures of one subject are forgotten, and this one of the others is taken back."""

        def forgive(connection: psycopg.Connection[Any]) -> None:
            # Each by itself: two that hold one row and want another's would wait for each other.
            connection.execute("delete from felix.sign_in_attempts where subject = %s", (forgotten,))
            for subject in forgiven:
                connection.execute(_FORGIVE, (subject,))

        self._connections.call(forgive)

    def seen(self, sessions: Mapping[str, datetime]) -> None:
        """Sessions were in use at these moments."""
        columns = list(sessions), list(sessions.values())
        if sessions:
            self._connections.call(lambda connection: connection.execute(_SEEN, columns))

    def active_user(self, email_index: bytes) -> str | None:
        """Who has an address and may sign in."""
        query = "select user_id from felix.user_by_email_index(%s) where status = 'active'"
        row = self._connections.call(lambda connection: connection.execute(query, (email_index,)).fetchone())
        return row[0] if row else None

    def run(self, statement: SideStatement) -> None:
        """Run a statement that belongs to no event, such as keeping a link that a mail carries."""
        self._connections.call(lambda connection: connection.execute(statement.text, statement.parameters))

    def purge(self, at: datetime) -> int:
        """Forget failures, links and sessions that are long over. How many there were."""

        def forget(connection: psycopg.Connection[Any]) -> int:
            over = at - KEEP_OVER
            return sum(
                (
                    connection.execute(
                        "delete from felix.sign_in_attempts where failed_at < %s", (at - FORGET_AFTER,)
                    ).rowcount,
                    connection.execute("delete from felix.links where expires_at < %s", (over,)).rowcount,
                    connection.execute(
                        "delete from felix.sessions where expires_at < %s or ended_at < %s", (over, over)
                    ).rowcount,
                )
            )

        return self._connections.call(forget)

    def close(self) -> None:
        """Give the connections back."""
        self._connections.close()


def wait_after(failures: int) -> timedelta:
    """How long the next attempt waits after so many failures that were not free: a second, doubling."""
    return min(MAX_WAIT, timedelta(seconds=2.0 ** min(failures, 30)))
