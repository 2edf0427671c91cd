"""Usage arrives as CloudEvents 1.0: each item is read or refused on its own, with a pointer to what is wrong.

An item looks like this; ``subject`` is the token account, and ``data`` names one meter or several::

    {"specversion": "1.0", "type": "felix.usage", "source": "/apps/assistant", "id": "call-81",
     "subject": "acct_0192…", "time": "2026-01-31T12:00:00Z",
     "data": {"quantities": {"llm.input_tokens": 4808, "llm.output_tokens": 10}, "model": "gpt-4o",
              "app": "assistant", "person": "ada", "reference": "ticket 7"}}

Read leniently where CloudEvents says so, and strictly where money hangs on it:

* ``type`` is any that starts with ``felix.usage``, so a sender may add a version.
* A null stands for an attribute that is not there (CloudEvents JSON format 1.0.2, section 2.2).
* Extension attributes are allowed under lower-case alphanumeric names with a string, integer (32 bits) or boolean
  value. They are not kept. Fields of ``data`` that Felix does not know are refused, since they may be misspelt.
* A quantity is a JSON integer from 1 to 2^53 - 1.

The checks are written by hand. A pydantic ``TypeAdapter`` of the same shape is about as fast up to a checked dict; the
exclusive fields, the RFC 3339 form, the dedupe key and the item itself would come on top, and its errors, one for every
branch of a union, would still have to become one pointer.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, NoReturn
from uuid import UUID

from felix.domain.errors import TooMuch
from felix.domain.metering.messages import MAX_BATCH_ITEMS, MAX_LINES_PER_ITEM, UsageItem
from felix.domain.values import MAX_SINGLE_AMOUNT

MAX_TEXT_CHARS = 200
DEDUPE_KEY_BYTES = 16
EVENT_TYPE = "felix.usage"

_ACCOUNT = re.compile(r"acct_[0-9a-f]{32}")
_METER = re.compile(r"(?=.{1,64}\Z)[a-z][a-z0-9_]*(\.[a-z0-9_]+)*")
_EXTENSION = re.compile(r"[a-z0-9]{1,64}")
_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,12})?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_JSON_TYPE = re.compile(r"[^;]+[/+]json\s*(;.*)?", re.IGNORECASE)
_REQUIRED = ("specversion", "type", "source", "id", "subject", "data")
_DATA_TEXTS = ("model", "app", "person", "reference")
_DATA_FIELDS = frozenset(("meter", "quantity", "quantities", *_DATA_TEXTS))
_ATTRIBUTES = frozenset((*_REQUIRED, "time", "datacontenttype"))


class UsageBatchTooLarge(TooMuch):
    """A batch of usage has at most 1,000 items."""


class _Malformed(Exception):
    """What is wrong with an item; becomes its error in the answer."""

    def __init__(self, pointer: str, rule: str, detail: str) -> None:
        self.pointer, self.rule, self.detail = pointer, rule, detail


def read_usage(items: list[Any], tenant_id: UUID) -> tuple[list[tuple[int, UsageItem]], list[dict[str, Any]]]:
    """Read the items of a request that is parsed JSON: the good ones with their index, and an error for each other.

    An error is ``{index, code, pointer, rule, detail}``. No item raises, whatever JSON it is; a batch that is too
    long raises :class:`UsageBatchTooLarge`. The same source and id twice is not an error here.
    """
    if len(items) > MAX_BATCH_ITEMS:
        raise UsageBatchTooLarge(items=len(items), limit=MAX_BATCH_ITEMS)
    reader = _Reader(tenant_id)
    good: list[tuple[int, UsageItem]] = []
    bad: list[dict[str, Any]] = []
    for index, item in enumerate(items):
        try:
            good.append((index, reader.read(item)))
        except _Malformed as wrong:
            bad.append(
                {
                    "index": index,
                    "code": "malformed_item",
                    "pointer": f"/events/{index}{wrong.pointer}",
                    "rule": wrong.rule,
                    "detail": wrong.detail,
                }
            )
    return good, bad


def dedupe_key(tenant_id: UUID, source: str, event_id: str) -> bytes:
    """16 bytes that stand for a CloudEvent of a tenant; the source's length keeps (ab, c) and (a, bc) apart."""
    return blake2b(_head(tenant_id, source) + event_id.encode(), digest_size=DEDUPE_KEY_BYTES).digest()


def _head(tenant_id: UUID, source: str) -> bytes:
    encoded = source.encode()
    return tenant_id.bytes + len(encoded).to_bytes(4, "big") + encoded


class _Reader:
    """Reads the items of one request; remembers what it has checked before and meets again and again."""

    __slots__ = ("_accounts", "_heads", "_labels", "_meters", "_tenant_id")

    def __init__(self, tenant_id: UUID) -> None:
        self._tenant_id = tenant_id
        self._heads: dict[str, bytes] = {}
        self._accounts: set[str] = set()
        self._meters: set[str] = set()
        self._labels: set[str] = set()

    def read(self, item: Any) -> UsageItem:
        """One item. Raises :class:`_Malformed` at the first thing that is wrong."""
        if type(item) is not dict:
            raise _Malformed("", "type", "An item must be a JSON object.")
        try:
            specversion, event_type = item["specversion"], item["type"]
            source, event_id, account_id, data = item["source"], item["id"], item["subject"], item["data"]
        except KeyError:
            _refuse_missing(item)
        if specversion != "1.0":
            raise _Malformed("/specversion", "value", 'Must be "1.0".')
        if type(event_type) is not str or not event_type.startswith(EVENT_TYPE):
            raise _Malformed("/type", "value", f'Must start with "{EVENT_TYPE}".')
        head = self._heads.get(source) if type(source) is str else None
        if head is None:
            _check_text(source, "/source")
            head = self._heads[source] = _head(self._tenant_id, source)
        if type(event_id) is not str or not event_id.isascii() or "\0" in event_id or not 0 < len(event_id) <= 200:
            _check_text(event_id, "/id")
        if type(account_id) is not str or account_id not in self._accounts:
            self._check_account(account_id)
        at = item.get("time")
        if at is not None:
            at = _moment(at)
        if len(item) > (7 if "time" in item else 6):
            _check_extensions(item)
        if type(data) is not dict:
            raise _Malformed("/data", "type", "Must be a JSON object.")
        lines, known = self._lines(data)
        model: str | None = None
        app = person = reference = model
        if len(data) > known:
            get = data.get
            if (model := get("model")) is not None:
                self._check_label(model, "/data/model")
            if (app := get("app")) is not None:
                self._check_label(app, "/data/app")
            if (person := get("person")) is not None:
                self._check_label(person, "/data/person")
            if (reference := get("reference")) is not None:
                _check_text(reference, "/data/reference")
            if not data.keys() <= _DATA_FIELDS:
                _refuse_unknown(data)
        key = blake2b(head + event_id.encode(), digest_size=DEDUPE_KEY_BYTES).digest()
        return UsageItem(source, event_id, account_id, lines, model, app, person, at, reference, key)

    def _lines(self, data: dict[str, Any]) -> tuple[list[tuple[str, int]], int]:
        """The lines of ``data``, and how many of its fields they took."""
        quantities = data.get("quantities")
        if quantities is None:
            meter = data.get("meter")
            if type(meter) is not str or meter not in self._meters:
                self._check_meter(meter, "/data/meter")
            quantity = data.get("quantity")
            if type(quantity) is not int or not 0 < quantity <= MAX_SINGLE_AMOUNT:
                _refuse_quantity(quantity, "/data/quantity")
            return [(str(meter), quantity)], 2
        for single in ("meter", "quantity"):
            if data.get(single) is not None:
                raise _Malformed(f"/data/{single}", "exclusive", "Give meter and quantity, or quantities, not both.")
        if type(quantities) is not dict:
            raise _Malformed("/data/quantities", "type", "Must be a JSON object of meters and quantities.")
        if not 0 < len(quantities) <= MAX_LINES_PER_ITEM:
            raise _Malformed("/data/quantities", "length", f"Must name 1 to {MAX_LINES_PER_ITEM} meters.")
        for meter, quantity in quantities.items():
            if meter not in self._meters:
                self._check_meter(meter, f"/data/quantities/{_token(meter)}")
            if type(quantity) is not int or not 0 < quantity <= MAX_SINGLE_AMOUNT:
                _refuse_quantity(quantity, f"/data/quantities/{_token(meter)}")
        return list(quantities.items()), 1

    def _check_label(self, text: Any, pointer: str) -> None:
        if type(text) is not str or text not in self._labels:
            _check_text(text, pointer)
            self._labels.add(text)

    def _check_account(self, account_id: Any) -> None:
        if account_id is None:
            raise _Malformed("/subject", "required", "Must name the token account (acct_…).")
        if type(account_id) is not str:
            raise _Malformed("/subject", "type", "Must be a string.")
        if _ACCOUNT.fullmatch(account_id) is None:
            raise _Malformed("/subject", "pattern", "Must be a token account id: acct_ and 32 hex digits.")
        self._accounts.add(account_id)

    def _check_meter(self, meter: Any, pointer: str) -> None:
        if meter is None:
            raise _Malformed(pointer, "required", "Must name a meter, or data must have quantities.")
        if type(meter) is not str:
            raise _Malformed(pointer, "type", "Must be a string.")
        if _METER.fullmatch(meter) is None:
            raise _Malformed(pointer, "pattern", "Must be a meter name such as llm.input_tokens, at most 64 long.")
        self._meters.add(meter)


def _check_text(text: Any, pointer: str) -> None:
    if type(text) is str and 0 < len(text) <= MAX_TEXT_CHARS and text.isascii() and "\0" not in text:
        return
    if text is None:
        raise _Malformed(pointer, "required", "Must not be null.")
    if type(text) is not str:
        raise _Malformed(pointer, "type", "Must be a string.")
    if not 0 < len(text) <= MAX_TEXT_CHARS:
        raise _Malformed(pointer, "length", f"Must be 1 to {MAX_TEXT_CHARS} characters long.")
    if not _storable(text):
        raise _Malformed(pointer, "text", "Must not contain NUL or lone surrogates.")


def _storable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def _moment(text: Any) -> datetime:
    if type(text) is not str:
        raise _Malformed("/time", "type", "Must be a string.")
    if _TIME.fullmatch(text) is None:
        raise _Malformed("/time", "rfc3339", "Must be an RFC 3339 time with its zone, such as 2026-01-31T12:00:00Z.")
    try:
        at = datetime.fromisoformat(text.upper())
        return at if at.tzinfo is UTC else at.astimezone(UTC)
    except (ValueError, OverflowError):
        raise _Malformed("/time", "rfc3339", "There is no such time.") from None


def _check_extensions(item: dict[str, Any]) -> None:
    for name, value in item.items():
        if name in _ATTRIBUTES:
            if name == "datacontenttype" and value is not None:
                _check_text(value, "/datacontenttype")
                if _JSON_TYPE.fullmatch(value) is None:
                    raise _Malformed("/datacontenttype", "value", "Must be a JSON type such as application/json.")
            continue
        pointer = f"/{_token(name)}"
        if _EXTENSION.fullmatch(name) is None:
            raise _Malformed(pointer, "unknown_field", "Extension attributes have lower-case alphanumeric names.")
        if type(value) is str:
            if not _storable(value):
                raise _Malformed(pointer, "text", "Must not contain NUL or lone surrogates.")
        elif type(value) is int:
            if not -(2**31) <= value < 2**31:
                raise _Malformed(pointer, "range", "An integer attribute has 32 bits.")
        elif value is not None and type(value) is not bool:
            raise _Malformed(pointer, "type", "Extension attributes are strings, integers or booleans.")


def _refuse_missing(item: dict[str, Any]) -> NoReturn:
    missing = next(name for name in _REQUIRED if name not in item)
    raise _Malformed(f"/{missing}", "required", f"An item must have {', '.join(_REQUIRED)}.")


def _refuse_unknown(data: dict[str, Any]) -> NoReturn:
    unknown = next(name for name in data if name not in _DATA_FIELDS)
    raise _Malformed(
        f"/data/{_token(unknown)}", "unknown_field", f"Fields of data are {', '.join(sorted(_DATA_FIELDS))}."
    )


def _refuse_quantity(quantity: Any, pointer: str) -> NoReturn:
    if quantity is None:
        raise _Malformed(pointer, "required", "Must be a whole number.")
    if type(quantity) is not int:
        raise _Malformed(pointer, "type", "Must be a JSON integer: no fraction, string or boolean.")
    raise _Malformed(pointer, "range", f"Must be from 1 to {MAX_SINGLE_AMOUNT}.")


def _token(name: str) -> str:
    """A member's name in a JSON pointer (RFC 6901), cut and mended so that the answer can always be written."""
    mended = name[:MAX_TEXT_CHARS].encode("utf-8", "replace").decode().replace("\0", "?")
    return mended.replace("~", "~0").replace("/", "~1")
