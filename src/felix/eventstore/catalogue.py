"""Reads the tables of a database from its catalogue, for those who draw them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg

_TABLES = """
    select c.relname, obj_description(c.oid, 'pg_class'),
      (select json_agg(json_build_array(a.attname, format_type(a.atttypid, a.atttypmod), not a.attnotnull)
         order by a.attnum) from pg_attribute a where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped),
      (select json_agg(json_build_array(i.indisprimary, (select json_agg(a.attname order by k.place)
           from unnest(i.indkey::int2[]) with ordinality as k (attnum, place)
           join pg_attribute a on a.attrelid = c.oid and a.attnum = k.attnum)))
         from pg_index i where i.indrelid = c.oid and i.indisunique and i.indpred is null)
    from pg_class c where c.relnamespace = to_regnamespace(%s) and c.relkind in ('r', 'p') and not c.relispartition
    order by c.relname
"""
#: Names without white space, which diagrams can't show.
_SHORT = {"timestamp with time zone": "timestamptz", "integer": "int", "double precision": "float8"}


@dataclass(frozen=True, slots=True)
class Column:
    """One column; ``type`` is a single word such as ``timestamptz`` or ``text[]``."""

    name: str
    type: str
    nullable: bool


@dataclass(frozen=True, slots=True)
class Table:
    """One table. ``key`` is its primary key, ``others`` are its further unique keys."""

    name: str
    comment: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    others: tuple[tuple[str, ...], ...]


def read_tables(connection: psycopg.Connection[Any], schema: str) -> list[Table]:
    """The tables of a schema, by name."""
    return [
        Table(
            name,
            comment or "",
            tuple(Column(column, _word(kind), nullable) for column, kind, nullable in columns or ()),
            next((tuple(names) for primary, names in keys or () if primary), ()),
            tuple(sorted(tuple(names) for primary, names in keys or () if not primary and names)),
        )
        for name, comment, columns, keys in connection.execute(_TABLES, (schema,))
    ]


def _word(kind: str) -> str:
    for long, short in _SHORT.items():
        kind = kind.replace(long, short)
    return kind.replace(" ", "_")
