"""Fields: what the app knows of each record."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field as Bounds
from pydantic import JsonValue

from felix.domain.apps.base import Label, Sentence, SpecName
from felix.domain.apps.entities import Field
from felix.domain.apps.places import pointer_of
from felix.domain.apps.spelling import plain
from felix.domain.changes.operations.base import Drawn
from felix.domain.changes.operations.draft import Draft, switch
from felix.domain.changes.operations.surfaces import take_out
from felix.domain.changes.widening import WIDENINGS
from felix.domain.changes.words import TYPES, Words, definition_of, listed, quoted

Limit = Literal["max_length", "minimum", "maximum"]
_OF_CHOICES = ("choice", "choices")
_LIMITED = {
    "max_length": ("text", "long_text"),
    "minimum": ("integer", "decimal", "money"),
    "maximum": ("integer", "decimal", "money"),
}


class _OfField(Drawn):
    entity: SpecName
    field: SpecName

    def _place(self) -> tuple[str, str]:
        return f"entities/{self.entity}.json", pointer_of(("fields", self.field))

    def _said(self, words: Words) -> str:
        return f"{words.field(self.entity, self.field)} of {words.entity(self.entity)}"


class AddField(_OfField):
    """Give an entity one more field. Records made before stay readable without it, even when it is required."""

    op: Literal["add_field"] = "add_field"
    definition: Field

    def draw(self, draft: Draft) -> None:
        fields = draft.entity(self.entity)["fields"]
        if self.field in fields:
            hidden = "; it is hidden, show it again" if fields[self.field].get("hidden") else ""
            draft.refuse("taken", *self._place(), f"{self.entity} has a field {self.field} already{hidden}")
        fields[self.field] = plain(self.definition)

    def sentence(self, words: Words) -> str:
        definition = definition_of(self.definition.label, plain(self.definition))
        return f"Adds {definition} to {words.entity(self.entity)}"


class RenameField(_OfField):
    """Call a field something else. Only its label changes; views, automations and records know it by its name."""

    op: Literal["rename_field"] = "rename_field"
    label: Label

    def draw(self, draft: Draft) -> None:
        draft.field(self.entity, self.field)["label"] = self.label

    def sentence(self, words: Words) -> str:
        return f"Calls the field {self._said(words)} {quoted(self.label)} from now on"


class HideField(_OfField):
    """Show a field nowhere: it goes out of every list, board, form, filter and report. Its values are kept."""

    op: Literal["hide_field"] = "hide_field"

    def draw(self, draft: Draft) -> None:
        field = draft.field(self.entity, self.field)
        if field.get("required") and "default" not in field:
            detail = f"{self.field} is required, and a form without it could not be sent; make it optional first"
            draft.refuse("required", *self._place(), detail)
        if draft.entity(self.entity)["named_by"] == self.field:
            path = f"entities/{self.entity}.json"
            draft.refuse("used", path, "/named_by", f"records of {self.entity} are called by {self.field}")
        switch(field, "hidden", True, usually=False)
        take_out(draft, self.entity, self.field)
        for use in draft.uses(self.entity, self.field):
            if use.shows:
                draft.refuse("used", use.path, use.pointer, f"{use.path} gives {self.field} a value; change that first")

    def sentence(self, words: Words) -> str:
        return f"Hides the field {self._said(words)} wherever it is shown; its values are kept"


class ShowField(_OfField):
    """Let views show a hidden field again. Which ones do is an operation of its own."""

    op: Literal["show_field"] = "show_field"

    def draw(self, draft: Draft) -> None:
        switch(draft.field(self.entity, self.field), "hidden", False, usually=False)

    def sentence(self, words: Words) -> str:
        return f"Lets views show the field {self._said(words)} again"


class PurgeField(_OfField):
    """Remove a hidden field for good, with the values that records have of it."""

    op: Literal["purge_field"] = "purge_field"

    def draw(self, draft: Draft) -> None:
        if not draft.field(self.entity, self.field).get("hidden"):
            draft.refuse(
                "not_hidden", *self._place(), f"hide {self.field} first; what is hidden can be removed for good"
            )
        for use in draft.uses(self.entity, self.field):
            draft.refuse("used", use.path, use.pointer, f"{use.path} still names {self.field}")
        del draft.entity(self.entity)["fields"][self.field]

    def sentence(self, words: Words) -> str:
        return f"Removes the field {self._said(words)} for good, with all its values"


class RequireField(_OfField):
    """Ask for a field whenever a record is made or changed. Records made before stay readable without it."""

    op: Literal["require_field"] = "require_field"

    def draw(self, draft: Draft) -> None:
        field = draft.field(self.entity, self.field)
        if field.get("hidden"):
            draft.refuse("hidden", *self._place(), f"{self.field} is hidden, and nobody could fill it in")
        switch(field, "required", True, usually=False)

    def sentence(self, words: Words) -> str:
        return f"Makes the field {self._said(words)} required"


class RelaxField(_OfField):
    """Let a required field be empty."""

    op: Literal["relax_field"] = "relax_field"

    def draw(self, draft: Draft) -> None:
        switch(draft.field(self.entity, self.field), "required", False, usually=False)

    def sentence(self, words: Words) -> str:
        return f"Makes the field {self._said(words)} optional"


class SetFieldDefault(_OfField):
    """Say which value a new record begins with; null for none."""

    op: Literal["set_field_default"] = "set_field_default"
    default: JsonValue

    def draw(self, draft: Draft) -> None:
        _set(draft.field(self.entity, self.field), "default", self.default)

    def sentence(self, words: Words) -> str:
        value = self.default
        shown = words.option(self.entity, self.field, value) if isinstance(value, str) else quoted(value)
        return f"Lets the field {self._said(words)} begin with {shown}"


class SetFieldHelp(_OfField):
    """Say beside a field what belongs into it; null for nothing."""

    op: Literal["set_field_help"] = "set_field_help"
    help: Sentence | None

    def draw(self, draft: Draft) -> None:
        _set(draft.field(self.entity, self.field), "help", self.help)

    def sentence(self, words: Words) -> str:
        return f"Says beside the field {self._said(words)}: {quoted(self.help)}"


class AddOption(_OfField):
    """Let a choice have one more option, after the others."""

    op: Literal["add_option"] = "add_option"
    value: SpecName
    label: Label

    def draw(self, draft: Draft) -> None:
        options = draft.field(self.entity, self.field, *_OF_CHOICES)["options"]
        if any(option["value"] == self.value for option in options):
            path, pointer = self._place()
            draft.refuse("taken", path, f"{pointer}/options", f"{self.field} has an option {self.value} already")
        options.append({"value": self.value, "label": self.label})

    def sentence(self, words: Words) -> str:
        return f"Adds the option {quoted(self.label)} to the field {self._said(words)}"


class RenameOption(_OfField):
    """Call an option something else. Records hold its value, which stays."""

    op: Literal["rename_option"] = "rename_option"
    value: SpecName
    label: Label

    def draw(self, draft: Draft) -> None:
        _option(draft, self, self.value)["label"] = self.label

    def sentence(self, words: Words) -> str:
        option = words.option(self.entity, self.field, self.value)
        return f"Calls the option {option} of the field {self._said(words)} {quoted(self.label)} from now on"


class RemoveOption(_OfField):
    """Take an option away. Records that have it keep it until they are changed."""

    op: Literal["remove_option"] = "remove_option"
    value: SpecName

    def draw(self, draft: Draft) -> None:
        option = _option(draft, self, self.value)
        field = draft.field(self.entity, self.field)
        path, pointer = self._place()
        if self.value in _each(field.get("default")):
            draft.refuse("used", path, f"{pointer}/default", f"new records begin with {self.value}")
        for use in draft.uses(self.entity, self.field):
            if self.value in use.values:
                draft.refuse("used", use.path, use.pointer, f"{use.path} still names {self.value}")
        if len(field["options"]) == 1:
            draft.refuse("last", path, f"{pointer}/options", f"{self.field} would have no option left")
        field["options"].remove(option)

    def sentence(self, words: Words) -> str:
        return (
            f"Removes the option {words.option(self.entity, self.field, self.value)} of the field {self._said(words)}"
        )


class SetFieldLimits(_OfField):
    """Say how long a text, how small or large a number may be. Limits that are not named stay as they are."""

    op: Literal["set_field_limits"] = "set_field_limits"
    max_length: Annotated[int, Bounds(ge=1, le=100_000)] | None = None
    minimum: int | None = None
    maximum: int | None = None
    without: Annotated[list[Limit], Bounds(max_length=3)] = []
    """Limits to take away."""

    def draw(self, draft: Draft) -> None:
        for name, types in _LIMITED.items():
            value = getattr(self, name)
            if value is not None or name in self.without:
                _set(draft.field(self.entity, self.field, *types), name, None if name in self.without else value)

    def sentence(self, words: Words) -> str:
        said = [f"no {_limit(name)}" for name in self.without]
        for name in _LIMITED:
            if (value := getattr(self, name)) is not None and name not in self.without:
                said.append(f"{_limit(name)} {value}")
        return f"Gives the field {self._said(words)} {listed(said) or 'the limits it has'}"


class MarkPersonal(_OfField):
    """Keep what is in a field in the vault from now on, as personal data."""

    op: Literal["mark_personal"] = "mark_personal"

    def draw(self, draft: Draft) -> None:
        field = draft.field(self.entity, self.field)
        if field.get("indexed"):
            draft.refuse("indexed", *self._place(), f"{self.field} is indexed, and what is sealed can't be")
        switch(field, "personal", True, usually=False)

    def sentence(self, words: Words) -> str:
        return f"Keeps what is in the field {self._said(words)} as personal data from now on"


class SetFieldType(_OfField):
    """Give a field a wider type: one in which every value that a record can have stays valid and means the same."""

    op: Literal["set_field_type"] = "set_field_type"
    type: Literal["long_text", "text", "decimal"]

    def draw(self, draft: Draft) -> None:
        field = draft.field(self.entity, self.field)
        was = field["type"]
        if self.type != was and self.type not in WIDENINGS.get(was, ()):
            path, pointer = self._place()
            detail = f"a value of type {was} need not be a valid {self.type}; add a field of that type instead"
            draft.refuse("narrows", path, f"{pointer}/type", detail)
        field["type"] = self.type
        if was == "choice" and self.type != was:
            del field["options"]
        if was == "integer" and self.type == "decimal":
            field["places"] = 0

    def sentence(self, words: Words) -> str:
        return f"Lets the field {self._said(words)} hold any {TYPES[self.type]}"


def _set(field: dict[str, Any], name: str, value: Any) -> None:
    if value is None:
        field.pop(name, None)
    else:
        field[name] = value


def _option(draft: Draft, of: _OfField, value: str) -> dict[str, Any]:
    for option in draft.field(of.entity, of.field, *_OF_CHOICES)["options"]:
        if option["value"] == value:
            found: dict[str, Any] = option
            return found
    path, pointer = of._place()
    draft.refuse("unknown", path, f"{pointer}/options", f"{of.field} has no option {value}")


def _each(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _limit(name: str) -> str:
    return name.replace("max_length", "maximum length")
