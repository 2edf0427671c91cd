"""Requests that another site made a browser send are refused; a browser's own, and a program's, are not."""

from __future__ import annotations

import pytest
from felix_world import World
from people_signing_in import Browser, somebody

OWN = "https://felix.example.com"
EVIL = "https://evil.example.net"
HOST = "felix.example.com"

#: What a browser that carries a cookie says of where a write comes from, and whether it is taken.
COMBINATIONS = [
    ({"Sec-Fetch-Site": "same-origin"}, True),
    ({"Sec-Fetch-Site": "none"}, True),
    ({"Sec-Fetch-Site": "same-site"}, False),
    ({"Sec-Fetch-Site": "cross-site"}, False),
    ({"Sec-Fetch-Site": ""}, False),
    ({"Sec-Fetch-Site": "SAME-ORIGIN"}, False),
    ({"Sec-Fetch-Site": "same-origin, cross-site"}, False),
    ({"Sec-Fetch-Site": "nonsense"}, False),
    ({"Sec-Fetch-Site": "same-origin", "Origin": OWN}, True),
    # A browser that knows where a request comes from is believed before what its page says.
    ({"Sec-Fetch-Site": "same-origin", "Origin": EVIL}, True),
    ({"Sec-Fetch-Site": "cross-site", "Origin": OWN}, False),
    ({"Sec-Fetch-Site": "same-site", "Origin": OWN}, False),
    ({"Origin": OWN}, True),
    ({"Origin": "HTTPS://FELIX.EXAMPLE.COM"}, True),
    ({"Origin": "http://felix.example.com"}, True),
    ({"Origin": EVIL}, False),
    ({"Origin": "null"}, False),
    ({"Origin": ""}, False),
    ({"Origin": HOST}, False),
    ({"Origin": f"{OWN}:8443"}, False),
    ({"Origin": f"{OWN}.evil.example.net"}, False),
    ({"Origin": f"https://evil.example.net@{HOST}"}, False),
    ({"Origin": f"https://{HOST}@evil.example.net"}, False),
    ({"Origin": f"https://evil.example.net#{HOST}"}, False),
    ({"Origin": "https://["}, False),
    ({"Origin": f"file://{HOST}"}, False),
    ({"Origin": f"{OWN} {EVIL}"}, False),
    ({"Origin": OWN, "Host": "other.example.com"}, False),
    ({"Origin": f"{OWN}:8443", "Host": f"{HOST}:8443"}, True),
    ({"Referer": f"{OWN}/page"}, False),
    ({"X-Requested-With": "XMLHttpRequest"}, False),
    ({}, False),
]


@pytest.mark.parametrize(("headers", "taken"), COMBINATIONS, ids=[str(headers) for headers, _ in COMBINATIONS])
def test_a_write_with_a_cookie_says_that_it_comes_from_a_page_of_felix(
    headers: dict[str, str], taken: bool, world: World, browser: Browser
) -> None:
    sent = {"Host": HOST, "Cookie": f"__Host-felix_session={browser.token}", **headers}
    answered = world.client.post("/v1/sessions/end-others", json={}, headers=sent)
    assert answered.status_code == (200 if taken else 403), answered.text
    if not taken:
        assert answered.json()["code"] == "cross_site_request"


@pytest.fixture(scope="module")
def browser(world: World) -> Browser:
    """Somebody's browser."""
    return somebody(world).browser()


def test_there_are_thirty_combinations_and_more() -> None:
    assert len({str(headers) for headers, _ in COMBINATIONS}) == len(COMBINATIONS) >= 30


@pytest.mark.parametrize("site", ["cross-site", "same-origin"])
def test_a_read_is_for_everybody_to_send_and_for_nobody_else_to_see(site: str, browser: Browser) -> None:
    assert browser.get("/v1/sessions", Sec_Fetch_Site=site).status_code == 200


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_what_a_form_can_send_is_not_taken(kind: str, browser: Browser) -> None:
    answered = browser.post("/v1/sessions/end-others", b"{}", Content_Type=kind)
    assert (answered.status_code, answered.json()["code"]) == (415, "not_json")


def test_a_key_is_no_cookie(world: World) -> None:
    """No other site can set the header, so nothing else is asked of it."""
    answered = world.bakery.post("/v1/token-accounts", {"name": "A"}, Sec_Fetch_Site="cross-site", Origin=EVIL)
    assert answered.status_code == 201


def test_with_a_key_and_a_cookie_it_is_the_key_that_counts(world: World, browser: Browser) -> None:
    answered = world.client.post(
        "/v1/sessions/end-others",
        json={},
        headers={"Authorization": "Bearer nonsense", "Cookie": f"__Host-felix_session={browser.token}"},
    )
    assert answered.status_code == 401


@pytest.mark.parametrize("path", ["/v1/sign-in", "/v1/magic-links", "/v1/password-resets", "/v1/magic-links/redeem"])
def test_nobody_is_signed_in_by_another_site(path: str, world: World) -> None:
    """A victim who is signed in as the attacker writes into the attacker's account."""
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": EVIL}):
        answered = world.client.post(path, json={}, headers=headers)
        assert (answered.status_code, answered.json()["code"]) == (403, "cross_site_request")
    # A program says nothing of where it comes from, and is told what is wrong with its body.
    assert world.client.post(path, json={}).status_code == 422
