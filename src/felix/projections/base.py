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
from felix.projections.packing import ColumnDumper

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
    another one. Each has ``partition`` and ``tenant_id``, and keys that begin with ``partition``. Statements of a fold
    are sent without waiting for the answer of each; only one that ``copies`` uses COPY, and not where the statements
    :func:`are_sent_together`.
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


#: A statement whose answer has not been looked at, the rows that it has to change, and what it is if it does not.
Owed = tuple[psycopg.Cursor[Any], int, type[Corrupt]]


class ProjectorConnection(psycopg.Connection[Any]):
    """A connection for folds.

    On a busy machine a fold waits longer for its turn after each statement than for the statement itself. So as many as
    can be are sent together, and their answers looked at when all are there.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.owed: list[Owed] = []

    @contextmanager
    def without_waiting(self) -> Iterator[None]:
        """Send the statements in here together, and look at their answers at the end, or where one is fetched."""
        try:
            with self.pipeline():
                yield
        except Exception as error:
            # What has not done what it should comes first: what failed may have failed for that reason.
            self._look_at_answers(error)
            raise
        else:
            self._look_at_answers()
        finally:
            self.owed.clear()

    @contextmanager
    def transaction_without_waiting(self) -> Iterator[None]:
        """A transaction whose statements are sent together with its beginning; it ends when all their answers are
        what they should be, or is taken back."""
        try:
            with self.without_waiting():
                self.execute(b"begin")
                yield
            self.execute(b"commit")
        except BaseException:
            if not self.closed:
                self.rollback()
            raise

    def _look_at_answers(self, because: BaseException | None = None) -> None:
        for cursor, rows, error in self.owed:
            if cursor.rowcount != -1 or because is None:
                _must_have_changed(cursor, rows, error, because)


def are_sent_together(connection: psycopg.Connection[Any]) -> bool:
    """Whether the answers of statements are not waited for: then there can be no COPY."""
    return bool(connection.pgconn.pipeline_status)


def change(
    connection: psycopg.Connection[Any],
    query: str,
    parameters: Sequence[Any],
    rows: int,
    error: type[Corrupt] = Corrupt,
) -> None:
    """Execute a statement that has to change so many rows. Raises ``error`` as soon as its answer is there."""
    cursor = connection.execute(query.encode(), parameters, prepare=True)
    if isinstance(connection, ProjectorConnection) and are_sent_together(connection):
        connection.owed.append((cursor, rows, error))
    else:
        _must_have_changed(cursor, rows, error)


def _must_have_changed(
    cursor: psycopg.Cursor[Any], rows: int, error: type[Corrupt], because: BaseException | None = None
) -> None:
    if cursor.rowcount != rows:
        raise error(
            f"{rows} rows should have changed, and {cursor.rowcount} did.", expected=rows, changed=cursor.rowcount
        ) from because


def connect_projector(url: str, *, schema: str = "read", patient: bool = False) -> ProjectorConnection:
    """A connection for folds, in autocommit mode.

    Commits don't wait for the disk: cursor and effect are one transaction, so what a power cut takes back is folded
    again. Integers are always sent as ``bigint``, whatever their size, so that a statement has one prepared plan.
    Whoever freezes loses the connection and with it every lock, unless it is to be ``patient`` with what is slow.
    """
    connection = ProjectorConnection.connect(url, autocommit=True)
    for dumper in (Int8BinaryDumper, Int8Dumper):
        connection.adapters.register_dumper(int, dumper)
    connection.adapters.register_dumper(list, ColumnDumper)
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
