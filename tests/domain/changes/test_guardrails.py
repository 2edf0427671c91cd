"""What a look at a release says: enough to be sure, or that it is not enough."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from felix.domain.apps.behaviour import Watch
from felix.domain.changes.guardrails import by_chance, measure, not_measured, of_examples, verdict_of


def said(usual: Any = None, **counts: int) -> dict[str, str]:
    """The verdicts by guardrail."""
    return {each.guardrail: each.verdict for each in measure(counts, usual or {}, 1.0)}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("requests", "failed", "verdict"),
    [(0, 0, "inconclusive"), (100, 1, "pass"), (5, 1, "inconclusive"), (5, 5, "fail"), (40, 10, "fail")],
)  # fmt: skip
def test_failed_requests_fail_a_release_once_they_are_more_than_chance(
    requests: int, failed: int, verdict: str
) -> None:
    assert said(requests=requests, failed_requests=failed)["error_rate"] == verdict


def test_what_was_as_bad_before_is_nothing_that_the_release_has_done() -> None:
    before = {"writes": 1_000, "rejected_writes": 400}
    assert said(writes=50, rejected_writes=22)["validation_rejects"] == "fail"
    assert said(before, writes=50, rejected_writes=22)["validation_rejects"] == "pass"


def test_three_times_as_many_mails_as_usual_are_too_many() -> None:
    assert said({"outbound": 100}, outbound=300)["outbound_volume"] == "pass"
    assert said({"outbound": 100}, outbound=301)["outbound_volume"] == "fail"
    assert said(outbound=19)["outbound_volume"] == "pass", "too few to be a flood"


def test_an_app_is_watched_more_closely_than_the_platform_asks_and_never_less() -> None:
    counts: Any = {"requests": 2_000, "failed_requests": 20, "outbound": 200, "writes": 40, "rejected_writes": 1}
    usual: Any = {"outbound": 100}

    def told(watch: Watch) -> dict[str, str]:
        found = measure(counts, usual, 1.0, watch.limits, watch.critical)  # type: ignore[arg-type]
        return {each.guardrail: each.verdict for each in found}

    assert (told(Watch())["error_rate"], told(Watch())["outbound_volume"]) == ("pass", "pass")
    closer = Watch(at_most_permille={"failed_requests": 2}, at_most_percent_of_usual={"outbound": 150})
    assert (told(closer)["error_rate"], told(closer)["outbound_volume"]) == ("fail", "fail")
    assert told(Watch(at_most_permille={"failed_requests": 900})) == told(Watch())
    found = measure({}, {}, 1.0, {}, Watch(critical=["latency"]).critical)
    assert {each.guardrail for each in found if each.critical} == {
        "error_rate", "latency", "automation_failures", "outbound_volume"
    }  # fmt: skip


def test_examples_that_pass_are_enough_where_nothing_bad_was_seen() -> None:
    quiet = measure({}, {}, 1.0)
    assert verdict_of([of_examples([], 3), *quiet]) == "pass"
    assert verdict_of([of_examples([], 0), *quiet]) == "inconclusive"
    assert verdict_of([of_examples(["making"], 3), *quiet]) == "fail"
    assert verdict_of([of_examples([], 3), not_measured("counts", "away")]) == "inconclusive"
    assert verdict_of([of_examples([], 3), *measure({"requests": 5, "failed_requests": 1}, {}, 1.0)]) == "inconclusive"


@given(st.integers(0, 400), st.integers(0, 400), st.floats(0.001, 0.999))
def test_a_tail_is_a_probability_that_falls_as_more_is_found(found: int, samples: int, share: float) -> None:
    tail = by_chance(found, samples, share)
    assert 0.0 <= tail <= 1.0 and by_chance(found + 1, samples, share) <= tail + 1e-9
