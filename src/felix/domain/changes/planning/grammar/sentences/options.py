"""Sentences about the options of choices."""

from __future__ import annotations

from felix.domain.changes.operations.base import Operation
from felix.domain.changes.operations.fields import AddOption, RemoveOption, RenameOption
from felix.domain.changes.planning.grammar.names import FieldRef, OptionRef
from felix.domain.changes.planning.grammar.notation import Bound, Pattern
from felix.domain.changes.planning.grammar.references import definition, field_in
from felix.domain.changes.planning.grammar.scene import NoReading, Scene


def _choice(scene: Scene, bound: Bound) -> FieldRef:
    ref = field_in(bound)
    if definition(scene, ref).type not in ("choice", "choices"):
        raise NoReading
    return ref


def _add(scene: Scene, bound: Bound) -> list[Operation]:
    ref = _choice(scene, bound)
    label = bound["label"]
    return [AddOption(entity=ref.entity, field=ref.field, value=label.name, label=label.text)]


def _option(scene: Scene, bound: Bound) -> OptionRef:
    option: OptionRef = bound["option"]
    if "field" in bound and _choice(scene, bound) != (option.entity, option.field):
        raise NoReading
    if bound.get("entity", option.entity) != option.entity:
        raise NoReading
    return option


def _rename(scene: Scene, bound: Bound) -> list[Operation]:
    option = _option(scene, bound)
    return [RenameOption(entity=option.entity, field=option.field, value=option.value, label=bound["label"].text)]


def _remove(scene: Scene, bound: Bound) -> list[Operation]:
    option = _option(scene, bound)
    return [RemoveOption(entity=option.entity, field=option.field, value=option.value)]


SENTENCES = (
    Pattern(
        "<add> [another|new] {field} [option] [<called>] {label} [(to|for) {entity}]",
        "Add a stage Negotiation to deals",
        _add,
    ),
    Pattern(
        "<add> [another|new] (option|choice|value) [<called>] {label} (to|for) {field} [(of|on|for|in) {entity}]",
        "Add the option On hold to the stage of deals",
        _add,
    ),
    Pattern("<add> {label} as [another|new] {field} [option]", "Add 'Proposal sent' as a stage of deals", _add),
    Pattern(
        "<add> {label} as [another|new] (option|choice) (of|for|to) {field}",
        "Add 'Proposal sent' as an option of the stage of deals",
        _add,
    ),
    Pattern(
        "<add> {label} to [the] (options|choices) of {field}",
        "Add 'Proposal sent' to the options of the stage of deals",
        _add,
    ),
    Pattern(
        "{entity} (need|needs|should have) (another|new|additional) {field} [<called>] {label}",
        "Deals need another stage called Waiting",
        _add,
    ),
    Pattern(
        "<rename> {field} [option] {option} to {label} [(in|of|on|for) {entity}]",
        "Rename the stage Open to In progress",
        _rename,
    ),
    Pattern(
        "<rename> (option|choice) {option} [(of|in|on) {field}] to {label}",
        "Rename the option Won of stage to Signed",
        _rename,
    ),
    Pattern("call {field} {option} {label}", "Call the stage Lost 'Closed lost'", _rename),
    Pattern("<remove> (option|choice) {option} (of|from|in) {field} [(of|on|in) {entity}]", "", _remove),
    Pattern("<remove> {field} option {option}", "", _remove),
)
