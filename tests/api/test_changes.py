"""Changes at the door: what is shown of them, who may do what when, and what is refused with which rule."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
from changing import BROKEN, OPERATION, PROMPT, VAGUE, Shop
from felix_world import World, new_key
from test_openapi import OPERATIONS, inlined

from felix.cli.live import EventStream


@pytest.fixture(scope="module")
def shop(world: World) -> Iterator[Shop]:
    yield Shop(world, world.new_tenant())


def code_of(answered: Any, status: int) -> str:
    assert answered.status_code == status, answered.text
    code: str = answered.json()["code"]
    return code


def test_a_change_is_shown_from_the_question_to_its_end(shop: Shop) -> None:
    change_id = shop.ask()
    waiting = shop.seen(change_id)
    assert (waiting["state"], waiting["percent"], waiting["waits_for"]) == ("awaiting_approval", 60, "1 approval")
    assert (waiting["prompt"], waiting["answers"], waiting["deployment"]) == (PROMPT, [], None)
    plan = shop.member.seen(f"/v1/changes/{change_id}/plan")
    assert [each["op"] for each in plan["operations"]] == ["add_field", "add_form_field", "add_view_column"]
    assert len(plan["sentences"]) == 3 and "due" in plan["sentences"][0].lower()
    diff = shop.approver.seen(f"/v1/changes/{change_id}/diff")
    assert diff["effects"] == waiting["effects"] and diff["lines"].startswith("--- a/")
    assert diff["approval"]["binding"] == waiting["approval"]["binding"]
    assert (diff["you_may_approve"], diff["why_not"]) == (True, None)
    shop.deploy(change_id)
    over = shop.seen(change_id)
    assert (over["state"], over["percent"], over["waits_for"]) == ("deployed", 100, None)
    assert over["price"]["held_mtok"] == 0 < over["price"]["spent_mtok"] <= over["price"]["ceiling_mtok"]
    environment = shop.member.seen(f"/v1/apps/{shop.app}/environments/production")
    assert [each["how"] for each in environment["releases"]] == ["promoted", "created"]
    assert environment["stable"] == over["release"] == environment["releases"][0]["release"]
    assert environment["releases"][0]["change_id"] == change_id


def test_the_diff_says_who_may_agree_and_why_not(shop: Shop) -> None:
    change_id = shop.ask(operations=[{"op": "rename_view", "view": "deals", "title": "All deals"}])
    path = f"/v1/changes/{change_id}/diff"
    told = {who: getattr(shop, who).seen(path)["why_not"] for who in ("member", "approver", "founder")}
    assert told == {"member": "may_not_decide", "approver": None, "founder": None}
    assert shop.tenant.seen(path)["why_not"] == "people_decide"
    shop.approve(change_id)
    assert shop.founder.seen(path)["why_not"] == "not_in_this_state"


def test_a_change_without_a_diff_says_so(shop: Shop) -> None:
    change_id = shop.ask(prompt=VAGUE)
    assert shop.seen(change_id)["waits_for"] == "an answer"
    assert code_of(shop.member.get(f"/v1/changes/{change_id}/diff"), 404) == "not_found"
    assert shop.member.seen(f"/v1/changes/{change_id}/plan")["questions"][0]["candidates"]


def test_an_answer_is_planned_and_remembered_with_the_prompt(shop: Shop) -> None:
    change_id = shop.ask(prompt=VAGUE)
    version = shop.version(change_id)
    path = f"/v1/changes/{change_id}/answer"
    body = {"expected_version": version, "answer": "Add a review date to deals"}
    shop.member.done(path, body)
    assert code_of(shop.member.post(path, body | {"answer": "No"}), 409) in ("change_moved_on", "not_in_this_state")
    shop.take_steps(change_id)
    found = shop.seen(change_id)
    assert (found["prompt"], found["answers"]) == (VAGUE, ["Add a review date to deals"])
    assert found["state"] == "awaiting_approval"
    assert code_of(shop.member.post(path, body), 409) == "change_moved_on"


def test_whoever_edits_a_plan_does_not_approve_it(shop: Shop) -> None:
    change_id = shop.ask(prompt="Add a text called color to deals")
    other = OPERATION | {"field": "colour", "definition": {"type": "text", "label": "Colour"}}
    owner = shop.world.person("client_owner", shop.tenant)
    owner.done(f"/v1/changes/{change_id}/revise", {"expected_version": shop.version(change_id), "operations": [other]})
    shop.take_steps(change_id)
    found = shop.seen(change_id)
    assert found["state"] == "awaiting_approval" and found["effects_count"] == 1
    body = {"binding": found["approval"]["binding"], "expected_version": found["version"]}
    assert code_of(owner.post(f"/v1/changes/{change_id}/approve", body), 403) == "own_change"


REFUSED: dict[str, tuple[dict[str, Any], int, str, str]] = {
    "empty": ({"prompt": " \n"}, 422, "prompt_empty", "too_short"),
    "too long": ({"prompt": "x" * 12_001}, 422, "prompt_too_long", "too_long"),
    "control characters": ({"prompt": "Add\x1b[2J a field"}, 422, "prompt_not_text", "text"),
    "no text": ({"prompt": {"a": 1}}, 422, "invalid", "string_type"),
    "nothing": ({}, 422, "prompt_not_text", "string"),
    "a secret": ({"prompt": "Sync with sk_live_0123456789abcdef"}, 422, "secret_in_prompt", "secret"),
    "no operations": ({"operations": []}, 422, "invalid_operations", "too_short"),
    "unknown operations": ({"operations": [{"op": "drop"}]}, 422, "invalid_operations", "union_tag_invalid"),
    "too many operations": ({"operations": [OPERATION] * 2_001}, 413, "body_too_large", ""),
    "another app": ({"app": "nowhere", "prompt": PROMPT}, 404, "environment_not_found", ""),
    "no environment": ({"environment": "moon", "prompt": PROMPT}, 422, "invalid", "literal_error"),
    "nobody's account": ({"account_id": "acct_" + "0" * 32, "prompt": PROMPT}, 404, "not_found", ""),
    "a retry of nothing": ({"retry_of": "chg_" + "0" * 32, "prompt": PROMPT}, 404, "not_found", ""),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_can_not_be_asked_is_refused_with_the_rule(what: str, shop: Shop) -> None:
    body, status, code, rule = REFUSED[what]
    answered = shop.member.post("/v1/changes", {"app": shop.app} | body)
    assert code_of(answered, status) == code
    if rule:
        assert answered.json()["errors"][0]["rule"] == rule
    assert "sk_live" not in answered.text


@pytest.mark.parametrize("body", [b"\xff\xfe\x00", b"{", b"[]"])
def test_a_body_that_is_no_object_is_refused(body: bytes, shop: Shop) -> None:
    assert code_of(shop.member.post("/v1/changes", body, content_type="application/json"), 422) == "invalid"


def test_the_model_that_is_asked_where_none_is_named_is_in_the_quote(world: World) -> None:
    shop = Shop(world, world.new_tenant())
    per_unit = {"kind": "per_unit", "price_mtok": 1_500, "per": 1_000}
    prices = [per_unit | {"meter": "llm.input_tokens"}, per_unit | {"meter": "llm.output_tokens"}]
    world.founder.about(shop.tenant).done("/v1/rate-cards/default/versions", {"prices": prices})
    body = {"app": shop.app, "prompt": PROMPT}
    alone = shop.member.done("/v1/changes", body)["quote"]
    services = world.app.state.services
    services.planner_model = "openai:gpt-5"
    try:
        key = new_key()
        asked = shop.member.done("/v1/changes", body, key)
        services.planner_model = None
        assert shop.member.done("/v1/changes", body, key) == asked, "what is set meanwhile makes no other request of it"
    finally:
        services.planner_model = None
    assert asked["quote"]["low_mtok"] == alone["low_mtok"] < alone["high_mtok"] < asked["quote"]["high_mtok"]
    assert asked["ceiling_mtok"] == asked["quote"]["high_mtok"]


def test_who_agrees_to_a_great_risk_has_just_proved_who_they_are(world: World) -> None:
    shop = Shop(world, world.new_tenant())
    change_id = shop.ask(operations=[{"op": "remove_transition", "workflow": "deal_stage", "action": "lose"}])
    found = shop.seen(change_id)
    assert found["risk"] == "high"
    path, body = f"/v1/changes/{change_id}/approve", {"binding": found["approval"]["binding"]}
    body |= {"expected_version": found["version"]}
    assert code_of(shop.approver.post(path, body), 403) == "step_up_needed"
    proved = world.person("client_approver", shop.tenant, stepped_up=True)
    told = [who.seen(f"/v1/changes/{change_id}/diff") for who in (shop.approver, proved, shop.member)]
    assert [(diff["you_may_approve"], diff["needs_step_up"]) for diff in told] == [
        (True, True), (True, False), (False, False)
    ]  # fmt: skip
    assert proved.done(path, body)["approvals"] == 1
    easy = shop.ask(operations=[{"op": "rename_view", "view": "deals", "title": "All deals"}])
    shop.approve(easy)


def test_what_a_change_destroys_is_exported_before_and_read_by_those_who_decide(world: World) -> None:
    shop = Shop(world, world.new_tenant())
    change_id = shop.destroy()
    over = shop.seen(change_id)
    assert (over["state"], over["risk"]) == ("deployed", "destructive")
    assert (over["export"]["entities"], over["export"]["records"]) == (["deal"], 1)
    path = f"/v1/changes/{change_id}/export"
    (record,) = shop.approver.seen(path)["data"]
    assert (record["values"], record["erased"]) == ({"email": "ada@example.com"}, [])
    assert code_of(shop.member.get(path), 403) == "forbidden"
    objects = world.app.state.services.objects
    told = json.loads(objects.get("change-exports", over["export"]["digest"]))
    assert told["lost"] == {"deal": ["email"]} and told["release"] == over["deployment"]["previous_release"]
    (part,) = told["parts"]
    content = objects.get("change-exports", part["digest"])
    assert b"ada@example" not in content and len(content) == over["export"]["size_bytes"]
    happened = [step["happened"] for step in shop.member.seen(f"/v1/changes/{change_id}/timeline")["data"]]
    assert happened.index("losses_exported") < happened.index("deploy_started")
    easy = shop.live()
    assert shop.seen(easy)["export"] is None
    assert code_of(shop.approver.get(f"/v1/changes/{easy}/export"), 404) == "not_found"


def test_nobody_writes_a_secret_of_the_client_into_a_change(shop: Shop) -> None:
    value = "not-like-any-token-of-a-provider"
    shop.founder.done("/v1/secrets/plain", {"value": value})
    vague = shop.ask(prompt=VAGUE)
    asked = {"app": shop.app, "account_id": shop.account_id}
    rename = [{"op": "rename_view", "view": "deals", "title": f"Use {value}"}]
    seen = {"expected_version": shop.version(vague)}
    for path, body, pointer in (
        ("/v1/changes", asked | {"prompt": f"Call the deals list {value}"}, "/prompt"),
        ("/v1/changes", asked | {"operations": rename}, "/operations"),
        (f"/v1/changes/{vague}/answer", seen | {"answer": f"Add {value} to deals"}, "/answer"),
        (f"/v1/changes/{vague}/revise", seen | {"operations": rename}, "/operations"),
    ):
        refused = shop.member.post(path, body)
        assert code_of(refused, 422) == "secret_in_prompt" and value not in refused.text
        assert [wrong["pointer"] for wrong in refused.json()["errors"]] == [pointer]


def test_a_client_without_an_account_can_not_ask(world: World) -> None:
    empty = world.new_tenant()
    asker = world.person("client_member", empty)
    assert code_of(asker.post("/v1/changes", {"app": "shop", "prompt": PROMPT}), 402) == "no_token_account"


def test_a_page_holds_what_is_asked_for(world: World) -> None:
    shop = Shop(world, world.new_tenant())
    first, second = shop.ask(prompt=VAGUE), shop.ask()
    other = Shop(world, shop.tenant)
    third = other.ask(prompt=VAGUE)
    shop.seen(third)

    def page(query: str, who: Any = shop.member) -> list[str]:
        return [row["change_id"] for row in who.seen(f"/v1/changes?{query}")["data"]]

    assert page("") == [third, second, first]
    assert page("limit=1") == [third] and page(f"limit=2&cursor={third}") == [second, first]
    assert page(f"app={shop.app}") == [second, first] and page("state=needs_input") == [third, first]
    assert page("mine=true") == [second, first] and page("mine=true", other.member) == [third]
    assert page("waiting_for_me=true") == [first] and page("waiting_for_me=true", shop.approver) == [second]
    assert page("waiting_for_me=true", shop.tenant) == [], "a machine is waited for by nobody"
    assert code_of(shop.member.get("/v1/changes?state=nothing"), 422) == "invalid"
    assert code_of(shop.member.get("/v1/changes?mine=perhaps"), 422) == "invalid"


def test_whatever_a_change_lacks_the_document_says_so(world: World) -> None:
    shop = Shop(world, world.new_tenant())
    live = shop.live()
    back = shop.approver.done(f"/v1/changes/{live}/rollback", {"reason": "A drill."})["change_id"]
    vague = shop.ask(prompt=VAGUE)
    new = shop.member.done("/v1/changes", {"app": shop.app, "prompt": PROMPT})["change_id"]
    shop.seen(new)
    paths = {"/v1/changes": "list_changes", f"/v1/changes/{live}/diff": "show_change_diff"}
    for change_id in (live, back, vague, new):
        at = f"/v1/changes/{change_id}"
        paths |= {at: "show_change", f"{at}/plan": "show_change_plan", f"{at}/timeline": "show_change_timeline"}
    for path, name in paths.items():
        told = OPERATIONS[name][2]["responses"]["200"]["content"]["application/json"]
        jsonschema_rs.validate(inlined(told["schema"]), shop.founder.seen(path))


def test_another_client_finds_nothing(shop: Shop, world: World) -> None:
    change_id = shop.ask()
    stranger = world.person("client_owner", world.garage)
    unknown = "chg_" + "0" * 32
    for path in ("", "/plan", "/diff", "/timeline"):
        theirs, nobodys = (stranger.get(f"/v1/changes/{each}{path}") for each in (change_id, unknown))
        assert (theirs.status_code, nobodys.status_code) == (404, 404)
        assert theirs.text.replace(change_id, "") == nobodys.text.replace(unknown, "")
    assert stranger.seen("/v1/changes")["data"] == []
    assert code_of(stranger.get(f"/v1/apps/{shop.app}/environments/production"), 404) == "environment_not_found"
    assert shop.app not in str(stranger.seen("/v1/apps"))


def test_the_timeline_tells_every_step_and_what_it_cost(world: World) -> None:
    shop = Shop(world, world.new_tenant())
    change_id = shop.live()
    path = f"/v1/changes/{change_id}/timeline"
    found = shop.seen(change_id)
    whole = shop.member.seen(f"{path}?limit=1000")
    assert [step["version"] for step in whole["data"]] == list(range(1, found["version"] + 1))
    assert whole["data"][0]["actor"] == f"client_member:{shop.member.id}"
    assert {cost["step"] for cost in whole["costs"]} >= {"plan", "diff", "check", "deploy"}
    assert sum(cost["settled_mtok"] for cost in whole["costs"]) == whole["spent_mtok"] == found["price"]["spent_mtok"]
    page = shop.member.seen(f"{path}?limit=2&cursor=3")
    assert [step["version"] for step in page["data"]] == [4, 5] and page["next"] == 5
    assert PROMPT not in str(whole), "what people wrote is in the vault alone"
    journal = shop.member.seen(f"/v1/token-accounts/{shop.account_id}/transactions?limit=1000")["data"]
    paid = [entry for entry in journal if entry["reference"] == change_id]
    assert -sum(entry["amount_mtok"] for entry in paid) == whole["spent_mtok"]


def test_how_far_it_is_is_told_live(world: World) -> None:
    shop = Shop(world, world.new_tenant())
    change_id = shop.live()
    shop.seen(change_id)
    told = shop.member.get("/v1/live?topics=changes&from=beginning&follow=false")
    (last,) = (message for message in EventStream().read(told.text.split("\n")) if message.event == "changes")
    assert f'"change_id":"{change_id}"' in last.data and '"state":"deployed"' in last.data
    assert '"percent":100' in last.data and '"is_over":true' in last.data
    assert PROMPT not in told.text


def test_a_founder_lets_a_broken_example_pass_and_another_looks_at_it(world: World) -> None:
    shop = Shop(world, world.new_tenant())
    change_id = shop.ask(operations=[BROKEN])
    assert shop.seen(change_id)["waits_for"] == "a founder's override"
    path = f"/v1/changes/{change_id}/override"
    body = {"expected_version": shop.version(change_id), "reason": "A drill."}
    assert code_of(shop.approver.post(path, body), 403) == "forbidden"
    proposed = shop.founder.done(path, body)
    assert (proposed["done"], proposed["state"]) == (False, "policy_violated")
    at = f"/v1/apps/{shop.app}/environments/production"
    confirm = f"{at}/overrides/{proposed['override_id']}/confirm"
    assert code_of(shop.founder.post(confirm), 403) == "own_override"
    other = world.person("founder", shop.tenant, stepped_up=True)
    assert other.done(confirm)["done"]
    shop.take_steps(change_id)
    shop.deploy(change_id, kind="canary", steps=[50], hold_s=60)
    found = shop.seen(change_id)
    assert (found["state"], found["deployment"]["guardrail"]) == ("rolled_back", "examples")
    environment = shop.member.seen(at)
    assert environment["stable"] == shop.release and environment["quarantined"] == [found["release"]]
    assert [each["status"] for each in environment["overrides"]] == ["exercised"]


def test_apps_begin_with_modules_and_are_listed(world: World) -> None:
    tenant = world.new_tenant()
    owner = world.person("client_owner", tenant)
    made = owner.post("/v1/apps", {"app": "my-shop", "title": "My shop", "modules": ["inventory", "crm"]})
    assert made.status_code == 201, made.text
    rows = owner.get("/v1/apps", made).json()["data"]
    assert [(row["app"], row["environment"]) for row in rows] == [("my-shop", "production"), ("my-shop", "sandbox")]
    assert {row["stable"] for row in rows} == {made.json()["release"]}
    page = owner.seen("/v1/apps?limit=1")
    assert page["next"] == "my-shop.production"
    assert [row["environment"] for row in owner.seen(f"/v1/apps?limit=1&cursor={page['next']}")["data"]] == ["sandbox"]
    again = owner.post("/v1/apps", {"app": "my-shop", "title": "Mine"})
    assert code_of(again, 409) == "environment_exists"
    unknown = owner.post("/v1/apps", {"app": "other", "title": "Other", "modules": ["nothing"]})
    assert code_of(unknown, 422) == "invalid"
    assert [(each["pointer"], each["rule"]) for each in unknown.json()["errors"]] == [("/modules/0", "reference")]
    assert code_of(world.person("client_member", tenant).post("/v1/apps", {}), 403) == "forbidden"


def test_a_repository_is_changed_by_who_has_connected_it_and_edits_are_looked_at_at_the_door(shop: Shop) -> None:
    edit = {"edit": "replace", "path": "README.md", "search": "9 to 5", "replace": "9 to 6"}
    body: dict[str, Any] = {"repository": "acme/site", "operations": [edit], "account_id": shop.account_id}
    assert code_of(shop.member.post("/v1/changes", body), 404) == "not_connected"
    source = {"kind": "repository", "repository": "Acme/Site"}
    owner = shop.world.person("client_owner", shop.tenant, stepped_up=True)
    told = {"title": "The site", "account_id": shop.account_id, "source": source}
    owner.seen("/v1/documents", after=owner.post("/v1/documents/connect", told))
    for wrong, status, code in (
        (body | {"app": shop.app}, 422, "invalid"),
        (body | {"operations": [OPERATION]}, 422, "invalid_edits"),
        (body | {"operations": [edit | {"path": ".github/workflows/ci.yml"}]}, 422, "path_not_allowed"),
        (body | {"operations": [edit | {"replace": "sk_live_" + "a1" * 12}]}, 422, "secret_in_change"),
        (body | {"environment": "sandbox"}, 422, "invalid"),
        ({"app": shop.app, "operations": [edit], "account_id": shop.account_id}, 422, "invalid_operations"),
    ):
        assert code_of(shop.member.post("/v1/changes", wrong), status) == code
    change_id = shop.member.done("/v1/changes", body)["change_id"]
    shop.take_steps(change_id)
    found = shop.seen(change_id)
    assert (found["repository"], found["state"], found["pull_request"]) == ("Acme/Site", "failed", None)
    assert "Felix is no GitHub App here" in found["reason"] and found["price"]["held_mtok"] == 0
    plan = shop.member.seen(f"/v1/changes/{change_id}/plan")
    assert plan["operations"] == [] or plan["sentences"] == ["Puts a text in the place of another in README.md"]
