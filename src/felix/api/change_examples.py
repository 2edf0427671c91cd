"""Examples of the endpoints of changes and apps, as the OpenAPI document shows them and the tests send them."""

from __future__ import annotations

from typing import Any

from felix.api.record_examples import APP_NAME

CHANGE_ID = "chg_019a8f4e5c7b7000800000000000e001"
OVERRIDE_ID = "ovr_019a8f4e5c7b7000800000000000e003"
_ACCOUNT_ID = "acct_019a8f4e5c7b70008000000000000000"
_REQUESTER = "client_member:usr_019a8f4e5c7b7000800000000000000a"
_AT = "2026-01-31T12:00:00Z"
#: Digests, each of its own kind.
BINDING, _BASE, _RESULT, _DIFF, RELEASE, _NEXT, _CHECKS, _SAME = (f"{number:x}" * 64 for number in range(1, 9))

_OPERATION: dict[str, Any] = {
    "op": "add_field",
    "entity": "deal",
    "field": "due_date",
    "definition": {"type": "date", "label": "Due date", "required": True},
}
_EFFECT: dict[str, Any] = {
    "kind": "field_added",
    "path": "entities/deal.json",
    "pointer": "/fields/due_date",
    "sentence": "Adds the date Due date (required) to Deal",
    "risk": "medium",
}
_TOLD: dict[str, Any] = {
    "change_id": CHANGE_ID,
    "state": "requested",
    "version": 3,
    "spent_mtok": 0,
    "held_mtok": 0,
    "ceiling_mtok": 22_500,
}
_SEEN = {"expected_version": 3}
_WHY = {"reason": "The client asked for it on the phone."}
_ENVIRONMENT_TOLD: dict[str, Any] = {
    "app": APP_NAME,
    "environment": "production",
    "release": RELEASE,
    "override_id": OVERRIDE_ID,
    "done": False,
}

#: By command: the body that is sent, and what is answered.
WRITES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "CreateApp": (
        {"app": APP_NAME, "title": "The Bakery", "modules": ["crm"]},
        {"app": APP_NAME, "title": "The Bakery", "release": RELEASE},
    ),
    "RequestChange": (
        {"app": APP_NAME, "prompt": "Add a required due date to deals and show it in the list"},
        _TOLD | {"quote": {"low_mtok": 3_500, "high_mtok": 22_500, "card": "felix/0"}},
    ),
    "AnswerClarification": (_SEEN | {"answer": "Add a date field due date to deals"}, _TOLD),
    "RevisePlan": (
        _SEEN | {"operations": [_OPERATION], "reason": "That is what I meant."},
        _TOLD | {"state": "planned"},
    ),
    "RaiseCeiling": (_SEEN | {"ceiling_mtok": 90_000}, _TOLD | {"ceiling_mtok": 90_000}),
    "CancelChange": ({"reason": "Not needed any more."}, _TOLD | {"state": "cancelled"}),
    "ApproveChange": (_SEEN | {"binding": BINDING}, _TOLD | {"state": "approved", "approvals": 1}),
    "RejectChange": (_SEEN | {"reason": "Deals have a closing date already."}, _TOLD | {"state": "rejected"}),
    "WithdrawApproval": ({"reason": "I looked at the wrong one."}, _TOLD | {"approvals": 0}),
    "DeployChange": (
        _SEEN | {"strategy": {"kind": "canary", "steps": [5, 25, 50], "hold_s": 300}},
        _TOLD | {"state": "queued", "place": 1},
    ),
    "AbortDeploy": ({"reason": "The list looks wrong."}, _TOLD | {"aborted": True}),
    "PauseDeploy": ({"reason": "I want to look at it first."}, _TOLD | {"state": "canary"}),
    "ResumeDeploy": ({"accept_inconclusive": True}, _TOLD | {"state": "canary"}),
    "RequestRollback": ({"reason": "People can't save deals."}, _TOLD | {"rollback_of": CHANGE_ID, "release": RELEASE}),
    "OverridePolicy": (_SEEN | _WHY, _TOLD | {"override_id": OVERRIDE_ID, "done": False}),
    "ForceUnlock": (_WHY, _ENVIRONMENT_TOLD),
    "ForceRollback": (_WHY | {"release": RELEASE, "break_glass": True}, _ENVIRONMENT_TOLD | {"done": True}),
    "LiftQuarantine": (_WHY | {"release": RELEASE}, _ENVIRONMENT_TOLD),
    "ConfirmOverride": ({"reason": "I looked at it too."}, _ENVIRONMENT_TOLD | {"done": True}),
    "CloseReview": ({"finding": "It was right to go back."}, {"override_id": OVERRIDE_ID, "reviews_open": 0}),
}

_PRICE = {
    "low_mtok": 3_500,
    "high_mtok": 22_500,
    "ceiling_mtok": 22_500,
    "deploy_mtok": 2_000,
    "held_mtok": 0,
    "spent_mtok": 1_500,
    "absorbed_mtok": 0,
}
_APPROVAL = {
    "binding": BINDING,
    "quorum": 1,
    "roles": 1,
    "eligible_roles": ["client_approver", "client_owner", "founder"],
    "self_allowed": False,
    "authors": ["usr_019a8f4e5c7b7000800000000000000a"],
    "approvers": [],
}
CHANGE: dict[str, Any] = {
    "change_id": CHANGE_ID,
    "app": APP_NAME,
    "environment": "production",
    "kind": "prompt",
    "channel": "api",
    "prompt": "Add a required due date to deals and show it in the list",
    "answers": [],
    "requester": _REQUESTER,
    "account_id": _ACCOUNT_ID,
    "state": "awaiting_approval",
    "percent": 60,
    "waits_for": "1 approval",
    "planner": "grammar",
    "model": None,
    "rationale": "Two sentences were understood.",
    "risk": "medium",
    "effects": [_EFFECT],
    "effects_count": 1,
    "findings": [],
    "questions": None,
    "conflicts": None,
    "price": _PRICE,
    "approval": _APPROVAL,
    "deployment": None,
    "export": None,
    "repository": None,
    "pull_request": None,
    "revert": None,
    "reason": None,
    "expires_at": "2026-02-03T12:00:00Z",
    "requested_at": _AT,
    "changed_at": _AT,
    "ended_at": None,
    "version": 14,
}
#: What a change has at some time only: before it is planned, once it is over, or where what was asked is erased.
AT_TIMES = frozenset(
    {"after", "approval", "before", "binding", "checks", "deploy_mtok", "expires_at", "planner", "prompt", "rationale"}
    | {"release", "risk", "waits_for"}
)
#: One that nobody has planned yet.
_NEW: dict[str, Any] = dict.fromkeys(("prompt", "planner", "rationale", "risk", "waits_for", "approval", "expires_at"))
_NEW |= {"price": _PRICE | {"deploy_mtok": None, "spent_mtok": 0}}
CHANGES: dict[str, Any] = {
    "data": [CHANGE | _NEW | {"state": "requested", "percent": 0, "effects": [], "effects_count": 0, "version": 2}],
    "next": None,
}
CHANGE_PLAN: dict[str, Any] = {
    "change_id": CHANGE_ID,
    "state": "awaiting_approval",
    "version": 14,
    "planner": "grammar",
    "model": None,
    "rationale": "Two sentences were understood.",
    "operations": [_OPERATION],
    "sentences": ["Adds the date Due date (required) to Deal"],
    "questions": [],
    "conflicts": [],
    "findings": [],
}
CHANGE_DIFF: dict[str, Any] = {
    "change_id": CHANGE_ID,
    "state": "awaiting_approval",
    "version": 14,
    "app": APP_NAME,
    "environment": "production",
    "base_tree": _BASE,
    "result_tree": _RESULT,
    "diff": _DIFF,
    "release": _NEXT,
    "checks": _CHECKS,
    "risk": "medium",
    "effects": [_EFFECT],
    "files": [{"path": "entities/deal.json", "before": _BASE, "after": _RESULT}],
    "unchanged": {"files": 41, "digest": _SAME},
    "lines": "--- a/entities/deal.json\n+++ b/entities/deal.json\n@@ -1 +1 @@\n",
    "findings": [],
    "price": _PRICE,
    "approval": _APPROVAL | {"expires_at": "2026-02-03T12:00:00Z"},
    "you_may_approve": True,
    "needs_step_up": False,
    "why_not": None,
}
CHANGE_EXPORT: dict[str, Any] = {
    "change_id": CHANGE_ID,
    "export": {"digest": _DIFF, "entities": ["deal"], "records": 1, "size_bytes": 320},
    "data": [
        {
            "entity": "deal",
            "record_id": "rec_019a8f4e5c7b7000800000000000000b",
            "release": RELEASE,
            "version": 1,
            "maker": "client_member:usr_019a8f4e5c7b7000800000000000000a",
            "created_at": _AT,
            "changed_at": _AT,
            "removed_at": None,
            "values": {"email": "ada@example.com"},
            "erased": [],
        }
    ],
    "next": None,
}
CHANGE_TIMELINE: dict[str, Any] = {
    "change_id": CHANGE_ID,
    "state": "awaiting_approval",
    "spent_mtok": 1_500,
    "costs": [{"step": "plan", "held_mtok": 1_000, "settled_mtok": 1_000, "released_mtok": 0, "absorbed_mtok": 0}],
    "data": [
        {
            "version": 6,
            "happened": "context_ingested",
            "state": "ingested",
            "step": None,
            "actor": "system:worker",
            "happened_at": _AT,
            "held_mtok": 0,
            "settled_mtok": 0,
            "released_mtok": 0,
            "absorbed_mtok": 0,
            "told": {},
        }
    ],
    "next": None,
}
_ENVIRONMENT: dict[str, Any] = {
    "app": APP_NAME,
    "environment": "production",
    "title": "The Bakery",
    "stable": RELEASE,
    "tree": _BASE,
    "candidate": None,
    "weight": 0,
    "rollback_to": None,
    "deploying": None,
    "deployment_id": None,
    "fence": 0,
    "queue": [],
    "quarantined": [],
    "closed_because": None,
    "version": 1,
    "created_at": _AT,
    "changed_at": _AT,
}
APPS: dict[str, Any] = {"data": [_ENVIRONMENT], "next": None}
ENVIRONMENT: dict[str, Any] = _ENVIRONMENT | {
    "releases": [
        {
            "release": RELEASE,
            "tree": _BASE,
            "how": "created",
            "change_id": None,
            "deployment_id": None,
            "live_at": _AT,
            "actor": "client_owner:usr_019a8f4e5c7b7000800000000000000a",
        }
    ],
    "overrides": [],
}
