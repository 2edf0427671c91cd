"""Which partition a tenant lives in: decided once, at onboarding, and pinned for life."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg
from psycopg import errors as pg

from felix.domain.errors import NotFound, Refused, Unavailable
from felix.domain.identity.roles import PLATFORM


class SlugTaken(Refused):
    """Another tenant has this short name."""


@dataclass(frozen=True, slots=True)
class TenantPlace:
    """A tenant's id, short name, name and partition."""

    tenant_id: UUID
    slug: str
    name: str
    partition: int


class TenantDirectory:
    """Looks tenants up and pins new ones. Places never change, so what was seen once is kept in memory."""

    def __init__(self, connect: Callable[[], psycopg.Connection[Any]], *, partitions: int) -> None:
        self._connect = connect
        self._partitions = partitions
        self._places: dict[UUID, int] = {}
        self._guard = threading.Lock()
        self._connection: psycopg.Connection[Any] | None = None

    def partition_of(self, tenant_id: UUID) -> int:
        """The partition of a tenant. Raises :class:`NotFound`, or ``Unavailable`` when the database is away."""
        partition = self._places.get(tenant_id)
        if partition is None:
            rows = self._query("select partition from felix.tenants where tenant_id = %s", (tenant_id,))
            if not rows:
                raise NotFound(f"There is no tenant {tenant_id}.", id=str(tenant_id))
            partition = self._places[tenant_id] = int(rows[0][0])
        return partition

    def remember(self, tenant_id: UUID, partition: int) -> None:
        """Keep a place that was looked up elsewhere."""
        self._places[tenant_id] = partition

    def pin(self, tenant_id: UUID, slug: str, name: str, *, partition: int | None = None) -> TenantPlace:
        """Pin a new tenant to a partition: the given one, or by hash. Pinning the same tenant again changes nothing.

        Raises :class:`SlugTaken`.
        """
        chosen = tenant_id.int % self._partitions if partition is None else partition
        try:
            self._query(
                "insert into felix.tenants (tenant_id, partition, slug, name, recorded_at)"
                " values (%s, %s, %s, %s, now()) on conflict (tenant_id) do nothing returning partition",
                (tenant_id, chosen, slug, name),
            )
        except pg.UniqueViolation as error:
            raise SlugTaken(f"Another tenant is called {slug!r}.", slug=slug) from error
        place = self.find(slug)
        if place is None or place.tenant_id != tenant_id:
            raise SlugTaken(f"Another tenant is called {slug!r}.", slug=slug)
        return place

    def find(self, name: str) -> TenantPlace | None:
        """A tenant by its short name or its id."""
        column = "tenant_id::text" if len(name) == 36 and name.count("-") == 4 else "slug"
        rows = self._query(
            f"select tenant_id, slug, name, partition from felix.tenants where {column} = %s",  # noqa: S608 two constants
            (name,),
        )
        return TenantPlace(*rows[0]) if rows else None

    def all(self) -> list[TenantPlace]:
        """Every client, by short name; the platform is none."""
        return [
            TenantPlace(*row)
            for row in self._query(
                "select tenant_id, slug, name, partition from felix.tenants where tenant_id <> %s order by slug",
                (PLATFORM,),
            )
        ]

    def close(self) -> None:
        """Give the connection back."""
        with self._guard:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _query(self, query: str, parameters: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        with self._guard:
            for fresh in (False, True):
                try:
                    if self._connection is None or self._connection.closed:
                        self._connection = self._connect()
                    return self._connection.execute(query.encode(), parameters).fetchall()
                except psycopg.OperationalError as error:
                    if self._connection is not None:
                        self._connection.close()
                    self._connection = None
                    if fresh:
                        raise Unavailable(
                            "The database can't be reached right now; the same key can be used again."
                        ) from error
        raise AssertionError("the loop above returns or raises")
