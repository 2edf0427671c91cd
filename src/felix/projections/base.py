"""What a projection is: one read model with its tables, its fold and, beside it, its questions.

A projection at position *p* is a pure function of the events up to *p*: its fold knows no clock, no random number and
no table but its own. Adding one adds a file to this package with a ``PROJECTION`` in it and edits none
(:mod:`felix.projections.registry`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any, ClassVar

import psycopg
from psycopg.types.numeric import Int8BinaryDumper, Int8Dumper

from felix.domain.errors import Corrupt
from felix.eventstore.mapper import event_class_of
from felix.projections.feeds import FEEDS, Feed, FeedName

#: In ``reads``: every event, of every noun, also of those that come later.
EVERY_EVENT = "*"
#: A runner that has said nothing for so long is frozen: its partition goes to another process. The kernel of a stopped
#: process goes on answering, so no timeout of the network ends its session; Postgres has to.
FROZEN_AFTER_S = 10.0
#: A transaction that lasts for so long is given up: a batch is milliseconds. Where a client is frozen in the middle of
#: a COPY it is the others that notice (:mod:`felix.eventstore.frozen`).
TRANSACTION_TIMEOUT_S = 30.0
#: The name of sessions that may take their time.
PATIENT = "felix_rebuild"


class Projection(ABC):
    """A read model.

    ``name`` is its stored name, for cursors and messages. ``feed`` says what it retells: events, or the outcomes of
    commands. ``version`` goes up when ``ddl`` or the fold changes: the
    tables are then made anew and filled from position 0. ``reads`` names the stored events that the fold gets;
    ``ignores`` names those of the same nouns that it can do without, so that a new event can't be forgotten.
    What a fold raises about an event stops that event's tenant in this projection, and nobody else.
    ``tables`` and ``ddl`` name tables without a schema: that is the search path's, so that a rebuild can fold into
    another one. Each has ``partition`` and ``tenant_id``, and keys that begin with ``partition``. A fold that
    ``copies`` uses COPY; the statements of all others are sent without waiting for the answer of each.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    feed: ClassVar[FeedName] = "events"
    reads: ClassVar[frozenset[str]] = frozenset()
    ignores: ClassVar[frozenset[str]] = frozenset()
    tables: ClassVar[tuple[str, ...]]
    ddl: ClassVar[str]
    copies: ClassVar[bool] = False

    @abstractmethod
    def fold(self, events: Sequence[Any], connection: psycopg.Connection[Any]) -> None:
        """Add a batch up, in the caller's transaction, in as few statements as there are kinds of change.

        ``events`` are those of ``reads`` (of the other feed: recorded commands, all of them), of one partition, in
        order of position, and never empty.
        """

    @property
    def source(self) -> Feed:
        """The feed itself."""
        return FEEDS[self.feed]

    def wants(self, events: Sequence[Any]) -> list[Any]:
        """The part of a batch that this projection reads."""
        reads = self.reads
        if EVERY_EVENT in reads or self.feed == "commands":
            return list(events)
        return [event for event in events if event.type in reads]

    def refuse_unknown(self, events: Sequence[Any]) -> None:
        """Raise ``UnknownEventType`` for a type that this version of Felix does not know, of a noun that is read.

        A newer version wrote it, and skipping it would be a silent mistake. Whoever reads every event takes it as it
        is, as long as it doesn't look at the payload.
        """
        if self.feed == "commands" or EVERY_EVENT in self.reads:
            return
        for type_ in {event.type for event in events}.difference(self.reads, self.ignores):
            if type_.partition(".")[0] in self._nouns:
                event_class_of(type_)

    @cached_property
    def _nouns(self) -> frozenset[str]:
        return frozenset(name.partition(".")[0] for name in self.reads)


class ProjectorConnection(psycopg.Connection[Any]):
    """A connection for folds."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.owed: list[tuple[psycopg.Cursor[Any], int]] = []

    @contextmanager
    def without_waiting(self) -> Iterator[None]:
        """Send the statements in here together, and look at their answers at the end, or where one is fetched.

        On a busy machine a fold waits longer for its turn after each statement than for the statement itself.
        """
        try:
            with self.pipeline():
                yield
            for cursor, rows in self.owed:
                _must_have_changed(cursor, rows)
        finally:
            self.owed.clear()


def change(connection: psycopg.Connection[Any], query: str, parameters: Sequence[Any], rows: int) -> None:
    """Execute a statement that has to change so many rows. Raises ``Corrupt`` as soon as its answer is there."""
    cursor = connection.execute(query.encode(), parameters, prepare=True)
    if isinstance(connection, ProjectorConnection) and connection.pgconn.pipeline_status:
        connection.owed.append((cursor, rows))
    else:
        _must_have_changed(cursor, rows)


def _must_have_changed(cursor: psycopg.Cursor[Any], rows: int) -> None:
    if cursor.rowcount != rows:
        raise Corrupt(
            f"{rows} rows should have changed, and {cursor.rowcount} did.", expected=rows, changed=cursor.rowcount
        )


def connect_projector(url: str, *, schema: str = "read", patient: bool = False) -> ProjectorConnection:
    """A connection for folds, in autocommit mode.

    Commits don't wait for the disk: cursor and effect are one transaction, so what a power cut takes back is folded
    again. Integers are always sent as ``bigint``, whatever their size, so that a statement has one prepared plan.
    Whoever freezes loses the connection and with it every lock, unless it is to be ``patient`` with what is slow.
    """
    connection = ProjectorConnection.connect(url, autocommit=True)
    for dumper in (Int8BinaryDumper, Int8Dumper):
        connection.adapters.register_dumper(int, dumper)
    connection.execute("set synchronous_commit = off")
    connection.execute("select set_config('search_path', %s, false)", (schema,))
    if patient:
        connection.execute(b"select set_config('application_name', %s, false)", (PATIENT,))
    else:
        for setting, timeout_s in (
            ("idle_session_timeout", FROZEN_AFTER_S),
            ("idle_in_transaction_session_timeout", FROZEN_AFTER_S),
            ("transaction_timeout", TRANSACTION_TIMEOUT_S),
        ):
            connection.execute("select set_config(%s, %s, false)", (setting, f"{round(1000 * timeout_s)}ms"))
    return connection
