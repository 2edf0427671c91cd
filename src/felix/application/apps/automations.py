"""What apps do by themselves, decided in the lane: automations after an event of a record, schedules at their times.

All that follows from one event happens in one append: the records that automations change and make, the history and the
charge, and the outbox beside it. Or none of it does, and the history says why.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from itertools import count
from typing import Any, TypeVar, cast
from uuid import UUID

from felix.application import records
from felix.application.apps.schedules import NeverComes, comes_at, next_time
from felix.application.jobs.apps import automations_job, schedule_job
from felix.application.ledger import price_line
from felix.application.unit_of_work import UnitOfWork, handles
from felix.domain.apps.behaviour import RunReport
from felix.domain.apps.firing import (
    MAX_DEPTH,
    FieldsSet,
    Happening,
    MailAsked,
    RecordMade,
    Run,
    TooManyRuns,
    WebhookAsked,
    fire,
)
from felix.domain.apps.messages import RUNS_METER, Environment, PlanSchedules, RunAutomations, RunSchedule, SettleEffect
from felix.domain.apps.runs import AppRuns
from felix.domain.apps.shapes import CompiledApp
from felix.domain.base import CommandContext, FelixAggregate, FelixEvent
from felix.domain.changes.environment import AppEnvironment
from felix.domain.errors import FelixError, NotFound, Refused, recall
from felix.domain.ledger.token_account import TokenAccount
from felix.domain.metering.catalogue import own_price
from felix.domain.metering.rate_card import UnknownPrice
from felix.domain.records.messages import (
    ChangeRecord,
    CreateRecord,
    RecordChanged,
    RecordCreated,
    RecordRemoved,
    StepTaken,
    TakeStep,
)
from felix.domain.records.record import Record
from felix.eventstore import effects
from felix.eventstore.jobs import asked_beside
from felix.eventstore.side_statements import SideStatement

A = TypeVar("A", bound=FelixAggregate)

_WORD = re.compile(r"[a-z][a-z0-9_]{0,62}")


class ModuleRunsNothing(Refused):
    """The module has nothing of this name that a schedule could run."""


# --- automations --------------------------------------------------------------------------------------------


@handles(RunAutomations)
def run_automations(command: RunAutomations, unit: UnitOfWork) -> dict[str, Any]:
    """Run what an event of a record sets off; ``moved`` where the release is not in force any more."""
    app: CompiledApp = unit.context.enclosed["app"]
    environment = unit.find(AppEnvironment, f"{command.app}.{command.environment}")
    if environment is None or app.release not in (environment.stable, environment.candidate):
        return {"runs": 0, "failed": 0, "moved": True}
    record = unit.find(Record, command.record_id)
    if record is None or (record.app, record.environment) != (command.app, command.environment):
        return {"runs": 0, "failed": 0}
    event = unit.event_at(record, command.version)
    happening = None if event is None else _happening(record, event)
    if happening is None:
        return {"runs": 0, "failed": 0}
    names = count(1)
    runs = fire(app, happening, lambda: f"new {next(names)}")
    if not runs:
        return {"runs": 0, "failed": 0}
    cause, history = (command.record_id, command.version), _history(unit, command.app, command.environment)
    if command.depth >= MAX_DEPTH:
        command = command.model_copy(update={"refused": TooManyRuns.code, "detail": TooManyRuns.sentence()})
    if command.refused is not None:
        refusal = recall({"code": command.refused, "detail": command.detail, "facts": {}})
        for run in runs:
            history.failed(run.automation, cause, app.release, run.failure or refusal)
        return {"runs": 0, "failed": len(runs)}
    held = app.release == environment.candidate
    work = _Work(command, _Watching(unit), app, environment.deployment_id if held else None)
    for run in runs:
        if run.failure is not None:
            history.failed(run.automation, cause, app.release, run.failure)
            continue
        made, written = work.do(run)
        history.ran(
            run.automation, cause, app.release, effects=made, records=written, deployment_id=work.deployment_id,
            charged_mtok=_charge(unit, command.app, command.account_id, f"{run.automation} {cause[0]}@{cause[1]}"),
        )  # fmt: skip
    work.set_off_more()
    failed = sum(run.failure is not None for run in runs)
    return {"runs": len(runs) - failed, "failed": failed, "outbound": work.outbound}


def _happening(record: Record, event: FelixEvent) -> Happening | None:
    """What an event of a record means to automations. What the event said wins over what was written since."""
    told = record.told
    match event:
        case RecordCreated():
            name, said = "created", event.values
            changed = {*event.values, *event.personal}
        case RecordChanged():
            name, said = "changed", event.values
            changed = {*event.values, *event.personal}
        case StepTaken():
            name, said = "changed", event.values
            changed = set(event.values)
        case RecordRemoved():
            name, said, changed = "removed", {}, set()
        case _:
            return None
    values = {field: value for field, value in (told | said).items() if value is not None}
    return Happening(name, record.entity, record.local_id, values, frozenset(changed))  # type: ignore[arg-type]


class _Work:
    """Does what runs say: records through the same handlers as people's, everything else into the outbox."""

    def __init__(self, command: RunAutomations, unit: _Watching, app: CompiledApp, deployment_id: str | None) -> None:
        self.deployment_id = deployment_id
        self.outbound = 0
        self._command = command
        self._unit = unit
        self._app = app
        self._ids: dict[str, str] = {}
        self._written: set[tuple[str, int]] = set()
        self._place = (unit.partition, unit.context.tenant_id)
        self._numbers = count(1)

    def do(self, run: Run) -> tuple[list[str], list[str]]:
        """Ids of the effects that go out, and of the records that were written. Raises what the books refuse with."""
        made: list[str] = []
        written: list[str] = []
        for effect in run.effects:
            match effect:
                case MailAsked():
                    made += self._ask_for(run.automation, effect)
                case WebhookAsked():
                    made.append(self._tell(run.automation, effect))
                case FieldsSet():
                    written.append(self._change(effect))
                case RecordMade():
                    written.append(self._create(effect))
        return made, written

    def set_off_more(self) -> None:
        """What modules wrote along with all this sets off automations too, each in an append of its own."""
        for record in self._unit.records.values():
            for event in cast("list[FelixEvent]", record.pending_events):
                version = event.originator_version
                if (record.local_id, version) not in self._written:
                    told = {
                        "app": self._command.app, "environment": self._command.environment,
                        "record_id": record.local_id, "version": version, "release": self._app.release,
                        "depth": self._command.depth + 1,
                    }  # fmt: skip
                    context = self._unit.context
                    job = automations_job(
                        self._place, told, context.actor, context.at,
                        correlation_id=context.correlation_id, causation_id=event.event_id,
                    )  # fmt: skip
                    self._unit.beside(asked_beside(job))

    def _change(self, effect: FieldsSet) -> str:
        record_id = self._ids.get(effect.record, effect.record)
        if effect.action is None:
            change = ChangeRecord(**self._where(effect.entity), record_id=record_id, values=dict(effect.values))
            do = partial(records.change_record, change, self._unit)
        else:
            step = TakeStep(**self._where(effect.entity), record_id=record_id, action=effect.action)
            do = partial(records.take_step, step, self._unit)
        # What comes next is this change; what follows it in the same stream is a module's.
        self._written.add((record_id, self._unit.get(Record, record_id).version + 1))
        do()
        return record_id

    def _create(self, effect: RecordMade) -> str:
        values = {name: value for name, value in effect.values.items() if value is not None}
        create = CreateRecord(**self._where(effect.entity), values=values)
        outcome = records.create_record(create, self._unit)
        record_id: str = outcome["record_id"]
        self._ids[effect.record] = record_id
        self._written.add((record_id, 1))
        return record_id

    def _where(self, entity: str) -> dict[str, Any]:
        return {
            "app": self._command.app, "environment": self._command.environment, "entity": entity,
            "release": self._app.release, "account_id": self._command.account_id,
        }  # fmt: skip

    def _tell(self, automation: str, webhook: WebhookAsked) -> str:
        command = self._command
        told = {
            "integration": webhook.integration, "event": webhook.event, "entity": webhook.entity,
            "record_id": self._ids.get(webhook.record, webhook.record), "values": dict(webhook.values),
        }  # fmt: skip
        self.outbound += 1
        return _put(
            self._unit, command.app, command.environment, self._app.release, self.deployment_id, "webhook",
            f"{automation} {command.record_id}@{command.version}", self._about(automation), told,
        )  # fmt: skip

    def _about(self, automation: str) -> str:
        """What names an effect: the event that caused it, the automation, and which of its actions it is."""
        command = self._command
        place = f"{command.app}.{command.environment}/{command.record_id}/{command.version}"
        return f"{place}/{automation}/{next(self._numbers)}"

    def _ask_for(self, automation: str, mail: MailAsked) -> list[str]:
        """One effect for each recipient; a role that nobody has is no mail."""
        unit, command = self._unit, self._command
        record_id = self._ids.get(mail.record, mail.record)
        told = {
            "template": mail.template, "entity": mail.entity, "record_id": record_id,
            "values": _mentioned(self._app, mail),
        }  # fmt: skip
        about = self._about(automation)
        if mail.to_field is not None:
            recipients = [("", {"field": mail.to_field})]
        else:
            asked = effects.members_of(unit.context.tenant_id, str(mail.to_role), unit.context.at)
            recipients = [(f"/{user_id}", {"user": user_id}) for (user_id,) in unit.ask_beside(asked)]
        cause = f"{automation} {command.record_id}@{command.version}"
        made = [
            _put(unit, command.app, command.environment, self._app.release, self.deployment_id, "email", cause,
                 about + suffix, told | {"to": to})
            for suffix, to in recipients
        ]  # fmt: skip
        self.outbound += len(made)
        return made


def _mentioned(app: CompiledApp, mail: MailAsked) -> dict[str, Any]:
    """The values that a template can name, and the address; nothing that is personal leaves the vault for this."""
    template = app.app.templates[mail.template]
    words = {*_WORD.findall(app.app.texts[mail.template]), *_WORD.findall(template.subject), mail.to_field or ""}
    personal = app.shapes[mail.entity].personal
    return {name: value for name, value in mail.values.items() if name in words and name not in personal}


class _Watching:
    """A unit of work that remembers which records were looked at, and so which of them were written."""

    def __init__(self, unit: UnitOfWork) -> None:
        self._unit = unit
        self.context: CommandContext = unit.context
        self.partition = unit.partition
        self.records: dict[str, Record] = {}

    def find(self, aggregate_class: type[A], local_id: str) -> A | None:
        """See :class:`UnitOfWork`, here and below."""
        found = self._unit.find(aggregate_class, local_id)
        self._note(found)
        return found

    def get(self, aggregate_class: type[A], local_id: str) -> A:
        found = self._unit.get(aggregate_class, local_id)
        self._note(found)
        return found

    def add(self, aggregate: FelixAggregate) -> None:
        self._unit.add(aggregate)
        self._note(aggregate)

    def event_at(self, aggregate: FelixAggregate, version: int) -> FelixEvent | None:
        return self._unit.event_at(aggregate, version)

    def known_usage(self, keys: list[bytes]) -> set[bytes]:
        return self._unit.known_usage(keys)

    def beside(self, write: SideStatement) -> None:
        self._unit.beside(write)

    def ask_beside(self, question: SideStatement) -> list[tuple[Any, ...]]:
        return self._unit.ask_beside(question)

    def remember_usage(self, event: FelixEvent, key: bytes) -> None:
        self._unit.remember_usage(event, key)

    def _note(self, aggregate: FelixAggregate | None) -> None:
        if isinstance(aggregate, Record):
            self.records[aggregate.id] = aggregate


# --- schedules ----------------------------------------------------------------------------------------------


@handles(PlanSchedules)
def plan_schedules(command: PlanSchedules, unit: UnitOfWork) -> dict[str, Any]:
    """Set the next timer of every schedule that is enabled. Timers of a release before find nothing to do."""
    app: CompiledApp = unit.context.enclosed["app"]
    planned = 0
    for name, schedule in sorted(app.app.schedules.items()):
        planned += schedule.enabled and _set_timer(unit, command.app, command.environment, app, name)
    return {"planned": planned}


@handles(RunSchedule)
def run_schedule(command: RunSchedule, unit: UnitOfWork) -> dict[str, Any]:
    """Do what a schedule says at a time at which it still comes; then set its next timer, from now on."""
    app: CompiledApp = unit.context.enclosed["app"]
    schedule = app.app.schedules.get(command.schedule)
    if schedule is None or not schedule.enabled or not comes_at(schedule, command.due_at):
        return {"ran": False, "effects": 0}
    _set_timer(unit, command.app, command.environment, app, command.schedule)
    history = _history(unit, command.app, command.environment)
    if not isinstance(schedule.job, RunReport):
        missing = ModuleRunsNothing(module=schedule.job.module, handler=schedule.job.handler)
        history.schedule_failed(command.schedule, command.due_at, app.release, missing)
        return {"ran": False, "effects": 0}
    try:
        charged_mtok = _charge(unit, command.app, command.account_id, command.schedule)
    except FelixError as refusal:
        history.schedule_failed(command.schedule, command.due_at, app.release, refusal)
        return {"ran": False, "effects": 0}
    at, report = f"{command.due_at:%Y-%m-%dT%H:%MZ}", schedule.job.report
    made = []
    for (user_id,) in unit.ask_beside(
        effects.members_of(unit.context.tenant_id, schedule.job.to_role, unit.context.at)
    ):
        about = f"{command.app}.{command.environment}/{command.schedule}@{at}/{user_id}"
        told = {"report": report, "at": at, "to": {"user": user_id}}
        made.append(
            _put(unit, command.app, command.environment, app.release, None, "report", f"{command.schedule} {at}", about,
                 told)
        )  # fmt: skip
    history.schedule_ran(command.schedule, command.due_at, app.release, effects=made, charged_mtok=charged_mtok)
    return {"ran": True, "effects": len(made)}


def _set_timer(unit: UnitOfWork, app_name: str, environment: str, app: CompiledApp, schedule: str) -> bool:
    """The timer of the next time after now: what was missed while nobody was there is not made up for."""
    try:
        due_at = next_time(app.app.schedules[schedule], unit.context.at)
    except NeverComes:
        return False
    place = (unit.partition, unit.context.tenant_id)
    unit.beside(asked_beside(schedule_job(place, app_name, environment, schedule, due_at)))
    return True


# --- what goes out ------------------------------------------------------------------------------------------


@handles(SettleEffect)
def settle_effect(command: SettleEffect, unit: UnitOfWork) -> dict[str, Any]:
    """Say once what became of an effect."""
    place, effect_id = (unit.partition, unit.context.tenant_id), UUID(command.effect_id)
    found = unit.ask_beside(effects.state_of(place, effect_id))
    if not found:
        raise NotFound(f"There is no effect {command.effect_id}.", id=command.effect_id)
    state, kind, release = found[0]
    if state != "due":
        return {"sent": state == "sent"}
    unit.beside(effects.settled(place, effect_id, command.failure, unit.context.at))
    history = _history(unit, command.app, command.environment)
    if command.failure is None:
        history.sent(command.effect_id, kind, release)
    else:
        history.not_sent(command.effect_id, kind, release, command.failure, command.detail)
    return {"sent": command.failure is None}


def _put(
    unit: UnitOfWork | _Watching,
    app: str,
    environment: Environment,
    release: str,
    deployment_id: str | None,
    kind: Any,
    cause: str,
    about: str,
    told: Mapping[str, Any],
) -> str:
    """Put an effect into the outbox, with its job unless it has to wait for a deployment; its id."""
    place, at = (unit.partition, unit.context.tenant_id), unit.context.at
    job = effects.job_of(place, about, unit.context.actor, at)
    state: effects.State = "due" if deployment_id is None else "held"
    effect = effects.Effect(job.job_id, app, environment, release, deployment_id, kind, cause, told, state, at)
    unit.beside(effects.kept(place, effect))
    if deployment_id is None:
        unit.beside(asked_beside(job))
    return job.job_id.hex


def _charge(unit: UnitOfWork, app: str, account_id: str | None, reference: str) -> int:
    """Charge one run. Raises ``NoTokenAccount`` and what an account refuses with."""
    if account_id is None:
        raise records.NoTokenAccount()
    try:
        line, version = price_line(unit, RUNS_METER, 1, None, unit.context.at)
        rate_card: str | None = f"default/{version}"
    except UnknownPrice:
        priced = own_price(RUNS_METER, 1)
        line, rate_card = (RUNS_METER, 1, priced.amount_mtok, priced.trace), None
    account = unit.get(TokenAccount, account_id)
    return account.charge(lines=[line], app=app, rate_card=rate_card, reference=reference[:200]).amount_mtok


def _history(unit: UnitOfWork, app: str, environment: str) -> AppRuns:
    history = unit.find(AppRuns, f"{app}.{environment}")
    if history is None:
        history = AppRuns.of(unit.context, app, environment)
        unit.add(history)
    return history
