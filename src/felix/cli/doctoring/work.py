"""Whether what happens behind the commands goes on: read models, jobs, and the nightly look at the books."""

from __future__ import annotations

from typing import TYPE_CHECKING

from felix.cli.doctoring.examination import Examination
from felix.cli.doctoring.findings import Findings, ok, problem, warning

if TYPE_CHECKING:
    from felix.projections.vital_signs import VitalSigns


def worker(examination: Examination) -> Findings:
    """A worker is connected, and every read model moves while there is something to retell."""
    signs, limits = _signs(examination), examination.limits
    behind = [lag for lag in signs.lags if lag.lag_events > 0]
    # Something has waited for so long, and nothing moved: one alone says little, since a quiet log moves nothing.
    still = [lag for lag in behind if min(lag.age_s, lag.moved_s) > limits.stuck_after_s]
    late = [lag for lag in behind if lag not in still and lag.lag_events > limits.lag_events]
    if still:
        names = ", ".join(sorted({lag.projection for lag in still}))
        yield problem(
            f"Read models stand still, up to {max(lag.lag_events for lag in still):,} events behind: {names}.",
            "Balances and lists are old. Writes go on, debits are still exact, and nothing is lost."
            + ("" if signs.retold else " No worker is connected."),
            "tail -n 30 {}; felix up, or systemctl restart felix-worker".format(
                examination.data_dir / "logs" / "felix-worker.log"
            ),
        )
    for lag in late:
        yield warning(
            f"{lag.projection} is {lag.lag_events:,} events behind in partition {lag.partition}, and moves.",
            "What it answers is old until it has caught up.",
            "felix projections lag",
        )
    for lag in signs.lags:
        if lag.lag_events < 0:
            yield problem(
                f"{lag.projection} is {-lag.lag_events:,} events ahead of the log in partition {lag.partition}.",
                "The log was restored and the read model was not: it tells what is not there any more.",
                f"felix projections rebuild {lag.projection}",
            )
    if not signs.retold and not still:
        yield warning(
            "No worker is connected.",
            "New events are not retold, and jobs wait. Nothing is lost.",
            "felix up, or systemctl start felix-worker",
        )
    if signs.retold and not still and not late:
        most = max((lag.lag_events for lag in signs.lags), default=0)
        yield ok(f"connected; the read models are at most {most:,} events behind")


def poison(examination: Examination) -> Findings:
    """No projection had to leave out the events of a client."""
    for each in _signs(examination).poisoned:
        yield problem(
            f"{each.projection} has stopped for {each.tenants} client{'s' * (each.tenants != 1)}: {each.error}.",
            "The others go on. What these see is as of the event that failed; theirs are in the log, nothing is lost.",
            "felix projections list (names the events; after a fix they are tried again by themselves)",
        )
    if not _signs(examination).poisoned:
        yield ok("no event has stopped a read model")


def jobs(examination: Examination) -> Findings:
    """What is due is done, and nothing was given up."""
    signs = _signs(examination)
    dead = signs.jobs.get("dead", 0)
    if dead:
        yield problem(
            f"{dead:,} job{'s' * (dead != 1)} failed as often as they may, and were given up.",
            "What they would have done has not happened.",
            "felix jobs list --state dead; felix jobs retry",
        )
    overdue = signs.overdue_s > examination.limits.overdue_s
    if overdue:
        yield problem(
            f"A job has been due for {signs.overdue_s:,.0f} s.",
            "No worker takes it up: holds and lots run out late, and nightly work is missing.",
            "felix jobs list; felix status",
        )
    if not dead and not overdue:
        yield ok(f"{signs.jobs.get('waiting', 0):,} waiting, none overdue or given up")


def books(examination: Examination) -> Findings:
    """The last verification of the ledger found nothing wrong."""
    last = _signs(examination).verification
    if last is None:
        yield ok("not verified yet: they are, every night")
        return
    at = f"{last.finished_at:%Y-%m-%d %H:%M}"
    if last.problems is None:
        yield warning(
            f"The verification of {at} did not end: {last.error}.",
            "Nobody has looked at the books since the one before.",
            "felix verify ledger",
        )
    elif last.problems:
        yield problem(
            f"The verification of {at} found {last.problems:,} contradictions.",
            "Stored facts contradict each other. Stop writing before you look.",
            "felix verify ledger",
        )
    else:
        yield ok(f"nothing was wrong on {at}")


def planner_model(examination: Examination) -> Findings:
    """The language model that is set has a price."""
    can_be_paid, model = _signs(examination).model_can_be_paid, examination.settings.planner_model
    if can_be_paid is False:
        yield problem(
            f"{model} has no price on any client's rate card.",
            "What has no price is not asked: the grammar alone plans, and whoever wants the model is refused.",
            "felix rates publish (llm.input_tokens and llm.output_tokens for this model)",
        )
    else:
        yield ok("none is set" if model is None else f"{model} can be asked")


def _signs(examination: Examination) -> VitalSigns:
    signs = examination.signs
    if signs is None:
        raise LookupError("the database was not examined")
    return signs
