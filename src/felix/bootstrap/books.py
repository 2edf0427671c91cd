"""The write side and the read side, what is kept beside them, and the doorbell between processes."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event
from typing import Any
from uuid import UUID

import psycopg

from felix.adapters.doorbell import Doorbell, Listener
from felix.application import handlers as _handlers
from felix.application.performer import Performer
from felix.bootstrap.endpoints import Endpoints
from felix.eventstore import subscription
from felix.eventstore.api_keys import KeyUses
from felix.eventstore.connections import connect, role_url
from felix.eventstore.jobs import JobBook, ScheduleBook
from felix.eventstore.partition_log import PartitionLog
from felix.eventstore.tenants import TenantDirectory
from felix.projections.tenant_tx import ReadPool

_ = _handlers  # importing it registers every command handler

#: A statement on the table of jobs is milliseconds; a page of a purge is the longest.
JOB_STATEMENT_TIMEOUT_MS = 20_000


def open_directory(endpoints: Endpoints, *, partitions: int) -> TenantDirectory:
    """The directory of tenants and their partitions."""
    url = endpoints.writer_url
    return TenantDirectory(lambda: connect(url), partitions=partitions)


def open_performer(
    endpoints: Endpoints,
    partition_of: Callable[[UUID], int],
    *,
    committed: Callable[[int, int], None] | None = None,
) -> Performer:
    """The write side."""
    url = endpoints.writer_url

    def ring(partition: int, position: int) -> None:
        subscription.ring(partition)
        if committed is not None:
            committed(partition, position)

    return Performer(lambda partition: PartitionLog(lambda: connect(url), partition), partition_of, committed=ring)


def open_read_pool(endpoints: Endpoints, *, max_size: int = 10) -> ReadPool:
    """The read side; open and close it inside an event loop."""
    return ReadPool(endpoints.as_role("felix_reader"), endpoints.as_role("felix_founder"), max_size=max_size)


def open_job_book(endpoints: Endpoints, *, role: str = "felix_projector") -> JobBook:
    """The table of jobs: for the worker, or as ``felix_writer`` for whoever retries and cancels."""
    return JobBook(connect_to_jobs(endpoints, role))


def open_key_uses(endpoints: Endpoints) -> KeyUses:
    """Where it is written when keys were last used."""
    url = endpoints.writer_url
    return KeyUses(lambda: connect(url))


def open_schedule(endpoints: Endpoints) -> ScheduleBook:
    """The schedule, for one ticker."""
    return ScheduleBook(connect_to_jobs(endpoints, "felix_projector"))


def connect_to_jobs(endpoints: Endpoints, role: str) -> Callable[[], psycopg.Connection[Any]]:
    """To the table of jobs, where no statement takes long."""
    url = role_url(
        endpoints.database_url, role, password=endpoints.role_password, statement_timeout=JOB_STATEMENT_TIMEOUT_MS
    )
    return lambda: connect(url)


def open_doorbell(endpoints: Endpoints) -> Doorbell:
    """Tells the projections of other processes what was committed; does nothing without Valkey."""
    return Doorbell(endpoints.redis_url)


def listen_to_doorbell(
    endpoints: Endpoints, heard: Callable[[int, int], None], wanted: Event | None = None
) -> Listener | None:
    """Hears what other processes committed, while that is wanted; not started yet, and None without Valkey."""
    return None if endpoints.redis_url is None else Listener(endpoints.redis_url, heard, wanted)
