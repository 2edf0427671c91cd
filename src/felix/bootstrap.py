"""Puts the rooms together: the only place that knows every one of them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from anyio import to_thread
from psycopg import sql

from felix.adapters.doorbell import Doorbell, Listener
from felix.api.auth import Authenticator, Principal
from felix.api.http import Services
from felix.application import handlers as _handlers
from felix.application.performer import Performer
from felix.domain.errors import NotFound, Unavailable
from felix.eventstore import subscription
from felix.eventstore.api_keys import hash_key, well_formed
from felix.eventstore.connections import connect, role_url, writer_url
from felix.eventstore.migrations import Migration, migrate, pending
from felix.eventstore.partition_log import PartitionLog
from felix.eventstore.tenants import TenantDirectory
from felix.projections import registry
from felix.projections.runner import ProjectionRunner
from felix.projections.tenant_tx import ReadPool
from felix.settings import Settings

_ = _handlers  # importing it registers every command handler

#: Written by ``felix up`` so that other commands on this machine find the running services.
RUN_FILE = "run.json"
#: What the driver raises when the database is away, for those who may not import it.
DATABASE_ERRORS = (psycopg.OperationalError, psycopg.InterfaceError)


class NotRunning(Unavailable):
    """Felix is not running here. Start it with `felix up`, or set FELIX_DATABASE_URL."""


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where the services are. URLs carry passwords: never log them."""

    database_url: str
    redis_url: str | None
    role_password: str | None

    def save(self, data_dir: Path) -> None:
        """Leave the addresses for other commands on this machine, readable by the owner only."""
        path = data_dir / RUN_FILE
        partial = path.with_suffix(".new")
        partial.touch(mode=0o600)
        partial.write_text(
            json.dumps(
                {
                    "database_url": self.database_url,
                    "redis_url": self.redis_url,
                    "role_password": self.role_password,
                }
            )
        )
        partial.rename(path)

    @classmethod
    def locate(cls, settings: Settings) -> Endpoints:
        """From the settings, or from the ``felix up`` that runs on the same data directory. Raises NotRunning."""
        if settings.database_url is not None:
            return cls(
                settings.database_url.get_secret_value(),
                settings.redis_url.get_secret_value() if settings.redis_url else None,
                settings.database_role_password.get_secret_value() if settings.database_role_password else None,
            )
        with suppress(OSError, ValueError, TypeError):
            return cls(**json.loads((settings.data_dir / RUN_FILE).read_text()))
        raise NotRunning()

    @property
    def writer_url(self) -> str:
        """For lanes and the tenant directory."""
        return writer_url(self.database_url, password=self.role_password)

    def as_role(self, role: str) -> str:
        """For one of the other roles."""
        return role_url(self.database_url, role, password=self.role_password)


def bring_up_to_date(endpoints: Endpoints, *, partitions: int) -> list[Migration]:
    """Apply what is pending and make the tables of every projection."""
    applied = migrate(endpoints.database_url, partitions=partitions, role_password=endpoints.role_password)
    registry.install(endpoints.database_url)
    return applied


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


def open_runner(endpoints: Endpoints, *, partitions: int) -> ProjectionRunner:
    """The projections, kept up to date."""
    return ProjectionRunner(endpoints.as_role("felix_projector"), registry.PROJECTIONS, range(partitions))


def connect_owner(endpoints: Endpoints) -> psycopg.Connection[tuple[object, ...]]:
    """A connection that may take on ``felix_owner``: for keys, and nothing that a serving process does."""
    return connect(endpoints.database_url)


def open_doorbell(endpoints: Endpoints) -> Doorbell:
    """Tells the projections of other processes what was committed; does nothing without Valkey."""
    return Doorbell(endpoints.redis_url)


def listen_to_doorbell(endpoints: Endpoints, heard: Callable[[int, int], None]) -> Listener | None:
    """Hears what other processes committed; not started yet, and None without Valkey."""
    return None if endpoints.redis_url is None else Listener(endpoints.redis_url, heard)


def ensure_database(server_url: str, name: str) -> bool:
    """Make a database on a server of our own unless it exists; True when it was made."""
    with connect(server_url) as connection:
        if connection.execute("select from pg_database where datname = %s", (name,)).fetchone() is not None:
            return False
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        return True


#: Events that a read model may be behind before ``/readyz`` says so.
LAG_ALARM_EVENTS = 10_000


@asynccontextmanager
async def open_services(settings: Settings) -> AsyncIterator[Services]:
    """Everything the API needs, opened and closed in order."""
    endpoints = Endpoints.locate(settings)
    directory = open_directory(endpoints, partitions=settings.partitions)
    reads = open_read_pool(endpoints)
    doorbell = open_doorbell(endpoints)
    performer = open_performer(endpoints, directory.partition_of, committed=doorbell.ring if doorbell else None)
    await reads.open()
    try:

        async def look_up(key: str) -> Principal | None:
            if not well_formed(key):
                return None
            async with reads.unbound() as tx:
                row = await tx.fetch_one(
                    "select key_id, role, tenant_id, partition from felix.authenticate(%s)", hash_key(key)
                )
            if row and row["partition"] is not None:
                directory.remember(row["tenant_id"], row["partition"])
            return Principal(row["key_id"], row["role"], row["tenant_id"]) if row else None

        async def generation() -> int:
            async with reads.unbound() as tx:
                row = await tx.fetch_one("select generation from felix.api_key_generation")
            return int(row["generation"]) if row else 0

        async def find_tenant(named: str) -> UUID:
            async with reads.founder() as tx:
                row = await tx.fetch_one(
                    "select tenant_id, partition from felix.tenants where slug = %s or tenant_id::text = %s",
                    named,
                    named,
                )
            if row is None:
                raise NotFound(f"There is no tenant {named}.", id=named)
            found: UUID = row["tenant_id"]
            directory.remember(found, row["partition"])
            return found

        async def ready() -> list[dict[str, Any]]:
            return await _readiness(endpoints, reads)

        yield Services(
            performer=performer,
            reads=reads,
            authenticator=Authenticator(look_up, generation, find_tenant),
            partition_of=directory.partition_of,
            pin_tenant=directory.pin,
            ready=ready,
            read_timeout_s=settings.read_timeout_s,
        )
    finally:
        await to_thread.run_sync(performer.close)
        if doorbell is not None:
            await to_thread.run_sync(doorbell.close)
        await reads.close()
        directory.close()


async def _readiness(endpoints: Endpoints, reads: ReadPool) -> list[dict[str, Any]]:
    try:
        async with reads.unbound() as tx:
            heads = await tx.fetch("select partition, position from felix.partitions")
            cursors = await tx.fetch("select projection, partition, position from felix.cursors")
    except Unavailable as error:
        return [{"name": "database", "ok": False, "detail": str(error)}]
    waiting = await to_thread.run_sync(pending, endpoints.database_url)
    at = {row["partition"]: row["position"] for row in heads}
    lag = max((at[row["partition"]] - row["position"] for row in cursors if row["partition"] in at), default=0)
    return [
        {"name": "database", "ok": True, "detail": "answers"},
        {
            "name": "migrations",
            "ok": not waiting,
            "detail": "up to date" if not waiting else f"{len(waiting)} pending: run `felix migrate`",
        },
        {"name": "projections", "ok": lag <= LAG_ALARM_EVENTS, "detail": f"{lag} events behind"},
    ]
