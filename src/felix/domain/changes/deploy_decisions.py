"""What is decided about a change that goes live: its turn, the lock, the canary, the promotion, the way back.

Each decision moves the change and its environment in one append. A rollback asks nobody, costs nothing and is never
refused: what it goes back to was known to run before the deployment began.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from felix.domain.base import FelixEvent, adds_up
from felix.domain.changes import errors
from felix.domain.changes import messages as m
from felix.domain.changes.approval_decisions import ApprovalDecisions
from felix.domain.changes.approvals import DECIDERS, role_of
from felix.domain.changes.bills import Bill
from felix.domain.changes.ending_decisions import EndingDecisions
from felix.domain.changes.environment import AppEnvironment, Priority
from felix.domain.changes.messages import LIVE, Strategy
from felix.domain.changes.planning_decisions import plain
from felix.domain.ledger.messages import MAX_HOLD_TTL_S
from felix.domain.ledger.token_account import TokenAccount

#: How often a guardrail that is not critical may fail, or not be measured, before nothing goes on.
MAX_FAILURES = MAX_UNMEASURABLE = 3


class DeployDecisions(ApprovalDecisions, EndingDecisions):
    """From the queue to the end of a deployment."""

    Event = FelixEvent

    # The queue and the lock.

    def queue_up(self, command: m.DeployChange, environment: AppEnvironment) -> dict[str, Any]:
        """Wait for one's turn.

        :raises MayNotDecide, BaseMoved, ReleaseQuarantined, ReleaseRunsAlready, EnvironmentIsClosed, QueueIsFull:
        :raises MergedAtOnce:
        """
        actor = self.context.actor
        if role_of(actor) not in DECIDERS:
            raise errors.MayNotDecide()
        self.enter(command)
        self._is_head(self.base_tree, environment)
        if environment.source is not None and command.strategy.kind != "instant":
            raise errors.MergedAtOnce(strategy=command.strategy.kind)
        environment.refuse_release(self.release or "")
        priority: Priority = "founder" if role_of(actor) == "founder" else "normal"
        self._queue(environment, actor, priority, command.strategy)
        return self.told(place=environment.place(self.local_id))

    def queue_again(self, environment: AppEnvironment) -> None:
        """Be in the queue again, where one was before a rebase or before the tokens ran out, if there is room."""
        if self.state == "approved" and self.strategy is not None and environment.has_room:
            strategy = Strategy.model_validate(self.strategy)
            self._queue(environment, self.context.actor, self.priority, strategy)

    def _queue(self, environment: AppEnvironment, queued_by: str, priority: Priority, strategy: Strategy) -> None:
        environment.join(self.local_id, priority)
        told = strategy.model_dump(mode="json")
        self._happens(m.DeployQueued, priority=priority, queued_by=queued_by, strategy=told)

    @adds_up(m.DeployQueued)
    def _queued(self, priority: Priority, strategy: dict[str, Any]) -> None:
        self.strategy, self.priority = strategy, priority
        self.export = None
        self._waits("queued", self.starts_until)

    def exported(self, command: m.RecordExport) -> dict[str, Any]:
        """Know where what it destroys is kept."""
        self.enter(command)
        self._happens(
            m.LossesExported,
            entities=command.entities,
            export=command.export,
            records=command.records,
            size_bytes=command.size_bytes,
        )
        return self.told(export=command.export)

    @adds_up(m.LossesExported)
    def _exported(self, export: str) -> None:
        self.export = export

    def start_deploy(
        self, command: m.StartDeploy, environment: AppEnvironment, account: TokenAccount, bill: Bill
    ) -> dict[str, Any]:
        """Take the lock, hold what the deployment costs, and begin; or wait for tokens, and let others go first.

        :raises BindingBroken, BaseMoved, WrongRollbackTarget, ReleaseQuarantined, EnvironmentIsLocked, NotYourTurn:
        :raises NotExported:
        """
        self.enter(command)
        if self.destroys(environment) and self.export is None:
            raise errors.NotExported()
        self._is_head(self.base_tree, environment)
        self._is_what_was_approved(command)
        if command.rollback_to != environment.stable:
            raise errors.WrongRollbackTarget(found=command.rollback_to, runs=environment.stable)
        environment.refuse_release(command.release)
        if environment.lock is not None:
            raise errors.EnvironmentIsLocked(change_id=environment.lock["change_id"])
        if not self.reserve(account, "deploy", bill, "approved", MAX_HOLD_TTL_S):
            environment.leave(self.local_id)
            return self.told()
        deployment_id, fence = environment.take_lock(
            self.local_id, command.release, command.result_tree, self.result_commit, command.rollback_to
        )
        self._begin_deployment(deployment_id, fence, command.rollback_to, command.release)
        return self.told(deployment_id=deployment_id, fence=fence)

    def destroys(self, environment: AppEnvironment) -> bool:
        """Whether records lose something by it. Code that is changed elsewhere has none."""
        return self.risk == "destructive" and environment.source is None

    def _begin_deployment(self, deployment_id: str, fence: int, previous: str, release: str) -> None:
        self._happens(
            m.DeployStarted, deployment_id=deployment_id, fence=fence, previous_release=previous, release=release
        )

    @adds_up(m.DeployStarted)
    def _deploy_started(self, deployment_id: str, previous_release: str, release: str) -> None:
        self.deployment_id, self.rollback_to, self.release = deployment_id, previous_release, release
        self._waits("deploying")

    # The canary.

    def start_canary(
        self, command: m.StartCanary, environment: AppEnvironment, account: TokenAccount
    ) -> dict[str, Any]:
        """Show the release to some, or to more. Raises ``WeightNotHigher``, and what :meth:`_goes_on` does."""
        lock = self._deploys(command, environment, account)
        steps = self._strategy().steps if self._strategy().kind == "canary" else [0]
        if self.weight is not None:
            self._goes_on()
        if command.percent not in steps or (self.weight is not None and command.percent <= self.weight):
            raise errors.WeightNotHigher(weight=self.weight, steps=steps)
        environment.shift(lock, command.percent)
        self._happens(m.CanaryStarted, step=self.step + 1, weight=command.percent)
        return self.told(weight=command.percent)

    @adds_up(m.CanaryStarted)
    def _canary_started(self, step: int, weight: int) -> None:
        self.step, self.weight = step, weight
        #: What nobody has but by name goes on when somebody says so.
        self.paused = self.asked = weight == 0
        self.accept_inconclusive = False
        self._waits("canary")

    def measured(
        self, command: m.RecordMeasurement, environment: AppEnvironment, account: TokenAccount
    ) -> dict[str, Any]:
        """Know what the guardrails say."""
        self._deploys(command, environment, account)
        self._happens(m.GuardrailsMeasured, measurements=plain(command.measurements))
        return self.told(failing=self.failing_guardrail)

    @adds_up(m.GuardrailsMeasured)
    def _measured(self, measurements: list[dict[str, Any]]) -> None:
        for each in measurements:
            name, verdict = each["guardrail"], each["verdict"]
            if each["dry_run"]:
                continue
            if verdict == "fail":
                self.failures[name] = self.failures.get(name, 0) + 1
                if each["critical"]:
                    self.critical_failure = name
            if verdict == "error":
                self.unmeasurable[name] = self.unmeasurable.get(name, 0) + 1
            else:
                self.unmeasurable.pop(name, None)

    @property
    def failing_guardrail(self) -> str | None:
        """The guardrail that lets nothing go on, if there is one."""
        if self.critical_failure is not None:
            return self.critical_failure
        failing = [name for name, count in self.failures.items() if count >= MAX_FAILURES]
        failing += [name for name, count in self.unmeasurable.items() if count >= MAX_UNMEASURABLE]
        return failing[0] if failing else None

    def hold_canary(self, command: m.HoldCanary, environment: AppEnvironment, account: TokenAccount) -> dict[str, Any]:
        """Wait for a person."""
        self._deploys(command, environment, account)
        if self.paused:
            raise errors.DeployPaused()
        self._happens(m.CanaryPaused, asked=True, paused_by=self.context.actor, reason=command.reason)
        return self.told()

    def pause(self, command: m.PauseDeploy) -> dict[str, Any]:
        """Let it be as it is. Raises ``MayNotDecide`` and ``DeployPaused``."""
        self._may_steer()
        self.enter(command)
        if self.paused:
            raise errors.DeployPaused()
        self._happens(m.CanaryPaused, asked=False, paused_by=self.context.actor, reason=command.reason)
        return self.told()

    def resume(self, command: m.ResumeDeploy) -> dict[str, Any]:
        """Let it go on. Raises ``MayNotDecide``, ``NotPaused`` and ``GuardrailFails``."""
        self._may_steer()
        self.enter(command)
        if not self.paused:
            raise errors.NotPaused()
        if (failing := self.failing_guardrail) is not None:
            raise errors.GuardrailFails(guardrail=failing)
        self._happens(
            m.CanaryResumed,
            accept_inconclusive=command.accept_inconclusive,
            reason=command.reason,
            resumed_by=self.context.actor,
        )
        return self.told()

    @adds_up(m.CanaryPaused)
    def _paused(self, asked: bool) -> None:
        self.paused, self.asked = True, asked

    @adds_up(m.CanaryResumed)
    def _resumed(self, accept_inconclusive: bool) -> None:
        self.paused = self.asked = False
        self.accept_inconclusive = accept_inconclusive

    # The end that everybody wants.

    def promote(
        self, command: m.Promote, environment: AppEnvironment, account: TokenAccount, held: int
    ) -> dict[str, Any]:
        """Let everybody have it, and let out the effects that were ``held`` back: so many.

        :raises StepsLeft, DeployPaused, GuardrailFails:
        """
        lock = self._deploys(command, environment, account)
        strategy = self._strategy()
        left = strategy.steps[-1] if strategy.steps else (0 if strategy.kind == "preview" else None)
        if left is not None and self.weight != left:
            raise errors.StepsLeft(weight=self.weight, steps=strategy.steps)
        self._goes_on()
        environment.promote(lock)
        self._happens(
            m.DeployPromoted,
            bakes_until=self.deciding_at + timedelta(seconds=strategy.bake_s),
            release=lock["candidate"],
        )
        if held:
            self._happens(m.EffectsReleased, count=held, deployment_id=lock["deployment_id"])
        return self.told(release=lock["candidate"], effects_released=held)

    @adds_up(m.DeployPromoted)
    def _promoted(self, bakes_until: datetime) -> None:
        self.bakes_until, self.weight = bakes_until.isoformat(), None
        self._waits("baking")

    @adds_up(m.EffectsReleased)
    def _effects_released(self) -> None:
        """What went out is in the outbox."""

    def succeed(
        self, command: m.Succeed, environment: AppEnvironment, account: TokenAccount, bill: Bill
    ) -> dict[str, Any]:
        """Be live, paid and done. Raises ``StillBaking`` and ``GuardrailFails``."""
        lock = self._deploys(command, environment, account)
        if self.bakes_until is not None and self.deciding_at < datetime.fromisoformat(self.bakes_until):
            raise errors.StillBaking(bakes_until=self.bakes_until)
        if (failing := self.failing_guardrail) is not None:
            raise errors.GuardrailFails(guardrail=failing)
        self.settle(account, "deploy", bill)
        environment.unlock(lock)
        self._happens(m.DeploySucceeded, release=environment.stable)
        return self.told(release=environment.stable)

    @adds_up(m.DeploySucceeded)
    def _succeeded(self) -> None:
        self._ends("deployed")

    # The way back.

    def start_rollback(self, command: m.StartRollback, environment: AppEnvironment, held: int) -> dict[str, Any]:
        """Go back. A change that asks for nothing else takes the lock with it, when its turn has come."""
        self.enter(command)
        if self.state == "queued":
            if self.kind_of_change != "rollback":
                raise errors.NotInThisState(change_id=self.local_id, state=self.state, version=self.version)
            self.go_back(environment, command.reason)
        else:
            environment.locked_by(self.local_id, command.fence)
            self.roll_back(environment, command.reason, held, guardrail=command.guardrail)
        return self.told(fence=environment.fence, release=environment.stable)

    def abort(self, command: m.AbortDeploy, environment: AppEnvironment, held: int) -> dict[str, Any]:
        """Stop a deployment; where there is none to stop, say so. An abort goes before every promotion.

        :raises MayNotDecide, ChangeMovedOn:
        """
        if role_of(self.context.actor) != "system":
            self._may_steer()
        if self.state not in LIVE:
            return self.told(aborted=False)
        self.enter(command)
        self.roll_back(environment, command.reason, held)
        return self.told(aborted=True, release=environment.stable)

    def roll_back(
        self,
        environment: AppEnvironment,
        reason: str,
        held: int,
        *,
        to: str | None = None,
        guardrail: str | None = None,
    ) -> None:
        """Let what ran before run again, at once. What is gone is not deployed here any more, and the effects of it
        that were ``held`` back, so many, are never seen."""
        lock = environment.locked_by(self.local_id)
        gone = lock["candidate"]
        environment.bring_back(lock, to, quarantine=gone if gone != to else None)
        environment.reopen()
        self._rolls_back(gone, environment.stable, reason, guardrail)
        if held:
            self._happens(m.EffectsDropped, count=held, deployment_id=lock["deployment_id"])

    @adds_up(m.EffectsDropped)
    def _effects_dropped(self) -> None:
        """What is never sent is in the outbox."""

    def go_back_in_turn(self, environment: AppEnvironment, reason: str) -> bool:
        """Go back at once if nothing is under way, or when that is over; whether it was at once."""
        self._queue(environment, self.context.actor, "rollback", Strategy())
        if environment.lock is not None or environment.place(self.local_id) != 1:
            return False
        self.go_back(environment, reason)
        return True

    def go_back(self, environment: AppEnvironment, reason: str) -> None:
        """Take the lock for nothing but going back."""
        to = environment.entry(self.release or "")
        gone = environment.stable
        if to["release"] == gone:
            raise errors.ReleaseRunsAlready(release=gone)
        deployment_id, fence = environment.take_lock(
            self.local_id, to["release"], to["tree"], to["commit"], to["release"]
        )
        self._begin_deployment(deployment_id, fence, gone, to["release"])
        environment.bring_back(environment.locked_by(self.local_id), to["release"], quarantine=gone)
        self._rolls_back(gone, to["release"], reason, None)

    def _rolls_back(self, gone: str, to: str, reason: str, guardrail: str | None) -> None:
        self._happens(
            m.RollbackStarted,
            guardrail=guardrail,
            reason=reason,
            release=gone,
            started_by=self.context.actor,
            to=to,
        )

    @adds_up(m.RollbackStarted)
    def _rollback_started(self, to: str) -> None:
        self.rollback_to, self.weight, self.paused = to, None, False
        self._waits("rolling_back")

    def finish_rollback(
        self, command: m.FinishRollback, environment: AppEnvironment, account: TokenAccount, bill: Bill
    ) -> dict[str, Any]:
        """Be back: what was done before is paid, going back is not."""
        self.enter(command)
        lock = environment.locked_by(self.local_id, command.fence)
        self.settle(account, "deploy", bill)
        self._rolled_back(environment, lock)
        return self.told(release=environment.stable)

    def _rolled_back(self, environment: AppEnvironment, lock: dict[str, Any]) -> None:
        environment.unlock(lock)
        self._happens(m.DeployRolledBack, release=lock["candidate"], to=environment.stable)

    @adds_up(m.DeployRolledBack)
    def _is_rolled_back(self) -> None:
        #: A change that asked for nothing but going back has done what it was asked.
        self._ends("deployed" if self.kind_of_change == "rollback" else "rolled_back")

    def block_rollback(self, command: m.BlockRollback, environment: AppEnvironment) -> dict[str, Any]:
        """Not be able to go back: nothing is written here until a founder has looked."""
        self.enter(command)
        environment.locked_by(self.local_id, command.fence)
        environment.close(command.reason)
        self._happens(m.RollbackBlocked, reason=command.reason)
        return self.told()

    @adds_up(m.RollbackBlocked)
    def _rollback_blocked(self) -> None:
        self._waits("attention")

    # What founders do beside the rules.

    def force_back(self, environment: AppEnvironment, release: str, reason: str, held: int) -> None:
        """Go back to a release, whatever is under way with this change."""
        environment.entry(release)
        self.roll_back(environment, reason, held, to=release)

    def free(
        self, environment: AppEnvironment, lock: dict[str, Any], account: TokenAccount, reason: str, held: int
    ) -> None:
        """End this change's deployment, whatever state it is in, and free the environment. Nothing of it is paid."""
        self.give_back(account)
        if self.state in LIVE:
            self.roll_back(environment, reason, held)
        environment.reopen()
        if self.state == "attention":
            environment.unlock(lock)
            self.fail_for_good(account, "rollback", reason)
        else:
            self._rolled_back(environment, lock)

    # What they have in common.

    def _deploys(self, command: m.DeployStep, environment: AppEnvironment, account: TokenAccount) -> dict[str, Any]:
        self.enter(command)
        lock = environment.locked_by(self.local_id, command.fence)
        self.extend_holds(account)
        return lock

    def _goes_on(self) -> None:
        if self.paused:
            raise errors.DeployPaused(asked=self.asked)
        if (failing := self.failing_guardrail) is not None:
            raise errors.GuardrailFails(guardrail=failing)

    def _strategy(self) -> Strategy:
        return Strategy.model_validate(self.strategy or {})

    def _may_steer(self) -> None:
        if role_of(self.context.actor) not in DECIDERS:
            raise errors.MayNotDecide()

    def _is_what_was_approved(self, command: m.StartDeploy) -> None:
        bound = self.binding
        if bound is None or self.kind_of_change == "rollback":
            raise errors.BindingBroken(differing=["binding"])
        found = bound.found(
            base_tree=command.base_tree,
            result_tree=command.result_tree,
            diff=command.diff,
            release=command.release,
            checks=command.checks,
            policy=command.policy,
        )
        if found.digest != bound.digest:
            raise errors.BindingBroken(differing=bound.differing(found))
