"""A batch of usage: item by item accepted, a duplicate, or refused; and never twice."""

from __future__ import annotations

from typing import Any

import pytest
from felix_world import NOBODY, Caller, World, new_key


@pytest.fixture
def account(bakery: Caller, founder: Caller) -> str:
    return bakery.open_account(founder, 1_000_000)


def usage(account: str, event_id: str = "", quantity: Any = 1_000, **more: Any) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "type": "felix.usage",
        "source": "/apps/assistant",
        "id": event_id or new_key(),
        "subject": account,
        "data": {"meter": "change.plan", "quantity": quantity},
        **more,
    }


def spent(caller: Caller, account: str, after: Any = None) -> int:
    shown: int = caller.seen(f"/v1/token-accounts/{account}", after)["consumed_mtok"]
    return shown


def test_a_thousand_items_are_one_request_and_a_thousand_debits(bakery: Caller, account: str) -> None:
    answered = bakery.post("/v1/usage/batch", {"events": [usage(account) for _ in range(1_000)]})
    assert answered.json() == {"accepted": 1_000, "charged_mtok": 50_000, "duplicates": [], "refused": []}
    assert spent(bakery, account, answered) == 50_000
    assert bakery.seen(f"/v1/usage?account_id={account}")["data"][0]["debits"] == 1_000


def test_the_body_may_be_the_bare_list(bakery: Caller, account: str) -> None:
    assert bakery.done("/v1/usage/batch", [usage(account)])["accepted"] == 1


def test_the_same_usage_has_one_effect_within_a_batch_across_batches_and_under_any_key(
    bakery: Caller, account: str
) -> None:
    first, second = usage(account), usage(account)
    within = bakery.done("/v1/usage/batch", {"events": [first, second, first]})
    assert within == {"accepted": 2, "charged_mtok": 100, "duplicates": [2], "refused": []}
    changed = first | {"data": {"meter": "change.plan", "quantity": 9}}
    across = bakery.post("/v1/usage/batch", {"events": [changed, usage(account), second]})
    assert across.json() == {"accepted": 1, "charged_mtok": 50, "duplicates": [0, 2], "refused": []}
    assert spent(bakery, account, across) == 150


def test_the_same_source_and_id_of_two_clients_are_two(bakery: Caller, garage: Caller, founder: Caller) -> None:
    event_id = new_key()
    for client in (bakery, garage):
        account = client.open_account(founder, 1_000)
        assert client.done("/v1/usage/batch", [usage(account, event_id)])["accepted"] == 1


def test_a_refused_item_may_be_sent_again_when_there_are_tokens(bakery: Caller, founder: Caller) -> None:
    account = bakery.open_account()
    item = usage(account)
    first = bakery.done("/v1/usage/batch", {"events": [item]})
    assert [(refusal["index"], refusal["code"]) for refusal in first["refused"]] == [(0, "insufficient_tokens")]
    founder.done(f"/v1/token-accounts/{account}/grants", {"amount_mtok": 1_000})
    assert bakery.done("/v1/usage/batch", {"events": [item]})["accepted"] == 1


def test_each_bad_item_is_named_with_its_reason_and_stops_no_other(bakery: Caller, account: str) -> None:
    good = usage(account)
    events = [
        "not an object",
        usage(account, quantity=0),
        good,
        usage(account, quantity=1.5),
        usage("acct_of_nobody"),
        usage(NOBODY),
        usage(account) | {"data": {"meter": "unheard.of", "quantity": 1}},
        usage(account) | {"data": {"meter": "ruinous", "quantity": 2**53 - 1}},
        usage(account) | {"data": {"meter": "llm.input_tokens", "quantity": 10**12}},
        good,
        usage(account) | {"time": "yesterday"},
        usage(account) | {"time": "2025-01-01T00:00:00Z"},
        usage(account) | {"time": "2999-01-01T00:00:00Z"},
        usage(account),
        usage(account) | {"id": "a\x00b"},
        usage(account) | {"id": None},
    ]
    answered = bakery.post("/v1/usage/batch", {"events": events})
    assert answered.status_code == 200, answered.text
    told = answered.json()
    assert (told["accepted"], told["charged_mtok"], told["duplicates"]) == (2, 100, [9])
    assert [(refusal["index"], refusal["code"]) for refusal in told["refused"]] == [
        (0, "malformed_item"),
        (1, "malformed_item"),
        (3, "malformed_item"),
        (4, "malformed_item"),
        (5, "not_found"),
        (6, "unknown_price"),
        (7, "charge_too_large"),
        (8, "insufficient_tokens"),
        (10, "malformed_item"),
        (11, "usage_out_of_time"),
        (12, "usage_out_of_time"),
        (14, "malformed_item"),
        (15, "malformed_item"),
    ]
    by_index = {refusal["index"]: refusal for refusal in told["refused"]}
    assert by_index[1]["pointer"] == "/events/1/data/quantity"
    assert by_index[10]["pointer"] == "/events/10/time"
    assert by_index[8]["facts"]["required_mtok"] == 1_500_000_000_000
    assert spent(bakery, account, answered) == 100


def test_the_same_batch_under_the_same_key_is_answered_byte_for_byte(bakery: Caller, account: str) -> None:
    key, events = new_key(), [usage(account), usage(account, quantity=-1), "x"]
    first = bakery.post("/v1/usage/batch", {"events": events}, key)
    again = bakery.post("/v1/usage/batch", {"events": events}, key)
    assert first.content == again.content
    assert again.headers["idempotent-replayed"] == "true"
    clash = bakery.post("/v1/usage/batch", {"events": [*events, "y"]}, key)
    assert (clash.status_code, clash.json()["conflicting_fields"]) == (422, ["events"])
    other_card = bakery.post("/v1/usage/batch", {"events": events, "rate_card_id": "other"}, key)
    assert other_card.json()["conflicting_fields"] == ["rate_card_id"]
    assert spent(bakery, account, first) == 50


def test_a_batch_that_runs_out_of_tokens_takes_what_fits(bakery: Caller, founder: Caller) -> None:
    account = bakery.open_account(founder, 120)
    answered = bakery.post("/v1/usage/batch", {"events": [usage(account) for _ in range(4)]})
    told = answered.json()
    assert (told["accepted"], [refusal["index"] for refusal in told["refused"]]) == (2, [2, 3])
    assert bakery.seen(f"/v1/token-accounts/{account}", answered)["balance"]["available_mtok"] == 20


def test_a_batch_may_concern_several_accounts(bakery: Caller, founder: Caller) -> None:
    accounts = [bakery.open_account(founder, 1_000) for _ in range(3)]
    answered = bakery.post("/v1/usage/batch", {"events": [usage(account) for account in accounts * 2]})
    assert answered.json()["accepted"] == 6
    assert [spent(bakery, account, answered) for account in accounts] == [100, 100, 100]


def test_only_the_founder_may_import_the_past_and_nobody_the_future(bakery: Caller, founder: Caller) -> None:
    """The rate card is younger than the usage, so what is let in has no price."""
    account = bakery.open_account(founder, 1_000)
    events = [usage(account, time="2025-01-01T00:00:00Z"), usage(account, time="2999-01-01T00:00:00+01:00")]
    for caller, codes in (
        (bakery, ["usage_out_of_time", "usage_out_of_time"]),
        (founder, ["unknown_price", "usage_out_of_time"]),
    ):
        told = caller.done("/v1/usage/batch", {"events": events})
        assert [refusal["code"] for refusal in told["refused"]] == codes


def test_an_unknown_rate_card_charges_nothing(bakery: Caller, account: str) -> None:
    told = bakery.done("/v1/usage/batch", {"events": [usage(account)], "rate_card_id": "nobody-s"})
    assert [refusal["code"] for refusal in told["refused"]] == ["unknown_price"]
    assert told["accepted"] == told["charged_mtok"] == 0


def test_an_unknown_field_beside_the_events_is_422(bakery: Caller, account: str) -> None:
    answered = bakery.post("/v1/usage/batch", {"events": [usage(account)], "rate_card": "default"})
    assert (answered.status_code, answered.json()["errors"][0]["pointer"]) == (422, "/rate_card")


def test_no_client_can_stop_the_counting_of_usage(own_world: World) -> None:
    """1,025 items of the largest quantity, at no cost, sum to more than 63 bits."""
    client = own_world.bakery
    account, most = client.open_account(own_world.founder, 10), {"meter": "free", "quantity": 2**53 - 1}
    own_world.app.state.services.read_timeout_s = 2.0
    for size in (1_000, 25):
        counted = client.post("/v1/usage/batch", [usage(account, data=most) for _ in range(size)])
        assert counted.json()["accepted"] == size
    assert client.get("/v1/usage", counted).status_code == 200
