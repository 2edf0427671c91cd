"""API keys as they look, and the table of their hashes, which is kept beside the log.

A key is ``fx_live_`` + 30 base-62 characters of randomness (178 bits) + 6 of checksum (CRC-32), so a scanner can tell a
real one from a lookalike without asking. The table is written in the transaction of the events of
:mod:`felix.domain.identity.api_key`; who used which key when is written there by and by.
"""

from __future__ import annotations

import re
import secrets
import zlib
from collections.abc import Callable, Mapping
from datetime import datetime
from hashlib import sha256
from typing import Any
from uuid import UUID

import psycopg

from felix.domain.identity.roles import PLATFORM
from felix.eventstore.kept_connections import KeptConnections
from felix.eventstore.side_statements import SideStatement

PREFIX = "fx_live_"
#: What scanners of code and logs look for; of what they find, :func:`well_formed` tells the real ones.
PATTERN = r"fx_live_[0-9A-Za-z]{36}"
_LOOKS_LIKE = re.compile(PATTERN, re.ASCII)
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_RANDOM_LENGTH = 30
_CHECKSUM_LENGTH = 6
#: In one order, so that processes that write at the same time wait for each other instead of for ever.
_USED = """
    with used as materialized (
      select k.key_id, u.at from felix.api_keys k join unnest(%s::text[], %s::timestamptz[]) as u (key_id, at)
        on k.key_id = u.key_id
      where k.last_used_at is null or k.last_used_at < u.at
      order by k.key_id for update of k)
    update felix.api_keys k set last_used_at = used.at from used where k.key_id = used.key_id
"""


def new_key() -> str:
    """A fresh key, to be shown once."""
    body = "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM_LENGTH))
    return PREFIX + body + _checksum(body)


def well_formed(key: str) -> bool:
    """Whether this could be one of our keys at all: prefix, length and checksum."""
    body, checksum = key[len(PREFIX) : -_CHECKSUM_LENGTH], key[-_CHECKSUM_LENGTH:]
    return _LOOKS_LIKE.fullmatch(key) is not None and checksum == _checksum(body)


def hash_key(key: str) -> bytes:
    """What is stored and looked up: with 178 bits of randomness a plain hash suffices."""
    return sha256(key.encode()).digest()


def keep_key(
    key_hash: bytes,
    key_id: str,
    tenant_id: UUID,
    *,
    role: str,
    label: str,
    scopes: list[str] | None,
    expires_at: datetime | None,
    at: datetime,
) -> SideStatement:
    """A new key; those of the platform belong to no client."""
    return SideStatement(
        "insert into felix.api_keys (key_hash, key_id, tenant_id, role, label, scopes, expires_at, created_at)"
        " values (%s, %s, %s, %s, %s, %s, %s, %s)",
        (key_hash, key_id, _owner(tenant_id), role, label, scopes, expires_at, at),
    )


def end_key(key_id: str, ends_at: datetime) -> SideStatement:
    """Let a key expire."""
    return SideStatement("update felix.api_keys set expires_at = %s where key_id = %s", (ends_at, key_id))


def revoke_key(key_id: str, at: datetime) -> SideStatement:
    """Let a key be worthless at once."""
    return SideStatement(
        "update felix.api_keys set revoked_at = %s where key_id = %s and revoked_at is null", (at, key_id)
    )


def label_of_key(key_id: str, tenant_id: UUID) -> SideStatement:
    """Asks for label and role of a key that the log does not know: one row, or none."""
    return SideStatement(
        "select label, role from felix.api_keys where key_id = %s and tenant_id is not distinct from %s",
        (key_id, _owner(tenant_id)),
    )


class KeyUses:
    """When each key was last used; written by and by, with a connection of the writer that is kept."""

    def __init__(self, connect: Callable[[], psycopg.Connection[Any]]) -> None:
        self._connections = KeptConnections(connect, "The table of API keys")

    def write(self, used_at: Mapping[str, datetime]) -> None:
        """Write the moments; an earlier one than is known changes nothing. Raises ``Unavailable``."""
        if used_at:
            keys, moments = list(used_at), list(used_at.values())
            self._connections.call(lambda connection: connection.execute(_USED, (keys, moments)))

    def close(self) -> None:
        """Give the connection back."""
        self._connections.close()


def _owner(tenant_id: UUID) -> UUID | None:
    return None if tenant_id == PLATFORM else tenant_id


def _checksum(body: str) -> str:
    number = zlib.crc32(body.encode())
    digits = []
    for _ in range(_CHECKSUM_LENGTH):
        number, digit = divmod(number, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))
