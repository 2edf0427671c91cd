"""What a module says of itself: in the manifest that it comes with, and in the file of an app that has it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field as Bounds
from pydantic import JsonValue, StringConstraints, model_validator

from felix.domain.apps.base import Label, ModuleId, Sentence, Spec, SpecName, Version
from felix.domain.metering.prices import Price

#: What a module may do beyond showing things: write an entity from its handlers, send mail, run by the clock.
Capability = Annotated[
    str, StringConstraints(pattern=r"^(records:write:[a-z][a-z0-9_]{0,62}|mail:send|schedules:run)$", max_length=80)
]
MAX_SETTINGS = 50
#: Characters of a setting that says nothing else.
MAX_VALUE = 1000
_TYPES: dict[str, type] = {"string": str, "integer": int, "boolean": bool}
Value = str | int | bool


class Setting(Spec):
    """One property of a configuration, in words of JSON Schema."""

    type: Literal["string", "integer", "boolean"]
    title: Label
    description: Sentence | None = None
    default: Value
    enum: Annotated[list[str], Bounds(min_length=1, max_length=50)] | None = None
    minimum: int | None = None
    maximum: int | None = None
    max_length: Annotated[int, Bounds(ge=1, le=MAX_VALUE)] | None = Bounds(default=None, alias="maxLength")

    @model_validator(mode="after")
    def _default_fits(self) -> Setting:
        if fault := self.fault(self.default):
            raise ValueError(f"the default {fault}")
        return self

    def fault(self, value: Value) -> str | None:
        """What is wrong with a value; None for nothing."""
        if type(value) is not _TYPES[self.type]:
            return f"is no {self.type}"
        if isinstance(value, str):
            if self.enum is not None and value not in self.enum:
                return f"is none of {', '.join(self.enum)}"
            longest = self.max_length or MAX_VALUE
            return f"has more than {longest} characters" if len(value) > longest else None
        if self.minimum is not None and value < self.minimum:
            return f"is less than {self.minimum}"
        return f"is more than {self.maximum}" if self.maximum is not None and value > self.maximum else None


class ConfigSchema(Spec):
    """The configuration of a module: JSON Schema, as far as settings need it. Every setting has a default."""

    type: Literal["object"] = "object"
    properties: Annotated[dict[SpecName, Setting], Bounds(max_length=MAX_SETTINGS)] = {}
    additional_properties: Literal[False] = Bounds(default=False, alias="additionalProperties")

    @property
    def defaults(self) -> dict[str, Value]:
        """What holds where a client has set nothing."""
        return {name: setting.default for name, setting in self.properties.items()}


class Guardrail(Spec):
    """What must not become more frequent while a release with the module is tried out, in thousandths.

    It can only be stricter than what holds for all releases.
    """

    measure: Literal["failed_requests", "rejected_writes", "failed_automations"]
    at_most_permille: Annotated[int, Bounds(ge=1, le=1000)]

    @property
    def share(self) -> float:
        """The same as a part of 1."""
        return self.at_most_permille / 1000


class InstalledModule(Spec):
    """``modules/<id>.json`` of an app: what the module may do there, and how the client has set it."""

    title: Label
    capabilities: Annotated[list[Capability], Bounds(max_length=50)] = []
    config_schema: ConfigSchema = ConfigSchema()
    config: dict[SpecName, Value] = {}
    guardrails: Annotated[list[Guardrail], Bounds(max_length=20)] = []

    @model_validator(mode="after")
    def _config_fits(self) -> InstalledModule:
        for name, value in self.config.items():
            setting = self.config_schema.properties.get(name)
            fault = "is no setting of this module" if setting is None else setting.fault(value)
            if fault:
                raise ValueError(f"{name} {fault}")
        return self

    @property
    def settings(self) -> dict[str, Value]:
        """Every setting: as the client has set it, else its default."""
        return self.config_schema.defaults | self.config


class Migration(Spec):
    """Operations that bring an app with an earlier version up to what a merge of files could not."""

    from_: Version = Bounds(alias="from")
    why: Sentence
    operations: Annotated[list[dict[str, JsonValue]], Bounds(min_length=1, max_length=100)]


class Provided(Spec):
    """The names of what a module brings, by the folder; ``handlers`` are what its Python decides."""

    entities: list[SpecName] = []
    views: list[SpecName] = []
    workflows: list[SpecName] = []
    automations: list[SpecName] = []
    schedules: list[SpecName] = []
    templates: list[SpecName] = []
    reports: list[SpecName] = []
    tests: list[SpecName] = []
    handlers: list[SpecName] = []
    """The entities whose writing a handler decides about."""


class Manifest(Spec):
    """``manifest.json``: one version of a module. A version that was published never changes again.

    ``requires`` names other modules with their least version, of the same major one. ``when_present`` names modules
    for which this one has files more, in ``when_present/<id>/``. ``price_card`` is for the founder to publish in the
    rate cards of clients who have the module. ``digest`` is that of all its files.
    """

    id: ModuleId
    version: Version
    title: Label
    description: Sentence
    requires: dict[ModuleId, Version] = {}
    when_present: list[ModuleId] = []
    provides: Provided
    capabilities: Annotated[list[Capability], Bounds(max_length=50)] = []
    config_schema: ConfigSchema = ConfigSchema()
    price_card: Annotated[list[Price], Bounds(max_length=50)] = []
    guardrails: Annotated[list[Guardrail], Bounds(max_length=20)] = []
    migrations: Annotated[list[Migration], Bounds(max_length=50)] = []
    digest: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]

    @model_validator(mode="after")
    def _nothing_of_itself(self) -> Manifest:
        if self.id in self.requires or self.id in self.when_present:
            raise ValueError("a module does not need itself")
        if any(ordered(migration.from_) >= ordered(self.version) for migration in self.migrations):
            raise ValueError("a migration leads here from an earlier version")
        return self

    @property
    def installed(self) -> InstalledModule:
        """The file that an app with this module has."""
        return InstalledModule(
            title=self.title,
            capabilities=self.capabilities,
            config_schema=self.config_schema,
            guardrails=self.guardrails,
        )


def ordered(version: str) -> tuple[int, ...]:
    """A version as what versions are compared by."""
    return tuple(map(int, version.split(".")))


def satisfies(version: str, least: str) -> bool:
    """Whether a version is this one or a later one that promises the same."""
    return ordered(version)[0] == ordered(least)[0] and ordered(version) >= ordered(least)
