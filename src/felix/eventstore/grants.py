"""What each of Felix's database roles may do, and how tables are isolated, read from the catalogue."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg

SCHEMAS = ("felix", "read", "rebuild")

_ROLES = """
    select rolname, array_remove(array[
      case when rolsuper then 'superuser' end, case when rolbypassrls then 'bypassrls' end,
      case when rolcreaterole then 'createrole' end, case when rolcreatedb then 'createdb' end,
      case when rolreplication then 'replication' end, case when not rolcanlogin then 'nologin' end], null),
      array(select b.rolname from pg_auth_members m join pg_roles b on b.oid = m.roleid
        where m.member = r.oid and b.rolname like 'felix\\_%%' order by 1)
    from pg_roles r where rolname like 'felix\\_%%' order by rolname
"""
# Privileges on whole tables and views, then those on single columns, then functions.
_GRANTS = """
    select grantee, schema, object, string_agg(privilege, ', ' order by privilege) from (
      select coalesce(g.rolname, 'public') as grantee, n.nspname as schema, c.relname as object,
        lower(a.privilege_type) as privilege
      from pg_class c join pg_namespace n on n.oid = c.relnamespace, aclexplode(c.relacl) a
        left join pg_roles g on g.oid = a.grantee
      where n.nspname = any(%(schemas)s) and c.relkind in ('r', 'p', 'v', 'm', 'S', 'f') and a.grantee <> c.relowner
      union all
      select coalesce(g.rolname, 'public'), n.nspname, c.relname,
        lower(a.privilege_type) || ' (' || string_agg(t.attname, ', ' order by t.attnum) || ')'
      from pg_attribute t join pg_class c on c.oid = t.attrelid join pg_namespace n on n.oid = c.relnamespace,
        aclexplode(t.attacl) a left join pg_roles g on g.oid = a.grantee
      where n.nspname = any(%(schemas)s) and a.grantee <> c.relowner
      group by 1, 2, 3, a.privilege_type
      union all
      select coalesce(g.rolname, 'public'), n.nspname, p.proname || '(' || oidvectortypes(p.proargtypes) || ')',
        lower(a.privilege_type)
      from pg_proc p join pg_namespace n on n.oid = p.pronamespace,
        aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a left join pg_roles g on g.oid = a.grantee
      where n.nspname = any(%(schemas)s) and a.grantee <> p.proowner
    ) granted group by 1, 2, 3 order by 1, 2, 3
"""
_TABLES = """
    select n.nspname, c.relname, pg_get_userbyid(c.relowner),
      array(select attname from pg_attribute where attrelid = c.oid and attnum > 0 and not attisdropped),
      c.relrowsecurity, c.relforcerowsecurity,
      array(select polname || ': ' || coalesce(pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid), '')
        from pg_policy where polrelid = c.oid order by polname),
      coalesce((select json_agg(json_build_array(
          (select n.nspname || '.' || x.relname from pg_class x where x.oid = i.indexrelid),
          (select json_agg(a.attname order by k.place)
          from unnest(i.indkey::int2[]) with ordinality as k (attnum, place)
          join pg_attribute a on a.attrelid = c.oid and a.attnum = k.attnum)))
        from pg_index i where i.indrelid = c.oid and i.indisunique), '[]')
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname = any(%s) and c.relkind in ('r', 'p') and not c.relispartition order by 1, 2
"""
_FUNCTIONS = """
    select n.nspname || '.' || p.proname || '(' || oidvectortypes(p.proargtypes) || ')',
      pg_get_userbyid(p.proowner), p.prosecdef,
      coalesce((select s from unnest(p.proconfig) s where s like 'search_path=%%'), '')
    from pg_proc p join pg_namespace n on n.oid = p.pronamespace where n.nspname = any(%s) order by 1
"""
_VIEWS = """
    select n.nspname || '.' || c.relname, coalesce(c.reloptions @> array['security_invoker=true'], false)
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname = any(%s) and c.relkind in ('v', 'm') order by 1
"""


@dataclass(frozen=True, slots=True)
class Role:
    """A role: what it is allowed beyond its grants, and which of Felix's roles it may take on."""

    name: str
    powers: tuple[str, ...]
    member_of: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Grant:
    """What a role may do with a table, a view, some columns or a function; ``public`` is everybody."""

    role: str
    schema: str
    target: str
    privileges: str


@dataclass(frozen=True, slots=True)
class IsolatedTable:
    """A table as it bears on isolation. ``keys`` are its unique indexes with their columns in order."""

    name: str
    owner: str
    columns: frozenset[str]
    enabled: bool
    forced: bool
    policies: tuple[str, ...]
    keys: tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True, slots=True)
class Function:
    """A function; ``search_path`` is empty where its caller chooses it."""

    name: str
    owner: str
    definer: bool
    search_path: str


def read_roles(connection: psycopg.Connection[Any]) -> list[Role]:
    """Felix's roles, by name."""
    return [Role(name, tuple(powers), tuple(member_of)) for name, powers, member_of in connection.execute(_ROLES, {})]


def read_grants(connection: psycopg.Connection[Any]) -> list[Grant]:
    """Everything that is granted to somebody who does not own it."""
    return [Grant(*row) for row in connection.execute(_GRANTS, {"schemas": list(SCHEMAS)})]


def read_isolation(connection: psycopg.Connection[Any]) -> list[IsolatedTable]:
    """Every table with its row-level security and its keys."""
    return [
        IsolatedTable(
            f"{schema}.{name}",
            owner,
            frozenset(columns),
            enabled,
            forced,
            tuple(policies),
            tuple((key, tuple(of)) for key, of in keys if of),
        )
        for schema, name, owner, columns, enabled, forced, policies, keys in connection.execute(
            _TABLES, (list(SCHEMAS),)
        )
    ]


def read_functions(connection: psycopg.Connection[Any]) -> list[Function]:
    """Every function."""
    return [Function(*row) for row in connection.execute(_FUNCTIONS, (list(SCHEMAS),))]


def views_with_their_owners_rights(connection: psycopg.Connection[Any]) -> Iterator[str]:
    """Views that read with the rights of whoever made them, and so past row-level security."""
    for name, as_invoker in connection.execute(_VIEWS, (list(SCHEMAS),)):
        if not as_invoker:
            yield name
