"""Who asks: an API key in ``Authorization: Bearer``, or the session in a browser's cookie, looked up by its hash."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal
from uuid import UUID

from felix.domain.errors import Forbidden, Invalid, NotFound, Unauthenticated
from felix.domain.identity.access import ACTIONS, grant_of
from felix.domain.identity.roles import PLATFORM, PLATFORM_ROLES, WATCHED_ROLES, Role
from felix.domain.identity.scopes import actions_within

#: How often a process asks whether anything has changed: a revoked key is dead everywhere after this.
BELIEVED_FOR_S = 1.0
MAX_BELIEVED = 10_000
#: A browser keeps a cookie of this name to one host, one path and TLS (RFC 6265bis, section 4.1.3).
SESSION_COOKIE = "__Host-felix_session"
#: How long a person who proved again who they are is believed where that is needed.
STEP_UP_S = 15 * 60.0

IMPERSONATION = re.compile(r"imp_[0-9a-f]{32}", re.ASCII)

Method = Literal["api_key", "password", "magic_link", "invitation", "oidc"]


class StepUpNeeded(Forbidden):
    """Prove again who you are before you do this."""


class SecondFactorMissing(Forbidden):
    """People who run the platform do nothing there without a second factor: enrol one, or sign in with it."""


class OutOfScope(Forbidden):
    """This API key is limited to other actions."""


class NotImpersonating(Forbidden):
    """This impersonation is over, or it is not yours, or it is of another client."""


class ReadOnlyImpersonation(Forbidden):
    """Who looks at a client with somebody else's eyes can change nothing there."""


@dataclass(frozen=True, slots=True)
class Access:
    """What a caller is in one tenant. ``tenant_id`` is None for a machine of the platform."""

    tenant_id: UUID
    role: Role
    slug: str = ""
    expires_at: datetime | None = None

    def is_valid_at(self, at: datetime) -> bool:
        """Whether it has not run out."""
        return self.expires_at is None or at < self.expires_at


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated person or machine, before it is said in which tenant they act."""

    #: ``usr_…`` or ``key_…``: how the log names them.
    id: str
    #: The key or the session; what is revoked, and what limits are counted by.
    credential_id: str
    method: Method
    accesses: tuple[Access, ...]
    scopes: frozenset[str] | None = None
    expires_at: datetime | None = None
    second_factor: bool = False
    stepped_up_at: datetime | None = None

    def is_valid_at(self, at: datetime) -> bool:
        """Whether the credential has not expired."""
        return self.expires_at is None or at < self.expires_at

    def in_tenant(self, tenant_id: UUID, at: datetime) -> Access | None:
        """What the caller is in a tenant: a member, or one of the people of the platform, who are in every one."""
        of_platform = None
        for access in self.accesses:
            if not access.is_valid_at(at):
                continue
            if access.tenant_id == tenant_id:
                return access
            if access.role in PLATFORM_ROLES:
                of_platform = access
        return of_platform

    def is_of_platform(self, at: datetime) -> bool:
        """Whether they may name any tenant."""
        return any(access.role in PLATFORM_ROLES and access.is_valid_at(at) for access in self.accesses)


@dataclass(frozen=True, slots=True)
class ImpersonationInForce:
    """Which caller may be somebody with another role in a tenant, with which credential, and until when."""

    id: str
    tenant_id: UUID
    caller_id: str
    credential_id: str
    role: Role
    expires_at: datetime

    def serves(self, caller: Caller, tenant_id: UUID, at: datetime) -> bool:
        """Whether it is this caller's, with this credential, in this tenant and now."""
        return (
            (self.caller_id, self.credential_id, self.tenant_id) == (caller.id, caller.credential_id, tenant_id)
            and at < self.expires_at
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller at work in one tenant."""

    caller: Caller
    role: Role
    tenant_id: UUID
    #: Whether the caller is one of the people of the platform, whatever they are in this tenant.
    of_platform: bool = False
    #: Whom the caller speaks for, where that is somebody else.
    on_behalf_of: str | None = field(default=None)
    #: Set while a founder has another role than their own.
    impersonation: ImpersonationInForce | None = None

    @property
    def actor(self) -> str:
        """How the log names this caller: by their own role, whatever they see with."""
        return f"{self.role if self.impersonation is None else 'founder'}:{self.caller.id}"

    @property
    def is_watched(self) -> bool:
        """Whether what they read of a client is written down for the client."""
        return self.role in WATCHED_ROLES or self.impersonation is not None


def permit(caller: Caller, access: Access, action: str, at: datetime) -> None:
    """Refuse what the table does not grant. Raises ``Forbidden`` and its kinds."""
    needed = grant_of(action, access.role)
    if needed is None:
        raise Forbidden(
            "Only the founder may do this." if set(ACTIONS[action].grants) <= PLATFORM_ROLES else None,
            action=action,
        )
    if caller.method != "api_key" and not caller.second_factor and caller.is_of_platform(at):
        raise SecondFactorMissing(action=action)
    if caller.scopes is not None and action not in actions_within(caller.scopes):
        raise OutOfScope(action=action)
    if "stepped_up" in needed and caller.method != "api_key":
        proved = caller.stepped_up_at
        if proved is None or (at - proved).total_seconds() > STEP_UP_S:
            raise StepUpNeeded(action=action)


class Authenticator:
    """Checks credentials on every request; what was looked up is believed for as long as nothing has changed."""

    def __init__(
        self,
        look_up_key: Callable[[str], Awaitable[Caller | None]],
        look_up_session: Callable[[str], Awaitable[Caller | None]],
        generation: Callable[[], Awaitable[int]],
        find_tenant: Callable[[str], Awaitable[UUID]],
        look_up_impersonation: Callable[[UUID, str], Awaitable[ImpersonationInForce | None]],
    ) -> None:
        """``look_up_…`` find who holds a key or a session, ``find_tenant`` a tenant by short name or id.

        ``generation`` is a number that moves whenever a key, a session, a user or a membership changes.
        """
        self._look_up_key = look_up_key
        self._look_up_session = look_up_session
        self._ask_generation = generation
        self._find_tenant = find_tenant
        self._look_up_impersonation = look_up_impersonation
        self._believed: dict[str, Caller] = {}
        #: What was good when it was last looked up, also when it has to be looked up anew.
        self._known: set[str] = set()
        self._impersonations: dict[tuple[UUID, str], ImpersonationInForce] = {}
        #: What machines were found to be allowed, by credential, action and the tenant they named.
        self._permitted: dict[tuple[str, str, str | None], Principal] = {}
        self._generation = -1
        self._believed_until = 0.0
        self._asking: asyncio.Task[None] | None = None
        self._tenants: dict[str, UUID] = {}
        self._used_at: dict[str, datetime] = {}

    async def caller(
        self, authorization: str | None, session: str | None = None, knock: Callable[[], None] = lambda: None
    ) -> Caller:
        """Who is behind an Authorization header, or without one behind the cookie of a session.

        ``knock`` is called before what was never good here is looked up, and may raise. Raises ``Unauthenticated``,
        without saying why.
        """
        if authorization is None and session is None:
            raise Unauthenticated()
        if time.monotonic() >= self._believed_until:
            await self._catch_up()
        presented = authorization if authorization is not None else f"session {session}"
        found, now = self._believed.get(presented), datetime.now(UTC)
        # One that seems to have run out may have been in use since, here or elsewhere.
        if found is None or not found.is_valid_at(now):
            if presented not in self._known:
                knock()
            found = await self._look_up(authorization, session, presented)
        if not found.is_valid_at(now):
            raise Unauthenticated()
        self._used_at[found.credential_id] = now
        return found

    async def _look_up(self, authorization: str | None, session: str | None, presented: str) -> Caller:
        generation = self._generation
        if authorization is not None:
            scheme, _, key = authorization.partition(" ")
            found = await self._look_up_key(key.strip()) if scheme.lower() == "bearer" else None
        else:
            found = await self._look_up_session(session or "")
        if found is None:
            self._known.discard(presented)
            raise Unauthenticated()
        if len(self._known) >= MAX_BELIEVED:
            self._known.clear()
        self._known.add(presented)
        if generation == self._generation:
            if len(self._believed) >= MAX_BELIEVED:
                self._believed.clear()
            self._believed[presented] = found
        return found

    def take_uses(self) -> dict[str, datetime]:
        """When each key and each session was last used since this was asked before."""
        taken, self._used_at = self._used_at, {}
        return taken

    def forget(self) -> None:
        """Ask anew at the next request, for example because this process has just ended a session."""
        self._believed_until = 0.0

    async def _catch_up(self) -> None:
        """Ask whether anything has changed; however many requests wait, one of them asks."""
        if self._asking is None:
            self._asking = asyncio.ensure_future(self._ask())
            self._asking.add_done_callback(lambda _: setattr(self, "_asking", None))
        await asyncio.shield(self._asking)

    async def _ask(self) -> None:
        asked_at = time.monotonic()
        generation = await self._ask_generation()
        if generation != self._generation:
            self._believed.clear()
            self._impersonations.clear()
            self._permitted.clear()
            self._generation = generation
        self._believed_until = asked_at + BELIEVED_FOR_S

    async def tenant_id(self, caller: Caller, named: str | None) -> UUID:
        """The tenant a caller is in, or names. Raises ``Invalid``, ``Forbidden`` and ``NotFound``.

        A tenant that a caller is no member of is one that does not exist.
        """
        now = datetime.now(UTC)
        if caller.is_of_platform(now):
            if not named or not named.isprintable():
                raise Invalid(
                    "A founder's request names the tenant it is about in the Felix-Tenant header.",
                    errors=[{"pointer": "Felix-Tenant", "rule": "required", "detail": "short name or id of a tenant"}],
                )
            return await self._any_tenant(named)
        mine = [access for access in caller.accesses if access.is_valid_at(now)]
        if not mine:
            raise Forbidden("You are a member of no client.")
        if not named and len(mine) == 1:
            return mine[0].tenant_id
        if not named:
            raise Invalid(
                "You are a member of several clients: name one in the Felix-Tenant header.",
                errors=[{"pointer": "Felix-Tenant", "rule": "required", "detail": "short name or id of a tenant"}],
            )
        for access in mine:
            if named in (access.slug, str(access.tenant_id)):
                return access.tenant_id
        raise NotFound(f"There is no tenant {named}.", id=named)

    async def _any_tenant(self, named: str) -> UUID:
        found = self._tenants.get(named)
        if found is None:
            found = await self._find_tenant(named)
            if len(self._tenants) >= MAX_BELIEVED:
                self._tenants.clear()
            self._tenants[named] = found
        return found

    async def principal(
        self, caller: Caller, action: str, named: str | None, impersonation: str | None = None
    ) -> Principal:
        """The caller at work on an action, if they may do it; with the id of an ``impersonation`` as somebody else.

        Raises ``Invalid``, ``NotFound``, ``Forbidden``, :class:`OutOfScope` and :class:`StepUpNeeded`; and with an
        impersonation :class:`NotImpersonating` and :class:`ReadOnlyImpersonation`.
        """
        asked = (caller.credential_id, action, named)
        permitted = self._permitted.get(asked) if impersonation is None else None
        if permitted is not None and permitted.caller is caller:
            return permitted
        now = datetime.now(UTC)
        of_platform = caller.is_of_platform(now)
        on_platform = ACTIONS[action].place == "platform"
        if on_platform and not of_platform:
            raise Forbidden("Only the founder may do this.", action=action)
        tenant_id = PLATFORM if on_platform else await self.tenant_id(caller, named)
        access = caller.in_tenant(tenant_id, now)
        if access is None:
            raise Forbidden("You are a member of no client.")
        if impersonation is not None:
            return await self._impersonating(caller, access, tenant_id, action, impersonation)
        permit(caller, access, action, now)
        found = Principal(caller, access.role, tenant_id, of_platform)
        # Whatever else is allowed, to people, may depend on the time: how long ago they proved who they are.
        if caller.method == "api_key" and all(each.expires_at is None for each in caller.accesses):
            if len(self._permitted) >= MAX_BELIEVED:
                self._permitted.clear()
            self._permitted[asked] = found
        return found

    async def _impersonating(
        self, caller: Caller, access: Access, tenant_id: UUID, action: str, impersonation: str
    ) -> Principal:
        """A founder who sees a client as one of its members does. Raises all that :meth:`principal` does."""
        if ACTIONS[action].writes:
            raise ReadOnlyImpersonation(action=action)
        if access.role != "founder" or not IMPERSONATION.fullmatch(impersonation):
            raise NotImpersonating()
        found = self._impersonations.get((tenant_id, impersonation))
        if found is None:
            generation = self._generation
            found = await self._look_up_impersonation(tenant_id, impersonation)
            if found is None:
                raise NotImpersonating()
            if generation == self._generation:
                if len(self._impersonations) >= MAX_BELIEVED:
                    self._impersonations.clear()
                self._impersonations[tenant_id, impersonation] = found
        now = datetime.now(UTC)
        if not found.serves(caller, tenant_id, now):
            raise NotImpersonating()
        permit(caller, Access(tenant_id, found.role), action, now)
        return Principal(caller, found.role, tenant_id, True, f"{found.role}:{found.id}", found)
