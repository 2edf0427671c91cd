"""Reports: figures of an app's records as a table, for programs as JSON and for people as CSV.

Money and decimals come as they are kept in JSON, whole numbers of their last place, and as people write them in CSV.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from felix.application.apps.templates import decimal
from felix.domain.apps.entities import Field
from felix.domain.apps.shapes import CompiledApp
from felix.domain.apps.surfaces import Report
from felix.domain.errors import NotFound, TooMuch

#: Rows of a report; beyond that it is a data export and no report.
MAX_ROWS = 10_000
#: What spreadsheets take for the beginning of a formula (OWASP, CSV injection).
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


class NoSuchReport(NotFound):
    """The app has no such report."""


class ReportTooLarge(TooMuch):
    """The report has more rows than anybody reads; group by something coarser, or narrow what it is about."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its label, and how its figures are written."""

    label: str
    field: Field | None = None
    is_measure: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A report that was made."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Any, ...], ...]

    def shown(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "title": self.title,
            "columns": [
                {
                    "label": column.label,
                    "kind": "measure" if column.is_measure else "group",
                    "type": column.field.type if column.field else "integer" if column.is_measure else "text",
                }
                for column in self.columns
            ],
            "rows": [list(row) for row in self.rows],
        }

    def csv(self) -> str:
        """As CSV (RFC 4180). No cell can be taken for a formula: what looks like one is a text."""
        written = io.StringIO()
        writer = csv.writer(written)
        writer.writerow([harmless(column.label) for column in self.columns])
        for row in self.rows:
            writer.writerow([_cell(column, value) for column, value in zip(self.columns, row, strict=True)])
        return written.getvalue()


def report_of(app: CompiledApp, name: str) -> Report:
    """A report of an app. Raises :class:`NoSuchReport`."""
    report = app.app.reports.get(name)
    if report is None:
        raise NoSuchReport(f"The app has no report {name}.", report=name)
    return report


def tabulate(app: CompiledApp, report: Report, rows: Sequence[Mapping[str, Any]]) -> Table:
    """A report of the rows that the read model gives. Raises :class:`ReportTooLarge`."""
    if len(rows) > MAX_ROWS:
        raise ReportTooLarge(limit=MAX_ROWS)
    fields = app.shapes[report.entity].entity.fields
    columns: list[Column] = []
    for grouping in report.group_by:
        field = fields[grouping.field]
        label = field.label if grouping.by is None else f"{field.label} ({grouping.by})"
        columns.append(Column(label, None if grouping.by else field))
    for measure in report.measures:
        measured = None if measure.field is None else fields[measure.field]
        label = measure.label or (f"{measure.function.capitalize()} of {measured.label}" if measured else "Count")
        columns.append(Column(label, measured, is_measure=True))
    names = [f"g{number}" for number in range(len(report.group_by))]
    measures = [f"m{number}" for number in range(len(report.measures))]
    made = tuple(
        (
            *(row[name] for name in names),
            *(None if row[name] is None else int(row[name]) for name in measures),
        )
        for row in rows
    )
    return Table(report.title, tuple(columns), made)


def harmless(text: str) -> str:
    """A text as a cell that no spreadsheet computes."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def _cell(column: Column, value: Any) -> str:
    if value is None:
        return ""
    field = column.field
    if column.is_measure:
        if field is not None and field.type == "money":
            return decimal(value, 2)
        return decimal(value, field.places or 0) if field is not None and field.type == "decimal" else str(value)
    text = str(value)
    for option in (field and field.options) or ():
        if option.value == text:
            text = option.label
    return harmless(text)
