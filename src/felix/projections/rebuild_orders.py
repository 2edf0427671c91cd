"""Asks for rebuilds and for another try of what was stopped; and does in the worker what was asked for."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any
from uuid import UUID

import psycopg

from felix.domain.errors import FelixError, NotFound
from felix.projections.base import Projection, connect_projector
from felix.projections.rebuild import NotRequested, Rebuild, RebuildUnderWay

log = logging.getLogger("felix.projections")

#: A rebuild that is asked for or under way stays as it is; one that was refused goes on to its switch when the
#: difference is accepted now; every other begins anew. The same key never begins a second one.
REQUEST = """
    insert into felix.rebuilds as r (projection, version, state, requested_by, request_key, accept_difference)
    values (%s, %s, 'requested', %s, %s, %s)
    on conflict (projection) do update set version = excluded.version, requested_by = excluded.requested_by,
      request_key = excluded.request_key, accept_difference = excluded.accept_difference,
      state = case when r.state = 'refused' and excluded.accept_difference and r.version = excluded.version
        then 'folding' else 'requested' end,
      requested_at = clock_timestamp(), started_at = null, finished_at = null, detail = null, differences = '[]'
    where r.version <> excluded.version
      or (r.state in ('done', 'refused', 'failed') and r.request_key <> excluded.request_key)
"""
_STATE = "select projection, version, state, requested_by, requested_at from felix.rebuilds where projection = %s"
_OPEN = (
    "select projection, version from felix.rebuilds where state not in ('done', 'refused', 'failed')"
    " order by requested_at"
)
_RETRY = (
    "update felix.poisoned set retry_at = clock_timestamp()"
    " where projection = %s and (%s::uuid is null or tenant_id = %s)"
)
_FOLLOWS = "select from felix.cursors where projection = %s limit 1"
#: How often the worker looks for what was asked for.
LOOK_EVERY_S = 2.0
#: A few seconds of work, for everybody who waits for Felix to start.
AT_START_EVENTS = 50_000
#: After a failure that may pass.
PAUSE_S = 10.0


class NoSuchProjection(NotFound):
    """There is no projection of this name."""


class ProjectionOrders:
    """What may be asked of projections. ``connect`` gives a connection as ``felix_writer``."""

    def __init__(self, connect: Callable[[], psycopg.Connection[Any]], projections: Iterable[Projection]) -> None:
        self._connect = connect
        self._projections = {projection.name: projection for projection in projections}

    def rebuild(self, name: str, actor: str, key: str, *, accept_difference: bool = False) -> dict[str, Any]:
        """Ask for a rebuild; the answer is the one under way, whoever asked for it. The same key asks once.

        Raises :class:`NoSuchProjection`.
        """
        projection = self._known(name)
        with self._connect() as connection:
            connection.execute(REQUEST.encode(), (name, projection.version, actor, key, accept_difference))
            row = connection.execute(_STATE, (name,)).fetchone()
        assert row is not None
        return dict(zip(("projection", "version", "state", "requested_by", "requested_at"), row, strict=True))

    def retry(self, name: str, tenant_id: UUID | None = None) -> int:
        """Let stopped tenants be tried again at once; how many there are. Raises :class:`NoSuchProjection`."""
        with self._connect() as connection:
            if connection.execute(_FOLLOWS, (name,)).fetchone() is None:
                raise _no_such(name)
            return connection.execute(_RETRY, (name, tenant_id, tenant_id)).rowcount

    def _known(self, name: str) -> Projection:
        if name not in self._projections:
            raise _no_such(name)
        return self._projections[name]


def _no_such(name: str) -> NoSuchProjection:
    return NoSuchProjection(f"There is no projection {name}.", id=name)


def rebuild_new_versions(projector_url: str, projections: Iterable[Projection]) -> list[str]:
    """Rebuild at the start what has a new version, where the log is short enough to wait for; what was done is named.

    On a longer log the tables of the version before go on answering, with what they had, until the worker has made the
    new ones.
    """
    with connect_projector(projector_url) as connection:
        asked = set(connection.execute(_OPEN).fetchall())
        short = [
            projection
            for projection in projections
            if (projection.name, projection.version) in asked
            and sum(projection.source.heads(connection).values()) <= AT_START_EVENTS
        ]
    done = []
    for projection in short:
        with suppress(RebuildUnderWay, NotRequested):
            Rebuild(projector_url, projection).run()
            done.append(projection.name)
    return done


class Rebuilder:
    """A thread of the worker that runs the rebuilds that were asked for, one after the other."""

    def __init__(self, projector_url: str, projections: Iterable[Projection], *, processes: int = 1) -> None:
        self._url = projector_url
        self._projections = {(projection.name, projection.version): projection for projection in projections}
        self._processes = processes
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rebuilder", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def ask_to_stop(self) -> None:
        """Stop soon; what is under way goes on at the next start."""
        self._stopping.set()

    def stop(self, timeout_s: float = 5.0) -> bool:
        """Stop, and wait for it. False when it would not end."""
        self.ask_to_stop()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        pause_s = 0.0
        while not self._stopping.wait(pause_s):
            pause_s = LOOK_EVERY_S
            try:
                for asked in self._open():
                    if (projection := self._projections.get(asked)) is not None and not self._stopping.is_set():
                        self._rebuild(projection)
            except (psycopg.Error, FelixError, OSError) as error:
                log.warning("a rebuild was interrupted: %s; it goes on in %.0f s", error, PAUSE_S)
                pause_s = PAUSE_S

    def _open(self) -> list[tuple[str, int]]:
        with connect_projector(self._url) as connection:
            return connection.execute(_OPEN).fetchall()

    def _rebuild(self, projection: Projection) -> None:
        with suppress(RebuildUnderWay, NotRequested):  # somebody else is at it, or was quicker
            Rebuild(self._url, projection, processes=self._processes, stopping=self._stopping).run()
