"""What is decided about a change until people are asked: context, plan, questions, diff, checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, time, timedelta
from typing import Any

from pydantic import BaseModel

from felix.domain.base import FelixEvent, adds_up
from felix.domain.changes import errors
from felix.domain.changes import messages as m
from felix.domain.changes.approvals import DECIDERS, quorum_of
from felix.domain.changes.bills import Bill
from felix.domain.changes.binding import Binding
from felix.domain.changes.change_rules import (
    APPROVAL_LASTS,
    CHECKS_LAST,
    INPUT_LASTS,
    MAX_ANSWERS,
    REVISION_LASTS,
)
from felix.domain.changes.environment import AppEnvironment
from felix.domain.changes.risk import RISKS, Risk
from felix.domain.changes.token_flow import TokenFlow
from felix.domain.errors import Refused
from felix.domain.ledger.token_account import TokenAccount


class TooManyAnswers(Refused):
    """This change was asked about too often; ask for another in other words."""


class PlanningDecisions(TokenFlow):
    """From the prompt to what people are asked to approve."""

    Event = FelixEvent

    def _may_begin(
        self, command: m.StepCommand, account: TokenAccount, step: m.Step, bill: Bill, resumes_at: m.State
    ) -> bool:
        """Whether a step may begin: what it costs at the most is set aside then."""
        self.enter(command)
        return self.reserve(account, step, bill, resumes_at)

    # The context.

    def start_ingestion(self, command: m.StartIngestion, account: TokenAccount, bill: Bill) -> dict[str, Any]:
        """Begin to read what the planner will be given, once that is paid for."""
        if self._may_begin(command, account, "ingest", bill, "requested"):
            self._happens(m.ContextIngestionStarted)
        return self.told()

    @adds_up(m.ContextIngestionStarted)
    def _ingestion_started(self) -> None:
        self._waits("ingesting")

    def ingested(self, command: m.RecordIngested, account: TokenAccount, bill: Bill) -> dict[str, Any]:
        """Know what the planner will be given."""
        self.enter(command)
        self.settle(account, "ingest", bill)
        self._happens(
            m.ContextIngested,
            context=command.context,
            excluded=command.excluded,
            redactions=command.redactions,
            size_bytes=command.size_bytes,
            sources=command.sources,
        )
        return self.told()

    @adds_up(m.ContextIngested)
    def _ingested(self, context: str) -> None:
        self.context_digest = context
        self._waits("ingested")

    # The plan.

    def start_planning(self, command: m.StartPlanning, account: TokenAccount, bill: Bill) -> dict[str, Any]:
        """Let somebody plan, once that is paid for."""
        if self._may_begin(command, account, "plan", bill, "ingested"):
            self._happens(
                m.PlanStarted,
                attempt=self.attempts.get("plan_started", 0) + 1,
                key=command.key,
                model=command.model,
                planner=command.planner,
                template=command.template,
                timeout_s=command.timeout_s,
            )
        return self.told()

    @adds_up(m.PlanStarted)
    def _plan_started(self, attempt: int, key: m.ModelKey | None) -> None:
        self.attempts["plan_started"] = attempt
        self.model_key = key
        self._waits("planning")

    def hold_for_request(
        self, command: m.HoldForRequest, account: TokenAccount, bill: Bill, spent_today_mtok: int = 0
    ) -> dict[str, Any]:
        """Set aside the worst case of a request to a model, before it leaves; nothing where somebody has cancelled."""
        at = self.enter(command)
        if self._is_cancelled_instead(account):
            return self.told(hold_id=None)
        before = set(self.holds)
        most = command.day_limit_mtok
        if not bill.amount_mtok:
            self.reserve_nothing("plan", bill)
        elif most is not None and spent_today_mtok + bill.amount_mtok > most:
            tomorrow = datetime.combine(at.astimezone(UTC).date() + timedelta(days=1), time(), UTC)
            self.lack(account, "plan", bill.amount_mtok, "ingested", errors.ModelDayLimitReached.code, tomorrow)
        else:
            self.reserve(account, "plan", bill, "ingested")
        return self.told(hold_id=next(iter(set(self.holds) - before), None))

    def settle_request(self, command: m.SettleRequest, account: TokenAccount, bill: Bill) -> dict[str, Any]:
        """Pay for a request. Raises ``NoSuchHold``."""
        self.enter(command)
        hold = self.holds.get(command.hold_id)
        if hold is None or hold["step"] != "plan":
            raise errors.NoSuchHold(hold_id=command.hold_id)
        if command.unmeasured:
            self._happens(
                m.ProviderUsageUnmeasured,
                attempts=command.unmeasured,
                hold_id=command.hold_id,
                planner=self.planner or "",
            )
        cost = 0 if command.unmeasured else bill.amount_mtok
        part = min(cost, hold["amount_mtok"])
        self.settle_hold(account, command.hold_id, part, bill, cost - part, command.estimated)
        self._is_cancelled_instead(account)
        return self.told()

    @adds_up(m.ProviderUsageUnmeasured)
    def _usage_unmeasured(self) -> None:
        """The loss is the platform's; nothing of the change is different."""

    def planned(self, command: m.RecordPlan, account: TokenAccount, bill: Bill) -> dict[str, Any]:
        """Have operations."""
        self.enter(command)
        self.settle(account, "plan", bill)
        if not self._is_cancelled_instead(account):
            self._happens(
                m.PlanProposed,
                cached=command.cached,
                count=command.count,
                model=command.model,
                operations=command.operations,
                planner=command.planner,
                rationale=command.rationale,
                transcript=command.transcript,
            )
        return self.told()

    @adds_up(m.PlanProposed)
    def _planned(self, operations: str, planner: str, model: str | None) -> None:
        self.operations, self.planner, self.model = operations, planner, model
        self._waits("planned")

    def ask(self, command: m.AskClarification, account: TokenAccount, bill: Bill) -> dict[str, Any]:
        """Not know enough."""
        at = self.enter(command)
        self.settle(account, "plan", bill)
        if not self._is_cancelled_instead(account):
            self._happens(
                m.ClarificationAsked,
                expires_at=at + INPUT_LASTS,
                planner=command.planner,
                questions=plain(command.questions),
                transcript=command.transcript,
            )
        return self.told()

    @adds_up(m.ClarificationAsked)
    def _asked(self, expires_at: Any) -> None:
        self.conflicting = False
        self._waits("needs_input", expires_at)

    def answer(self, command: m.AnswerClarification) -> dict[str, Any]:
        """Have an answer: planned anew, and on what runs now where the question was a conflict."""
        self.enter(command)
        actor = self._is_mine_to_change()
        if self.answers >= MAX_ANSWERS:
            raise TooManyAnswers(limit=MAX_ANSWERS)
        self._happens(
            m.ClarificationAnswered,
            answer_commitment=command.answer_commitment,
            answered_by=actor,
            field=f"answer_{self.answers + 1}",
        )
        return self.told(field=f"answer_{self.answers}")

    @adds_up(m.ClarificationAnswered)
    def _answered(self, answered_by: str) -> None:
        self.answers += 1
        self._author(answered_by)
        self._forget_agreement()
        self._waits("requested" if self.conflicting or self.context_digest is None else "ingested")
        self.conflicting = False

    def revise(self, command: m.RevisePlan) -> dict[str, Any]:
        """Have other operations, written by a person."""
        self.enter(command)
        revised_by = self._is_mine_to_change()
        self._happens(m.PlanRevised, operations=command.operations, reason=command.reason, revised_by=revised_by)
        return self.told()

    @adds_up(m.PlanRevised)
    def _revised(self, operations: str, revised_by: str) -> None:
        self.operations = operations
        self.conflicting = False
        self._author(revised_by)
        self._forget_agreement()
        self._waits("planned")

    # The diff.

    def diffed(self, command: m.RecordDiff, account: TokenAccount, bill: Bill) -> dict[str, Any]:
        """Know what will be different; what that costs is paid at once."""
        self.enter(command)
        if self.reserve(account, "diff", bill, "planned"):
            self.settle(account, "diff", bill)
            self._happens(m.DiffComputed, **_difference(command))
        return self.told()

    @adds_up(m.DiffComputed)
    def _diffed(
        self,
        base_commit: str | None,
        base_tree: str,
        diff: str,
        effects_digest: str,
        places: list[str],
        release: str,
        result_commit: str | None,
        result_tree: str,
        risk: Risk,
    ) -> None:
        self._stands_on(base_tree, base_commit, result_tree, result_commit)
        self._differs_by(diff, release, effects_digest, places, risk)

    def rebase(self, command: m.RebaseChange, environment: AppEnvironment, account: TokenAccount) -> dict[str, Any]:
        """Stand on what runs now. What people agreed to is remembered until it is proved to be the same, or not.

        :raises BaseMoved: where something else runs by now.
        """
        self.enter(command)
        self._is_head(command.base_tree, environment)
        self.give_back(account)
        self._happens(
            m.StaleBaseDetected,
            base_tree=self.base_tree,
            head_tree=command.base_tree,
            touched_between=command.touched_between,
        )
        self._happens(m.ChangeRebased, base_release=environment.stable, **_difference(command))
        return self.told()

    @adds_up(m.StaleBaseDetected)
    def _base_is_stale(self) -> None:
        """What follows from it is the next event."""

    @adds_up(m.ChangeRebased)
    def _rebased(
        self,
        base_commit: str | None,
        base_release: str,
        base_tree: str,
        diff: str,
        effects_digest: str,
        places: list[str],
        release: str,
        result_commit: str | None,
        result_tree: str,
        risk: Risk,
    ) -> None:
        if self.approvals and self.binding_parts is not None:
            self.carryable = {
                "approvals": list(self.approvals),
                "binding": Binding(**self.binding_parts).digest,
                "operations": self.operations,
                "effects_digest": self.effects_digest,
                "risk": self.risk,
                "queued": self.state == "queued",
            }
        self.base_release = base_release
        self._stands_on(base_tree, base_commit, result_tree, result_commit)
        self._differs_by(diff, release, effects_digest, places, risk)

    def conflict(self, command: m.RecordConflict, environment: AppEnvironment, account: TokenAccount) -> dict[str, Any]:
        """Need people to say what they want, because somebody else wrote the same. Raises ``BaseMoved``."""
        at = self.enter(command)
        self._is_head(command.head_tree, environment)
        self.give_back(account)
        self._happens(
            m.ConflictFound,
            base_release=environment.stable,
            base_tree=environment.tree,
            conflicts=plain(command.conflicts),
            expires_at=at + INPUT_LASTS,
        )
        return self.told()

    @adds_up(m.ConflictFound)
    def _conflict_found(self, base_release: str, base_tree: str, expires_at: Any) -> None:
        self.base_release, self.base_tree, self.base_commit = base_release, base_tree, None
        self.conflicting = True
        self._forget_agreement()
        self._waits("needs_input", expires_at)

    # The checks.

    def start_checks(self, command: m.StartChecks, account: TokenAccount, bill: Bill) -> dict[str, Any]:
        """Begin to check, once that is paid for."""
        if self._may_begin(command, account, "check", bill, "diffed"):
            self._happens(m.ChecksStarted)
        return self.told()

    @adds_up(m.ChecksStarted)
    def _checks_started(self) -> None:
        self._waits("checking")

    def checked(self, command: m.RecordChecks, account: TokenAccount, bill: Bill) -> dict[str, Any]:
        """Know whether the result is good enough, or good enough for whoever may override rules."""
        at = self.enter(command)
        self.settle(account, "check", bill)
        told = {"checks": command.checks, "findings": plain(command.findings), "sandbox": command.sandbox}
        levels = {finding.level for finding in command.findings}
        if "hard" in levels:
            self._happens(m.ChecksFailed, expires_at=at + REVISION_LASTS, **told)
        elif "needs_override" in levels:
            self._happens(m.PolicyViolated, expires_at=at + REVISION_LASTS, **told)
        else:
            self._happens(m.ChecksPassed, expires_at=at + CHECKS_LAST, **told)
        return self.told()

    @adds_up(m.ChecksPassed)
    def _checks_passed(self, checks: str, expires_at: Any) -> None:
        self.checks, self.checks_expire_at = checks, expires_at.isoformat()
        self._waits("checked")

    @adds_up(m.ChecksFailed)
    def _checks_failed(self, checks: str, expires_at: Any) -> None:
        self.checks = checks
        self._waits("checks_failed", expires_at)

    @adds_up(m.PolicyViolated)
    def _policy_violated(self, checks: str, expires_at: Any) -> None:
        self.checks = checks
        self._waits("policy_violated", expires_at)

    def override_policy(self, override_id: str, reason: str) -> None:
        """Let it pass; the environment has written down who answers for that."""
        self._happens(
            m.PolicyOverridden, expires_at=self.deciding_at + CHECKS_LAST, override_id=override_id, reason=reason
        )

    @adds_up(m.PolicyOverridden)
    def _policy_overridden(self, expires_at: Any) -> None:
        self.checks_expire_at = expires_at.isoformat()
        self._waits("checked")

    # The pull request, where it is a repository that will be different.

    def pull_request(self, command: m.RecordPullRequest) -> dict[str, Any]:
        """Know the pull request that carries the change, or takes it back."""
        self.enter(command)
        told = command.model_dump(exclude={"change_id", "expected_version"})
        self._happens(m.PullRequestRecorded, repository=self.repository or "", **told)
        return self.told()

    @adds_up(m.PullRequestRecorded)
    def _pull_request_recorded(
        self, branch: str, commit: str, merged: str | None, number: int, reverts: bool, url: str
    ) -> None:
        pull = {"branch": branch, "commit": commit, "merged": merged, "number": number, "url": url}
        if reverts:
            self.reverting = pull
        else:
            made_of = {"base_commit": self.base_commit, "diff": self.diff, "operations": self.operations}
            self.pull = {**pull, **made_of, "risk": self.risk}

    # The question to people.

    def request_approval(self, command: m.RequestApproval, account: TokenAccount, bill: Bill) -> dict[str, Any]:
        """Ask who decides, about exactly this; what was agreed before holds if it is proved to be the same.

        The deployment must fit below the ceiling, or nobody is asked to approve what can't be paid for.
        """
        at = self.enter(command)
        if self.checks_expire_at is None or at >= datetime.fromisoformat(self.checks_expire_at):
            raise errors.ChecksTooOld(checks_expire_at=self.checks_expire_at)
        deploy_mtok = bill.amount_mtok
        most = self.spent_mtok + self.held_mtok + deploy_mtok
        if not self.fits_ceiling(deploy_mtok):
            self.lack(account, "deploy", deploy_mtok, "checked", errors.PriceCeilingReached.code)
            return self.told()
        if command.max_change_mtok is not None and most > command.max_change_mtok:
            self.lack(account, "deploy", deploy_mtok, "checked", "policy_maximum")
            return self.told()
        quorum = quorum_of(self.risk, self.environment, command.approvals)
        binding = self._binding_of(command, quorum.people, quorum.roles, (at + APPROVAL_LASTS).isoformat())
        carryable = self.carryable
        self._happens(
            m.ApprovalRequested,
            binding=binding.digest,
            ceiling_mtok=self.ceiling_mtok,
            deploy_mtok=deploy_mtok,
            eligible_roles=list(DECIDERS),
            expires_at=at + APPROVAL_LASTS,
            policy=command.policy,
            quorum=quorum.people,
            roles=quorum.roles,
            self_allowed=quorum.self_allowed,
        )
        if carryable is not None and command.sticky:
            self._carry(carryable, binding)
        return self.told(quorum=quorum.people, roles=quorum.roles)

    def _binding_of(self, command: m.RequestApproval, quorum: int, roles: int, expires_at: str) -> Binding:
        return Binding(
            change_id=self.local_id,
            environment=self.environment,
            base_tree=self.base_tree,
            result_tree=self.result_tree or "",
            diff=self.diff or "",
            release=self.release or "",
            checks=self.checks or "",
            policy=command.policy,
            ceiling_mtok=self.ceiling_mtok,
            quorum=quorum,
            roles=roles,
            expires_at=expires_at,
        )

    def _carry(self, carryable: Mapping[str, Any], binding: Binding) -> None:
        """Let approvals hold that were given to the same: equal operations, equal effects, no higher risk."""
        same = all(carryable[part] == getattr(self, part) for part in ("operations", "effects_digest"))
        if not same or RISKS.index(self.risk) > RISKS.index(carryable["risk"]):
            return
        proof = {
            "operations": str(self.operations),
            "effects": str(self.effects_digest),
            "risk": f"{carryable['risk']} then, {self.risk} now",
        }
        for approver in carryable["approvals"]:
            self._happens(
                m.ApprovalCarried,
                approver=approver,
                from_binding=carryable["binding"],
                proof=proof,
                to_binding=binding.digest,
            )
        self.approve_if_enough()

    def approve_if_enough(self) -> bool:
        """Be approved once the quorum is met. Decisions about approvals say how."""
        raise NotImplementedError

    @adds_up(m.ApprovalRequested)
    def _approval_requested(
        self,
        ceiling_mtok: int,
        deploy_mtok: int,
        expires_at: Any,
        policy: str,
        quorum: int,
        roles: int,
        self_allowed: bool,
    ) -> None:
        self.policy, self.deploy_mtok, self.self_allowed = policy, deploy_mtok, self_allowed
        self.approvals = []
        self.binding_parts = {
            "change_id": self.local_id,
            "environment": self.environment,
            "base_tree": self.base_tree,
            "result_tree": self.result_tree,
            "diff": self.diff,
            "release": self.release,
            "checks": self.checks,
            "policy": policy,
            "ceiling_mtok": ceiling_mtok,
            "quorum": quorum,
            "roles": roles,
            "expires_at": expires_at.isoformat(),
        }
        self.approval_ends_at = expires_at.isoformat()
        self._waits("awaiting_approval", expires_at)

    # What they have in common.

    def _is_cancelled_instead(self, account: TokenAccount) -> bool:
        """Whether somebody has cancelled while a request was under way. Decisions about endings say how."""
        raise NotImplementedError

    def _is_head(self, tree: str, environment: AppEnvironment) -> None:
        if tree != environment.tree:
            raise errors.BaseMoved(base_tree=tree, head_tree=environment.tree)

    def _stands_on(self, base_tree: str, base_commit: str | None, result_tree: str, result_commit: str | None) -> None:
        self.base_tree, self.base_commit = base_tree, base_commit
        self.result_tree, self.result_commit = result_tree, result_commit

    def _differs_by(self, diff: str, release: str, effects_digest: str, places: list[str], risk: Risk) -> None:
        self.diff, self.release, self.risk = diff, release, risk
        self.effects_digest, self.places = effects_digest, list(places)
        self._forget_agreement(carryable=True)
        self._waits("diffed")

    def _forget_agreement(self, *, carryable: bool = False) -> None:
        """What is different now was checked by nothing and agreed to by nobody."""
        self.checks = self.checks_expire_at = self.policy = self.binding_parts = None
        self.approval_ends_at = self.starts_until = None
        self.approvals = []
        if not carryable:
            self.carryable = None


def plain(told: Sequence[BaseModel]) -> list[dict[str, Any]]:
    """What a command was told, as an event holds it."""
    return [each.model_dump(mode="json") for each in told]


def _difference(command: m.RecordDiff | m.RebaseChange) -> dict[str, Any]:
    return {
        "base_commit": command.base_commit,
        "base_tree": command.base_tree,
        "diff": command.diff,
        "effects": plain(command.effects),
        "effects_count": command.effects_count,
        "effects_digest": command.effects_digest,
        "places": command.places,
        "release": command.release,
        "result_commit": command.result_commit,
        "result_tree": command.result_tree,
        "risk": command.risk,
    }
