"""Which automations an event of a record sets off, and what they do: worked out in memory, and the same every time.

What an automation does to records can set off others. All of it is one cascade with an end: an automation that is set
off by what it did itself stops there and says so, and no event leads to more than so many runs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from felix.domain.apps.base import AppRole
from felix.domain.apps.behaviour import Automation, CallWebhook, CreateRecord, SendEmail, SetField
from felix.domain.apps.conditions import holds
from felix.domain.apps.shapes import CompiledApp
from felix.domain.apps.transitions import StepNotPossible, started
from felix.domain.errors import FelixError, Refused

#: Runs that one event may lead to; an app has at most a few automations for one kind of event.
MAX_RUNS = 50
#: How many appends, one after the other, may follow from one event: modules write records too, which set off more.
MAX_DEPTH = 5


class AutomationLoop(Refused):
    """An automation was set off by what it did itself. It stops there; give it a condition that then does not hold."""


class TooManyRuns(Refused):
    """One event set off more automations, one after the other, than an app may have run at once."""


class PersonalValueSet(Refused):
    """An automation can't write what is personal: such values go from a person straight into the vault."""


@dataclass(frozen=True, slots=True)
class Happening:
    """An event of a record. ``values`` are those after it, and before it where the record is removed; what is personal
    only shows that it is there."""

    event: Literal["created", "changed", "removed"]
    entity: str
    record: str
    values: Mapping[str, Any]
    changed: frozenset[str] = frozenset()
    #: The automations that led to it, each with its record.
    through: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MailAsked:
    """A mail of a template to the address in a field of the record, if it has one, or to everybody with a role."""

    template: str
    record: str
    entity: str
    values: Mapping[str, Any]
    to_field: str | None = None
    to_role: AppRole | None = None


@dataclass(frozen=True, slots=True)
class WebhookAsked:
    """Another system is told of a record, without what is personal."""

    integration: str
    record: str
    entity: str
    event: str
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class FieldsSet:
    """A record gets other values; null takes one away. ``action`` is the step of a workflow that this is."""

    record: str
    entity: str
    values: Mapping[str, Any]
    action: str | None = None


@dataclass(frozen=True, slots=True)
class RecordMade:
    """A new record."""

    record: str
    entity: str
    values: Mapping[str, Any]


Effect = MailAsked | WebhookAsked | FieldsSet | RecordMade


@dataclass(frozen=True, slots=True)
class Run:
    """One run of an automation. It does all that it says, or nothing and why."""

    automation: str
    record: str
    effects: tuple[Effect, ...] = ()
    failure: FelixError | None = field(default=None, compare=False)


def fire(app: CompiledApp, happening: Happening, mint: Callable[[], str]) -> list[Run]:
    """Every run that an event leads to, in the order in which they happen. ``mint`` names new records."""
    runs: list[Run] = []
    waiting = deque([happening])
    records = {happening.record: dict(happening.values)}
    while waiting:
        heard = waiting.popleft()
        for name, automation in sorted(app.app.automations.items()):
            if not _set_off(automation, heard):
                continue
            if len(runs) == MAX_RUNS:
                return [*runs, Run(name, heard.record, failure=TooManyRuns(automation=name, limit=MAX_RUNS))]
            run, follows = _run(app, name, automation, heard, records, mint)
            if run is not None:
                runs.append(run)
                waiting.extend(follows)
    return runs


def _set_off(automation: Automation, heard: Happening) -> bool:
    on = automation.on
    return (
        automation.enabled
        and on.entity == heard.entity
        and on.event == heard.event
        and (on.field is None or on.field in heard.changed)
        and holds(automation.when, heard.values)
    )


def _run(
    app: CompiledApp,
    name: str,
    automation: Automation,
    heard: Happening,
    records: dict[str, dict[str, Any]],
    mint: Callable[[], str],
) -> tuple[Run | None, list[Happening]]:
    """One run, and what happens to records by it. Nothing where an automation meets what it did, and would do no
    more."""
    effects: list[Effect] = []
    follows: list[Happening] = []
    own = dict(records.get(heard.record, heard.values))
    through = (*heard.through, name)
    made: dict[str, dict[str, Any]] = {}
    try:
        for action in automation.actions:
            match action:
                case SendEmail():
                    if action.to_field is not None and not own.get(action.to_field):
                        continue
                    effects.append(
                        MailAsked(
                            action.template, heard.record, heard.entity, dict(own), action.to_field, action.to_role
                        )
                    )
                case CallWebhook():
                    personal = app.shapes[heard.entity].personal
                    plain = {field: value for field, value in own.items() if field not in personal}
                    effects.append(WebhookAsked(action.integration, heard.record, heard.entity, heard.event, plain))
                case SetField(field=target, value=value):
                    if heard.event == "removed" or own.get(target) == value:
                        continue
                    _refuse_personal(app, heard.entity, [target])
                    values = app.shapes[heard.entity].part({target: value})
                    step = _step_to(app, heard.entity, own, values)
                    own |= values
                    effects.append(FieldsSet(heard.record, heard.entity, values, step))
                    follows.append(
                        Happening("changed", heard.entity, heard.record, dict(own), frozenset(values), through)
                    )
                case CreateRecord():
                    given = dict(action.values) | {
                        to: own[source] for to, source in action.from_fields.items() if own.get(source) is not None
                    }
                    _refuse_personal(app, action.entity, given)
                    _refuse_personal(app, heard.entity, action.from_fields.values())
                    values = started(app, action.entity, app.shapes[action.entity].whole(given))
                    record = mint()
                    made[record] = values
                    effects.append(RecordMade(record, action.entity, values))
                    follows.append(Happening("created", action.entity, record, values, frozenset(values), through))
        if name in heard.through and effects:
            raise AutomationLoop(automation=name, through=list(heard.through))
    except FelixError as failure:
        return Run(name, heard.record, failure=failure), []
    if name in heard.through:
        return None, []
    records[heard.record] = own
    records.update(made)
    return Run(name, heard.record, tuple(effects)), follows


def _refuse_personal(app: CompiledApp, entity: str, fields: Iterable[str]) -> None:
    if found := app.shapes[entity].personal.intersection(fields):
        raise PersonalValueSet(entity=entity, fields=sorted(found))


def _step_to(app: CompiledApp, entity: str, before: Mapping[str, Any], values: Mapping[str, Any]) -> str | None:
    """The step that leads to a state, where a workflow governs the field. An automation takes the steps that there are;
    who may take them is a question to people. Raises ``StepNotPossible``."""
    for workflow in app.app.workflows.values():
        if workflow.entity != entity or workflow.field not in values:
            continue
        state, wanted = before.get(workflow.field) or workflow.initial, values[workflow.field]
        for step in workflow.transitions:
            if state in step.from_ and step.to == wanted and holds(step.when, before):
                return step.action
        raise StepNotPossible(field=workflow.field, state=state, wanted=wanted)
    return None
