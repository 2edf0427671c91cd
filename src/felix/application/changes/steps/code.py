"""The steps of a change of a repository: the same states as an app's, with pull requests in the place of releases.

What people agree to is the digest of files that Felix works out from the commit and the edits. GitHub makes the same of
them or nothing is proposed, and what was merged is looked at again: somebody may have pushed in that very moment.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from felix.application.changes.code_planners import CodePlanRequest, shown_files
from felix.application.changes.code_target import (
    CodeChange,
    MergeRefused,
    NothingToRevert,
    NotProposed,
    PullRequest,
    Verdict,
)
from felix.application.changes.steps import deploying, planning, proving
from felix.application.changes.steps.budget import ChangeBudget
from felix.application.changes.steps.checks import Checked
from felix.application.changes.steps.watching import watched
from felix.application.changes.steps.workbench import Look, Next, Perform, Rest
from felix.application.context import LOOKED_AT, ContextPassage, Source, assemble
from felix.domain.apps.tree import canonical
from felix.domain.base import Command
from felix.domain.changes import messages as m
from felix.domain.changes.bills import CHECK, DEPLOY, DIFF, PLAN
from felix.domain.changes.change import Change
from felix.domain.changes.code_edits import (
    AlreadyWritten,
    CodeEdit,
    EditDoesNotFit,
    ReplaceText,
    check_paths,
    read_edits,
    risk_of,
    touched,
    written,
    written_files,
)
from felix.domain.changes.code_tree import CodeDiff, CodeTree
from felix.domain.changes.errors import NotConnected
from felix.domain.changes.messages import State
from felix.domain.context.document import Document
from felix.domain.errors import FelixError, Refused, Unavailable

log = logging.getLogger("felix.changes")

#: Where it matters which commit the branch is at.
FOLLOWING: frozenset[State] = frozenset(
    {"requested", "planned", "diffed", "checked", "awaiting_approval", "approved", "queued"}
)
#: When rules of the repository stand against a merge, its own checks may still be running.
MERGE_AGAIN = timedelta(minutes=1)
MAX_SENTENCES = 50
_ENDED: Mapping[State, Verdict] = {
    "rejected": "rejected", "expired": "expired", "cancelled": "cancelled", "superseded": "cancelled",
    "failed": "cancelled",
}  # fmt: skip


class NotTheSame(Refused):
    """What GitHub made of the edits is not what Felix worked out; nothing was proposed."""


def moved(look: Look) -> Command | None:
    """What is to be known before anything else, where the branch is at another commit than was thought."""
    environment, target = look.environment, look.code
    if look.change.state not in FOLLOWING or environment.lock is not None or environment.source is None:
        return None
    source = look.bench.aggregates.find(look.place, Document, environment.source)
    if source is None or source.removed:
        raise NotConnected(repository=environment.repository)
    repository = environment.repository or ""
    commit = target.head(repository, environment.branch)
    if commit == environment.commit:
        return None
    tree = target.tree(repository, commit).digest
    return m.FollowRepository(
        app=environment.app, environment=environment.environment, commit=commit, seen=environment.commit, tree=tree
    )


def read_context(look: Look) -> Next:
    """Gather what a planner is told beside the files: what of the documents the words are about."""
    words = "" if planning.given_plan(look.change) else " ".join(planning.words_of(look).values())
    environment = look.environment
    found = assemble(words, look.bench.passages.find(look.place, words, LOOKED_AT) if words else [])
    files = Source("repository", f"{environment.repository}@{environment.commit}", environment.tree)
    return planning.ingested(look, replace(found, sources=(files, *found.sources)))


def begin_planning(look: Look) -> Next:
    """Say who plans. Without a language model there is nobody who could."""
    if planning.given_plan(look.change):
        return m.StartPlanning(**look.step, planner=planning.FORM, timeout_s=planning.PLAN_TIMEOUT_S)
    (planner,) = look.bench.planners(look.place, look.change).planners
    by = planner.identity
    # What can't be read now is waited for before anything is held.
    _asked(look)
    return m.StartPlanning(
        **look.step,
        planner=by.planner,
        model=by.model,
        key=by.key,
        template=by.template_digest,
        timeout_s=planning.PLAN_TIMEOUT_S,
        lines=[m.Line(meter=PLAN, quantity=1)],
    )


def plan(look: Look, perform: Perform) -> Next:
    """Ask the planner for edits; those that were given are their own plan."""
    if (given := planning.given_plan(look.change)) is not None:
        count = len(read_edits(look.bench.objects.get(m.OBJECTS["operations"], given)))
        return m.RecordPlan(**look.step, operations=given, count=count, planner=planning.FORM)
    asked = _asked(look)
    budget = ChangeBudget(look.change, perform, look.bench.model_day_mtok)
    (planner,) = look.bench.planners(look.place, look.change).planners
    # The planner of a repository's change is one of code.
    answered = planner.plan(asked, budget)  # type: ignore[arg-type]
    return planning.told(look, answered, budget.version, kept=written)


def compute_diff(look: Look) -> Next:
    """Make the edits on the files as they are now, and compare."""
    edits = _edits(look, look.change.operations)
    try:
        found = _worked_out(look, look.environment.commit, edits)
    except AlreadyWritten:
        return m.SupersedeChange(**look.step, reason="already_applied")
    return m.RecordDiff(**look.step, **_difference(look, found, edits), lines=[m.Line(meter=DIFF, quantity=1)])


def rebase_change(look: Look) -> Next:
    """Make the same edits on the files as they are now; or show where somebody else wrote too."""
    edits, head = _edits(look, look.change.operations), _tree(look, look.environment.commit)
    theirs = head.differing(_tree(look, look.change.base_commit))
    # A text that is still there once is found wherever it is; what is written whole would take theirs away.
    clashing = sorted({edit.path for edit in edits if not isinstance(edit, ReplaceText)}.intersection(theirs))
    try:
        found = _worked_out(look, look.environment.commit, edits)
    except AlreadyWritten:
        return m.SupersedeChange(**look.step, reason="already_applied")
    except EditDoesNotFit as misfit:
        return _conflict(look, [misfit.facts.get("path", "")], str(misfit))
    if clashing:
        return _conflict(look, clashing, "Somebody else has changed this file since.")
    between = [f"{path}#" for path in theirs]
    return m.RebaseChange(**look.step, **_difference(look, found, edits), touched_between=between[: m.MAX_LISTED])


def check_result(look: Look) -> Next:
    """Work it out once more, within every limit. The repository's own tests run where they always do."""
    edits = _edits(look, look.change.operations)
    found = _worked_out(look, look.change.base_commit, edits)
    done = [
        Checked("paths_sizes_and_secrets", len(found.after)),
        Checked("result_tree", len(found.result.entries)),
    ]
    return m.RecordChecks(
        **look.step,
        checks=look.bench.objects.put(m.OBJECTS["checks"], canonical([each.shown() for each in done])),
        lines=[m.Line(meter=CHECK, quantity=1)],
    )


def request_approval(look: Look) -> Next:
    """Propose it, and then ask the people who decide: the pull request says that it waits for them."""
    change = look.change
    if not _is_proposed(change):
        proposed = look.code.propose(_code_change(look, change, _now(change)))
        if _tree(look, proposed.commit).digest != change.result_tree:
            raise NotTheSame(commit=proposed.commit)
        return _recorded(look, proposed)
    _show(look, "waiting")
    return m.RequestApproval(**look.step, policy=proving.policy_digest({}), lines=[m.Line(meter=DEPLOY, quantity=1)])


def wait_for_people(look: Look) -> Next:
    """Let the pull request say what they think so far."""
    _show(look, "approved" if look.change.state == "approved" else "waiting")
    return Rest()


def go_live(look: Look) -> Next:
    """Begin, when it is this change's turn and its time. Every part of what was approved is worked out anew."""
    change, strategy = look.change, m.Strategy.model_validate(look.change.strategy or {})
    other = deploying.not_its_turn(look) or deploying.closed(strategy, strategy.window, look.at)
    if other is not None:
        return other
    _show(look, "approved")
    found = _worked_out(look, change.base_commit, _edits(look, change.operations))
    assert change.checks is not None
    look.bench.objects.get(m.OBJECTS["checks"], change.checks)
    return m.StartDeploy(
        **look.step,
        base_tree=found.base.digest,
        result_tree=found.result.digest,
        diff=look.bench.objects.put(m.OBJECTS["diff"], canonical(found.shown())),
        release=found.result.digest,
        checks=change.checks,
        policy=proving.policy_digest({}),
        rollback_to=look.environment.stable,
        lines=[m.Line(meter=DEPLOY, quantity=1)],
    )


def merge(look: Look) -> Next:
    """Merge it, and see that what was merged is what was approved. While rules stand against it, wait for a time."""
    change = look.change
    proposed = _code_change(look, change, change.pull)
    try:
        merged = look.code.merge(proposed)
        found = _tree(look, merged.merged).digest
    except Unavailable:
        raise
    except FelixError as refused:
        waits_s = m.Strategy.model_validate(change.strategy or {}).max_wait_s
        if isinstance(refused, MergeRefused) and look.at < watched(look).since + timedelta(seconds=waits_s):
            return Rest(look.at + MERGE_AGAIN)
        return m.StartRollback(**look.deploy_step, reason=_why(refused))
    if change.pull is None or change.pull["merged"] is None:
        return _recorded(look, merged)
    if found != change.result_tree:
        reason = "What was merged is not what was approved: somebody else has pushed in the same moment."
        return m.StartRollback(**look.deploy_step, reason=reason)
    _tell(look, lambda: look.code.show_progress(proposed, change.environment, "in_progress"))
    return m.Promote(**look.deploy_step)


def bake(look: Look) -> Next:
    """What runs of it is the repository's own affair; until its time is over, people may still abort."""
    change = look.change
    ends_at = datetime.fromisoformat(change.bakes_until or look.at.isoformat())
    if look.at < ends_at:
        return Rest(ends_at)
    _tell(look, lambda: look.code.show_progress(_code_change(look, change, change.pull), change.environment, "success"))
    return m.Succeed(**look.deploy_step, lines=[m.Line(meter=DEPLOY, quantity=1)])


def come_back(look: Look) -> Next:
    """Take it back by a pull request of its own, which has to be merged too; or close what was never merged."""
    change = look.change
    taken = change if change.rollback_of is None else _change(look, change.rollback_of)
    lines = [] if change.kind_of_change == "rollback" else [m.Line(meter=DEPLOY, quantity=1)]
    proposed = _code_change(look, taken, taken.pull)
    try:
        reverting = look.code.revert(proposed)
        if reverting.branch != (taken.pull or {})["branch"]:
            if change.reverting is None:
                return _recorded(look, reverting, reverts=True)
            reverting = look.code.merge(proposed, reverting=True)
            if change.reverting["merged"] is None:
                return _recorded(look, reverting, reverts=True)
    except (NothingToRevert, NotProposed):
        log.info("there is nothing to take back", extra={"change_id": change.local_id})
    except Unavailable:
        raise
    except MergeRefused as refused:
        log.info("the way back waits to be merged: %s", refused, extra={"change_id": change.local_id})
        return Rest(look.at + MERGE_AGAIN)
    except FelixError as broken:
        return m.BlockRollback(**look.deploy_step, reason=_why(broken))
    if taken.pull is not None and taken.pull["merged"] is not None:
        _tell(look, lambda: look.code.show_progress(proposed, change.environment, "inactive"))
    return m.FinishRollback(**look.deploy_step, lines=lines)


def end(look: Look) -> Next:
    """Let the pull request of what came to nothing say so, and close it."""
    change, verdict = look.change, _ENDED.get(look.change.state)
    if verdict is not None and change.pull is not None and change.pull["merged"] is None:
        _tell(look, lambda: _show(look, verdict))
        _tell(look, lambda: look.code.revert(_code_change(look, change, change.pull)))
    return Rest()


STEPS: dict[State, Callable[[Look], Next]] = {
    "requested": planning.begin_reading,
    "ingesting": read_context,
    "ingested": begin_planning,
    "planned": compute_diff,
    "diffed": proving.begin_checks,
    "checking": check_result,
    "checked": request_approval,
    "awaiting_approval": wait_for_people,
    "approved": wait_for_people,
    "queued": go_live,
    "deploying": merge,
    "baking": bake,
    "rolling_back": come_back,
}


def _asked(look: Look) -> CodePlanRequest:
    """What the planner is asked, with the files that it has to see; what holds a secret of the client is not shown."""
    words, passages = planning.words_of(look), _passages(look)
    answers = planning.answers_of(look, words)
    tree = _tree(look, look.environment.commit)
    said = "\n".join((words["prompt"], *(answer for _, answer in answers)))
    files = shown_files(tree, said, passages, lambda digest, path: look.code.text(tree.repository, digest, path))
    return CodePlanRequest(
        prompt=words["prompt"],
        repository=tree.repository,
        tree=tree,
        files={path: text for path, text in files.items() if look.known.named_in(text) is None},
        context=passages,
        answers=answers,
    )


def _passages(look: Look) -> Sequence[ContextPassage]:
    if look.change.context_digest is None:
        return ()
    told = json.loads(look.bench.objects.get(m.OBJECTS["context"], look.change.context_digest))
    return [ContextPassage(*passage) for passage in told["passages"]]


def _edits(look: Look, digest: str | None) -> list[CodeEdit]:
    """What was planned, as it is stored."""
    assert digest is not None
    return read_edits(look.bench.objects.get(m.OBJECTS["operations"], digest))


def _tree(look: Look, commit: str | None) -> CodeTree:
    assert commit is not None and look.environment.repository is not None
    return look.code.tree(look.environment.repository, commit)


def _worked_out(look: Look, commit: str | None, edits: Sequence[CodeEdit]) -> CodeDiff:
    """What the edits make of the files of a commit. Raises what :mod:`felix.domain.changes.code_edits` does."""
    risk = risk_of(edits)
    check_paths(edits, risk)
    base = _tree(look, commit)
    before: dict[str, str | None] = {}
    for path in touched(edits):
        entry = base.entry(path)
        before[path] = None if entry is None else look.code.text(base.repository, entry[1], path)
    after = written_files(edits, before.get)
    look.known.check_files(before, after)
    return CodeDiff(base, base.with_texts(after), {path: before[path] for path in after}, after, risk)


def _difference(look: Look, found: CodeDiff, edits: Sequence[CodeEdit]) -> dict[str, Any]:
    """What both the first diff and that after a rebase say."""
    return {
        "base_tree": found.base.digest,
        "base_commit": look.environment.commit,
        "result_tree": found.result.digest,
        "diff": look.bench.objects.put(m.OBJECTS["diff"], canonical(found.shown())),
        "release": found.result.digest,
        "effects": [m.EffectLine.model_validate(each) for each in found.effects[: m.MAX_EFFECTS_SHOWN]],
        "effects_count": len(found.effects),
        "effects_digest": found.meaning,
        "places": sorted(f"{path}#" for path in touched(edits)),
        "risk": found.risk,
    }


def _conflict(look: Look, paths: Sequence[str], why: str) -> Next:
    places = [m.ConflictingPlace(place=f"{path}#", ours="", theirs=why[:1_000]) for path in paths[:50]]
    return m.RecordConflict(**look.step, head_tree=look.environment.tree, conflicts=places)


def _now(change: Change) -> dict[str, Any]:
    """What of a change makes its proposal."""
    return {
        "base_commit": change.base_commit, "diff": change.diff, "operations": change.operations, "risk": change.risk,
    }  # fmt: skip


def _is_proposed(change: Change) -> bool:
    return change.pull is not None and {name: change.pull[name] for name in _now(change)} == _now(change)


def _code_change(look: Look, change: Change, of: Mapping[str, Any] | None) -> CodeChange:
    """A change as GitHub is told of it, as it was proposed. What was asked is personal, and not told."""
    if of is None:
        raise NotProposed()
    shown = json.loads(look.bench.objects.get(m.OBJECTS["diff"], of["diff"]))
    sentences = [effect["sentence"] for effect in shown["effects"][:MAX_SENTENCES]]
    more = f" And {len(sentences) - 1} more." if len(sentences) > 1 else ""
    return CodeChange(
        change_id=change.local_id,
        repository=look.environment.repository or "",
        title=f"{sentences[0]}{more}",
        description="\n".join(f"- {sentence}" for sentence in sentences),
        edits=_edits(look, of["operations"]),
        risk=of["risk"],
        branch=look.environment.branch,
        base=of["base_commit"],
    )


def _change(look: Look, change_id: str) -> Change:
    found = look.bench.aggregates.find(look.place, Change, change_id)
    if found is None:
        raise NotProposed()
    return found


def _recorded(look: Look, pull: PullRequest, *, reverts: bool = False) -> Next:
    return m.RecordPullRequest(
        **look.step,
        branch=pull.branch,
        commit=pull.commit,
        merged=pull.merged,
        number=pull.number,
        reverts=reverts,
        url=pull.url,
    )


def _show(look: Look, verdict: Verdict) -> None:
    change = look.change
    summary = f"Felix: {change.local_id}, of {change.risk} risk, {len(change.approvals)} approvals so far."
    look.code.show_verdict(_code_change(look, change, change.pull), verdict, summary)


def _tell(look: Look, tells: Callable[[], object]) -> None:
    """Say what is decided already: who does not want to hear it can't change it."""
    try:
        tells()
    except Unavailable:
        raise
    except FelixError as refused:
        log.warning("GitHub was not told: %s", refused, extra={"change_id": look.change.local_id})


def _why(refused: FelixError) -> str:
    said = refused.facts.get("github_says")
    return f"{refused} {said}"[:1_000] if said else str(refused)[:1_000]
