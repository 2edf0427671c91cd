"""Every write endpoint: once accepted, once refused, with status, code and body; and nobody is forgotten."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from time import sleep
from typing import Any

import pytest
import writes_of_apps
from felix_world import NOBODY, Caller, World, new_key
from invited import invite, new_address

TOKENS = 1_000_000
WHY = {"reason": "Agreed on the phone."}
#: Headers that are different every time.
OF_ONE_REQUEST = {"felix-request-id", "felix-correlation-id"}


class Scene:
    """An account of the bakery, and what a write needs to find on it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.founder, self.client = world.founder, world.bakery
        self.account = self.client.open_account()
        self.at = f"/v1/token-accounts/{self.account}"

    def lot(self, **fields: Any) -> str:
        granted = self.founder.done(f"{self.at}/grants", {"amount_mtok": TOKENS, **fields})
        return f"{self.at}/lots/{granted['lot_id']}"

    def hold(self, amount_mtok: int = 500) -> str:
        self.lot()
        held = self.client.done(f"{self.at}/holds", {"amount_mtok": amount_mtok, "meter": "change.plan"})
        return f"{self.at}/holds/{held['hold_id']}"

    def debit(self) -> str:
        self.lot()
        debited = self.client.done(f"{self.at}/debits", {"meter": "llm.input_tokens", "amount_mtok": 900})
        return f"{self.at}/debits/{debited['debit_id']}"

    def adjustment(self, by: Caller) -> str:
        proposed = by.done(f"{self.at}/adjustments", {"amount_mtok": 200_000_000, **WHY})
        assert proposed["needs_approval"]
        return f"{self.at}/adjustments/{proposed['adjustment_id']}"


def closed(scene: Scene) -> Scene:
    scene.client.done(f"{scene.at}/close", WHY)
    return scene


def frozen(scene: Scene) -> Scene:
    scene.founder.done(f"{scene.at}/freeze", WHY)
    return scene


# --- what is accepted: (caller, path, body), the status, and a piece of the answer -----------------------------------


def _debit(s: Scene) -> tuple[Caller, str, Any]:
    s.lot()
    return s.client, f"{s.at}/debits", {"meter": "llm.input_tokens", "quantity": 4808, "model": "gpt-4o"}


def _transfer(s: Scene) -> tuple[Caller, str, Any]:
    s.lot()
    return s.client, f"{s.at}/transfers", {"to_account_id": s.client.open_account(), "amount_mtok": 700}


def _unfreeze_lot(s: Scene) -> tuple[Caller, str, Any]:
    lot = s.lot()
    s.founder.done(f"{lot}/freeze", WHY)
    return s.founder, f"{lot}/unfreeze", WHY


def _unfreeze(s: Scene) -> tuple[Caller, str, Any]:
    return s.founder, f"{frozen(s).at}/unfreeze", WHY


def _remove_cap(s: Scene) -> tuple[Caller, str, Any]:
    cap = s.client.done(f"{s.at}/spend-caps", {"limit_mtok": 5, "window": "day"})
    return s.client, f"{s.at}/spend-caps/{cap['cap_id']}/remove", {}


def _expired_lot(s: Scene) -> tuple[Caller, str, Any]:
    lot = s.lot(expires_at=(datetime.now(UTC) + timedelta(seconds=0.3)).isoformat())
    sleep(0.4)
    return s.founder, f"{lot}/expire", {}


def member(s: Scene) -> str:
    """Somebody who has just become a member."""
    return invite(s.world, s.client).join().id


def erased(s: Scene) -> str:
    """Somebody of whom nothing is known any more."""
    user_id = member(s)
    s.founder.done(f"/v1/users/{user_id}/erase", WHY)
    return user_id


ACCEPTED: dict[str, tuple[Callable[[Scene], tuple[Caller, str, Any]], int, dict[str, Any]]] = {
    "onboard_tenant": (
        lambda s: (s.founder, "/v1/tenants", {"slug": f"onboarded-{new_key()}", "name": "B"}),
        201,
        {"name": "B"},
    ),
    "open_token_account": (
        lambda s: (s.client, "/v1/token-accounts", {"name": "Team A"}),
        201,
        {"name": "Team A", "credit_limit_mtok": 0},
    ),
    "close_token_account": (lambda s: (s.client, f"{s.at}/close", WHY), 200, {"status": "closed"}),
    "freeze_token_account": (lambda s: (s.founder, f"{s.at}/freeze", WHY), 200, {"status": "frozen"}),
    "unfreeze_token_account": (_unfreeze, 200, {"status": "open"}),
    "grant_tokens": (
        lambda s: (s.founder, f"{s.at}/grants", {"amount_mtok": 5, "cost_minor": 1, "currency": "EUR"}),
        201,
        {"amount_mtok": 5, "debt_repaid_mtok": 0},
    ),
    "expire_lot": (_expired_lot, 200, {"amount_mtok": TOKENS}),
    "book_expiries": (lambda s: (s.client, f"{s.at}/expiries", {}), 200, {"holds": [], "lots": []}),
    "claw_back_tokens": (
        lambda s: (s.founder, f"{s.lot()}/claw-backs", {"amount_mtok": TOKENS + 5, **WHY}),
        201,
        {"amount_mtok": TOKENS + 5, "new_debt_mtok": 5},
    ),
    "void_lot": (lambda s: (s.founder, f"{s.lot()}/void", WHY), 200, {"amount_mtok": TOKENS, "still_held_mtok": 0}),
    "extend_lot": (
        lambda s: (
            s.founder,
            f"{s.lot(expires_at='2040-01-01T00:00:00Z')}/extend",
            {"expires_at": "2041-01-01T01:00:00+01:00", **WHY},
        ),
        200,
        {"expires_at": "2041-01-01T00:00:00+00:00"},
    ),
    "freeze_lot": (lambda s: (s.founder, f"{s.lot()}/freeze", WHY), 200, {"amount_mtok": TOKENS}),
    "unfreeze_lot": (_unfreeze_lot, 200, {"amount_mtok": TOKENS}),
    "hold_tokens": (
        lambda s: (s.lot() and s.client, f"{s.at}/holds", {"amount_mtok": 9, "meter": "change.plan"}),
        201,
        {"amount_mtok": 9},
    ),
    "capture_hold": (
        lambda s: (s.client, f"{s.hold(500)}/capture", {"amount_mtok": 300}),
        200,
        {"captured_mtok": 300, "released_mtok": 200},
    ),
    "release_hold": (lambda s: (s.client, f"{s.hold(500)}/release", {}), 200, {"released_mtok": 500}),
    "extend_hold": (lambda s: (s.client, f"{s.hold()}/extend", {"ttl_s": 7200}), 200, {}),
    "debit_tokens": (_debit, 201, {"amount_mtok": 7212, "debt_mtok": 0}),
    "reverse_debit": (
        lambda s: (s.founder, f"{s.debit()}/reversals", {"amount_mtok": 400, **WHY}),
        201,
        {"returned_mtok": 400, "still_reversible_mtok": 500},
    ),
    "transfer_tokens": (_transfer, 201, {"amount_mtok": 700}),
    "set_credit_limit": (
        lambda s: (s.founder, f"{s.at}/credit-limit", {"credit_limit_mtok": 7, **WHY}),
        200,
        {"credit_limit_mtok": 7},
    ),
    "set_spend_cap": (
        lambda s: (s.client, f"{s.at}/spend-caps", {"limit_mtok": 500, "window": "month"}),
        201,
        {"limit_mtok": 500},
    ),
    "remove_spend_cap": (_remove_cap, 200, {}),
    "propose_adjustment": (
        lambda s: (s.founder, f"{s.at}/adjustments", {"amount_mtok": 5, **WHY}),
        201,
        {"needs_approval": False},
    ),
    "approve_adjustment": (
        lambda s: (s.world.second_founder(), f"{s.adjustment(s.founder)}/approvals", {}),
        201,
        {"amount_mtok": 200_000_000},
    ),
    "reject_adjustment": (lambda s: (s.founder, f"{s.adjustment(s.founder)}/rejections", WHY), 201, {}),
    "define_meter": (
        lambda s: (s.founder, "/v1/meters", {"name": "storage.gb_hour", "unit": "GB hour"}),
        201,
        {"name": "storage.gb_hour", "unit": "GB hour"},
    ),
    "publish_rate_card": (
        lambda s: (
            s.founder,
            "/v1/rate-cards/spare/versions",
            {"prices": [{"kind": "flat", "meter": "m", "price_mtok": 1}]},
        ),
        201,
        {"rate_card_id": "spare"},
    ),
    "debit_usage_batch": (
        lambda s: (s.client, "/v1/usage/batch", {"events": [{"specversion": "2.0"}]}),
        200,
        {"accepted": 0, "charged_mtok": 0, "duplicates": []},
    ),
    "send_invitation": (
        lambda s: (s.founder, "/v1/invitations", {"email": new_address(), "role": "client_member"}),
        201,
        {"role": "client_member", "status": "sent"},
    ),
    "withdraw_invitation": (
        lambda s: (s.founder, f"/v1/invitations/{invite(s.world, s.client).invitation_id}/withdraw", WHY),
        200,
        {"status": "withdrawn"},
    ),
    "change_role": (
        lambda s: (s.founder, f"/v1/members/{member(s)}/role", {"role": "client_approver"}),
        200,
        {"role": "client_approver"},
    ),
    "end_membership": (lambda s: (s.founder, f"/v1/members/{member(s)}/remove", WHY), 200, {"role": None}),
    "disable_user": (lambda s: (s.founder, f"/v1/users/{member(s)}/disable", WHY), 200, {"status": "disabled"}),
    "enable_user": (lambda s: (s.founder, f"/v1/users/{member(s)}/enable", WHY), 200, {"status": "active"}),
    **writes_of_apps.ACCEPTED,
}

# --- what is refused: (caller, path, body), the status, and the code -------------------------------------------------


def _used_up_transfer(s: Scene) -> tuple[Caller, str, Any]:
    return s.client, f"{s.at}/transfers", {"to_account_id": s.client.open_account(), "amount_mtok": 1}


def _other_unit(s: Scene) -> tuple[Caller, str, Any]:
    s.founder.done("/v1/meters", {"name": "disk", "unit": "GB"})
    return s.founder, "/v1/meters", {"name": "disk", "unit": "TB"}


def _withdraw_what_is_accepted(s: Scene) -> tuple[Caller, str, Any]:
    accepted = invite(s.world, s.client)
    accepted.join()
    return s.founder, f"/v1/invitations/{accepted.invitation_id}/withdraw", WHY


def _role_of_who_has_gone(s: Scene) -> tuple[Caller, str, Any]:
    path = f"/v1/members/{member(s)}"
    s.founder.done(f"{path}/remove", WHY)
    return s.founder, f"{path}/role", {"role": "client_owner"}


def _last_owner(s: Scene) -> tuple[Caller, str, Any]:
    tenant = s.world.new_tenant()
    owner = invite(s.world, tenant, "client_owner").join()
    return s.founder.about(tenant), f"/v1/members/{owner.id}/remove", WHY


def _second_version_in_the_past(s: Scene) -> tuple[Caller, str, Any]:
    return (
        s.founder,
        "/v1/rate-cards/default/versions",
        {"effective_from": "2020-01-01T00:00:00Z", "prices": [{"kind": "flat", "meter": "m", "price_mtok": 1}]},
    )


def _twice(path_of: Callable[[Scene], str], body: Any = None) -> Callable[[Scene], tuple[Caller, str, Any]]:
    def prepare(s: Scene) -> tuple[Caller, str, Any]:
        path = path_of(s)
        s.founder.done(path, body)
        return s.founder, path, body

    return prepare


REFUSED: dict[str, tuple[Callable[[Scene], tuple[Caller, str, Any]], int, str]] = {
    "onboard_tenant": (
        lambda s: (s.founder, "/v1/tenants", {"slug": s.world.onboard("taken-slug"), "name": "C"}),
        409,
        "slug_taken",
    ),
    "open_token_account": (lambda s: (s.client, "/v1/token-accounts", {"name": ""}), 422, "invalid"),
    "close_token_account": (lambda s: (s.lot() and s.client, f"{s.at}/close", WHY), 409, "account_not_empty"),
    "freeze_token_account": (lambda s: (s.founder, f"{frozen(s).at}/freeze", WHY), 409, "account_frozen"),
    "unfreeze_token_account": (lambda s: (s.founder, f"{s.at}/unfreeze", WHY), 409, "account_not_frozen"),
    "grant_tokens": (
        lambda s: (s.founder, f"{closed(s).at}/grants", {"amount_mtok": 1}),
        409,
        "account_closed",
    ),
    "expire_lot": (lambda s: (s.founder, f"{s.lot()}/expire", {}), 409, "lot_has_not_expired"),
    "book_expiries": (lambda s: (s.client, f"{closed(s).at}/expiries", {}), 409, "account_closed"),
    "claw_back_tokens": (
        lambda s: (s.founder, f"{closed(s).at}/lots/lot_{'0' * 32}/claw-backs", {"amount_mtok": 1, **WHY}),
        409,
        "account_closed",
    ),
    "void_lot": (_twice(lambda s: f"{s.lot()}/void", WHY), 409, "lot_is_void"),
    "extend_lot": (
        lambda s: (s.founder, f"{s.lot()}/extend", {"expires_at": "2041-01-01T00:00:00Z", **WHY}),
        409,
        "expiry_not_later",
    ),
    "freeze_lot": (_twice(lambda s: f"{s.lot()}/freeze", WHY), 409, "lot_is_frozen"),
    "unfreeze_lot": (lambda s: (s.founder, f"{s.lot()}/unfreeze", WHY), 409, "lot_is_not_frozen"),
    "hold_tokens": (
        lambda s: (s.client, f"{s.at}/holds", {"amount_mtok": 9, "meter": "change.plan"}),
        402,
        "insufficient_tokens",
    ),
    "capture_hold": (
        lambda s: (s.client, f"{s.hold(500)}/capture", {"amount_mtok": 501}),
        409,
        "capture_exceeds_hold",
    ),
    "release_hold": (_twice(lambda s: f"{s.hold()}/release"), 404, "hold_not_open"),
    "extend_hold": (lambda s: (s.client, f"{s.hold()}/extend", {"ttl_s": 86_401}), 422, "invalid"),
    "debit_tokens": (
        lambda s: (s.client, f"{s.at}/debits", {"meter": "llm.input_tokens", "amount_mtok": 1}),
        402,
        "insufficient_tokens",
    ),
    "reverse_debit": (
        lambda s: (s.founder, f"{s.debit()}/reversals", {"amount_mtok": 901, **WHY}),
        409,
        "reversal_exceeds_debit",
    ),
    "transfer_tokens": (_used_up_transfer, 402, "insufficient_tokens"),
    "set_credit_limit": (
        lambda s: (s.founder, f"{closed(s).at}/credit-limit", {"credit_limit_mtok": 7, **WHY}),
        409,
        "account_closed",
    ),
    "set_spend_cap": (
        lambda s: (s.client, f"{s.at}/spend-caps", {"limit_mtok": 5, "window": "rolling"}),
        422,
        "invalid",
    ),
    "remove_spend_cap": (
        lambda s: (s.client, f"{s.at}/spend-caps/cap_{'0' * 32}/remove", {}),
        404,
        "cap_not_found",
    ),
    "propose_adjustment": (
        lambda s: (s.founder, f"{s.at}/adjustments", {"amount_mtok": 0, **WHY}),
        422,
        "adjustment_of_nothing",
    ),
    "approve_adjustment": (
        lambda s: (s.founder, f"{s.adjustment(s.founder)}/approvals", {}),
        403,
        "own_approval",
    ),
    "reject_adjustment": (
        _twice(lambda s: f"{s.adjustment(s.founder)}/rejections", WHY),
        404,
        "adjustment_not_found",
    ),
    "define_meter": (_other_unit, 409, "meter_unit_fixed"),
    "publish_rate_card": (_second_version_in_the_past, 409, "rate_card_out_of_order"),
    "debit_usage_batch": (
        lambda s: (s.client, "/v1/usage/batch", {"events": []}),
        422,
        "invalid",
    ),
    "send_invitation": (
        lambda s: (s.founder, "/v1/invitations", {"email": new_address(), "role": "founder"}),
        409,
        "role_not_here",
    ),
    "withdraw_invitation": (_withdraw_what_is_accepted, 409, "invitation_is_over"),
    "change_role": (_role_of_who_has_gone, 409, "membership_has_ended"),
    "end_membership": (_last_owner, 409, "last_owner"),
    "disable_user": (lambda s: (s.founder, f"/v1/users/{erased(s)}/disable", WHY), 409, "user_is_erased"),
    "enable_user": (lambda s: (s.founder, f"/v1/users/{erased(s)}/enable", WHY), 409, "user_is_erased"),
    **writes_of_apps.REFUSED,
}


#: Writes that are tested with their noun.
WITH_THEIR_NOUN = {
    "begin_impersonation", "create_api_key", "end_impersonation", "erase_personal_data", "erase_user",
    "rebuild_projection", "remove_secret", "retry_projection", "revoke_api_key", "rotate_api_key", "rotate_tenant_key",
    "set_secret",
} | writes_of_apps.WITH_THEIR_NOUN  # fmt: skip


def test_every_write_endpoint_has_a_case_here(world: World) -> None:
    operations = [each for path in world.app.openapi()["paths"].values() for each in path.values()]
    writes = {
        operation["operationId"]
        for operation in operations
        if "Idempotency-Key" in {parameter["name"] for parameter in operation.get("parameters", [])}
    }
    assert writes - WITH_THEIR_NOUN == ACCEPTED.keys() == REFUSED.keys()


@pytest.mark.parametrize("name", ACCEPTED)
def test_a_write_is_accepted_and_its_answer_is_remembered_byte_for_byte(name: str, world: World) -> None:
    prepare, status, piece = ACCEPTED[name]
    caller, path, body = prepare(Scene(world))
    key = new_key()
    first = caller.post(path, body, key)
    assert (first.status_code, first.headers["content-type"]) == (status, "application/json"), first.text
    assert piece.items() <= first.json().items()
    assert "idempotent-replayed" not in first.headers
    again = caller.post(path, body, key)
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert again.headers["idempotent-replayed"] == "true"
    assert again.headers.get("felix-position") == first.headers.get("felix-position")


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_is_a_problem_with_a_code_and_is_given_again(name: str, world: World) -> None:
    prepare, status, code = REFUSED[name]
    caller, path, body = prepare(Scene(world))
    key = new_key()
    first = caller.post(path, body, key)
    assert (first.status_code, first.headers["content-type"]) == (status, "application/problem+json"), first.text
    problem = first.json()
    assert problem["type"] == f"urn:felix:problem:{code}"
    assert (problem["code"], problem["status"]) == (code, status)
    assert problem["title"] and problem["detail"]
    again = caller.post(path, body, key)
    assert (again.status_code, again.content) == (first.status_code, first.content)


@pytest.mark.parametrize("name", ACCEPTED)
def test_a_write_without_an_idempotency_key_is_400(name: str, world: World) -> None:
    prepare, _, _ = ACCEPTED[name]
    caller, path, body = prepare(Scene(world))
    answered = caller.post(path, body, key=None)
    assert (answered.status_code, answered.json()["code"]) == (400, "missing_idempotency_key"), answered.text


#: Writes that concern no account.
OF_NO_ACCOUNT = {"onboard_tenant", "open_token_account", "define_meter", "publish_rate_card", "debit_usage_batch"}
OF_NO_ACCOUNT |= {"send_invitation", "withdraw_invitation", "change_role", "end_membership"}
OF_NO_ACCOUNT |= {"disable_user", "enable_user"} | writes_of_apps.OF_NO_ACCOUNT


@pytest.mark.parametrize("name", sorted(ACCEPTED.keys() - OF_NO_ACCOUNT))
def test_the_account_of_another_client_and_one_that_never_was_look_the_same(name: str, world: World) -> None:
    scene = Scene(world)
    caller, path, body = ACCEPTED[name][0](scene)
    stranger = world.founder.about(world.garage) if caller is not scene.client else world.garage
    foreign = stranger.post(path, body)
    unknown = stranger.post(path.replace(scene.account, NOBODY), body)
    assert foreign.status_code == unknown.status_code == 404
    assert foreign.content.replace(scene.account.encode(), NOBODY.encode()) == unknown.content
    assert _told(foreign) == _told(unknown)


def _told(answered: Any) -> dict[str, str]:
    return {name: value for name, value in answered.headers.items() if name not in OF_ONE_REQUEST}
