"""``docs/metrics.md``: everything that `/metrics` tells, from the catalogue of measures."""

from __future__ import annotations

from felix.cli.docs.catalogue import GENERATED
from felix.measures import CATALOGUE, MAX_SERIES, Measure


def page() -> str:
    """The page."""
    lines = [
        "# Metrics",
        "",
        GENERATED,
        "",
        "`GET /metrics` of any API process tells what all processes of the installation count, in Prometheus' text",
        "format. It takes the token of `FELIX_METRICS_TOKEN` (with `felix up`: what is in `metrics-token` in the data",
        "directory) or a founder's key, and nothing else: an address says little behind a proxy. `ops/prometheus` has",
        "a configuration and alert rules, `ops/grafana` a dashboard, [alerts.md](alerts.md) what to do.",
        "",
        "Counters and histograms survive the process that counted and begin anew with `felix up`. Gauges are those of",
        "living processes, up to a second old. What comes from the database is asked when it is scraped, and is",
        "missing while the database is away. No metric has a label for a client, so none tells a client's name; a",
        f"metric has at most {MAX_SERIES} combinations of labels, further ones are counted as `other`.",
        "",
        "| metric | kind | labels | from | what it tells |",
        "|---|---|---|---|---|",
    ]
    lines += [_row(measure) for measure in sorted(CATALOGUE.values(), key=lambda measure: measure.name)]
    return "\n".join(lines) + "\n"


def _row(measure: Measure) -> str:
    labels = ", ".join(f"`{label}`" for label in measure.labels)
    return f"| `{measure.name}` | {measure.kind} | {labels} | {measure.source} | {measure.help} |"
