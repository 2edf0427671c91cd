"""Guardrails: what a release must not do while it is new, and what a look at it says.

The app's own examples come first: they say something of an app that nobody uses, too. What was counted comes second,
and only where it is enough to be more than chance: an exact bound on counts, no curve that they would have to follow.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from math import exp, lgamma, log, log1p
from typing import Literal

from felix.domain.apps.measured import Measure

#: ``inconclusive`` is too little to say either; ``error`` is that it could not be looked at all.
Verdict = Literal["pass", "fail", "inconclusive", "error"]
#: What counts as chance: one release in so many that is fine would be rolled back for nothing, for each look at it.
CHANCE = 0.001
#: How many times as much as usual is too much.
TIMES_USUAL = 3.0
EXAMPLES = "examples"

Counts = Mapping[Measure, int]
_NO_TIGHTER: Mapping[Measure, float] = {}


@dataclass(frozen=True, slots=True)
class Guardrail:
    """A share of something that must not be higher than ``limit``, or a volume that must not be far above the usual.

    One that is ``critical`` ends a deploy at its first failure, another when it has failed several times.
    """

    name: str
    bad: Measure
    of: Measure | None
    limit: float
    min_samples: int
    critical: bool = False


#: Slow means slower than ``SLOW_S``: a share of 5 % of those is a 95th percentile.
GUARDRAILS = (
    Guardrail("error_rate", "failed_requests", "requests", 0.02, 20, critical=True),
    Guardrail("latency", "slow_requests", "requests", 0.05, 40),
    Guardrail("validation_rejects", "rejected_writes", "writes", 0.2, 20),
    Guardrail("automation_failures", "failed_automations", "automations", 0.05, 10, critical=True),
    Guardrail("outbound_volume", "outbound", None, TIMES_USUAL, 20, critical=True),
    Guardrail("token_burn", "burned_mtok", None, TIMES_USUAL, 10_000),
)


@dataclass(frozen=True, slots=True)
class Measured:
    """What one guardrail says: ``found`` of ``samples``, and up to which share or number that would have been good."""

    guardrail: str
    verdict: Verdict
    critical: bool = False
    found: int = 0
    samples: int = 0
    limit: float = 0.0
    detail: str = ""


def measure(
    counts: Counts,
    usual: Counts,
    share_of_usual: float,
    tighter: Mapping[Measure, float] = _NO_TIGHTER,
    critical: Collection[str] = (),
) -> list[Measured]:
    """What the counts of a release say, beside those of what ran before.

    ``share_of_usual`` is by how much the usual counts have to be multiplied to be of as long a time. ``tighter`` has
    the limits that the app's modules and its policy set, where those are less, and ``critical`` the guardrails that end
    a deploy at their first failure, beside those that always do.
    """
    rails = (
        replace(
            rail,
            limit=min(rail.limit, tighter.get(rail.bad, rail.limit)),
            critical=rail.critical or rail.name in critical,
        )
        for rail in GUARDRAILS
    )
    return [_measured(guardrail, counts, usual, share_of_usual) for guardrail in rails]


def of_examples(failed: Sequence[str], ran: int) -> Measured:
    """What the app's own examples say; an app without any says nothing."""
    verdict: Verdict = "fail" if failed else "pass" if ran else "inconclusive"
    return Measured(EXAMPLES, verdict, True, len(failed), ran, detail="; ".join(failed)[:500])


def not_measured(name: str, why: str) -> Measured:
    """The guardrail could not be looked at."""
    return Measured(name, "error", detail=why[:500])


def verdict_of(look: Sequence[Measured]) -> Verdict:
    """What one look says of all of them. What has to fail more than once says ``inconclusive`` before it does.

    Where nothing bad was seen, examples that pass are enough, whatever there is too little of to count.
    """
    if any(measured.verdict == "fail" and measured.critical for measured in look):
        return "fail"
    if any(measured.verdict in ("fail", "error") for measured in look):
        return "inconclusive"
    unsure = [measured for measured in look if measured.verdict == "inconclusive"]
    if any(measured.found for measured in unsure):
        return "inconclusive"
    passed = any(measured.guardrail == EXAMPLES and measured.verdict == "pass" for measured in look)
    return "pass" if passed or not unsure else "inconclusive"


def _measured(guardrail: Guardrail, counts: Counts, usual: Counts, share_of_usual: float) -> Measured:
    found = counts.get(guardrail.bad, 0)
    if guardrail.of is None:
        limit = guardrail.limit * usual.get(guardrail.bad, 0) * share_of_usual
        verdict = _of_volume(guardrail, found, limit)
        return Measured(guardrail.name, verdict, guardrail.critical, found, found, limit)
    samples = counts.get(guardrail.of, 0)
    # What was bad before is nothing that the release has done.
    before = usual.get(guardrail.bad, 0) / max(usual.get(guardrail.of, 0), guardrail.min_samples)
    limit = min(1.0, max(guardrail.limit, TIMES_USUAL / 2 * before))
    verdict = _of_share(guardrail, found, samples, limit)
    return Measured(guardrail.name, verdict, guardrail.critical, found, samples, limit)


def _of_volume(guardrail: Guardrail, found: int, limit: float) -> Verdict:
    return "pass" if found < guardrail.min_samples or found <= limit else "fail"


def _of_share(guardrail: Guardrail, found: int, samples: int, limit: float) -> Verdict:
    if samples >= guardrail.min_samples and found <= limit * samples:
        return "pass"
    if found and by_chance(found, samples, limit) < CHANCE:
        return "fail"
    return "inconclusive"


def by_chance(found: int, samples: int, share: float) -> float:
    """How probable it is that at least ``found`` of ``samples`` are bad where each is with probability ``share``.

    The tail of the binomial distribution, summed up to where what follows is nothing.
    """
    if found <= 0 or share >= 1.0:
        return 1.0
    if share <= 0.0:
        return 0.0
    whole, tail = lgamma(samples + 1), 0.0
    for k in range(found, samples + 1):
        ways = whole - lgamma(k + 1) - lgamma(samples - k + 1)
        term = exp(ways + k * log(share) + (samples - k) * log1p(-share))
        tail += term
        if term < tail * 1e-12:
            break
    return min(1.0, tail)
