"""Asks other systems over HTTP with limits on everything: time, size, and where they may lead us."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
import orjson

from felix.domain.errors import Invalid, Unavailable

CONNECT_TIMEOUT_S = 5.0
TIMEOUT_S = 15.0
MAX_ANSWER_BYTES = 1024 * 1024
MAX_REDIRECTS = 3


class NotReachable(Unavailable):
    """Another system does not answer, or not in time."""


class AnswerNotReadable(Unavailable):
    """Another system answers in a way that can't be used."""


class AddressNotSafe(Invalid):
    """Felix talks to other systems over HTTPS; plain HTTP goes to this machine only."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. Its text shows nothing of the body."""

    status: int
    headers: httpx.Headers = field(repr=False)
    body: bytes = field(repr=False)

    def document(self) -> dict[str, Any]:
        """The body as a JSON object. Raises :class:`AnswerNotReadable`."""
        value = self._json()
        if not isinstance(value, dict):
            raise AnswerNotReadable("Another system answers with something that is not a JSON object.")
        return value

    def documents(self) -> list[dict[str, Any]]:
        """The body as a list of JSON objects. Raises :class:`AnswerNotReadable`."""
        value = self._json()
        if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
            raise AnswerNotReadable("Another system answers with something that is not a list of JSON objects.")
        return value

    def _json(self) -> Any:
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError:
            raise AnswerNotReadable("Another system answers with something that is not JSON.") from None


def check_address(url: str) -> httpx.URL:
    """The address, if it may be asked. Raises :class:`AddressNotSafe`."""
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, UnicodeError, ValueError):
        raise AddressNotSafe("This is not an address.") from None
    if not parsed.host or parsed.userinfo or parsed.fragment:
        raise AddressNotSafe("An address has a host, and neither a user nor a fragment.")
    if parsed.scheme != "https" and not (parsed.scheme == "http" and _is_here(parsed.host)):
        raise AddressNotSafe(host=parsed.host)
    return parsed


def _is_here(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Outbound:
    """Asks one system. Safe from any thread; keeps connections until it is closed."""

    def __init__(self, whom: str, *, timeout_s: float = TIMEOUT_S, max_answer_bytes: int = MAX_ANSWER_BYTES) -> None:
        """``whom`` is what errors call the system."""
        self._whom = whom
        self._timeout_s = timeout_s
        self._max_answer_bytes = max_answer_bytes
        self._client = httpx.Client(
            follow_redirects=False, timeout=httpx.Timeout(timeout_s, connect=min(CONNECT_TIMEOUT_S, timeout_s))
        )

    def ask(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        json: Any = None,
        form: Mapping[str, str] | None = None,
        redirects: int = 0,
    ) -> Answer:
        """Ask, and get an answer of whatever status.

        A reading request follows as many ``redirects`` as it is told, on the same scheme, host and port; all others
        are errors. Raises :class:`NotReachable`, :class:`AnswerNotReadable` and :class:`AddressNotSafe`.
        """
        address = check_address(url)
        deadline = time.monotonic() + self._timeout_s
        for _ in range(redirects + 1):
            content = None if json is None else orjson.dumps(json)
            sent = dict(headers or {}) | ({} if content is None else {"Content-Type": "application/json"})
            answer = self._once(method, address, sent, content, form, deadline)
            if not 300 <= answer.status < 400 or answer.status == 304:
                return answer
            address = self._follow(method, address, answer)
        raise AnswerNotReadable(f"{self._whom} leads from one address to the next.")

    def _once(
        self,
        method: str,
        address: httpx.URL,
        headers: Mapping[str, str],
        content: bytes | None,
        form: Mapping[str, str] | None,
        deadline: float,
    ) -> Answer:
        try:
            with self._client.stream(method, address, headers=headers, content=content, data=form) as response:
                body = bytearray()
                for chunk in response.iter_bytes(16 * 1024):
                    body += chunk
                    if len(body) > self._max_answer_bytes:
                        raise AnswerNotReadable(f"{self._whom} answers with more than can be meant.")
                    if time.monotonic() > deadline:
                        raise NotReachable(f"{self._whom} does not answer in time.")
                return Answer(response.status_code, response.headers, bytes(body))
        except httpx.TimeoutException:
            raise NotReachable(f"{self._whom} does not answer in time.") from None
        except httpx.DecodingError:
            raise AnswerNotReadable(f"{self._whom} answers with something that can't be unpacked.") from None
        except httpx.HTTPError as error:
            # Its text can repeat the address with what is secret in it; the kind says enough.
            raise NotReachable(f"{self._whom} can't be reached: {type(error).__name__}.") from None

    def _follow(self, method: str, address: httpx.URL, answer: Answer) -> httpx.URL:
        try:
            target = address.join(answer.headers.get("location", ""))
        except (httpx.InvalidURL, UnicodeError, ValueError):
            raise AnswerNotReadable(f"{self._whom} leads nowhere.") from None
        same = (target.scheme, target.host, target.port) == (address.scheme, address.host, address.port)
        if method != "GET" or not same or target == address:
            raise AnswerNotReadable(f"{self._whom} leads elsewhere, which is not followed.", status=answer.status)
        return target

    def close(self) -> None:
        """Give the connections back."""
        self._client.close()
