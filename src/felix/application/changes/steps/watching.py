"""A look at a release that is new: its guardrails measured, and what has been seen since it was shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from felix.application.changes.steps.checks import check_examples
from felix.application.changes.steps.workbench import Look
from felix.domain.apps.behaviour import Watch
from felix.domain.apps.measured import KEEP_COUNTS, Running
from felix.domain.changes import messages as m
from felix.domain.changes.change import Change
from felix.domain.changes.guardrails import EXAMPLES, Measured, Verdict, measure, not_measured, of_examples, verdict_of
from felix.domain.errors import FelixError, NotFound, ObjectDamaged, Unavailable

#: A watch has so many looks at the most, and as many again while it can't be sure.
LOOKS = 8
#: What is usual is taken from so long before; counts are kept a day longer.
USUAL = KEEP_COUNTS - timedelta(days=1)
#: A guardrail for what is counted, where counting itself failed.
COUNTS = "counts"
_MICRO = 1_000_000


@dataclass(frozen=True, slots=True)
class Watched:
    """Since when people have the release as they have it now, and what looks have said since."""

    since: datetime
    looks: Sequence[tuple[datetime, Sequence[Mapping[str, Any]]]]

    @property
    def last_at(self) -> datetime | None:
        """When it was looked at last."""
        return self.looks[-1][0] if self.looks else None

    @property
    def verdict(self) -> Verdict:
        """What the last look said."""
        return verdict_of([
            Measured(each["guardrail"], each["verdict"], each["critical"], each["value_micro"] or 0, each["samples"])
            for each in (self.looks[-1][1] if self.looks else ())
        ])  # fmt: skip


def watched(look: Look) -> Watched:
    """What the change's own events say of it."""
    since, looks = look.change.created_on, list[tuple[datetime, Sequence[Mapping[str, Any]]]]()
    for event in look.bench.aggregates.events(look.place, Change, look.change.local_id):
        if event.type in (m.DeployStarted.TOPIC, m.CanaryStarted.TOPIC, m.DeployPromoted.TOPIC):
            since, looks = event.recorded_at, []
        if event.type == m.GuardrailsMeasured.TOPIC:
            looks.append((event.recorded_at, event.payload["measurements"]))
    return Watched(since, looks)


def look_at(look: Look, since: datetime) -> m.RecordMeasurement:
    """Measure every guardrail now."""
    found = [_examples(look), *_counts(look, since)]
    return m.RecordMeasurement(**look.deploy_step, measurements=[_told(each) for each in found])


def count_looks(strategy: m.Strategy) -> int:
    """How many looks a deployment has at the most: what it is priced by."""
    return (2 * LOOKS + 4) * (len(strategy.steps) + 1)


def every(look: Look, seconds: float) -> timedelta:
    """How far apart looks are in a watch of so many seconds: no closer than the platform or the app asks for."""
    closest_s = look.bench.look_every_s
    if (asked_s := _rules(look).look_every_s) is not None:
        closest_s = min(closest_s, asked_s)
    return timedelta(seconds=max(closest_s, seconds / LOOKS))


def _examples(look: Look) -> Measured:
    """The app's own examples, run against the release that is shown. Where it can't even be opened they fail: that is
    looked at in what is kept, for other processes have yet to open it."""
    assert look.change.release is not None
    try:
        look.bench.releases.tree(look.change.release)
        checked = check_examples(look.bench.releases.app(look.change.release))
    except Unavailable as away:
        return not_measured(EXAMPLES, str(away))
    except FelixError as broken:
        return of_examples([str(broken)], 1)
    return of_examples(checked.wrong, checked.looked_at)


def _counts(look: Look, since: datetime) -> Sequence[Measured]:
    """What was counted of the release since it was shown, beside what all others did before."""
    change, usual_since = look.change, max(look.at - USUAL, look.environment.created_on)
    running = Running(*look.place, change.app, change.environment, str(change.release))
    begun = since.replace(second=0, microsecond=0)
    try:
        counts = look.bench.measurements.counted(running, begun, look.at)
        usual = look.bench.measurements.counted_of_others(running, usual_since, begun)
    except Unavailable as away:
        return [not_measured(COUNTS, str(away))]
    lasted_s = max(60.0, (begun - usual_since).total_seconds())
    compiled, rules = look.bench.releases.ready(str(change.release)), _rules(look)
    tighter: dict[Any, float] = dict(compiled.tighter) if compiled else {}
    for measured, limit in rules.limits.items():
        tighter[measured] = min(limit, tighter.get(measured, limit))
    as_long = max(60.0, (look.at - begun).total_seconds()) / lasted_s
    return measure(counts, usual, as_long, tighter, rules.critical)


def _rules(look: Look) -> Watch:
    """How closely the app wants to be watched, by the rules of what ran before: a change does not judge itself.

    Where that can't be opened any more the platform's rules are left.
    """
    try:
        return look.bench.releases.app(str(look.change.rollback_to)).app.policy.watch
    except (ObjectDamaged, NotFound):
        return Watch()


def _told(measured: Measured) -> m.Measurement:
    """As it is written down. ``value_micro`` is a share where there are samples to share, else a number."""
    counted = measured.verdict != "error"
    share = measured.found / measured.samples if measured.samples else 0.0
    return m.Measurement(
        guardrail=measured.guardrail,
        verdict=measured.verdict,
        critical=measured.critical,
        samples=measured.samples,
        value_micro=round(share * _MICRO) if counted else None,
        limit_micro=round(measured.limit * _MICRO) if counted else None,
        detail=measured.detail,
    )
