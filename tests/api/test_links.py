"""Links by mail: good once, for a while, for one purpose; and the mail that carries them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import time_machine
from felix_world import World
from people_signing_in import PASSWORD, Browser, somebody, unlimited, within_a_second

from felix import bootstrap
from felix.adapters.mail import FileMailer
from felix.application.jobs.sign_in import link_mail, mail
from felix.application.post import Letter, Post, link_url
from felix.application.sign_in import LINK_LASTS
from felix.eventstore.sign_in import Purpose

NEW_PASSWORD = "eleven blue tractors hum quietly"


@pytest.fixture(scope="module", autouse=True)
def patient(world: World) -> Iterator[None]:
    """A Felix that is asked often."""
    unlimited(world)
    yield


@pytest.fixture
def post(world: World, tmp_path: Path) -> Post:
    """Writes to people by files in a directory."""
    services = world.app.state.services
    return Post(
        FileMailer("Felix <felix@example.com>", tmp_path),
        services.root_keys,
        services.sign_in_book,
        "https://f.example/",
    )


def test_a_link_signs_in_once(world: World) -> None:
    person = somebody(world)
    token = person.link("magic_link")
    answered = Browser(world).done("/v1/magic-links/redeem", {"token": token})
    assert (answered["method"], answered["user_id"]) == ("magic_link", person.user_id)
    again = Browser(world).post("/v1/magic-links/redeem", {"token": token})
    assert (again.status_code, again.json()["code"]) == (401, "link_not_valid")


@pytest.mark.parametrize("purpose", ["magic_link", "password_reset"])
def test_of_two_who_use_a_link_at_once_one_succeeds(purpose: Purpose, world: World) -> None:
    token = somebody(world).link(purpose)
    path = {"magic_link": "/v1/magic-links/redeem", "password_reset": "/v1/password-resets/redeem"}[purpose]
    body = {"token": token} | ({"password": NEW_PASSWORD} if purpose == "password_reset" else {})
    with ThreadPoolExecutor(2) as threads:
        sent = [threads.submit(Browser(world).post, path, body) for _ in range(2)]
        assert sorted(each.result().status_code for each in sent) == [200, 401]


def test_a_link_is_good_for_its_purpose_alone(world: World) -> None:
    person = somebody(world)
    reset, magic = person.link("password_reset"), person.link("magic_link")
    assert Browser(world).post("/v1/magic-links/redeem", {"token": reset}).status_code == 401
    wrong = Browser(world).post("/v1/password-resets/redeem", {"token": magic, "password": NEW_PASSWORD})
    assert wrong.status_code == 401
    assert Browser(world).post("/v1/magic-links/redeem", {"token": magic}).status_code == 200


def test_a_link_runs_out(world: World, post: Post) -> None:
    person = somebody(world)
    token = post.make_link("magic_link", person.user_id).partition("#")[2]
    later = datetime.now(UTC) + LINK_LASTS["magic_link"] + timedelta(seconds=1)
    with time_machine.travel(later, tick=False):
        assert Browser(world).post("/v1/magic-links/redeem", {"token": token}).status_code == 401
    assert Browser(world).post("/v1/magic-links/redeem", {"token": token}).status_code == 200


def test_a_second_factor_is_asked_for_and_the_link_waits_for_it(world: World) -> None:
    person = somebody(world)
    browser = person.browser()
    browser.done("/v1/step-up", {"password": PASSWORD})
    person.enrol(browser)
    token = person.link("magic_link")
    needed = Browser(world).post("/v1/magic-links/redeem", {"token": token})
    assert (needed.status_code, needed.json()["code"]) == (401, "second_factor_needed")
    assert Browser(world).post("/v1/magic-links/redeem", {"token": token, "totp": "1"}).status_code == 401
    assert Browser(world).done("/v1/magic-links/redeem", {"token": token, "totp": person.code()})["second_factor"]


def test_a_reset_sets_the_password_ends_sessions_and_voids_other_links(world: World) -> None:
    person = somebody(world)
    browser, token, other = person.browser(), person.link("password_reset"), person.link("magic_link")
    weak = Browser(world).post("/v1/password-resets/redeem", {"token": token, "password": "password1234"})
    assert (weak.status_code, weak.json()["code"]) == (422, "weak_password")
    Browser(world).done("/v1/password-resets/redeem", {"token": token, "password": NEW_PASSWORD})
    assert within_a_second(lambda: browser.get("/v1/sessions").status_code == 401)
    assert Browser(world).post("/v1/magic-links/redeem", {"token": other}).status_code == 401
    assert Browser(world).post("/v1/sign-in", {"email": person.email, "password": PASSWORD}).status_code == 401
    person.password = NEW_PASSWORD
    person.browser()


def test_who_has_no_password_gets_one_by_a_link(world: World) -> None:
    person = somebody(world, password=None)
    browser = Browser(world)
    browser.done("/v1/magic-links/redeem", {"token": person.link("magic_link")})
    refused = browser.post("/v1/me/password", {"current_password": "x", "password": NEW_PASSWORD})
    assert (refused.status_code, refused.json()["code"]) == (409, "no_password")
    Browser(world).done(
        "/v1/password-resets/redeem", {"token": person.link("password_reset"), "password": NEW_PASSWORD}
    )
    person.password = NEW_PASSWORD
    person.browser()


def test_a_disabled_user_uses_no_link(world: World) -> None:
    person = somebody(world)
    token = person.link("magic_link")
    with bootstrap.connect_owner(world.endpoints) as owner:
        owner.execute("update felix.users set status = 'disabled' where user_id = %s", (person.user_id,))
    assert Browser(world).post("/v1/magic-links/redeem", {"token": token}).status_code == 401


@pytest.mark.parametrize("purpose", ["magic_link", "password_reset"])
def test_a_mail_carries_a_link_that_works(purpose: Purpose, world: World, post: Post, tmp_path: Path) -> None:
    person = somebody(world)
    keys = world.app.state.services.root_keys()
    job = link_mail(keys, purpose, person.email, datetime.now(UTC))
    assert person.email not in str(job)
    post.send_link(job.payload["sealed"], job.payload["purpose"])
    (folder,) = tmp_path.iterdir()
    (letter,) = folder.iterdir()
    assert folder.name == person.user_id
    assert (folder.stat().st_mode & 0o777, letter.stat().st_mode & 0o777) == (0o700, 0o600)
    text = letter.read_text()
    assert f"To: {person.email}" in text
    link = re.search(r"https://f\.example/\S+#([A-Za-z0-9_-]{43})", text.replace("=\n", "").replace("=23", "#"))
    assert link is not None, text
    body = {"token": link[1]} | ({"password": NEW_PASSWORD} if purpose == "password_reset" else {})
    path = {"magic_link": "/v1/magic-links/redeem", "password_reset": "/v1/password-resets/redeem"}[purpose]
    assert Browser(world).post(path, body).status_code == 200


def test_nobody_is_written_to_who_has_no_account(world: World, post: Post, tmp_path: Path) -> None:
    job = link_mail(world.app.state.services.root_keys(), "magic_link", "nobody@example.com", datetime.now(UTC))
    post.send_link(job.payload["sealed"], "magic_link")
    assert list(tmp_path.iterdir()) == []


def test_any_mail_travels_sealed(world: World, post: Post, tmp_path: Path) -> None:
    letter = Letter("ada@example.com", "Come in", "The secret word is kettle.", "inv_1")
    job = mail(world.app.state.services.root_keys(), letter, "inv_1", "test", datetime.now(UTC))
    assert "ada" not in str(job.payload) and "kettle" not in str(job.payload)
    post.send(job.payload["sealed"])
    (sent,) = (tmp_path / "inv_1").iterdir()
    assert "The secret word is kettle." in sent.read_text()


def test_a_token_stands_where_browsers_keep_it_to_themselves() -> None:
    assert link_url("https://f.example/felix/", "invitation", "t") == "https://f.example/felix/invitation#t"


def test_what_is_long_over_is_forgotten(world: World) -> None:
    person = somebody(world)
    browser = person.browser()
    person.link("magic_link")
    book = world.app.state.services.sign_in_book

    def kept() -> tuple[Any, ...]:
        with bootstrap.connect_owner(world.endpoints) as owner:
            found = owner.execute(
                "select (select count(*) from felix.links where subject = %s),"
                " (select count(*) from felix.sessions where user_id = %s),"
                " (select count(*) from felix.sign_in_attempts)",
                (person.user_id, person.user_id),
            )
            return tuple(found.fetchone() or ())

    book.purge(datetime.now(UTC))
    assert kept()[:2] == (1, 1) and browser.get("/v1/sessions").status_code == 200
    assert book.purge(datetime.now(UTC) + timedelta(days=500)) >= 3
    assert kept() == (0, 0, 0)


def test_nothing_is_half_done_when_a_table_beside_the_log_can_not_be_written(own_world: World) -> None:
    """The event, the session and the use of the link are one transaction: without one there is none of them."""
    person = somebody(own_world)
    token = person.link("magic_link")

    def sessions_and_events() -> tuple[Any, ...]:
        with bootstrap.connect_owner(own_world.endpoints) as owner:
            found = owner.execute(
                "select (select count(*) from felix.sessions),"
                " (select count(*) from felix.events where type = 'identity.session_began'),"
                " (select count(*) from felix.links where used_at is not null)"
            )
            return tuple(found.fetchone() or ())

    with bootstrap.connect_owner(own_world.endpoints) as owner:
        owner.execute("revoke update on felix.links from felix_writer")
        owner.execute("revoke update (used_at) on felix.links from felix_writer")
    assert Browser(own_world).post("/v1/magic-links/redeem", {"token": token}).status_code == 503
    assert sessions_and_events() == (0, 0, 0)
    with bootstrap.connect_owner(own_world.endpoints) as owner:
        owner.execute("grant update (used_at) on felix.links to felix_writer")
    assert Browser(own_world).post("/v1/magic-links/redeem", {"token": token}).status_code == 200
    assert sessions_and_events() == (1, 1, 1)
