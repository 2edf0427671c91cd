"""Turns domain events into the bytes that are stored once, and stored bytes back into events.

State is canonical JSON (RFC 8785 for the values Felix uses: sorted ASCII keys, integers, strings, no floats, no
white space). Old versions are brought up to date on read, never in the table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

import orjson
from eventsourcing.persistence import Mapper, StoredEvent
from eventsourcing.utils import TopicError, get_topic, resolve_topic
from pydantic import BaseModel

from felix.domain.base import ENVELOPE_FIELDS, FelixEvent
from felix.domain.errors import Corrupt

_OPTIONS = orjson.OPT_SORT_KEYS | orjson.OPT_UTC_Z


class UnknownEventType(Corrupt):
    """The log holds an event of a type that this version of Felix does not know."""


class CorruptPayload(Corrupt):
    """The stored bytes of an event are not JSON."""


def canonical_json(value: Any) -> bytes:
    """The one way Felix writes JSON that is kept or hashed."""
    return orjson.dumps(value, option=_OPTIONS)


@lru_cache(maxsize=4096)
def stored_name(event_class: type) -> str:
    """The stored name of an event class, for example ``ledger.tokens_debited``."""
    return get_topic(event_class)


@lru_cache(maxsize=4096)
def event_class_of(stored_type: str) -> type[Any]:
    """The class behind a stored name. Raises :class:`UnknownEventType`."""
    try:
        cls: type[Any] = resolve_topic(stored_type)
    except TopicError as error:
        raise UnknownEventType(
            f"The log holds an event of type {stored_type!r}, which this version of Felix does not know.",
            type=stored_type,
        ) from error
    return cls


def encode_state(event: FelixEvent) -> bytes:
    """The canonical bytes of an event's payload: everything but the envelope, which has columns of its own."""
    state = event.__dict__.copy()
    for name in ENVELOPE_FIELDS:
        del state[name]
    version = type(event).class_version
    if version > 1:
        state["class_version"] = version
    return orjson.dumps(state, default=_plain, option=_OPTIONS)


def _plain(value: object) -> Any:
    """What an event is made of besides JSON values: values with members of their own, such as a strategy."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    raise TypeError(f"{type(value).__name__} is no value of an event")


def decode_state(stored_type: str, state: bytes) -> dict[str, Any]:
    """The payload behind stored bytes, brought up to the current version of its event class."""
    try:
        payload: dict[str, Any] = orjson.loads(state)
    except orjson.JSONDecodeError as error:
        raise CorruptPayload(f"The stored bytes of an event are not JSON: {error}", type=stored_type) from error
    cls = event_class_of(stored_type)
    current = cls.class_version
    version = payload.pop("class_version", 1)
    while version < current:
        getattr(cls, f"upcast_v{version}_v{version + 1}")(payload)
        version += 1
    return payload


@dataclass(slots=True)
class RecordedEvent:
    """One row of the log. ``payload`` is its state up to date, ``event`` the domain event."""

    partition: int
    position: int
    tenant_id: UUID
    tenant_sequence: int
    stream: str
    version: int
    type: str
    event_id: UUID
    recorded_at: datetime
    command_key: str
    actor: str
    metadata: Mapping[str, str]
    state: bytes
    _payload: dict[str, Any] | None = field(default=None, repr=False)

    @property
    def payload(self) -> dict[str, Any]:
        """State as a dict, upcast to the current version of the event."""
        if self._payload is None:
            self._payload = decode_state(self.type, self.state)
        return self._payload

    @property
    def kind(self) -> str:
        """The kind of aggregate, for example ``token_account``."""
        return self.stream.split(":", 2)[1]

    @property
    def local_id(self) -> str:
        """The id without tenant and kind."""
        return self.stream.rsplit(":", 1)[1]

    @property
    def event(self) -> FelixEvent:
        """The domain event itself, validated."""
        return domain_event(
            self.type, self.payload, self.stream, self.version, recorded_at=self.recorded_at, event_id=self.event_id
        )

    def as_dict(self) -> dict[str, Any]:
        """What the API and ``felix events`` show."""
        return {
            "partition": self.partition,
            "position": self.position,
            "tenant_id": str(self.tenant_id),
            "tenant_sequence": self.tenant_sequence,
            "stream": self.stream,
            "version": self.version,
            "type": self.type,
            "event_id": str(self.event_id),
            "recorded_at": self.recorded_at,
            "command_key": self.command_key,
            "actor": self.actor,
            "metadata": dict(self.metadata),
            "state": orjson.loads(self.state),
        }


@dataclass(slots=True)
class RecordedCommand:
    """One command of the feed, accepted or refused. ``position`` is its place there; its events have others.

    ``outcome`` is canonical JSON: the result, or the record of the refusal. ``reason`` is why it was given, where it
    takes a reason. ``last_tenant_sequence`` is that of its last event.
    """

    partition: int
    position: int
    tenant_id: UUID
    command_key: str
    type: str
    actor: str
    accepted: bool
    first_position: int | None
    last_position: int | None
    recorded_at: datetime
    metadata: Mapping[str, str]
    reason: str | None
    outcome: bytes
    last_tenant_sequence: int | None
    _result: dict[str, Any] | None = field(default=None, repr=False)

    @property
    def result(self) -> dict[str, Any]:
        """The outcome as a dict."""
        if self._result is None:
            self._result = orjson.loads(self.outcome)
        return self._result

    @property
    def first_tenant_sequence(self) -> int | None:
        """The ``tenant_sequence`` of its first event: a command's events follow each other."""
        if self.last_tenant_sequence is None or self.first_position is None or self.last_position is None:
            return None
        return self.last_tenant_sequence - (self.last_position - self.first_position)

    @property
    def code(self) -> str | None:
        """The code of a refusal, for example ``insufficient_tokens``."""
        return None if self.accepted else self.result["code"]

    @property
    def refusal(self) -> str | None:
        """The sentence of a refusal."""
        return None if self.accepted else self.result["detail"]


def domain_event(
    stored_type: str, payload: dict[str, Any], stream: str, version: int, *, recorded_at: datetime, event_id: UUID
) -> FelixEvent:
    """Build and validate the domain event of an up-to-date payload."""
    cls = event_class_of(stored_type)
    event: FelixEvent = cls.__pydantic_validator__.validate_python(
        {
            **payload,
            "originator_id": stream,
            "originator_version": version,
            "timestamp": recorded_at,
            "event_id": event_id,
        },
        strict=False,
    )
    return event


@dataclass(frozen=True)
class FelixStoredEvent(StoredEvent):
    """The library's stored event with the two envelope fields that Felix keeps in columns."""

    event_id: UUID | None = None
    recorded_at: datetime | None = None


class FelixMapper(Mapper[str]):
    """The library's mapper interface over the functions above: canonical JSON, upcasting and validation on read."""

    def to_stored_event(self, domain_event: Any) -> StoredEvent:
        """Encode an event for ``insert_events``."""
        if not isinstance(domain_event, FelixEvent):
            return super().to_stored_event(domain_event)
        return FelixStoredEvent(
            originator_id=domain_event.originator_id,
            originator_version=domain_event.originator_version,
            topic=stored_name(type(domain_event)),
            state=encode_state(domain_event),
            event_id=domain_event.event_id,
            recorded_at=domain_event.timestamp,
        )

    def to_domain_event(self, stored_event: StoredEvent) -> Any:
        """Decode what ``select_events`` or ``select_notifications`` returned."""
        if not isinstance(stored_event, FelixStoredEvent) or not issubclass(
            event_class_of(stored_event.topic), FelixEvent
        ):
            return super().to_domain_event(stored_event)
        if stored_event.event_id is None or stored_event.recorded_at is None:
            raise Corrupt("A stored event has no event id or time.", stream=str(stored_event.originator_id))
        return domain_event(
            stored_event.topic,
            decode_state(stored_event.topic, stored_event.state),
            str(stored_event.originator_id),
            stored_event.originator_version,
            recorded_at=stored_event.recorded_at,
            event_id=stored_event.event_id,
        )
