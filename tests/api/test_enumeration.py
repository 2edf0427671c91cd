"""Nothing tells whether an address has an account: not the answer, and not how long it takes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from statistics import quantiles
from typing import Any

import pytest
from felix_world import World
from people_signing_in import Browser, somebody, unlimited

from felix.adapters.passwords import Argon2Passwords

#: A hash of some milliseconds: short enough for hundreds of tries, and far above what a round trip varies by.
COST = {"time_cost": 2, "memory_cost_kib": 8192}
DEEP = os.environ.get("FELIX_TEST_PROFILE") == "deep"
#: Of each kind; the deep profile makes 500 in all.
TRIES = 250 if DEEP else 60
#: An attacker has a watch. Where other tests run beside this one, the work that this process does is what tells.
CLOCK = time.perf_counter if DEEP else time.process_time
#: What they may differ by, in parts of what a hash takes: without a hash for nobody they differ by a whole one.
NOISE = 0.25


class WithoutAHashForNobody(Argon2Passwords):
    """What everybody writes first: where there is no hash, there is nothing to compare."""

    async def matches(self, password: str, password_hash: str | None) -> tuple[bool, str | None]:
        """Say no at once."""
        if password_hash is None:
            return False, None
        return await super().matches(password, password_hash)


@pytest.fixture(scope="module", autouse=True)
def quick(world: World) -> Iterator[None]:
    """A Felix whose hashes are of a known cost, and which lets one address try often."""
    unlimited(world)
    services = world.app.state.services
    before = services.sign_in_book
    services.sign_in_book = _Unlimited(before)
    services.passwords = Argon2Passwords(**COST)
    yield
    services.sign_in_book = before


class _Unlimited:
    """A book that lets everybody try."""

    def __init__(self, book: Any) -> None:
        self._book = book

    def attempt(self, tried: Any, at: Any) -> float:
        """Count, and let them try all the same: the work is the same for all."""
        self._book.attempt(tried, at)
        return 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._book, name)


def _difference(world: World, passwords: Argon2Passwords) -> float:
    """How far known and unknown addresses are apart, in parts of what a hash takes."""
    world.app.state.services.passwords = passwords
    known = somebody(world, hasher=passwords).email
    browser = Browser(world)
    took: dict[bool, list[float]] = {True: [], False: []}
    for number in range(TRIES):
        # In turns, so that whatever else the machine does meets both alike.
        for there in (True, False):
            email = known if there else f"nobody-{number}@example.com"
            took[there].append(_seconds(lambda email=email: browser.post("/v1/sign-in", _asked(email))))  # type: ignore[misc]
    hash_s = _quick([_seconds(lambda: passwords._hasher.hash("a password")) for _ in range(30)])
    return abs(_quick(took[True]) - _quick(took[False])) / hash_s


def _quick(took: list[float]) -> float:
    """What a quarter is quicker than: whatever else goes on only ever adds."""
    return quantiles(took, n=4)[0]


def _asked(email: str) -> dict[str, str]:
    return {"email": email, "password": "wrong, all of them"}


def _seconds(work: Callable[[], Any]) -> float:
    began = CLOCK()
    work()
    return CLOCK() - began


def test_an_unknown_address_takes_as_long_as_a_known_one(world: World) -> None:
    assert _difference(world, Argon2Passwords(**COST)) < NOISE


def test_the_test_finds_one_that_does_not(world: World) -> None:
    assert _difference(world, WithoutAHashForNobody(**COST)) > 3 * NOISE


BODIES: list[tuple[str, dict[str, str]]] = [
    ("/v1/sign-in", {"password": "wrong, all of them"}),
    ("/v1/sign-in", {"password": "wrong, all of them", "totp": "123456"}),
    ("/v1/sign-in", {"password": "wrong, all of them", "recovery_code": "7k3m-9fxt-2qpa-v8hd"}),
    ("/v1/magic-links", {}),
    ("/v1/password-resets", {}),
]


@pytest.mark.parametrize(("path", "body"), BODIES, ids=[f"{path} {sorted(body)}" for path, body in BODIES])
@pytest.mark.parametrize("who", ["member", "founder", "without a password", "with an app"])
def test_the_answer_is_the_same_to_the_byte(path: str, body: dict[str, str], who: str, world: World) -> None:
    person = somebody(
        world, "founder" if who == "founder" else "client_member", password=None if who == "without a password" else "x"
    )
    if who == "with an app":
        person = somebody(world, hasher=world.app.state.services.passwords)
        browser = person.browser()
        browser.done("/v1/step-up", {"password": person.password})
        person.enrol(browser)
    known, unknown = (
        Browser(world).post(path, body | {"email": email}) for email in (person.email, "nobody@example.com")
    )
    assert known.status_code == unknown.status_code in (202, 401)
    assert known.content == unknown.content
    assert _headers(known) == _headers(unknown)


def _headers(answered: Any) -> list[tuple[str, str]]:
    return [(name, value) for name, value in answered.headers.multi_items() if name not in ("felix-request-id", "date")]


def test_what_is_kept_for_later_is_the_same_as_well(world: World) -> None:
    """The job that finds out whose address it is looks alike in the table: founders see that somebody asked."""
    before = _jobs(world)
    for email in (somebody(world).email, "nobody-at-all@example.com"):
        assert Browser(world).post("/v1/magic-links", {"email": email}).status_code == 202
    known, unknown = (job for job in _jobs(world) if job not in before)
    for name in known.keys() - {"job_id", "due_at", "created_at", "payload"}:
        assert known[name] == unknown[name], name
    assert "@" not in str(known["payload"]) and known["payload"].keys() == unknown["payload"].keys()


def _jobs(world: World) -> list[dict[str, Any]]:
    listed = world.founder.get("/v1/jobs?kind=sign_in.mail_link", **{"Felix-Tenant": ""})
    assert listed.status_code == 200, listed.text
    return list(listed.json()["data"])
