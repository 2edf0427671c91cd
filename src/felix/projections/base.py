"""What a projection is: one read model with its tables, its fold and, beside it, its questions.

A projection at position *p* is a pure function of the events up to *p*: its fold knows no clock, no random number and
no table but its own. Adding one adds a file to this package with a ``PROJECTION`` in it and edits none
(:mod:`felix.projections.registry`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import psycopg
from psycopg.types.numeric import Int8BinaryDumper, Int8Dumper

from felix.eventstore.mapper import RecordedEvent

#: In ``reads``: every event, of every noun, also of those that come later.
EVERY_EVENT = "*"


class Projection(ABC):
    """A read model.

    ``name`` is its stored name, for cursors and messages. ``version`` goes up when ``ddl`` or the fold changes: the
    tables are then made anew and filled from position 0. ``reads`` names the stored events that the fold gets;
    ``ignores`` names those of the same nouns that it can do without, so that a new event can't be forgotten.
    ``tables`` and ``ddl`` name tables without a schema: that is the search path's, so that a rebuild can fold into
    another one. Each has ``partition`` and ``tenant_id``, and keys that begin with ``partition``.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    reads: ClassVar[frozenset[str]]
    ignores: ClassVar[frozenset[str]] = frozenset()
    tables: ClassVar[tuple[str, ...]]
    ddl: ClassVar[str]

    @abstractmethod
    def fold(self, events: Sequence[RecordedEvent], connection: psycopg.Connection[Any]) -> None:
        """Add a batch up, in the caller's transaction, in as few statements as there are kinds of change.

        ``events`` are those of ``reads``, of one partition, in order of position, and never empty.
        """

    def wants(self, events: Sequence[RecordedEvent]) -> list[RecordedEvent]:
        """The events of a batch that this projection reads."""
        reads = self.reads
        if EVERY_EVENT in reads:
            return list(events)
        return [event for event in events if event.type in reads]


def connect_projector(url: str, *, schema: str = "read") -> psycopg.Connection[Any]:
    """A connection for folds, in autocommit mode.

    Commits don't wait for the disk: cursor and effect are one transaction, so what a power cut takes back is folded
    again. Integers are always sent as ``bigint``, whatever their size, so that a statement has one prepared plan.
    """
    connection = psycopg.connect(url, autocommit=True)
    for dumper in (Int8BinaryDumper, Int8Dumper):
        connection.adapters.register_dumper(int, dumper)
    connection.execute("set synchronous_commit = off")
    connection.execute("select set_config('search_path', %s, false)", (schema,))
    return connection
