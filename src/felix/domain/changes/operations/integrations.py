"""Integrations: how a connection to another system behaves. Making one, and its secrets, are no part of a change."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import StringConstraints

from felix.domain.apps.base import SpecName
from felix.domain.changes.operations.base import Drawn
from felix.domain.changes.operations.draft import Draft
from felix.domain.changes.words import Words, quoted
from felix.domain.values import Text

ConfigValue = Annotated[str, StringConstraints(max_length=1000), Text] | int | bool


class SetConfig(Drawn):
    """Set one property of an integration; null takes it away. A secret is never set here."""

    op: Literal["set_config"] = "set_config"
    integration: SpecName
    key: SpecName
    value: ConfigValue | None

    def draw(self, draft: Draft) -> None:
        _write(draft, self.integration, "config", self.key, self.value)

    def sentence(self, words: Words) -> str:
        return f"Sets {quoted(self.key)} of {words.title('integrations', self.integration)} to {quoted(self.value)}"


class MapIntegrationField(Drawn):
    """Say which field a value of the other system goes into; null for none."""

    op: Literal["map_integration_field"] = "map_integration_field"
    integration: SpecName
    source: SpecName
    """What the other system calls it."""
    field: SpecName | None

    def draw(self, draft: Draft) -> None:
        _write(draft, self.integration, "mapping", self.source, self.field)

    def sentence(self, words: Words) -> str:
        integration = words.title("integrations", self.integration)
        if self.field is None:
            return f"Takes {quoted(self.source)} of {integration} over no more"
        return f"Takes {quoted(self.source)} of {integration} over into the field {quoted(self.field)}"


def _write(draft: Draft, integration: str, member: str, name: str, value: str | int | bool | None) -> None:
    content = draft.file(f"integrations/{integration}.json")
    if value is not None:
        content.setdefault(member, {})[name] = value
    elif name in content.get(member, {}):
        del content[member][name]
        if not content[member]:
            del content[member]
