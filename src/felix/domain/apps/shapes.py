"""An entity's shape: what a record of it may hold, compiled once a release and asked at every write.

Built from pydantic-core's own schemas, without a class an entity: that compiles a release ten times as fast.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cached_property
from typing import Any

from pydantic import ValidationError
from pydantic_core import CoreSchema, PydanticCustomError, SchemaValidator, core_schema

from felix.domain.apps.entities import Entity, Field
from felix.domain.apps.measured import Measure
from felix.domain.apps.tree import ParsedApp
from felix.domain.errors import Invalid
from felix.domain.records.hooks import NO_HOOKS, Consequence, Hook, Records, Writing, consequences

#: What a text may hold where its field says nothing.
MAX_TEXT, MAX_LONG_TEXT = 500, 20_000
MAX_CHOICES = 100
_LARGEST = 2**53 - 1
_EMAIL = r"^[^\s@<>\"',;:\\()\[\]]{1,64}@[^\s@<>\"',;:\\()\[\]]{1,190}$"
_PHONE = r"^\+?[0-9][0-9 ()./-]{2,30}$"
_URL = r"^https?://[^\s<>\"]{1,2000}$"
RECORD_ID = re.compile(r"rec_[0-9a-f]{32}", re.ASCII)


class InvalidRecord(Invalid):
    """These values are none that a record of this entity can have."""


@dataclass(frozen=True)
class Shape:
    """What records of one entity may hold."""

    name: str
    entity: Entity

    def whole(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The values of a new record, with defaults. Raises :class:`InvalidRecord`."""
        return self._checked(self._whole, values)

    def part(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The changed values of a record; null takes a value away. Raises :class:`InvalidRecord`."""
        return self._checked(self._part, values)

    @cached_property
    def shown(self) -> dict[str, Field]:
        """The fields that are not hidden."""
        return {name: field for name, field in self.entity.fields.items() if not field.hidden}

    @cached_property
    def personal(self) -> frozenset[str]:
        """The fields whose values go to the vault."""
        return frozenset(name for name, field in self.entity.fields.items() if field.personal)

    @cached_property
    def _whole(self) -> SchemaValidator:
        return _compile(self.shown, whole=True)

    @cached_property
    def _part(self) -> SchemaValidator:
        return _compile(self.shown, whole=False)

    def compile(self) -> None:
        """Compile now rather than at the first write."""
        _ = self._whole, self._part

    def _checked(self, validator: SchemaValidator, values: Mapping[str, Any]) -> dict[str, Any]:
        try:
            checked: dict[str, Any] = validator.validate_python(values)
            return checked
        except ValidationError as error:
            found = [
                {
                    "pointer": "".join(f"/{part}" for part in entry["loc"]),
                    "rule": entry["type"],
                    "detail": entry["msg"],
                }
                for entry in error.errors(include_url=False, include_context=False, include_input=False)
            ]
        raise InvalidRecord(entity=self.name, errors=found)


@dataclass(frozen=True)
class CompiledApp:
    """A release that is ready to serve."""

    release: str
    app: ParsedApp
    shapes: Mapping[str, Shape]
    #: Of the modules that the app has.
    hooks: tuple[Hook, ...] = NO_HOOKS

    def consequences(self, writing: Writing, records: Records) -> list[Consequence]:
        """What the app's modules want written along with a record. Raises their ``Refused``."""
        found = consequences(self.hooks, self._configs, writing, records) if self.hooks else []
        return [
            Consequence(one.entity, one.record_id, {name: one.values[name] for name in one.values if name in fields})
            for one in found
            if (fields := self.shapes[one.entity].entity.fields if one.entity in self.shapes else None)
        ]

    @cached_property
    def tighter(self) -> dict[Measure, float]:
        """The least share of what the app's modules allow to go wrong while a release is new."""
        rails = [rail for module in self.app.modules.values() for rail in module.guardrails]
        return {rail.measure: min(r.share for r in rails if r.measure == rail.measure) for rail in rails}

    @cached_property
    def _configs(self) -> dict[str, dict[str, Any]]:
        return {name: dict(module.settings) for name, module in self.app.modules.items()}


def compile_app(release: str, app: ParsedApp, hooks: Iterable[Hook] = NO_HOOKS) -> CompiledApp:
    """Make a release ready, once; records are then checked in microseconds. ``hooks`` are those of all modules."""
    shapes = {name: Shape(name, entity) for name, entity in app.entities.items()}
    for shape in shapes.values():
        shape.compile()
    return CompiledApp(release, app, shapes, tuple(hook for hook in hooks if hook.module in app.app.modules))


def _compile(fields: Mapping[str, Field], *, whole: bool) -> SchemaValidator:
    known: dict[str, core_schema.TypedDictField] = {}
    for name, field in fields.items():
        schema = _SCHEMAS[field.type](field)
        if not field.required:
            schema = core_schema.nullable_schema(schema)
        if whole and field.default is not None:
            schema = core_schema.with_default_schema(schema, default=field.default)
        needed = whole and field.required and field.default is None
        known[name] = core_schema.typed_dict_field(schema, required=needed)
    return SchemaValidator(core_schema.typed_dict_schema(known, extra_behavior="forbid", total=False, strict=True))


def _clean(text: str) -> str:
    if "\0" in text:
        raise PydanticCustomError("text", "must not contain NUL")
    return text


def _text(limit: int, pattern: str | None = None) -> CoreSchema:
    return core_schema.no_info_after_validator_function(
        _clean, core_schema.str_schema(max_length=limit, pattern=pattern, strip_whitespace=True, strict=True)
    )


def _number(field: Field) -> CoreSchema:
    least = -_LARGEST if field.minimum is None else field.minimum
    most = _LARGEST if field.maximum is None else field.maximum
    return core_schema.int_schema(ge=least, le=most, strict=True)


def _date(text: str) -> str:
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise PydanticCustomError("date", "is no date such as 2026-01-31") from None


def _moment(text: str) -> str:
    try:
        at = datetime.fromisoformat(text)
        if at.tzinfo is None:
            raise ValueError("no zone")
        return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
    except (ValueError, OverflowError):
        raise PydanticCustomError("moment", "is no moment with a zone such as 2026-01-31T09:00:00Z") from None


def _reference(text: str) -> str:
    if RECORD_ID.fullmatch(text) is None:
        raise PydanticCustomError("reference", "is no id of a record")
    return text


def _read(read: Callable[[str], str]) -> Callable[[Field], CoreSchema]:
    schema = core_schema.no_info_after_validator_function(read, core_schema.str_schema(max_length=64, strict=True))
    return lambda _: schema


def _choice(field: Field) -> CoreSchema:
    return core_schema.literal_schema([option.value for option in field.options or ()])


def _several(values: list[str]) -> list[str]:
    if len(set(values)) != len(values):
        raise PydanticCustomError("twice", "has an option twice")
    return values


def _choices(field: Field) -> CoreSchema:
    several = core_schema.list_schema(_choice(field), max_length=MAX_CHOICES, strict=True)
    return core_schema.no_info_after_validator_function(_several, several)


_SCHEMAS: dict[str, Callable[[Field], CoreSchema]] = {
    "text": lambda field: _text(field.max_length or MAX_TEXT),
    "long_text": lambda field: _text(field.max_length or MAX_LONG_TEXT),
    "integer": _number,
    "decimal": _number,
    "money": _number,
    "boolean": lambda _: core_schema.bool_schema(strict=True),
    "date": _read(_date),
    "moment": _read(_moment),
    "choice": _choice,
    "choices": _choices,
    "email": lambda _: _text(254, _EMAIL),
    "phone": lambda _: _text(40, _PHONE),
    "url": lambda _: _text(2_010, _URL),
    "reference": _read(_reference),
}
