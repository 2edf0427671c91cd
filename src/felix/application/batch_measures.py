"""Counts what became of the commands of a batch, after everybody has their answer."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import orjson

from felix import measures, trail
from felix.application.outcome import Outcome
from felix.domain.errors import FelixError

if TYPE_CHECKING:
    from felix.application.lane import Submission


def count_batch(partition: int, batch: Sequence[Submission], begun_ns: int, decided_ns: int | None) -> None:
    """``begun_ns`` and ``decided_ns`` are readings of ``perf_counter_ns``; nothing was committed without the second."""
    ended_ns = time.perf_counter_ns()
    if measures.is_kept():
        measures.BATCH_SECONDS.observe((ended_ns - begun_ns) / 1e9)
        measures.BATCH_COMMANDS.observe(len(batch))
        if decided_ns is not None:
            measures.COMMIT_SECONDS.observe((ended_ns - decided_ns) / 1e9)
        weight, became = 0, dict[tuple[str, str], int]()
        for submission in batch:
            weight += submission.weight
            key = _became(submission)
            became[key] = became.get(key, 0) + 1
            answer = submission.answer
            if isinstance(answer, FelixError):
                measures.FAILURES.add(answer.code)
            elif answer is not None and not answer.accepted and not answer.replayed:
                measures.REFUSALS.add(orjson.loads(answer.body)["code"])
        measures.BATCH_WEIGHT.observe(weight)
        for (name, outcome), count in became.items():
            measures.COMMANDS.add(name, outcome, by=count)
    if trail.tracer is not None:
        now_ns = time.time_ns() - time.perf_counter_ns()
        times = trail.BatchTimes(now_ns + begun_ns, now_ns + (decided_ns or ended_ns), now_ns + ended_ns)
        traced = [_traced(submission, now_ns) for submission in batch if submission.parent is not None]
        if traced:
            trail.tracer.batch(partition, times, traced)


def _became(submission: Submission) -> tuple[str, str]:
    answer = submission.answer
    if not isinstance(answer, Outcome):
        outcome = "failed"
    elif answer.replayed:
        outcome = "replayed"
    else:
        outcome = "accepted" if answer.accepted else "refused"
    return submission.command.command_name, outcome


def _traced(submission: Submission, now_ns: int) -> trail.TracedCommand:
    context = submission.context
    name, outcome = _became(submission)
    attributes = {
        "felix.command_id": str(context.command_id),
        "felix.tenant_id": str(context.tenant_id),
        "felix.correlation_id": str(context.correlation_id or context.command_id),
        "felix.outcome": outcome,
    }
    return trail.TracedCommand(
        name, submission.parent, now_ns + submission.submitted_ns, attributes, outcome == "failed"
    )
