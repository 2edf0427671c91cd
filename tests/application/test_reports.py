"""Reports as tables, and when schedules come."""

from __future__ import annotations

import csv
import io
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[1] / "domain" / "apps"))

from sample_app import FILES

from felix.application import reports
from felix.application.apps.schedules import NeverComes, comes_at, next_time
from felix.application.reports import ReportTooLarge, Table, report_of, tabulate
from felix.domain.apps.behaviour import Schedule
from felix.domain.apps.references import check
from felix.domain.apps.shapes import compile_app
from felix.domain.apps.tree import AppTree


def table(report: dict[str, Any], *rows: dict[str, Any]) -> Table:
    app = compile_app("r", check(AppTree(FILES | {"reports/won_deals.json": FILES["reports/won_deals.json"] | report})))
    return tabulate(app, report_of(app, "won_deals"), rows)


def test_a_report_is_a_table_for_programs_and_for_people() -> None:
    made = table({}, {"g0": "2026-01-01", "m0": 2, "m1": 1250}, {"g0": None, "m0": 1, "m1": None})
    shown = made.shown()
    assert [column["label"] for column in shown["columns"]] == ["Closes on (month)", "Count", "Sum of Value"]
    assert shown["rows"] == [["2026-01-01", 2, 1250], [None, 1, None]]
    assert made.csv() == "Closes on (month),Count,Sum of Value\r\n2026-01-01,2,12.50\r\n,1,\r\n"


def test_a_choice_is_called_by_its_label() -> None:
    made = table({"group_by": [{"field": "stage"}], "measures": [{"function": "count"}]}, {"g0": "won", "m0": 2})
    assert made.csv().splitlines()[1] == "Won,2"


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", '=HYPERLINK("http://x","y")'])
def test_no_cell_can_be_taken_for_a_formula(text: str) -> None:
    report = {"group_by": [{"field": "title"}], "measures": [{"function": "count", "label": "=cmd"}]}
    made = table(report, {"g0": text, "m0": -1})
    head, row = csv.reader(io.StringIO(made.csv()))
    assert head[1] == "'=cmd" and row == [f"'{text}", "-1"]
    assert made.shown()["rows"] == [[text, -1]], "programs get what is there"


def test_a_report_that_nobody_reads_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "MAX_ROWS", 1)
    with pytest.raises(ReportTooLarge):
        table({}, *[{"g0": "2026-01-01", "m0": 1, "m1": 1}] * 2)


# --- schedules ----------------------------------------------------------------------------------------------


def schedule(cron: str, zone: str = "Europe/Berlin") -> Schedule:
    job = {"run": "report", "report": "won_deals"}
    return Schedule.model_validate({"title": "x", "cron": cron, "zone": zone, "job": job})


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("cron", "after", "times"),
    [
        ("0 9 * * *", "2026-03-28T00:00", ["2026-03-28T08:00", "2026-03-29T07:00", "2026-03-30T07:00"]),
        ("30 2 * * *", "2026-03-28T00:00", ["2026-03-28T01:30", "2026-03-29T01:00", "2026-03-30T00:30"]),
        ("30 2 * * *", "2026-10-24T12:00", ["2026-10-25T00:30", "2026-10-26T01:30"]),
        ("0 * * * *", "2026-10-24T23:30", ["2026-10-25T00:00", "2026-10-25T01:00", "2026-10-25T02:00"]),
    ],
    ids=[
        "nine stays nine",
        "a time that is left out comes after",
        "a time that comes twice is meant once",
        "each hour",
    ],
)
def test_schedules_go_by_the_clock_on_the_wall(cron: str, after: str, times: list[str]) -> None:
    at = utc(after)
    for expected in times:
        at = next_time(schedule(cron), at)
        assert at == utc(expected) and comes_at(schedule(cron), at)


def test_another_time_is_none_of_a_schedules() -> None:
    assert not comes_at(schedule("0 9 * * *"), utc("2026-03-29T08:00"))
    assert not comes_at(schedule("30 2 * * *"), utc("2026-10-25T01:30")), "the second half past two"


def test_a_schedule_that_never_comes_says_so() -> None:
    with pytest.raises(NeverComes):
        next_time(schedule("0 0 31 2 *"), utc("2026-01-01T00:00"))
    assert not comes_at(schedule("0 0 31 2 *"), utc("2026-01-31T00:00"))
