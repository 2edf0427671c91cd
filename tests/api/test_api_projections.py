"""Read models over HTTP: the founder sees how they are, and asks for rebuilds and for another try."""

from __future__ import annotations

import uuid

import psycopg
from felix_world import World


def keyed(world: World, path: str, body: object, key: str | None = None) -> tuple[int, dict[str, object]]:
    answered = world.founder.post(path, body, key or f"k-{uuid.uuid4().hex}")
    return answered.status_code, answered.json()


def test_the_founder_sees_every_read_model(world: World) -> None:
    listed = world.founder.get("/v1/projections").json()
    names = {row["projection"] for row in listed["data"]}
    assert {"balances", "token_transactions", "usage", "tenants"} <= names
    one = world.founder.get("/v1/projections/balances").json()
    assert [each["partition"] for each in one["partitions"]] == [0, 1, 2, 3]
    assert one["stopped_tenants"] == [] and one["feed"] == "events"


def test_a_rebuild_is_asked_for_once_under_a_key(world: World) -> None:
    status, asked = keyed(world, "/v1/projections/usage/rebuild", {}, "rebuild-usage-1")
    assert status == 202
    rebuild = asked["rebuild"]
    assert isinstance(rebuild, dict) and rebuild["state"] == "requested"
    _, again = keyed(world, "/v1/projections/usage/rebuild", {"accept_difference": True}, "rebuild-usage-2")
    assert again["rebuild"]["requested_at"] == rebuild["requested_at"]  # type: ignore[index]
    with psycopg.connect(world.endpoints.database_url) as connection:
        connection.execute("update felix.rebuilds set state = 'done' where projection = 'usage'")
    _, same = keyed(world, "/v1/projections/usage/rebuild", {}, "rebuild-usage-1")
    assert same["rebuild"]["state"] == "done"  # type: ignore[index]
    _, anew = keyed(world, "/v1/projections/usage/rebuild", {}, "rebuild-usage-3")
    assert anew["rebuild"]["state"] == "requested"  # type: ignore[index]


def test_what_stopped_is_tried_again_when_asked(world: World) -> None:
    tenant_id = str(uuid.uuid4())
    with psycopg.connect(world.endpoints.database_url) as connection:
        connection.execute(
            "insert into felix.poisoned (partition, projection, tenant_id, position, type, error, message, retry_at)"
            " values (0, 'tenants', %s, 2, 'ledger.tokens_lent', 'UnknownEventType', 'Not known.', now() + '1 day')",
            (tenant_id,),
        )
    try:
        listed = world.founder.get("/v1/projections").json()
        assert any("tenants stops for tenant" in line for line in listed["alarms"])
        assert keyed(world, "/v1/projections/tenants/retry", {"tenant_id": tenant_id}) == (
            200, {"projection": "tenants", "tried_again": 1},
        )  # fmt: skip
        assert keyed(world, "/v1/projections/usage/retry", {})[1]["tried_again"] == 0
    finally:
        with psycopg.connect(world.endpoints.database_url) as connection:
            connection.execute("delete from felix.poisoned where tenant_id = %s", (tenant_id,))


def test_only_the_founder_and_only_what_there_is(world: World) -> None:
    assert world.bakery.get("/v1/projections").status_code == 403
    assert world.bakery.post("/v1/projections/usage/rebuild", {}, "k-client").status_code == 403
    for path in ("/v1/projections/ghosts", "/v1/projections/ghosts/rebuild", "/v1/projections/ghosts/retry"):
        status = keyed(world, path, {})[0] if path.count("/") > 3 else world.founder.get(path).status_code
        assert status == 404, path
    assert keyed(world, "/v1/projections/usage/rebuild", {"accept_difference": 1})[0] == 422
    assert keyed(world, "/v1/projections/usage/retry", {"tenant_id": "acme"})[0] == 422
    assert keyed(world, "/v1/projections/usage/retry", {"tenant": "acme"})[0] == 422
