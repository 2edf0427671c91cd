"""Reading: one's own writes, the past and the future, page by page without a gap."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from felix_world import Caller, World


@pytest.fixture
def account(bakery: Caller, founder: Caller) -> str:
    return f"/v1/token-accounts/{bakery.open_account(founder, 10_000)}"


def debit(bakery: Caller, account: str, amount_mtok: int = 1, **more: Any) -> Any:
    return bakery.post(f"{account}/debits", {"meter": "llm.input_tokens", "amount_mtok": amount_mtok, **more})


def test_a_write_is_seen_by_whoever_asks_for_its_position(bakery: Caller, account: str) -> None:
    for spent in range(1, 21):
        written = debit(bakery, account)
        assert bakery.seen(account, written)["balance"]["available_mtok"] == 10_000 - spent
        assert bakery.seen(f"{account}/transactions", written)["data"][-1]["amount_mtok"] == -1
    position = written.headers["felix-position"]
    assert bakery.seen(f"{account}?after={position}")["balance"]["available_mtok"] == 9_980
    assert bakery.seen(f"/v1/usage?account_id={account[-37:]}&after={position}")["data"][0]["amount_mtok"] == 20


def test_a_position_that_never_comes_is_503_with_the_lag(world: World, bakery: Caller, account: str) -> None:
    tenant_id, _, last = debit(bakery, account).headers["felix-position"].partition(":")
    services = world.app.state.services
    before, services.read_timeout_s = services.read_timeout_s, 0.1
    try:
        answered = bakery.get(account, Felix_Min_Position=f"{tenant_id}:{int(last) + 1_000_000}")
    finally:
        services.read_timeout_s = before
    assert (answered.status_code, answered.json()["code"]) == (503, "not_yet_projected")
    assert answered.headers["retry-after"] == "1"
    assert answered.json()["tenant_sequence"] == int(last) + 1_000_000
    assert 0 < answered.json()["lag_events"] <= 1_000_000 + 5
    assert "balances" in answered.json()["behind"]


def test_an_account_can_be_seen_at_every_position_of_its_past(bakery: Caller, account: str) -> None:
    positions = [debit(bakery, account, 100).headers["felix-position"] for _ in range(5)]
    for number, position in enumerate(positions, 1):
        then = bakery.seen(f"{account}?at_position={position}")
        assert then["balance"]["available_mtok"] == 10_000 - 100 * number
        assert bakery.seen(f"{account}?at_position={position.partition(':')[2]}") == then
    now = bakery.seen(account, debit(bakery, account, 100))
    replayed = bakery.seen(f"{account}?at_position={10**17}")
    for name in ("account_id", "name", "status", "balance", "version", "credit_limit_mtok"):
        assert now[name] == replayed[name]
    opened = int(positions[0].partition(":")[2]) - 2
    assert bakery.get(f"{account}?at_position={opened - 1}").status_code == 404
    assert bakery.seen(f"{account}?at_position={opened}")["balance"]["available_mtok"] == 0


def test_an_account_can_be_seen_at_every_moment_past_and_future(bakery: Caller, founder: Caller) -> None:
    account = f"/v1/token-accounts/{bakery.open_account()}"
    soon = datetime.now(UTC) + timedelta(days=1)
    lot = {"amount_mtok": 1_000, "kind": "promo", "expires_at": soon.isoformat()}
    founder.done(f"{account}/grants", lot)
    founder.done(f"{account}/grants", {"amount_mtok": 500})
    bakery.done(f"{account}/holds", {"amount_mtok": 200, "meter": "change.plan", "ttl_s": 60})
    then = bakery.seen(account, debit(bakery, account, 0 + 1))["as_of"]

    def at(moment: datetime | str) -> Any:
        text = moment if isinstance(moment, str) else moment.isoformat()
        return bakery.seen(f"{account}?as_of={text.replace('+', '%2B')}")["balance"]

    assert at(then) == {"available_mtok": 1_299, "held_mtok": 200, "frozen_mtok": 0, "debt_mtok": 0}
    assert at(soon - timedelta(hours=1)) == {"available_mtok": 1_499, "held_mtok": 0, "frozen_mtok": 0, "debt_mtok": 0}
    assert at(soon + timedelta(hours=1))["available_mtok"] == 500
    assert bakery.get(f"{account}?as_of=2001-01-01T00:00:00Z").status_code == 404


def test_a_quote_tells_what_a_debit_would_do_and_changes_nothing(bakery: Caller, account: str) -> None:
    usage = {"meter": "llm.input_tokens", "quantity": 4_000}
    events = bakery.seen("/v1/events?limit=1000")["data"]
    quoted = bakery.post(f"{account}/quotes", {"lines": [usage]}, key=None)
    assert quoted.status_code == 200, quoted.text
    assert "felix-position" not in quoted.headers
    assert bakery.post(f"{account}/quotes", {"lines": [usage]}, key=None).content == quoted.content
    assert bakery.seen("/v1/events?limit=1000")["data"] == events
    debited = bakery.done(f"{account}/debits", usage)
    versions = bakery.seen("/v1/rate-cards/default")["versions"]
    assert quoted.json()["rate_card"] == f"default/{versions[-1]['version']}", "other tests may have published since"
    for name in ("amount_mtok", "lines", "allocation", "debt_mtok", "balance"):
        assert quoted.json()[name] == debited[name], name


def test_a_quote_refuses_what_a_debit_would_be_refused(bakery: Caller, account: str) -> None:
    too_much = {"lines": [{"meter": "llm.input_tokens", "quantity": 10**7}]}
    answered = bakery.post(f"{account}/quotes", too_much)
    assert (answered.status_code, answered.json()["shortfall_mtok"]) == (402, 15_000_000 - 10_000)
    unpriced = bakery.post(f"{account}/quotes", {"lines": [{"meter": "unheard.of", "quantity": 1}]})
    assert (unpriced.status_code, unpriced.json()["code"]) == (409, "unknown_price")
    no_card = bakery.post(f"{account}/quotes", {"lines": [{"meter": "m", "quantity": 1}], "rate_card_id": "none"})
    assert (no_card.status_code, no_card.json()["code"]) == (409, "unknown_price")
    assert bakery.post(f"{account}/quotes", {"lines": []}).status_code == 422


def test_a_statement_leads_from_its_opening_to_its_closing_balance(bakery: Caller, account: str) -> None:
    first = debit(bakery, account, 100)
    middle = bakery.seen(account, first)["modified_at"]
    last = debit(bakery, account, 30, reference="ticket 7")
    whole = bakery.seen(f"{account}/statements", last)
    assert (whole["opening_mtok"], whole["closing_mtok"]) == (0, 9_870)
    assert [line["amount_mtok"] for line in whole["lines"]] == [10_000, -100, -30]
    assert whole["lines"][-1]["reference"] == "ticket 7"
    before = bakery.seen(f"{account}/statements?to={middle}")
    after = bakery.seen(f"{account}/statements?from={middle}")
    assert before["closing_mtok"] == after["opening_mtok"] == 10_000
    assert [line["amount_mtok"] for line in after["lines"]] == [-100, -30]
    lines, cursor = [], 0
    while cursor is not None:
        page = bakery.seen(f"{account}/statements?limit=1&cursor={cursor}")
        lines, cursor = lines + page["lines"], page["next"]
    assert lines == whole["lines"]


def test_the_trial_balance_is_zero(bakery: Caller, founder: Caller, account: str) -> None:
    founder.done(f"{account}/grants", {"amount_mtok": 77, "cost_minor": 3, "currency": "EUR"})
    bakery.done(f"{account}/holds", {"amount_mtok": 200, "meter": "change.plan"})
    founder.done(f"{account}/adjustments", {"amount_mtok": -5, "reason": "a test"})
    sums = bakery.seen("/v1/trial-balance", debit(bakery, account, 100))
    assert set(sums["totals"]) == {"TOK", "EUR"}
    assert set(sums["totals"].values()) == {0}
    assert sums["assets"]["TOK"]["consumed:llm.input_tokens"] >= 100
    assert all(sum(amounts.values()) == 0 for amounts in sums["assets"].values())


def test_every_transaction_of_the_journal_sums_to_zero(bakery: Caller, founder: Caller, account: str) -> None:
    hold = bakery.done(f"{account}/holds", {"amount_mtok": 200, "meter": "change.plan"})["hold_id"]
    written = bakery.post(f"{account}/holds/{hold}/capture", {"amount_mtok": 150})
    for line in bakery.seen(f"{account}/transactions", written)["data"]:
        assert sum(posting["amount"] for posting in line["postings"]) == 0, line


def test_pages_follow_each_other_without_a_gap_while_others_write(world: World) -> None:
    tenant = world.new_tenant()
    account = f"/v1/token-accounts/{tenant.open_account(world.founder, 10_000)}"
    for path, by in (
        ("/v1/events", "tenant_sequence"),
        (f"/v1/streams/{tenant.tenant_id}:token_account:{account[-37:]}/events", "version"),
        (f"{account}/transactions", "tenant_sequence"),
    ):
        for _ in range(7):
            written = debit(tenant, account)
        whole = tenant.seen(f"{path}?limit=1000", written)["data"]
        seen: list[Any] = []
        cursor = 0
        while len(seen) < len(whole):
            page = tenant.seen(f"{path}?limit=3&cursor={cursor}", written)
            seen += page["data"]
            cursor = page["next"]
            debit(tenant, account)
        assert seen[: len(whole)] == whole
        numbers = [row[by] for row in seen]
        assert numbers == sorted(set(numbers))
        if not path.endswith("/transactions"):
            assert numbers == list(range(1, len(numbers) + 1)), "dense"


def test_accounts_are_listed_page_by_page(world: World) -> None:
    tenant = world.new_tenant()
    accounts = [tenant.open_account(name=f"Account {number}") for number in range(7)]
    last = tenant.post("/v1/token-accounts", {"name": "last"})
    accounts.append(last.json()["account_id"])
    seen, cursor = [], ""
    while cursor is not None:
        page = tenant.seen(f"/v1/token-accounts?limit=3&cursor={cursor}", last)
        seen, cursor = seen + [row["account_id"] for row in page["data"]], page["next"]
    assert seen == sorted(accounts)


def test_events_tell_who_did_what_under_which_key(bakery: Caller, founder: Caller, account: str) -> None:
    correlation = "01a2087f-ab38-70cb-bc6a-f9e6ddc70000"
    written = bakery.post(
        f"{account}/debits", {"meter": "m", "amount_mtok": 3}, "who-did-what", Felix_Correlation_Id=correlation
    )
    stream = f"{bakery.tenant_id}:token_account:{account[-37:]}"
    event = bakery.seen(f"/v1/streams/{stream}/events")["data"][-1]
    assert f"{event['tenant_id']}:{event['tenant_sequence']}" == written.headers["felix-position"]
    assert (event["type"], event["command_key"]) == ("ledger.tokens_debited", "who-did-what")
    assert event["actor"].startswith("service:key_")
    assert event["metadata"] == {"correlation_id": correlation}
    assert event["state"]["amount_mtok"] == 3
    chosen = bakery.seen(f"/v1/events?stream={stream}&type=ledger.tokens_debited&actor={event['actor']}")["data"]
    assert chosen == [event]
    when = event["recorded_at"]
    assert bakery.seen(f"/v1/events?stream={stream}&since={when}&until={when}")["data"] == []
    assert bakery.seen(f"/v1/events?stream={stream}&since={when}")["data"] == [event]
    assert founder.seen(f"/v1/events?stream={stream}&since={when}")["data"] == [event]


def test_usage_is_counted_by_what_is_asked_for(bakery: Caller, account: str) -> None:
    mine = f"account_id={account[-37:]}"
    debit(bakery, account, 5, quantity=50, app="crm", person="ada", model="gpt-4o")
    written = debit(bakery, account, 7, quantity=70, app="crm")
    assert bakery.seen(f"/v1/usage?{mine}", written)["data"] == [
        {"meter": "llm.input_tokens", "quantity": 120, "amount_mtok": 12, "reversed_mtok": 0, "debits": 2}
    ]
    by_person = bakery.seen(f"/v1/usage?{mine}&by=app,person")["data"]
    assert [(row["app"], row["person"], row["amount_mtok"]) for row in by_person] == [("crm", "", 7), ("crm", "ada", 5)]
    today = datetime.now(UTC).date().isoformat()
    assert bakery.seen(f"/v1/usage?{mine}&by=day")["data"][0]["day"] == today
    assert bakery.seen(f"/v1/usage?{mine}&to=2020-01-01T00:00:00Z")["data"] == []
