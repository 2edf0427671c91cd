"""Seals anew, with the root key in force, what earlier root keys have sealed.

Row by row, each in place of what it was made from, so nothing is lost whenever it stops, and a second run goes on where
the first was killed. Earlier root keys are kept: what was indexed is found by the oldest, and backups need theirs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from felix.eventstore.sealing import RootKeys

#: Rows of one transaction.
PAGE = 200


@dataclass(frozen=True, slots=True)
class SealedColumn:
    """A column that the root key itself has sealed. ``place`` makes of a row's key what its value is bound to."""

    table: LiteralString
    key: tuple[LiteralString, ...]
    column: LiteralString
    place: Callable[..., tuple[str, ...]]


#: Everything that is kept for long under the root key itself; what travels in jobs is opened within days.
SEALED_COLUMNS: tuple[SealedColumn, ...] = (
    SealedColumn(
        "tenant_keys",
        ("partition", "tenant_id", "version"),
        "wrapped",
        lambda _, tenant_id, version: ("tenant-key", str(tenant_id), str(version)),
    ),
    SealedColumn(
        "subject_keys",
        ("partition", "tenant_id", "subject_id"),
        "sealed_key",
        lambda _, tenant_id, subject_id: ("subject key", str(tenant_id), subject_id),
    ),
    SealedColumn("second_factors", ("user_id",), "sealed_secret", lambda user_id: ("second factor", user_id)),
    SealedColumn("second_factors", ("user_id",), "sealed_secret", lambda user_id: ("second factor", user_id)),
)


def outdated(connection: psycopg.Connection[Any], root_keys: RootKeys) -> int:
    """How many values are sealed with earlier root keys. ``connection`` may take ``felix_owner`` on."""
    found = 0
    with connection.transaction():
        connection.execute("set local role felix_owner")
        for sealed in SEALED_COLUMNS:
            query = sql.SQL("select count(*) from felix.{} where {}").format(sql.Identifier(sealed.table), _old(sealed))
            row = connection.execute(query, (root_keys.current,)).fetchone()
            found += row[0] if row else 0
    return found


def seal_anew(connection: psycopg.Connection[Any], root_keys: RootKeys, told: Callable[[int, int], None]) -> int:
    """Seal everything with the root key in force; how many values that were. Raises ``SealBroken``.

    ``told`` hears how far it is, and of how much.
    """
    total, done = outdated(connection, root_keys), 0
    told(done, total)
    for sealed in SEALED_COLUMNS:
        while page := _page(connection, sealed, root_keys):
            done += page
            told(done, max(total, done))
    return done


def _page(connection: psycopg.Connection[Any], sealed: SealedColumn, root_keys: RootKeys) -> int:
    table, column = sql.Identifier(sealed.table), sql.Identifier(sealed.column)
    key = sql.SQL(", ").join(map(sql.Identifier, sealed.key))
    which = sql.SQL(" and ").join(sql.SQL("{} = %s").format(sql.Identifier(name)) for name in sealed.key)
    with connection.transaction():
        connection.execute("set local role felix_owner")
        connection.execute("set local lock_timeout = '10s'")
        query = sql.SQL("select {}, {} from felix.{} where {} limit {} for update").format(
            key, column, table, _old(sealed), sql.Literal(PAGE)
        )
        rows = connection.execute(query, (root_keys.current,)).fetchall()
        change = sql.SQL("update felix.{} set {} = %s where {}").format(table, column, which)
        for *found, value in rows:
            place = sealed.place(*found)
            connection.execute(change, (root_keys.seal(root_keys.unseal(value, *place), *place), *found))
    return len(rows)


def _old(sealed: SealedColumn) -> sql.Composed:
    return sql.SQL("substring({} from 2 for 4) <> %s").format(sql.Identifier(sealed.column))
