"""Provisional API keys: one a tenant, one for the founder. Only the SHA-256 of a key is stored.

A key is ``fx_live_`` + 30 base-62 characters of randomness (178 bits) + 6 of checksum, so a scanner can tell a real
one from a lookalike without asking. Identity proper replaces this file.
"""

from __future__ import annotations

import secrets
import zlib
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Literal
from uuid import UUID

import psycopg

PREFIX = "fx_live_"
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_RANDOM_LENGTH = 30
_CHECKSUM_LENGTH = 6

Role = Literal["founder", "founder_readonly", "service"]


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is known of a key; the key itself is not kept."""

    key_id: str
    role: Role
    tenant_id: UUID | None
    label: str
    revoked: bool = False


def new_key() -> str:
    """A fresh key, to be shown once."""
    body = "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM_LENGTH))
    return PREFIX + body + _checksum(body)


def well_formed(key: str) -> bool:
    """Whether this could be one of our keys at all: prefix, length and checksum."""
    body = key[len(PREFIX) : -_CHECKSUM_LENGTH]
    return key.startswith(PREFIX) and len(body) == _RANDOM_LENGTH and key[-_CHECKSUM_LENGTH:] == _checksum(body)


def hash_key(key: str) -> bytes:
    """What is stored and looked up: with 178 bits of randomness a plain hash suffices."""
    return sha256(key.encode()).digest()


def create_key(
    owner: psycopg.Connection[Any], role: Role, tenant_id: UUID | None, label: str, *, key: str | None = None
) -> tuple[str, ApiKey]:
    """Store a new key and return it with its record. ``owner`` is a connection that may take on ``felix_owner``."""
    made = key or new_key()
    record = ApiKey("key_" + secrets.token_hex(8), role, tenant_id, label)
    with owner.transaction():
        owner.execute("set local role felix_owner")
        owner.execute(
            "insert into felix.api_keys (key_hash, key_id, role, tenant_id, label) values (%s, %s, %s, %s, %s)",
            (hash_key(made), record.key_id, role, tenant_id, label),
        )
    return made, record


def list_keys(owner: psycopg.Connection[Any]) -> list[ApiKey]:
    """Every key that was ever made."""
    with owner.transaction():
        owner.execute("set local role felix_owner")
        return [
            ApiKey(*row)
            for row in owner.execute(
                "select key_id, role, tenant_id, label, revoked_at is not null from felix.api_keys order by created_at"
            )
        ]


def revoke_key(owner: psycopg.Connection[Any], key_id: str) -> bool:
    """Make a key worthless; False when there is no such key in force."""
    with owner.transaction():
        owner.execute("set local role felix_owner")
        revoked = owner.execute(
            "update felix.api_keys set revoked_at = now() where key_id = %s and revoked_at is null", (key_id,)
        )
        return revoked.rowcount == 1


def _checksum(body: str) -> str:
    number = zlib.crc32(body.encode())
    digits = []
    for _ in range(_CHECKSUM_LENGTH):
        number, digit = divmod(number, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))
