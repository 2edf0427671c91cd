"""Reads what another database is made of: tables, columns and comments, in a read-only transaction, and never a row.

The address is checked by whoever opens: the connection goes to the addresses that were found safe, not to whatever the
name leads to a moment later.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

import psycopg
from psycopg import conninfo

from felix.domain.errors import Invalid, TooMuch, Unavailable

#: Addresses of a host and port that may be connected to. Raises ``Invalid`` and ``Unavailable``.
SafeAddresses = Callable[[str, int], Sequence[str]]

MAX_TABLES, MAX_COLUMNS = 1_000, 20_000
CONNECT_TIMEOUT_S, STATEMENT_TIMEOUT_MS = 5, 10_000
#: What an address may say; everything else, such as a file to read a password from, is ours.
_MAY_SAY = frozenset({"user", "password", "host", "port", "dbname", "sslmode"})
_SSL_MODES = ("require", "verify-ca", "verify-full", "prefer")

_COLUMNS = """
    select n.nspname as schema, c.relname as relation, c.relkind::text as kind,
      pg_catalog.obj_description(c.oid, 'pg_class') as told,
      a.attname as column_name, pg_catalog.format_type(a.atttypid, a.atttypmod) as type, a.attnotnull as needed,
      pg_catalog.col_description(c.oid, a.attnum) as column_told,
      (select string_agg(case k.contype when 'p' then 'primary key' when 'u' then 'unique'
          else 'references ' || k.confrelid::pg_catalog.regclass::text end, ', ' order by k.contype, k.conname)
        from pg_catalog.pg_constraint k
        where k.conrelid = c.oid and a.attnum = any(k.conkey) and k.contype in ('p', 'u', 'f')) as keys
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
      join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    where c.relkind in ('r', 'p', 'v', 'm') and not c.relispartition
      and n.nspname not in ('pg_catalog', 'information_schema') and n.nspname not like 'pg\\_%%'
      and pg_catalog.has_table_privilege(c.oid, 'select')
    order by n.nspname, c.relname, a.attnum limit %s
"""
_KINDS = {"r": "table", "p": "table", "v": "view", "m": "materialised view"}


class DatabaseAddressNotUsable(Invalid):
    """This is not the address of a Postgres that Felix could read: postgresql://user:password@host/database."""


class DatabaseNotReadable(Unavailable):
    """The database does not let Felix in, or does not answer in time."""


class DatabaseTooLarge(TooMuch):
    """The database has more tables or columns than planners can be told of; give Felix a user that sees fewer."""


def read_schema(url: str, safe_addresses: SafeAddresses) -> list[tuple[str, str]]:
    """What there is: for each table its name, and its columns and comments as a text.

    Raises :class:`DatabaseAddressNotUsable`, :class:`DatabaseNotReadable`, :class:`DatabaseTooLarge`, and what
    ``safe_addresses`` raises.
    """
    try:
        with psycopg.connect(_checked(url, safe_addresses), autocommit=True) as connection:
            connection.execute("begin isolation level repeatable read, read only")
            rows = connection.execute(_COLUMNS.encode(), (MAX_COLUMNS + 1,)).fetchall()
            connection.execute("rollback")
    except psycopg.Error as error:
        # Its text can repeat the address with the password in it.
        raise DatabaseNotReadable(sqlstate=error.sqlstate or "", kind=type(error).__name__) from None
    if len(rows) > MAX_COLUMNS:
        raise DatabaseTooLarge(limit_columns=MAX_COLUMNS)
    tables = [
        (f"{schema}.{relation}", "\n".join(_lines(list(columns))))
        for (schema, relation), columns in groupby(rows, key=lambda row: (row[0], row[1]))
    ]
    if len(tables) > MAX_TABLES:
        raise DatabaseTooLarge(limit_tables=MAX_TABLES)
    return tables


def _checked(url: str, safe_addresses: SafeAddresses) -> str:
    if not url.startswith(("postgresql://", "postgres://")):
        raise DatabaseAddressNotUsable()
    try:
        said = conninfo.conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        raise DatabaseAddressNotUsable() from None
    if said.keys() - _MAY_SAY:
        raise DatabaseAddressNotUsable(may_say=sorted(_MAY_SAY))
    host, port = str(said.get("host", "")), str(said.get("port", "5432"))
    if not host or host.startswith(("/", "@")) or "," in host or not port.isdecimal():
        raise DatabaseAddressNotUsable()
    if said.get("sslmode", "prefer") not in _SSL_MODES:
        raise DatabaseAddressNotUsable(sslmode=list(_SSL_MODES))
    addresses = safe_addresses(host, int(port))
    return conninfo.make_conninfo(
        "",
        **said
        | {
            # The name stays, for the certificate; the address is the one that was looked at.
            "host": ",".join([host] * len(addresses)),
            "hostaddr": ",".join(addresses),
            "port": ",".join([port] * len(addresses)),
            "connect_timeout": CONNECT_TIMEOUT_S,
            "application_name": "felix-context",
            "passfile": "/dev/null",
            "options": f"-c default_transaction_read_only=on -c statement_timeout={STATEMENT_TIMEOUT_MS}"
            f" -c lock_timeout={STATEMENT_TIMEOUT_MS} -c idle_in_transaction_session_timeout={STATEMENT_TIMEOUT_MS}",
        },
    )


def _lines(columns: Sequence[tuple[Any, ...]]) -> list[str]:
    schema, relation, kind, told, *_ = columns[0]
    lines = [f"{_KINDS[kind]} {schema}.{relation}" + (f": {' '.join(told.split())}" if told else "")]
    for *_, name, type_, needed, column_told, keys in columns:
        line = f"  {name} {type_}{' not null' if needed else ''}{f' {keys}' if keys else ''}"
        lines.append(line + (f": {' '.join(column_told.split())}" if column_told else ""))
    return lines
