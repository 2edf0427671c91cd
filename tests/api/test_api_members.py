"""People over HTTP: invited, let in, made something else, kept out; and what each role may see of it."""

from __future__ import annotations

import time
from typing import Any

import pytest
from felix_world import Caller, World
from invited import PASSWORD, invite, new_address

from felix.domain.identity.roles import HUMAN_ROLES, PLATFORM_ROLES

NOBODY = "usr_" + "0" * 32
WHY = {"reason": "because"}
PATH = "/v1/invitations"
#: Who sees to members; and who sees them. Founders name the client.
HEADS = {"founder", "client_owner"}


def person(world: World, role: Any) -> Caller:
    """Somebody of a role who has just proved who they are."""
    return world.person(role, stepped_up=True)


def test_an_invitation_is_accepted_and_whoever_did_is_signed_in(world: World) -> None:
    owner = person(world, "client_owner")
    email = new_address()
    sent = owner.post(PATH, {"email": f" {email.upper()} ", "role": "client_approver"})
    assert sent.status_code == 201 and "token" not in sent.text and email not in sent.text
    invitation_id = sent.json()["invitation_id"]
    listed = owner.get(f"{PATH}?status=sent&limit=1000", sent).json()["data"]
    assert [row["email"] for row in listed if row["invitation_id"] == invitation_id] == [email]
    invited = invite(world, world.bakery, "client_approver", email)
    accepted = invited.accept(name="Ada Lovelace")
    joined = invited.caller(accepted)
    me = joined.seen("/v1/me")
    assert (me["id"], me["kind"], me["method"], me["name"]) == (joined.id, "person", "invitation", "Ada Lovelace")
    assert me["email"] == email
    assert me["tenants"] == [
        {"tenant_id": world.bakery.tenant_id, "tenant": me["tenants"][0]["tenant"], "role": "client_approver",
         "expires_at": None}
    ]  # fmt: skip
    members = {row["user_id"]: row for row in joined.get("/v1/members?limit=1000", accepted).json()["data"]}
    assert members[joined.id]["email"] == email and members[joined.id]["role"] == "client_approver"


def test_a_link_is_good_once(world: World) -> None:
    invited = invite(world, world.bakery)
    invited.join()
    for token in (invited.token, "x" * 43, "x", "\u00e4" * 43):
        refused = world.client.post(f"{PATH}/accept", json={"token": token, "name": "Eve", "password": PASSWORD})
        assert (refused.status_code, refused.json()["code"]) == (401, "link_not_valid"), refused.text
        assert "set-cookie" not in refused.headers


def test_who_is_not_known_gives_a_name_and_a_password(world: World) -> None:
    invited = invite(world, world.bakery)
    refused = invited.accept(name=None, password=None)
    assert refused.status_code == 422
    assert [error["pointer"] for error in refused.json()["errors"]] == ["/name", "/password"]
    weak = invited.accept(password="password")
    assert (weak.status_code, weak.json()["code"]) == (422, "weak_password")
    assert invited.accept().status_code == 201


def test_who_is_known_already_becomes_a_member_and_signs_in_as_ever(world: World) -> None:
    email = new_address()
    ada = invite(world, world.bakery, email=email).join()
    again = invite(world, world.garage, "client_owner", email)
    answered = again.accept(name=None, password=None)
    assert answered.status_code == 201, answered.text
    assert (answered.json()["user_id"], answered.json()["signed_in"]) == (ada.id, False)
    assert "set-cookie" not in answered.headers
    until(lambda: {row["role"] for row in ada.seen("/v1/me")["tenants"]} == {"client_member", "client_owner"})


def test_an_invited_founder_is_of_the_platform_and_still_has_to_prove_it(world: World) -> None:
    founder = invite(world, None, "founder").join()
    me = founder.seen("/v1/me")
    assert [(row["tenant"], row["role"]) for row in me["tenants"]] == [("felix-platform", "founder")]
    assert not me["second_factor"]


def test_a_key_knows_what_it_is(world: World, bakery: Caller) -> None:
    me = bakery.seen("/v1/me")
    assert me["kind"] == "api_key" and not {"email", "name"} & me.keys()
    assert [(row["tenant_id"], row["role"]) for row in me["tenants"]] == [(bakery.tenant_id, "service")]
    assert me["tenants"][0]["tenant"].startswith("client-")
    assert world.founder.seen("/v1/me")["tenants"][0]["tenant"] == "felix-platform"


@pytest.mark.parametrize("role", sorted(HUMAN_ROLES))
def test_owners_and_founders_see_to_members_and_nobody_else_does(role: Any, world: World) -> None:
    caller = person(world, role)
    member = world.person("client_member")
    waiting = invite(world, world.bakery)
    for path, body in (
        (PATH, {"email": new_address(), "role": "client_member"}),
        (f"{PATH}/{waiting.invitation_id}/withdraw", WHY),
        (f"/v1/members/{member.id}/role", {"role": "client_approver"}),
        (f"/v1/members/{member.id}/remove", WHY),
    ):
        answered = caller.post(path, body)
        allowed = role in HEADS
        # People whom the fixture puts into the tables have no stream; they are unknown, and not forbidden.
        assert (answered.status_code == 403) == (not allowed), (role, path, answered.text)


@pytest.mark.parametrize("role", sorted(HUMAN_ROLES))
def test_who_sees_members_invitations_and_users(role: Any, world: World) -> None:
    caller = person(world, role)
    assert caller.get("/v1/members").status_code == 200
    sees_invitations = role in HEADS | {"founder_readonly", "auditor"}
    assert caller.get(PATH).status_code == (200 if sees_invitations else 403)
    assert caller.get("/v1/users").status_code == (200 if role in PLATFORM_ROLES else 403)
    assert caller.get("/v1/me").status_code == 200


def test_machines_see_to_no_people(bakery: Caller) -> None:
    for answered in (
        bakery.get("/v1/members"), bakery.get(PATH), bakery.get("/v1/users"),
        bakery.post(PATH, {"email": new_address(), "role": "client_member"}),
    ):  # fmt: skip
        assert answered.status_code == 403


@pytest.mark.parametrize("path", [PATH, f"/v1/members/{NOBODY}/role", f"/v1/members/{NOBODY}/remove"])
def test_giving_and_taking_access_needs_a_fresh_proof(path: str, world: World) -> None:
    owner = world.person("client_owner")
    refused = owner.post(path, {"email": new_address(), "role": "client_member"})
    assert (refused.status_code, refused.json()["code"]) == (403, "step_up_needed")


def test_a_role_is_changed_and_a_member_removed(world: World) -> None:
    tenant = world.new_tenant()
    founder = world.founder.about(tenant)
    first, second = (invite(world, tenant, "client_owner").join() for _ in range(2))
    changed = founder.post(f"/v1/members/{second.id}/role", {"role": "auditor", "expires_at": "2040-01-01T00:00:00Z"})
    assert changed.json() == {"user_id": second.id, "role": "auditor", "expires_at": "2040-01-01T00:00:00+00:00"}
    until(lambda: second.get("/v1/me").status_code == 401)
    last = founder.post(f"/v1/members/{first.id}/remove", WHY)
    assert (last.status_code, last.json()["code"]) == (409, "last_owner")
    assert founder.done(f"/v1/members/{second.id}/remove", WHY)["role"] is None
    removed = founder.post(f"/v1/members/{second.id}/remove", WHY)
    assert removed.status_code == 200
    written = founder.post(PATH, {"email": new_address(), "role": "client_member"})
    seen = founder.get("/v1/members", written).json()
    assert [row["user_id"] for row in seen["data"]] == [first.id]


def test_nobody_changes_their_own_role(world: World) -> None:
    owner = invite(world, world.new_tenant(), "client_owner").join()
    step_up = owner.client.post("/v1/step-up", json={"password": PASSWORD}, headers=owner.headers)
    assert step_up.status_code == 200, step_up.text
    cookie = {"Cookie": step_up.headers["set-cookie"].split(";")[0]}
    world.client.cookies.clear()
    refused = Caller(owner.client, owner.headers | cookie).post(
        f"/v1/members/{owner.id}/role", {"role": "client_member"}
    )
    assert (refused.status_code, refused.json()["code"]) == (403, "own_role")


@pytest.mark.parametrize("body", [
    {"role": "client_member"},
    {"email": "nobody", "role": "client_member"},
    {"email": "a@example.com", "role": "service"},
    {"email": "a@example.com", "role": "auditor"},
    {"email": "a@example.com", "role": "client_owner", "expires_at": "2040-01-01T00:00:00Z"},
    {"email": "a@example.com", "role": "client_member", "invitation_id": "inv_" + "0" * 32},
])  # fmt: skip
def test_an_invitation_that_can_not_be_is_refused_at_the_door(body: Any, founder: Caller) -> None:
    assert founder.post(PATH, body).status_code == 422


def test_founders_are_invited_to_the_platform_alone(founder: Caller, world: World) -> None:
    asked = {"email": new_address(), "role": "founder_readonly"}
    refused = founder.post(PATH, asked)
    assert (refused.status_code, refused.json()["code"]) == (409, "role_not_here")
    assert founder.post(PATH, asked, Felix_Tenant="felix-platform").status_code == 201
    sees = founder.get(PATH, Felix_Tenant="felix-platform").json()["data"]
    assert {row["role"] for row in sees} <= {"founder", "founder_readonly"}


def test_a_key_that_was_used_for_another_address_is_found(founder: Caller) -> None:
    first, second = new_address(), new_address()
    sent = founder.post(PATH, {"email": first, "role": "client_member"}, "one-key")
    again = founder.post(PATH, {"email": first, "role": "client_member"}, "one-key")
    assert (again.status_code, again.content) == (201, sent.content)
    assert again.headers["idempotent-replayed"] == "true"
    other = founder.post(PATH, {"email": second, "role": "client_member"}, "one-key")
    assert (other.status_code, other.json()["conflicting_fields"]) == (422, ["email"])
    role = founder.post(PATH, {"email": first, "role": "client_owner"}, "one-key")
    assert (role.status_code, role.json()["conflicting_fields"]) == (422, ["role"])


def test_no_client_sees_the_people_of_another(world: World) -> None:
    theirs = invite(world, world.garage, email=new_address())
    stranger = invite(world, world.garage).join()
    owner = person(world, "client_owner")
    for path in ("/v1/members?limit=1000", f"{PATH}?limit=1000"):
        shown = owner.get(path).text
        assert stranger.id not in shown and theirs.invitation_id not in shown and theirs.email not in shown
    for path in ("/v1/members/{}/role", "/v1/members/{}/remove"):
        body = {"role": "client_owner"} if path.endswith("role") else WHY
        foreign, unknown = owner.post(path.format(stranger.id), body), owner.post(path.format(NOBODY), body)
        malformed = owner.post(path.format("usr_1"), body)
        assert foreign.status_code == unknown.status_code == malformed.status_code == 404
        assert foreign.content.replace(stranger.id.encode(), NOBODY.encode()) == unknown.content
    foreign = owner.post(f"{PATH}/{theirs.invitation_id}/withdraw", WHY)
    unknown = owner.post(f"{PATH}/inv_{'0' * 32}/withdraw", WHY)
    assert foreign.status_code == unknown.status_code == 404
    assert foreign.content.replace(theirs.invitation_id.encode(), b"inv_" + b"0" * 32) == unknown.content


def test_a_disabled_user_is_out_within_a_second_and_an_enabled_one_signs_in_again(world: World) -> None:
    email = new_address()
    ada = invite(world, world.bakery, email=email).join()
    assert world.founder.done(f"/v1/users/{ada.id}/disable", WHY) == {"user_id": ada.id, "status": "disabled"}
    until(lambda: ada.get("/v1/me").status_code == 401)
    credentials = {"email": email, "password": PASSWORD}
    assert world.client.post("/v1/sign-in", json=credentials).status_code == 401
    assert world.founder.done(f"/v1/users/{ada.id}/enable", WHY)["status"] == "active"
    assert ada.get("/v1/me").status_code == 401
    assert world.client.post("/v1/sign-in", json=credentials).status_code == 200
    world.client.cookies.clear()
    known = {row["user_id"]: row for row in world.founder.seen("/v1/users?limit=1000")["data"]}
    assert (known[ada.id]["email"], known[ada.id]["status"]) == (email, "active")
    assert [each["role"] for each in known[ada.id]["memberships"]] == ["client_member"]


def test_a_client_is_taken_on_board_with_an_owner_who_can_come_in(world: World) -> None:
    body = {
        "slug": f"on-board-{new_address().split('@')[0]}", "name": "Bakery Blum", "owner_email": new_address(),
        "welcome_mtok": 5_000, "account_name": "Shop", "modules": ["inventory"],
    }  # fmt: skip
    made = world.founder.post("/v1/tenants", body, key := f"on-board-{body['slug']}")
    assert made.status_code == 201, made.text
    told = made.json()
    assert told["modules"] == ["inventory"] and told["balance"]["available_mtok"] == 5_000
    about = world.founder.about(Caller(world.client, {}, told["tenant_id"]))
    listed = about.get(PATH, made).json()["data"]
    assert [(row["email"], row["role"]) for row in listed] == [(body["owner_email"], "client_owner")]
    assert about.seen(f"/v1/token-accounts/{told['account_id']}", made)["name"] == "Shop"
    assert world.founder.post("/v1/tenants", body, key).content == made.content
    other = world.founder.post("/v1/tenants", body | {"owner_email": new_address()}, key)
    assert (other.status_code, other.json()["conflicting_fields"]) == (422, ["email"])


def until(condition: Any, timeout_s: float = 5.0) -> None:
    """Wait for what other processes may believe for a second longer."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
