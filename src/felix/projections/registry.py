"""Finds the projections and makes their tables."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any

import psycopg
from psycopg import sql

import felix.projections
from felix.projections.base import Projection
from felix.projections.feeds import FeedName
from felix.projections.rebuild_orders import REQUEST

#: Makes several installers take turns; the runner's locks have a key space of their own.
_LOCK = (4608, 3)
_NEW_VERSION = "a new version was installed"


def discover(package: Any = felix.projections) -> tuple[Projection, ...]:
    """Every ``PROJECTION`` of the modules of a package, by name."""
    found = []
    for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        if module.name != __name__:
            projection = getattr(import_module(module.name), "PROJECTION", None)
            if isinstance(projection, Projection):
                found.append(projection)
    return tuple(sorted(found, key=lambda projection: projection.name))


PROJECTIONS: tuple[Projection, ...] = discover()
#: What every projection retells.
FOLLOWING: Mapping[str, FeedName] = {projection.name: projection.feed for projection in PROJECTIONS}


def install(url: str, projections: Iterable[Projection] = PROJECTIONS) -> list[str]:
    """Make the tables of projections that are new, and order a rebuild of those with a new version; both are named.

    Everything happens in one transaction: declarations, tables, isolation, and cursors at 0 for every partition. The
    tables of another version stay, and answer what they can, until a rebuild switches them
    (:mod:`felix.projections.rebuild`); nobody folds into them any more but processes of that version. Runs again at
    will, and has to when partitions were added. ``url`` names a role that may take ``felix_owner`` on.
    """
    changed = []
    with psycopg.connect(url) as connection:
        connection.execute("select pg_advisory_xact_lock(%s, %s)", _LOCK)
        connection.execute("set local role felix_owner")
        connection.execute("set local lock_timeout = '10s'")
        connection.execute("set local search_path = read")
        for projection in projections:
            connection.execute(
                "insert into felix.table_sets (projection, version, tables, ddl) values (%s, %s, %s, %s)"
                " on conflict (projection, version) do update set tables = excluded.tables, ddl = excluded.ddl"
                " where (table_sets.tables, table_sets.ddl) is distinct from (excluded.tables, excluded.ddl)",
                (projection.name, projection.version, list(projection.tables), projection.ddl),
            )
            version = _installed(connection, projection)
            if version is None:
                _make(connection, projection)
                version = projection.version
                changed.append(projection.name)
            elif version != projection.version:
                connection.execute(REQUEST, (projection.name, projection.version, "felix", _NEW_VERSION, False))
                changed.append(projection.name)
            connection.execute(
                "insert into felix.cursors (projection, partition, version)"
                " select %s, partition, %s from felix.partitions on conflict do nothing",
                (projection.name, version),
            )
    return changed


def _installed(connection: psycopg.Connection[Any], projection: Projection) -> int | None:
    """The version whose tables are read; ``None`` when some of them are missing."""
    found = connection.execute(
        "select distinct c.version, (select tables from felix.table_sets s where s.projection = c.projection and"
        " s.version = c.version) from felix.cursors c where c.projection = %s",
        (projection.name,),
    ).fetchall()
    if len(found) != 1:
        return None
    version, tables = found[0]
    names = list(projection.tables if tables is None else tables)
    there = connection.execute(
        "select count(*) from pg_catalog.pg_tables where schemaname = 'read' and tablename = any(%s)", (names,)
    ).fetchone()
    return version if there == (len(names),) else None


def _make(connection: psycopg.Connection[Any], projection: Projection) -> None:
    tables = [sql.Identifier("read", table) for table in projection.tables]
    for table in tables:
        connection.execute(sql.SQL("drop table if exists {}").format(table))
    connection.execute(projection.ddl.encode())
    for table in tables:
        connection.execute("select felix.isolate(%s::regclass)", (table.as_string(connection),))
    connection.execute("delete from felix.cursors where projection = %s", (projection.name,))
    connection.execute("delete from felix.poisoned where projection = %s", (projection.name,))
