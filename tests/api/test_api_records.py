"""Records over HTTP: what the active release of an app lets in, shows and refuses."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from felix_world import Caller, World
from running_apps import TREE, begin_app

from felix import bootstrap

DEALS = "/v1/apps/bakery/entities/deal/records"
CONTACTS = "/v1/apps/bakery/entities/contact/records"


@pytest.fixture(scope="module")
def release(world: World) -> str:
    world.bakery.open_account(world.founder, 10_000_000)
    return begin_app(world, world.bakery)


@pytest.fixture
def owner(world: World, release: str) -> Caller:
    return world.person("client_owner")


def make(caller: Caller, path: str, **values: Any) -> str:
    return str(caller.done(path, {"values": values})["record_id"])


def test_a_record_is_made_paid_for_and_shown(world: World, owner: Caller, release: str) -> None:
    made = owner.post(DEALS, {"values": {"title": "Bread", "value": 12_500}})
    assert made.status_code == 201, made.text
    assert made.headers["felix-release"] == release
    told = made.json()
    assert (told["version"], told["charged_mtok"], told["release"]) == (1, 10, release)
    shown = owner.get(f"{DEALS}/{told['record_id']}", made)
    assert shown.headers["etag"] == '"1"' and shown.headers["felix-release"] == release
    assert shown.json()["values"] == {
        "title": "Bread", "contact": None, "value": 12_500, "stage": "open", "closes_on": None, "email": None,
    }  # fmt: skip
    assert [step["action"] for step in shown.json()["steps"]] == ["win", "lose"]


def test_values_are_refused_with_the_field_and_the_rule(owner: Caller) -> None:
    refused = owner.post(DEALS, {"values": {"value": -1, "stage": "maybe", "colour": "red"}})
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_record")
    assert {(error["pointer"], error["rule"]) for error in refused.json()["errors"]} == {
        ("/values/title", "missing"),
        ("/values/value", "greater_than_equal"),
        ("/values/stage", "literal_error"),
        ("/values/colour", "extra_forbidden"),
    }
    nobody = "rec_" + "0" * 32
    dangling = owner.post(DEALS, {"values": {"title": "Bread", "contact": nobody}})
    assert dangling.status_code == 422
    assert dangling.json()["errors"] == [
        {"pointer": "/values/contact", "rule": "reference", "detail": "there is no contact with this id"}
    ]


@pytest.mark.parametrize("body", [[], {"values": []}, {"values": {}, "release": "x"}, {"account_id": "x"}])
def test_a_body_that_is_none_is_refused(owner: Caller, body: Any) -> None:
    assert owner.post(DEALS, body).status_code == 422


def test_what_is_not_there_is_not_found(owner: Caller, world: World) -> None:
    for path in (
        "/v1/apps/nowhere",
        "/v1/apps/bakery/views/nothing",
        "/v1/apps/bakery/entities/nothing/records",
        f"{DEALS}/rec_{'0' * 32}",
        f"{DEALS}/nothing",
        f"/v1/apps/bakery?release={'0' * 64}",
    ):
        assert owner.get(path).status_code == 404, path
    assert world.garage.get(DEALS).status_code == 404
    deal = make(owner, DEALS, title="Bread")
    assert owner.get(f"{CONTACTS}/{deal}").status_code == 404
    assert owner.send("PATCH", f"{CONTACTS}/{deal}", {"values": {"name": "x"}}).status_code == 404
    assert owner.get(f"{DEALS}/{deal}?environment=sandbox").status_code == 404
    assert owner.get("/v1/apps/bakery?environment=elsewhere").status_code == 422


def test_a_change_leaves_the_rest_and_minds_the_version(owner: Caller) -> None:
    deal = make(owner, DEALS, title="Bread", value=5)
    changed = owner.send("PATCH", f"{DEALS}/{deal}", {"values": {"value": None, "closes_on": "2026-12-24"}})
    assert (changed.status_code, changed.json()["version"]) == (200, 2)
    shown = owner.seen(f"{DEALS}/{deal}", changed)
    assert shown["values"] | {"email": None, "contact": None} == shown["values"]
    assert (shown["values"]["title"], shown["values"]["value"]) == ("Bread", None)
    stale = owner.send("PATCH", f"{DEALS}/{deal}", {"values": {"value": 1}}, If_Match='"1"')
    assert (stale.status_code, stale.json()["code"], stale.json()["version"]) == (409, "record_changed_meanwhile", 2)
    again = owner.send("PATCH", f"{DEALS}/{deal}", {"values": {"closes_on": "2026-12-24"}, "expected_version": 2})
    assert (again.json()["version"], again.json()["charged_mtok"]) == (2, 0)


def test_the_same_key_makes_one_record(owner: Caller) -> None:
    body = {"values": {"title": "Once"}}
    first, second = owner.post(DEALS, body, "once-only"), owner.post(DEALS, body, "once-only")
    assert first.json() == second.json() and second.headers["idempotent-replayed"] == "true"
    other = owner.post(DEALS, {"values": {"title": "Twice"}}, "once-only")
    assert (other.status_code, other.json()["conflicting_fields"]) == (422, ["values"])


def test_a_workflow_is_gone_through_step_by_step(world: World, owner: Caller) -> None:
    member = world.person("client_member")
    refused = member.post(DEALS, {"values": {"title": "Bread", "stage": "won"}})
    assert refused.json()["code"] == "starts_elsewhere"
    deal = make(member, DEALS, title="Bread")
    leap = member.send("PATCH", f"{DEALS}/{deal}", {"values": {"stage": "won"}})
    assert (leap.status_code, leap.json()["code"]) == (409, "changed_by_steps_only")
    assert member.post(f"{DEALS}/{deal}/transitions", {"action": "win"}).json()["code"] == "step_not_yours"
    assert owner.post(f"{DEALS}/{deal}/transitions", {"action": "fly"}).status_code == 404
    won = owner.post(f"{DEALS}/{deal}/transitions", {"action": "win"})
    shown = member.seen(f"{DEALS}/{deal}", won)
    assert (shown["values"]["stage"], shown["steps"]) == ("won", [])
    again = owner.post(f"{DEALS}/{deal}/transitions", {"action": "win"})
    assert (again.status_code, again.json()["code"]) == (409, "step_not_possible")


def test_a_removed_record_is_gone_until_it_is_restored(owner: Caller) -> None:
    deal = make(owner, DEALS, title="Bread")
    assert owner.post(f"{DEALS}/{deal}/restore").json()["code"] == "record_not_removed"
    removed = owner.send("DELETE", f"{DEALS}/{deal}", If_Match='"1"')
    assert removed.status_code == 200
    assert owner.get(f"{DEALS}/{deal}", removed).status_code == 404
    assert owner.send("DELETE", f"{DEALS}/{deal}").status_code == 404
    restored = owner.post(f"{DEALS}/{deal}/restore")
    assert owner.seen(f"{DEALS}/{deal}", restored)["values"]["title"] == "Bread"


def test_without_tokens_nothing_is_written(world: World) -> None:
    poor = world.new_tenant()
    begin_app(world, poor)
    refused = poor.post(DEALS, {"values": {"title": "Bread"}})
    assert (refused.status_code, refused.json()["code"]) == (402, "no_token_account")
    account = poor.open_account()
    position = poor.get("/v1/events?limit=1000").json()["data"][-1]
    refused = poor.post(DEALS, {"values": {"title": "Bread"}, "account_id": account})
    assert (refused.status_code, refused.json()["code"]) == (402, "insufficient_tokens")
    assert refused.json()["required_mtok"] == 10
    assert poor.get("/v1/events?limit=1000").json()["data"][-1] == position
    world.founder.about(poor).done(f"/v1/token-accounts/{account}/grants", {"amount_mtok": 10})
    made = poor.post(DEALS, {"values": {"title": "Bread"}, "account_id": account})
    assert made.status_code == 201
    assert poor.seen(f"/v1/token-accounts/{account}", made)["balance"]["available_mtok"] == 0


def test_what_is_personal_is_in_the_vault_and_nowhere_else(
    world: World, owner: Caller, caplog: pytest.LogCaptureFixture
) -> None:
    secret = "marlene.mustermann@example.org"
    with caplog.at_level(logging.DEBUG):
        made = owner.post(CONTACTS, {"values": {"name": "M.", "email": secret}}, "personal-1")
        contact = made.json()["record_id"]
        assert owner.post(CONTACTS, {"values": {"name": "M.", "email": secret}}, "personal-1").json() == made.json()
        differs = owner.post(CONTACTS, {"values": {"name": "M.", "email": "x@example.org"}}, "personal-1")
        assert differs.json()["conflicting_fields"] == ["personal"]
        assert owner.seen(f"{CONTACTS}/{contact}", made)["values"]["email"] == secret
    assert secret not in caplog.text
    with bootstrap.connect_owner(world.endpoints) as connection:
        tables = connection.execute(
            "select format('%I.%I', schemaname, tablename) from pg_tables where schemaname in ('felix', 'read')"
        ).fetchall()
        for (table,) in tables:
            found = connection.execute(
                f"select count(*) from {table} t where t::text ilike %s or t::text ilike %s".encode(),
                (f"%{secret}%", f"%{secret.encode().hex()}%"),
            ).fetchone()
            assert found == (0,), table
    filled = owner.seen(f'{CONTACTS}?where={{"field":"email","is":"is_filled"}}')
    assert [row["record_id"] for row in filled["data"]] == [contact]
    compared = owner.get(f'{CONTACTS}?where={{"field":"email","is":"equal","value":"{secret}"}}')
    assert (compared.status_code, compared.json()["errors"][0]["rule"]) == (422, "personal")


def test_an_erased_person_is_shown_as_erased(world: World, owner: Caller) -> None:
    head = world.person("client_owner", stepped_up=True)
    contact = make(owner, CONTACTS, name="Gone", email="gone@example.org")
    deal = make(owner, DEALS, title="Bread", contact=contact)
    taken_away = owner.send("PATCH", f"{CONTACTS}/{contact}", {"values": {"email": None}})
    assert owner.seen(f"{CONTACTS}/{contact}", taken_away)["erased"] == []
    back = owner.send("PATCH", f"{CONTACTS}/{contact}", {"values": {"email": "gone@example.org"}})
    assert owner.seen(f"{CONTACTS}/{contact}", back)["values"]["email"] == "gone@example.org"
    head.done(f"/v1/subjects/{contact}/erase", {"reason": "They asked."})
    shown = owner.seen(f"{CONTACTS}/{contact}")
    assert (shown["values"]["email"], shown["erased"]) == (None, ["email"])
    again = owner.send("PATCH", f"{CONTACTS}/{contact}", {"values": {"email": "back@example.org"}})
    assert again.json()["code"] == "subject_is_erased"
    assert owner.seen(f"{DEALS}/{deal}")["names"] == {contact: "Gone"}


def test_views_show_what_they_say_and_requests_narrow_it(world: World, release: str) -> None:
    tenant = world.new_tenant()
    tenant.open_account(world.founder, 100_000)
    begin_app(world, tenant)
    for number in range(5):
        last = tenant.post(DEALS, {"values": {"title": f"Deal {number}", "value": number, "closes_on": "2026-01-31"}})
    lost = tenant.post(DEALS, {"values": {"title": "Lost", "value": 100, "closes_on": "2026-02-28"}})
    last = tenant.post(f"{DEALS}/{lost.json()['record_id']}/transitions", {"action": "lose"})
    listed = tenant.seen("/v1/apps/bakery/views/deals?order=-value&limit=2", last)
    assert [row["values"] for row in listed["data"]] == [
        {"title": "Deal 4", "value": 4},
        {"title": "Deal 3", "value": 3},
    ]
    assert [column["label"] for column in listed["columns"]] == ["Title", "Worth"]
    titles, cursor = [], ""
    while cursor is not None:
        page = tenant.seen(f"/v1/apps/bakery/views/deals?order=-value&limit=2&cursor={cursor}")
        titles += [row["values"]["title"] for row in page["data"]]
        cursor = page["next"]
    assert titles == ["Deal 4", "Deal 3", "Deal 2", "Deal 1", "Deal 0"]
    assert len(tenant.seen("/v1/apps/bakery/views/deals?search=EAL%203")["data"]) == 1
    widened = '/v1/apps/bakery/views/deals?where={"field":"stage","is":"equal","value":"lost"}'
    assert tenant.seen(widened)["data"] == []
    board = tenant.seen("/v1/apps/bakery/views/pipeline")
    assert [(column["value"], column["count"]) for column in board["data"]] == [("open", 5), ("won", 0), ("lost", 1)]
    chart = tenant.seen("/v1/apps/bakery/views/won")
    assert [(group["group"], group["value"]) for group in chart["data"]] == [("2026-01-01", 10), ("2026-02-01", 100)]
    form = tenant.seen(f"/v1/apps/bakery/views/deal_form?record={lost.json()['record_id']}")
    assert (form["record"]["values"]["title"], form["steps"]) == ("Lost", [])
    assert tenant.seen("/v1/apps/bakery/views/deal_form")["record"] is None
    for wrong in (
        "order=nothing",
        "cursor=x",
        "where=x",
        'where={"field":"x","is":"is_empty"}',
        "limit=1000",
        "order=a,b,c,d",
    ):
        assert tenant.get(f"/v1/apps/bakery/views/deals?{wrong}").status_code == 422, wrong


def test_what_a_release_keeps_for_some_roles_others_neither_see_nor_touch(world: World, release: str) -> None:
    tenant = world.new_tenant()
    tenant.open_account(world.founder, 100_000)
    files = {path: content for path, content in TREE.files.items() if not path.startswith("views/")}
    views = {
        path: content | {"roles": ["client_owner"]} for path, content in TREE.files.items() if path.startswith("views/")
    }
    begin_app(world, tenant, type(TREE)(files | views))
    head, member = world.person("client_owner", tenant), world.person("client_member", tenant)
    deal = make(head, DEALS, title="Bread")
    assert [view["name"] for view in member.seen("/v1/apps/bakery")["views"]] == []
    assert [entity["name"] for entity in member.seen("/v1/apps/bakery")["entities"]] == ["contact"]
    assert len(head.seen("/v1/apps/bakery")["views"]) == 4
    for refused in (
        member.get("/v1/apps/bakery/views/deals"),
        member.get(DEALS),
        member.get(f"{DEALS}/{deal}"),
        member.post(DEALS, {"values": {"title": "Mine"}}),
        member.send("DELETE", f"{DEALS}/{deal}"),
    ):
        assert (refused.status_code, refused.json()["code"]) == (403, "not_for_your_role")
    assert member.get(CONTACTS).status_code == 200


def test_every_person_stays_on_one_side_of_a_canary(world: World, release: str) -> None:
    tenant = world.new_tenant()
    tenant.open_account(world.founder, 100_000)
    stable = begin_app(world, tenant)
    app = TREE.with_file("app.json", TREE.files["app.json"] | {"title": "The New Bakery"})
    candidate = world.app.state.services.releases.put(app)
    with bootstrap.connect_owner(world.endpoints) as connection:
        connection.execute(
            "update felix.app_pointers set candidate = %s, weight = 50, salt = %s, deployment_id = %s,"
            " version = version + 1 where tenant_id = %s and environment = 'production'",
            (candidate, "0" * 32, "dep_" + "0" * 32, tenant.tenant_id),
        )
    people = world.people(12, "client_member", tenant)
    seen = [{person.get("/v1/apps/bakery").headers["felix-release"] for _ in range(3)} for person in people]
    assert all(len(releases) == 1 for releases in seen)
    assert set.union(*seen) == {stable, candidate}
    for digest, title in ((stable, "The Bakery"), (candidate, "The New Bakery")):
        assert people[0].seen(f"/v1/apps/bakery?release={digest}")["title"] == title
    written = people[0].post(f"{DEALS}?release={candidate}", {"values": {"title": "Bread"}})
    assert (written.status_code, written.json()["errors"][0]["rule"]) == (422, "read_only")


def test_what_runs_is_counted(world: World, owner: Caller, release: str) -> None:
    measurements = world.app.state.services.measurements
    deal = make(owner, DEALS, title="Counted")
    owner.post(DEALS, {"values": {}})
    owner.get(f"{DEALS}/{deal}")
    measurements.write()
    with bootstrap.connect_owner(world.endpoints) as connection:
        counted: dict[str, int] = dict(
            connection.execute(
                "select measure, sum(counted)::int from felix.app_measurements where tenant_id = %s and release = %s"
                " group by measure",
                (world.bakery.tenant_id, release),
            ).fetchall()
        )
    assert counted["requests"] >= counted["writes"] >= 1 and counted["rejected_writes"] >= 1
    assert counted["burned_mtok"] >= 10


def test_a_release_that_does_not_run_takes_no_writes(world: World, owner: Caller, release: str) -> None:
    with bootstrap.connect_owner(world.endpoints) as connection:
        other = world.app.state.services.releases.put(TREE.without_file("policy.json"))
        moved = "update felix.app_pointers set stable = %s, version = version + 1 where tenant_id = %s"
        connection.execute(moved, (other, world.bakery.tenant_id))
        try:
            refused = owner.post(DEALS, {"values": {"title": "Bread"}})
        finally:
            connection.execute(moved, (release, world.bakery.tenant_id))
    assert (refused.status_code, refused.json()["code"]) == (409, "release_not_in_force")
