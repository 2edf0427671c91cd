"""Dashboard and alert rules name only what Felix tells, and each alert says what to do."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from felix.adapters.metrics import Metrics
from felix.cli.docs import metrics as page
from felix.measures import CATALOGUE, JOB_RUNS, MAX_SERIES, REFUSALS, Counter, Histogram, keep_in

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "ops" / "prometheus" / "alerts.yml"
DASHBOARD = ROOT / "ops" / "grafana" / "felix.json"
#: Labels that Prometheus adds.
FROM_OUTSIDE = {"job", "instance", "le"}


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def expressions() -> list[tuple[str, str, str]]:
    """Where it stands, the expression, and the text that names its labels."""
    found = [(rule["alert"], rule["expr"], rule["annotations"]["summary"]) for rule in rules()]
    dashboard = json.loads(DASHBOARD.read_text())
    for panel in dashboard["panels"]:
        found += [(panel["title"], each["expr"], each["legendFormat"]) for each in panel.get("targets", ())]
    found += [(each["name"], each["expr"], each["titleFormat"]) for each in dashboard["annotations"]["list"]]
    return found


def wrong_names(expression: str, text: str = "") -> set[str]:
    """The metrics and labels in an expression, and in the text beside it, that Felix does not tell."""
    wrong, labels = set(), set(FROM_OUTSIDE)
    for name in re.findall(r"\bfelix_\w+", expression):
        measure = CATALOGUE.get(name)
        if measure is None:
            base, _, part = name.rpartition("_")
            measure = CATALOGUE.get(base)
            if part not in ("bucket", "sum", "count") or not isinstance(measure, Histogram):
                wrong.add(name)
                continue
        elif isinstance(measure, Histogram):
            wrong.add(name)  # a histogram has no series of its own name
        labels |= set(measure.labels)
    used = set(re.findall(r'(\w+)\s*(?:=~|!~|!=|=)\s*"', expression))
    for listed in re.findall(r"\b(?:by|without)\s*\(([^)]*)\)", expression):
        used |= {label.strip() for label in listed.split(",")}
    used |= set(re.findall(r"\{\{\s*(?:\$labels\.)?(\w+)\s*\}\}", text.replace("$value", "")))
    return wrong | (used - labels)


def test_there_is_something_to_check() -> None:
    assert len(rules()) > 10 and len(expressions()) > 50
    titles = [panel["title"] for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] == "row"]
    assert titles == ["Money and commands", "Latency", "Read side", "Jobs", "Processes", "Database"]


@pytest.mark.parametrize("where, expression, text", expressions(), ids=lambda value: value[:40])
def test_only_what_exists_is_named(where: str, expression: str, text: str) -> None:
    assert wrong_names(expression, text) == set(), where
    assert expression.count("(") == expression.count(")")


@pytest.mark.parametrize(
    "expression, wrong",
    [
        ("rate(felix_comands_total[5m])", {"felix_comands_total"}),
        ("felix_batch_seconds > 1", {"felix_batch_seconds"}),
        ("felix_jobs_bucket", {"felix_jobs_bucket"}),
        ('felix_jobs{status="dead"}', {"status"}),
        ("sum by (tenant) (felix_jobs)", {"tenant"}),
    ],
)
def test_a_wrong_name_would_be_found(expression: str, wrong: set[str]) -> None:
    assert wrong_names(expression) == wrong
    assert wrong_names("felix_jobs", "{{status}} {{ $labels.kind }} {{ $value }}") == {"status", "kind"}


def test_every_alert_has_its_section_with_what_to_do() -> None:
    text = (ROOT / "docs" / "alerts.md").read_text()
    sections = dict(re.findall(r"^## ([^\n]+)\n\n(.*?)(?=^## |\Z)", text, re.S | re.M))
    by_anchor = {heading.lower().replace(":", "").replace(" ", "-"): body for heading, body in sections.items()}
    named = set()
    for rule in rules():
        kebab = re.sub(r"(?<!^)(?=[A-Z])", "-", rule["alert"]).lower()
        assert rule["annotations"]["runbook"] == f"docs/alerts.md#alert-{kebab}"
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert len(by_anchor[f"alert-{kebab}"].split("\n\n")) >= 2, kebab
        named.add(f"alert-{kebab}")
    assert by_anchor.keys() == named, "a section without an alert"
    for anchor in re.findall(r"\(#([\w-]+)\)", text):
        assert anchor in by_anchor


def test_every_measure_is_on_the_page() -> None:
    text = page.page()
    for name, measure in CATALOGUE.items():
        assert f"| `{name}` | {measure.kind} |" in text and measure.help.endswith("."), name
        assert name.startswith("felix_") and name.endswith("_total") == isinstance(measure, Counter), name
        assert "tenant" not in measure.labels


def test_labels_that_never_end_are_bounded(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path, "test")
    try:
        keep_in(metrics)
        for number in range(2 * MAX_SERIES):
            REFUSALS.add(f"code_{number}")
        text = metrics.scrape().decode()
    finally:
        metrics.close()
    told = re.findall(r'^felix_refusals_total\{code="(\w+)"\} (\S+)$', text, re.M)
    assert len(told) == MAX_SERIES + 1 and dict(told)["other"] == f"{MAX_SERIES}.0"


def test_who_takes_over_a_slot_goes_on_counting_and_a_full_file_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("felix.adapters.metrics.FILE_BYTES", {"counter": 512, "gauge_livesum": 4096, "histogram": 8192})
    for life in (1, 2):
        metrics = Metrics(tmp_path, "test")
        try:
            assert metrics.slot == "test-1"
            keep_in(metrics)
            for code in ("a", "b", "no_room", "nor_here"):
                REFUSALS.add(code)
            JOB_RUNS.observe(0.2, "kind", "done")
            text = metrics.scrape().decode()
        finally:
            metrics.close()
        told = dict(re.findall(r'^felix_refusals_total\{code="(\w+)"\} (\S+)$', text, re.M))
        assert (told["a"], told["b"]) == (f"{life}.0", f"{life}.0") and "nor_here" not in told
        assert f'felix_job_run_seconds_bucket{{kind="kind",le="0.5",outcome="done"}} {life}.0' in text
        assert 'felix_job_run_seconds_bucket{kind="kind",le="0.1",outcome="done"} 0.0' in text
    assert sum(path.stat().st_size for path in tmp_path.glob("*.db")) == 512 + 4096 + 8192
