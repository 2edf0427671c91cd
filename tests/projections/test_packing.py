"""Columns of a batch are packed as the driver packs them, only quicker."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.adapt import PyFormat, Transformer
from psycopg.types.array import ListBinaryDumper
from psycopg.types.numeric import Int8BinaryDumper

from felix.projections.packing import ColumnDumper

ELEMENTS: dict[str, st.SearchStrategy[Any]] = {
    "text": st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    "bigint": st.integers(-(2**63), 2**63 - 1),
    "uuid": st.uuids(),
    "timestamptz": st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC)),
    "boolean": st.booleans(),
    "date": st.dates(),
    "numeric": st.decimals(allow_nan=False, allow_infinity=False),
}


@pytest.fixture(scope="module")
def connection(postgres_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(postgres_url, autocommit=True) as opened:
        opened.adapters.register_dumper(int, Int8BinaryDumper)
        yield opened


@pytest.mark.parametrize("element", ELEMENTS)
@given(data=st.data())
def test_a_column_is_packed_as_the_driver_packs_it(
    connection: psycopg.Connection[Any], element: str, data: st.DataObject
) -> None:
    column = data.draw(st.lists(st.none() | ELEMENTS[element], max_size=5))
    transformer, packed = Transformer(connection), []
    for dumper in (ListBinaryDumper(list, transformer), ColumnDumper(list, transformer)):
        ready = dumper.upgrade(column, PyFormat.BINARY)
        packed.append((ready.oid, bytes(ready.dump(column) or b"")))
    assert packed[0] == packed[1]


@pytest.mark.parametrize(
    ("type_", "column"),
    [
        ("text", ["a", None, "ü"]),
        ("bigint", [None, 2**63 - 1, -1]),
        ("uuid", [UUID(int=1), None]),
        ("timestamptz", [datetime(2026, 11, 24, 1, 2, 3, 4, UTC)]),
        ("boolean", [True, None, False]),
        ("date", [date(2026, 11, 24)]),
        ("numeric", [Decimal("1.5")]),
        ("text", []),
        ("uuid", [None, None]),
    ],
)
def test_the_database_reads_what_was_packed(connection: psycopg.Connection[Any], type_: str, column: list[Any]) -> None:
    connection.adapters.register_dumper(list, ColumnDumper)
    try:
        found = connection.execute(f"select %b::{type_}[]".encode(), (column,)).fetchone()
    finally:
        connection.adapters.register_dumper(list, ListBinaryDumper)
    assert found == (column,)
