"""Bad input gets a problem with a pointer to what is wrong: never a 500, never half an effect."""

from __future__ import annotations

import json
from typing import Any

import pytest
from felix_world import NOBODY, Caller, World, new_key

AMOUNT = "/amount_mtok"


@pytest.fixture
def account(bakery: Caller, founder: Caller) -> str:
    return f"/v1/token-accounts/{bakery.open_account(founder, 10_000)}"


def pointers(answered: Any) -> list[str]:
    assert answered.status_code == 422, (answered.status_code, answered.text)
    assert answered.headers["content-type"] == "application/problem+json"
    return [error["pointer"] for error in answered.json()["errors"]]


@pytest.mark.parametrize(
    "amount",
    ["0", "-1", "1.5", "1.0", "1e3", str(2**53), str(2**63), str(2**64), "-" + str(2**70), "true", '"5"', "[]", "{}"],
)
@pytest.mark.parametrize("noun", ["debits", "holds", "transfers", "grants"])
def test_an_amount_is_a_positive_whole_number_of_at_most_53_bits(
    noun: str, amount: str, bakery: Caller, founder: Caller, account: str
) -> None:
    others = {"debits": '"meter":"m",', "holds": '"meter":"m",', "transfers": f'"to_account_id":"{NOBODY}",'}
    body = f'{{{others.get(noun, "")}"amount_mtok":{amount}}}'.encode()
    assert pointers((founder if noun == "grants" else bakery).post(f"{account}/{noun}", body)) == [AMOUNT]
    assert bakery.seen(account, bakery.post(f"{account}/debits", {"meter": "m", "amount_mtok": 1}))["version"] == 3


def test_over_the_balance_is_402_with_what_is_missing(bakery: Caller, account: str) -> None:
    answered = bakery.post(f"{account}/debits", {"meter": "m", "amount_mtok": 10_250})
    assert answered.status_code == 402
    assert answered.json() == {
        "type": "urn:felix:problem:insufficient_tokens",
        "title": "The account has fewer tokens than are needed.",
        "status": 402,
        "code": "insufficient_tokens",
        "detail": "The account has fewer tokens than are needed.",
        "required_mtok": 10_250,
        "available_mtok": 10_000,
        "credit_mtok": 0,
        "shortfall_mtok": 250,
    }


HOSTILE = {
    "10,000 arrays deep": b'{"meter":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
    "10,000 objects deep": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    "33 levels deep": b'{"meter":' + b"[" * 33 + b"]" * 33 + b"}",
    "an open bomb": b"[" * 60_000,
    "not a number": b'{"meter":"m","amount_mtok":NaN}',
    "infinity": b'{"meter":"m","amount_mtok":Infinity}',
    "1e400": b'{"meter":"m","amount_mtok":1e400}',
    "a number of 10,000 digits": b'{"meter":"m","amount_mtok":' + b"9" * 10_000 + b"}",
    "NUL in a meter": b'{"meter":"m\\u0000","amount_mtok":1}',
    "NUL in a label": b'{"meter":"m","amount_mtok":1,"app":"a\\u0000b"}',
    "a raw NUL": b'{"meter":"m\x00","amount_mtok":1}',
    "a lone surrogate": b'{"meter":"m","amount_mtok":1,"app":"\\ud800"}',
    "a surrogate the wrong way": b'{"meter":"m","amount_mtok":1,"app":"\\udc00\\ud800"}',
    "invalid UTF-8": b'{"meter":"m","amount_mtok":1,"app":"\xff\xfe"}',
    "UTF-16": '{"meter":"m","amount_mtok":1}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"meter":"m","amount_mtok":1}',
    "a member twice": b'{"meter":"m","amount_mtok":1,"amount_mtok":2}',
    "a member twice, one escaped": b'{"meter":"m","amount_mtok":1,"amount\\u005fmtok":2}',
    "an unknown field": b'{"meter":"m","amount_mtok":1,"amuont_mtok":2}',
    "the path once more": b'{"meter":"m","amount_mtok":1,"account_id":"x"}',
    "an array": b"[]",
    "a string": b'"debit"',
    "null": b"null",
    "a comma too many": b'{"meter":"m","amount_mtok":1,}',
    "a comment": b'{"meter":"m",/**/"amount_mtok":1}',
    "half a body": b'{"meter":"m","amount_mtok":',
    "white space": b"   ",
    "a form": b"meter=m&amount_mtok=1",
    "nothing": b"",
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_body_is_422_and_has_no_effect(what: str, bakery: Caller, account: str) -> None:
    key = new_key()
    assert pointers(bakery.post(f"{account}/debits", HOSTILE[what], key))
    assert bakery.get(f"/v1/commands/{key}").status_code == 404


@pytest.mark.parametrize("what", sorted(HOSTILE.keys() - {"nothing"}))
def test_a_hostile_batch_is_422_or_refused_item_by_item(what: str, bakery: Caller) -> None:
    for body in (HOSTILE[what], b'{"events":' + HOSTILE[what] + b"}", b"[" + HOSTILE[what] + b"]"):
        answered = bakery.post("/v1/usage/batch", body)
        assert answered.status_code == 422 or answered.json()["accepted"] == 0, answered.text


def test_every_pointer_leads_to_its_field(bakery: Caller, founder: Caller, account: str) -> None:
    body = {"meter": "Not A Meter", "quantity": 0, "app": "", "person": 5, "x/y~z": 1}
    assert sorted(pointers(bakery.post(f"{account}/debits", body))) == [
        "/app", "/meter", "/person", "/quantity", "/x~1y~0z",
    ]  # fmt: skip
    price = {"kind": "tiered", "meter": "m", "tiers": [{"up_to": 5, "price_mtok": -1}, {"price_mtok": 1}]}
    found = pointers(founder.post("/v1/rate-cards/default/versions", {"prices": [price]}))
    assert found == ["/prices/0/tiered/tiers/0/price_mtok"]


@pytest.mark.parametrize(
    "moment",
    ["9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+14:00", "2026-02-30T00:00:00Z", "2030-01-01T00:00:00", "x"],
)
def test_a_moment_that_is_none_is_422(moment: str, bakery: Caller, founder: Caller, account: str) -> None:
    assert founder.post(f"{account}/grants", {"amount_mtok": 1, "expires_at": moment}).status_code == 422
    for name in ("as_of=", "statements?from=", "statements?to="):
        path = f"{account}{'?' if name == 'as_of=' else '/'}{name}{moment.replace('+', '%2B')}"
        assert bakery.get(path).status_code in ((200, 404, 422) if moment.startswith("9999") else (422,)), path
    assert bakery.get(f"/v1/events?since={moment.replace('+', '%2B')}").status_code == 422


def test_a_charge_beyond_what_one_debit_can_take_is_refused_by_its_size(bakery: Caller, account: str) -> None:
    """price x quantity has up to 106 bits: more than JSON or a bigint can carry."""
    debit = {"meter": "ruinous", "quantity": 2**53 - 1}
    key = new_key()
    for _ in range(2):
        answered = bakery.post(f"{account}/debits", debit, key)
        assert (answered.status_code, answered.json()["code"]) == (413, "charge_too_large"), answered.text
        assert "retry-after" not in answered.headers
    asked = {"lines": [debit]}
    quoted = bakery.post(f"{account}/quotes", asked, key=None)
    assert (quoted.status_code, quoted.json()["code"]) == (413, "charge_too_large")


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "chunked"])
def test_a_body_over_the_limit_is_413(declared: bool, bakery: Caller, account: str) -> None:
    body = json.dumps({"meter": "m", "amount_mtok": 1, "reference": "x" * 65_536}).encode()
    headers = bakery.headers | {"Idempotency-Key": new_key()}
    content: Any = body if declared else iter([body[:40_000], body[40_000:]])
    answered = bakery.client.post(f"{account}/debits", content=content, headers=headers)
    assert (answered.status_code, answered.json()["code"]) == (413, "body_too_large")
    assert answered.json()["limit_bytes"] == 65_536


def test_a_batch_over_its_limits_is_413(bakery: Caller) -> None:
    too_many = bakery.post("/v1/usage/batch", {"events": [{}] * 1_001})
    assert (too_many.status_code, too_many.json()["code"]) == (413, "usage_batch_too_large")
    assert (too_many.json()["items"], too_many.json()["limit"]) == (1_001, 1_000)
    too_large = bakery.post("/v1/usage/batch", b'{"events":["' + b"x" * 4 * 1024 * 1024 + b'"]}')
    assert (too_large.status_code, too_large.json()["code"]) == (413, "body_too_large")


@pytest.mark.parametrize(
    "path",
    [
        "/v1/token-accounts/%00",
        "/v1/token-accounts/acct_%00/lots",
        "/v1/token-accounts/acct_%00/transactions",
        "/v1/token-accounts/acct_%00/statements",
        "/v1/token-accounts/acct_%00?at_position=1",
        "/v1/commands/%00",
        "/v1/streams/%00/events",
        "/v1/rate-cards/%00",
        "/v1/nowhere/%00",
        f"/v1/token-accounts/{NOBODY}%FF",
        f"/v1/token-accounts/{'x' * 5_000}",
        "/v1/token-accounts/..%2F..%2Fetc%2Fpasswd",
    ],
)
def test_a_path_that_can_not_be_is_404(path: str, bakery: Caller) -> None:
    answered = bakery.get(path)
    assert answered.status_code == 404, (path, answered.text)
    assert answered.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "query",
    [
        "/v1/events?type=%00",
        "/v1/events?stream=%00",
        "/v1/events?actor=a%00b",
        "/v1/events?cursor=-1",
        "/v1/events?cursor=9223372036854775808",
        "/v1/events?cursor=x",
        "/v1/events?limit=0",
        "/v1/events?limit=1001",
        "/v1/events?limit=1.5",
        "/v1/events?limit=%D9%A3",
        "/v1/events?since=yesterday",
        "/v1/usage?by=shoe_size",
        "/v1/usage?account_id=%00",
        "/v1/usage?from=2026-01-01",
        "/v1/token-accounts?cursor=%00",
        "/v1/token-accounts?after=2-17",
        "/v1/token-accounts?after=%00",
        f"/v1/token-accounts/{NOBODY}?at_position=-1",
        f"/v1/token-accounts/{NOBODY}?at_position=9:1",
        f"/v1/token-accounts/{NOBODY}?at_position=99999999999999999999",
        f"/v1/token-accounts/{NOBODY}?as_of=now",
        f"/v1/token-accounts/{NOBODY}?as_of=2026-01-01T00:00:00Z&at_position=1",
    ],
)
def test_a_query_that_makes_no_sense_is_422(query: str, bakery: Caller) -> None:
    assert pointers(bakery.get(query)), query


@pytest.mark.parametrize("rate_card", ["NOT A SLUG", "", "\x00", 5, None, ["default"]])
def test_a_rate_card_that_can_not_be_is_422(rate_card: Any, bakery: Caller, account: str) -> None:
    assert pointers(bakery.post("/v1/usage/batch", {"events": [{}], "rate_card_id": rate_card})) == ["/rate_card_id"]
    asked = {"lines": [{"meter": "m", "quantity": 1}], "rate_card_id": rate_card}
    assert pointers(bakery.post(f"{account}/quotes", asked)) == ["/rate_card_id"]


def test_a_header_that_can_not_be_is_422(bakery: Caller, founder: Caller, account: str) -> None:
    answered = bakery.post(f"{account}/debits", {"meter": "m", "amount_mtok": 1}, Felix_Correlation_Id="not-a-uuid")
    assert pointers(answered) == ["Felix-Correlation-Id"]
    assert pointers(bakery.get(account, Felix_Min_Position="soon")) == ["Felix-Min-Position"]
    assert founder.get(account, Felix_Tenant="a\x00b").status_code in (404, 422)


def test_a_path_or_method_that_is_not_there_says_so(bakery: Caller, world: World) -> None:
    nowhere = bakery.get("/v1/nowhere")
    assert (nowhere.status_code, nowhere.json()["code"], nowhere.json()["status"]) == (404, "not_found", 404)
    wrong = world.client.delete("/v1/token-accounts", headers=bakery.headers)
    assert (wrong.status_code, wrong.json()["code"], wrong.json()["status"]) == (405, "method_not_allowed", 405)
    assert {method.strip() for method in wrong.headers["allow"].split(",")} == {"GET", "POST"}
    only_post = world.client.get("/v1/usage/batch", headers=bakery.headers)
    assert (only_post.status_code, only_post.headers["allow"]) == (405, "POST")
