"""Records: what clients keep in their apps, one row a record, whatever release wrote it.

There is one table for all apps. A row has a document with the values of every field, so a deploy changes no table: a
new field is there with the first record that has it. What is personal is in it as a commitment only; the questions give
it back sealed, from the vault (:mod:`felix.projections.record_rows`).

``record_keys`` has a hash of every short value with its place: records are found by whatever field through one index.
It is a table of its own because row-level security keeps every condition on a document out of an index: only what can't
leak what it compares, such as the equality of numbers, may be asked before it is known whose row it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, LiteralString

import psycopg
from psycopg.types.json import Jsonb

from felix.eventstore.app_pointers import POINTER, AppPointer
from felix.eventstore.mapper import RecordedEvent
from felix.projections.base import Projection, change
from felix.projections.record_filters import MAX_KEY_CHARS, Filter, folded
from felix.projections.tenant_tx import Row, TenantTx

_KEYS: Final[LiteralString] = f"""
    select distinct n.partition, n.tenant_id,
      felix.record_key(n.app, n.environment, n.entity, e.key, e.value) as key, n.record_id
    from records n cross join lateral (
      select f.key, jsonb_path_query(f.value, 'lax $[*]') as value from jsonb_each(n.document -> 'v') f) e
    where n.partition = %s and n.tenant_id = %s and n.record_id = %s
      and jsonb_typeof(e.value) in ('string', 'number', 'boolean') and length(e.value #>> '{{}}') <= {MAX_KEY_CHARS}
"""  # noqa: S608 constants
_ADD_KEYS: Final[LiteralString] = f"insert into record_keys {_KEYS} on conflict do nothing"
_DROP_KEYS: Final[LiteralString] = f"""
    delete from record_keys k where k.partition = %s and k.tenant_id = %s and k.record_id = %s
      and k.key not in (select key from ({_KEYS}) still)
"""  # noqa: S608 constants
_CREATE: Final[LiteralString] = """
    insert into records (partition, tenant_id, record_id, app, environment, entity, document, release, version, maker,
      created_at, changed_at)
    values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
"""
_CHANGE: Final[LiteralString] = """
    update records set document = jsonb_build_object(
        'v', jsonb_strip_nulls((document -> 'v') || %s::jsonb), 'f', ((document -> 'f') - %s::text[]) || %s::jsonb),
      release = %s, version = %s, changed_at = %s
    where partition = %s and tenant_id = %s and record_id = %s
"""
_REMOVE: Final[LiteralString] = (
    "update records set removed_at = %s, release = %s, version = %s, changed_at = %s"
    " where partition = %s and tenant_id = %s and record_id = %s"
)


class Records(Projection):
    """One row a record, also when it was removed: it may be restored."""

    name = "records"
    version = 1
    reads = frozenset({"record.created", "record.changed", "record.step_taken", "record.removed", "record.restored"})
    tables = ("records", "record_keys")
    ddl = """
        create table records (
          partition int not null,
          tenant_id uuid not null,
          record_id text collate "C" not null,
          app text not null,
          environment text not null,
          entity text not null,
          document jsonb not null,
          release text not null,
          version bigint not null,
          maker text not null,
          created_at timestamptz not null,
          changed_at timestamptz not null,
          removed_at timestamptz,
          constraint records_pkey primary key (partition, tenant_id, record_id)
        ) with (fillfactor = 80);
        create index records_entity_idx on records
          (partition, tenant_id, app, environment, entity, record_id) where removed_at is null;
        create table record_keys (
          partition int not null,
          tenant_id uuid not null,
          key bigint not null,
          record_id text collate "C" not null,
          constraint record_keys_pkey primary key (partition, tenant_id, key, record_id)
        );
        create index record_keys_record_id_idx on record_keys (partition, tenant_id, record_id);
        comment on column record_keys.key is 'A hash of app, environment, entity, field and value.';
        comment on column records.document is 'Values by field under v; under f those that are texts, case-folded.';
    """

    def fold(self, events: Sequence[RecordedEvent], connection: psycopg.Connection[Any]) -> None:
        for event in events:
            told, at = event.payload, event.recorded_at
            which = (event.partition, event.tenant_id, event.local_id)
            if event.type in ("record.removed", "record.restored"):
                gone = at if event.type == "record.removed" else None
                change(connection, _REMOVE, (gone, told["release"], event.version, at, *which), 1)
                continue
            values = told["values"] | _sealed(told.get("personal", {}))
            if event.type == "record.created":
                values = {name: value for name, value in values.items() if value is not None}
                document = Jsonb({"v": values, "f": folded(values)})
                place = (told["app"], told["environment"], told["entity"])
                row = (*which, *place, document, told["release"], event.version, told["maker"], at, at)
                change(connection, _CREATE, row, 1)
            else:
                said = (Jsonb(values), list(values), Jsonb(folded(values)))
                change(connection, _CHANGE, (*said, told["release"], event.version, at, *which), 1)
                connection.execute(_DROP_KEYS.encode(), (*which, *which), prepare=True)
            connection.execute(_ADD_KEYS.encode(), which, prepare=True)


PROJECTION = Records()


def _sealed(personal: Mapping[str, str | None]) -> dict[str, Any]:
    return {name: None if commitment is None else {"commitment": commitment} for name, commitment in personal.items()}


# Questions. Every one is about the records of one entity, in one environment of one app.

#: Records of a question; a column of a board has as many cards.
MAX_RECORDS = 200
MAX_CARDS = 50
#: Groups of a chart; nobody can read more.
MAX_GROUPS = 500
#: What records are ordered by, of texts: enough to tell them apart, and short enough for a cursor.
_ORDERED_CHARS = 100

_COLUMNS: Final[LiteralString] = "record_id, release, version, maker, created_at, changed_at, document -> 'v' as values"
_HERE: Final[LiteralString] = (
    "r.partition = %s and r.tenant_id = %s and r.app = %s and r.environment = %s and r.entity = %s"
    " and r.removed_at is null"
)
_FITS: Final[LiteralString] = " and jsonb_path_match(r.document, %s::jsonpath, %s::jsonb, true)"
_HAS_KEY: Final[LiteralString] = (
    " and r.record_id in (select k.record_id from read.record_keys k where k.partition = %s and k.tenant_id = %s"
    " and k.key = felix.record_key(%s, %s, %s, %s, %s))"
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where records are: an entity of an app in one of its environments."""

    app: str
    environment: str
    entity: str


@dataclass(frozen=True, slots=True)
class Order:
    """What records are ordered by; those that it can't tell apart by their ids, which is by age."""

    field: str
    descending: bool = False


async def pointer(tx: TenantTx, app: str, environment: str) -> AppPointer | None:
    """Which releases of an app run in an environment; None where it does not run."""
    row = await tx.fetch_one(POINTER, tx.partition, tx.tenant_id, app, environment)
    return None if row is None else AppPointer.of(row)


async def ran(tx: TenantTx, app: str, environment: str, release: str) -> bool:
    """Whether a release ever ran in an environment."""
    return bool(
        await tx.fetch_one(
            "select release from read.app_releases where partition = %s and tenant_id = %s and app = %s"
            " and environment = %s and release = %s",
            tx.partition, tx.tenant_id, app, environment, release,
        )
    )  # fmt: skip


async def record(tx: TenantTx, place: Place, record_id: str) -> Row | None:
    """One record; None where there is none, or it was removed."""
    return await tx.fetch_one(
        "select " + _COLUMNS + " from read.records r where " + _HERE + " and r.record_id = %s",  # noqa: S608 constants
        *_place(tx, place), record_id,
    )  # fmt: skip


async def records(
    tx: TenantTx,
    place: Place,
    fitting: Filter,
    order: Sequence[Order] = (),
    after: Sequence[Any] = (),
    limit: int = 100,
) -> list[Row]:
    """Records that fit, in an order. ``after`` is the ``key`` of the last one before: its place in that order."""
    directions = tuple(each.descending for each in order)
    query = _page(directions, fitting.key is not None, bool(after))
    beyond: list[Any] = []
    for value in after[:-1]:
        beyond += [Jsonb(value), Jsonb(value)]
    fields = [field for each in order for field in (each.field, each.field, each.field)]
    return await tx.fetch(query, *fields, *_fitting(tx, place, fitting), *beyond, *after[-1:], limit)


async def cards(tx: TenantTx, place: Place, fitting: Filter, group_by: str, limit: int = MAX_CARDS) -> list[Row]:
    """The first records of each value of a field, with ``grouped`` (the value) and ``counted`` (all that have it)."""
    query = (
        "select * from (select " + _COLUMNS + ", r.document -> 'v' ->> %s as grouped,"  # noqa: S608 constants
        " count(*) over same as counted, row_number() over (same order by r.record_id) as place"
        " from read.records r where " + _HERE + (_HAS_KEY if fitting.key else "") + _FITS
        + " window same as (partition by r.document -> 'v' ->> %s)) c where place <= %s order by grouped, place"
    )  # fmt: skip
    return await tx.fetch(query, group_by, *_fitting(tx, place, fitting), group_by, limit)


async def groups(
    tx: TenantTx, place: Place, fitting: Filter, field: str, by: str | None, measured: str | None
) -> list[Row]:
    """Records grouped by the values of a field, or by the periods that those are in.

    Of each group ``grouped`` (text, of a period its first day), ``count`` and, over the whole numbers in the field
    ``measured``, ``sum``, ``average`` (rounded), ``minimum`` and ``maximum``.
    """
    query = (
        "select grouped, count(*), sum(number), round(avg(number)) as average, min(number) as minimum,"  # noqa: S608
        " max(number) as maximum from (select case when %s::text is null then r.document -> 'v' ->> %s"
        " when pg_input_is_valid(left(r.document -> 'v' ->> %s, 10), 'date')"
        " then date_trunc(%s, left(r.document -> 'v' ->> %s, 10)::timestamp)::date::text end as grouped,"
        " case when jsonb_typeof(r.document -> 'v' -> %s) = 'number' then (r.document -> 'v' ->> %s)::numeric end"
        " as number from read.records r where " + _HERE + (_HAS_KEY if fitting.key else "") + _FITS
        + ") g group by grouped order by grouped limit %s"
    )  # fmt: skip
    asked = (by, field, field, by, field, measured, measured)
    return await tx.fetch(query, *asked, *_fitting(tx, place, fitting), MAX_GROUPS)


async def named(tx: TenantTx, record_ids: Sequence[str]) -> list[Row]:
    """Records by their ids, whatever they are of: what references lead to."""
    return await tx.fetch(
        "select record_id, entity, document -> 'v' as values from read.records"
        " where partition = %s and tenant_id = %s and record_id = any(%s) and removed_at is null",
        tx.partition, tx.tenant_id, list(record_ids),
    )  # fmt: skip


def _place(tx: TenantTx, place: Place) -> tuple[Any, ...]:
    return (tx.partition, tx.tenant_id, place.app, place.environment, place.entity)


def _fitting(tx: TenantTx, place: Place, fitting: Filter) -> tuple[Any, ...]:
    key: tuple[Any, ...] = ()
    if fitting.key is not None:
        field, value = fitting.key
        key = (tx.partition, tx.tenant_id, place.app, place.environment, place.entity, field, Jsonb(value))
    return (*_place(tx, place), *key, fitting.path, Jsonb(fitting.variables))


@cache
def _page(directions: tuple[bool, ...], has_key: bool, goes_on: bool) -> LiteralString:
    """The query of a page: one text for each number and direction of orders, of which there are few."""
    keys = [
        f"case when jsonb_typeof(r.document -> 'v' -> %s) = 'string'"
        f" then to_jsonb(left(r.document -> 'v' ->> %s, {_ORDERED_CHARS}))"
        f" else coalesce(r.document -> 'v' -> %s, 'null') end as k{number}"
        for number in range(len(directions))
    ]
    beyond, ends = "", ""
    for number, descending in enumerate(directions):
        beyond += f"(k{number} {'<' if descending else '>'} %s or (k{number} = %s and "
        ends += "))"
    order = "".join(f"k{number}{' desc' if descending else ''}, " for number, descending in enumerate(directions))
    shown = ", ".join(f"k{number}" for number in range(len(directions)))
    return (
        f"select *, jsonb_build_array({shown}) as keys from (select {', '.join([_COLUMNS, *keys])}"  # noqa: S608
        f" from read.records r where {_HERE}{_HAS_KEY if has_key else ''}{_FITS}) r"
        + (f" where {beyond}record_id > %s{ends}" if goes_on else "")
        + f" order by {order}record_id limit %s"
    )


def key_of(row: Row) -> list[Any]:
    """The place of a row of :func:`records` in its order."""
    return [*row["keys"], row["record_id"]]
