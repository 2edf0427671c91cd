"""What became of a command, and how two requests under one key are told apart."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import Any
from uuid import UUID

import orjson

from felix.domain.base import Command
from felix.domain.errors import FelixError, Forbidden, Invalid, NotFound, Refused, TooMuch, recall
from felix.domain.values import MAX_AMOUNT
from felix.eventstore.mapper import canonical_json

#: Errors that depend on nothing but the command and the state it met: remembered under the key like an acceptance.
DETERMINISTIC = (Refused, NotFound, Forbidden, Invalid, TooMuch)


@dataclass(slots=True)
class Outcome:
    """The remembered end of a command. ``body`` is canonical JSON: the result, or the record of the refusal.

    ``metadata`` is that of the command that was recorded, also when it is answered again under the same key.
    """

    accepted: bool
    body: bytes
    tenant_id: UUID
    partition: int
    first_position: int | None
    last_position: int | None
    last_tenant_sequence: int | None
    metadata: bytes = b"{}"
    replayed: bool = False

    @property
    def result(self) -> dict[str, Any]:
        """The result of an accepted command. Raises the refusal of a refused one."""
        if not self.accepted:
            raise self.refusal
        value: dict[str, Any] = orjson.loads(self.body)
        return value

    @property
    def refusal(self) -> FelixError:
        """The error of a refused command."""
        return recall(orjson.loads(self.body))

    @property
    def correlation_id(self) -> str | None:
        """What the command and its events are found by."""
        known: dict[str, str] = orjson.loads(self.metadata)
        return known.get("correlation_id")

    @property
    def position(self) -> str | None:
        """``<tenant>:<tenant_sequence>`` of the command's last event: wait for it to read your own write."""
        return None if self.last_tenant_sequence is None else f"{self.tenant_id}:{self.last_tenant_sequence}"

    @property
    def log_position(self) -> str | None:
        """``<partition>:<position>`` of the same event. It tells how much others write: for operators only."""
        return None if self.last_position is None else f"{self.partition}:{self.last_position}"


def record_of(error: FelixError) -> dict[str, Any]:
    """What is remembered of a refusal. Whole numbers beyond 63 bits, such as a charge that no debit can take, are
    written as text: they can be neither stored nor read as JSON numbers."""
    facts = {
        name: str(fact) if isinstance(fact, int) and not -MAX_AMOUNT <= fact <= MAX_AMOUNT else fact
        for name, fact in error.facts.items()
    }
    return error.record() | {"facts": facts}


def fingerprint(command: Command, tenant_id: UUID) -> bytes:
    """A short hash of every field that was given, so that a mismatch can name the fields and tells nothing else."""
    salt = tenant_id.bytes
    hashes = {
        name: blake2b(orjson.dumps(value, option=orjson.OPT_SORT_KEYS), digest_size=6, key=salt).hexdigest()
        for name, value in command.fingerprint_fields().items()
    }
    hashes["command"] = command.command_name
    return canonical_json(hashes)


def conflicting_fields(first: bytes, second: bytes) -> list[str]:
    """The names of the fields in which two fingerprints differ."""
    if first == second:
        return []
    one, other = orjson.loads(first), orjson.loads(second)
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
