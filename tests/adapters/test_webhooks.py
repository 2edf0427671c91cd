"""Calls of webhooks go to whom they are for, once, and never into this machine's own network."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from local_server import Asked, LocalServer, Told

from felix.adapters import safe_addresses
from felix.adapters.outbound import AddressNotSafe, NotReachable
from felix.adapters.webhooks import WebhookNotTaken, WebhookRefused, Webhooks


class Hook(LocalServer):
    """Another system, which answers with a status."""

    status = 200

    def answer(self, asked: Asked) -> Told:
        return Told(self.status, b"")


@pytest.fixture
def hook() -> Iterator[Hook]:
    server = Hook()
    with server.running():
        yield server


def call(hook: Hook, **options: float) -> None:
    Webhooks(private=True, **options).call(f"{hook.url}/in?x=1", b'{"a":1}', {"Idempotency-Key": "k"})


def test_a_call_brings_the_body_and_the_key(hook: Hook) -> None:
    call(hook)
    (asked,) = hook.asked
    assert (asked.method, asked.path, asked.query, asked.body) == ("POST", "/in", {"x": "1"}, b'{"a":1}')
    assert asked.headers["idempotency-key"] == "k" and asked.headers["content-type"] == "application/json"
    assert asked.headers["host"] == hook.url.removeprefix("http://")


@pytest.mark.parametrize("status", [408, 425, 429, 500, 503])
def test_who_is_busy_is_called_again(hook: Hook, status: int) -> None:
    hook.status = status
    with pytest.raises(WebhookNotTaken):
        call(hook)


@pytest.mark.parametrize("status", [301, 307, 400, 404, 410])
def test_who_refuses_or_leads_elsewhere_is_not(hook: Hook, status: int) -> None:
    hook.status = status
    with pytest.raises(WebhookRefused):
        call(hook)
    assert len(hook.asked) == 1


def test_who_hangs_or_hangs_up_is_not_waited_for(hook: Hook) -> None:
    hook.faults += [hook.hangs, hook.hangs_up]
    for _ in range(2):
        with pytest.raises(NotReachable):
            call(hook, timeout_s=0.3)


def test_what_is_answered_is_not_read_to_its_end(hook: Hook) -> None:
    hook.faults.append(lambda _: Told(200, b"x" * 100_000))
    call(hook)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/", "ftp://example.com/", "https://user:secret@example.com/", "https://127.0.0.1/",
        "https://localhost/", "https://[::1]/", "https://169.254.169.254/latest", "https://10.0.0.1/",
        "https://[::ffff:127.0.0.1]/", "https://0x7f000001/", "https://2130706433/", "not an address",
    ],
)  # fmt: skip
def test_nothing_is_called_in_this_machines_own_network(url: str) -> None:
    with pytest.raises(AddressNotSafe):
        Webhooks().call(url, b"{}", {})


def test_a_name_that_leads_into_the_network_is_found(hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    """The resolver of somebody else may answer with anything."""
    here = [(2, 1, 6, "", ("93.184.216.34", 443)), (2, 1, 6, "", ("10.0.0.7", 443))]
    monkeypatch.setattr(safe_addresses.socket, "getaddrinfo", lambda *_, **__: here)
    with pytest.raises(AddressNotSafe):
        Webhooks().call("https://rebound.example/", b"{}", {})
