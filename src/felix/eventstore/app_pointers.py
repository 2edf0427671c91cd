"""What of an app runs where: a row an environment, written in the transaction of the event that moves it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final, LiteralString
from uuid import UUID

from felix.eventstore.side_statements import SideStatement

Place = tuple[int, UUID]

#: The pointer of one environment: partition, tenant, app and environment.
POINTER: Final[LiteralString] = (
    "select app, environment, stable, candidate, weight, salt, deployment_id, read_only, version"
    " from felix.app_pointers where partition = %s and tenant_id = %s and app = %s and environment = %s"
)
_MOVE: Final[LiteralString] = (
    "insert into felix.app_pointers"
    " (partition, tenant_id, app, environment, stable, candidate, weight, salt, deployment_id, read_only, version)"
    " values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
    " on conflict on constraint app_pointers_pkey do update set"
    " stable = excluded.stable, candidate = excluded.candidate, weight = excluded.weight, salt = excluded.salt,"
    " deployment_id = excluded.deployment_id, read_only = excluded.read_only, version = excluded.version"
)


@dataclass(frozen=True, slots=True)
class AppPointer:
    """What runs: the stable release, and while a deployment shows another to some people, that one too."""

    app: str
    environment: str
    stable: str
    candidate: str | None = None
    weight: int | None = None
    salt: str | None = None
    deployment_id: str | None = None
    read_only: bool = False
    version: int = 1

    @classmethod
    def of(cls, row: tuple[Any, ...] | Mapping[str, Any]) -> AppPointer:
        """A row of :data:`POINTER`."""
        return cls(**row) if isinstance(row, Mapping) else cls(*row)

    def release_for(self, tenant_id: UUID, person: str) -> str:
        """Which release a person has. The same person has the same one for as long as the deployment lasts."""
        if self.candidate is None or bucket(tenant_id, self.app, person, self.salt or "") >= (self.weight or 0):
            return self.stable
        return self.candidate


def bucket(tenant_id: UUID, app: str, person: str, salt: str) -> int:
    """Where among a hundred a person is: whoever has a new release at 5 % has it at 25 %, too."""
    said = f"{tenant_id}|{app}|{person}|{salt}".encode()
    return int.from_bytes(blake2b(said, digest_size=8).digest(), "big") % 100


def moved(place: Place, pointer: AppPointer) -> SideStatement:
    """Write where a pointer is now."""
    return SideStatement(
        _MOVE,
        (
            *place,
            pointer.app,
            pointer.environment,
            pointer.stable,
            pointer.candidate,
            pointer.weight,
            pointer.salt,
            pointer.deployment_id,
            pointer.read_only,
            pointer.version,
        ),
    )
