"""What people decide about a change: four eyes, bound to what they saw."""

from __future__ import annotations

from typing import Any

from felix.application.changes.places import account_of, environment_of, leave_queue
from felix.application.unit_of_work import UnitOfWork, handles
from felix.domain.changes.change import Change
from felix.domain.changes.errors import BaseMoved
from felix.domain.changes.messages import ApproveChange, RejectChange, WithdrawApproval


@handles(ApproveChange)
def approve_change(command: ApproveChange, unit: UnitOfWork) -> dict[str, Any]:
    """Agree to exactly what was shown. Nobody agrees to what would not stand on what runs now."""
    change = unit.get(Change, command.change_id)
    approved = change.approve(command)
    head = environment_of(change, unit).tree
    if change.base_tree != head:
        raise BaseMoved(base_tree=change.base_tree, head_tree=head)
    return approved


@handles(RejectChange)
def reject_change(command: RejectChange, unit: UnitOfWork) -> dict[str, Any]:
    """Say no, for good."""
    change = unit.get(Change, command.change_id)
    rejected = change.reject(command, account_of(change, unit))
    leave_queue(change, unit)
    return rejected


@handles(WithdrawApproval)
def withdraw_approval(command: WithdrawApproval, unit: UnitOfWork) -> dict[str, Any]:
    """Take one's agreement back, as long as nothing is live."""
    change = unit.get(Change, command.change_id)
    withdrawn = change.withdraw(command, account_of(change, unit))
    leave_queue(change, unit)
    return withdrawn
