"""How changes and environments are shown, at every door: to the API, to live streams and on the command line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from felix.domain.apps.tree import AppTree
from felix.domain.changes import code_edits
from felix.domain.changes.approvals import DECIDERS, person_of, role_of
from felix.domain.changes.messages import TERMINAL
from felix.domain.changes.operations.union import read_recorded, written
from felix.domain.changes.risk import SERIOUS
from felix.projections.tenant_tx import Row

#: How far a change is, in hundredths, by its state: of its steps, not of its time.
_PERCENT = {
    "requested": 0,
    "ingesting": 5,
    "ingested": 10,
    "planning": 20,
    "needs_input": 20,
    "planned": 35,
    "diffed": 45,
    "checking": 50,
    "checks_failed": 50,
    "policy_violated": 50,
    "checked": 55,
    "awaiting_approval": 60,
    "approved": 65,
    "queued": 70,
    "deploying": 75,
    "canary": 80,
    "baking": 90,
    "rolling_back": 90,
    "attention": 90,
}
#: Whom a change waits for, by its state; in all others Felix itself is at work, or it is over.
_WAITS_FOR = {
    "needs_input": "an answer",
    "blocked_funds": "tokens",
    "checks_failed": "another plan",
    "policy_violated": "a founder's override",
    "approved": "somebody to deploy it",
    "queued": "its turn",
    "attention": "a founder",
}
_PRICE = ("low_mtok", "high_mtok", "ceiling_mtok", "deploy_mtok", "held_mtok", "spent_mtok", "absorbed_mtok")
_APPROVAL = ("binding", "quorum", "roles", "eligible_roles", "self_allowed", "authors", "approvers")
_DEPLOYMENT = (
    "deployment_id", "strategy", "weight", "paused", "measurements", "guardrail", "previous_release", "bakes_until"
)  # fmt: skip
_PROGRESS = (
    "change_id", "app", "environment", "kind", "state", "risk", "reason", "guardrail", "weight", "paused", "low_mtok",
    "high_mtok", "ceiling_mtok", "held_mtok", "spent_mtok", "expires_at", "changed_at", "version",
)  # fmt: skip
#: For Felix itself; answers are shown as they were written, and not counted.
_INTERNAL = frozenset({"subject_id", "tenant_sequence", "resumes_at", "prompt_chars", "answers"})


def shown(row: Row, said: Mapping[str, str] | None = None) -> dict[str, Any]:
    """A change as its read model has it. ``said`` is what people wrote, where that is to be shown and still kept."""
    change = {name: value for name, value in row.items() if name not in _INTERNAL}
    price, approval, deployment = (
        {name: change.pop(name) for name in names} for names in (_PRICE, _APPROVAL, _DEPLOYMENT)
    )
    change |= {
        "percent": percent(row),
        "waits_for": waits_for(row),
        "price": price,
        "approval": approval if approval["binding"] else None,
        "deployment": deployment if deployment["strategy"] or deployment["deployment_id"] else None,
    }
    if said is not None:
        change["prompt"] = said.get("prompt")
        change["answers"] = [text for name, text in sorted(said.items(), key=_numbered) if name.startswith("answer_")]
    return change


def _numbered(item: tuple[str, str]) -> tuple[int, str]:
    """``answer_10`` comes after ``answer_9``."""
    return len(item[0]), item[0]


def progress(row: Row) -> dict[str, Any]:
    """What of a change is told as it happens: where it is, how far, whom it waits for, and what it has cost so far."""
    return {
        **{name: row[name] for name in _PROGRESS},
        "percent": percent(row),
        "waits_for": waits_for(row),
        "is_over": row["state"] in TERMINAL,
    }


def percent(row: Row) -> int:
    """How far a change is; one that waits for tokens is where it was."""
    state = row["resumes_at"] if row["state"] == "blocked_funds" else row["state"]
    return 100 if state in TERMINAL else _PERCENT.get(state, 0)


def waits_for(row: Row) -> str | None:
    """Whom or what a change waits for; None while Felix works at it, and when it is over."""
    state = row["state"]
    if state == "awaiting_approval":
        missing = max(row["quorum"] - len(row["approvers"]), 1)
        return "another approval" if missing == 1 and row["approvers"] else f"{missing} approval{'s'[: missing != 1]}"
    if state == "canary" and row["paused"]:
        return "somebody to resume it"
    if state == "blocked_funds" and row["reason"] in ("price_ceiling_reached", "policy_maximum"):
        return "a higher ceiling"
    if state == "blocked_funds" and (opens_at := (row["reason"] or "").partition(" until ")[2]):
        return f"room below a limit, at {opens_at}"
    return _WAITS_FOR.get(state)


def may_approve(row: Row, actor: str) -> str | None:
    """Why somebody can't approve a change as it is, as the code of the refusal; None where they can."""
    if row["state"] != "awaiting_approval":
        return "not_in_this_state"
    person = person_of(actor)
    if person.startswith("key_"):
        return "people_decide"
    if role_of(actor) not in DECIDERS:
        return "may_not_decide"
    if person in row["authors"] and not row["self_allowed"]:
        return "own_change"
    return "already_approved" if person in map(person_of, row["approvers"]) else None


def plan(row: Row, stored: bytes | None, tree: AppTree | None) -> dict[str, Any]:
    """What was planned, by whom, and what each operation does in the words of the app that it was planned for.

    Of a repository there is no tree, and operations are edits of its files.
    """
    if tree is None:
        edits = [] if stored is None else code_edits.read_edits(stored)
        told, sentences = code_edits.written(edits), [edit.describe() for edit in edits]
    else:
        operations = [] if stored is None else read_recorded(stored)
        told, sentences = written(operations), [operation.describe(tree) for operation in operations]
    return {
        "change_id": row["change_id"],
        "state": row["state"],
        "version": row["version"],
        "planner": row["planner"],
        "model": row["model"],
        "rationale": row["rationale"],
        "operations": told,
        "sentences": sentences,
        "questions": row["questions"] or [],
        "conflicts": row["conflicts"] or [],
        "findings": row["findings"],
    }


def difference(row: Row, diff: Mapping[str, Any], actor: str, *, proved: bool) -> dict[str, Any]:
    """What somebody agrees to: effects, lines, price, the digest that all of it has, and whether they may.

    ``proved`` is whether they have proved a moment ago who they are, which is needed for what is serious.
    """
    refused = may_approve(row, actor)
    return {
        "change_id": row["change_id"],
        "state": row["state"],
        "version": row["version"],
        "environment": row["environment"],
        "app": row["app"],
        **diff,
        "diff": row["diff"],
        "release": row["release"],
        "checks": row["checks"],
        "findings": row["findings"],
        "price": {name: row[name] for name in _PRICE},
        "approval": {name: row[name] for name in _APPROVAL} | {"expires_at": row["expires_at"]},
        "you_may_approve": refused is None,
        "needs_step_up": refused is None and row["risk"] in SERIOUS and not proved,
        "why_not": refused,
    }
