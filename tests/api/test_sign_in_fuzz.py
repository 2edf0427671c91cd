"""Whatever is presented as a token, a cookie, a code or a body: 4xx, and never a defect of Felix."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from felix_world import World
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from people_signing_in import CHEAP, PASSWORD, Browser, Person, somebody, unlimited

from felix.adapters.passwords import Argon2Passwords

#: Five doors; the deep profile tries 20,000 inputs at them, the short one some hundreds.
EXAMPLES = 4_000 if os.environ.get("FELIX_TEST_PROFILE") == "deep" else 60
often = settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck), deadline=None)


class _Unlimited:
    """A book that lets everybody try and counts nothing."""

    def __init__(self, book: Any) -> None:
        self._book = book

    def attempt(self, *_: Any) -> float:
        """Go on."""
        return 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._book, name)


@pytest.fixture(scope="module", autouse=True)
def patient(world: World) -> Iterator[None]:
    """A Felix that hashes quickly and lets everybody try."""
    unlimited(world)
    services = world.app.state.services
    before = services.sign_in_book
    services.sign_in_book = _Unlimited(before)
    services.passwords = Argon2Passwords(**CHEAP)
    yield
    services.sign_in_book = before


@pytest.fixture(scope="module")
def person(world: World) -> Person:
    """Somebody with a password and an app, and links that nobody guesses."""
    made = somebody(world)
    browser = made.browser()
    browser.done("/v1/step-up", {"password": PASSWORD})
    made.enrol(browser)
    made.link("magic_link")
    made.link("password_reset")
    return made


TEXT = st.text(max_size=60)
#: Bytes that may stand in a header, and what looks like the real thing.
COOKIES = st.one_of(
    st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters=';,"'), max_size=300),
    st.from_regex(r"[A-Za-z0-9_-]{43}", fullmatch=True),
    st.from_regex(r"[A-Za-z0-9_=-]{40,400}", fullmatch=True),
)
CODES = st.one_of(
    TEXT, st.from_regex(r"[0-9]{6}", fullmatch=True), st.from_regex(r"[٠-٩]{6}", fullmatch=True),
    st.from_regex(r"([0-9a-z]{4}-){3}[0-9a-z]{4}", fullmatch=True),
)  # fmt: skip
TOKENS = st.one_of(TEXT, COOKIES, st.from_regex(r"[A-Za-z0-9_-]{43}", fullmatch=True))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


def anything(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Mostly what is meant, at times something else."""
    return st.one_of(strategy, strategy, strategy, JSON)


def expect(answered: Any, *codes: int) -> None:
    """One of these, as a problem that repeats no secret."""
    assert answered.status_code in codes, (answered.status_code, answered.text)
    if answered.status_code >= 400:
        assert answered.headers["content-type"] == "application/problem+json"


@often
@given(cookie=COOKIES, device=COOKIES)
def test_a_cookie_that_nobody_was_given_is_nobodys(cookie: str, device: str, world: World) -> None:
    browser = Browser(world, {"__Host-felix_session": cookie, "__Host-felix_device": device})
    expect(browser.get("/v1/sessions"), 401)
    expect(browser.post("/v1/sign-in", {"email": "a@example.com", "password": "x"}), 401)


@often
@given(
    body=st.fixed_dictionaries({"totp": anything(CODES)}) | st.fixed_dictionaries({"recovery_code": anything(CODES)})
)
def test_a_code_that_is_none_lets_nobody_in(body: dict[str, Any], world: World, person: Person) -> None:
    asked = {"email": person.email, "password": PASSWORD, **body}
    expect(_post(world, "/v1/sign-in", asked), 401, 422)


@often
@given(body=st.fixed_dictionaries({"token": anything(TOKENS)}, optional={"totp": anything(CODES), "password": JSON}))
def test_a_link_that_nobody_was_sent_opens_nothing(body: dict[str, Any], world: World, person: Person) -> None:
    expect(_post(world, "/v1/magic-links/redeem", {k: v for k, v in body.items() if k != "password"}), 401, 422)
    expect(_post(world, "/v1/password-resets/redeem", body), 401, 422)


@often
@given(
    body=st.one_of(
        JSON, st.fixed_dictionaries({"email": anything(TEXT), "password": anything(TEXT)}, optional={"totp": JSON})
    )
)
def test_a_body_that_is_none_is_told_so(body: Any, world: World) -> None:
    for path in ("/v1/sign-in", "/v1/magic-links"):
        expect(_post(world, path, body), 202, 401, 422)


@often
@given(enrolment=anything(TOKENS), totp=anything(CODES), raw=st.binary(max_size=80))
def test_an_enrolment_that_was_not_begun_is_none(
    enrolment: Any, totp: Any, raw: bytes, world: World, enrolling: Callable[[], Browser]
) -> None:
    browser = enrolling()
    expect(_post(world, "/v1/me/totp/confirm", {"enrolment": enrolment, "totp": totp}, browser), 401, 422)
    expect(browser.post("/v1/step-up", raw, Content_Type="application/json"), 401, 422)


@pytest.fixture(scope="module")
def enrolling(world: World) -> Callable[[], Browser]:
    """Somebody who has just proved who they are."""
    browser = somebody(world).browser()
    browser.done("/v1/step-up", {"password": PASSWORD})
    return browser.copy


def _post(world: World, path: str, body: Any, browser: Browser | None = None) -> Any:
    sent = json.dumps(body).encode("utf-8", "surrogatepass")
    return (browser or Browser(world)).post(path, sent, Content_Type="application/json")
