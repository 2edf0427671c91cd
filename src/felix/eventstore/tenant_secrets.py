"""The tables of tenants' keys and secrets: what is written beside the log, and what a worker may have of it.

Envelope encryption: a tenant's key is wrapped by the root key, its secrets are sealed with it, and the associated data
of each names tenant, name and version. So one stolen row, put into another's place, opens nowhere.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, LiteralString
from uuid import UUID

import psycopg
from psycopg.rows import dict_row

from felix.domain.context.known_secrets import NO_SECRETS, KnownSecrets, Mark
from felix.domain.errors import Unavailable
from felix.eventstore.sealing import KEY_BYTES, RootKeys, seal, unseal
from felix.eventstore.side_statements import SideStatement

Place = tuple[int, UUID]


@dataclass(frozen=True, slots=True)
class TenantKey:
    """A tenant's key, open. Its text shows nothing of it."""

    tenant_id: UUID
    version: int
    key: bytes = field(repr=False)

    @classmethod
    def new(cls, tenant_id: UUID, version: int) -> TenantKey:
        """A key that nobody has."""
        return cls(tenant_id, version, os.urandom(KEY_BYTES))

    @classmethod
    def unwrap(cls, root_keys: RootKeys, tenant_id: UUID, version: int, wrapped: bytes) -> TenantKey:
        """Open a wrapped key. Raises ``SealBroken``."""
        return cls(tenant_id, version, root_keys.unseal(wrapped, *place_of_key(tenant_id, version)))

    def wrap(self, root_keys: RootKeys) -> bytes:
        """The key as it is kept."""
        return root_keys.seal(self.key, *place_of_key(self.tenant_id, self.version))

    def seal(self, value: str, name: str, version: int) -> bytes:
        """A secret as it is kept."""
        return seal(self.key, value.encode(), "tenant-secret", str(self.tenant_id), name, str(version))

    def unseal(self, sealed: bytes, name: str, version: int) -> str:
        """A secret as it is. Raises ``SealBroken``."""
        return unseal(self.key, sealed, "tenant-secret", str(self.tenant_id), name, str(version)).decode()


def place_of_key(tenant_id: UUID, version: int) -> tuple[str, ...]:
    """What a wrapped key is bound to."""
    return ("tenant-key", str(tenant_id), str(version))


@dataclass(frozen=True, slots=True)
class KeptSecret:
    """A version of a secret as it is kept, and the wrapped key that opens it."""

    name: str
    version: int
    key_version: int
    wrapped: bytes = field(repr=False)
    sealed: bytes = field(repr=False)

    def open(self, root_keys: RootKeys, tenant_id: UUID) -> str:
        """The secret itself. Raises ``SealBroken``."""
        key = TenantKey.unwrap(root_keys, tenant_id, self.key_version, self.wrapped)
        return key.unseal(self.sealed, self.name, self.version)


# --- what is written beside the log -------------------------------------------------------------------------


def wrapped_key(place: Place, version: int) -> SideStatement:
    """Ask for a tenant's wrapped key."""
    return SideStatement(
        "select wrapped from felix.tenant_keys where partition = %s and tenant_id = %s and version = %s",
        (*place, version),
    )


def keep_key(place: Place, version: int, wrapped: bytes, at: datetime) -> SideStatement:
    """Keep a tenant's next key."""
    return SideStatement(
        "insert into felix.tenant_keys (partition, tenant_id, version, wrapped, made_at) values (%s, %s, %s, %s, %s)",
        (*place, version, wrapped, at),
    )


def keep_secret(place: Place, name: str, version: int, key_version: int, sealed: bytes, at: datetime) -> SideStatement:
    """Keep a version of a secret."""
    return SideStatement(
        "insert into felix.tenant_secrets (partition, tenant_id, name, version, key_version, sealed, set_at)"
        " values (%s, %s, %s, %s, %s, %s, %s)",
        (*place, name, version, key_version, sealed, at),
    )


def keep_marks(place: Place, version: int, marks: Sequence[Mark]) -> SideStatement:
    """Keep what a version of a secret is found by in a text; it goes with that version. Again it does nothing, and
    nothing either where the version is gone meanwhile."""
    return SideStatement(
        "insert into felix.secret_marks (partition, tenant_id, name, version, head, size_chars, mark)"
        " select %s, %s, name, %s, head, size_chars, mark"
        " from unnest(%s::text[], %s::bytea[], %s::int[], %s::bytea[]) as marked (name, head, size_chars, mark)"
        " where exists (select from felix.tenant_secrets s where s.partition = %s and s.tenant_id = %s"
        " and s.name = marked.name and s.version = %s)"
        " on conflict on constraint secret_marks_pkey do nothing",
        (
            *place,
            version,
            [each.name for each in marks],
            [each.head for each in marks],
            [each.size_chars for each in marks],
            [each.mark for each in marks],
            *place,
            version,
        ),
    )


def delete_versions(place: Place, name: str, versions: Sequence[int]) -> SideStatement:
    """Delete versions of a secret."""
    return SideStatement(
        "delete from felix.tenant_secrets where partition = %s and tenant_id = %s and name = %s and version = any(%s)",
        (*place, name, list(versions)),
    )


def delete_secret(place: Place, name: str) -> SideStatement:
    """Delete every version of a secret."""
    return SideStatement(
        "delete from felix.tenant_secrets where partition = %s and tenant_id = %s and name = %s", (*place, name)
    )


def replace_sealed(place: Place, secret: KeptSecret, key_version: int, sealed: bytes) -> SideStatement:
    """Put what the new key has sealed into the place of what the old one had; nothing if that is gone meanwhile."""
    return SideStatement(
        "update felix.tenant_secrets set key_version = %s, sealed = %s"
        " where partition = %s and tenant_id = %s and name = %s and version = %s and key_version = %s",
        (key_version, sealed, *place, secret.name, secret.version, secret.key_version),
    )


def delete_old_keys(place: Place, key_version: int) -> SideStatement:
    """Delete the keys before this one that nothing is sealed with."""
    return SideStatement(
        "delete from felix.tenant_keys k where k.partition = %s and k.tenant_id = %s and k.version < %s"
        " and not exists (select from felix.tenant_secrets s where s.partition = k.partition"
        " and s.tenant_id = k.tenant_id and s.key_version = k.version)",
        (*place, key_version),
    )


# --- what whoever reads texts may have -----------------------------------------------------------------------

#: What a tenant's secrets are found by: partition and tenant, which must be the one that is bound.
MARKS: Final[LiteralString] = (
    "select name, head, size_chars, mark from felix.secret_marks where partition = %s and tenant_id = %s"
)


def key_of_marks(root_keys: RootKeys, tenant_id: UUID) -> bytes:
    """What a tenant's marks are made with."""
    return root_keys.index_key(f"secret-marks/{tenant_id}")


def known_secrets(
    root_keys: Callable[[], RootKeys], tenant_id: UUID, rows: Sequence[Mapping[str, Any]]
) -> KnownSecrets:
    """A tenant's secrets as texts are searched for them, of the rows that :data:`MARKS` gives.

    Where there are none no root key is asked for.
    """
    if not rows:
        return NO_SECRETS
    marks = [Mark(each["name"], bytes(each["head"]), each["size_chars"], bytes(each["mark"])) for each in rows]
    return KnownSecrets(key_of_marks(root_keys(), tenant_id), marks)


class MarkShelf:
    """Reads marks as the reader does, with their tenant bound. Each call is one connection, as it is of secrets."""

    def __init__(self, connect: Callable[[], psycopg.Connection[Any]], root_keys: Callable[[], RootKeys]) -> None:
        """``connect`` signs in as ``felix_reader``; ``root_keys`` has those that are in force when it is asked for."""
        self._connect = connect
        self._root_keys = root_keys

    def of(self, place: Place) -> KnownSecrets:
        """The secrets of a tenant as texts are searched for them. Raises ``Unavailable``: nothing is let through."""
        try:
            with self._connect() as connection, connection.transaction():
                connection.execute("select set_config('felix.tenant', %s, true)", (str(place[1]),))
                rows = connection.cursor(row_factory=dict_row).execute(MARKS, place).fetchall()
        except psycopg.OperationalError as error:
            raise Unavailable("The secrets can't be reached right now.", sqlstate=error.sqlstate or "") from error
        return known_secrets(self._root_keys, place[1], rows)


# --- what a worker may have ---------------------------------------------------------------------------------


class SecretShelf:
    """Reads what is kept, sealed. Each call is one connection: secrets are used now and then, not all the time."""

    def __init__(self, connect: Callable[[], psycopg.Connection[Any]]) -> None:
        self._connect = connect

    def versions(self, place: Place, name: str, versions: Sequence[int]) -> list[KeptSecret]:
        """Versions of a secret, the newest first. Raises ``Unavailable``."""
        found = self._ask("select * from felix.secret_for_use(%s, %s, %s, %s)", (*place, name, list(versions)))
        return [KeptSecret(name, *row) for row in found]

    def under_old_keys(self, place: Place, key_version: int) -> list[KeptSecret]:
        """Everything that keys before this one have sealed. Raises ``Unavailable``."""
        found = self._ask("select * from felix.secrets_under_old_keys(%s, %s, %s)", (*place, key_version))
        return [KeptSecret(*row) for row in found]

    def _ask(self, query: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        try:
            with self._connect() as connection:
                return connection.execute(query.encode(), parameters).fetchall()
        except psycopg.OperationalError as error:
            raise Unavailable("The secrets can't be reached right now.", sqlstate=error.sqlstate or "") from error
