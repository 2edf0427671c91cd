"""The ground every aggregate, command and event stands on.

Time and ids arrive in the :class:`CommandContext`; nothing below it reads a clock or makes up an id, so a
command decided twice from the same state gives the same events.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Self, TypeVar, cast
from uuid import UUID, SafeUUID

from eventsourcing.domain import (
    AbstractDecoratedFuncCaller,
    BaseAggregate,
    CanInitAggregate,
    CanMutateAggregate,
    decorated_funcs,
    event,
)
from pydantic import BaseModel, ConfigDict

#: Ids of one command are its command id plus a count; the count has these many low bits to itself.
IDS_PER_COMMAND_BITS = 16


class Command(BaseModel):
    """What is asked. Frozen data, checked at the edge; ``command_name`` is its stable name in the log."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    command_name: ClassVar[str] = ""

    @property
    def weight(self) -> int:
        """How much work this is, in events: bounds the size of a batch."""
        return 1

    @property
    def why(self) -> str | None:
        """The reason that was given, where the command takes one: kept with it, accepted or refused."""
        reason: str | None = self.__dict__.get("reason")
        return reason

    def fingerprint_fields(self) -> dict[str, Any]:
        """The fields that tell this request from another under the same key: all that differ from their default."""
        return self.model_dump(mode="json", exclude_defaults=True)


#: Looked up once: in Python 3.11 an enum's member is a descriptor call each time.
_UNKNOWN = SafeUUID.unknown


def _uuid(value: int) -> UUID:
    """``UUID(int=value)`` without its checks, at a third of the time: every event has one."""
    made = object.__new__(UUID)
    object.__setattr__(made, "int", value)
    object.__setattr__(made, "is_safe", _UNKNOWN)
    return made


@dataclass(slots=True)
class CommandContext:
    """Who asks, for which tenant, when, and under which key.

    ``command_id`` is a UUIDv7 whose low 16 bits are zero: the ids of the events and things a command makes
    are counted up from it, so they need no generator and are the same whenever the command is decided again.

    ``enclosed`` is what travels with the command and is no part of it: hashes and sealed values, which its handler
    puts into a table of secrets. Neither the log nor the command's fingerprint ever holds it.
    """

    tenant_id: UUID
    command_key: str
    command_id: UUID
    actor: str
    at: datetime
    correlation_id: UUID | None = None
    causation_id: UUID | None = None
    on_behalf_of: str | None = None
    enclosed: Mapping[str, Any] = field(default_factory=dict, repr=False)
    _ids: int = field(default=0, repr=False)

    def next_id(self) -> UUID:
        """The next id of this command."""
        if self._ids >> IDS_PER_COMMAND_BITS:
            raise OverflowError("a command makes at most 65,536 ids")
        value = self.command_id.int + self._ids
        self._ids += 1
        return _uuid(value)

    def mint(self, prefix: str) -> str:
        """A new prefixed id, for example ``acct_0192…`` (32 hex digits)."""
        return f"{prefix}_{self.next_id().hex}"

    def rewind(self) -> None:
        """Start counting ids again, before the same command is decided once more."""
        self._ids = 0

    def metadata(self) -> dict[str, str]:
        """What is stored beside every event of this command; keys in alphabetical order."""
        known = {
            "causation_id": self.causation_id,
            "correlation_id": self.correlation_id or self.command_id,
            "on_behalf_of": self.on_behalf_of,
        }
        return {name: str(value) for name, value in known.items() if value is not None}


class FelixEvent(BaseModel, CanMutateAggregate[str]):
    """What has happened. Frozen; the four envelope fields live in columns, the others are its state.

    Subclasses set ``TOPIC`` (the stored name, for example ``ledger.tokens_debited``) and, once the shape has
    changed, ``class_version`` with static methods ``upcast_v1_v2(state)`` that bring old state up to date.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    TOPIC: ClassVar[str]
    class_version: ClassVar[int] = 1
    #: Made by the thousand from values that were checked before: not validated again when it happens, only on read.
    made_in_bulk: ClassVar[bool] = False

    originator_id: str
    originator_version: int
    timestamp: datetime
    event_id: UUID

    def _as_dict(self) -> dict[str, Any]:
        return self.__dict__

    def apply(self, aggregate: Any) -> None:
        """Add this event up: call the aggregate's method that is decorated with this event class."""
        fold, names = _folds.get(type(self)) or _fold_of(type(self))
        state = self.__dict__
        fold(aggregate, *[state[name] for name in names])


class FelixCreated(FelixEvent, CanInitAggregate[str]):
    """The first event of a stream."""

    originator_topic: str


ENVELOPE_FIELDS = frozenset(FelixEvent.model_fields)

_folds: dict[type, tuple[Callable[..., None], tuple[str, ...]]] = {}


_fields: dict[type, set[str]] = {}


def _fields_of(event_class: type[FelixEvent]) -> set[str]:
    """All fields, as events made in bulk have them set; one set for all of them, which nobody changes."""
    return _fields.get(event_class) or _fields.setdefault(event_class, set(event_class.model_fields))


def _nothing(_: Any) -> None:
    """Created events are added up by the aggregate's ``__init__``, not by a fold of their own."""


def _fold_of(event_class: type) -> tuple[Callable[..., None], tuple[str, ...]]:
    found: tuple[Callable[..., None], tuple[str, ...]] = (_nothing, ())
    if issubclass(event_class, AbstractDecoratedFuncCaller):
        func = decorated_funcs[event_class]
        found = (func, tuple(inspect.signature(func).parameters)[1:])
    _folds[event_class] = found
    return found


class FelixAggregate(BaseAggregate[str]):
    """Decides on commands and adds up events.

    Public methods refuse, private methods decorated with ``@event`` only add up: a rule in a fold would run
    again on every load and make old streams unloadable once it is tightened.

    ``kind`` is the middle of the stream name ``<tenant>:<kind>:<id>``. ``TOPIC`` is the aggregate's stored name.
    """

    Event = FelixEvent
    kind: ClassVar[str]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Let each event add up once.

        The library's class for decorated events calls the fold and then the ``apply`` above it, and that of
        ``FelixEvent`` calls the fold as well; ``FelixEvent``'s alone is the faster one of the two.
        """
        if "TOPIC" in vars(cls):
            _take_over_folds(cls)
        super().__init_subclass__(**kwargs)
        for value in vars(cls).values():
            if isinstance(value, type) and issubclass(value, AbstractDecoratedFuncCaller):
                value.apply = FelixEvent.apply  # type: ignore[attr-defined]

    def trigger_event(self, event_class: type[Any], **kwargs: Any) -> None:
        """Make the next event of this stream at the time, and with an id, of the command being decided."""
        context = self.__dict__.get("_context")
        if context is None:
            raise RuntimeError(f"{type(self).__name__} has no command to decide on; call deciding() first")
        at = context.at
        if at < self._modified_on:
            at = self._modified_on
        version = self._version + 1
        kwargs["originator_id"] = self._id
        kwargs["originator_version"] = version
        kwargs["timestamp"] = at
        kwargs["event_id"] = context.next_id()
        if event_class.made_in_bulk:
            new_event = object.__new__(event_class)
            object.__setattr__(new_event, "__dict__", kwargs)
            object.__setattr__(new_event, "__pydantic_fields_set__", _fields_of(event_class))
            object.__setattr__(new_event, "__pydantic_extra__", None)
            object.__setattr__(new_event, "__pydantic_private__", None)
        else:
            new_event = event_class.__pydantic_validator__.validate_python(kwargs)
        new_event.apply(self)
        self._version = version
        self._modified_on = at
        self._pending_events.append(new_event)

    @classmethod
    def begin(cls, context: CommandContext, stream_id: str, **kwargs: Any) -> Self:
        """Make a new aggregate by its created event. ``stream_id`` is the part after ``<tenant>:<kind>:``."""
        created = cls.created_event_class()
        event = created(
            originator_id=stream_name(context.tenant_id, cls.kind, stream_id),
            originator_version=cls.INITIAL_VERSION,
            timestamp=context.at,
            event_id=context.next_id(),
            originator_topic=cls.TOPIC,  # type: ignore[attr-defined]
            **kwargs,
        )
        aggregate = cast(Self, event.mutate(None))
        aggregate._pending_events.append(event)
        return aggregate.deciding(context)

    @classmethod
    def created_event_class(cls) -> type[FelixCreated]:
        """The class of the first event of this aggregate's streams."""
        for value in vars(cls).values():
            if isinstance(value, type) and issubclass(value, FelixCreated):
                return value
        raise TypeError(f"{cls.__name__} has no created event")

    def deciding(self, context: CommandContext) -> Self:
        """Bind the command whose time and ids the next events carry."""
        self.__dict__["_context"] = context
        return self

    @property
    def local_id(self) -> str:
        """The id without tenant and kind, as the API shows it."""
        return self._id.rsplit(":", 1)[1]

    @property
    def deciding_at(self) -> datetime:
        """The time of the command being decided, never before the last event."""
        context: CommandContext = self.__dict__["_context"]
        return max(context.at, self._modified_on)

    @property
    def context(self) -> CommandContext:
        """The command context that :meth:`deciding` bound."""
        context: CommandContext = self.__dict__["_context"]
        return context

    def snapshot(self) -> dict[str, Any]:
        """The state as JSON-ready values, without id, version and pending events."""
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}

    @classmethod
    def restore(
        cls, *, stream: str, version: int, created_on: datetime, modified_on: datetime, state: Mapping[str, Any]
    ) -> Self:
        """Rebuild an aggregate from :meth:`snapshot`'s values. Subclasses with richer state extend ``thaw``."""
        aggregate = object.__new__(cls)
        aggregate.__base_init__(stream, version, created_on)
        aggregate._modified_on = modified_on
        vars(aggregate).update(cls.thaw(dict(state)))
        return aggregate

    @classmethod
    def thaw(cls, state: dict[str, Any]) -> dict[str, Any]:
        """Turn snapshot values back into attributes."""
        return state


A = TypeVar("A", bound=FelixAggregate)
C = TypeVar("C", bound=Command)

#: Commands that concern one existing aggregate: command class -> (aggregate class, id field, method name).
DECISIONS: dict[type[Command], tuple[type[FelixAggregate], str, str]] = {}


def adds_up(event_class: type[FelixEvent]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Mark a method of a class that aggregates are built from as the fold of an event.

    In an aggregate itself the library's ``@event`` says so; it makes an event class for each class it stands in, and
    those of a base and of the aggregate could not be joined.
    """

    def mark(method: Callable[..., None]) -> Callable[..., None]:
        setattr(method, "_adds_up", event_class)  # noqa: B010
        return method

    return mark


def _take_over_folds(aggregate_class: type[FelixAggregate]) -> None:
    """Give an aggregate the folds that its bases are marked with, as if they were written in it."""
    for base in aggregate_class.__mro__[1:]:
        for name, method in list(vars(base).items()):
            if (event_class := getattr(method, "_adds_up", None)) is not None:
                setattr(aggregate_class, event_class.__name__, event_class)
                setattr(aggregate_class, name, event(event_class)(method))


def decides(command_class: type[C], *, by: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Mark a public method of an aggregate as the answer to a command; ``by`` names the field with its id.

    The method takes the command and returns the outcome as a JSON-ready dict. Commands that make an aggregate,
    or concern several, have a handler in ``felix.application`` instead.
    """

    def mark(method: Callable[..., Any]) -> Callable[..., Any]:
        setattr(method, "_decides", (command_class, by))  # noqa: B010
        return method

    return mark


def register_decisions(aggregate_class: type[A]) -> type[A]:
    """Class decorator: put the methods marked with :func:`decides`, inherited ones too, into :data:`DECISIONS`."""
    for name in dir(aggregate_class):
        if (marked := getattr(inspect.getattr_static(aggregate_class, name), "_decides", None)) is not None:
            command_class, by = marked
            if command_class in DECISIONS:
                raise TypeError(f"{command_class.__name__} is decided twice")
            DECISIONS[command_class] = (aggregate_class, by, name)
    return aggregate_class


def stream_name(tenant_id: UUID, kind: str, stream_id: str) -> str:
    """``<tenant>:<kind>:<id>``: the tenant in front, so a stream can never belong to two."""
    return f"{tenant_id}:{kind}:{stream_id}"
