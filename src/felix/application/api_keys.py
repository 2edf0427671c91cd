"""Handlers for API keys, and how a process makes one for itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from felix.application.performer import Performer, new_context
from felix.application.unit_of_work import UnitOfWork, handles, not_found
from felix.domain.identity.api_key import ApiKey, CreateApiKey, KeyRole, Reach, RevokeApiKey, RotateApiKey
from felix.eventstore.api_keys import end_key, hash_key, keep_key, label_of_key, new_key, revoke_key


def enclosing(key: str, maker: Reach | None = None) -> Mapping[str, Any]:
    """What travels with a command that makes a key: its hash, and how far the key goes that asks for it."""
    return {"key_hash": hash_key(key), "maker": maker or Reach()}


def make_key(
    performer: Performer,
    tenant_id: UUID,
    label: str,
    *,
    role: KeyRole = "service",
    actor: str = "system:felix",
) -> tuple[str, dict[str, Any]]:
    """Make a key and answer it with what is known of it. Raises the refusal of a refused command."""
    key = new_key()
    context = new_context(tenant_id, f"key-{hash_key(key).hex()}", actor, enclosed=enclosing(key))
    return key, performer.perform_blocking(CreateApiKey(label=label, role=role), context).result


@handles(CreateApiKey)
def create_api_key(command: CreateApiKey, unit: UnitOfWork) -> dict[str, Any]:
    """Begin the key's stream and keep its hash."""
    key = ApiKey.create(unit.context, command, unit.context.enclosed["maker"])
    unit.add(key)
    _keep(key, unit)
    return key.shown()


@handles(RotateApiKey)
def rotate_api_key(command: RotateApiKey, unit: UnitOfWork) -> dict[str, Any]:
    """Begin the successor's stream, and let the key itself end after the overlap."""
    key = _known(command.key_id, unit)
    successor = key.rotate(command, unit.context.enclosed["maker"])
    unit.add(successor)
    _keep(successor, unit)
    assert key.expires_at is not None
    unit.beside(end_key(command.key_id, key.expires_at))
    return successor.shown() | {"rotated_from": command.key_id, "overlap_ends_at": key.expires_at.isoformat()}


@handles(RevokeApiKey)
def revoke_api_key(command: RevokeApiKey, unit: UnitOfWork) -> dict[str, Any]:
    """End the key at once."""
    _known(command.key_id, unit).revoke(command)
    unit.beside(revoke_key(command.key_id, unit.context.at))
    return {"key_id": command.key_id, "status": "revoked"}


def _keep(key: ApiKey, unit: UnitOfWork) -> None:
    unit.beside(
        keep_key(
            unit.context.enclosed["key_hash"],
            key.local_id,
            unit.context.tenant_id,
            role=key.role,
            label=key.label,
            scopes=key.scopes,
            expires_at=key.expires_at,
            at=key.created_on,
        )
    )


def _known(key_id: str, unit: UnitOfWork) -> ApiKey:
    """A key of this tenant. One that is older than its events begins its stream now. Raises ``NotFound``."""
    found = unit.find(ApiKey, key_id)
    if found is None:
        rows = unit.ask_beside(label_of_key(key_id, unit.context.tenant_id))
        if not rows:
            raise not_found(ApiKey, key_id)
        ((label, role),) = rows
        found = ApiKey.known_as(unit.context, key_id, label=label, role=role)
        unit.add(found)
    return found
