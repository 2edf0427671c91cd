"""Sentences about the steps that records take."""

from __future__ import annotations

from felix.domain.apps.behaviour import Transition
from felix.domain.changes.operations.base import Operation
from felix.domain.changes.operations.workflows import AddTransition, RemoveTransition
from felix.domain.changes.planning.grammar.labels import Label
from felix.domain.changes.planning.grammar.notation import Bound, Pattern
from felix.domain.changes.planning.grammar.scene import Missing, NoReading, Scene

#: What going back to a state is called, where there is a word for it.
_RETURNS = {"open": "Reopen"}


def _workflow(scene: Scene, entity: str) -> str:
    found = [name for name, workflow in scene.app.workflows.items() if workflow.entity == entity]
    if len(found) != 1:
        raise Missing("Which steps?", [scene.app.workflows[name].title for name in found])
    return found[0]


def _add(scene: Scene, bound: Bound) -> list[Operation]:
    entity, origins, target = bound["entity"], bound["origins"], bound["target"]
    name = _workflow(scene, entity)
    workflow = scene.app.workflows[name]
    if any((ref.entity, ref.field) != (entity, workflow.field) for ref in (*origins, target)):
        raise NoReading
    label = bound.get("label")
    if label is None:
        if target.value != workflow.initial or target.value not in _RETURNS:
            raise Missing("What should the step be called?")
        label = Label(_RETURNS[target.value], quoted=False)
    made = {"action": label.name, "label": label.text, "from": [ref.value for ref in origins], "to": target.value}
    return [AddTransition(workflow=name, definition=Transition.model_validate(made))]


def _remove(scene: Scene, bound: Bound) -> list[Operation]:
    name, said = _workflow(scene, bound["entity"]), bound["label"].text.casefold()
    steps = scene.app.workflows[name].transitions
    found = [step.action for step in steps if said == step.action.replace("_", " ")]
    if not found:
        called = [step for step in steps if said == step.label.casefold()]
        raise Missing(
            f"Is the step {called[0].action!r} meant?" if called else "Which step?", [step.action for step in steps]
        )
    return [RemoveTransition(workflow=name, action=found[0])]


SENTENCES = (
    Pattern(
        "(allow|let) {entity} [to] (go|move|change) [back] from {origins:states} [back] to {target:option}",
        "Allow deals to go from lost back to open",
        _add,
    ),
    Pattern(
        "<add> (transition|step) [<called>] {label} from {origins:states} to {target:option} (for|to|of) {entity}",
        "Add a transition 'Reopen' from lost to open for deals",
        _add,
    ),
    Pattern(
        "<add> (transition|step) [<called>] {label} from {origins:states} to {target:option} (for|to) "
        "(stages|steps|workflow) of {entity}",
        "Add a step Revive from lost or won to open to the stages of a deal",
        _add,
    ),
    Pattern(
        "<remove> (transition|step) [<called>] {label} (from|of|for) {entity}",
        "Remove the transition lose from deals",
        _remove,
    ),
    Pattern("<remove> {label} (step|transition) (from|of|for) {entity}", "", _remove),
)
