"""What every file of an app is made of: names, labels, roles, conditions.

All files are data. A condition is a tree of comparisons on one record: it can't loop, call or reach anything else, so
it always ends, and quickly.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints, model_validator

from felix.domain.values import Text, storable

#: Names of fields, entities, views and all other files: what can be typed, said and put into a path.
SpecName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
Label = Annotated[str, StringConstraints(min_length=1, max_length=120, strip_whitespace=True), Text]
Sentence = Annotated[str, StringConstraints(min_length=1, max_length=1000, strip_whitespace=True), Text]
ModuleId = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,40}$")]
Version = Annotated[str, StringConstraints(pattern=r"^(0|[1-9][0-9]{0,4})\.(0|[1-9][0-9]{0,4})\.(0|[1-9][0-9]{0,4})$")]
#: Who in a client's company may see or do it; an app knows no roles of the platform.
AppRole = Literal["client_owner", "client_approver", "client_member"]
#: Comparisons deep and wide that one condition may have.
MAX_CONDITION_DEPTH = 8
MAX_CONDITION_PARTS = 50


class Spec(BaseModel):
    """A part of a file: frozen, without fields that nobody knows, without conversions."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)


class Comparison(Spec):
    """One field of a record against a value. ``is_empty`` and ``is_filled`` take none."""

    field: SpecName
    is_: Literal[
        "equal", "not_equal", "less", "at_most", "more", "at_least", "one_of", "contains", "is_empty", "is_filled"
    ] = Field(alias="is")
    value: JsonValue = None

    @model_validator(mode="after")
    def _value_fits(self) -> Comparison:
        unary = self.is_ in ("is_empty", "is_filled")
        if unary and self.value is not None:
            raise ValueError(f"{self.is_} takes no value")
        if not unary and self.value is None:
            raise ValueError(f"{self.is_} needs a value")
        if self.is_ == "one_of" and not (isinstance(self.value, list) and self.value and None not in self.value):
            raise ValueError("one_of needs a list of values")
        for value in self.value if isinstance(self.value, list) and self.is_ == "one_of" else [self.value]:
            if isinstance(value, list | dict):
                raise ValueError(f"{self.is_} needs single values")
            if isinstance(value, str):
                storable(value)
        return self


class AllOf(Spec):
    """Every one of these holds."""

    all: list[Condition] = Field(min_length=1, max_length=20)


class AnyOf(Spec):
    """At least one of these holds."""

    any: list[Condition] = Field(min_length=1, max_length=20)


class Not(Spec):
    """This does not hold."""

    not_: Condition = Field(alias="not")


Condition = Comparison | AllOf | AnyOf | Not


def parts_of(condition: Condition) -> list[Comparison]:
    """Every comparison of a condition. Raises ``ValueError`` when it is deeper or larger than may be."""
    found: list[Comparison] = []
    level: list[Any] = [condition]
    for _ in range(MAX_CONDITION_DEPTH):
        below: list[Any] = []
        for part in level:
            match part:
                case Comparison():
                    found.append(part)
                case AllOf():
                    below += part.all
                case AnyOf():
                    below += part.any
                case Not():
                    below.append(part.not_)
        if len(found) + len(below) > MAX_CONDITION_PARTS:
            raise ValueError(f"a condition has at most {MAX_CONDITION_PARTS} comparisons")
        if not below:
            return found
        level = below
    raise ValueError(f"a condition is at most {MAX_CONDITION_DEPTH} levels deep")


for _model in (AllOf, AnyOf, Not):
    _model.model_rebuild()
