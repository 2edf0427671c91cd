"""Automations: what happens by itself when records change."""

from __future__ import annotations

from typing import Literal

from felix.domain.apps.base import SpecName
from felix.domain.apps.behaviour import Automation, CallWebhook, CreateRecord, SendEmail, SetField
from felix.domain.apps.spelling import plain
from felix.domain.changes.operations.base import Drawn
from felix.domain.changes.operations.draft import Draft, switch
from felix.domain.changes.words import Words, listed, quoted


class _OfAutomation(Drawn):
    automation: SpecName

    @property
    def _path(self) -> str:
        return f"automations/{self.automation}.json"

    def _said(self, words: Words) -> str:
        return f"the automation {words.title('automations', self.automation)}"


class AddAutomation(_OfAutomation):
    """Let something happen by itself when records are made, changed or removed."""

    op: Literal["add_automation"] = "add_automation"
    definition: Automation

    def draw(self, draft: Draft) -> None:
        draft.add(self._path, plain(self.definition))

    def sentence(self, words: Words) -> str:
        definition = self.definition
        trigger = definition.on
        what = f"{words.field(trigger.entity, trigger.field)} of " if trigger.field else ""
        condition = plain(definition).get("when")
        when = f" and {words.condition(trigger.entity, condition)}" if condition else ""
        done = listed(_done(action, trigger.entity, words) for action in definition.actions)
        still = "" if definition.enabled else "; it is switched off"
        changed = f"when {what}{words.entity(trigger.entity)} {'is' if what else 'are'} {trigger.event}"
        return f"Adds the automation {quoted(definition.title)}: {changed}{when}, it {done}{still}"


class EnableAutomation(_OfAutomation):
    """Switch an automation on."""

    op: Literal["enable_automation"] = "enable_automation"

    def draw(self, draft: Draft) -> None:
        switch(draft.file(self._path), "enabled", True, usually=True)

    def sentence(self, words: Words) -> str:
        return f"Switches {self._said(words)} on"


class DisableAutomation(_OfAutomation):
    """Switch an automation off, and keep it."""

    op: Literal["disable_automation"] = "disable_automation"

    def draw(self, draft: Draft) -> None:
        switch(draft.file(self._path), "enabled", False, usually=True)

    def sentence(self, words: Words) -> str:
        return f"Switches {self._said(words)} off"


class RemoveAutomation(_OfAutomation):
    """Take an automation away."""

    op: Literal["remove_automation"] = "remove_automation"

    def draw(self, draft: Draft) -> None:
        draft.remove(self._path)

    def sentence(self, words: Words) -> str:
        return f"Removes {self._said(words)}"


def _done(action: SendEmail | SetField | CreateRecord | CallWebhook, entity: str, words: Words) -> str:
    match action:
        case SendEmail():
            return f"sends the mail {words.title('templates', action.template)}"
        case SetField():
            value = action.value
            shown = words.option(entity, action.field, value) if isinstance(value, str) else quoted(value)
            return f"sets {words.field(entity, action.field)} to {shown}"
        case CreateRecord():
            return f"adds to {words.entity(action.entity)}"
        case CallWebhook():
            return f"calls {words.title('integrations', action.integration)}"
