"""Setting, rotating and removing tenants' secrets, and the one way in which an adapter gets one.

A value never leaves the process that was given it but sealed, and is opened only where it is used, after the log says
by whom and what for.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import UUID, uuid4

from felix.application.performer import Performer, new_context
from felix.application.unit_of_work import UnitOfWork, handles
from felix.domain.base import CommandContext
from felix.domain.context.known_secrets import marks_of
from felix.domain.errors import Corrupt, Invalid, NotFound, Unavailable
from felix.domain.secrets.tenant_secrets import (
    SECRETS_STREAM,
    EndSecretVersion,
    Kind,
    MakeSecret,
    RemoveSecret,
    RotateTenantKey,
    SealSecretsAnew,
    SetSecret,
    TenantSecrets,
    UseSecret,
)
from felix.eventstore import tenant_secrets as tables
from felix.eventstore.sealing import KEY_BYTES, RootKeys
from felix.eventstore.tenant_secrets import KeptSecret, SecretShelf, TenantKey

#: The private key of a GitHub App has 1.7 kB, a certificate chain may have ten.
MAX_VALUE_BYTES = 16 * 1024
_VALUE, _ROOT_KEYS, _KEPT = "secret.value", "secret.root_keys", "secret.kept"


class NotASecret(Invalid):
    """This can't be a secret; what is wrong with it is said without repeating it."""


class SecretChanged(Unavailable):
    """This secret was replaced or removed in this moment."""


class SecretLost(Corrupt):
    """The log knows this secret, and its sealed value is not there."""


# --- setting ------------------------------------------------------------------------------------------------


def check_value(value: object, kind: Kind) -> str:
    """The value, if it can be one. Raises :class:`NotASecret`, which never tells it."""
    if not isinstance(value, str):
        raise _wrong("string", "not text")
    try:
        size_bytes = len(value.encode())
    except UnicodeEncodeError:
        raise _wrong("text", "must not contain lone surrogates") from None
    if not value:
        raise _wrong("too_short", "is empty")
    if size_bytes > MAX_VALUE_BYTES:
        raise _wrong("too_long", f"at most {MAX_VALUE_BYTES} bytes")
    if "\0" in value:
        raise _wrong("text", "must not contain NUL")
    if kind == "private_key":
        if "PRIVATE KEY-----" not in value:
            raise _wrong("pem", "not a private key in PEM: -----BEGIN … PRIVATE KEY-----")
    elif kind != "other" and (value != value.strip() or not value.isprintable()):
        raise _wrong("printable", "begins or ends with white space, or has a line break in it")
    return value


def _wrong(rule: str, detail: str) -> NotASecret:
    return NotASecret(errors=[{"pointer": "/value", "rule": rule, "detail": detail}])


def setting(
    root_keys: RootKeys, tenant_id: UUID, fields: Mapping[str, Any], value: object
) -> tuple[SetSecret, dict[str, Any]]:
    """The command that sets a secret, and what travels with it enclosed.

    Raises :class:`NotASecret`, and pydantic's ``ValidationError`` about ``fields``.
    """
    command = SetSecret.model_validate({**fields, "value_digest": "0" * 64})
    checked = check_value(value, command.kind)
    digest = root_keys.index("secret", f"{tenant_id}/{command.name}/{checked}").hex()
    return command.model_copy(update={"value_digest": digest}), {_VALUE: checked, _ROOT_KEYS: root_keys}


@handles(SetSecret)
def set_secret(command: SetSecret, unit: UnitOfWork) -> dict[str, Any]:
    """Seal the value with the tenant's key, which is made with its first secret."""
    secrets, key = _opened(unit)
    version, over = secrets.set(command)
    if over:
        unit.beside(tables.delete_versions(_place(unit), command.name, over))
    _keep(unit, key, command.name, version, unit.context.enclosed[_VALUE])
    return {"name": command.name, "version": version, "kind": command.kind}


@handles(MakeSecret)
def make_secret(command: MakeSecret, unit: UnitOfWork) -> dict[str, Any]:
    """Seal random bytes; whoever else wants them made finds them."""
    secrets, key = _opened(unit)
    if (version := secrets.make(command)) is not None:
        _keep(unit, key, command.name, version, base64.b64encode(os.urandom(KEY_BYTES)).decode())
    return {"name": command.name, "made": version is not None}


def _opened(unit: UnitOfWork) -> tuple[TenantSecrets, TenantKey]:
    root_keys: RootKeys = unit.context.enclosed[_ROOT_KEYS]
    secrets = unit.find(TenantSecrets, SECRETS_STREAM)
    if secrets is None:
        secrets = TenantSecrets.open(unit.context)
        unit.add(secrets)
        return secrets, _make_key(unit, root_keys, secrets.key_version)
    return secrets, _key_in_force(unit, root_keys, secrets.key_version)


def _keep(unit: UnitOfWork, key: TenantKey, name: str, version: int, value: str) -> None:
    sealed = key.seal(value, name, version)
    unit.beside(tables.keep_secret(_place(unit), name, version, key.version, sealed, unit.context.at))
    _mark(unit, name, version, value)


@handles(RemoveSecret)
def remove_secret(command: RemoveSecret, unit: UnitOfWork) -> dict[str, Any]:
    """Delete the sealed values with the event that says so."""
    version = _secrets(unit, command.name).remove(command)
    unit.beside(tables.delete_secret(_place(unit), command.name))
    return {"name": command.name, "version": version, "removed": True}


@handles(EndSecretVersion)
def end_secret_version(command: EndSecretVersion, unit: UnitOfWork) -> dict[str, Any]:
    """Delete a version after its overlap; one that is gone already stays so."""
    ended = _secrets(unit, command.name).end(command)
    if ended:
        unit.beside(tables.delete_versions(_place(unit), command.name, [command.version]))
    return {"name": command.name, "version": command.version, "ended": ended}


# --- keys ---------------------------------------------------------------------------------------------------


def with_root_keys(root_keys: RootKeys) -> dict[str, Any]:
    """What travels enclosed with a command that makes a key."""
    return {_ROOT_KEYS: root_keys}


@handles(RotateTenantKey)
def rotate_tenant_key(command: RotateTenantKey, unit: UnitOfWork) -> dict[str, Any]:
    """Make the next key; a policy lets a worker seal with it what the one before has sealed."""
    secrets = unit.find(TenantSecrets, SECRETS_STREAM)
    if secrets is None:
        raise NotFound("This tenant has no secrets, and so no key.")
    version = secrets.rotate_key(command)
    _make_key(unit, unit.context.enclosed[_ROOT_KEYS], version)
    return {"key_version": version}


@handles(SealSecretsAnew)
def seal_secrets_anew(command: SealSecretsAnew, unit: UnitOfWork) -> dict[str, Any]:
    """All of them and the old key's end in one transaction: whatever is killed, every secret opens."""
    _secrets(unit, "").seal_anew(command)
    place, root_keys = _place(unit), unit.context.enclosed[_ROOT_KEYS]
    kept: Sequence[KeptSecret] = unit.context.enclosed[_KEPT]
    key = _key_in_force(unit, root_keys, command.key_version)
    for each in kept:
        value = each.open(root_keys, key.tenant_id)
        sealed = key.seal(value, each.name, each.version)
        unit.beside(tables.replace_sealed(place, each, key.version, sealed))
        # One that was set before values were marked is marked now.
        _mark(unit, each.name, each.version, value)
    unit.beside(tables.delete_old_keys(place, key.version))
    return {"key_version": key.version, "secrets": len(kept)}


def _mark(unit: UnitOfWork, name: str, version: int, value: str) -> None:
    """Keep what the value is found by in a text; nothing of one that is too short to be looked for."""
    key = tables.key_of_marks(unit.context.enclosed[_ROOT_KEYS], unit.context.tenant_id)
    if marks := marks_of(key, name, value):
        unit.beside(tables.keep_marks(_place(unit), version, marks))


def _make_key(unit: UnitOfWork, root_keys: RootKeys, version: int) -> TenantKey:
    key = TenantKey.new(unit.context.tenant_id, version)
    unit.beside(tables.keep_key(_place(unit), version, key.wrap(root_keys), unit.context.at))
    return key


def _key_in_force(unit: UnitOfWork, root_keys: RootKeys, version: int) -> TenantKey:
    found = unit.ask_beside(tables.wrapped_key(_place(unit), version))
    if not found:
        raise SecretLost("The log knows a key of this tenant, and it is not there.", key_version=version)
    return TenantKey.unwrap(root_keys, unit.context.tenant_id, version, found[0][0])


def _secrets(unit: UnitOfWork, name: str) -> TenantSecrets:
    secrets = unit.find(TenantSecrets, SECRETS_STREAM)
    if secrets is None:
        raise NotFound(f"There is no secret {name}.", id=name)
    return secrets


def _place(unit: UnitOfWork) -> tuple[int, UUID]:
    return unit.partition, unit.context.tenant_id


# --- using --------------------------------------------------------------------------------------------------


@handles(UseSecret)
def use_secret(command: UseSecret, unit: UnitOfWork) -> dict[str, Any]:
    """Write down who uses which versions and what for."""
    return {"name": command.name, "versions": _secrets(unit, command.name).use(command)}


@dataclass(frozen=True, slots=True)
class User:
    """Who uses a secret: how the log names them, the job or command they need it for, and what caused that."""

    actor: str
    reference: str | None = None
    correlation_id: UUID | None = None
    causation_id: UUID | None = None


class Secrets(Protocol):
    """How adapters get the secrets of a tenant; the platform's own are those of its tenant."""

    def use(self, tenant_id: UUID, name: str, *, purpose: str, user: User) -> AbstractContextManager[str]:
        """The secret in force, for as long as the context lasts; its use is recorded before that begins.

        Raises ``NotFound``; ``Unavailable`` when the use can't be recorded, and then there is no value.
        """

    def use_with_earlier(
        self, tenant_id: UUID, name: str, *, purpose: str, user: User
    ) -> AbstractContextManager[tuple[str, ...]]:
        """The same with versions whose overlap has not ended, the newest first: for checking what others signed."""

    def make(self, tenant_id: UUID, name: str, user: User) -> None:
        """Make a secret of Felix's own, unless there is one. Raises ``Unavailable``."""

    def under_old_keys(self, tenant_id: UUID, key_version: int) -> dict[str, Any]:
        """What travels enclosed with :class:`SealSecretsAnew`: all that keys before this one have sealed."""


@dataclass(frozen=True, slots=True)
class TenantSecretStore:
    """The :class:`Secrets` of this installation."""

    performer: Performer
    shelf: SecretShelf
    partition_of: Callable[[UUID], int]
    root_keys: Callable[[], RootKeys] = field(repr=False)

    @contextmanager
    def use(self, tenant_id: UUID, name: str, *, purpose: str, user: User) -> Iterator[str]:
        yield self._open(tenant_id, name, purpose, user, with_earlier=False)[0]

    @contextmanager
    def use_with_earlier(self, tenant_id: UUID, name: str, *, purpose: str, user: User) -> Iterator[tuple[str, ...]]:
        yield self._open(tenant_id, name, purpose, user, with_earlier=True)

    def make(self, tenant_id: UUID, name: str, user: User) -> None:
        context = _context(tenant_id, f"secret-make:{uuid4()}", user)
        context.enclosed = with_root_keys(self.root_keys())
        _ = self.performer.perform_blocking(MakeSecret(name=name), context).result

    def under_old_keys(self, tenant_id: UUID, key_version: int) -> dict[str, Any]:
        kept = self.shelf.under_old_keys((self.partition_of(tenant_id), tenant_id), key_version)
        return {_KEPT: kept, **with_root_keys(self.root_keys())}

    def _open(self, tenant_id: UUID, name: str, purpose: str, user: User, *, with_earlier: bool) -> tuple[str, ...]:
        root_keys = self.root_keys()
        command = UseSecret(name=name, purpose=purpose, reference=user.reference, with_earlier=with_earlier)
        context = _context(tenant_id, f"secret-use:{uuid4()}", user)
        versions = self.performer.perform_blocking(command, context).result["versions"]
        kept = self.shelf.versions((self.partition_of(tenant_id), tenant_id), name, versions)
        if [each.version for each in kept] != versions:
            # Replaced or removed since its use was recorded; whoever tries again hears what is so now.
            raise SecretChanged(name=name)
        return tuple(each.open(root_keys, tenant_id) for each in kept)


def _context(tenant_id: UUID, command_key: str, user: User) -> CommandContext:
    return new_context(
        tenant_id, command_key, user.actor, correlation_id=user.correlation_id, causation_id=user.causation_id
    )
