"""Jobs that do what apps do by themselves: automations, schedules, and everything that goes out."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from felix.application.jobs.kinds import JobContext, job
from felix.application.outcome import Outcome
from felix.application.secrets import User
from felix.domain.apps.messages import MAX_DETAIL, PlanSchedules, RunAutomations, RunSchedule, SettleEffect
from felix.domain.base import Command
from felix.domain.errors import Corrupt, FelixError, Forbidden, Invalid, NotFound, PaymentRequired, Refused, Unavailable
from felix.eventstore.effects import ATTEMPTS, SENDS
from felix.eventstore.jobs import Job, NewJob

#: How often a release may go while a job is at it; a deployment moves a pointer every few minutes at most.
MAX_MOVES = 5
#: How long it can be looked at what was in the outbox.
KEEP_SETTLED = timedelta(days=90)
#: What will not be otherwise however often an effect is tried.
_FOR_GOOD = (Corrupt, Forbidden, Invalid, NotFound, PaymentRequired, Refused)


@job("apps.run_automations")
def run_automations(context: JobContext) -> Mapping[str, Any]:
    """Run the automations that an event of a record sets off, under a release that is in force."""
    told = context.job.payload
    place, work = _place(context.job), context.upkeep.apps
    for move in range(MAX_MOVES):
        app = work.in_force(place, told["app"], told["environment"], told.get("release"))
        if app is None or not app.app.automations:
            return {"runs": 0}
        command = RunAutomations(
            app=told["app"],
            environment=told["environment"],
            record_id=told["record_id"],
            version=told["version"],
            depth=told.get("depth", 0),
            account_id=work.payer(place),
        )
        outcome = _perform(context, command, app, f"{move}")
        if not outcome.accepted:
            failed = command.model_copy(
                update={"refused": outcome.refusal.code, "detail": str(outcome.refusal)[:MAX_DETAIL]}
            )
            outcome = _perform(context, failed, app, f"{move}/refused")
        if not outcome.result.get("moved"):
            work.count_runs(place, told["app"], told["environment"], app.release, outcome.result)
            return outcome.result
    raise Unavailable("The releases of this app move faster than its automations run.")


@job("apps.plan_schedules")
def plan_schedules(context: JobContext) -> Mapping[str, Any]:
    """Set the timers of the schedules of the release that is active now."""
    told = context.job.payload
    app = context.upkeep.apps.in_force(_place(context.job), told["app"], told["environment"], None)
    if app is None:
        return {"planned": 0}
    return _perform(context, PlanSchedules(app=told["app"], environment=told["environment"]), app, "").result


@job("apps.run_schedule")
def run_schedule(context: JobContext) -> Mapping[str, Any]:
    """Do what a schedule says, if the release that is active still has it at this time; and set its next timer."""
    told = context.job.payload
    place, work = _place(context.job), context.upkeep.apps
    app = work.in_force(place, told["app"], told["environment"], None)
    if app is None:
        return {"ran": False}
    command = RunSchedule(
        app=told["app"],
        environment=told["environment"],
        schedule=told["schedule"],
        due_at=datetime.fromisoformat(told["due_at"]),
        account_id=work.payer(place),
    )
    return _perform(context, command, app, "").result


@job(SENDS, max_attempts=ATTEMPTS, lease_s=60.0)
def send_effect(context: JobContext) -> Mapping[str, Any]:
    """Send an effect that is due, and say that it went out. It is tried again until it has, or never will."""
    place, effect_id = _place(context.job), UUID(context.job.payload["effect_id"])
    work = context.upkeep.apps
    effect = work.effects.find(place, effect_id)
    if effect is None or effect.state != "due":
        return {"sent": False}
    failure: FelixError | None = None
    try:
        work.send(place, effect, context.secrets, _user(context.job))
    except _FOR_GOOD as error:
        failure = error
    except Unavailable as error:
        if context.job.attempts < context.job.max_attempts:
            raise
        failure = error
    settle = SettleEffect(
        app=effect.app,
        environment=effect.environment,
        effect_id=effect_id.hex,
        failure=failure.code if failure else None,
        detail=str(failure)[:MAX_DETAIL] if failure else "",
    )
    return context.perform(settle).result


@job("apps.purge_effects", max_attempts=3, lease_s=120)
def purge_effects(context: JobContext) -> Mapping[str, Any]:
    """Forget what went out, or never will, long ago; the client's log still says it."""
    return {"purged": context.upkeep.apps.effects.purge(KEEP_SETTLED)}


def automations_job(
    place: tuple[int, UUID], told: Mapping[str, Any], origin: str, at: datetime, **trail: UUID | None
) -> NewJob:
    """The job of one event of one record: of each there is one, whoever asks for it."""
    return run_automations.of_tenant(place, f"{told['record_id']}/{told['version']}", origin, at, told, **trail)


def schedule_job(place: tuple[int, UUID], app: str, environment: str, schedule: str, due_at: datetime) -> NewJob:
    """The timer of one time of a schedule."""
    about = f"{app}.{environment}/{schedule}@{due_at:%Y-%m-%dT%H:%MZ}"
    payload = {"app": app, "environment": environment, "schedule": schedule, "due_at": due_at.isoformat()}
    return run_schedule.of_tenant(place, about, f"schedule:{app}.{environment}.{schedule}"[:200], due_at, payload)


def _user(job: Job) -> User:
    return User(job.origin, f"job:{job.job_id}", job.correlation_id, job.causation_id)


def _place(job: Job) -> tuple[int, UUID]:
    if job.tenant_id is None:
        raise NotFound("A job of the platform runs no app.")
    return job.partition, job.tenant_id


def _perform(context: JobContext, command: Command, app: Any, part: str) -> Outcome:
    return context.perform(command, part, enclosed={"app": app})
