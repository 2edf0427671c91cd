"""Signing in with an OpenID provider, from the first click to the session, and everything that must not work."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from fake_oidc import CLIENT_ID, CLIENT_SECRET, FakeOidc, running_oidc
from felix_world import World
from hypothesis import given, settings
from hypothesis import strategies as st
from invited import invite
from people_signing_in import Browser, Person, somebody

from felix import bootstrap
from felix.adapters.oidc import OidcProvider
from felix.api import oidc
from felix.domain.identity.roles import PLATFORM
from felix.settings import Settings

COOKIE = "__Host-felix_oidc"


@pytest.fixture(scope="module")
def provider(world: World) -> Iterator[FakeOidc]:
    """A provider that this Felix is a client of."""
    with running_oidc() as made:
        felix = OidcProvider(made.issuer, CLIENT_ID, CLIENT_SECRET, made.redirect_uri)
        world.app.state.services.sign_in_provider = felix
        yield made
        world.app.state.services.sign_in_provider = None
        felix.close()


@pytest.fixture
def ada(world: World, provider: FakeOidc) -> Person:
    """A member of a client whom the provider knows under her address."""
    return at_provider(provider, somebody(world))


def at_provider(provider: FakeOidc, person: Person, **more: Any) -> Person:
    provider.person = {"sub": f"sub-{person.user_id}", "email": person.email, "email_verified": True, **more}
    return person


def start(browser: Browser, provider: FakeOidc, **asked: str) -> dict[str, str]:
    """Go to the provider and come back with what it says."""
    return provider.visit(browser.done("/v1/oidc/start", asked)["authorization_url"])


def finish(browser: Browser, came_back: dict[str, Any]) -> Any:
    browser.headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    answered = browser.get(f"/v1/oidc/callback?{urlencode(came_back, doseq=True)}")
    browser.headers = {"Sec-Fetch-Site": "same-origin"}
    return answered


def test_who_has_an_account_signs_in_and_is_bound(world: World, provider: FakeOidc, ada: Person) -> None:
    browser = Browser(world)
    answered = finish(browser, start(browser, provider))
    assert answered.status_code == 200, answered.text
    assert (answered.json()["user_id"], answered.json()["method"]) == (ada.user_id, "oidc")
    assert COOKIE not in browser.cookies and browser.token
    assert browser.get("/v1/me").status_code == 200
    with bootstrap.connect_owner(world.endpoints) as owner:
        (bound,) = owner.execute(
            "select convert_from(state, 'UTF8')::json from felix.events where type = 'identity.identity_bound'"
            " and convert_from(state, 'UTF8') like %s",
            (f"%{ada.user_id}%",),
        ).fetchall()
        assert (bound[0]["user_id"], bound[0]["issuer"]) == (ada.user_id, provider.issuer)
    again = Browser(world)
    assert finish(again, start(again, provider)).json()["user_id"] == ada.user_id


def test_the_cookie_is_the_browsers_alone_and_short_lived(world: World, provider: FakeOidc) -> None:
    answered = world.client.post("/v1/oidc/start", json={}, headers={"Sec-Fetch-Site": "same-origin"})
    (line,) = answered.headers.get_list("set-cookie")
    for part in (f"{COOKIE}=", "HttpOnly", "Secure", "SameSite=lax", "Path=/", "Max-Age=600"):
        assert part in line
    assert "Domain" not in line
    world.client.cookies.clear()


def test_once_bound_the_providers_name_counts_and_no_address(world: World, provider: FakeOidc, ada: Person) -> None:
    browser = Browser(world)
    finish(browser, start(browser, provider))
    provider.person |= {"email": "moved@example.com"}
    browser = Browser(world)
    assert finish(browser, start(browser, provider)).json()["user_id"] == ada.user_id
    provider.person = {"sub": "somebody-else", "email": ada.email, "email_verified": True}
    browser = Browser(world)
    assert finish(browser, start(browser, provider)).status_code == 401, "an address that was given away opens nothing"
    eve = at_provider(provider, somebody(world))
    provider.person["sub"] = f"sub-{ada.user_id}"
    browser = Browser(world)
    assert finish(browser, start(browser, provider)).json()["user_id"] == ada.user_id != eve.user_id


def test_who_is_not_known_and_who_is_disabled_hear_the_same(world: World, provider: FakeOidc, ada: Person) -> None:
    world.founder.done(f"/v1/users/{ada.user_id}/disable", {"reason": "left"}, Felix_Tenant="felix-platform")
    bodies = []
    for person in (
        {"sub": f"sub-{ada.user_id}", "email": ada.email, "email_verified": True},
        {"sub": "nobody", "email": "nobody@example.com", "email_verified": True},
        {"sub": "nobody", "email": ada.email, "email_verified": False},
    ):
        provider.person = person
        browser = Browser(world)
        answered = finish(browser, start(browser, provider))
        assert answered.status_code == 401 and not browser.token
        bodies.append(answered.content)
    assert len(set(bodies)) == 1


def test_another_browsers_answer_is_worth_nothing_here(world: World, provider: FakeOidc, ada: Person) -> None:
    mine, theirs = Browser(world), Browser(world)
    my_answer, their_answer = start(mine, provider), start(theirs, provider)
    for browser, came_back in (
        (mine, their_answer),
        (Browser(world), my_answer),
        (Browser(world, {COOKIE: "x" * 300}), my_answer),
        (Browser(world, {COOKIE: "x" * 3000}), my_answer),
    ):
        answered = finish(browser, came_back)
        assert answered.status_code == 401, answered.text
        assert not browser.token
    mine = Browser(world)
    my_answer = start(mine, provider)
    for spoiled in (
        {**my_answer, "state": ""},
        {**my_answer, "state": [my_answer["state"], "x"]},
        {**my_answer, "code": ""},
        {**my_answer, "code": ["a", "b"]},
        {**my_answer, "code": "x" * 5000},
        {"state": my_answer["state"]},
        {"error": "access_denied", "state": my_answer["state"]},
        {},
    ):
        assert finish(mine.copy(), spoiled).status_code == 401
    assert finish(mine, my_answer).status_code == 200, "the right one works"


def test_an_answer_that_comes_too_late_is_refused(
    world: World, provider: FakeOidc, ada: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = Browser(world)
    came_back = start(browser, provider)
    now = oidc.time.time()
    monkeypatch.setattr(oidc.time, "time", lambda: now + oidc.COOKIE_LASTS_S + 1)
    assert finish(browser, came_back).status_code == 401


def test_another_site_can_not_begin_a_sign_in(world: World, provider: FakeOidc) -> None:
    browser = Browser(world, headers={"Sec-Fetch-Site": "cross-site"})
    assert browser.post("/v1/oidc/start").status_code == 403
    assert browser.cookies == {}


def test_a_second_factor_is_asked_for_where_there_is_one(world: World, provider: FakeOidc) -> None:
    person = somebody(world)
    browser = person.browser()
    browser.done("/v1/step-up", {"password": person.password})
    person.enrol(browser)
    at_provider(provider, person)
    browser = Browser(world)
    answered = finish(browser, start(browser, provider))
    assert (answered.status_code, answered.json()["code"]) == (401, "second_factor_needed")
    assert not browser.token and COOKIE in browser.cookies
    wrong = browser.copy().post("/v1/oidc/second-factor", {"totp": "000000"})
    assert wrong.status_code == 401
    assert Browser(world).post("/v1/oidc/second-factor", {"totp": person.code()}).status_code == 401
    session = browser.done("/v1/oidc/second-factor", {"totp": person.code()})
    assert (session["user_id"], session["second_factor"]) == (person.user_id, True)
    assert browser.get("/v1/me").status_code == 200 and COOKIE not in browser.cookies


def test_an_unfinished_sign_in_is_no_second_factor_and_the_other_way_round(world: World, provider: FakeOidc) -> None:
    person = at_provider(provider, somebody(world))
    browser = Browser(world)
    came_back = start(browser, provider)
    assert browser.copy().post("/v1/oidc/second-factor", {"totp": "000000"}).status_code == 401
    assert finish(browser, came_back).json()["user_id"] == person.user_id


def test_who_is_invited_becomes_known_by_the_address_that_the_provider_verified(
    world: World, provider: FakeOidc
) -> None:
    waiting = invite(world, world.bakery)
    provider.person = {"sub": f"new-{waiting.invitation_id}", "email": waiting.email.upper(), "email_verified": True}
    uninvited = Browser(world)
    assert finish(uninvited, start(uninvited, provider)).status_code == 401, "an address alone is no invitation"
    browser = Browser(world)
    answered = finish(browser, start(browser, provider, invitation=waiting.token))
    assert answered.status_code == 200, answered.text
    me = browser.get("/v1/me").json()
    assert (me["id"], me["email"]) == (answered.json()["user_id"], waiting.email)
    assert [tenant["role"] for tenant in me["tenants"]] == ["client_member"]
    again = Browser(world)
    assert finish(again, start(again, provider)).json()["user_id"] == me["id"]
    used = Browser(world)
    assert finish(used, start(used, provider, invitation=waiting.token)).status_code == 401, "it is good once"


def test_an_invitation_of_somebody_else_is_worth_nothing(world: World, provider: FakeOidc, ada: Person) -> None:
    waiting = invite(world, world.bakery)
    for token in (waiting.token, "x" * 43, "x"):
        browser = Browser(world)
        assert finish(browser, start(browser, provider, invitation=token)).status_code == 401
        assert not browser.token
    assert waiting.accept().status_code == 201, "it is still there for whom it is meant"


def test_a_provider_that_is_away_is_unavailable_and_the_answer_stays_good(
    world: World, provider: FakeOidc, ada: Person
) -> None:
    browser = Browser(world)
    came_back = start(browser, provider)
    provider.instead["/token"] = provider.hangs_up
    assert finish(browser, came_back).status_code == 503
    provider.instead["/token"] = provider.babbles
    assert finish(browser.copy(), came_back).status_code == 401
    provider.instead.clear()
    assert finish(browser, came_back).json()["user_id"] == ada.user_id


def test_without_a_provider_there_is_none(world: World) -> None:
    services = world.app.state.services
    kept, services.sign_in_provider = services.sign_in_provider, None
    try:
        for answered in (
            Browser(world).post("/v1/oidc/start"),
            Browser(world).get("/v1/oidc/callback?code=x&state=y"),
            Browser(world).post("/v1/oidc/second-factor", {"totp": "000000"}),
        ):
            assert (answered.status_code, answered.json()["code"]) == (404, "oidc_not_set_up")
    finally:
        services.sign_in_provider = kept


def test_it_is_set_up_by_settings() -> None:
    assert bootstrap.open_sign_in_provider(Settings(_env_file=None)) is None
    made = bootstrap.open_sign_in_provider(
        Settings(_env_file=None, oidc_issuer="https://accounts.example.com", oidc_client_id="felix")
    )
    assert made is not None
    made.close()


def test_who_is_erased_is_unbound(world: World, provider: FakeOidc, ada: Person) -> None:
    browser = Browser(world)
    finish(browser, start(browser, provider))
    count = "select count(*) from felix.bound_identities where user_id = %s"
    with bootstrap.connect_owner(world.endpoints) as owner:
        assert owner.execute(count, (ada.user_id,)).fetchone() == (1,)
        world.founder.done(f"/v1/users/{ada.user_id}/erase", {"reason": "asked"}, Felix_Tenant="felix-platform")
        assert owner.execute(count, (ada.user_id,)).fetchone() == (0,)
    browser = Browser(world)
    assert finish(browser, start(browser, provider)).status_code == 401


@settings(max_examples=60)
@given(
    query=st.dictionaries(st.sampled_from(["state", "code", "error", "iss"]), st.text(max_size=60), max_size=4),
    cookie=st.none() | st.just(b"real") | st.binary(max_size=80),
)
def test_whatever_comes_back_is_refused_and_never_breaks(
    world: World, provider: FakeOidc, query: dict[str, str], cookie: bytes | None
) -> None:
    if cookie == b"real":
        browser = Browser(world)
        browser.done("/v1/oidc/start")
        cookie = browser.cookies[COOKIE].encode()
    sent = {} if cookie is None else {"Cookie": f"{COOKIE}=".encode() + cookie.translate(None, b"\r\n\0")}
    told = urlencode({name: value.encode("utf-8", "replace") for name, value in query.items()})
    answered = world.client.get(f"/v1/oidc/callback?{told}", headers=sent)
    world.client.cookies.clear()
    assert answered.status_code in (400, 401, 422), answered.text


def test_nothing_of_the_way_is_kept(world: World, provider: FakeOidc, ada: Person) -> None:
    browser = Browser(world)
    came_back = start(browser, provider)
    finish(browser, came_back)
    with bootstrap.connect_owner(world.endpoints) as owner:
        for text in (came_back["code"], came_back["state"], f"sub-{ada.user_id}", ada.email):
            found = owner.execute(
                "select count(*) from felix.events where tenant_id = %s and convert_from(state, 'UTF8') like %s",
                (PLATFORM, f"%{text}%"),
            ).fetchone()
            assert found == (0,)
