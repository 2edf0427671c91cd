"""Cases of the writes about apps, changes, records and documents, as test_api_writes wants them.

Whatever needs the worker's steps first is tested with its noun.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from felix_world import Caller, World, new_key
from running_apps import begin_app

WHY = {"reason": "Agreed on the phone."}
NO_RELEASE = "0" * 64
OPERATIONS = [{"op": "rename_view", "view": "deals", "title": "All deals"}]


class Scene(Protocol):
    """What a case finds: a founder, a client, and an account of the client."""

    world: World
    founder: Caller
    client: Caller
    account: str

    def lot(self, **fields: Any) -> str: ...


Sent = tuple[Caller, str, Any]
Prepare = Callable[[Any], Sent]


def app(s: Scene) -> str:
    """An app of the client that nobody has touched."""
    name = f"app-{new_key()}"
    begin_app(s.world, s.client, name=name)
    return f"/v1/apps/{name}"


def environment(s: Scene) -> str:
    return f"{app(s)}/environments/production"


def _new_app(s: Scene) -> Sent:
    return s.founder, "/v1/apps", {"app": f"app-{new_key()}", "title": "My shop", "modules": []}


def _app_again(s: Scene) -> Sent:
    _, path, body = _new_app(s)
    s.founder.done(path, body)
    return s.founder, path, body | {"title": "Another"}


def _change(s: Scene) -> Sent:
    body = {"app": app(s).rpartition("/")[2], "operations": OPERATIONS, "account_id": s.account}
    return s.founder, "/v1/changes", body


def change(s: Scene) -> dict[str, Any]:
    """A change that has just been asked for."""
    caller, path, body = _change(s)
    asked: dict[str, Any] = caller.done(path, body)
    return asked


def _raise_ceiling(s: Scene, more_mtok: int) -> Sent:
    asked = change(s)
    body = {"expected_version": asked["version"], "ceiling_mtok": asked["ceiling_mtok"] + more_mtok}
    return s.founder, f"/v1/changes/{asked['change_id']}/raise-ceiling", body


def _cancelled(s: Scene) -> Sent:
    path = f"/v1/changes/{change(s)['change_id']}/cancel"
    s.founder.done(path)
    return s.founder, path, WHY


def person(s: Scene) -> Caller:
    """A founder as a person: no key overrides anything about a change."""
    return s.world.person("founder", s.client, stepped_up=True)


def override(s: Scene, by: Caller, **how: Any) -> str:
    """What a founder wants that another has to confirm, or to look at afterwards."""
    at = environment(s)
    wanted = by.done(f"{at}/lift-quarantine", {"release": NO_RELEASE, **WHY, **how})
    return f"{at}/overrides/{wanted['override_id']}"


def _own_override(s: Scene, then: str, body: Any, **how: Any) -> Sent:
    by = person(s)
    return by, f"{override(s, by, **how)}/{then}", body


def records(s: Scene) -> str:
    s.lot()
    return f"{app(s)}/entities/deal/records"


def record(s: Scene, path: str) -> str:
    made = s.client.done(path, {"values": {"title": "Bread"}, "account_id": s.account})
    return f"{path}/{made['record_id']}"


def _step(s: Scene, action: str) -> Sent:
    return s.client, f"{record(s, records(s))}/transitions", {"action": action, "account_id": s.account}


def _restore(s: Scene) -> Sent:
    at = record(s, records(s))
    s.client.send("DELETE", f"{at}?account_id={s.account}")
    return s.client, f"{at}/restore", {"account_id": s.account}


def _document(s: Scene) -> Sent:
    s.lot()
    text = f"We open at eight, says {new_key()}."
    return s.client, "/v1/documents", {"title": "Hours", "account_id": s.account, "kind": "text", "text": text}


def document(s: Scene) -> str:
    caller, path, body = _document(s)
    return f"/v1/documents/{caller.done(path, body)['document_id']}"


def _gone_document(s: Scene) -> Sent:
    at = document(s)
    s.client.send("DELETE", at)
    return s.client, at, {"kind": "text", "text": "We open at nine."}


ACCEPTED: Mapping[str, tuple[Prepare, int, dict[str, Any]]] = {
    "create_app": (_new_app, 201, {"title": "My shop"}),
    "request_change": (_change, 201, {"state": "requested", "held_mtok": 0}),
    "raise_ceiling": (lambda s: _raise_ceiling(s, 1), 200, {"state": "requested"}),
    "cancel_change": (lambda s: (s.founder, f"/v1/changes/{change(s)['change_id']}/cancel", WHY), 200, {}),
    "lift_quarantine": (
        lambda s: (person(s), f"{environment(s)}/lift-quarantine", {"release": NO_RELEASE, **WHY}),
        200,
        {"done": False},
    ),
    "confirm_override": (lambda s: (person(s), f"{override(s, person(s))}/confirm", {}), 200, {"done": True}),
    "close_review": (
        lambda s: (
            person(s),
            f"{override(s, person(s), break_glass=True)}/close-review",
            {"finding": "It was right to go back."},
        ),
        200,
        {"reviews_open": 0},
    ),
    "create_record": (
        lambda s: (s.client, records(s), {"values": {"title": "Bread"}, "account_id": s.account}),
        201,
        {"version": 1},
    ),
    "take_step": (lambda s: _step(s, "win"), 200, {"version": 2}),
    "restore_record": (_restore, 200, {"version": 3}),
    "add_document": (_document, 201, {"added": True}),
    "replace_document": (
        lambda s: (s.client, document(s), {"kind": "text", "text": "We open at nine."}),
        200,
        {},
    ),
}

REFUSED: Mapping[str, tuple[Prepare, int, str]] = {
    "create_app": (_app_again, 409, "environment_exists"),
    "request_change": (
        lambda s: (s.founder, "/v1/changes", {"app": "nowhere", "operations": OPERATIONS, "account_id": s.account}),
        404,
        "environment_not_found",
    ),
    "raise_ceiling": (lambda s: _raise_ceiling(s, 0), 409, "ceiling_not_higher"),
    "cancel_change": (_cancelled, 409, "change_is_over"),
    "lift_quarantine": (
        lambda s: (person(s), f"{app(s)}x/environments/production/lift-quarantine", {"release": NO_RELEASE, **WHY}),
        404,
        "environment_not_found",
    ),
    "confirm_override": (lambda s: _own_override(s, "confirm", {}), 403, "own_override"),
    "close_review": (
        lambda s: _own_override(s, "close-review", {"finding": "It was right."}, break_glass=True),
        403,
        "own_override",
    ),
    "create_record": (
        lambda s: (s.client, records(s), {"values": {}, "account_id": s.account}),
        422,
        "invalid_record",
    ),
    "take_step": (lambda s: _step(s, "nothing"), 404, "no_such_step"),
    "restore_record": (
        lambda s: (s.client, f"{record(s, records(s))}/restore", {"account_id": s.account}),
        409,
        "record_not_removed",
    ),
    "add_document": (lambda s: (s.client, "/v1/documents", {"title": "", "text": "x"}), 422, "invalid"),
    "replace_document": (_gone_document, 404, "not_found"),
}

#: Those of them that concern no account, or name it in the body only.
OF_NO_ACCOUNT = ACCEPTED.keys()
#: Writes that the worker's steps have to come before, or that are no POST.
WITH_THEIR_NOUN = {
    "abort_deploy", "answer_clarification", "approve_change", "change_record", "connect_source", "deploy_change",
    "force_rollback", "force_unlock", "override_policy", "pause_deploy", "refresh_source", "reject_change",
    "remove_document", "remove_record", "request_rollback", "resume_deploy", "revise_plan", "withdraw_approval",
}  # fmt: skip
