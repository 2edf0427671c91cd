"""The audit trail over HTTP, the chain of ids from a request to its events, and balances as they were."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote
from uuid import UUID, uuid4

import pytest
from felix_world import NOBODY, Caller, World, new_key


@pytest.fixture
def account(bakery: Caller, founder: Caller) -> str:
    return f"/v1/token-accounts/{bakery.open_account(founder, 10_000)}"


def trail(caller: Caller, least: int = 1, **filters: Any) -> list[dict[str, Any]]:
    """What the audit trail says as soon as it has so many commands; it follows within moments."""
    path = "/v1/audit?" + "&".join(f"{name}={quote(str(value))}" for name, value in filters.items())
    deadline = time.monotonic() + 10
    while len(found := caller.seen(path)["data"]) < least:
        assert time.monotonic() < deadline, found
        time.sleep(0.01)
    return found  # type: ignore[no-any-return]


def test_a_correlation_id_leads_from_the_caller_to_the_command_and_its_events(bakery: Caller, account: str) -> None:
    chosen = str(uuid4())
    body = {"meter": "llm.input_tokens", "amount_mtok": 3}
    written = bakery.post(f"{account}/debits", body, Felix_Correlation_Id=chosen)
    assert written.headers["felix-correlation-id"] == chosen != written.headers["felix-request-id"]
    too_much = bakery.post(f"{account}/debits", body | {"amount_mtok": 10**9}, Felix_Correlation_Id=chosen)
    assert too_much.status_code == 402 and too_much.headers["felix-correlation-id"] == chosen
    refused, accepted = trail(bakery, 2, correlation_id=chosen)
    assert (refused["accepted"], refused["code"]) == (False, "insufficient_tokens")
    assert refused["detail"] == too_much.json()["detail"]
    position = written.headers["felix-position"]
    assert f"{bakery.tenant_id}:{accepted['last_tenant_sequence']}" == position
    (event,) = bakery.seen(f"/v1/events?correlation_id={chosen}")["data"]
    assert f"{event['tenant_id']}:{event['tenant_sequence']}" == position
    assert event["metadata"]["correlation_id"] == chosen
    assert bakery.seen(f"/v1/events?correlation_id={chosen}&type=ledger.tokens_held")["data"] == []
    assert bakery.seen(f"/v1/events?correlation_id={uuid4()}")["data"] == []


def test_who_chooses_no_correlation_id_finds_everything_by_the_request(bakery: Caller, account: str) -> None:
    key = new_key()
    body = {"meter": "llm.input_tokens", "amount_mtok": 3}
    written = bakery.post(f"{account}/debits", body, key)
    request_id = written.headers["felix-request-id"]
    assert str(UUID(request_id)) == request_id == written.headers["felix-correlation-id"]
    again = bakery.post(f"{account}/debits", body, key)
    assert again.headers["idempotent-replayed"] == "true" and again.headers["felix-request-id"] != request_id
    assert again.headers["felix-correlation-id"] == request_id, "what was recorded, not who asked again"
    (found,) = trail(bakery, correlation_id=request_id)
    assert found["command_key"] == key
    assert bakery.seen(f"/v1/commands/{key}")["metadata"] == {"correlation_id": request_id}


def test_a_refusal_keeps_why_it_was_asked_for(founder: Caller, account: str) -> None:
    key, why = new_key(), {"reason": "Agreed on the phone."}
    founder.done(f"{account}/freeze", why)
    assert founder.post(f"{account}/freeze", why, key).status_code == 409
    newest = next(row for row in trail(founder, outcome="refused", type="ledger.freeze_token_account"))
    assert (newest["command_key"], newest["reason"], newest["code"]) == (key, why["reason"], "account_frozen")
    shown = founder.seen(f"/v1/commands/{key}")
    assert (shown["reason"], shown["accepted"], shown["outcome"]["code"]) == (why["reason"], False, "account_frozen")


def test_the_trail_is_read_newest_first_page_by_page_and_by_nobody_else(world: World) -> None:
    tenant = world.new_tenant()
    keys = [new_key() for _ in range(7)]
    for key in keys:
        last = tenant.post("/v1/token-accounts", {"name": "An account"}, key)
    mine = {"type": "ledger.open_token_account"}
    assert [row["command_key"] for row in trail(tenant, 7, **mine)] == keys[::-1]
    seen, cursor = [], ""
    while cursor is not None:
        page = tenant.seen(f"/v1/audit?type=ledger.open_token_account&limit=3{cursor and f'&cursor={cursor}'}")
        seen, cursor = seen + [row["command_key"] for row in page["data"]], page["next"]
    assert seen == keys[::-1]
    assert not {row["command_key"] for row in trail(world.garage)} & set(keys)
    assert [row["command_key"] for row in trail(world.founder.about(tenant), 7, **mine)] == keys[::-1]
    onboarding = trail(tenant)[-1]
    assert onboarding["type"] == "tenancy.onboard_tenant" and onboarding["actor"].startswith("founder:")
    counted = {"type": "ledger.open_token_account", "commands": 7}
    soon = time.monotonic() + 10
    while counted not in (counts := tenant.seen("/v1/command-counts?by=type")["data"]):
        assert time.monotonic() < soon, counts
    heads = tenant.seen("/v1/streams?kind=token_account&limit=2", last)
    assert len(heads["data"]) == 2 and heads["next"] == heads["data"][-1]["last_tenant_sequence"]


@pytest.mark.parametrize(
    ("path", "pointer"),
    [
        ("/v1/audit?outcome=maybe", "?outcome"),
        ("/v1/audit?correlation_id=x", "?correlation_id"),
        ("/v1/events?correlation_id=x", "?correlation_id"),
        ("/v1/audit?since=yesterday", "?since"),
        ("/v1/audit?cursor=-1", "?cursor"),
        ("/v1/streams?order=oldest", "?order"),
        ("/v1/streams?cursor=x", "?cursor"),
        ("/v1/command-counts?by=tenant", "?by"),
        ("/v1/token-accounts?as_of=then", "?as_of"),
    ],
)
def test_what_is_asked_wrongly_is_said(bakery: Caller, path: str, pointer: str) -> None:
    answered = bakery.get(path)
    assert answered.status_code == 422, answered.text
    assert [error["pointer"] for error in answered.json()["errors"]] == [pointer]


def test_every_balance_is_answered_about_a_moment_as_it_was_answered_then(world: World) -> None:
    tenant = world.new_tenant()
    founder = world.founder.about(tenant)
    at = f"/v1/token-accounts/{tenant.open_account(world.founder, 10_000)}"
    soon = (datetime.now(UTC) + timedelta(seconds=2)).isoformat()
    kept: list[tuple[dict[str, Any], Any, Any]] = []

    def look(written: Any = None) -> None:
        """Keep what is answered; once more where something ran out in between."""
        while True:
            shown = tenant.seen(at, written)
            lots, holds = tenant.seen(f"{at}/lots"), tenant.seen(f"{at}/holds")
            if tenant.seen(at)["balance"] == shown["balance"]:
                kept.append((shown, lots, holds))
                return

    look(founder.post(f"{at}/grants", {"amount_mtok": 500, "kind": "promo", "expires_at": soon}))
    look(tenant.post(f"{at}/holds", {"amount_mtok": 300, "meter": "change.plan", "ttl_s": 3}))
    look(tenant.post(f"{at}/debits", {"meter": "m", "amount_mtok": 40}))
    while kept[-1][2]["data"]:  # until the lot and then the hold have run out, which no event says
        time.sleep(0.05)
        look()
    balances = {(shown["version"], str(shown["balance"])) for shown, _, _ in kept}
    assert len(balances) > len({version for version, _ in balances}), "something ran out between two events"
    look(tenant.post(f"{at}/expiries"))
    for shown, lots, holds in kept:
        asked = f"?as_of={shown['as_of']}"
        assert tenant.seen(at + asked) == shown
        assert tenant.seen(f"/v1/token-accounts{asked}")["data"] == [shown]
        assert tenant.seen(f"{at}/lots{asked}") == lots
        assert tenant.seen(f"{at}/holds{asked}") == holds
    before = "2001-01-01T00:00:00Z"
    assert tenant.seen(f"/v1/token-accounts?as_of={before}")["data"] == []
    assert {tenant.get(f"{path}?as_of={before}").status_code for path in (at, f"{at}/lots", f"{at}/holds")} == {404}
    assert tenant.get(f"/v1/token-accounts/{NOBODY}/holds?as_of={kept[0][0]['as_of']}").status_code == 404
    assert tenant.get(f"{at}?as_of={before}&at_position=1").status_code == 422


def test_what_is_to_come_is_answered_by_what_will_have_run_out(bakery: Caller, founder: Caller, account: str) -> None:
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    founder.done(f"{account}/grants", {"amount_mtok": 70, "kind": "promo", "expires_at": tomorrow.isoformat()})
    written = bakery.post(f"{account}/holds", {"amount_mtok": 200, "meter": "change.plan"})
    later = (tomorrow + timedelta(hours=1)).isoformat().replace("+00:00", "Z")
    shown = bakery.seen(f"{account}?as_of={later}", written)
    assert shown["as_of"] == later
    assert shown["balance"] == {"available_mtok": 10_000, "held_mtok": 0, "frozen_mtok": 0, "debt_mtok": 0}
    assert [lot["available_mtok"] for lot in bakery.seen(f"{account}/lots?as_of={later}")["data"]] == [10_000]
    assert bakery.seen(f"{account}/holds")["data"] and not bakery.seen(f"{account}/holds?as_of={later}")["data"]


def test_the_history_of_a_balance_ends_today(bakery: Caller, account: str) -> None:
    written = bakery.post(f"{account}/debits", {"meter": "m", "amount_mtok": 40})
    history = bakery.seen(f"{account}/balance-history?to=2199-01-01T00:00:00Z", written)["data"]
    assert (history[-1]["day"], history[-1]["balance_mtok"]) == (datetime.now(UTC).date().isoformat(), 9_960)
    assert bakery.seen(f"{account}/balance-history?to=2020-01-01T00:00:00Z")["data"] == []
