"""What is installed in a database, whatever that is: nothing yet, an older Felix, or one that this code does not know.

Reads only, and makes nothing that is missing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from felix.domain.errors import Unavailable
from felix.eventstore.connections import connect

_QUICK = ("set default_transaction_read_only = on", "set statement_timeout = '3s'", "set lock_timeout = '1s'")
_NEWEST = (
    "select max(e.recorded_at) from felix.partitions p join felix.events e"
    " on e.partition = p.partition and e.position = p.position"
)


class DatabaseNotExamined(Unavailable):
    """The database can't be reached, or does not let itself be examined."""


@dataclass(slots=True)
class Installed:
    """A database as it is found. What its tables say is missing before its first migration.

    ``skew`` is how far the database's clock is ahead of this machine's; ``migrations`` are name and SHA-256 by version,
    ``read_models`` the versions of each projection that has a cursor.
    """

    server_version: int
    skew: timedelta
    migrations: dict[int, tuple[str, str]] = field(default_factory=dict)
    partitions: list[int] = field(default_factory=list)
    read_models: dict[str, int] = field(default_factory=dict)
    newest_event_at: datetime | None = None


def examine(owner_url: str, founder_url: str, clock: Callable[[], datetime]) -> Installed:
    """Look at a database. Raises :class:`DatabaseNotExamined`.

    ``owner_url`` names the user of the migrations; the log is read as the founder, who sees every client's.
    """
    try:
        with _look(owner_url) as owner:
            found = Installed(owner.info.server_version, _skew(owner, clock))
            if _has(owner, "felix_migrations"):
                rows = owner.execute("select version, name, sha256 from felix_migrations order by version").fetchall()
                found.migrations = {version: (name, sha256) for version, name, sha256 in rows}
            if not _has(owner, "felix.cursors"):
                return found
        with _look(founder_url) as founder:
            rows = founder.execute("select partition from felix.partitions order by partition").fetchall()
            found.partitions = [partition for (partition,) in rows]
            found.read_models = dict(
                founder.execute("select distinct projection, version from felix.cursors").fetchall()
            )
            found.newest_event_at = _one(founder, _NEWEST)
        return found
    except psycopg.Error as error:
        raise DatabaseNotExamined(" ".join(str(error).split())) from error


def _look(url: str) -> psycopg.Connection[Any]:
    connection = connect(url)
    for statement in _QUICK:
        connection.execute(statement.encode())
    return connection


def _skew(connection: psycopg.Connection[Any], clock: Callable[[], datetime]) -> timedelta:
    connection.execute("select 1")  # what the first statement of a connection takes is not the clock's
    before = clock()
    told: datetime = _one(connection, "select clock_timestamp()")
    return told.astimezone(UTC) - (before + (clock() - before) / 2)


def _one(connection: psycopg.Connection[Any], query: str) -> Any:
    row = connection.execute(query.encode()).fetchone()
    return row[0] if row else None


def _has(connection: psycopg.Connection[Any], table: str) -> bool:
    row = connection.execute("select to_regclass(%s) is not null", (table,)).fetchone()
    return bool(row and row[0])
