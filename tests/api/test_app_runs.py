"""What apps do by themselves over HTTP: their history, and reports of what there is now."""

from __future__ import annotations

from itertools import count
from typing import Any
from uuid import UUID

import pytest
from felix_world import Caller, World, new_key
from running_apps import begin_app

from felix.application.performer import new_context
from felix.domain.apps.messages import RunAutomations

_numbers = count(1)


@pytest.fixture
def shop(world: World) -> str:
    """Where an app of the bakery runs, with tokens."""
    world.bakery.open_account(world.founder, 100_000)
    name = f"runs-{next(_numbers)}"
    begin_app(world, world.bakery, name=name)
    return f"/v1/apps/{name}"


def win(world: World, shop: str, title: str, value: int) -> Any:
    """A deal that is won, and whoever was to be thanked is; the outcome."""
    client, records = world.bakery, f"{shop}/entities/deal/records"
    made = client.done(records, {"values": {"title": title, "value": value, "email": "a@example.com"}})
    client.done(f"{records}/{made['record_id']}/transitions", {"action": "win"})
    app = world.app.state.services.releases.app(made["release"])
    account_id = client.open_account(world.founder, 1_000)
    command = RunAutomations(
        app=shop.rpartition("/")[2],
        environment="production",
        record_id=made["record_id"],
        version=2,
        account_id=account_id,
    )
    tenant_id = UUID(client.tenant_id)
    context = new_context(tenant_id, new_key(), "policy:automations_fire", enclosed={"app": app})
    return world.performer.perform_blocking(command, context)


def test_what_an_app_did_is_there_to_look_back_on(world: World, shop: str) -> None:
    outcome = win(world, shop, "Bread", 1250)
    assert outcome.result["runs"] == 1
    answered = world.bakery.get(f"{shop}/runs", Felix_Min_Position=last_position(world.bakery, outcome)).json()
    (run,) = answered["data"]
    assert (run["kind"], run["name"], run["outcome"], run["charged_mtok"]) == ("automation", "thank", "ran", 20)
    assert [(each["state"], each["effects"]) for each in answered["waiting"]] == [("due", 1)]
    assert world.bakery.get(f"{shop}/runs?outcome=failed").json()["data"] == []
    assert world.bakery.get(f"{shop}/runs?environment=sandbox").json()["data"] == []
    assert world.bakery.get(f"{shop}/runs?cursor={run['tenant_sequence']}").json()["data"] == []
    assert world.bakery.get(f"{shop}/runs?kind=magic").status_code == 422
    assert world.bakery.get("/v1/apps/brewery/runs").status_code == 404


def test_a_report_is_made_of_what_there_is(world: World, shop: str) -> None:
    for number, value in enumerate((1250, 750)):
        last = win(world, shop, f"Bread {number}", value)
    report = world.bakery.get(f"{shop}/reports/won_deals", Felix_Min_Position=last_position(world.bakery, last)).json()
    assert report["rows"] == [[None, 2, 2000]], report
    table = world.bakery.get(f"{shop}/reports/won_deals?format=csv")
    assert table.headers["content-type"].startswith("text/csv")
    assert table.text == "Closes on (month),Count,Sum of Value\r\n,2,20.00\r\n"
    assert world.bakery.get(f"{shop}/reports/lost_deals").status_code == 404
    assert world.bakery.get(f"{shop}/reports/won_deals?format=pdf").status_code == 422


def last_position(client: Caller, outcome: Any) -> str:
    """What asks for an answer that knows of this write."""
    return f"{client.tenant_id}:{outcome.last_tenant_sequence}"
