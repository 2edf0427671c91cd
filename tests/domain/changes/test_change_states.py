"""Every command in every state: what is accepted is written down here, everything else is refused with the state."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any, get_args

import pytest
from change_book import ADA, APPROVER, MEMBER, OTHER, OWNER, WORKER, Shop, Walk, digest, line

from felix.domain.changes import messages as m
from felix.domain.changes.change_rules import ALLOWED
from felix.domain.changes.errors import ChangeIsOver, NotInThisState
from felix.domain.errors import FelixError

D = digest("anything")


def _needs_input(walk: Walk) -> None:
    walk.ingest().start_planning()
    walk.do(m.AskClarification(**walk.step, planner="grammar", questions=[m.Question(question="Which?")]))


def _blocked(walk: Walk) -> None:
    walk.ingest().plan()
    walk.do(m.RecordDiff(**walk.step, **walk.difference(), lines=[line("changes.diff", 10_000_000)]))


def _attention(walk: Walk) -> None:
    walk.to_queue().start().promote().roll_back()
    walk.do(m.BlockRollback(**walk.deploy_step, reason="the old one is broken"))


#: How a change comes into each state.
WAYS: dict[str, Callable[[Walk], object]] = {
    "requested": lambda walk: None,
    "blocked_funds": _blocked,
    "ingesting": lambda walk: walk.do(m.StartIngestion(**walk.step)),
    "ingested": lambda walk: walk.ingest(),
    "planning": lambda walk: walk.ingest().start_planning(),
    "needs_input": _needs_input,
    "planned": lambda walk: walk.ingest().plan(),
    "diffed": lambda walk: walk.ingest().plan().diff(),
    "checking": lambda walk: walk.ingest().plan().diff().start_checks(),
    "checks_failed": lambda walk: walk.ingest().plan().diff().check("hard"),
    "policy_violated": lambda walk: walk.ingest().plan().diff().check("needs_override"),
    "checked": lambda walk: walk.ingest().plan().diff().check(),
    "awaiting_approval": lambda walk: walk.to_approval(),
    "approved": lambda walk: walk.to_approval().approve(),
    "queued": lambda walk: walk.to_queue(kind="canary", steps=[5]),
    "deploying": lambda walk: walk.to_queue(kind="canary", steps=[5]).start(),
    "canary": lambda walk: walk.to_queue(kind="canary", steps=[5, 50]).start().canary(5),
    "baking": lambda walk: walk.to_queue().start().promote(),
    "rolling_back": lambda walk: walk.to_queue().start().roll_back(),
    "attention": _attention,
    "deployed": lambda walk: walk.go_live(),
    "rolled_back": lambda walk: walk.to_queue().start().roll_back().finish_rollback(),
    "rejected": lambda walk: walk.to_approval().do(m.RejectChange(**walk.step, reason="no"), APPROVER),
    "expired": lambda walk: (_needs_input(walk), walk.shop.book.wait(days=8), walk.do(m.ExpireChange(**walk.step))),
    "superseded": lambda walk: walk.do(m.SupersedeChange(**walk.step, reason="already_applied")),
    "cancelled": lambda walk: walk.do(m.CancelChange(change_id=walk.id), MEMBER),
    "failed": lambda walk: walk.do(m.FailStep(**walk.step, step="plan", failure="input", reason="nonsense")),
}
#: Each command as somebody who may would send it.
COMMANDS: dict[str, tuple[str, Callable[[Walk], m.Command]]] = {
    "StartIngestion": (WORKER, lambda walk: m.StartIngestion(**walk.step)),
    "RecordIngested": (WORKER, lambda walk: m.RecordIngested(**walk.step, context=D)),
    "StartPlanning": (WORKER, lambda walk: m.StartPlanning(**walk.step, planner="grammar")),
    "HoldForRequest": (WORKER, lambda walk: m.HoldForRequest(**walk.step, lines=[line("changes.plan", 1)])),
    "RecordPlan": (WORKER, lambda walk: m.RecordPlan(**walk.step, operations=D, count=1, planner="grammar")),
    "AskClarification": (
        WORKER,
        lambda walk: m.AskClarification(**walk.step, planner="grammar", questions=[m.Question(question="?")]),
    ),
    "AnswerClarification": (
        MEMBER,
        lambda walk: m.AnswerClarification(**walk.step, answer_index=D, answer_commitment=D),
    ),
    "RevisePlan": (MEMBER, lambda walk: m.RevisePlan(**walk.step, operations=D)),
    "RaiseCeiling": (MEMBER, lambda walk: m.RaiseCeiling(**walk.step, ceiling_mtok=10**12)),
    "RecordDiff": (WORKER, lambda walk: m.RecordDiff(**walk.step, **walk.difference())),
    "StartChecks": (WORKER, lambda walk: m.StartChecks(**walk.step)),
    "RecordChecks": (WORKER, lambda walk: m.RecordChecks(**walk.step, checks=D)),
    "OverridePolicy": (ADA, lambda walk: m.OverridePolicy(**walk.step, reason="we know")),
    "RecordPullRequest": (
        WORKER,
        lambda walk: m.RecordPullRequest(
            **walk.step, branch="b", commit="c" * 40, number=1, url="https://github.example"
        ),
    ),
    "RequestApproval": (WORKER, lambda walk: m.RequestApproval(**walk.step, policy=D)),
    "ApproveChange": (OTHER, lambda walk: m.ApproveChange(**walk.step, binding=_binding(walk))),
    "RejectChange": (OTHER, lambda walk: m.RejectChange(**walk.step, reason="no")),
    "WithdrawApproval": (APPROVER, lambda walk: m.WithdrawApproval(**walk.step)),
    "DeployChange": (OWNER, lambda walk: m.DeployChange(**walk.step)),
    "RecordExport": (WORKER, lambda walk: m.RecordExport(**walk.step, export=D, records=0, size_bytes=0)),
    "StartDeploy": (WORKER, lambda walk: walk.start_command()),
    "StartCanary": (WORKER, lambda walk: m.StartCanary(**walk.deploy_step, percent=50 if walk.change.weight else 5)),
    "RecordMeasurement": (
        WORKER,
        lambda walk: m.RecordMeasurement(
            **walk.deploy_step, measurements=[m.Measurement(guardrail="x", verdict="pass")]
        ),
    ),
    "HoldCanary": (WORKER, lambda walk: m.HoldCanary(**walk.deploy_step, reason="too few samples")),
    "PauseDeploy": (OWNER, lambda walk: m.PauseDeploy(**walk.step)),
    "Succeed": (WORKER, lambda walk: m.Succeed(**walk.deploy_step)),
    "StartRollback": (WORKER, lambda walk: m.StartRollback(**walk.deploy_step, reason="errors")),
    "FinishRollback": (WORKER, lambda walk: m.FinishRollback(**walk.deploy_step)),
    "BlockRollback": (WORKER, lambda walk: m.BlockRollback(**walk.deploy_step, reason="broken")),
    "UnblockChange": (WORKER, lambda walk: m.UnblockChange(**walk.step)),
    "CancelChange": (MEMBER, lambda walk: m.CancelChange(**walk.step)),
    "ExpireChange": (WORKER, lambda walk: m.ExpireChange(**walk.step)),
    "SupersedeChange": (WORKER, lambda walk: m.SupersedeChange(**walk.step, reason="already_applied")),
    "FailStep": (WORKER, lambda walk: m.FailStep(**walk.step, step="x", failure="input", reason="no")),
    "RebaseChange": (WORKER, lambda walk: m.RebaseChange(**walk.step, **walk.difference())),
    "RecordConflict": (
        WORKER,
        lambda walk: m.RecordConflict(
            **walk.step,
            head_tree=walk.environment.tree,
            conflicts=[m.ConflictingPlace(place="app.json#", ours="1", theirs="2")],
        ),
    ),
}
_EVERYWHERE_BEFORE = "CancelChange ExpireChange SupersedeChange"
_DIFF = "RevisePlan RebaseChange RecordConflict FailStep " + _EVERYWHERE_BEFORE
#: What is accepted. ``ResumeDeploy``, ``Promote``, ``SettleRequest`` and ``AbortDeploy`` have tests of their own.
ACCEPTED: dict[str, str] = {
    "requested": f"StartIngestion RaiseCeiling FailStep {_EVERYWHERE_BEFORE}",
    "blocked_funds": f"UnblockChange RaiseCeiling WithdrawApproval {_EVERYWHERE_BEFORE}",
    "ingesting": f"RecordIngested RaiseCeiling FailStep {_EVERYWHERE_BEFORE}",
    "ingested": f"StartPlanning RaiseCeiling FailStep {_EVERYWHERE_BEFORE}",
    "planning": f"HoldForRequest RecordPlan AskClarification RaiseCeiling FailStep {_EVERYWHERE_BEFORE}",
    "needs_input": f"AnswerClarification RevisePlan RaiseCeiling {_EVERYWHERE_BEFORE}",
    "planned": f"RecordDiff RevisePlan RecordConflict RaiseCeiling FailStep {_EVERYWHERE_BEFORE}",
    "diffed": f"StartChecks RaiseCeiling {_DIFF}",
    "checking": f"RecordChecks RaiseCeiling FailStep {_EVERYWHERE_BEFORE}",
    "checks_failed": f"RaiseCeiling {_DIFF}",
    "policy_violated": f"OverridePolicy RaiseCeiling {_DIFF}",
    "checked": f"RecordPullRequest RequestApproval StartChecks RaiseCeiling {_DIFF}",
    "awaiting_approval": f"ApproveChange RejectChange WithdrawApproval {_DIFF}",
    "approved": f"DeployChange RejectChange WithdrawApproval {_DIFF}",
    "queued": f"RecordExport StartDeploy StartRollback RejectChange WithdrawApproval {_DIFF}".replace(
        "RevisePlan ", ""
    ),
    "deploying": "RecordPullRequest StartCanary RecordMeasurement StartRollback",
    "canary": "StartCanary RecordMeasurement HoldCanary PauseDeploy StartRollback",
    "baking": "RecordMeasurement Succeed StartRollback",
    "rolling_back": "RecordPullRequest FinishRollback BlockRollback",
    "attention": "",
}
#: Accepted in the state, and refused for a reason of their own as the change is here.
REFUSED_FOR_MORE = {
    ("blocked_funds", "WithdrawApproval"),
    ("awaiting_approval", "WithdrawApproval"),
    ("queued", "StartRollback"),
}


def _binding(walk: Walk) -> str:
    binding = walk.change.binding
    return binding.digest if binding else D


@pytest.mark.parametrize("state", get_args(m.State))
def test_a_state_accepts_what_is_written_down_and_nothing_else(state: str) -> None:
    assert _wrong(state) == {}


def test_the_table_notices_a_command_that_is_accepted_too_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ALLOWED, m.StartChecks, frozenset({"planned", "diffed", "checked"}))
    assert _wrong("planned") == {"StartChecks": "accepted"}


def _wrong(state: str) -> dict[str, str]:
    shop = Shop()
    walk = shop.request()
    WAYS[state](walk)
    assert walk.change.state == state
    accepted = set(ACCEPTED.get(state, "").split())
    found = {name: _what_happens(walk, *COMMANDS[name]) for name in COMMANDS}
    return {name: happened for name, happened in found.items() if happened != _expected(state, name, name in accepted)}


def _expected(state: str, name: str, accepted: bool) -> str:
    if state in m.TERMINAL:
        return ChangeIsOver.__name__
    if (state, name) in REFUSED_FOR_MORE:
        return {"WithdrawApproval": "NotApprovedByYou"}.get(name, NotInThisState.__name__)
    return "accepted" if accepted else NotInThisState.__name__


def _what_happens(walk: Walk, by: str, command: Callable[[Walk], m.Command]) -> str:
    book, before = walk.shop.book, walk.change.snapshot()
    kept = deepcopy(book.__dict__) if walk.change.state not in m.TERMINAL else book.__dict__
    try:
        walk.do(command(walk), by)
    except (ChangeIsOver, NotInThisState) as refusal:
        assert refusal.facts["state"] == walk.change.state
        assert walk.change.snapshot() == before
        return type(refusal).__name__
    except FelixError as refusal:
        assert walk.change.snapshot() == before
        return type(refusal).__name__
    book.__dict__.update(kept)
    return "accepted"


def test_no_command_is_missing_from_the_table() -> None:
    of_change = {
        name
        for name, command in vars(m).items()
        if isinstance(command, type)
        and issubclass(command, m.Command)
        and command.command_name.startswith("changes.")
        and "change_id" in command.model_fields
    }
    apart = {"ResumeDeploy", "Promote", "SettleRequest", "AbortDeploy", "RequestRollback"}
    assert of_change == set(COMMANDS) | apart
    assert set(ACCEPTED) | m.TERMINAL == set(WAYS) == set(get_args(m.State))


def test_a_stale_version_is_refused_with_what_is_so_now(state: Any = "awaiting_approval") -> None:
    walk = Shop().request()
    WAYS[state](walk)
    with pytest.raises(FelixError) as refused:
        walk.approve(expected_version=walk.change.version - 1)
    assert refused.value.code == "change_moved_on"
    assert refused.value.facts["state"] == state and refused.value.facts["version"] == walk.change.version


def test_an_abort_where_nothing_is_under_way_says_so_and_does_nothing() -> None:
    for state in ("approved", "queued", "rolling_back", "deployed", "rolled_back"):
        walk = Shop().request()
        WAYS[state](walk)
        told = walk.do(m.AbortDeploy(change_id=walk.id, reason="stop"), OWNER)
        assert told["aborted"] is False and walk.change.state == state and walk.shop.book.last == []
    walk = Shop().request()
    WAYS["canary"](walk)
    assert walk.do(m.AbortDeploy(change_id=walk.id, reason="stop"), OWNER)["aborted"] is True
    assert walk.change.state == "rolling_back" and walk.environment.candidate is None
