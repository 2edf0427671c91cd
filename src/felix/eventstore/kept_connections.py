"""Connections that are kept between calls, for those who ask the database something now and then, from any thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg

from felix.domain.errors import Unavailable

T = TypeVar("T")


class KeptConnections:
    """As many connections as there are callers at the same time."""

    def __init__(self, connect: Callable[[], psycopg.Connection[Any]], what: str) -> None:
        """``what`` is what can't be reached when the database is away."""
        self._connect = connect
        self._what = what
        self._idle: list[psycopg.Connection[Any]] = []
        self._closed = False
        self._guard = threading.Lock()

    def call(self, asked: Callable[[psycopg.Connection[Any]], T]) -> T:
        """Ask. A call whose answer was lost is made once more on a fresh connection, so it may happen twice.

        Raises :class:`~felix.domain.errors.Unavailable`.
        """
        for last in (False, True):
            try:
                with self._borrowed() as connection:
                    return asked(connection)
            except psycopg.OperationalError as error:
                if last:
                    raise Unavailable(
                        f"{self._what} can't be reached right now.", sqlstate=error.sqlstate or ""
                    ) from error
                self._forget_idle()  # what is idle died with it
        raise AssertionError("the loop above returns or raises")

    def close(self) -> None:
        """Give the connections back. Who is late can still ask, on a connection of its own."""
        self._closed = True
        self._forget_idle()

    def _forget_idle(self) -> None:
        with self._guard:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    @contextmanager
    def _borrowed(self) -> Iterator[psycopg.Connection[Any]]:
        with self._guard:
            connection = self._idle.pop() if self._idle else None
        connection = connection or self._connect()
        try:
            yield connection
        except psycopg.OperationalError:
            connection.close()
            raise
        finally:
            if self._closed:
                connection.close()
            elif not connection.closed:
                with self._guard:
                    self._idle.append(connection)
