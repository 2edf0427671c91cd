"""Entities: what a client keeps records of, and the fields that each has."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field as Bounds
from pydantic import JsonValue, StringConstraints, model_validator

from felix.domain.apps.base import Label, Sentence, Spec, SpecName

FieldType = Literal[
    "text", "long_text", "integer", "decimal", "money", "boolean", "date", "moment", "choice", "choices", "email",
    "phone", "url", "reference",
]  # fmt: skip
#: Which further properties a type has; every other one is refused.
_PROPERTIES: dict[FieldType, frozenset[str]] = {
    "text": frozenset({"max_length"}),
    "long_text": frozenset({"max_length"}),
    "integer": frozenset({"minimum", "maximum"}),
    "decimal": frozenset({"minimum", "maximum", "places"}),
    "money": frozenset({"minimum", "maximum", "currency"}),
    "boolean": frozenset(),
    "date": frozenset(),
    "moment": frozenset(),
    "choice": frozenset({"options"}),
    "choices": frozenset({"options"}),
    "email": frozenset(),
    "phone": frozenset(),
    "url": frozenset(),
    "reference": frozenset({"to"}),
}
_NEEDED: dict[FieldType, frozenset[str]] = {
    "money": frozenset({"currency"}),
    "choice": frozenset({"options"}),
    "choices": frozenset({"options"}),
    "reference": frozenset({"to"}),
}
MAX_FIELDS = 200
MAX_OPTIONS = 200


class Option(Spec):
    """One thing that can be chosen; ``value`` is what records hold and never changes."""

    value: SpecName
    label: Label


class Field(Spec):
    """One field. A decimal is a whole number of its last place, money of its minor unit: there are no floats.

    ``hidden`` fields keep their values and are shown nowhere: a removal hides first. What is ``personal`` is kept in
    the vault, and events carry a commitment to it.
    """

    type: FieldType
    label: Label
    help: Sentence | None = None
    required: bool = False
    hidden: bool = False
    personal: bool = False
    indexed: bool = False
    default: JsonValue = None
    max_length: Annotated[int, Bounds(ge=1, le=100_000)] | None = None
    minimum: int | None = None
    maximum: int | None = None
    places: Annotated[int, Bounds(ge=0, le=6)] | None = None
    currency: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")] | None = None
    options: Annotated[list[Option], Bounds(min_length=1, max_length=MAX_OPTIONS)] | None = None
    to: SpecName | None = None

    @model_validator(mode="after")
    def _properties_fit_the_type(self) -> Field:
        for name in ("max_length", "minimum", "maximum", "places", "currency", "options", "to"):
            given = getattr(self, name) is not None
            if given and name not in _PROPERTIES[self.type]:
                raise ValueError(f"a field of type {self.type} has no {name}")
            if not given and name in _NEEDED.get(self.type, ()):
                raise ValueError(f"a field of type {self.type} needs {name}")
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise ValueError("minimum is more than maximum")
        values = [option.value for option in self.options or ()]
        if len(values) != len(set(values)):
            raise ValueError("an option is there twice")
        self._check_default(values)
        if self.personal and self.indexed:
            raise ValueError("what is personal is sealed and can't be indexed")
        return self

    def _check_default(self, options: list[str]) -> None:
        """The default must be a value of the type; checked here where that needs no other file."""
        given = self.default
        if given is None:
            return
        if self.type in ("integer", "decimal", "money"):
            if type(given) is not int:
                raise ValueError("the default is not a whole number")
            if (self.minimum is not None and given < self.minimum) or (
                self.maximum is not None and given > self.maximum
            ):
                raise ValueError("the default is out of bounds")
        elif self.type == "boolean":
            if type(given) is not bool:
                raise ValueError("the default is neither true nor false")
        elif self.type == "choice":
            if given not in options:
                raise ValueError("the default is none of the options")
        elif self.type == "choices":
            if not isinstance(given, list) or not set(map(str, given)) <= set(options):
                raise ValueError("the default is not a list of options")
        elif self.type in ("date", "moment", "reference"):
            raise ValueError(f"a field of type {self.type} has no default")
        elif not isinstance(given, str) or len(given) > (self.max_length or 10_000):
            raise ValueError("the default is not a text of the right length")


class Entity(Spec):
    """One kind of record. ``named_by`` is the field that a record is called by in lists and references."""

    title: Label
    plural: Label
    hidden: bool = False
    named_by: SpecName
    fields: Annotated[dict[SpecName, Field], Bounds(min_length=1, max_length=MAX_FIELDS)]

    @model_validator(mode="after")
    def _named_by_a_field(self) -> Entity:
        named = self.fields.get(self.named_by)
        if named is None:
            raise ValueError(f"named_by is no field: {self.named_by}")
        if named.type not in ("text", "email", "phone", "integer", "choice") or named.hidden:
            raise ValueError(f"a record can't be called by {self.named_by}")
        return self
