"""Guessing is slowed: whoever was wrong some times waits, longer each time, and never more than a quarter of an hour.

Attempts count against the account and against the address that they come from, in the database, so all processes count
alike, and against addresses that nobody has as well as against those of users. What somebody else does to an account
must not keep its owner out: a browser that has signed in before has a count of its own, and a link by mail asks for no
password (OWASP ASVS 5.0, 6.3.1).
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from math import ceil

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from felix.api.http import address_of, services
from felix.api.problems import TooManyAttempts
from felix.api.rate_limits import neighbourhood
from felix.eventstore.sealing import RootKeys, SealBroken
from felix.eventstore.sign_in_book import Tried

#: Failures in a row that cost no wait: of an account, and of an address, which a whole office may share.
FREE_OF_ACCOUNT, FREE_OF_ADDRESS = 5, 30
DEVICE_COOKIE = "__Host-felix_device"
DEVICE_LASTS = timedelta(days=180)
_MAX_COOKIE = 400


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt that is under way. It counts as failed until :meth:`succeeded`."""

    request: Request
    own: bytes
    shared: Sequence[bytes]

    async def succeeded(self) -> None:
        """It was right: what was wrong before is forgotten, but not what else came from the same address."""
        book = services(self.request).sign_in_book
        await run_in_threadpool(book.succeeded, self.own, self.shared)


async def attempt(request: Request, what: str, whom: str | bytes, *, free: int = FREE_OF_ACCOUNT) -> Attempt:
    """Count an attempt before it is made. Raises ``RateLimitExceeded`` and :class:`TooManyAttempts`.

    ``what`` is attempted against ``whom``: those of different kinds do not add up.
    """
    services(request).rate_limits.take_stranger(address_of(request))
    keys, now = services(request).root_keys(), datetime.now(UTC)
    own = keys.index(f"attempts:{what}", whom if isinstance(whom, str) else whom.hex())
    address = keys.index(f"attempts:{what}:address", neighbourhood(address_of(request)))
    tried = (Tried(own, free), Tried(address, FREE_OF_ADDRESS))
    wait_s = await run_in_threadpool(services(request).sign_in_book.attempt, tried, now)
    if wait_s > 0:
        raise TooManyAttempts(retry_after_s=ceil(wait_s))
    return Attempt(request, own, (address,))


def known_device(request: Request, root_keys: RootKeys, email_index: bytes) -> bytes | None:
    """A browser that has signed in to this account before, by a hash; None for any other."""
    given = request.cookies.get(DEVICE_COOKIE, "")
    if not given or len(given) > _MAX_COOKIE:
        return None
    try:
        if root_keys.unseal(base64.urlsafe_b64decode(given), "device") != email_index:
            return None
    except (SealBroken, ValueError):
        return None
    return sha256(given.encode()).digest()


def remember_device(response: Response, root_keys: RootKeys, email_index: bytes) -> None:
    """Let a browser show next time that it has signed in to this account before. The cookie opens nothing."""
    sealed = base64.urlsafe_b64encode(root_keys.seal(email_index, "device")).decode()
    response.set_cookie(
        DEVICE_COOKIE,
        sealed,
        max_age=int(DEVICE_LASTS.total_seconds()),
        path="/",
        secure=True,
        httponly=True,
        samesite="strict",
    )
