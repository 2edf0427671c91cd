"""Steps of workflows: which one a record can take, and who may take it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from felix.domain.apps.behaviour import Transition, Workflow
from felix.domain.apps.conditions import holds
from felix.domain.apps.roles import may
from felix.domain.apps.shapes import CompiledApp
from felix.domain.errors import Forbidden, NotFound, Refused


class NoSuchStep(NotFound):
    """No workflow of this entity has such a step."""


class StepNotPossible(Refused):
    """No such step leads on from the state that the record is in."""


class StepConditionUnmet(Refused):
    """The record does not meet the condition of this step."""


class StepNotYours(Forbidden):
    """This step is for other roles."""


class MakerMayNot(Forbidden):
    """Whoever made the record may not take this step."""


class ChangedByStepsOnly(Refused):
    """The state of a workflow changes by its steps only."""


class StartsElsewhere(Refused):
    """A new record begins its workflow at the beginning."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A step that may be taken: the field that it changes, and the states before and after it."""

    workflow: str
    field: str
    was: str
    becomes: str


def governed(app: CompiledApp, entity: str) -> dict[str, str]:
    """The fields of an entity that workflows govern, with the state that each begins in."""
    return {workflow.field: workflow.initial for workflow in app.app.workflows.values() if workflow.entity == entity}


def started(app: CompiledApp, entity: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a new record, which begins every workflow at the beginning. Raises :class:`StartsElsewhere`."""
    begun = dict(values)
    for field, initial in governed(app, entity).items():
        if (given := values.get(field)) not in (None, initial):
            raise StartsElsewhere(field=field, given=given, initial=initial)
        begun[field] = initial
    return begun


def refuse_leaps(app: CompiledApp, entity: str, changed: Mapping[str, Any]) -> None:
    """Values that are changed by hand leave the states of workflows alone. Raises :class:`ChangedByStepsOnly`."""
    for field in governed(app, entity):
        if field in changed:
            raise ChangedByStepsOnly(field=field)


def decide(
    app: CompiledApp, entity: str, action: str, values: Mapping[str, Any], *, role: str, is_maker: bool
) -> Taken:
    """The step that an action is for this record, if it can be taken and this person may.

    Raises :class:`NoSuchStep`, :class:`StepNotYours`, :class:`MakerMayNot`, :class:`StepNotPossible` and
    :class:`StepConditionUnmet`.
    """
    name, workflow, step = _step(app, entity, action)
    if not may(step.roles, role):
        raise StepNotYours(action=action, roles=list(step.roles))
    if is_maker and not step.by_maker:
        raise MakerMayNot(action=action)
    # A record that is older than its workflow has not begun it yet.
    state = values.get(workflow.field) or workflow.initial
    if state not in step.from_:
        raise StepNotPossible(action=action, state=state, leads_from=list(step.from_))
    if not holds(step.when, values):
        raise StepConditionUnmet(action=action)
    return Taken(name, workflow.field, state, step.to)


def open_steps(
    app: CompiledApp, entity: str, values: Mapping[str, Any], *, role: str, is_maker: bool
) -> list[dict[str, str]]:
    """The steps that this person can take with this record now, in the order of the workflows."""
    return [
        {"action": step.action, "label": step.label, "field": workflow.field, "to": step.to}
        for workflow in app.app.workflows.values()
        if workflow.entity == entity
        for step in workflow.transitions
        if (values.get(workflow.field) or workflow.initial) in step.from_
        and may(step.roles, role)
        and (step.by_maker or not is_maker)
        and holds(step.when, values)
    ]


def _step(app: CompiledApp, entity: str, action: str) -> tuple[str, Workflow, Transition]:
    for name, workflow in app.app.workflows.items():
        if workflow.entity == entity:
            for step in workflow.transitions:
                if step.action == action:
                    return name, workflow, step
    raise NoSuchStep(f"{entity} has no step {action}.", entity=entity, action=action)
