"""Signing in, and what a session is: rotated, listed, ended, and dead everywhere within a second."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
import time_machine
from felix_world import World
from people_signing_in import PASSWORD, Browser, Person, somebody, unlimited, within_a_second

from felix import bootstrap
from felix.adapters.passwords import Argon2Passwords
from felix.api.auth import Authenticator
from felix.api.credentials import session_look_up
from felix.application.performer import new_context
from felix.application.policies.base import Terms
from felix.application.policies.changed_roles_end_sessions import POLICY
from felix.domain.base import Command
from felix.domain.identity.roles import PLATFORM
from felix.domain.identity.session import BookEndOfSessions
from felix.domain.identity.user import DisableUser
from felix.eventstore.mapper import RecordedEvent
from felix.eventstore.sign_in import sessions_over

NEW_PASSWORD = "eleven blue tractors hum quietly"


@pytest.fixture(scope="module", autouse=True)
def patient(world: World) -> None:
    """A Felix that is asked often whether something has become so."""
    unlimited(world)


def sessions(browser: Browser) -> list[dict[str, Any]]:
    """What the browser's user sees of their sessions."""
    answered = browser.get("/v1/sessions")
    assert answered.status_code == 200, answered.text
    shown: list[dict[str, Any]] = answered.json()["data"]
    return shown


def is_in(browser: Browser) -> bool:
    """Whether the session in the browser's cookie can be used."""
    return bool(browser.get("/v1/sessions").status_code == 200)


def events_of(world: World, kind: str, local_id: str) -> list[tuple[str, dict[str, Any]]]:
    """The types and states of a stream of the platform."""
    with bootstrap.connect_owner(world.endpoints) as owner:
        rows = owner.execute(
            "select type, convert_from(state, 'utf8')::json from felix.events where stream = %s order by version",
            (f"{PLATFORM}:{kind}:{local_id}",),
        ).fetchall()
    return [(str(row[0]), dict(row[1])) for row in rows]  # type: ignore[call-overload]


def perform(world: World, command: Command) -> dict[str, Any]:
    """Perform a command of the platform's log."""
    performer = world.app.state.services.performer
    return dict(performer.perform_blocking(command, new_context(PLATFORM, f"test:{uuid4()}", "founder:test")).result)


def test_a_password_begins_a_session_that_a_cookie_carries(world: World) -> None:
    person = somebody(world)
    browser = Browser(world)
    answered = browser.post("/v1/sign-in", {"email": f"  {person.email.upper()} ", "password": PASSWORD})
    assert answered.status_code == 200, answered.text
    (line,) = [each for each in answered.headers.get_list("set-cookie") if each.startswith("__Host-felix_session")]
    assert {"HttpOnly", "Secure", "SameSite=lax", "Path=/"} <= set(line.split("; "))
    assert "Domain" not in line
    assert browser.token not in answered.text
    (session,) = sessions(browser)
    assert session["session_id"] == answered.json()["session_id"] and session["current"]
    ((began, told),) = events_of(world, "session", session["session_id"])
    assert (began, told["user_id"], told["method"]) == ("identity.session_began", person.user_id, "password")


def test_only_hashes_of_what_is_secret_are_kept(world: World) -> None:
    person = somebody(world)
    browser = person.browser()
    browser.done("/v1/step-up", {"password": PASSWORD})
    person.enrol(browser)
    secrets = [browser.token, PASSWORD, person.totp_secret, *person.recovery_codes]
    with bootstrap.connect_owner(world.endpoints) as owner:
        tables = owner.execute(
            "select format('%I.%I', schemaname, tablename) from pg_tables where schemaname in ('felix', 'read')"
        ).fetchall()
        dump = "\n".join(
            str(owner.execute(f"select t::text from {table} t".encode()).fetchall()) for (table,) in tables
        )
        # The positive control: a text that is kept is found.
        assert person.user_id in dump
        log = str(owner.execute("select string_agg(convert_from(state, 'utf8'), ' ') from felix.events").fetchall())
    for secret in secrets:
        assert secret and secret not in dump and secret not in log


@pytest.mark.parametrize("wrong", [{"password": "not that one"}, {"email": "nobody@example.com"}])
def test_what_is_wrong_is_not_told(wrong: dict[str, str], world: World) -> None:
    person = somebody(world)
    answered = Browser(world).post("/v1/sign-in", {"email": person.email, "password": PASSWORD} | wrong)
    assert (answered.status_code, answered.json()["code"]) == (401, "credentials_refused")


def test_a_disabled_user_is_refused_as_an_unknown_one_is(world: World) -> None:
    person = somebody(world)
    browser = person.browser()
    perform(world, DisableUser(user_id=person.user_id, reason="left"))
    assert within_a_second(lambda: not is_in(browser))
    unknown = Browser(world).post("/v1/sign-in", {"email": "nobody@example.com", "password": PASSWORD})
    refused = Browser(world).post("/v1/sign-in", {"email": person.email, "password": PASSWORD})
    assert (refused.status_code, refused.content) == (unknown.status_code, unknown.content)


def test_signing_in_again_ends_the_session_before(world: World) -> None:
    person = somebody(world)
    browser = person.browser()
    before = browser.copy()
    browser.done("/v1/sign-in", {"email": person.email, "password": PASSWORD})
    assert browser.token != before.token
    assert within_a_second(lambda: not is_in(before))
    assert len(sessions(browser)) == 1


def test_signing_out_kills_the_token_and_takes_the_cookie(world: World) -> None:
    browser = somebody(world).browser()
    stolen, session_id = browser.copy(), sessions(browser)[0]["session_id"]
    browser.done("/v1/sign-out")
    assert not browser.token
    assert not is_in(stolen)
    assert events_of(world, "session", session_id)[-1][1]["why"] == "signed_out"


def test_stepping_up_changes_the_token_and_the_one_before_is_dead(world: World) -> None:
    browser = somebody(world).browser()
    before = browser.copy()
    assert browser.done("/v1/step-up", {"password": PASSWORD})["stepped_up_at"]
    assert browser.token != before.token
    assert within_a_second(lambda: not is_in(before))
    assert sessions(browser)[0]["stepped_up_at"] is not None


def test_another_process_lets_nobody_in_who_was_sent_out(world: World) -> None:
    """The other process is another authenticator with its own memory of whom it has let in."""
    browser = somebody(world).browser()
    client, services = world.client, world.app.state.services

    async def generation() -> int:
        async with services.reads.unbound() as tx:
            return int((await tx.fetch_one("select generation from felix.access_generation"))["generation"])

    async def nobody(*_: Any) -> None:
        return None

    other = Authenticator(nobody, session_look_up(services.reads, lambda *_: None), generation, nobody, nobody)  # type: ignore[arg-type]
    token = browser.token
    assert client.portal is not None
    assert client.portal.call(other.caller, None, token).id
    browser.done("/v1/sign-out")

    def is_refused() -> bool:
        try:
            client.portal.call(other.caller, None, token)  # type: ignore[union-attr]
        except Exception as error:
            return type(error).__name__ == "Unauthenticated"
        return False

    assert within_a_second(is_refused)


def test_sessions_are_listed_and_ended_by_their_user_alone(world: World) -> None:
    person, other = somebody(world), somebody(world)
    one, two, stranger = person.browser(), person.browser(), other.browser()
    listed = {session["current"]: session["session_id"] for session in sessions(one)}
    assert len(listed) == 2
    refused = stranger.post(f"/v1/sessions/{listed[False]}/end")
    nowhere = stranger.post(f"/v1/sessions/sess_{'0' * 32}/end")
    assert (refused.status_code, nowhere.status_code) == (404, 404)
    assert refused.json()["detail"].replace(listed[False], "") == nowhere.json()["detail"].replace(
        f"sess_{'0' * 32}", ""
    )
    one.done(f"/v1/sessions/{listed[False]}/end")
    assert within_a_second(lambda: not is_in(two))
    assert is_in(one)


def test_all_other_sessions_end_at_once(world: World) -> None:
    person = somebody(world)
    keeping, *others = (person.browser() for _ in range(3))
    assert keeping.done("/v1/sessions/end-others") == {"ended": 2}
    assert within_a_second(lambda: not any(map(is_in, others)))
    assert is_in(keeping)


def test_a_new_password_ends_the_other_sessions_and_changes_this_one(world: World) -> None:
    person = somebody(world)
    browser, other = person.browser(), person.browser()
    before = browser.copy()
    changed = browser.done("/v1/me/password", {"current_password": PASSWORD, "password": NEW_PASSWORD})
    assert changed == {"sessions_ended": 1}
    assert within_a_second(lambda: not is_in(other) and not is_in(before))
    assert is_in(browser)
    refused = Browser(world).post("/v1/sign-in", {"email": person.email, "password": PASSWORD})
    assert refused.status_code == 401
    person.password = NEW_PASSWORD
    person.browser()


@pytest.mark.parametrize(
    ("password", "rule"), [("short", "length"), ("password1234", "guessable"), ("qwertyuiop123456", "guessable")]
)
def test_a_password_that_is_easy_to_guess_is_refused(password: str, rule: str, world: World) -> None:
    browser = somebody(world).browser()
    answered = browser.post("/v1/me/password", {"current_password": PASSWORD, "password": password})
    assert (answered.status_code, answered.json()["code"]) == (422, "weak_password")
    assert answered.json()["errors"][0]["rule"] == rule
    assert password not in answered.text


def test_ones_own_address_is_no_password(world: World) -> None:
    person = somebody(world)
    answered = person.browser().post("/v1/me/password", {"current_password": PASSWORD, "password": person.email})
    assert (answered.status_code, answered.json()["code"]) == (422, "weak_password")


def test_a_changed_role_ends_sessions_and_the_log_says_so(world: World) -> None:
    person = somebody(world)
    browser = person.browser()
    session_id = sessions(browser)[0]["session_id"]
    at = datetime.now(UTC)
    world.app.state.services.sign_in_book.run(sessions_over(person.user_id, at))
    assert within_a_second(lambda: not is_in(browser))
    later = person.browser()
    (job,) = POLICY.react(_change_of_role(person.user_id, at), Terms())
    assert (job.partition, job.tenant_id, job.due_at) == (0, PLATFORM, at)
    told = job.payload
    before = datetime.fromisoformat(told["began_before"])
    perform(world, BookEndOfSessions(user_id=told["user_id"], ending=told["ending"], began_before=before))
    (kind, ended) = events_of(world, "session", session_id)[-1]
    assert (kind, ended["why"]) == ("identity.session_ended", "role_changed")
    assert is_in(later)


def _change_of_role(user_id: str, at: datetime) -> RecordedEvent:
    tenant_id = uuid4()
    stream = f"{tenant_id}:membership:{user_id}"
    return RecordedEvent(
        1, 7, tenant_id, 7, stream, 2, "identity.role_changed", uuid4(), at, "k", "founder:test", {}, b"{}"
    )


def test_a_session_that_nobody_uses_is_over_after_a_day(world: World) -> None:
    person = somebody(world)
    idle, busy = person.browser(), person.browser()
    with bootstrap.connect_owner(world.endpoints) as owner:
        owner.execute(
            "update felix.sessions set last_seen_at = now() - interval '24 hours 1 minute' where session_id = %s",
            (sessions(busy)[1]["session_id"],),
        )
    assert not is_in(idle)
    assert is_in(busy)


def test_a_session_in_use_outlives_what_was_believed_of_it(world: World) -> None:
    """It was looked up a day ago, and has been in use since; asked again, it is still good."""
    person = somebody(world)
    browser = person.browser()
    assert is_in(browser)
    session_id = sessions(browser)[0]["session_id"]
    later = datetime.now(UTC) + timedelta(hours=24, minutes=2)
    world.app.state.services.sign_in_book.seen({session_id: later - timedelta(minutes=1)})
    with time_machine.travel(later, tick=True):
        assert is_in(browser)


def test_no_session_outlives_its_days(world: World) -> None:
    client, founder = somebody(world), somebody(world, "founder")
    lasts = {}
    for person in (client, founder):
        browser = Browser(world)
        began = browser.done("/v1/sign-in", {"email": person.email, "password": PASSWORD})
        lasts[person.user_id] = datetime.fromisoformat(began["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=13, hours=23) < lasts[client.user_id] <= timedelta(days=14)
    assert timedelta(hours=11, minutes=59) < lasts[founder.user_id] <= timedelta(hours=12)


def test_when_a_session_was_last_seen_is_written_down_by_and_by(world: World) -> None:
    services = world.app.state.services
    browser = somebody(world).browser()
    session_id = sessions(browser)[0]["session_id"]
    used = {name: at for name, at in services.authenticator.take_uses().items() if name == session_id}
    assert used.keys() == {session_id}
    seen_at = datetime.now(UTC) + timedelta(seconds=30)
    services.sign_in_book.seen({session_id: seen_at})
    services.sign_in_book.seen({session_id: seen_at - timedelta(seconds=10)})
    with bootstrap.connect_owner(world.endpoints) as owner:
        row = owner.execute("select last_seen_at from felix.sessions where session_id = %s", (session_id,)).fetchone()
    assert row == (seen_at,)


def test_a_machine_has_no_sessions(world: World) -> None:
    for path in ("/v1/sign-out", "/v1/step-up", "/v1/me/totp", "/v1/sessions/end-others"):
        answered = world.bakery.post(path, {})
        assert (answered.status_code, answered.json()["code"]) == (403, "people_only"), path


def test_a_hash_of_yesterdays_cost_is_replaced_when_its_password_is_used(world: World) -> None:
    old = Argon2Passwords(time_cost=1, memory_cost_kib=32)
    person = somebody(world, hasher=old)

    def kept() -> str:
        with bootstrap.connect_owner(world.endpoints) as owner:
            found = owner.execute("select password_hash from felix.passwords where user_id = %s", (person.user_id,))
            return str((found.fetchone() or ("",))[0])

    before = kept()
    person.browser()
    assert "m=32," in before and "m=19456,t=2,p=1" in kept()
    person.browser()


class TestSecondFactor:
    """Codes of an app, asked for at every sign-in once they are there."""

    @pytest.fixture
    def person(self, world: World) -> Person:
        """Somebody with an app."""
        made = somebody(world)
        browser = made.browser()
        browser.done("/v1/step-up", {"password": PASSWORD})
        made.enrol(browser)
        return made

    def test_it_is_asked_for_once_the_password_is_right(self, person: Person, world: World) -> None:
        asked = {"email": person.email, "password": PASSWORD}
        needed = Browser(world).post("/v1/sign-in", asked)
        assert (needed.status_code, needed.json()["code"]) == (401, "second_factor_needed")
        wrong = Browser(world).post(
            "/v1/sign-in", asked | {"totp": "000000" if person.code() != "000000" else "000001"}
        )
        assert (wrong.status_code, wrong.json()["code"]) == (401, "credentials_refused")
        assert Browser(world).done("/v1/sign-in", asked | {"totp": person.code()})["second_factor"]

    def test_a_code_is_good_once(self, person: Person, world: World) -> None:
        asked = {"email": person.email, "password": PASSWORD, "totp": person.code()}
        assert Browser(world).post("/v1/sign-in", asked).status_code == 200
        assert Browser(world).post("/v1/sign-in", asked).status_code == 401
        # Nor is one of a step before: the step that was used last is remembered.
        earlier = asked | {"totp": person.code(0)}
        assert Browser(world).post("/v1/sign-in", earlier).status_code == 401

    def test_clocks_may_differ_by_one_step(self, person: Person, world: World) -> None:
        asked = {"email": person.email, "password": PASSWORD}
        assert Browser(world).post("/v1/sign-in", asked | {"totp": person.code(3)}).status_code == 401
        assert Browser(world).post("/v1/sign-in", asked | {"totp": person.code()}).status_code == 200

    def test_of_two_who_show_the_same_code_at_once_one_comes_in(self, person: Person, world: World) -> None:
        asked = {"email": person.email, "password": PASSWORD, "totp": person.code()}
        assert sorted(_at_once(world, "/v1/sign-in", asked)) == [200, 401]

    def test_a_recovery_code_is_good_once_also_for_two_at_once(self, person: Person, world: World) -> None:
        asked = {"email": person.email, "password": PASSWORD, "recovery_code": person.recovery_codes[0].upper()}
        assert sorted(_at_once(world, "/v1/sign-in", asked)) == [200, 401]
        assert [kind for kind, _ in events_of(world, "credentials", person.user_id)].count(
            "identity.recovery_code_used"
        ) == 1
        assert Browser(world).post("/v1/sign-in", asked).status_code == 401
        person.browser(recovery_code=person.recovery_codes[1].replace("-", " "))

    def test_new_recovery_codes_take_the_place_of_the_old(self, person: Person, world: World) -> None:
        browser = person.browser(recovery_code=person.recovery_codes[0])
        assert browser.post("/v1/me/recovery-codes").json()["code"] == "step_up_needed"
        browser.done("/v1/step-up", {"totp": person.code()})
        codes = browser.done("/v1/me/recovery-codes")["recovery_codes"]
        assert len(set(codes)) == 10 and not set(codes) & set(person.recovery_codes)
        asked = {"email": person.email, "password": PASSWORD}
        refused = Browser(world).post("/v1/sign-in", asked | {"recovery_code": person.recovery_codes[1]})
        assert refused.status_code == 401
        person.browser(recovery_code=codes[9])

    def test_a_thief_of_a_session_replaces_no_second_factor(self, person: Person) -> None:
        stolen = person.browser(totp=person.code())
        for path in ("/v1/me/totp", "/v1/me/totp/remove", "/v1/me/recovery-codes"):
            assert stolen.post(path).json()["code"] == "step_up_needed", path

    def test_a_client_may_remove_it(self, person: Person, world: World) -> None:
        browser = person.browser(totp=person.code())
        browser.done("/v1/step-up", {"password": PASSWORD})
        assert browser.done("/v1/me/totp/remove") == {"removed": True}
        assert browser.post("/v1/me/totp/remove").json()["code"] == "no_second_factor"
        person.browser()

    def test_an_enrolment_is_good_for_who_began_it(self, person: Person, world: World) -> None:
        thief = somebody(world)
        browser, other = thief.browser(), somebody(world).browser()
        browser.done("/v1/step-up", {"password": PASSWORD})
        other.done("/v1/step-up", {"password": PASSWORD})
        begun = browser.done("/v1/me/totp")
        thief.totp_secret = begun["secret"]
        told = {"enrolment": begun["enrolment"], "totp": thief.code()}
        answered = other.post("/v1/me/totp/confirm", told)
        assert (answered.status_code, answered.json()["code"]) == (422, "enrolment_not_valid")
        with time_machine.travel(datetime.now(UTC) + timedelta(minutes=16), tick=True):
            late = browser.post("/v1/me/totp/confirm", told | {"totp": thief.code()})
        assert late.status_code in (403, 422)

    def test_a_founder_without_one_does_nothing_but_enrol(self, world: World) -> None:
        founder = somebody(world, "founder")
        browser = founder.browser()
        refused = browser.get("/v1/tenants")
        assert (refused.status_code, refused.json()["code"]) == (403, "second_factor_missing")
        browser.done("/v1/step-up", {"password": PASSWORD})
        founder.enrol(browser)
        assert browser.get("/v1/tenants").status_code == 200
        browser.done("/v1/step-up", {"password": PASSWORD})
        assert browser.post("/v1/me/totp/remove").json()["code"] == "second_factor_required"
        later = founder.browser(totp=founder.code())
        assert later.get("/v1/tenants").status_code == 200


def _at_once(world: World, path: str, body: dict[str, Any]) -> list[int]:
    with ThreadPoolExecutor(2) as threads:
        sent = [threads.submit(Browser(world).post, path, body) for _ in range(2)]
        return [each.result().status_code for each in sent]
