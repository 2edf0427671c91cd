"""One key, one effect, one answer: however often, however many at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from felix_world import Caller, World, new_key


@pytest.fixture
def account(bakery: Caller, founder: Caller) -> str:
    return f"/v1/token-accounts/{bakery.open_account(founder, 10_000)}"


def debit_of(amount_mtok: int, **more: Any) -> dict[str, Any]:
    return {"meter": "llm.input_tokens", "amount_mtok": amount_mtok, **more}


def test_the_same_key_with_another_request_names_the_fields_that_differ(bakery: Caller, account: str) -> None:
    key = new_key()
    bakery.done(f"{account}/debits", debit_of(10), key)
    clash = bakery.post(f"{account}/debits", debit_of(11, app="crm"), key)
    assert (clash.status_code, clash.json()["code"]) == (422, "command_key_reused")
    assert clash.json()["conflicting_fields"] == ["amount_mtok", "app"]
    assert bakery.seen(account, bakery.post(f"{account}/debits", debit_of(10), key))["consumed_mtok"] == 10


def test_the_same_key_on_another_endpoint_is_another_request(bakery: Caller, account: str) -> None:
    key = new_key()
    bakery.done(f"{account}/debits", debit_of(10), key)
    clash = bakery.post(f"{account}/holds", debit_of(10), key)
    assert clash.status_code == 422
    assert clash.json()["conflicting_fields"] == ["command"]


def test_the_same_key_belongs_to_each_client_alone(bakery: Caller, garage: Caller) -> None:
    key = new_key()
    mine = bakery.done("/v1/token-accounts", {"name": "mine"}, key)
    theirs = garage.post("/v1/token-accounts", {"name": "theirs"}, key)
    assert theirs.status_code == 201
    assert theirs.json()["account_id"] != mine["account_id"]


def test_a_refusal_stays_refused_when_the_tokens_come_later(bakery: Caller, founder: Caller) -> None:
    account = f"/v1/token-accounts/{bakery.open_account()}"
    key = new_key()
    first = bakery.post(f"{account}/debits", debit_of(10), key)
    founder.done(f"{account}/grants", {"amount_mtok": 1_000})
    again = bakery.post(f"{account}/debits", debit_of(10), key)
    assert first.status_code == again.status_code == 402
    assert first.content == again.content
    assert again.headers["idempotent-replayed"] == "true"
    bakery.done(f"{account}/debits", debit_of(10))


def test_a_request_that_could_never_be_right_leaves_its_key_unused(bakery: Caller, account: str) -> None:
    key = new_key()
    assert bakery.post(f"{account}/debits", debit_of(-1), key).status_code == 422
    bakery.done(f"{account}/debits", debit_of(1), key)


def test_a_key_may_be_bare_or_a_quoted_string(bakery: Caller, account: str) -> None:
    key = new_key()
    bare = bakery.post(f"{account}/debits", debit_of(1), key)
    quoted = bakery.post(f"{account}/debits", debit_of(1), f'"{key}"')
    assert bare.content == quoted.content
    assert quoted.headers["idempotent-replayed"] == "true"


@pytest.mark.parametrize("key", ["x" * 256, '""', " ", "tab\tinside", "caf\u00e9"], ids=repr)
def test_a_key_that_is_none_is_400(key: str, bakery: Caller, account: str) -> None:
    headers = bakery.headers | {"Idempotency-Key": key.encode("latin-1")}  # type: ignore[operator]
    answered = bakery.client.post(f"{account}/debits", json=debit_of(1), headers=headers)
    assert (answered.status_code, answered.json()["code"]) == (400, "missing_idempotency_key")


def test_eight_at_once_under_one_key_have_one_effect(bakery: Caller, account: str) -> None:
    key = new_key()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: bakery.post(f"{account}/debits", debit_of(10), key), range(8)))
    done = [answer for answer in answers if answer.status_code == 201]
    waiting = [answer for answer in answers if answer.status_code == 409]
    assert len(done) + len(waiting) == 8
    assert len({answer.content for answer in done}) == 1
    assert sum("idempotent-replayed" not in answer.headers for answer in done) == 1
    for answer in waiting:
        assert answer.json()["code"] == "command_in_progress"
        assert int(answer.headers["retry-after"]) >= 1
    assert bakery.seen(account, done[0])["consumed_mtok"] == 10


def test_while_the_first_is_running_the_second_is_409_and_later_gets_the_same_answer(
    world: World, bakery: Caller, account: str
) -> None:
    """Somebody holds the partition's head, so that the first request waits for as long as the test wants."""
    key = new_key()
    with psycopg.connect(world.endpoints.database_url) as holder, ThreadPoolExecutor(1) as pool:
        holder.execute("select from felix.partitions for update")
        first = pool.submit(bakery.post, f"{account}/debits", debit_of(10), key)
        world.wait_for_a_waiting_lane()
        second = bakery.post(f"{account}/debits", debit_of(10), key)
        assert (second.status_code, second.json()["code"]) == (409, "command_in_progress")
        assert second.headers["retry-after"] == "1"
        holder.rollback()
        done = first.result(timeout=10)
    assert done.status_code == 201
    assert bakery.post(f"{account}/debits", debit_of(10), key).content == done.content


def test_a_lost_answer_is_found_again_under_its_key(bakery: Caller, founder: Caller, account: str) -> None:
    key, refused_key = f"order/{new_key()}?#%&", new_key()
    done = bakery.post(f"{account}/debits", debit_of(10), key)
    bakery.post(f"{account}/debits", debit_of(10**6), refused_key)
    found = bakery.seen("/v1/commands/" + quote(key, safe=""))
    assert (found["type"], found["accepted"]) == ("ledger.debit_tokens", True)
    assert found["outcome"] == done.json()
    refused = founder.seen(f"/v1/commands/{refused_key}")
    assert (refused["accepted"], refused["outcome"]["code"]) == (False, "insufficient_tokens")


def test_the_commands_of_another_client_can_not_be_seen(bakery: Caller, garage: Caller, account: str) -> None:
    key = new_key()
    bakery.done(f"{account}/debits", debit_of(10), key)
    foreign, unknown = garage.get(f"/v1/commands/{key}"), garage.get(f"/v1/commands/{key[:-1]}_")
    assert foreign.status_code == unknown.status_code == 404
    assert foreign.content.replace(key.encode(), f"{key[:-1]}_".encode()) == unknown.content


def test_a_tenant_that_is_taken_on_board_twice_under_one_key_is_one(founder: Caller) -> None:
    key = new_key()
    first = founder.done("/v1/tenants", {"slug": f"once-{key}", "name": "Once"}, key)
    clash = founder.post("/v1/tenants", {"slug": f"twice-{key}", "name": "Once"}, key)
    assert (clash.status_code, clash.json()["code"]) == (422, "command_key_reused"), clash.text
    assert clash.json()["conflicting_fields"] == ["slug"]
    taken = founder.post("/v1/tenants", {"slug": f"once-{key}", "name": "Once"})
    assert (taken.status_code, taken.json()["code"]) == (409, "slug_taken")
    assert founder.done("/v1/tenants", {"slug": f"once-{key}", "name": "Once"}, key) == first
