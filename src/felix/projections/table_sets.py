"""Where a runner folds to: the tables that are read, or those of a rebuild beside them. And what tells them apart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql


@dataclass(frozen=True, slots=True)
class TableSet:
    """A schema with the tables of projections, and the tables with its cursors and its stopped tenants."""

    schema: str
    cursors: str
    poisoned: str


LIVE = TableSet("read", "felix.cursors", "felix.poisoned")
REBUILD = TableSet("rebuild", "felix.rebuild_cursors", "felix.rebuild_poisoned")

#: Tenants that are named where tables differ; the numbers count all of them.
NAMED_TENANTS = 10

_ROWS = (
    "select partition, tenant_id, count(*) as rows, sum(hashtextextended(t::text, 0)::numeric) as first,"
    " sum(hashtextextended(t::text, 1)::numeric) as second from {table} t group by partition, tenant_id"
)
_DIGEST = (
    "select coalesce(sum(rows), 0)::bigint,"
    " md5(coalesce(sum(rows), 0) || ':' || coalesce(sum(first), 0) || ':' || coalesce(sum(second), 0))"
    " from ({rows}) g"
)
_DIFFERENT = (
    "select coalesce(o.tenant_id, n.tenant_id), coalesce(o.rows, 0), coalesce(n.rows, 0)"
    " from ({old}) o full join ({new}) n using (partition, tenant_id)"
    " where (o.rows, o.first, o.second) is distinct from (n.rows, n.first, n.second)"
    " and coalesce(o.tenant_id, n.tenant_id) <> all(%s)"
)


@dataclass(frozen=True, slots=True)
class Difference:
    """A table whose rows are not what a rebuild makes of the same events, and the tenants whose rows they are."""

    table: str
    tenants: int
    rows: int
    rows_rebuilt: int
    examples: Sequence[str]

    def __str__(self) -> str:
        return (
            f"{self.table} differs for {self.tenants} {'tenant' if self.tenants == 1 else 'tenants'}"
            f" ({self.rows:,} rows, rebuilt {self.rows_rebuilt:,}): {', '.join(self.examples)}"
        )


def digest(connection: psycopg.Connection[Any], schema: str, tables: Iterable[str]) -> dict[str, tuple[int, str]]:
    """Rows and digest of each table: equal for equal rows, in whatever order they were written.

    Every row is hashed as text with two seeds, and the hashes are added up: 128 bits against accidents.
    """
    found = {}
    for table in tables:
        query = sql.SQL(_DIGEST).format(rows=_rows(schema, table))
        row = connection.execute(query).fetchone()
        assert row is not None
        found[table] = (row[0], row[1])
    return found


def differences(
    connection: psycopg.Connection[Any], tables: Iterable[str], *, leave_out: Iterable[UUID] = ()
) -> list[Difference]:
    """The tables that a rebuild made differently, in the snapshot of the caller's transaction."""
    found = []
    without = list(leave_out)
    for table in tables:
        query = sql.SQL(_DIFFERENT).format(old=_rows(LIVE.schema, table), new=_rows(REBUILD.schema, table))
        different = connection.execute(query, (without,)).fetchall()
        if different:
            found.append(
                Difference(
                    table,
                    len(different),
                    sum(rows for _, rows, _ in different),
                    sum(rebuilt for _, _, rebuilt in different),
                    [str(tenant_id) for tenant_id, _, _ in different[:NAMED_TENANTS]],
                )
            )
    return found


def _rows(schema: str, table: str) -> sql.Composed:
    return sql.SQL(_ROWS).format(table=sql.Identifier(schema, table))
