"""How many requests are taken of whom, what their answers say of it, and that nobody sees another's use."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest
from felix_world import Caller, World
from hypothesis import given
from hypothesis import strategies as st

from felix.api.rate_limits import MAX_KEYS, Policy, RateLimitExceeded, RateLimits, neighbourhood
from felix.application.api_keys import make_key

ITEM = re.compile(r'"([a-z-]+)";r=(\d+);t=(\d+)')
A, B = UUID(int=1), UUID(int=2)


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def a_policy(clock: Clock, quota: int = 5, window_s: int = 1) -> Policy:
    return Policy("reads", quota, window_s, clock)


def test_a_quota_is_taken_refused_and_comes_back(clock: Clock) -> None:
    policy = a_policy(clock)
    assert [policy.take("a").remaining for _ in range(5)] == [4, 3, 2, 1, 0]
    refused = policy.take("a")
    assert refused.refused and refused.wait_s == pytest.approx(0.2)
    clock.now_s += refused.wait_s
    assert not policy.take("a").refused and policy.take("a").refused
    clock.now_s += 1
    assert policy.take("a").remaining == 4


@given(
    st.integers(1, 50),
    st.integers(1, 60),
    st.lists(st.floats(0, 3, allow_nan=False), min_size=1, max_size=200),
)
def test_no_window_ever_takes_more_than_twice_its_quota(quota: int, window_s: int, pauses_s: list[float]) -> None:
    clock = Clock()
    policy = a_policy(clock, quota, window_s)
    taken: list[float] = []
    for pause_s in pauses_s:
        clock.now_s += pause_s
        one = policy.take("a")
        assert one.refused or 0 <= one.remaining < quota
        if not one.refused:
            taken.append(clock.now_s)
    for began_at in taken:
        assert sum(began_at <= at < began_at + window_s for at in taken) <= 2 * quota


def test_what_is_refused_takes_nothing(clock: Clock) -> None:
    policy = a_policy(clock)
    for _ in range(5_000):
        policy.take("a")
    clock.now_s += 1
    assert policy.take("a").remaining == 4


def test_memory_is_bounded_and_those_who_are_owed_nothing_go_first(clock: Clock) -> None:
    policy = a_policy(clock)
    for number in range(MAX_KEYS):
        policy.take(number)
    clock.now_s += 10
    for _ in range(5):
        policy.take("noisy")
    assert policy.take("noisy").refused and len(policy._even_at) < MAX_KEYS
    for number in range(2 * MAX_KEYS):
        policy.take(number)
    assert len(policy._even_at) <= MAX_KEYS


def limits(clock: Clock, **settings: int) -> RateLimits:
    chosen = {"reads_per_s": 10, "writes_per_s": 10, "client_times": 2, "strangers_per_minute": 3} | settings
    return RateLimits(**chosen, clock=clock)


def asked(scope_method: str = "GET") -> dict[str, Any]:
    return {"method": scope_method}


def ask(found: RateLimits, scope: dict[str, Any], actor: str, client: UUID) -> None:
    found.take(scope, actor)
    found.take_of_client(scope, client)


def flood(found: RateLimits, actor: str, client: UUID, times: int) -> int:
    """How many are taken."""
    taken = 0
    for _ in range(times):
        try:
            ask(found, asked(), actor, client)
            taken += 1
        except RateLimitExceeded:
            pass
    return taken


def test_one_key_can_not_use_up_what_its_client_has(clock: Clock) -> None:
    found = limits(clock)
    assert flood(found, "key_1", A, 100) == 10
    assert flood(found, "key_2", A, 100) == 10, "what was refused took nothing from the client"
    assert flood(found, "key_3", A, 100) == 0


def test_the_headers_of_a_client_are_the_same_whatever_others_do(clock: Clock) -> None:
    alone, beside = limits(clock), limits(clock)
    for number in range(30):
        flood(beside, "key_b", B, number)
        seen = []
        for found in (alone, beside):
            scope = asked()
            try:
                ask(found, scope, "key_a", A)
            except RateLimitExceeded as refused:
                scope["refused"] = refused.record()
            seen.append(scope)
        assert seen[0] == seen[1]


def test_one_request_counts_once(clock: Clock) -> None:
    found, scope = limits(clock), asked()
    for _ in range(50):
        ask(found, scope, "key_a", A)


def test_processes_share_what_is_allowed(clock: Clock) -> None:
    assert flood(limits(clock, processes=5), "key", A, 100) == 2
    assert flood(limits(clock, processes=64), "key", A, 100) == 1, "nobody is shut out for good"


@pytest.mark.parametrize(("one", "other"), [("2001:db8:1:2::1", "2001:db8:1:2:ffff::9"), ("192.0.2.1", "192.0.2.1")])
def test_one_customer_is_one_stranger(one: str, other: str, clock: Clock) -> None:
    found = limits(clock)
    for _ in range(3):
        found.refuse_stranger(one)
        found.take_stranger(one)
    for refuse in (found.refuse_stranger, found.take_stranger):
        with pytest.raises(RateLimitExceeded) as refused:
            refuse(other)
        assert 1 <= refused.value.facts["retry_after_s"] <= 60
    assert neighbourhood("2001:db8:1:3::1") != neighbourhood(one)
    found.take_stranger("198.51.100.7")
    clock.now_s += 60
    found.take_stranger(one)


@pytest.fixture
def narrow(world: World) -> Iterator[Clock]:
    """The same world with narrow limits and a clock that stands."""
    services, clock = world.app.state.services, Clock()
    before, services.rate_limits = services.rate_limits, limits(clock)
    yield clock
    services.rate_limits = before


def test_answers_say_what_is_left_until_a_429_and_again_after_it(narrow: Clock, bakery: Caller) -> None:
    for left in range(9, -1, -1):
        answered = bakery.get("/v1/meters")
        assert answered.status_code == 200
        assert answered.headers["ratelimit-policy"] == '"reads";q=10;w=1, "client-reads";q=20;w=1'
        assert answered.headers["ratelimit"] == f'"reads";r={left};t=1, "client-reads";r={left + 10};t=1'
    refused = bakery.get("/v1/meters")
    assert (refused.status_code, refused.json()["code"]) == (429, "rate_limit_exceeded")
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json()["violated-policies"] == ["reads"]
    assert refused.headers["retry-after"] == "1" and ITEM.findall(refused.headers["ratelimit"]) == [("reads", "0", "1")]
    narrow.now_s += int(refused.headers["retry-after"])
    assert bakery.get("/v1/meters").status_code == 200


def test_writes_have_a_quota_of_their_own_and_a_refused_one_did_nothing(narrow: Clock, bakery: Caller) -> None:
    key = f"limited-{uuid4()}"
    for _ in range(10):
        assert bakery.post("/v1/token-accounts", {"name": "x"}).status_code == 201
    assert bakery.post("/v1/token-accounts", {"name": "x"}, key).status_code == 429
    assert bakery.get("/v1/meters").status_code == 200
    narrow.now_s += 1
    done = bakery.post("/v1/token-accounts", {"name": "x"}, key)
    assert done.status_code == 201 and "idempotent-replayed" not in done.headers


def test_what_may_not_be_done_counts_too(narrow: Clock, bakery: Caller) -> None:
    assert [bakery.get("/v1/tenants").status_code for _ in range(11)] == [403] * 10 + [429]


def test_a_client_does_not_pay_for_what_founders_do_about_it(narrow: Clock, bakery: Caller, founder: Caller) -> None:
    for _ in range(10):
        assert founder.get("/v1/meters").status_code == 200
    assert founder.get("/v1/meters").status_code == 429
    assert bakery.get("/v1/meters").headers["ratelimit"] == '"reads";r=9;t=1, "client-reads";r=19;t=1'


def test_whoever_guesses_keys_is_sent_away_and_those_who_have_one_are_not(
    narrow: Clock, world: World, bakery: Caller
) -> None:
    services = world.app.state.services
    assert bakery.get("/v1/meters").status_code == 200
    guess = replace(bakery, headers={"Authorization": "Bearer fx_live_" + "a" * 36})
    answers = [guess.get("/v1/meters") for _ in range(5)]
    assert [answered.status_code for answered in answers] == [401, 401, 401, 429, 429]
    assert answers[-1].json()["violated-policies"] == ["strangers"]
    # Somebody else's key changes, so that every key has to be looked up again.
    make_key(services.performer, UUID(bakery.tenant_id), "another")
    services.authenticator.forget()
    assert bakery.get("/v1/meters").status_code == 200
    narrow.now_s += int(answers[-1].headers["retry-after"])
    assert guess.get("/v1/meters").status_code == 401


def test_health_is_never_limited(narrow: Clock, world: World) -> None:
    assert {world.client.get("/healthz").status_code for _ in range(50)} == {200}
