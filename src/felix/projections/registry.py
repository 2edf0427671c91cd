"""Finds the projections and makes their tables."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterable
from importlib import import_module
from typing import Any

import psycopg
from psycopg import sql

import felix.domain
import felix.projections
from felix.projections.base import Projection

#: Makes several installers take turns; the runner's locks have a key space of their own.
_LOCK = (4608, 3)


def discover(package: Any = felix.projections) -> tuple[Projection, ...]:
    """Every ``PROJECTION`` of the modules of a package, by name."""
    found = []
    for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        if module.name != __name__:
            projection = getattr(import_module(module.name), "PROJECTION", None)
            if isinstance(projection, Projection):
                found.append(projection)
    return tuple(sorted(found, key=lambda projection: projection.name))


def know_all_events() -> None:
    """Import the entire domain, so that every stored event name leads to its class."""
    for module in pkgutil.walk_packages(felix.domain.__path__, felix.domain.__name__ + "."):
        import_module(module.name)


know_all_events()
PROJECTIONS: tuple[Projection, ...] = discover()


def install(url: str, projections: Iterable[Projection] = PROJECTIONS) -> list[str]:
    """Make the tables of projections that are new or have a new version; the answer names them.

    Everything happens in one transaction: tables, isolation, and cursors at 0 for every partition. A runner of the
    version before is fenced from then on, because its cursors have another version. Runs again at will, and has to
    when partitions were added. ``url`` names a role that may take ``felix_owner`` on.
    """
    made = []
    with psycopg.connect(url) as connection:
        connection.execute("select pg_advisory_xact_lock(%s, %s)", _LOCK)
        connection.execute("set local role felix_owner")
        connection.execute("set local lock_timeout = '10s'")
        connection.execute("set local search_path = read")
        for projection in projections:
            if not _is_installed(connection, projection):
                _make(connection, projection)
                made.append(projection.name)
            connection.execute(
                "insert into felix.cursors (projection, partition, version)"
                " select %s, partition, %s from felix.partitions on conflict do nothing",
                (projection.name, projection.version),
            )
    return made


def _is_installed(connection: psycopg.Connection[Any], projection: Projection) -> bool:
    row = connection.execute(
        "select (select count(*) from pg_catalog.pg_tables where schemaname = 'read' and tablename = any(%s)),"
        " (select count(*) from felix.cursors where projection = %s and version <> %s)",
        (list(projection.tables), projection.name, projection.version),
    ).fetchone()
    return row == (len(projection.tables), 0)


def _make(connection: psycopg.Connection[Any], projection: Projection) -> None:
    tables = [sql.Identifier("read", table) for table in projection.tables]
    for table in tables:
        connection.execute(sql.SQL("drop table if exists {}").format(table))
    connection.execute(projection.ddl.encode())
    for table in tables:
        connection.execute("select felix.isolate(%s::regclass)", (table.as_string(connection),))
    connection.execute("delete from felix.cursors where projection = %s", (projection.name,))
