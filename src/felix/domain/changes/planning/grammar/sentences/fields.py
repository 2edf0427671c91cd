"""Sentences about fields."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from felix.domain.changes.operations.base import Operation
from felix.domain.changes.operations.fields import (
    AddField,
    HideField,
    MarkPersonal,
    PurgeField,
    RelaxField,
    RenameField,
    RequireField,
    SetFieldDefault,
    SetFieldHelp,
    SetFieldLimits,
    SetFieldType,
    ShowField,
)
from felix.domain.changes.operations.views import AddFormField
from felix.domain.changes.planning.grammar.names import FieldRef
from felix.domain.changes.planning.grammar.new_fields import TYPES, merged
from felix.domain.changes.planning.grammar.notation import Bound, Build, Pattern
from felix.domain.changes.planning.grammar.references import definition, field_in, fields_in
from felix.domain.changes.planning.grammar.scene import Missing, NoReading, Scene
from felix.domain.changes.planning.grammar.tokens import source_of
from felix.domain.changes.planning.grammar.values import number_of, stored, value_of


def _add(scene: Scene, bound: Bound) -> list[Operation]:
    made: list[Operation] = []
    new = bound["new"]
    more = bound.get("details", {})
    if more and len(new) > 1:
        raise NoReading
    entity = bound["entity"]
    forms = [name for name, view in scene.app.views.items() if view.kind == "form" and view.entity == entity]
    for described in new:
        name, field = merged(described, more).definition(scene)
        made.append(AddField(entity=entity, field=name, definition=field))
        if len(forms) == 1:
            made.append(AddFormField(view=forms[0], field=name))
    return made


def _nobody_said_to_what(scene: Scene, bound: Bound) -> list[Operation]:
    raise Missing("To which records?", [entity.plural for entity in scene.app.entities.values()])


def _check_field_is_meant(scene: Scene, ref: FieldRef) -> None:
    """A field that is called as other records are must be said with its own records, or with "field"."""
    label = definition(scene, ref).label
    if not scene.names.entities.knows(label):
        return
    places = range(len(scene.tokens))
    if not any(ref.entity == name for at in places for _, name in scene.names.entities.at(scene.tokens, at)):
        raise Missing(
            f"Is the field {label} of {scene.app.entities[ref.entity].plural} meant, or the records themselves?"
        )


def _hide(scene: Scene, bound: Bound) -> list[Operation]:
    for ref in fields_in(bound):
        _check_field_is_meant(scene, ref)
    return _each(HideField)(scene, bound)


def _each(operation: Callable[..., Operation]) -> Build:
    return lambda scene, bound: [operation(entity=ref.entity, field=ref.field) for ref in fields_in(bound)]


def _rename(scene: Scene, bound: Bound) -> list[Operation]:
    ref = field_in(bound)
    _check_field_is_meant(scene, ref)
    options = [option.label for option in definition(scene, ref).options or ()]
    if bound["label"].text in options and not bound["label"].quoted:
        raise Missing(f"Is the option {bound['label'].text} meant, or the whole field?")
    return [RenameField(entity=ref.entity, field=ref.field, label=bound["label"].text)]


def _default(scene: Scene, bound: Bound) -> list[Operation]:
    ref = field_in(bound)
    tokens = bound["value"]
    value = value_of(definition(scene, ref), list(tokens), source_of(scene.text, tokens))
    return [SetFieldDefault(entity=ref.entity, field=ref.field, default=value)]


def _no_default(scene: Scene, bound: Bound) -> list[Operation]:
    ref = field_in(bound)
    return [SetFieldDefault(entity=ref.entity, field=ref.field, default=None)]


def _is_by_default(scene: Scene, bound: Bound) -> list[Operation]:
    ref = field_in(bound)
    if definition(scene, ref).type != "boolean":
        raise NoReading
    return [SetFieldDefault(entity=ref.entity, field=ref.field, default=True)]


def _help(scene: Scene, bound: Bound) -> list[Operation]:
    ref = field_in(bound)
    return [SetFieldHelp(entity=ref.entity, field=ref.field, help=bound["text"])]


def _limit(member: str) -> Build:
    def build(scene: Scene, bound: Bound) -> list[Operation]:
        ref = field_in(bound)
        field, number = definition(scene, ref), _number(bound["number"])
        texts = field.type in ("text", "long_text")
        if (member == "max_length") != texts:
            raise Missing(f"The field {field.label!r} has no such limit.")
        value = int(number) if texts else stored(field, number)
        return [SetFieldLimits.model_validate({"entity": ref.entity, "field": ref.field, member: value})]

    return build


def _range(scene: Scene, bound: Bound) -> list[Operation]:
    ref = field_in(bound)
    field = definition(scene, ref)
    if field.type not in ("integer", "decimal", "money"):
        raise Missing(f"The field {field.label!r} has no such limit.")
    low, high = (stored(field, _number(bound[name])) for name in ("low", "high"))
    return [SetFieldLimits(entity=ref.entity, field=ref.field, minimum=low, maximum=high)]


def _number(token: Any) -> Decimal:
    number = number_of(token)
    if number is None:
        raise NoReading
    return number


def _type(scene: Scene, bound: Bound) -> list[Operation]:
    ref = field_in(bound)
    wanted = next(type_ for type_, phrases in TYPES.items() if bound["type"] in phrases)
    if wanted not in ("text", "long_text", "decimal"):
        raise Missing(f"A field can become a text, a long text or a decimal; not a {bound['type']}.")
    return [SetFieldType(entity=ref.entity, field=ref.field, type=wanted)]


SENTENCES = (
    Pattern("<add> {new:new_fields} (to|for|on|in) {entity} {details}", "Add a required due date to deals", _add),
    Pattern("<add> {new:new_fields}", "", _nobody_said_to_what),
    Pattern(
        "{entity} (need|needs|should have|must have|should get|get) {new:new_fields}",
        "Contacts need a phone number",
        _add,
    ),
    Pattern(
        "(i'd like|i would like|we'd like|we would like|i want|we want|we need|i need) {new:new_fields} "
        "(to|for|on|in) {entity} {details}",
        "I'd like a budget in EUR on every deal",
        _add,
    ),
    Pattern("give {entity} {new:new_fields}", "Give contacts a yes/no field called Newsletter", _add),
    Pattern(
        "there should be {new:new_fields} (on|for|in) {entity} {details}",
        "There should be a checkbox Signed on deals",
        _add,
    ),
    Pattern("<rename> {field} (to|as|into) {label} [(in|on|for) {entity}]", "Rename value to Amount in deals", _rename),
    Pattern("[in|on|for] {entity} [,] <rename> {field} to {label}", "In deals, rename value to Amount", _rename),
    Pattern("(in|on|for) {entity} [,] call {field} {label}", "In deals, call the value Amount", _rename),
    Pattern("call {field} {label}", "Call the value of a deal 'Deal size'", _rename),
    Pattern(
        "<set> (label|name|caption) of {field} [(in|on|of|for) {entity}] to {label}",
        "Change the label of closes on in deals to Closing date",
        _rename,
    ),
    Pattern("{field} should be called {label}", "The value of a deal should be called Amount", _rename),
    Pattern(
        "make {fields} <required> [(on|in|for|of) {entity}]", "Make the contact required on deals", _each(RequireField)
    ),
    Pattern(
        "{fields} (must be|has to be|should be|must always be|have to be) (filled in|filled out|filled|"
        "required|mandatory|compulsory) [(on|in|for|of) {entity}]",
        "The value of a deal must be filled in",
        _each(RequireField),
    ),
    Pattern("(require|demand) {fields} [(on|in|for|of) {entity}]", "Require a contact on deals", _each(RequireField)),
    Pattern(
        "(make|let) {fields} [be] optional [(on|in|for|of) {entity}]",
        "Make the contact's name optional",
        _each(RelaxField),
    ),
    Pattern(
        "{fields} (is|are|should be) (no longer required|no longer mandatory|not required any more|"
        "not required anymore|optional) [(on|in|for|of) {entity}]",
        "The title of a deal is no longer required",
        _each(RelaxField),
    ),
    Pattern(
        "{fields} (doesn't|does not|don't|do not) have to be (filled in|filled out|filled) "
        "[any more|anymore|any longer] [(on|in|for|of) {entity}]",
        "The title of a deal doesn't have to be filled in any more",
        _each(RelaxField),
    ),
    Pattern(
        "(don't|do not|no longer|stop to) require {fields} [(on|in|for|of) {entity}]",
        "Don't require a title on deals",
        _each(RelaxField),
    ),
    Pattern("hide {fields} [(on|in|for|of|from) {entity}]", "Hide the VIP field of contacts", _hide),
    Pattern("<remove> {fields} [(on|in|for|of|from) {entity}]", "Remove VIP from contacts", _hide),
    Pattern(
        "(we|i) (don't|do not|no longer) need {fields} [(on|in|for|of|from) {entity}] (any more|anymore|any longer)",
        "We don't need the VIP field on contacts any more",
        _hide,
    ),
    Pattern(
        "(we|i) no longer need {fields} [(on|in|for|of|from) {entity}]",
        "We no longer need the VIP field on contacts",
        _hide,
    ),
    Pattern(
        "(show {fields} again [(on|in|for|of) {entity}]|unhide {fields} [(on|in|for|of) {entity}])",
        "",
        _each(ShowField),
    ),
    Pattern("<remove> {fields} [(on|in|for|of|from) {entity}] (for good|permanently|forever)", "", _each(PurgeField)),
    Pattern(
        "<set> (default|default value) [of|for] {field} [(on|in|for|of) {entity}] to {value:words}",
        "Set the default of VIP on contacts to yes",
        _default,
    ),
    Pattern(
        "(default|default value) [of|for] {field} [(on|in|for|of) {entity}] (should be|is|must be) {value:words}",
        "The default stage of a deal should be won",
        _default,
    ),
    Pattern(
        "(new {entity}|{entity}) should start with {field} {value:words}",
        "New deals should start with stage won",
        _default,
    ),
    Pattern("by default [,] {entity} (is|should be) {field}", "By default a contact is a VIP", _is_by_default),
    Pattern(
        "<remove> (default|default value) (of|from|for) {field} [(on|in|for|of) {entity}]",
        "Remove the default of the stage of deals",
        _no_default,
    ),
    Pattern(
        "<set> (help text|help|hint|description) (of|for|on) {field} [(on|in|for|of) {entity}] to {text}",
        "Set the help text of value on deals to 'Without tax'",
        _help,
    ),
    Pattern(
        "<add> (help text|help|hint) {text} (to|for|on) {field} [(on|in|for|of) {entity}]",
        "Add the hint 'As on the invoice' to the title of deals",
        _help,
    ),
    Pattern(
        "(limit|restrict) {field} [(on|in|for|of) {entity}] to [at most|a maximum of] {number} characters",
        "Limit the name of contacts to 100 characters",
        _limit("max_length"),
    ),
    Pattern(
        "{field} (may|can|must|should) (have|be) (at most|no more than|up to) {number} characters [long]",
        "The title of deals may have at most 80 characters",
        _limit("max_length"),
    ),
    Pattern(
        "{field} (must|should|has to) be at least {number}", "The value of deals must be at least 10", _limit("minimum")
    ),
    Pattern(
        "{field} (must|should|may|can) be (at most|no more than) {number}",
        "The value of deals must be at most 10000",
        _limit("maximum"),
    ),
    Pattern(
        "{field} (must|should|has to|may|can) be between {low:number} and {high:number}",
        "The value of deals must be between 10 and 5000",
        _range,
    ),
    Pattern(
        "(make|mark|treat|handle) {fields} [(on|in|for|of) {entity}] [as] (personal data|personal|sensitive)",
        "Treat the e-mail of deals as personal data",
        _each(MarkPersonal),
    ),
    Pattern(
        "{fields} (is|are) (personal data|sensitive data)", "The name of contacts is personal data", _each(MarkPersonal)
    ),
    Pattern(
        "(turn|change|convert) {field} [(on|in|for|of) {entity}] (into|to) {type:field_type} [field]",
        "Turn the e-mail of contacts into a text",
        _type,
    ),
    Pattern(
        "make {field} [(on|in|for|of) {entity}] {type:field_type} [field]",
        "Make the e-mail of contacts a text field",
        _type,
    ),
)
