"""The persistence module of the ``eventsourcing`` library: ``PERSISTENCE_MODULE=felix.eventstore.postgres``.

A recorder is one partition of the log. It appends by the rules of :mod:`felix.eventstore.partition_log`: the head
first, dense positions, nothing that locks more than the partition. Environment of an application (each key may carry
the application's name in front, ``COUNTERS_FELIX_PARTITION``):

- ``FELIX_DATABASE_URL``, and ``FELIX_DATABASE_ROLE_PASSWORD`` when the roles sign in themselves
- ``FELIX_PARTITION``: which partition, default 0. Two applications in one partition share one sequence of events
- ``FELIX_TENANT``: the tenant of streams that do not begin with ``<tenant>:``
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import UUID

import psycopg
from eventsourcing import persistence
from eventsourcing.utils import Environment, EnvType, resolve_topic

from felix.eventstore.appender import PROJECTOR, WRITER, FelixDatastore
from felix.eventstore.mapper import FelixMapper, FelixStoredEvent
from felix.eventstore.partition_log import NewEvent
from felix.eventstore.subscription import MAX_POSITION, FelixSubscription, ReadEvent, read_batch, read_head

#: ``wait()`` looks this often: read models follow within milliseconds (the library looks every 100 ms or more).
WAIT_MIN_S, WAIT_MAX_S = 0.002, 0.02

P = TypeVar("P")
R = TypeVar("R", bound=persistence.Recorder)

_SELECT_EVENTS = (
    "select stream, version, type, state, event_id, recorded_at from felix.events where partition = %s and stream = %s"
    " and version > %s and version <= %s order by version {} limit %s"
)
# A lane's own snapshots carry "<type>/<version of the state>" and are not the library's.
_SELECT_SNAPSHOTS = (
    "select stream, version, type, state, null, null from felix.snapshots where partition = %s and stream = %s"
    " and version > %s and version <= %s and type not like '%%/%%' order by version {} limit %s"
)
_INSERT_SNAPSHOT = (
    "insert into felix.snapshots (partition, tenant_id, stream, version, type, created_on, modified_on, state)"
    " values (%s, %s, %s, %s, %s, %s, %s, %s)"
)
_TRACK = (
    "insert into felix.tracking as t (partition, tracker, application_name, notification_id) values (%s, %s, %s, %s)"
    " on conflict (partition, tracker, application_name) do update set notification_id = excluded.notification_id"
    " where t.notification_id < excluded.notification_id"
)


class FelixAggregateRecorder(persistence.AggregateRecorder):
    """Stores the events of aggregates in one partition or, for the purpose ``snapshots``, their snapshots."""

    def __init__(
        self,
        datastore: FelixDatastore,
        *,
        partition: int = 0,
        tenant_id: UUID | None = None,
        purpose: str = "events",
    ) -> None:
        if purpose not in ("events", "snapshots"):
            raise persistence.NotSupportedError(f"Felix stores events and snapshots, not {purpose!r}.")
        self.datastore = datastore
        self.partition = partition
        self.tenant_id = tenant_id
        self.purpose = purpose
        self._select = _SELECT_EVENTS if purpose == "events" else _SELECT_SNAPSHOTS
        self._appender = datastore.appender(partition)

    def insert_events(self, stored_events: Sequence[persistence.StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        """Store events. ``actor`` and ``command_key`` may say who asked, and under which key."""
        if self.purpose == "snapshots":
            self._insert_snapshots(stored_events)
        else:
            self._append(stored_events, **kwargs)
        return None

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[persistence.StoredEvent]:
        """The events of a stream in order of their versions."""
        query = self._select.format("desc" if desc else "asc")
        bounds = (-1 if gt is None else gt, MAX_POSITION if lte is None else lte)
        with self.datastore.connection(WRITER) as connection:
            found = connection.execute(
                query, (self.partition, str(originator_id), *bounds, limit), prepare=True, binary=True
            ).fetchall()
        return [ReadEvent(originator_id, *row[1:]) for row in found]

    def _append(
        self,
        stored_events: Sequence[persistence.StoredEvent],
        *,
        actor: str = "library",
        command_key: str = "",
        tracking: persistence.Tracking | None = None,
    ) -> list[int]:
        if tracking is not None:
            raise persistence.ProgrammingError("Only a process recorder records tracking with events.")
        return self._appender.append(self._new_events(stored_events, actor, command_key)) if stored_events else []

    def _new_events(
        self, stored_events: Sequence[persistence.StoredEvent], actor: str, command_key: str
    ) -> list[NewEvent]:
        now = datetime.now(UTC)
        new = []
        for stored in stored_events:
            event_id, recorded_at = None, None
            if isinstance(stored, FelixStoredEvent):
                event_id, recorded_at = stored.event_id, stored.recorded_at
            stream = str(stored.originator_id)
            new.append(
                NewEvent(
                    tenant_id=self._tenant_of(stream),
                    stream=stream,
                    version=stored.originator_version,
                    type=stored.topic,
                    event_id=event_id or new_event_id(now),
                    recorded_at=recorded_at or now,
                    command_key=command_key,
                    actor=actor,
                    metadata=b"{}",
                    state=stored.state,
                )
            )
        return new

    def _insert_snapshots(self, stored_events: Sequence[persistence.StoredEvent]) -> None:
        now = datetime.now(UTC)
        with self.datastore.transaction(WRITER) as connection, connection.cursor() as cursor:
            cursor.executemany(
                _INSERT_SNAPSHOT,
                [
                    (
                        self.partition, self._tenant_of(str(s.originator_id)), str(s.originator_id),
                        s.originator_version, s.topic, now, now, s.state,
                    )
                    for s in stored_events
                ],
            )  # fmt: skip

    def _tenant_of(self, stream: str) -> UUID:
        name, colon, _ = stream.partition(":")
        if colon:
            try:
                tenant_id = UUID(name)
            except ValueError:
                pass
            else:
                # One spelling only, or one tenant would have streams under several names.
                if str(tenant_id) == name:
                    return tenant_id
        if self.tenant_id is None:
            raise persistence.ProgrammingError(f"Stream {stream!r} names no tenant and FELIX_TENANT is not set.")
        return self.tenant_id


class FelixApplicationRecorder(FelixAggregateRecorder, persistence.ApplicationRecorder):
    """One partition as an application's sequence: notification ids are positions, dense from 1."""

    def insert_events(self, stored_events: Sequence[persistence.StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        """Append events and return their positions."""
        return self._append(stored_events, **kwargs)

    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[persistence.Notification]:
        """A batch of the sequence. Without ``topics`` its density is proved, up to the head."""
        first = 1 if start is None else max(1, start if inclusive_of_start else start + 1)
        last = MAX_POSITION if stop is None else stop
        with self.datastore.connection(WRITER) as connection:
            return read_batch(connection, self.partition, first=first, stop=last, limit=limit, topics=topics)

    def max_notification_id(self) -> int | None:
        """The position of the head; none when the partition is empty."""
        with self.datastore.connection(WRITER) as connection:
            return read_head(connection, self.partition) or None

    def subscribe(self, gt: int | None = None, topics: Sequence[str] = ()) -> FelixSubscription:
        """Follow the partition from after ``gt``."""
        datastore = self.datastore
        return FelixSubscription(
            self, partition=self.partition, connect=lambda: datastore.connect(PROJECTOR), gt=gt, topics=topics
        )


class FelixTrackingRecorder(persistence.TrackingRecorder):
    """Remembers how far ``tracker`` has come in each application it follows.

    Views are subclasses that write within :meth:`tracked`. They work as ``felix_projector``, so that their tables in
    schema ``read`` are theirs to change and the log is not.
    """

    role = PROJECTOR

    def __init__(self, datastore: FelixDatastore, *, partition: int = 0, tracker: str = "") -> None:
        self.datastore = datastore
        self.partition = partition
        self.tracker = tracker

    @contextmanager
    def tracked(self, tracking: persistence.Tracking) -> Iterator[psycopg.Connection[Any]]:
        """One transaction for ``tracking`` and for what is written through the connection.

        Raises the library's IntegrityError when this position, or a later one, has been dealt with.
        """
        with self.datastore.transaction(self.role) as connection:
            self._track(connection, tracking)
            yield connection

    def insert_tracking(self, tracking: persistence.Tracking) -> None:
        """Record that a position has been dealt with."""
        with self.tracked(tracking):
            pass

    def max_tracking_id(self, application_name: str) -> int | None:
        """The last position of an application that has been dealt with."""
        with self.datastore.connection(self.role) as connection:
            row = connection.execute(
                "select notification_id from felix.tracking"
                " where partition = %s and tracker = %s and application_name = %s",
                (self.partition, self.tracker, application_name),
                prepare=True,
            ).fetchone()
        return None if row is None else int(row[0])

    def wait(
        self,
        application_name: str,
        notification_id: int | None,
        timeout: float = 1.0,
        interrupt: threading.Event | None = None,
    ) -> None:
        """Block until a position has been dealt with. Raises TimeoutError and the library's WaitInterruptedError."""
        deadline = time.monotonic() + timeout
        interrupted = interrupt or threading.Event()
        pause_s = WAIT_MIN_S
        while not self.has_tracking_id(application_name, notification_id):
            if interrupted.wait(pause_s):
                raise persistence.WaitInterruptedError
            if (remaining_s := deadline - time.monotonic()) <= 0:
                raise TimeoutError(f"{application_name} {notification_id} was not dealt with within {timeout} s.")
            pause_s = min(2 * pause_s, WAIT_MAX_S, remaining_s)

    def _track(self, connection: psycopg.Connection[Any], tracking: persistence.Tracking) -> None:
        moved = connection.execute(
            _TRACK,
            (self.partition, self.tracker, tracking.application_name, tracking.notification_id),
            prepare=True,
        )
        if moved.rowcount != 1:
            raise persistence.IntegrityError(
                f"Position {tracking.notification_id} of {tracking.application_name} has been dealt with before."
            )


class FelixProcessRecorder(FelixTrackingRecorder, FelixApplicationRecorder, persistence.ProcessRecorder):
    """Appends what a process manager decides together with the position it decided on: both or neither."""

    role = WRITER

    def __init__(
        self, datastore: FelixDatastore, *, partition: int = 0, tenant_id: UUID | None = None, tracker: str = ""
    ) -> None:
        FelixApplicationRecorder.__init__(self, datastore, partition=partition, tenant_id=tenant_id)
        self.tracker = tracker

    def _append(
        self,
        stored_events: Sequence[persistence.StoredEvent],
        *,
        actor: str = "library",
        command_key: str = "",
        tracking: persistence.Tracking | None = None,
    ) -> list[int]:
        if tracking is None:
            return super()._append(stored_events, actor=actor, command_key=command_key)
        if not stored_events:
            self.insert_tracking(tracking)
            return []
        return self._appender.append(
            self._new_events(stored_events, actor, command_key),
            also=lambda connection: self._track(connection, tracking),
        )


class FelixFactory(persistence.InfrastructureFactory[FelixTrackingRecorder]):
    """Makes the recorders of one application from its environment."""

    def __init__(self, env: Environment | EnvType | None) -> None:
        super().__init__(env)
        self.datastore = FelixDatastore(
            self._required("FELIX_DATABASE_URL"), password=self.env.get("FELIX_DATABASE_ROLE_PASSWORD") or None
        )
        self.partition = self._parsed("FELIX_PARTITION", int) or 0
        self.tenant_id = self._parsed("FELIX_TENANT", UUID)

    def mapper(
        self,
        transcoder: persistence.Transcoder | None = None,
        mapper_class: type[persistence.Mapper[Any]] | None = None,
    ) -> persistence.Mapper[Any]:
        """Felix's mapper, which treats events that are not Felix's as the library does, or the one asked for."""
        if mapper_class is None and not self.env.get(self.MAPPER_TOPIC):
            mapper_class = FelixMapper
        return super().mapper(transcoder, mapper_class)

    def aggregate_recorder(self, purpose: str = "events") -> FelixAggregateRecorder:
        """A recorder of events, or of snapshots."""
        return FelixAggregateRecorder(
            self.datastore, partition=self.partition, tenant_id=self.tenant_id, purpose=purpose
        )

    def application_recorder(self) -> FelixApplicationRecorder:
        """The recorder of an application's partition."""
        recorder_class = self._class(self.APPLICATION_RECORDER_TOPIC, FelixApplicationRecorder)
        return recorder_class(self.datastore, partition=self.partition, tenant_id=self.tenant_id)

    def tracking_recorder(
        self, tracking_recorder_class: type[FelixTrackingRecorder] | None = None
    ) -> FelixTrackingRecorder:
        """A view, or just the positions of the projection that the environment is named after."""
        recorder_class = tracking_recorder_class or self._class(self.TRACKING_RECORDER_TOPIC, FelixTrackingRecorder)
        return recorder_class(self.datastore, partition=self.partition, tracker=self.env.name)

    def process_recorder(self) -> FelixProcessRecorder:
        """The recorder of a process manager."""
        recorder_class = self._class(self.PROCESS_RECORDER_TOPIC, FelixProcessRecorder)
        return recorder_class(self.datastore, partition=self.partition, tenant_id=self.tenant_id, tracker=self.env.name)

    def close(self) -> None:
        """Close every connection of this application."""
        self.datastore.close()

    def _required(self, key: str) -> str:
        if value := self.env.get(key):
            return value
        raise OSError(f"{key} is not set; it names the database of {self.env.name or 'this application'}.")

    def _parsed(self, key: str, kind: Callable[[str], P]) -> P | None:
        if not (value := self.env.get(key)):
            return None
        try:
            return kind(value)
        except ValueError as error:
            raise OSError(f"{key} is {value!r}, which cannot be read.") from error

    def _class(self, key: str, default: type[R]) -> type[R]:
        if not (topic := self.env.get(key)):
            return default
        found: type[R] = resolve_topic(topic)
        if not issubclass(found, default):
            raise OSError(f"{key} names {topic!r}, which is no {default.__name__}.")
        return found


def new_event_id(at: datetime) -> UUID:
    """A UUIDv7 (RFC 9562) for an event that brings no id of its own.

    Not derived from stream and version: two writers that race for a version must not claim each other's event when
    a lost acknowledgement is settled.
    """
    bits = (int(at.timestamp() * 1000) << 80) | (0x7 << 76) | (0b10 << 62)
    random = int.from_bytes(os.urandom(10), "big")
    return UUID(int=bits | ((random >> 68) << 64) | (random & (1 << 62) - 1))
