"""The wall between clients, and what every answer carries. Who gets in at all is in test_access_matrix.py."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from felix_world import NOBODY, Caller, World, new_key

from felix.api.auth import BELIEVED_FOR_S
from felix.application.api_keys import make_key

OPEN = {"/healthz", "/readyz"}
#: Headers that are different every time.
OF_ONE_REQUEST = {"felix-request-id", "felix-correlation-id"}


@pytest.mark.parametrize("path", sorted(OPEN))
def test_health_needs_no_key(path: str, world: World) -> None:
    assert world.client.get(path).status_code == 200


def test_a_revoked_key_is_dead_after_a_second(world: World) -> None:
    key, known = make_key(world.performer, UUID(world.bakery.tenant_id), "short-lived")
    caller = replace(world.bakery, headers={"Authorization": f"Bearer {key}"})
    assert caller.get("/v1/meters").status_code == 200
    world.founder.done(f"/v1/api-keys/{known['key_id']}/revoke")
    time.sleep(BELIEVED_FOR_S)
    assert caller.get("/v1/meters").status_code == 401


def test_only_the_founder_sees_the_list_of_clients(bakery: Caller, founder: Caller, garage: Caller) -> None:
    assert bakery.get("/v1/tenants").status_code == 403
    listed = {tenant["tenant_id"] for tenant in founder.seen("/v1/tenants")["data"]}
    assert {bakery.tenant_id, garage.tenant_id} <= listed


def test_a_founder_has_to_say_which_client(founder: Caller) -> None:
    nobody = replace(founder, headers={"Authorization": founder.headers["Authorization"]})
    for answered in (nobody.get("/v1/token-accounts"), nobody.post("/v1/token-accounts", {"name": "x"})):
        assert answered.status_code == 422
        assert answered.json()["errors"][0]["pointer"] == "Felix-Tenant"
    unknown = nobody.get("/v1/token-accounts", Felix_Tenant="nobody")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "not_found")


def test_a_client_can_not_name_another_client(bakery: Caller, garage: Caller, founder: Caller) -> None:
    account = garage.open_account(founder, 1_000)
    as_the_other = {"Felix_Tenant": garage.tenant_id}
    assert bakery.get(f"/v1/token-accounts/{account}", **as_the_other).status_code == 404
    debit = {"meter": "m", "amount_mtok": 1}
    assert bakery.post(f"/v1/token-accounts/{account}/debits", debit, **as_the_other).status_code == 404


READS = ("", "/lots", "/holds", "/transactions", "/statements", "?at_position={p}", "?as_of=2040-01-01T00:00:00Z")


@pytest.mark.parametrize("what", READS)
def test_reading_an_account_of_another_client_looks_like_one_that_never_was(
    what: str, bakery: Caller, garage: Caller, founder: Caller
) -> None:
    account = garage.open_account(founder, 1_000)
    granted = founder.about(garage).post(f"/v1/token-accounts/{account}/grants", {"amount_mtok": 1})
    position = granted.headers["felix-position"].split(":")[1]
    path = f"/v1/token-accounts/{account}" + what.format(p=f"{bakery.tenant_id}:{position}")
    assert garage.get(f"/v1/token-accounts/{account}", granted).status_code == 200
    foreign, unknown = bakery.get(path), bakery.get(path.replace(account, NOBODY))
    assert foreign.status_code == unknown.status_code == 404
    assert foreign.content.replace(account.encode(), NOBODY.encode()) == unknown.content
    assert told(foreign) == told(unknown)


def test_no_list_shows_anything_of_another_client(bakery: Caller, garage: Caller, founder: Caller) -> None:
    account = garage.open_account(founder, 1_000)
    written = garage.post(f"/v1/token-accounts/{account}/debits", {"meter": "m", "amount_mtok": 1, "app": "their-app"})
    assert garage.get("/v1/usage?by=app", written).status_code == 200
    for path in ("/v1/token-accounts", "/v1/events", "/v1/usage?by=app,account_id", "/v1/trial-balance", "/v1/meters"):
        shown = bakery.get(path).text
        assert account not in shown and garage.tenant_id not in shown and "their-app" not in shown, path
    stream = f"{garage.tenant_id}:token_account:{account}"
    foreign = bakery.get(f"/v1/streams/{stream}/events")
    unknown = bakery.get(f"/v1/streams/{stream.replace(account, NOBODY)}/events")
    assert foreign.status_code == unknown.status_code == 404
    assert foreign.content.replace(account.encode(), NOBODY.encode()) == unknown.content
    assert bakery.seen(f"/v1/events?stream={stream}") == {"data": [], "next": None}


def test_a_quote_for_an_account_of_another_client_looks_like_one_that_never_was(
    bakery: Caller, garage: Caller, founder: Caller
) -> None:
    account = garage.open_account(founder, 1_000)
    asked = {"lines": [{"meter": "change.plan", "quantity": 1}]}
    foreign = bakery.post(f"/v1/token-accounts/{account}/quotes", asked)
    unknown = bakery.post(f"/v1/token-accounts/{NOBODY}/quotes", asked)
    assert foreign.status_code == unknown.status_code == 404
    assert foreign.content.replace(account.encode(), NOBODY.encode()) == unknown.content


def test_usage_for_an_account_of_another_client_is_refused_like_one_that_never_was(
    bakery: Caller, garage: Caller, founder: Caller
) -> None:
    account = garage.open_account(founder, 1_000)

    def item(subject: str) -> dict[str, Any]:
        return {
            "specversion": "1.0", "type": "felix.usage", "source": "/x", "id": new_key(), "subject": subject,
            "data": {"meter": "change.plan", "quantity": 1},
        }  # fmt: skip

    answered = bakery.done("/v1/usage/batch", {"events": [item(account), item(NOBODY)]})
    foreign, unknown = (str(refusal | {"index": 0}) for refusal in answered["refused"])
    assert foreign.replace(account, NOBODY) == unknown


def test_every_answer_carries_the_headers_of_the_house(bakery: Caller, world: World) -> None:
    answers = [
        bakery.get("/v1/meters"),
        bakery.get("/nowhere"),
        world.client.get("/healthz"),
        bakery.post("/v1/tenants"),
    ]
    for answered in answers:
        assert answered.headers["cache-control"] == "no-store"
        assert answered.headers["x-content-type-options"] == "nosniff"
    assert len({answered.headers["felix-request-id"] for answered in answers}) == len(answers)


def told(answered: Any) -> dict[str, str]:
    """The headers without those that are different every time."""
    return {name: value for name, value in answered.headers.items() if name not in OF_ONE_REQUEST}
