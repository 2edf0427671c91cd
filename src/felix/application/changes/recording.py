"""The steps of a change until people are asked, and the ends that Felix itself books. Each is one append."""

from __future__ import annotations

from datetime import UTC
from typing import Any

from felix.application.changes.places import account_of, environment_at, environment_of, leave_queue
from felix.application.changes.pricing import bill, bill_of_request
from felix.application.unit_of_work import UnitOfWork, handles
from felix.domain.changes import messages as m
from felix.domain.changes.change import Change
from felix.eventstore import model_spending
from felix.eventstore.recorded_plans import remembered


@handles(m.StartIngestion)
def start_ingestion(command: m.StartIngestion, unit: UnitOfWork) -> dict[str, Any]:
    """Hold what reading costs, and begin to read."""
    change = unit.get(Change, command.change_id)
    return change.start_ingestion(command, account_of(change, unit), bill(unit, command.lines))


@handles(m.RecordIngested)
def record_ingested(command: m.RecordIngested, unit: UnitOfWork) -> dict[str, Any]:
    """Pay for what was read."""
    change = unit.get(Change, command.change_id)
    return change.ingested(command, account_of(change, unit), bill(unit, command.lines))


@handles(m.StartPlanning)
def start_planning(command: m.StartPlanning, unit: UnitOfWork) -> dict[str, Any]:
    """Hold what planning costs, and begin to plan."""
    change = unit.get(Change, command.change_id)
    return change.start_planning(command, account_of(change, unit), bill(unit, command.lines))


@handles(m.HoldForRequest)
def hold_for_request(command: m.HoldForRequest, unit: UnitOfWork) -> dict[str, Any]:
    """Hold the worst case of one request to a model."""
    change = unit.get(Change, command.change_id)
    priced = bill_of_request(unit, command.lines, change.model_key)
    place, today = (unit.partition, unit.context.tenant_id), unit.context.at.astimezone(UTC).date()
    ((spent_mtok,),) = unit.ask_beside(model_spending.spent_on(place, today))
    told = change.hold_for_request(command, account_of(change, unit), priced, spent_mtok)
    if told["hold_id"] is not None and priced.amount_mtok:
        for write in model_spending.held(place, told["hold_id"], today, priced.amount_mtok):
            unit.beside(write)
    return told


@handles(m.SettleRequest)
def settle_request(command: m.SettleRequest, unit: UnitOfWork) -> dict[str, Any]:
    """Pay for one request to a model."""
    change = unit.get(Change, command.change_id)
    priced = bill_of_request(unit, command.lines, change.model_key)
    told = change.settle_request(command, account_of(change, unit), priced)
    place = (unit.partition, unit.context.tenant_id)
    unit.beside(model_spending.settled(place, command.hold_id, 0 if command.unmeasured else priced.amount_mtok))
    return told


@handles(m.RecordPlan)
def record_plan(command: m.RecordPlan, unit: UnitOfWork) -> dict[str, Any]:
    """Pay for a plan, and let it be found again by what was asked."""
    change = unit.get(Change, command.change_id)
    told = change.planned(command, account_of(change, unit), bill(unit, command.lines))
    if command.question is not None and change.state == "planned":
        place, asked = (unit.partition, unit.context.tenant_id), bytes.fromhex(command.question)
        for write in remembered(place, asked, change.local_id, change.version, unit.context.at):
            unit.beside(write)
    return told


@handles(m.AskClarification)
def ask_clarification(command: m.AskClarification, unit: UnitOfWork) -> dict[str, Any]:
    """Pay for what was used, and ask."""
    change = unit.get(Change, command.change_id)
    return change.ask(command, account_of(change, unit), bill(unit, command.lines))


@handles(m.RecordDiff)
def record_diff(command: m.RecordDiff, unit: UnitOfWork) -> dict[str, Any]:
    """Hold and pay for the diff at once."""
    change = unit.get(Change, command.change_id)
    return change.diffed(command, account_of(change, unit), bill(unit, command.lines))


@handles(m.StartChecks)
def start_checks(command: m.StartChecks, unit: UnitOfWork) -> dict[str, Any]:
    """Hold what the checks cost, and begin to check."""
    change = unit.get(Change, command.change_id)
    return change.start_checks(command, account_of(change, unit), bill(unit, command.lines))


@handles(m.RecordChecks)
def record_checks(command: m.RecordChecks, unit: UnitOfWork) -> dict[str, Any]:
    """Pay for the checks."""
    change = unit.get(Change, command.change_id)
    return change.checked(command, account_of(change, unit), bill(unit, command.lines))


@handles(m.FollowRepository)
def follow_repository(command: m.FollowRepository, unit: UnitOfWork) -> dict[str, Any]:
    """Know where the branch of a repository is."""
    environment = environment_at(command.app, command.environment, unit)
    environment.follow(command)
    return {"commit": environment.commit, "tree": environment.tree}


@handles(m.RecordPullRequest)
def record_pull_request(command: m.RecordPullRequest, unit: UnitOfWork) -> dict[str, Any]:
    """Know the pull request of a change."""
    return unit.get(Change, command.change_id).pull_request(command)


@handles(m.RequestApproval)
def request_approval(command: m.RequestApproval, unit: UnitOfWork) -> dict[str, Any]:
    """Ask who decides; one whose approvals still hold after a rebase takes its place in the queue again."""
    change = unit.get(Change, command.change_id)
    was_queued = bool(change.carryable and change.carryable["queued"])
    asked = change.request_approval(command, account_of(change, unit), bill(unit, command.lines))
    if was_queued:
        change.queue_again(environment_of(change, unit))
    return change.told(**{name: asked[name] for name in ("quorum", "roles") if name in asked})


@handles(m.UnblockChange)
def unblock_change(command: m.UnblockChange, unit: UnitOfWork) -> dict[str, Any]:
    """Go on where the tokens ran out."""
    change = unit.get(Change, command.change_id)
    change.unblock(command)
    change.queue_again(environment_of(change, unit))
    return change.told()


@handles(m.RebaseChange)
def rebase_change(command: m.RebaseChange, unit: UnitOfWork) -> dict[str, Any]:
    """Stand on what runs now."""
    change = unit.get(Change, command.change_id)
    rebased = change.rebase(command, environment_of(change, unit), account_of(change, unit))
    leave_queue(change, unit)
    return rebased


@handles(m.RecordConflict)
def record_conflict(command: m.RecordConflict, unit: UnitOfWork) -> dict[str, Any]:
    """Ask people what they want."""
    change = unit.get(Change, command.change_id)
    asked = change.conflict(command, environment_of(change, unit), account_of(change, unit))
    leave_queue(change, unit)
    return asked


@handles(m.ExpireChange)
def expire_change(command: m.ExpireChange, unit: UnitOfWork) -> dict[str, Any]:
    """Book that nobody came in time."""
    change = unit.get(Change, command.change_id)
    expired = change.expire(command, account_of(change, unit))
    leave_queue(change, unit)
    return expired


@handles(m.SupersedeChange)
def supersede_change(command: m.SupersedeChange, unit: UnitOfWork) -> dict[str, Any]:
    """Book that there is nothing left to do."""
    change = unit.get(Change, command.change_id)
    superseded = change.supersede(command, account_of(change, unit))
    leave_queue(change, unit)
    return superseded


@handles(m.FailStep)
def fail_step(command: m.FailStep, unit: UnitOfWork) -> dict[str, Any]:
    """Try again, or fail."""
    change = unit.get(Change, command.change_id)
    failed = change.fail(command, account_of(change, unit), bill(unit, command.lines))
    leave_queue(change, unit)
    return failed
