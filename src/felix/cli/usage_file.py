"""Reads a CSV or JSON Lines file of usage as CloudEvents for ``POST /v1/usage/batch``.

The ids are the file's own: its content hash and the row number (or a column), so importing a file again, or going on
after a break, changes nothing. For the same reason a file that has grown is a new file, whose rows all count again:
import such files with ``--id COLUMN`` and ``--source NAME``.

Memory is constant: the file is read once for its hash and once for its rows. Nothing here sends anything.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple

import orjson

from felix.domain.errors import Invalid
from felix.domain.metering.messages import MAX_LINES_PER_ITEM
from felix.domain.metering.usage import EVENT_TYPE, MAX_TEXT_CHARS
from felix.domain.values import MAX_SINGLE_AMOUNT

Format = Literal["csv", "jsonl"]
#: Bad rows that are kept with their reason; all are counted.
MAX_BAD_ROWS_KEPT = 100
#: A longer line is a bad row, so that a file without line ends can't fill the memory.
MAX_LINE_BYTES = 1_048_576
SOURCE_HASH_DIGITS = 16

_TEXT_TARGETS = ("model", "app", "person", "reference")
_TARGETS = frozenset(("time", "account", *_TEXT_TARGETS))
_METER = re.compile(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)*")
_ACCOUNT = re.compile(r"acct_[0-9a-f]{32}")
_TIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2}:[0-9]{2})"
    r"(\.[0-9]{1,12})?\s?(?:([Zz]|UTC)|([+-][0-9]{2}):?([0-9]{2}))?"
)


class UnusableMapping(Invalid):
    """The mapping does not say how rows become usage."""


class UnreadableUsageFile(Invalid):
    """The file can't be read as usage."""


@dataclass(frozen=True)
class UsageMapping:
    """Which column becomes what.

    Targets are ``time``, ``account``, ``model``, ``app``, ``person`` and ``reference``; every other one is a meter.
    ``columns`` take their value from the row (in JSON Lines by a dotted path), ``constants`` are the same in every row.
    """

    columns: Mapping[str, str]
    constants: Mapping[str, str] = field(default_factory=dict)
    id_column: str | None = None
    source: str | None = None

    def __post_init__(self) -> None:
        for target in self.columns.keys() & self.constants.keys():
            raise UnusableMapping(f"{target} is both mapped and set.", target=target)
        meters = [target for target in (*self.columns, *self.constants) if target not in _TARGETS]
        for meter in meters:
            if _METER.fullmatch(meter) is None or len(meter) > 64:
                raise UnusableMapping(f"{meter} is neither a field nor a meter's name.", target=meter)
        if not 0 < len(meters) <= MAX_LINES_PER_ITEM:
            raise UnusableMapping(f"Map 1 to {MAX_LINES_PER_ITEM} meters, for example llm.input_tokens=COLUMN.")
        if self.source is not None and (wrong := _text_rule(self.source)):
            raise UnusableMapping(f"The source's name is unusable. {wrong}", source=self.source[:MAX_TEXT_CHARS])
        try:
            for target, value in self.constants.items():
                _put({}, {}, target, value, None)
        except _Wrong as wrong_value:
            raise UnusableMapping(f"{target} can't be set to this. {wrong_value.detail}", target=target) from None

    @classmethod
    def of_options(
        cls,
        maps: Sequence[str],
        sets: Sequence[str] = (),
        *,
        id_column: str | None = None,
        source: str | None = None,
    ) -> UsageMapping:
        """From ``--map TARGET=COLUMN`` and ``--set TARGET=VALUE`` options. Raises :class:`UnusableMapping`."""
        return cls(_pairs(maps, "--map"), _pairs(sets, "--set"), id_column, source)

    @property
    def needed_columns(self) -> list[str]:
        """Every column that each row must have."""
        return [*self.columns.values(), *([self.id_column] if self.id_column else [])]


class BadRow(NamedTuple):
    """A row that was left out, and why. ``line`` is its (last) line in the file."""

    row: int
    line: int
    column: str | None
    rule: str
    detail: str


class ReadRow(NamedTuple):
    """A row as a CloudEvent. Reading from ``row`` on (``start_after=row``) goes on behind it."""

    row: int
    bytes_read: int
    event: dict[str, Any]


class _Wrong(Exception):
    def __init__(self, column: str | None, rule: str, detail: str) -> None:
        self.column, self.rule, self.detail = column, rule, detail


class UsageFile:
    """One pass over a file. While and after reading, the counts say how far it went and what was left out.

    Rows are numbered from 1 without the header and blank lines. ``accounts`` take turns by row number where no column
    says whose usage it is. ``start_after`` skips rows that were sent before, in the same file with the same accounts.
    """

    def __init__(
        self,
        path: Path,
        mapping: UsageMapping,
        *,
        accounts: Sequence[str] = (),
        file_format: Format | None = None,
        start_after: int = 0,
        delimiter: str | None = None,
    ) -> None:
        """Raises :class:`UnusableMapping`, :class:`UnreadableUsageFile`."""
        if not path.is_file():
            raise UnreadableUsageFile(f"There is no file {path}.", path=str(path))
        has_account = "account" in mapping.columns or "account" in mapping.constants
        if has_account == bool(accounts):
            raise UnusableMapping("Say whose usage it is: by a list of accounts, or by a column, not both.")
        for account in accounts:
            if _ACCOUNT.fullmatch(account) is None:
                raise UnusableMapping(f"{account[:MAX_TEXT_CHARS]} is not a token account id.", account=account)
        self.path = path
        self.mapping = mapping
        self.format: Format = file_format or ("jsonl" if path.suffix in (".jsonl", ".ndjson", ".json") else "csv")
        self.size_bytes = path.stat().st_size
        with path.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
        self.content_id = f"file:{digest[:SOURCE_HASH_DIGITS]}"
        self.source = mapping.source or self.content_id
        self.start_after = start_after
        #: Rows met, bytes taken from the file, events made, rows without usage (every quantity 0), bad rows.
        self.row = 0
        self.bytes_read = 0
        self.events = 0
        self.rows_without_usage = 0
        self.bad_row_count = 0
        self.bad_rows: list[BadRow] = []
        self._line = 0
        self._accounts = list(accounts)
        self._delimiter = delimiter or ("\t" if path.suffix == ".tsv" else ",")

    def __iter__(self) -> Iterator[ReadRow]:
        """The rows that can be used, in order; bad ones are left out and kept in ``bad_rows``."""
        self.row = self.bytes_read = self.events = self.rows_without_usage = self.bad_row_count = self._line = 0
        self.bad_rows.clear()
        with self.path.open("rb") as content:
            for values in self._csv(content) if self.format == "csv" else self._jsonl(content):
                self.row += 1
                if self.row <= self.start_after:
                    continue
                try:
                    if isinstance(values, _Wrong):
                        raise values
                    event = self._event(values)
                except _Wrong as wrong:
                    self.bad_row_count += 1
                    if len(self.bad_rows) < MAX_BAD_ROWS_KEPT:
                        self.bad_rows.append(BadRow(self.row, self._line, wrong.column, wrong.rule, wrong.detail))
                    continue
                if event is None:
                    self.rows_without_usage += 1
                    continue
                self.events += 1
                yield ReadRow(self.row, self.bytes_read, event)

    # --- rows ---------------------------------------------------------------------------------------------------

    def _lines(self, content: BinaryIO) -> Iterator[bytes]:
        while line := content.readline(MAX_LINE_BYTES + 1):
            self.bytes_read += len(line)
            self._line += 1
            if self._line == 1:
                if line.startswith((b"\xff\xfe", b"\xfe\xff")):
                    raise UnreadableUsageFile("The file is UTF-16; save it as UTF-8.", path=str(self.path))
                line = line.removeprefix(b"\xef\xbb\xbf")
            if len(line) > MAX_LINE_BYTES and not line.endswith(b"\n"):
                while (rest := content.readline(MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
                    self.bytes_read += len(rest)
                self.bytes_read += len(rest)
            yield line

    def _csv(self, content: BinaryIO) -> Iterator[dict[str, Any] | _Wrong]:
        # Bytes that are not UTF-8 become lone surrogates, which make only the row bad in which they are used.
        lines = (line.decode("utf-8", "surrogateescape") for line in self._lines(content))
        reader = csv.reader(lines, delimiter=self._delimiter)
        header: list[str] | None = None
        while True:
            try:
                cells = next(reader)
            except StopIteration:
                break
            except csv.Error as error:
                if header is None:
                    raise UnreadableUsageFile(f"The header can't be read: {error}.", path=str(self.path)) from error
                yield _Wrong(None, "csv", f"The row can't be read: {error}.")
                continue
            if not cells:
                continue
            if header is None:
                header = [name.strip() for name in cells]
                self._check_header(header)
            elif len(cells) != len(header):
                yield _Wrong(None, "columns", f"The row has {len(cells)} cells, the header {len(header)}.")
            else:
                yield dict(zip(header, cells, strict=True))
        if header is None:
            raise UnreadableUsageFile("The file is empty: a CSV file begins with a header.", path=str(self.path))

    def _check_header(self, header: list[str]) -> None:
        for column in self.mapping.needed_columns:
            if header.count(column) != 1:
                what = "twice in" if column in header else "not in"
                known = ", ".join(header)[:MAX_TEXT_CHARS].encode("utf-8", "replace").decode()
                raise UnusableMapping(f"The column {column} is {what} the header: {known}.", column=column)

    def _jsonl(self, content: BinaryIO) -> Iterator[dict[str, Any] | _Wrong]:
        for line in self._lines(content):
            if not line.strip():
                continue
            if len(line) > MAX_LINE_BYTES:
                yield _Wrong(None, "length", f"The line is longer than {MAX_LINE_BYTES} bytes.")
                continue
            try:
                values = orjson.loads(line)
            except orjson.JSONDecodeError:
                yield _Wrong(None, "json", "The line is not JSON.")
                continue
            if isinstance(values, dict):
                yield {name: _at_path(values, name) for name in self.mapping.needed_columns}
            else:
                yield _Wrong(None, "json", "The line is not a JSON object.")

    # --- events -------------------------------------------------------------------------------------------------

    def _event(self, values: Mapping[str, Any]) -> dict[str, Any] | None:
        mapping = self.mapping
        event: dict[str, Any] = {
            "specversion": "1.0",
            "type": EVENT_TYPE,
            "source": self.source,
            "id": f"{self.content_id}:{self.row}",
        }
        if mapping.id_column:
            event["id"] = _text(values[mapping.id_column], mapping.id_column, required=True)
        if self._accounts:
            event["subject"] = self._accounts[(self.row - 1) % len(self._accounts)]
        data: dict[str, Any] = {}
        for target, value in mapping.constants.items():
            _put(event, data, target, value, None)
        for target, column in mapping.columns.items():
            _put(event, data, target, values[column], column)
        event["data"] = data
        return event if data.get("quantities") else None


def _put(event: dict[str, Any], data: dict[str, Any], target: str, value: Any, column: str | None) -> None:
    """Put a value where its target is in a CloudEvent. Raises :class:`_Wrong`."""
    if target == "time":
        event["time"] = _time(value, column)
    elif target == "account":
        if not isinstance(value, str) or _ACCOUNT.fullmatch(value.strip()) is None:
            raise _Wrong(column, "account", "Must be a token account id (acct_…).")
        event["subject"] = value.strip()
    elif target in _TEXT_TARGETS:
        if (text := _text(value, column, required=False)) is not None:
            data[target] = text
    elif quantity := _quantity(value, column):
        data.setdefault("quantities", {})[target] = quantity


def _pairs(options: Sequence[str], name: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for option in options:
        target, equals, value = option.partition("=")
        if not (target and equals and value):
            raise UnusableMapping(f"{name} {option} is not TARGET=VALUE.", option=option)
        if target in pairs:
            raise UnusableMapping(f"{name} names {target} twice.", target=target)
        pairs[target] = value
    return pairs


def _at_path(values: Any, path: str) -> Any:
    """The value under a key of this very name, or else behind a dotted path; None where there is none."""
    if isinstance(values, dict) and path in values:
        return values[path]
    for part in path.split("."):
        if isinstance(values, dict):
            values = values.get(part)
        elif isinstance(values, list) and part.isdecimal() and len(part) < 7 and int(part) < len(values):
            values = values[int(part)]
        else:
            return None
    return values


def _text_rule(text: str) -> str | None:
    if not 0 < len(text) <= MAX_TEXT_CHARS:
        return f"Must be 1 to {MAX_TEXT_CHARS} characters long."
    try:
        text.encode()
    except UnicodeEncodeError:
        return "Must be UTF-8."
    return "Must not contain NUL." if "\0" in text else None


def _text(value: Any, column: str | None, *, required: bool) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    text = value.strip() if isinstance(value, str) else value
    if text is None or text == "":
        if required:
            raise _Wrong(column, "required", "Must not be empty.")
        return None
    if not isinstance(text, str):
        raise _Wrong(column, "text", "Must be text.")
    if rule := _text_rule(text):
        raise _Wrong(column, "text", rule)
    return text


def _quantity(value: Any, column: str | None) -> int:
    if isinstance(value, str):
        digits = value.strip()
        if not digits:
            raise _Wrong(column, "required", "Must not be empty; 0 says that nothing was used.")
        if not (digits.isascii() and digits.isdecimal()) or len(digits) > 30:
            raise _Wrong(column, "integer", "Must be a whole number in digits.")
        value = int(digits)
    if value is None:
        raise _Wrong(column, "required", "Must be there; 0 says that nothing was used.")
    if not isinstance(value, int) or isinstance(value, bool):
        raise _Wrong(column, "integer", "Must be a whole number.")
    if not 0 <= value <= MAX_SINGLE_AMOUNT:
        raise _Wrong(column, "range", f"Must be from 0 to {MAX_SINGLE_AMOUNT}.")
    return value


def _time(value: Any, column: str | None) -> str:
    """RFC 3339 in UTC and microseconds; a time without a zone is UTC, digits beyond microseconds are cut off."""
    found = _TIME.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        raise _Wrong(column, "time", "Must be a time such as 2026-01-31 12:00:00 or 2026-01-31T12:00:00+01:00.")
    date, time, fraction, _, zone_hours, zone_minutes = found.groups()
    zone = f"{zone_hours}:{zone_minutes}" if zone_hours else "+00:00"
    try:
        at = datetime.fromisoformat(f"{date}T{time}{fraction or ''}{zone}").astimezone(UTC)
    except (ValueError, OverflowError):
        raise _Wrong(column, "time", "There is no such time.") from None
    return at.isoformat().removesuffix("+00:00") + "Z"
