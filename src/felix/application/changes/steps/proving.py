"""From operations to what people agree to: the diff of two trees, the checks of the result, and the question.

All of it is worked out by Felix from what is stored, and again before a deployment: the same trees give the same diff,
the same release and the same digests.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Any

from felix.application.changes.steps.checks import Checked, run_checks
from felix.application.changes.steps.planning import planned_for, said_in
from felix.application.changes.steps.repositories import commit_of, commit_that_runs
from felix.application.changes.steps.workbench import Look, Next
from felix.domain.apps.places import within
from felix.domain.apps.tree import AppTree, canonical
from felix.domain.changes import messages as m
from felix.domain.changes.bills import CHECK, DEPLOY, DIFF, SAMPLE
from felix.domain.changes.change import Change
from felix.domain.changes.diff import diff
from felix.domain.changes.edits import Edit, EditConflict, between, touches
from felix.domain.changes.operations.base import Operation
from felix.domain.changes.operations.union import read_recorded
from felix.domain.changes.replay import Replayed, rebase, replay, risk
from felix.domain.changes.sinks import unnamed_sinks, with_sinks

#: Milliseconds that checks may take at the most: an app is looked through in far less.
MAX_CHECK_MS = 10_000
#: Looks at a deployment that its price is worked out for before anybody has said how it goes live.
USUAL_SAMPLES = 300
#: What an event has of one side of a conflict.
_SHOWN_SIDE, _PLACE = 1_000, 701


def compute_diff(look: Look) -> Next:
    """Replay the operations on what runs now, and compare. What was planned for another tree is rebased first."""
    operations = operations_of(look)
    planned, head = planned_for(look)[0], look.head()
    try:
        found = _replayed(look, operations, planned, head)
    except EditConflict as conflict:
        return _conflict(look, conflict)
    if found.already:
        return m.SupersedeChange(**look.step, reason="already_applied")
    return m.RecordDiff(
        **look.step, **_difference(look, operations, head, found), lines=[m.Line(meter=DIFF, quantity=1)]
    )


def rebase_change(look: Look) -> Next:
    """Stand on what runs now, where something else went live since the diff; or show where both wrote."""
    operations, base, head = operations_of(look), look.tree(look.change.base_tree), look.head()
    try:
        found = rebase(operations, base, head, look.bench.library)
    except EditConflict as conflict:
        return _conflict(look, conflict)
    if found.already:
        return m.SupersedeChange(**look.step, reason="already_applied")
    touched = sorted(_places(between(base, head)))
    return m.RebaseChange(
        **look.step, **_difference(look, operations, head, found), touched_between=touched[: m.MAX_LISTED]
    )


def begin_checks(look: Look) -> Next:
    """Hold what the checks take at the most."""
    return m.StartChecks(**look.step, lines=[m.Line(meter=CHECK, quantity=MAX_CHECK_MS)])


def check_result(look: Look) -> Next:
    """Check what would be live. Examples that fail are the client's own rules, which a founder may override."""
    change = look.change
    assert change.release is not None
    release, began_ns = change.release, time.thread_time_ns()
    done = run_checks(
        look.tree(change.base_tree), look.bench.releases.tree(release), lambda: look.bench.releases.app(release)
    )
    took_ms = min(MAX_CHECK_MS, 1 + (time.thread_time_ns() - began_ns) // 1_000_000)
    return m.RecordChecks(
        **look.step,
        checks=look.bench.objects.put(m.OBJECTS["checks"], canonical([each.shown() for each in done])),
        findings=_findings(done),
        lines=[m.Line(meter=CHECK, quantity=took_ms)],
    )


def request_approval(look: Look) -> Next:
    """Ask the people who decide. The rules are those of what runs: a change is not judged by what it would have."""
    rules = policy_of(look.tree(look.change.base_tree))
    return m.RequestApproval(
        **look.step,
        policy=policy_digest(rules),
        approvals=rules.get("approvals", {}),
        max_change_mtok=rules.get("max_change_mtok"),
        lines=[m.Line(meter=DEPLOY, quantity=1), m.Line(meter=SAMPLE, quantity=USUAL_SAMPLES)],
    )


def superseded_by(look: Look) -> str | None:
    """A newer change that was approved, is on its way or went live, and writes where this one does."""
    lock = look.environment.lock
    ahead: set[str] = {entry["change_id"] for entry in (*look.environment.queue, *([lock] if lock else []))}
    for change_id in sorted(ahead - {look.change.local_id}):
        # Ids are made in the order of time.
        other = look.bench.aggregates.find(look.place, Change, change_id) if change_id > look.change.local_id else None
        if other is not None and _overlap(look.change.places, other.places):
            return change_id
    return None


def operations_of(look: Look) -> list[Operation]:
    """What was planned, as it is stored."""
    assert look.change.operations is not None
    return read_recorded(look.bench.objects.get(m.OBJECTS["operations"], look.change.operations))


def policy_of(tree: AppTree) -> dict[str, Any]:
    """The rules of an app beyond the platform's."""
    found: dict[str, Any] = tree.files.get("policy.json", {})
    return found


def policy_digest(rules: dict[str, Any]) -> str:
    """SHA-256 over the rules: a part of what is approved."""
    return sha256(canonical(rules)).hexdigest()


def _replayed(look: Look, operations: Sequence[Operation], planned: AppTree, head: AppTree) -> Replayed:
    if planned.digest == head.digest:
        return replay(operations, head, look.bench.library)
    return rebase(operations, planned, head, look.bench.library)


def _difference(look: Look, operations: Sequence[Operation], head: AppTree, found: Replayed) -> dict[str, Any]:
    """What both the first diff and that after a rebase say. Objects are there before anything speaks of them.

    Raises ``SecretInChange`` before anything is kept that holds one of the client's own.
    """
    look.known.check_trees(head, found.tree)
    compared = diff(head, found.tree)
    shown = [effect.shown() for effect in compared.effects]
    sinks = unnamed_sinks(head, found.tree, said_in(look))
    base_commit = commit_that_runs(look.bench, look.place, look.environment)
    return {
        "base_tree": head.digest,
        "base_commit": base_commit,
        "result_tree": found.tree.digest,
        "result_commit": commit_of(look, found.tree, base_commit, [effect.sentence for effect in compared.effects]),
        "diff": look.bench.objects.put(m.OBJECTS["diff"], canonical(compared.shown())),
        "release": look.bench.releases.put(found.tree),
        "effects": [
            m.EffectLine.model_validate({**each, "sentence": each["sentence"][:2_000]})
            for each in shown[: m.MAX_EFFECTS_SHOWN]
        ],
        "effects_count": len(shown),
        "effects_digest": sha256(canonical(shown)).hexdigest(),
        "places": sorted(_places(found.edits))[:2_000],
        "risk": with_sinks(risk(operations, head, found.tree), sinks),
    }


def _conflict(look: Look, conflict: EditConflict) -> Next:
    places = [
        m.ConflictingPlace(
            place=f"{clash['path']}#{clash['pointer']}"[:_PLACE],
            ours=_side(clash, "ours"),
            theirs=_side(clash, "theirs"),
        )
        for clash in conflict.facts["conflicts"][:50]
    ]
    return m.RecordConflict(**look.step, head_tree=look.environment.tree, conflicts=places)


def _side(clash: dict[str, Any], side: str) -> str:
    return json.dumps(clash[side], ensure_ascii=False)[:_SHOWN_SIDE] if side in clash else ""


def _findings(done: Sequence[Checked]) -> list[m.Finding]:
    return [
        m.Finding(check=each.name, level="needs_override" if each.name == "examples" else "hard", detail=wrong[:2_000])
        for each in done
        for wrong in each.wrong
    ]


def _places(edits: Iterable[Edit]) -> set[str]:
    return {f"{path}#{pointer}" for path, pointer in touches(edits)}


def _overlap(ours: Iterable[str], theirs: Sequence[str]) -> bool:
    others = [place.partition("#")[::2] for place in theirs]
    return any(within(*one.partition("#")[::2], *other) for one in ours for other in others)
