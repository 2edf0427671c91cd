"""What a request says about which records it wants: filters, orders, pages."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any

import orjson
from pydantic import TypeAdapter, ValidationError
from starlette.requests import Request

from felix.api import documents
from felix.api.http import integer
from felix.api.problems import invalid
from felix.domain.apps.base import Condition, parts_of
from felix.domain.apps.shapes import RECORD_ID, Shape
from felix.domain.errors import Invalid
from felix.projections.record_filters import Filter
from felix.projections.records import MAX_RECORDS, Order, key_of
from felix.projections.tenant_tx import Row

MAX_ORDERS = 3
MAX_SEARCH_CHARS = 200
MAX_WHERE_CHARS = 8_000
_MAX_CURSOR_CHARS = 4_000
#: Types of fields that are searched.
SEARCHED = frozenset({"text", "long_text", "email", "phone", "url", "choice"})
_CONDITION: TypeAdapter[Condition] = TypeAdapter(Condition)

WHERE = documents.query(
    "where",
    'A condition in JSON, such as {"field":"stage","is":"equal","value":"open"}; all, any and not join several.',
    type="string",
    maxLength=MAX_WHERE_CHARS,
)
SEARCH = documents.query("search", "A text that some field must contain.", type="string", maxLength=MAX_SEARCH_CHARS)
ORDER = documents.query(
    "order", "Up to three fields, those that descend with a minus: `-value,title`. Default: by age.", type="string"
)
PAGE = (
    documents.query("cursor", "`next` of the page before.", type="string"),
    {
        "name": "limit",
        "in": "query",
        "schema": {"type": "integer", "minimum": 1, "maximum": MAX_RECORDS, "default": 100},
    },
)


def filter_of(request: Request, shape: Shape, also: Condition | None = None) -> Filter:
    """The records that fit a view, and what the caller adds to it. Raises ``Invalid``."""
    search = request.query_params.get("search", "")
    if len(search) > MAX_SEARCH_CHARS or not search.isprintable():
        raise _wrong("search", "text", f"at most {MAX_SEARCH_CHARS} printable characters")
    searched = [name for name, field in shape.shown.items() if field.type in SEARCHED and not field.personal]
    return Filter(also, _where(request, shape), search=search, searched=searched)


def _where(request: Request, shape: Shape) -> Condition | None:
    given = request.query_params.get("where")
    return read_condition(given, shape) if given else None


def read_condition(given: str, shape: Shape) -> Condition:
    """A condition in JSON, on fields that can be compared. Raises ``Invalid``."""
    try:
        if len(given) > MAX_WHERE_CHARS:
            raise ValueError(f"at most {MAX_WHERE_CHARS} characters")
        condition = _CONDITION.validate_python(orjson.loads(given))
        parts = parts_of(condition)
    except ValidationError as error:
        raise invalid(error) from None
    except (ValueError, RecursionError) as error:
        raise _wrong("where", "condition", str(error)[:200]) from None
    for part in parts:
        field = shape.shown.get(part.field)
        if field is None:
            raise _wrong("where", "field", f"{shape.name} has no field {part.field}")
        if field.personal and part.is_ not in ("is_empty", "is_filled"):
            raise _wrong("where", "personal", f"{part.field} is sealed: it is empty or filled, and can't be compared")
    return condition


def orders_of(request: Request, shape: Shape, otherwise: Sequence[Order] = ()) -> list[Order]:
    """The order that the caller asks for, or else another. Raises ``Invalid``."""
    given = request.query_params.get("order")
    if not given:
        return [order for order in otherwise if _can_order(shape, order.field)]
    orders = [Order(name.removeprefix("-"), name.startswith("-")) for name in given.split(",")]
    if len(orders) > MAX_ORDERS:
        raise _wrong("order", "length", f"at most {MAX_ORDERS} fields")
    for order in orders:
        if not _can_order(shape, order.field):
            raise _wrong("order", "field", f"records can't be ordered by {order.field[:64]}")
    return orders


def _can_order(shape: Shape, name: str) -> bool:
    field = shape.shown.get(name)
    return field is not None and not field.personal and field.type != "choices"


def page_of(request: Request, orders: Sequence[Order]) -> tuple[list[Any], int]:
    """Behind which record the page begins, and how many it has. Raises ``Invalid``."""
    limit = integer(request, "limit", 100, 1, MAX_RECORDS)
    given = request.query_params.get("cursor")
    if not given:
        return [], limit
    try:
        key = orjson.loads(base64.urlsafe_b64decode(given[:_MAX_CURSOR_CHARS].encode("ascii")))
    except (ValueError, binascii.Error):
        key = None
    if not _is_key(key, len(orders)):
        raise _wrong("cursor", "cursor", "is not the `next` of a page in this order")
    return key, limit


def next_of(rows: Sequence[Row], limit: int) -> str | None:
    """The cursor of the page behind these; None where it would be empty, as far as is known."""
    return base64.urlsafe_b64encode(orjson.dumps(key_of(rows[-1]))).decode() if len(rows) == limit else None


def _is_key(key: Any, orders: int) -> bool:
    if not isinstance(key, list) or len(key) != orders + 1:
        return False
    *values, record_id = key
    return (
        isinstance(record_id, str)
        and RECORD_ID.fullmatch(record_id) is not None
        and all(value is None or type(value) in (str, int, bool, dict) for value in values)
        and b"\\u0000" not in orjson.dumps(values)
    )


def _wrong(parameter: str, rule: str, detail: str) -> Invalid:
    return Invalid(
        f"{parameter} can't be used here.", errors=[{"pointer": f"?{parameter}", "rule": rule, "detail": detail}]
    )
