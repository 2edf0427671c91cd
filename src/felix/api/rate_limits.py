"""How many requests a second are taken: of one key or session, of one client, and of one address that nobody knows.

Each process counts its own, in memory, and admits its share of what the settings say: nothing outside is asked on the
way of a debit. Counting is by the generic cell rate algorithm (ITU-T I.371), one number a key: when what was taken so
far is paid back at the rate of the limit (docs/decisions/0018-rate-limits-count-in-memory.md).

An answer says what is left of the caller's own quota and of their client's, and of nobody else's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from ipaddress import IPv6Address, ip_address, ip_network
from itertools import islice
from math import ceil
from typing import Any, NamedTuple
from uuid import UUID

from felix.domain.errors import TooMuch

#: Keys that are remembered of each policy; when there are more, those who are owed nothing go, then the oldest half.
MAX_KEYS = 100_000
#: Providers give each customer at least so much of the address space.
IPV6_CUSTOMER_BITS = 64
#: Where a request keeps what its answer says of limits, and how much that is before its client is counted.
_SAID = "felix.rate_limit"
_SAID_OF_ONE = 2


class RateLimitExceeded(TooMuch):
    """More requests came than are taken; wait for as long as Retry-After says."""


class Taken(NamedTuple):
    """What is left of a quota after a request, and when there will be more. ``refused``: there was nothing left."""

    remaining: int
    wait_s: float
    refused: bool = False


class Policy:
    """A quota: so many requests in a window, for each key by itself."""

    def __init__(self, name: str, quota: int, window_s: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.name = name
        self.quota = quota
        self.window_s = window_s
        self.clock = clock
        #: As ``RateLimit`` says what is left, and when there will be more.
        self.says = f'"{name}";r=%d;t=%d'.encode()
        self._interval_s = window_s / quota
        #: By key: when all that was taken is paid back.
        self._even_at: dict[Hashable, float] = {}

    @property
    def item(self) -> str:
        """As ``RateLimit-Policy`` lists it (draft-ietf-httpapi-ratelimit-headers-11, section 3)."""
        return f'"{self.name}";q={self.quota};w={self.window_s}'

    def take(self, key: Hashable) -> Taken:
        """Take one request from the quota of a key; nothing is taken where nothing is left."""
        now = self.clock()
        ahead_s = max(0.0, self._even_at.get(key, now) - now)
        left = (self.window_s - ahead_s) / self._interval_s
        # A rounding error must not cost the last request of a quota.
        if left < 1 - 1e-6:
            return Taken(0, ahead_s + self._interval_s - self.window_s, refused=True)
        if len(self._even_at) >= MAX_KEYS and key not in self._even_at:
            self._make_room(now)
        self._even_at[key] = now + ahead_s + self._interval_s
        return Taken(int(left - 1 + 1e-6), self._interval_s)

    def is_used_up(self, key: Hashable) -> bool:
        """Whether :meth:`take` would refuse."""
        even_at = self._even_at.get(key)
        return even_at is not None and (self.window_s - even_at + self.clock()) / self._interval_s < 1 - 1e-6

    def _make_room(self, now: float) -> None:
        even_at = {key: at for key, at in self._even_at.items() if at > now}
        if len(even_at) > MAX_KEYS // 2:
            even_at = dict(islice(even_at.items(), MAX_KEYS // 2, None))
        self._even_at = even_at


class RateLimits:
    """The limits of this process. ``processes`` share what is allowed in all."""

    def __init__(
        self,
        *,
        reads_per_s: int,
        writes_per_s: int,
        client_times: int,
        strangers_per_minute: int,
        processes: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``client_times`` is how many times what one key may a whole client may."""

        def policy(name: str, quota: int, window_s: int = 1) -> Policy:
            return Policy(name, max(1, quota // processes), window_s, clock)

        self._of_actors = {True: policy("reads", reads_per_s), False: policy("writes", writes_per_s)}
        self._of_clients = {
            True: policy("client-reads", reads_per_s * client_times),
            False: policy("client-writes", writes_per_s * client_times),
        }
        self._strangers = policy("strangers", strangers_per_minute, 60)
        self._announced = {
            reads: (b"ratelimit-policy", f"{self._of_actors[reads].item}, {self._of_clients[reads].item}".encode())
            for reads in (True, False)
        }

    def take(self, scope: Any, credential_id: str) -> None:
        """Count a request of somebody known, once, and say in its answer what is left to them.

        Raises :class:`RateLimitExceeded`.
        """
        if _SAID not in scope:
            reads = scope["method"] == "GET"
            scope[_SAID] = [self._announced[reads]]
            _take(self._of_actors[reads], credential_id, scope[_SAID])

    def take_of_client(self, scope: Any, tenant_id: UUID) -> None:
        """Count the same request for the client that it is about, once. What one is refused takes nothing from here.

        Raises :class:`RateLimitExceeded`.
        """
        if len(said := scope[_SAID]) == _SAID_OF_ONE:
            _take(self._of_clients[scope["method"] == "GET"], tenant_id, said)

    def refuse_stranger(self, address: str) -> None:
        """Raise :class:`RateLimitExceeded` where an address has been wrong too often, before it is wrong again."""
        if self._strangers.is_used_up(neighbourhood(address)):
            self.take_stranger(address)

    def take_stranger(self, address: str) -> None:
        """Count a request of somebody unknown: a wrong credential, an attempt to sign in.

        Raises :class:`RateLimitExceeded`.
        """
        taken = self._strangers.take(neighbourhood(address))
        if taken.refused:
            raise exceeded(self._strangers, taken)


def _take(policy: Policy, key: Hashable, said: list[tuple[bytes, bytes]]) -> None:
    taken = policy.take(key)
    said.append((b"ratelimit", policy.says % (taken.remaining, ceil(taken.wait_s))))
    if taken.refused:
        raise exceeded(policy, taken)


def exceeded(policy: Policy, taken: Taken) -> RateLimitExceeded:
    """The refusal, with the name of the policy as the draft's problem type has it."""
    return RateLimitExceeded(**{"violated-policies": [policy.name]}, retry_after_s=max(1, ceil(taken.wait_s)))


def neighbourhood(address: str) -> str:
    """What one customer of a provider has: an IPv4 address, or a network of IPv6."""
    try:
        found = ip_address(address)
    except ValueError:
        return address
    return str(ip_network((found, IPV6_CUSTOMER_BITS), strict=False)) if isinstance(found, IPv6Address) else address
