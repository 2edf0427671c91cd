"""Who asks: an API key in ``Authorization: Bearer``, looked up by its hash."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import UUID

from felix.domain.errors import Unauthenticated

#: How long a looked-up key is believed: a revoked key is dead everywhere after this.
BELIEVED_FOR_S = 1.0
MAX_BELIEVED = 10_000


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller. ``tenant_id`` is set for clients and only for them."""

    key_id: str
    role: str
    tenant_id: UUID | None

    @property
    def actor(self) -> str:
        """How the log names this caller."""
        return f"{self.role}:{self.key_id}"


class Authenticator:
    """Checks keys on every request; what the database said is believed for a second."""

    def __init__(
        self,
        look_up: Callable[[str], Awaitable[Principal | None]],
        find_tenant: Callable[[str], Awaitable[UUID]],
    ) -> None:
        """``look_up`` finds the principal of a well-formed key, ``find_tenant`` a tenant by short name or id."""
        self._look_up = look_up
        self._find_tenant = find_tenant
        self._believed: dict[str, tuple[float, Principal]] = {}
        self._tenants: dict[str, UUID] = {}

    async def principal(self, authorization: str | None) -> Principal:
        """The caller behind an Authorization header. Raises ``Unauthenticated``, without saying why."""
        if authorization is None:
            raise Unauthenticated()
        now = time.monotonic()
        believed = self._believed.get(authorization)
        if believed is not None and believed[0] > now:
            return believed[1]
        scheme, _, key = authorization.partition(" ")
        found = await self._look_up(key.strip()) if scheme.lower() == "bearer" else None
        if found is None:
            self._believed.pop(authorization, None)
            raise Unauthenticated()
        if len(self._believed) >= MAX_BELIEVED:
            self._believed.clear()
        self._believed[authorization] = (now + BELIEVED_FOR_S, found)
        return found

    async def tenant_id(self, named: str) -> UUID:
        """A tenant that the founder names. Raises ``NotFound``."""
        found = self._tenants.get(named)
        if found is None:
            found = await self._find_tenant(named)
            if len(self._tenants) >= MAX_BELIEVED:
                self._tenants.clear()
            self._tenants[named] = found
        return found
