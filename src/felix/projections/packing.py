"""Arrays and nullable fields in Postgres' binary COPY format, beside those of :mod:`felix.eventstore.rows`."""

from __future__ import annotations

from collections.abc import Sequence

from felix.eventstore.rows import BIGINT, TEXT, array, bigint, text

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
