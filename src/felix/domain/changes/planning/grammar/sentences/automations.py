"""Sentences about what happens by itself, and about the mails that are sent."""

from __future__ import annotations

from typing import Any

from felix.domain.apps.behaviour import Automation
from felix.domain.changes.operations.automations import (
    AddAutomation,
    DisableAutomation,
    EnableAutomation,
    RemoveAutomation,
)
from felix.domain.changes.operations.base import Operation
from felix.domain.changes.operations.templates import SetTemplate
from felix.domain.changes.planning.grammar.names import capital
from felix.domain.changes.planning.grammar.notation import Bound, Build, Pattern
from felix.domain.changes.planning.grammar.references import definition
from felix.domain.changes.planning.grammar.scene import Missing, NoReading, Scene

_EVENTS = {"created": "created", "added": "created", "made": "created", "deleted": "removed", "removed": "removed"}


def _send(scene: Scene, bound: Bound) -> list[Operation]:
    template, entity = bound["template"], bound.get("entity")
    option = bound.get("option")
    if option is not None:
        field = bound.get("field", option)
        if (field.entity, field.field) != (option.entity, option.field) or entity not in (None, option.entity):
            raise NoReading
        entity = option.entity
        on: dict[str, Any] = {"event": "changed", "entity": entity, "field": option.field}
        when: dict[str, Any] | None = {"field": option.field, "is": "equal", "value": option.value}
        moment = option.value
    else:
        moment = _EVENTS[bound["event"]]
        on, when = {"event": moment, "entity": entity}, None
    action: dict[str, Any] = {"do": "send_email", "template": template}
    if "roles" in bound:
        if len(bound["roles"]) != 1:
            raise Missing("To whom? One role at a time.", ["owners", "approvers", "members"])
        action["to_role"] = bound["roles"][0]
    else:
        address = bound["address"]
        if address.entity != entity or definition(scene, address).type != "email":
            raise NoReading
        action["to_field"] = address.field
    title = f"{capital(template.replace('_', ' '))} when {moment.replace('_', ' ')}"
    made = {"title": title, "on": on, "actions": [action]} | ({"when": when} if when else {})
    name = f"{template}_when_{moment}"
    return [AddAutomation(automation=name, definition=Automation.model_validate(made))]


def _nobody_said_to_whom(scene: Scene, bound: Bound) -> list[Operation]:
    raise Missing("To whom: an e-mail field of the record, or a role?", ["owners", "approvers", "members"])


def _switch(operation: Any) -> Build:
    return lambda scene, bound: [operation(automation=bound["automation"])]


def _switch_by_mail(operation: Any) -> Build:
    def build(scene: Scene, bound: Bound) -> list[Operation]:
        found = [
            name
            for name, automation in scene.app.automations.items()
            if any(getattr(action, "template", None) == bound["template"] for action in automation.actions)
        ]
        if len(found) != 1:
            raise Missing("Which automation?", [scene.app.automations[name].title for name in found])
        return [operation(automation=found[0])]

    return build


def _subject(scene: Scene, bound: Bound) -> list[Operation]:
    return [SetTemplate(template=bound["template"], subject=bound["text"])]


def _text(scene: Scene, bound: Bound) -> list[Operation]:
    return [SetTemplate(template=bound["template"], text=bound["text"].rstrip("\n") + "\n")]


_WHEN_CREATED = "(when|whenever|once) {entity} is {event}"
_WHEN_STAGE = (
    "(when|whenever|once|if) ({field} <becomes> {option}|its {field} <becomes> {option}|{entity} <becomes> {option})"
)
_TO = "to (its {address:field}|{address:field}|{roles})"
SENTENCES = (
    Pattern(
        f"(send|mail|email) {{template}} {_TO} {_WHEN_STAGE}",
        "Send the thanks template to the e-mail of a deal when its stage becomes lost",
        _send,
    ),
    Pattern(
        f"(send|mail|email) {{template}} {_TO} {_WHEN_CREATED}",
        "Send the thanks template to the owners when a contact is created",
        _send,
    ),
    Pattern(
        f"{_WHEN_STAGE} [,] (send|mail|email) {{template}} {_TO}",
        "When the stage of a deal becomes lost, send the thanks template to its e-mail",
        _send,
    ),
    Pattern(
        f"{_WHEN_CREATED} [,] (send|mail|email) {{template}} {_TO}",
        "When a deal is created, send the Thank you template to its e-mail",
        _send,
    ),
    Pattern(f"(send|mail|email) {{template}} ({_WHEN_STAGE}|{_WHEN_CREATED})", "", _nobody_said_to_whom),
    Pattern("<turn off> {automation}", "Turn off the automation Say thank you", _switch(DisableAutomation)),
    Pattern("(turn|switch) {automation} off", "Turn the automation Say thank you off", _switch(DisableAutomation)),
    Pattern("<turn off> [sending] {template}", "Turn off the thank you mail", _switch_by_mail(DisableAutomation)),
    Pattern("<turn on> {automation}", "", _switch(EnableAutomation)),
    Pattern("(turn|switch) {automation} [back] on", "", _switch(EnableAutomation)),
    Pattern("<remove> {automation}", "Delete the automation Say thank you", _switch(RemoveAutomation)),
    Pattern(
        "<set> subject of {template} to {text}", "Change the subject of the thanks template to 'Many thanks'", _subject
    ),
    Pattern(
        "<set> (text|body|content) of {template} to {text}",
        "Change the text of the thanks template to 'Thanks a lot!'",
        _text,
    ),
)
