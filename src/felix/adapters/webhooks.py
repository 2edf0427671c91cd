"""Tells other systems that something has happened: one POST to an address that a client gave.

The name is looked up once, and the connection goes to an address that was checked, so a name that leads into this
machine's network leads nowhere. Nothing that comes back is kept but its status, and nothing is followed.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

import httpx

from felix.adapters.outbound import NotReachable, check_address
from felix.adapters.safe_addresses import safe_addresses
from felix.domain.errors import Refused, Unavailable

TIMEOUT_S = 10.0
#: What is read of an answer before the connection is closed: enough to be polite.
MAX_ANSWER_BYTES = 64 * 1024
#: Answers after which the same may be taken later (RFC 9110; RFC 6585 and 8470 for two of them).
_LATER = frozenset({408, 425, 429})


class WebhookRefused(Refused):
    """The other system does not take this, and will not take it later."""


class WebhookNotTaken(Unavailable):
    """The other system asks to come back later."""


class Webhooks:
    """Safe from any thread; keeps no connection."""

    def __init__(self, *, private: bool = False, timeout_s: float = TIMEOUT_S) -> None:
        """``private`` allows addresses of this machine and its network."""
        self._private = private
        self._timeout_s = timeout_s

    def call(self, url: str, body: bytes, headers: Mapping[str, str]) -> None:
        """POST a JSON document.

        Raises :class:`WebhookRefused` and ``AddressNotSafe`` for good, :class:`WebhookNotTaken` and ``NotReachable``.
        """
        address = check_address(url)
        port = address.port or (443 if address.scheme == "https" else 80)
        found = safe_addresses(address.host, port, private=self._private)[0]
        sent = {
            **headers,
            "Host": address.netloc.decode(),
            "Content-Type": "application/json",
            "User-Agent": "Felix",
            "Accept-Encoding": "identity",
        }
        deadline = time.monotonic() + self._timeout_s
        try:
            with (
                httpx.Client(follow_redirects=False, timeout=self._timeout_s, trust_env=False) as client,
                client.stream(
                    "POST",
                    address.copy_with(host=found),
                    content=body,
                    headers=sent,
                    extensions={"sni_hostname": address.host},
                ) as answer,
            ):
                read = 0
                for chunk in answer.iter_raw(16 * 1024):
                    read += len(chunk)
                    if read > MAX_ANSWER_BYTES or time.monotonic() > deadline:
                        break
                status = answer.status_code
        except httpx.HTTPError as error:
            raise NotReachable(f"The webhook can't be reached: {type(error).__name__}.") from None
        if status in _LATER or status >= 500:
            raise WebhookNotTaken(status=status)
        if not 200 <= status < 300:
            raise WebhookRefused(status=status)
