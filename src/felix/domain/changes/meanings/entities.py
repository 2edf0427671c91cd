"""Entities and their fields: what is lost, and what stored values mean, is decided here."""

from __future__ import annotations

from felix.domain.apps.places import ABSENT
from felix.domain.changes.meanings.difference import Difference, Said
from felix.domain.changes.widening import narrows, widens
from felix.domain.changes.words import TYPES, counted, definition_of, quoted

#: What becomes of records without a value that is required from now on.
_ASKED_LATER = "; records made before stay readable without it, and are asked for it when they are next changed"


def entity(d: Difference) -> Said | None:
    said = d.words.entity(d.name)
    match d.parts:
        case () if d.before is ABSENT:
            fields = counted(len(d.after["fields"]), "field")
            return "entity_added", "medium", f"Begins to keep {quoted(d.after['plural'])}, with {fields}"
        case () if d.after is ABSENT:
            return "entity_removed", "destructive", f"Removes {said} for good, with every record"
        case ("title" | "plural",):
            return "entity_renamed", "low", f"Calls {quoted(d.before)} {quoted(d.after)}"
        case ("hidden",) if d.after is True:
            return "entity_hidden", "medium", f"Hides {said} and every view of them; the records are kept"
        case ("hidden",):
            return "entity_shown", "medium", f"Shows {said} again"
        case ("named_by",):
            return "entity_named_by", "low", f"Calls each of {said} by its field {d.new.field(d.name, d.after)}"
        case ("fields", field):
            return _field(d, field)
        case ("fields", field, "options", *rest):
            return _option(d, field, rest)
        case ("fields", field, attribute):
            return _attribute(d, field, attribute)
    return d.unknown()


def _field(d: Difference, field: str) -> Said:
    entity = d.words.entity(d.name)
    if d.after is ABSENT:
        sentence = f"Removes the field {d.old.field(d.name, field)} of {entity} for good, with all its values"
        return "field_removed", "destructive", sentence
    sentence = f"Adds {definition_of(d.after['label'], d.after)} to {entity}"
    if d.after.get("required"):
        sentence += _ASKED_LATER
    return "field_added", "medium", sentence


def _attribute(d: Difference, field: str, attribute: str) -> Said | None:
    said = f"{d.new.field(d.name, field)} of {d.new.entity(d.name)}"
    was, becomes = d.was("fields", field), d.becomes("fields", field)
    match attribute:
        case "label":
            return "field_renamed", "low", f"Calls the field {quoted(d.before)} {quoted(d.after)}"
        case "help":
            return "field_help", "low", f"Says beside the field {said}: {quoted(d.after)}"
        case "required" if d.after is True:
            return "field_required", "medium", f"Makes the field {said} required{_ASKED_LATER}"
        case "required":
            return "field_relaxed", "medium", f"Makes the field {said} optional"
        case "hidden" if d.after is True:
            return "field_hidden", "medium", f"Hides the field {said}; its values are kept"
        case "hidden":
            return "field_shown", "medium", f"Lets views show the field {said} again"
        case "personal" if d.after is True:
            sentence = f"Keeps what is written into the field {said} from now on in the vault, as personal data"
            return "field_personal", "medium", sentence
        case "personal":
            return "field_not_personal", "high", f"Keeps what is in the field {said} as personal data no more"
        case "indexed":
            return "field_indexed", "low", f"Changes how fast records are found by the field {said}"
        case "default":
            return "field_default", "medium", f"Lets the field {said} begin with {quoted(d.after)}"
        case "type" if widens(was, becomes):
            return "field_widened", "medium", f"Lets the field {said} hold any {TYPES[d.after]}"
        case "type":
            sentence = f"Makes the field {said} a {TYPES[d.after]}; stored values need not fit, or mean the same"
            return "field_narrowed", "destructive", sentence
        case "max_length" | "minimum" | "maximum":
            limit = attribute.replace("_", " ")
            if narrows(attribute, was, becomes):
                return "limit_narrowed", "high", f"Refuses more in the field {said}: {limit} {quoted(d.after)}"
            return "limit_widened", "medium", f"Allows more in the field {said}: {limit} {quoted(d.after)}"
        case "options" | "places" if was["type"] != becomes["type"]:
            return None
        case "places" | "currency" | "to":
            sentence = f"Makes the stored values of the field {said} mean something else: {attribute} {quoted(d.after)}"
            return "field_reinterpreted", "destructive", sentence
    return d.unknown()


def _option(d: Difference, field: str, rest: list[str]) -> Said | None:
    said = f"{d.new.field(d.name, field)} of {d.new.entity(d.name)}"
    match rest:
        case []:
            if d.was("fields", field, "type") != d.becomes("fields", field, "type"):
                return None
            return "options_moved", "low", f"Shows the options of the field {said} in another order"
        case [_, "label"]:
            return "option_renamed", "low", f"Calls the option {quoted(d.before)} of the field {said} {quoted(d.after)}"
        case [_] if d.before is ABSENT:
            return "option_added", "medium", f"Adds the option {quoted(d.after['label'])} to the field {said}"
        case [_] if d.after is ABSENT:
            sentence = f"Removes the option {quoted(d.before['label'])} of the field {said}"
            return "option_removed", "destructive", sentence
    return d.unknown()
