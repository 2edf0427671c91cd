"""Aggregates from what is stored of them: events added up one by one, from the beginning or from a snapshot."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from felix.domain.base import FelixAggregate
from felix.domain.errors import Corrupt
from felix.eventstore.mapper import canonical_json, decode_state, domain_event


@dataclass(slots=True)
class NewSnapshot:
    """An aggregate's state at a version, in the order of the table's columns. ``state`` is canonical JSON."""

    tenant_id: UUID
    stream: str
    version: int
    type: str
    created_on: datetime
    modified_on: datetime
    state: bytes


def fold(
    aggregate: FelixAggregate | None,
    type_: str,
    state: bytes,
    stream: str,
    version: int,
    recorded_at: datetime,
    event_id: UUID,
) -> FelixAggregate:
    """Add one stored event up. Raises :class:`Corrupt` when its version is not the next one."""
    event = domain_event(type_, decode_state(type_, state), stream, version, recorded_at=recorded_at, event_id=event_id)
    if aggregate is None:
        made = event.mutate(None)
        if not isinstance(made, FelixAggregate):
            raise Corrupt(f"{stream} begins with {type_}, which makes no aggregate.", stream=stream)
        return made
    if version != aggregate.version + 1:
        raise Corrupt(f"{stream} has no version {aggregate.version + 1}.", stream=stream, version=version)
    event.apply(aggregate)
    aggregate.version = version
    aggregate.modified_on = recorded_at
    return aggregate


def snapshot_type(aggregate_class: type[FelixAggregate]) -> str:
    """Stored with a snapshot: a snapshot of an older state version is ignored and the stream replayed."""
    return f"{aggregate_class.TOPIC}/{getattr(aggregate_class, 'class_version', 1)}"  # type: ignore[attr-defined]


def snapshot_of(aggregate: FelixAggregate, tenant_id: UUID) -> NewSnapshot:
    """The snapshot of an aggregate as it is now."""
    return NewSnapshot(
        tenant_id=tenant_id,
        stream=aggregate.id,
        version=aggregate.version,
        type=snapshot_type(type(aggregate)),
        created_on=aggregate.created_on,
        modified_on=aggregate.modified_on,
        state=canonical_json(aggregate.snapshot()),
    )
