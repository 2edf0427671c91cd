"""Records are found by what they hold: Postgres and Python agree on every condition, order and page."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from random import Random
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from pydantic import TypeAdapter

from felix.domain.apps.base import Condition
from felix.domain.apps.conditions import holds
from felix.eventstore.connections import role_url
from felix.eventstore.mapper import RecordedEvent, canonical_json
from felix.projections.base import connect_projector
from felix.projections.record_filters import Filter
from felix.projections.records import (
    PROJECTION,
    Order,
    Place,
    _fitting,
    _page,
    cards,
    groups,
    key_of,
    record,
    records,
)
from felix.projections.tenant_tx import ReadPool, TenantTx

OURS, THEIRS = UUID(int=1), UUID(int=2)
HERE = Place("shop", "production", "deal")
AT = datetime(2026, 1, 31, tzinfo=UTC)
FIELDS = ("title", "value", "stage", "vip", "tags", "closes_on", "email")
TEXTS = ("", "a", "Straße", "STRASSE", "émile", 'say "hi"', "a.b*c", "50 %", "\\d", "tab\there", "日本", "zz top", "𝒳")
SEALED = {"commitment": "0" * 64}
CONDITION: TypeAdapter[Condition] = TypeAdapter(Condition)


def event(kind: str, record_id: str, version: int, tenant_id: UUID = OURS, **told: Any) -> RecordedEvent:
    told = {"app": "shop", "environment": "production", "entity": "deal", "release": "a" * 64} | told
    return RecordedEvent(
        0, version, tenant_id, version, f"{tenant_id}:record:{record_id}", version, f"record.{kind}", uuid4(), AT,
        "key", "client_owner:usr_1", {}, canonical_json(told),
    )  # fmt: skip


def created(number: int, values: dict[str, Any], personal: dict[str, str], **told: Any) -> RecordedEvent:
    return event("created", f"rec_{number:032x}", 1, maker="usr_1", values=values, personal=personal, **told)


class Shelf:
    """A database with records of two clients, and somebody who reads those of the first."""

    def __init__(self, url: str) -> None:
        self.url = url

    def fold(self, *events: RecordedEvent) -> None:
        with connect_projector(role_url(self.url, "felix_projector")) as connection, connection.transaction():
            PROJECTION.fold(events, connection)

    def ask(self, question: Callable[[TenantTx], Awaitable[Any]]) -> Any:
        async def run() -> Any:
            pool = ReadPool(role_url(self.url, "felix_reader"), max_size=1)
            await pool.open()
            try:
                async with pool.tenant(OURS, 0) as tx:
                    return await question(tx)
            finally:
                await pool.close()

        return asyncio.run(run())


@pytest.fixture(scope="module")
def shelf(postgres_url: str, template: str) -> Iterator[Shelf]:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"create database felix_records template {template} strategy file_copy")
    yield Shelf(make_conninfo(postgres_url, dbname="felix_records"))
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("drop database felix_records with (force)")


def some_values(random: Random) -> dict[str, Any]:
    made = {
        "title": random.choice(TEXTS),
        "value": random.choice([0, 1, -5, 10**15, 7]),
        "stage": random.choice(["open", "won", "lost"]),
        "vip": random.choice([True, False]),
        "tags": random.choice([[], ["a"], ["a", "won"], ["zz top"]]),
        "closes_on": random.choice(["2026-01-31", "2026-02-01", "2025-12-31"]),
    }
    return {name: value for name, value in made.items() if random.random() < 0.8}


def some_condition(random: Random, depth: int = 3) -> dict[str, Any]:
    kind = random.choice(["all", "any", "not", "is", "is", "is"]) if depth else "is"
    if kind == "not":
        return {"not": some_condition(random, depth - 1)}
    if kind != "is":
        return {kind: [some_condition(random, depth - 1) for _ in range(random.randint(1, 3))]}
    is_ = random.choice(
        ["equal", "equal", "not_equal", "less", "at_most", "more", "at_least", "one_of", "contains", "is_empty",
         "is_filled"]
    )  # fmt: skip
    values: list[Any] = [*TEXTS, 0, 1, 7, -5, 1.5, True, False, "won", "2026-01-31", "strasse", "ZZ"]
    condition: dict[str, Any] = {"field": random.choice(FIELDS), "is": is_}
    if is_ == "one_of":
        return condition | {"value": random.sample(values, 3)}
    return condition if is_ in ("is_empty", "is_filled") else condition | {"value": random.choice(values)}


def fill(shelf: Shelf, random: Random, number: int = 100) -> dict[str, dict[str, Any]]:
    """Records of ours with all kinds of values, and one of somebody else that would fit them all."""
    kept, events = {}, []
    for nth in range(number):
        values, personal = some_values(random), random.choice([{}, {"email": "0" * 64}])
        events.append(created(nth, values, personal))
        kept[events[-1].local_id] = values | ({"email": SEALED} if personal else {})
    events.append(created(number, {"title": "theirs"}, {}))
    events[-1].tenant_id = THEIRS
    shelf.fold(*events)
    return kept


@pytest.fixture(scope="module")
def kept(shelf: Shelf) -> dict[str, dict[str, Any]]:
    return fill(shelf, Random(20261123))


def test_postgres_and_python_agree_on_which_records_a_condition_finds(
    shelf: Shelf, kept: dict[str, dict[str, Any]]
) -> None:
    random = Random(5)
    asked = [CONDITION.validate_python(some_condition(random)) for _ in range(400)]

    async def everything(tx: TenantTx) -> list[tuple[Condition, set[str]]]:
        return [
            (condition, {row["record_id"] for row in await records(tx, HERE, Filter(condition), limit=1_000)})
            for condition in asked
        ]

    found_some = 0
    for condition, found in shelf.ask(everything):
        expected = {record_id for record_id, values in kept.items() if holds(condition, values)}
        assert found == expected, condition
        found_some += 0 < len(expected) < len(kept)
    assert found_some > 100


def test_a_search_finds_what_some_field_contains_whatever_its_case(
    shelf: Shelf, kept: dict[str, dict[str, Any]]
) -> None:
    async def found(tx: TenantTx) -> list[set[str]]:
        return [
            {row["record_id"] for row in await records(tx, HERE, Filter(search=word, searched=["title", "stage"]))}
            for word in ("STRASSE", ".b*", "50 %", "nowhere", "WON", '"')
        ]

    for word, record_ids in zip(("strasse", ".b*", "50 %", "nowhere", "won", '"'), shelf.ask(found), strict=True):
        assert record_ids == {
            record_id
            for record_id, values in kept.items()
            if any(word in values.get(field, "").casefold() for field in ("title", "stage"))
        }


@pytest.mark.parametrize(
    "order", [[], [("value", True)], [("stage", False), ("value", True), ("title", False)], [("vip", False)]]
)
def test_pages_in_any_order_have_every_record_once(
    shelf: Shelf, kept: dict[str, dict[str, Any]], order: list[tuple[str, bool]]
) -> None:
    orders = [Order(*each) for each in order]

    async def pages(tx: TenantTx) -> tuple[list[Any], list[Any]]:
        paged, after = [], []
        while rows := await records(tx, HERE, Filter(), orders, after, 7):
            paged += [row["record_id"] for row in rows]
            after = key_of(rows[-1])
        whole = await records(tx, HERE, Filter(), orders, limit=1_000)
        return paged, [row["record_id"] for row in whole]

    paged, whole = shelf.ask(pages)
    assert paged == whole and sorted(whole) == sorted(kept)
    numbers = [kept[record_id].get("value") for record_id in whole]
    if order == [("value", True)]:
        given = [number for number in numbers if number is not None]
        assert given == sorted(given, reverse=True) and numbers[len(given) :] == [None] * (len(kept) - len(given))


def test_a_value_is_looked_up_in_an_index_although_rows_are_secured(
    shelf: Shelf, kept: dict[str, dict[str, Any]]
) -> None:
    """The control: a condition that no index can say anything of is asked of every record."""
    by_key, by_text = (
        Filter(CONDITION.validate_python({"field": "title", "is": is_, "value": "zz top"}))
        for is_ in ("equal", "contains")
    )

    with psycopg.connect(shelf.url, autocommit=True) as connection:
        connection.execute(
            "insert into read.record_keys select 0, %s, n, 'rec_' || lpad(n::text, 32, 'f')"
            " from generate_series(1, 20000) n",
            (OURS,),
        )
        connection.execute("analyze read.records, read.record_keys")

    async def plans(tx: TenantTx) -> list[str]:
        return [
            "".join(
                row["QUERY PLAN"]
                for row in await tx.fetch(
                    "explain " + _page((), each.key is not None, False), *_fitting(tx, HERE, each), 10
                )
            )
            for each in (by_key, by_text)
        ]

    found, control = shelf.ask(plans)
    assert re.search(r"record_keys_pkey.*Index Cond: \([^:]*partition[^)]*.*key = '-?[0-9]+'", found), found
    assert "record_keys_pkey" not in control


def test_boards_and_charts_count_what_fits(shelf: Shelf, kept: dict[str, dict[str, Any]]) -> None:
    async def ask(tx: TenantTx) -> tuple[list[Any], list[Any], list[Any]]:
        return (
            await cards(tx, HERE, Filter(), "stage", limit=3),
            await groups(tx, HERE, Filter(), "stage", None, "value"),
            await groups(tx, HERE, Filter(), "closes_on", "quarter", None),
        )

    board, by_stage, by_quarter = shelf.ask(ask)
    of: dict[str | None, list[dict[str, Any]]] = {}
    for values in kept.values():
        of.setdefault(values.get("stage"), []).append(values)
    assert {row["grouped"]: row["counted"] for row in board} == {stage: len(some) for stage, some in of.items()}
    assert all(sum(row["grouped"] == stage for row in board) == min(3, len(some)) for stage, some in of.items())
    for row in by_stage:
        numbers = [values["value"] for values in of[row["grouped"]] if "value" in values]
        assert (row["count"], row["sum"], row["minimum"], row["maximum"]) == (
            len(of[row["grouped"]]), sum(numbers), min(numbers), max(numbers),
        )  # fmt: skip
    quarters = {row["grouped"]: row["count"] for row in by_quarter}
    assert sum(quarters.values()) == len(kept)
    assert quarters["2025-10-01"] == sum(values.get("closes_on") == "2025-12-31" for values in kept.values())


def test_what_changes_is_merged_and_what_is_removed_comes_back(shelf: Shelf) -> None:
    tickets = Place("shop", "production", "ticket")
    record_id = created(5_000, {}, {}).local_id
    shelf.fold(
        created(5_000, {"title": "Old", "count": 1, "note": None}, {"email": "0" * 64}, entity="ticket"),
        event("changed", record_id, 2, entity="ticket", values={"title": "NEW", "count": None}, personal={}),
        event("step_taken", record_id, 3, entity="ticket", values={"state": "done"}),
        event("changed", record_id, 4, entity="ticket", values={}, personal={"email": None}),
    )

    async def found(tx: TenantTx) -> Any:
        condition = CONDITION.validate_python({"field": "state", "is": "equal", "value": "done"})
        rows = await records(tx, tickets, Filter(condition, search="new", searched=["title"]))
        return await record(tx, tickets, record_id), rows

    row, rows = shelf.ask(found)
    assert (row["values"], row["version"]) == ({"title": "NEW", "state": "done"}, 4)
    assert [each["record_id"] for each in rows] == [record_id]
    shelf.fold(event("removed", record_id, 5, entity="ticket"))
    assert shelf.ask(found) == (None, [])
    shelf.fold(event("restored", record_id, 6, entity="ticket"))
    assert shelf.ask(found)[0]["values"] == row["values"]
