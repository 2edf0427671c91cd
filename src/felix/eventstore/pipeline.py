"""Prepared statements with packed parameters, several in one round trip.

A lane's batch is seven statements; through the driver's cursors they cost most of a millisecond of Python, which a
single debit pays alone when nothing else is waiting. Here libpq's pipeline is driven directly: some 10 µs a statement.
"""

from __future__ import annotations

import select
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import errors, pq

BINARY = pq.Format.BINARY
#: A server that says nothing for this long is frozen: longer than any transaction of ours may take
#: (:data:`felix.eventstore.connections.TRANSACTION_TIMEOUT_MS`), so an answer would have come.
ANSWER_TIMEOUT_S = 20.0
_FAILED = (pq.ExecStatus.FATAL_ERROR, pq.ExecStatus.PIPELINE_ABORTED, pq.ExecStatus.BAD_RESPONSE)


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement and the name under which a connection prepares it; ``$1`` … stand for binary parameters."""

    name: bytes
    text: bytes


class Pipeline:
    """Runs prepared statements on one connection. Between runs the connection is the driver's to use.

    Only ``rollback`` is not: the driver then deallocates every prepared statement, these included.
    """

    def __init__(self, connection: psycopg.Connection[Any], *, answer_timeout_s: float = ANSWER_TIMEOUT_S) -> None:
        self.connection = connection
        self._timeout_ms = answer_timeout_s * 1000
        self._prepared: set[bytes] = set()
        self._poll = select.poll()
        self._poll.register(connection.fileno(), select.POLLIN)

    def run(self, steps: Sequence[tuple[Statement, Sequence[bytes | None]]]) -> list[pq.abc.PGresult]:
        """Send all steps at once and return their results in order.

        Raises the first error as the driver's exception; the steps after it were not run. A transaction that was
        open is then to be rolled back by the caller, and after an ``OperationalError`` the connection closed.
        """
        pgconn = self.connection.pgconn
        pgconn.enter_pipeline_mode()
        prepares: list[bytes | None] = []
        for statement, parameters in steps:
            if statement.name not in self._prepared and statement.name not in prepares:
                pgconn.send_prepare(statement.name, statement.text)
                prepares.append(statement.name)
            pgconn.send_query_prepared(statement.name, parameters, [BINARY] * len(parameters), result_format=BINARY)
            prepares.append(None)
        pgconn.pipeline_sync()
        self._flush()
        results = self._results()
        pgconn.exit_pipeline_mode()
        answers = []
        for result, prepared in zip(results, prepares, strict=True):
            if result.status in _FAILED:
                raise errors.error_from_result(result)
            if prepared is None:
                answers.append(result)
            else:
                self._prepared.add(prepared)
        return answers

    def _flush(self) -> None:
        pgconn = self.connection.pgconn
        while pgconn.flush():
            self._poll.modify(self.connection.fileno(), select.POLLIN | select.POLLOUT)
            for _, happened in self._wait():
                if happened & ~select.POLLOUT:
                    pgconn.consume_input()
            self._poll.modify(self.connection.fileno(), select.POLLIN)

    def _wait(self) -> list[tuple[int, int]]:
        happened = self._poll.poll(self._timeout_ms)
        if not happened:
            raise psycopg.OperationalError(f"the server has said nothing for {self._timeout_ms / 1000:.0f} s")
        return happened

    def _results(self) -> list[pq.abc.PGresult]:
        pgconn = self.connection.pgconn
        results: list[pq.abc.PGresult] = []
        while True:
            while pgconn.is_busy():
                self._wait()
                pgconn.consume_input()
            result = pgconn.get_result()
            if result is None:
                continue
            if result.status == pq.ExecStatus.PIPELINE_SYNC:
                return results
            results.append(result)
