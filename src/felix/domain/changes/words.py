"""Words for what is in an app, as the people who use it know it: by labels and titles where there are any."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

from felix.domain.apps.places import ABSENT, at, pointer_of
from felix.domain.apps.tree import AppTree

#: What people call the types of fields.
TYPES = {
    "text": "text", "long_text": "long text", "integer": "number", "decimal": "decimal", "money": "money",
    "boolean": "yes/no", "date": "date", "moment": "date and time", "choice": "choice", "choices": "multiple choice",
    "email": "e-mail", "phone": "phone", "url": "link", "reference": "reference",
}  # fmt: skip
_COMPARISONS = {
    "equal": "is", "not_equal": "is not", "less": "is less than", "at_most": "is at most", "more": "is more than",
    "at_least": "is at least", "one_of": "is one of", "contains": "contains", "is_empty": "is empty",
    "is_filled": "is filled in",
}  # fmt: skip
#: Longer texts are cut: a sentence is to be read at a glance.
MAX_QUOTED_CHARS = 60


def quoted(value: Any) -> str:
    """A value within a sentence."""
    if isinstance(value, list):
        return listed(map(quoted, value)) or "nothing"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return str(value)
    if value is None or value is ABSENT:
        return "nothing"
    text = clean(str(value))
    return f"'{text if len(text) <= MAX_QUOTED_CHARS else text[: MAX_QUOTED_CHARS - 1] + '…'}'"


def clean(text: str) -> str:
    """A text as it is seen, on one line: what can't be seen must not turn a sentence into another one."""
    seen = "".join(sign if unicodedata.category(sign) not in ("Cc", "Cf") else " " for sign in text)
    return " ".join(seen.split())


def listed(words: Iterable[str]) -> str:
    """Words in a row, with an "and" before the last."""
    *most, last = list(words) or [""]
    return f"{', '.join(most)} and {last}" if most else last


def counted(number: int, noun: str) -> str:
    """A number of things: "1 field", "2 fields"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


class Words:
    """The words of one tree. What the tree does not have is called by its name."""

    def __init__(self, tree: AppTree) -> None:
        self.tree = tree

    def entity(self, name: str) -> str:
        """The plural, as it stands within a sentence: "deals"."""
        plural = self._text(f"entities/{name}.json", "plural", name)
        return plural if plural[1:2].isupper() else plural[:1].lower() + plural[1:]

    def field(self, entity: str, name: str) -> str:
        """A field by its label: "'Due date'"."""
        return quoted(self._text(f"entities/{entity}.json", ("fields", name, "label"), name))

    def option(self, entity: str, field: str, value: Any) -> str:
        """An option of a choice by its label."""
        options = at(self.tree, f"entities/{entity}.json", pointer_of(("fields", field, "options")))
        for option in options if isinstance(options, list) else ():
            if isinstance(option, Mapping) and option.get("value") == value:
                return quoted(option.get("label"))
        return quoted(value)

    def title(self, folder: str, name: str) -> str:
        """A file by its title: "'Won deals'"."""
        return quoted(self._text(f"{folder}/{name}.json", "title", name))

    def condition(self, entity: str, condition: Any) -> str:
        """A condition in words; what is nested deeply is only hinted at."""
        match condition:
            case {"field": name, "is": comparison}:
                said = f"{self.field(entity, name)} {_COMPARISONS.get(comparison, comparison)}"
                return f"{said} {self._value(entity, name, condition['value'])}" if "value" in condition else said
            case {"all": [*parts]}:
                return " and ".join(self._inner(entity, part) for part in parts)
            case {"any": [*parts]}:
                return " or ".join(self._inner(entity, part) for part in parts)
            case {"not": part}:
                return f"not {self._inner(entity, part)}"
        return "always"

    def _inner(self, entity: str, condition: Any) -> str:
        match condition:
            case {"field": _} | {"not": {"field": _}}:
                return self.condition(entity, condition)
        return "(…)"

    def _value(self, entity: str, field: str, value: Any) -> str:
        values = value if isinstance(value, list) else [value]
        return listed(self.option(entity, field, one) if isinstance(one, str) else quoted(one) for one in values)

    def _text(self, path: str, member: str | tuple[str, ...], fallback: str) -> str:
        found = at(self.tree, path, pointer_of((member,) if isinstance(member, str) else member))
        return clean(found) if isinstance(found, str) and found else fallback


def definition_of(label: str, definition: Mapping[str, Any]) -> str:
    """A field that is being added: "the required date field 'Due date'"."""
    required = "required " if definition.get("required") else ""
    personal = "personal " if definition.get("personal") else ""
    kind = TYPES.get(definition.get("type", ""), "")
    return f"the {required}{personal}{kind} field {quoted(label)}"
