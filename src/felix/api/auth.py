"""Who asks: an API key in ``Authorization: Bearer``, looked up by its hash."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import UUID

from felix.domain.errors import Unauthenticated

#: How often a process asks whether a key has changed: a revoked key is dead everywhere after this.
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
    """Checks keys on every request; what was looked up is believed for as long as no key has changed."""

    def __init__(
        self,
        look_up: Callable[[str], Awaitable[Principal | None]],
        generation: Callable[[], Awaitable[int]],
        find_tenant: Callable[[str], Awaitable[UUID]],
    ) -> None:
        """``look_up`` finds the principal of a well-formed key, ``find_tenant`` a tenant by short name or id.

        ``generation`` is a number that moves whenever a key is made or revoked.
        """
        self._look_up = look_up
        self._ask_generation = generation
        self._find_tenant = find_tenant
        self._believed: dict[str, Principal] = {}
        self._generation = -1
        self._believed_until = 0.0
        self._asking: asyncio.Task[None] | None = None
        self._tenants: dict[str, UUID] = {}

    async def principal(self, authorization: str | None) -> Principal:
        """The caller behind an Authorization header. Raises ``Unauthenticated``, without saying why."""
        if authorization is None:
            raise Unauthenticated()
        if time.monotonic() >= self._believed_until:
            await self._catch_up()
        believed = self._believed.get(authorization)
        if believed is not None:
            return believed
        generation = self._generation
        scheme, _, key = authorization.partition(" ")
        found = await self._look_up(key.strip()) if scheme.lower() == "bearer" else None
        if found is None:
            raise Unauthenticated()
        if generation == self._generation:
            if len(self._believed) >= MAX_BELIEVED:
                self._believed.clear()
            self._believed[authorization] = found
        return found

    async def _catch_up(self) -> None:
        """Ask whether a key has changed; however many requests wait, one of them asks."""
        if self._asking is None:
            self._asking = asyncio.ensure_future(self._ask())
            self._asking.add_done_callback(lambda _: setattr(self, "_asking", None))
        await asyncio.shield(self._asking)

    async def _ask(self) -> None:
        asked_at = time.monotonic()
        generation = await self._ask_generation()
        if generation != self._generation:
            self._believed.clear()
            self._generation = generation
        self._believed_until = asked_at + BELIEVED_FOR_S

    async def tenant_id(self, named: str) -> UUID:
        """A tenant that the founder names. Raises ``NotFound``."""
        found = self._tenants.get(named)
        if found is None:
            found = await self._find_tenant(named)
            if len(self._tenants) >= MAX_BELIEVED:
                self._tenants.clear()
            self._tenants[named] = found
        return found
