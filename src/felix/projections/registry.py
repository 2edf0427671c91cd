"""Finds the projections and makes their tables."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterable, Sequence
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


def install(url: str, projections: Iterable[Projection] = PROJECTIONS, *, schema: str = "read") -> list[str]:
    """Make the tables of projections that are new or have a new version; the answer names them.

    Everything happens in one transaction: tables, isolation, and cursors at 0 for every partition. A runner of the
    version before is fenced from then on, because its cursors have another version. Runs again at will.
    ``url`` names a role that may take ``felix_owner`` on. Another ``schema`` than ``read`` gets tables only.
    """
    made = []
    with psycopg.connect(url) as connection:
        connection.execute("select pg_advisory_xact_lock(%s, %s)", _LOCK)
        connection.execute("set local role felix_owner")
        connection.execute("set local lock_timeout = '10s'")
        connection.execute("select set_config('search_path', %s, true)", (schema,))
        for projection in projections:
            if not _is_installed(connection, projection, schema):
                _make(connection, projection, schema)
                made.append(projection.name)
            if schema == "read":
                connection.execute(
                    "insert into felix.cursors (projection, partition, version)"
                    " select %s, partition, %s from felix.partitions on conflict do nothing",
                    (projection.name, projection.version),
                )
    return made


def _is_installed(connection: psycopg.Connection[Any], projection: Projection, schema: str) -> bool:
    row = connection.execute(
        "select (select count(*) from pg_catalog.pg_tables where schemaname = %s and tablename = any(%s)),"
        " (select count(*) filter (where version <> %s) from felix.cursors where projection = %s)",
        (schema, list(projection.tables), projection.version, projection.name),
    ).fetchone()
    return row is not None and row[0] == len(projection.tables) and (row[1] == 0 or schema != "read")


def _make(connection: psycopg.Connection[Any], projection: Projection, schema: str) -> None:
    names: Sequence[sql.Identifier] = [sql.Identifier(schema, table) for table in projection.tables]
    for name in names:
        connection.execute(sql.SQL("drop table if exists {}").format(name))
    connection.execute(projection.ddl.encode())
    for name in names:
        connection.execute("select felix.isolate(%s::regclass)", (name.as_string(connection),))
    if schema == "read":
        connection.execute("delete from felix.cursors where projection = %s", (projection.name,))
