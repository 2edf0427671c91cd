"""Arrays and nullable fields in Postgres' binary formats, beside those of :mod:`felix.eventstore.rows`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.abc import DumperKey, PyFormat
from psycopg.types.array import BaseListDumper, ListBinaryDumper

from felix.eventstore.rows import BIGINT, BOOL, TEXT, TIMESTAMPTZ, UUID_, array, bigint, micros, text

NULL = b"\xff\xff\xff\xff"


def nullable_text(value: str | None) -> bytes:
    """A text field, or null."""
    return NULL if value is None else text(value.encode())


def text_array(values: Sequence[str]) -> bytes:
    """A ``text[]`` field."""
    return text(array(TEXT, [value.encode() for value in values]))


def bigint_array(values: Sequence[int]) -> bytes:
    """A ``bigint[]`` field."""
    return text(array(BIGINT, [bigint(value) for value in values]))


#: What lists of folds consist of: its type's number as an element and as an array, and how one is packed.
_KINDS: dict[type, tuple[int, int, Callable[[Any], bytes]]] = {
    str: (TEXT, 1009, str.encode),
    int: (BIGINT, 1016, bigint),
    UUID: (UUID_, 2951, lambda value: value.bytes),
    datetime: (TIMESTAMPTZ, 1185, lambda value: bigint(micros(value))),
    bool: (BOOL, 1000, lambda value: b"\x01" if value else b"\x00"),
}


class ColumnDumper(ListBinaryDumper):
    """Packs a column of a batch as an array: several times as fast as the driver, which asks every element anew.

    The first element that is not null says what they are; integers are ``bigint``, and moments have a time zone. What
    else a list may hold is left to the driver.
    """

    _kind: tuple[int, int, Callable[[Any], bytes]] | None = None

    def get_key(self, obj: list[Any], format: PyFormat) -> DumperKey:
        kind = _type_of(obj)
        return (self.cls, kind) if kind in _KINDS else super().get_key(obj, format)

    def upgrade(self, obj: list[Any], format: PyFormat) -> BaseListDumper:
        if (kind := _KINDS.get(_type_of(obj))) is None:
            return super().upgrade(obj, format)
        dumper = type(self)(self.cls, self._tx)
        dumper._kind, dumper.oid = kind, kind[1]
        return dumper

    def dump(self, obj: list[Any]) -> Any:
        if self._kind is None:
            return super().dump(obj)
        element, _, pack = self._kind
        return array(element, [None if value is None else pack(value) for value in obj])


def _type_of(column: list[Any]) -> type:
    for value in column:
        if value is not None:
            return type(value)
    return type(None)
