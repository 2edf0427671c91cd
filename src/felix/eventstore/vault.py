"""The vault: what is personal, apart from the log and erasable.

An event carries a commitment, ``HMAC-SHA256(salt, value)`` in hex; value and salt are in the vault, sealed with
AES-256-GCM under a random key that belongs to one subject. The key is wrapped with the root key and, where there is
one, with the erasure key (:mod:`felix.eventstore.erasure_key`). Erasure deletes rows and key: the commitment stays in
the log, every proof stays valid, and nobody can tell any more what was committed to.

A subject is whom the data is about: a user in the platform's log, a customer in a client's. Rows are read in a
transaction that is bound to the subject's tenant, and opened where the root key is::

    enclosed = vault.enclose(email=email, name=name)    # at the door; enclosed.commitments["email"] goes into the event
    for write in enclosed.writes(unit.context.tenant_id, unit.partition, user_id):
        unit.beside(write)                              # in the handler, beside the event
    people = vault.open(await tx.fetch(SEALED, partition, tenant_id, user_ids))
    people[user_id]["email"]
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final, LiteralString
from uuid import UUID

from felix.domain.errors import Corrupt, Refused
from felix.eventstore.erasure_key import ErasureKeyFile, NoErasureKey
from felix.eventstore.sealing import KEY_BYTES, RootKeys, SealBroken, seal, unseal
from felix.eventstore.side_statements import SideStatement

SALT_BYTES = 32

#: The sealed rows of some subjects of one tenant, in one query: partition, tenant, and a list of subjects.
SEALED: Final[LiteralString] = (
    "select v.subject_id, v.field, v.commitment, v.sealed, k.sealed_key, v.tenant_id"
    " from felix.vault v join felix.subject_keys k using (partition, tenant_id, subject_id)"
    " where v.partition = %s and v.tenant_id = %s and v.subject_id = any(%s) order by v.subject_id, v.field"
)
#: Whoever something personal is kept of: partition, tenant and subject.
EVERY_SUBJECT: Final[LiteralString] = "select partition, tenant_id, subject_id from felix.subject_keys"
_KEEP_KEY: Final[LiteralString] = (
    "insert into felix.subject_keys (partition, tenant_id, subject_id, sealed_key) values (%s, %s, %s, %s)"
)
_KEEP_VALUE: Final[LiteralString] = (
    "insert into felix.vault (partition, tenant_id, subject_id, field, commitment, sealed)"
    " values (%s, %s, %s, %s, %s, %s)"
)
#: Not an upsert: that would take the right to read what is sealed, which the writer has not.
_DROP_VALUE: Final[LiteralString] = (
    "delete from felix.vault where partition = %s and tenant_id = %s and subject_id = %s and field = %s"
)
_SEALED_KEY: Final[LiteralString] = (
    "select sealed_key from felix.subject_keys where partition = %s and tenant_id = %s and subject_id = %s"
)
_FIELDS: Final[LiteralString] = (
    "select field from felix.vault where partition = %s and tenant_id = %s and subject_id = %s order by field"
)
_FORGET: Final[tuple[LiteralString, ...]] = (
    "delete from felix.vault where partition = %s and tenant_id = %s and subject_id = %s",
    "delete from felix.subject_keys where partition = %s and tenant_id = %s and subject_id = %s",
)

_ROOT_ONLY = b"\x01"
_FORGETTABLE = b"\x02"


class SubjectIsErased(Refused):
    """What was personal about this subject was erased, and nothing can be kept about it any more."""


class CommitmentBroken(Corrupt):
    """What the vault holds is not what the log is committed to."""


def sealed_key_of(partition: int, tenant_id: UUID, subject_id: str) -> SideStatement:
    """Question: the key of a subject that something is kept of."""
    return SideStatement(_SEALED_KEY, (partition, tenant_id, subject_id))


def fields_of(partition: int, tenant_id: UUID, subject_id: str) -> SideStatement:
    """Question: what is kept of a subject, by name."""
    return SideStatement(_FIELDS, (partition, tenant_id, subject_id))


def drop(partition: int, tenant_id: UUID, subject_id: str, field: str) -> SideStatement:
    """Delete one value of a subject; what is not there stays so."""
    return SideStatement(_DROP_VALUE, (partition, tenant_id, subject_id, field))


def forget(partition: int, tenant_id: UUID, subject_id: str) -> list[SideStatement]:
    """Delete what is kept of a subject, and the key with which alone copies could be read."""
    return [SideStatement(text, (partition, tenant_id, subject_id)) for text in _FORGET]


def commitment(salt: bytes, value: str) -> str:
    """What the log says of a value: binding, and silent without the salt."""
    return hmac.new(salt, value.encode(), sha256).hexdigest()


@dataclass(frozen=True, slots=True)
class Opening:
    """A value with its salt: whoever has both can check it against the log."""

    value: str = field(repr=False)
    salt: bytes = field(repr=False)

    @property
    def commitment(self) -> str:
        """What the log must say."""
        return commitment(self.salt, self.value)


class Enclosed:
    """Values on their way into the vault. Their text shows none of them."""

    def __init__(self, vault: Vault, openings: Mapping[str, Opening]) -> None:
        self.commitments = {name: opening.commitment for name, opening in openings.items()}
        self._vault = vault
        self._openings = openings

    def writes(
        self, tenant_id: UUID, partition: int, subject_id: str, *, sealed_key: bytes | None = None
    ) -> list[SideStatement]:
        """What to write beside the event that carries the commitments.

        A subject without ``sealed_key``, the one that the vault holds of it, is new and gets a key.
        """
        place = (partition, tenant_id, subject_id)
        found: list[SideStatement] = []
        if sealed_key is None:
            key = os.urandom(KEY_BYTES)
            found.append(SideStatement(_KEEP_KEY, (*place, self._vault.wrap(tenant_id, subject_id, key))))
        else:
            key = self._vault.unwrap(tenant_id, subject_id, sealed_key)
        for name, opening in self._openings.items():
            if sealed_key is not None:
                found.append(SideStatement(_DROP_VALUE, (*place, name)))
            sealed = seal(key, opening.salt + opening.value.encode(), "vault", str(tenant_id), subject_id, name)
            found.append(SideStatement(_KEEP_VALUE, (*place, name, opening.commitment, sealed)))
        return found


class Vault:
    """Seals what is personal, and opens it again until its subject is erased."""

    def __init__(self, root_keys: RootKeys, erasure_key: ErasureKeyFile | None = None) -> None:
        """Without an erasure key a backup of the database can be opened with the root key for as long as it is kept."""
        self._root_keys = root_keys
        self._erasure_key = erasure_key

    def enclose(self, **values: str) -> Enclosed:
        """Commit to values, each with a fresh salt. Called at the door: a handler that decides again must not."""
        return Enclosed(self, {name: Opening(value, os.urandom(SALT_BYTES)) for name, value in values.items()})

    def open(self, rows: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, str]]:
        """The values by subject and field, of the rows that :data:`SEALED` gives.

        Who was erased is not in it. Raises :class:`SealBroken` and :class:`CommitmentBroken`.
        """
        return {
            subject_id: {name: opening.value for name, opening in fields.items()}
            for subject_id, fields in self.openings(rows).items()
        }

    def openings(self, rows: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Opening]]:
        """The same with the salts, for whoever has to prove what was committed to."""
        keys: dict[tuple[UUID, str], bytes | None] = {}
        found: dict[str, dict[str, Opening]] = {}
        for row in rows:
            tenant_id, subject_id, name = row["tenant_id"], row["subject_id"], row["field"]
            if (tenant_id, subject_id) not in keys:
                keys[tenant_id, subject_id] = self._unwrap(tenant_id, subject_id, row["sealed_key"])
            if (key := keys[tenant_id, subject_id]) is None:
                continue
            plain = unseal(key, row["sealed"], "vault", str(tenant_id), subject_id, name)
            opening = Opening(plain[SALT_BYTES:].decode(), plain[:SALT_BYTES])
            if not hmac.compare_digest(opening.commitment, row["commitment"]):
                raise CommitmentBroken(subject_id=subject_id, field=name)
            found.setdefault(subject_id, {})[name] = opening
        return found

    def wrap(self, tenant_id: UUID, subject_id: str, key: bytes) -> bytes:
        """A subject's key as the database holds it. Raises :class:`SubjectIsErased`."""
        if self._erasure_key is None:
            inner = _ROOT_ONLY + key
        else:
            wrapping = self._erasure_key.wrapping_key(str(tenant_id), subject_id)
            if wrapping is None:
                raise SubjectIsErased(subject_id=subject_id)
            inner = _FORGETTABLE + seal(wrapping, key, *_place(tenant_id, subject_id))
        return self._root_keys.seal(inner, *_place(tenant_id, subject_id))

    def unwrap(self, tenant_id: UUID, subject_id: str, sealed_key: bytes) -> bytes:
        """A subject's key. Raises :class:`SubjectIsErased` and :class:`SealBroken`."""
        key = self._unwrap(tenant_id, subject_id, sealed_key)
        if key is None:
            raise SubjectIsErased(subject_id=subject_id)
        return key

    def _unwrap(self, tenant_id: UUID, subject_id: str, sealed_key: bytes) -> bytes | None:
        """None where the erasure key has forgotten the subject: the row came back with a backup."""
        place = _place(tenant_id, subject_id)
        inner = self._root_keys.unseal(sealed_key, *place)
        if inner[:1] == _ROOT_ONLY:
            return inner[1:]
        if inner[:1] != _FORGETTABLE:
            raise SealBroken(place="/".join(place))
        if self._erasure_key is None:
            raise NoErasureKey()
        wrapping = self._erasure_key.wrapping_key(str(tenant_id), subject_id)
        return None if wrapping is None else unseal(wrapping, inner[1:], *place)


def _place(tenant_id: UUID, subject_id: str) -> tuple[str, str, str]:
    return "subject key", str(tenant_id), subject_id
