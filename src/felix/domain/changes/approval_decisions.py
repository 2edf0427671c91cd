"""What people decide about a change: to agree, to take that back, to say no, to let it go live."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from felix.domain.base import FelixEvent, adds_up
from felix.domain.changes import errors
from felix.domain.changes import messages as m
from felix.domain.changes.approvals import DECIDERS, Quorum, is_person, person_of, role_of
from felix.domain.changes.change_rules import START_LASTS
from felix.domain.changes.planning_decisions import PlanningDecisions
from felix.domain.ledger.token_account import TokenAccount


class ApprovalDecisions(PlanningDecisions):
    """Four eyes, bound to exactly what they saw."""

    Event = FelixEvent

    def approve(self, command: m.ApproveChange) -> dict[str, Any]:
        """Agree. Raises what :meth:`_decider` does, ``AlreadyApproved`` and ``OtherBinding``."""
        approver = self._decider()
        self.enter(command)
        if person_of(approver) in map(person_of, self.approvals):
            raise errors.AlreadyApproved(version=self.version, state=self.state)
        binding = self.binding
        if binding is None or command.binding != binding.digest:
            raise errors.OtherBinding(binding=binding and binding.digest, version=self.version, state=self.state)
        self._happens(m.ApprovalGranted, approver=approver, binding=command.binding, comment=command.comment)
        self.approve_if_enough()
        return self.told(approvals=len(self.approvals))

    def approve_if_enough(self) -> bool:
        """Be approved once the quorum is met."""
        binding = self.binding
        if binding is None or not self._quorum().is_met_by(self.approvals):
            return False
        self._happens(m.ChangeApproved, binding=binding.digest, expires_at=self.deciding_at + START_LASTS)
        return True

    @adds_up(m.ApprovalGranted)
    def _approval_granted(self, approver: str) -> None:
        self.approvals.append(approver)

    @adds_up(m.ApprovalCarried)
    def _approval_carried(self, approver: str) -> None:
        self.approvals.append(approver)

    @adds_up(m.ChangeApproved)
    def _approved(self, expires_at: datetime) -> None:
        self.starts_until = expires_at.isoformat()
        self._waits("approved", expires_at)

    def withdraw(self, command: m.WithdrawApproval, account: TokenAccount) -> dict[str, Any]:
        """Take one's agreement back. Raises ``NotApprovedByYou``."""
        self.enter(command)
        mine = [approver for approver in self.approvals if person_of(approver) == person_of(self.context.actor)]
        if not mine:
            raise errors.NotApprovedByYou(version=self.version, state=self.state)
        self.give_back(account)
        self._happens(m.ApprovalWithdrawn, approver=mine[0], reason=command.reason)
        return self.told(approvals=len(self.approvals))

    @adds_up(m.ApprovalWithdrawn)
    def _approval_withdrawn(self, approver: str) -> None:
        self.approvals.remove(approver)
        if self._quorum().is_met_by(self.approvals):
            return
        self.starts_until = None
        if self.state == "blocked_funds":
            self.resumes_at = "awaiting_approval"
        else:
            self._waits("awaiting_approval", self.approval_ends_at)

    def reject(self, command: m.RejectChange, account: TokenAccount) -> dict[str, Any]:
        """Say no, for good. Raises what :meth:`_decider` does."""
        rejecter = self._decider()
        self.enter(command)
        self.give_back(account)
        self._happens(m.ChangeRejected, reason=command.reason, rejecter=rejecter)
        return self.told()

    @adds_up(m.ChangeRejected)
    def _rejected(self) -> None:
        self._ends("rejected")

    def _decider(self) -> str:
        """Who decides. Raises ``PeopleDecide``, ``MayNotDecide`` and ``OwnChange``."""
        actor = self.context.actor
        if not is_person(actor):
            raise errors.PeopleDecide()
        if role_of(actor) not in DECIDERS:
            raise errors.MayNotDecide()
        if person_of(actor) in self.authors and not self.self_allowed:
            raise errors.OwnChange()
        return actor

    def _quorum(self) -> Quorum:
        parts = self.binding_parts or {"quorum": 1, "roles": 1}
        return Quorum(parts["quorum"], parts["roles"], self.self_allowed)
