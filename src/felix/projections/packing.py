"""Arrays and nullable fields in Postgres' binary COPY format, beside those of :mod:`felix.eventstore.rows`."""

from __future__ import annotations

import struct
from collections.abc import Sequence

NULL = b"\xff\xff\xff\xff"

_TEXT_OID, _BIGINT_OID = 25, 20
_length = struct.Struct(">i").pack
#: Dimensions, has nulls, element type, and of the only dimension its length and lower bound; the field's length first.
_array_head = struct.Struct(">iiiiii").pack
_element = struct.Struct(">iq").pack


def nullable_text(value: str | None) -> bytes:
    """A text field, or null."""
    if value is None:
        return NULL
    encoded = value.encode()
    return _length(len(encoded)) + encoded


def text_array(values: Sequence[str]) -> bytes:
    """A ``text[]`` field with at least one element."""
    body = b"".join([_length(len(encoded)) + encoded for encoded in map(str.encode, values)])
    return _array_head(20 + len(body), 1, 0, _TEXT_OID, len(values), 1) + body


def bigint_array(values: Sequence[int]) -> bytes:
    """A ``bigint[]`` field with at least one element."""
    body = b"".join([_element(8, value) for value in values])
    return _array_head(20 + len(body), 1, 0, _BIGINT_OID, len(values), 1) + body
