"""How a change ends that comes to nothing: cancelled, expired, superseded, failed. Every hold ends with it."""

from __future__ import annotations

from typing import Any

from felix.domain.base import FelixEvent, adds_up
from felix.domain.changes import errors
from felix.domain.changes import messages as m
from felix.domain.changes.bills import Bill
from felix.domain.changes.change_rules import MAX_RETRIES
from felix.domain.changes.messages import State
from felix.domain.changes.planning_decisions import PlanningDecisions
from felix.domain.ledger.token_account import TokenAccount

#: Where a step is tried again that failed under way.
_TRIED_AGAIN: dict[State, State] = {"ingesting": "requested", "planning": "ingested", "checking": "diffed"}
_PAID_AS: dict[State, m.Step] = {"ingesting": "ingest", "planning": "plan", "checking": "check"}


class EndingDecisions(PlanningDecisions):
    """Endings. What is live is rolled back instead."""

    Event = FelixEvent

    def cancel(self, command: m.CancelChange, account: TokenAccount) -> dict[str, Any]:
        """Let it be. A request to a model that is under way is paid for first. Raises ``NotYourChange``."""
        self.enter(command)
        cancelled_by = self._is_mine_to_change()
        if self.state == "planning" and self.holds:
            if self.cancel_asked is None:
                self._happens(m.CancellationAsked, cancelled_by=cancelled_by, reason=command.reason)
        else:
            self._cancel(account, cancelled_by, command.reason)
        return self.told()

    def _cancel(self, account: TokenAccount, cancelled_by: str, reason: str | None) -> None:
        self.give_back(account)
        self._happens(m.ChangeCancelled, cancelled_by=cancelled_by, reason=reason)

    def _is_cancelled_instead(self, account: TokenAccount) -> bool:
        if self.cancel_asked is None:
            return False
        self._cancel(account, self.cancel_asked, None)
        return True

    @adds_up(m.CancellationAsked)
    def _cancellation_asked(self, cancelled_by: str) -> None:
        self.cancel_asked = cancelled_by

    @adds_up(m.ChangeCancelled)
    def _cancelled(self) -> None:
        self._ends("cancelled")

    def expire(self, command: m.ExpireChange, account: TokenAccount) -> dict[str, Any]:
        """Book that nobody came; what has not run out, or not any more, stays as it is."""
        self.enter(command)
        if not self.has_run_out:
            return self.told(expired=False)
        self.give_back(account)
        self._happens(m.ChangeExpired, what=self.state)
        return self.told(expired=True)

    @adds_up(m.ChangeExpired)
    def _expired(self) -> None:
        self._ends("expired")

    def supersede(self, command: m.SupersedeChange, account: TokenAccount) -> dict[str, Any]:
        """Have nothing left to do."""
        self.enter(command)
        self.give_back(account)
        self._happens(m.ChangeSuperseded, by=command.by, reason=command.reason)
        return self.told()

    @adds_up(m.ChangeSuperseded)
    def _superseded(self) -> None:
        self._ends("superseded")

    def fail(self, command: m.FailStep, account: TokenAccount, bill: Bill) -> dict[str, Any]:
        """Try a step again that failed for no reason of its own, or fail with it. What it used is paid."""
        self.enter(command)
        if (step := _PAID_AS.get(self.state)) is not None:
            self.settle(account, step, bill)
        retried = command.failure == "infra" and self.attempts.get(command.step, 0) < MAX_RETRIES
        if retried and self._is_cancelled_instead(account):
            return self.told(retried=False)
        self._happens(
            m.StepFailed,
            detail=command.detail,
            failure=command.failure,
            reason=command.reason,
            retried=retried,
            step=command.step,
        )
        if not retried:
            self.give_back(account)
            self._happens(m.ChangeFailed, reason=command.reason, step=command.step)
        return self.told(retried=retried)

    @adds_up(m.StepFailed)
    def _step_failed(self, step: str, retried: bool) -> None:
        self.attempts[step] = self.attempts.get(step, 0) + 1
        if retried and (again := _TRIED_AGAIN.get(self.state)) is not None:
            self._waits(again)

    @adds_up(m.ChangeFailed)
    def _failed(self) -> None:
        self._ends("failed")

    def fail_for_good(self, account: TokenAccount, step: str, reason: str) -> None:
        """Fail whatever the state is: a founder has taken the environment back."""
        if self.is_over:
            raise errors.ChangeIsOver(state=self.state)
        self.give_back(account)
        self._happens(m.ChangeFailed, reason=reason, step=step)
