"""Guessing is slowed, per account and per address, in all processes; its victims still come in."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from itertools import count
from typing import Any

import pytest
import time_machine
from felix_world import World
from people_signing_in import CHEAP, PASSWORD, Browser, Person, somebody, unlimited
from starlette.requests import Request

from felix.adapters.passwords import Argon2Passwords
from felix.api.addresses import NotANetwork, client_address, read_networks
from felix.api.attempts import FREE_OF_ACCOUNT, FREE_OF_ADDRESS
from felix.eventstore.sign_in_book import MAX_WAIT, wait_after

PROXY = "192.0.2.9"
_addresses = count(1)


@pytest.fixture(scope="module", autouse=True)
def patient(world: World) -> Iterator[None]:
    """A Felix behind a proxy that is trusted, which hashes quickly and counts no strangers in memory."""
    services = world.app.state.services
    services.trusted_proxies = read_networks("10.0.0.0/8")
    unlimited(world)
    services.passwords = Argon2Passwords(**CHEAP)
    world.client._transport.client = ("10.1.2.3", 1)  # type: ignore[attr-defined]
    yield
    services.passwords.close()


@pytest.fixture(autouse=True)
def address(monkeypatch: pytest.MonkeyPatch) -> str:
    """An address of its own for every test, which the proxy names."""
    mine = f"203.0.113.{next(_addresses)}"
    monkeypatch.setattr(Browser, "address", mine)
    return mine


def guess(browser: Browser, email: str, password: str = "wrong", **headers: str) -> Any:
    """Try to sign in."""
    return browser.post("/v1/sign-in", {"email": email, "password": password}, **headers)


def wear_out(world: World, email: str) -> Any:
    """Be wrong until somebody says wait; the last answer."""
    for tries in range(FREE_OF_ACCOUNT + 1):
        answered = guess(Browser(world), email)
        if answered.status_code == 429:
            assert tries == FREE_OF_ACCOUNT
            return answered
        assert answered.status_code == 401
    raise AssertionError("nobody said wait")


def test_an_account_that_is_there_and_one_that_is_not_are_slowed_alike(world: World) -> None:
    known, unknown = (wear_out(world, email) for email in (somebody(world).email, "nobody-at-all@example.com"))
    assert known.json()["code"] == "too_many_attempts"
    assert known.headers["retry-after"] == unknown.headers["retry-after"] == "1"
    assert known.content == unknown.content


def test_the_wait_doubles_and_ends(world: World) -> None:
    email, waits = somebody(world).email, []
    wear_out(world, email)
    now = datetime.now(UTC)
    for _ in range(12):
        with time_machine.travel(now, tick=False):
            told = guess(Browser(world), email)
            waits.append(int(told.headers["retry-after"]))
        now += timedelta(seconds=waits[-1] + 1)
        with time_machine.travel(now, tick=False):
            assert guess(Browser(world), email).status_code == 401
    assert waits[:6] == [1, 2, 4, 8, 16, 32]
    assert max(waits) == MAX_WAIT.total_seconds()


def test_who_keeps_knocking_makes_nobody_wait_for_longer(world: World) -> None:
    person = somebody(world)
    wear_out(world, person.email)
    now = datetime.now(UTC)
    with time_machine.travel(now, tick=False):
        assert {guess(Browser(world), person.email).status_code for _ in range(10)} == {429}
    with time_machine.travel(now + timedelta(seconds=3), tick=False):
        assert guess(Browser(world), person.email, PASSWORD).status_code == 200


def test_signing_in_wipes_the_slate(world: World) -> None:
    person = somebody(world)
    for _ in range(3):
        for _ in range(FREE_OF_ACCOUNT - 1):
            assert guess(Browser(world), person.email).status_code == 401
        person.browser()


def test_of_many_at_once_no_more_are_tried_than_one_after_the_other(world: World) -> None:
    email = somebody(world).email
    with ThreadPoolExecutor(8) as threads:
        codes = [each.status_code for each in threads.map(lambda _: guess(Browser(world), email), range(24))]
    assert codes.count(401) == FREE_OF_ACCOUNT
    assert set(codes) == {401, 429}


def test_an_owner_comes_in_while_somebody_else_guesses(world: World) -> None:
    person = somebody(world)
    browser = person.browser()
    browser.done("/v1/sign-out")
    wear_out(world, person.email)
    stranger = guess(Browser(world), person.email, PASSWORD)
    assert stranger.status_code == 429
    # The browser that has signed in before has a count of its own.
    assert guess(browser, person.email, PASSWORD).status_code == 200
    # Where there is none, a link by mail is asked for no password.
    assert Browser(world).post("/v1/magic-links/redeem", {"token": person.link("magic_link")}).status_code == 200


def test_a_browser_that_is_known_of_one_account_is_a_stranger_to_another(world: World) -> None:
    known, victim = somebody(world).browser(), somebody(world)
    wear_out(world, victim.email)
    assert guess(known, victim.email, PASSWORD).status_code == 429


@pytest.mark.parametrize("cookie", ["", "x", "A" * 300, "%E9", "AAAA", "=" * 40])
def test_a_device_that_nobody_knows_is_a_stranger(cookie: str, world: World) -> None:
    person = somebody(world)
    wear_out(world, person.email)
    forged = Browser(world, {"__Host-felix_device": cookie})
    assert guess(forged, person.email, PASSWORD).status_code == 429


def test_a_known_browser_is_slowed_too(world: World) -> None:
    person = somebody(world)
    browser = person.browser()
    codes = [guess(browser, person.email).status_code for _ in range(FREE_OF_ACCOUNT + 1)]
    assert codes == [401] * FREE_OF_ACCOUNT + [429]


def test_an_address_that_guesses_at_many_accounts_is_slowed(world: World) -> None:
    def from_address(address: str, email: str, password: str = "wrong") -> int:
        return int(guess(Browser(world), email, password, X_Forwarded_For=address).status_code)

    codes = [from_address("198.51.100.7", f"nobody-{n}@example.com") for n in range(FREE_OF_ADDRESS + 1)]
    assert codes == [401] * FREE_OF_ADDRESS + [429]
    person = somebody(world)
    assert from_address("198.51.100.7", person.email, PASSWORD) == 429
    # Another address is somebody else, and what somebody writes in front of the proxy's own word counts for nothing.
    assert from_address("198.51.100.7, 198.51.100.8", person.email, PASSWORD) == 200


def test_a_second_factor_is_guessed_as_slowly_as_a_password(world: World) -> None:
    person: Person = somebody(world)
    browser = person.browser()
    browser.done("/v1/step-up", {"password": PASSWORD})
    person.enrol(browser)
    token = person.link("magic_link")
    codes = [
        Browser(world).post("/v1/magic-links/redeem", {"token": token, "totp": "000000"}).status_code
        for _ in range(FREE_OF_ACCOUNT + 1)
    ]
    assert codes == [401] * FREE_OF_ACCOUNT + [429]


def test_waits_double_up_to_a_quarter_of_an_hour() -> None:
    assert [wait_after(n).total_seconds() for n in (0, 1, 2, 9, 10, 10**6)] == [1, 2, 4, 512, 900, 900]


def _request(peer: str | None, *forwarded: str) -> Request:
    headers = [(b"x-forwarded-for", value.encode("latin-1")) for value in forwarded]
    return Request({"type": "http", "headers": headers, "client": None if peer is None else (peer, 1)})


@pytest.mark.parametrize(
    ("peer", "forwarded", "found"),
    [
        ("203.0.113.1", ["198.51.100.1"], "203.0.113.1"),
        (PROXY, [], PROXY),
        (PROXY, ["203.0.113.1"], "203.0.113.1"),
        (PROXY, ["1.2.3.4, 203.0.113.1"], "203.0.113.1"),
        (PROXY, ["1.2.3.4", "203.0.113.1"], "203.0.113.1"),
        (PROXY, ["203.0.113.1, 192.0.2.8"], "203.0.113.1"),
        (PROXY, ["nonsense, 203.0.113.1"], "203.0.113.1"),
        (PROXY, ["203.0.113.1, nonsense"], PROXY),
        (PROXY, ["192.0.2.8, 192.0.2.7"], "192.0.2.8"),
        (PROXY, ["2001:db8::1"], "2001:db8::1"),
        (f"::ffff:{PROXY}", ["203.0.113.1"], "203.0.113.1"),
        (None, ["203.0.113.1"], ""),
        ("a socket", ["203.0.113.1"], "a socket"),
    ],
)
def test_an_address_is_believed_from_whom_it_can_be(peer: str | None, forwarded: list[str], found: str) -> None:
    trusted = read_networks("192.0.2.0/28, 2001:db8:1::/48")
    assert client_address(_request(peer, *forwarded), trusted) == found


def test_networks_are_read_and_nonsense_is_named() -> None:
    assert read_networks(" ") == ()
    assert read_networks("10.0.0.7,192.168.0.0/24") == (ip_network("10.0.0.7/32"), ip_network("192.168.0.0/24"))
    with pytest.raises(NotANetwork):
        read_networks("10.0.0.0/8, proxy.example.com")
