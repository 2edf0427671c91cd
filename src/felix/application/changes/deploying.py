"""Going live and coming back: each step moves change, environment, account and pointer in one transaction."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from felix.application.changes.places import account_of, deployment_of, environment_of, held_effects, move_pointer
from felix.application.changes.pricing import bill
from felix.application.unit_of_work import UnitOfWork, handles
from felix.domain.changes import errors
from felix.domain.changes import messages as m
from felix.domain.changes.change import Change
from felix.domain.changes.environment import AppEnvironment
from felix.eventstore import effects


@handles(m.DeployChange)
def deploy_change(command: m.DeployChange, unit: UnitOfWork) -> dict[str, Any]:
    """Let an approved change wait for its turn."""
    change = unit.get(Change, command.change_id)
    return change.queue_up(command, environment_of(change, unit))


@handles(m.RecordExport)
def record_export(command: m.RecordExport, unit: UnitOfWork) -> dict[str, Any]:
    """Know where what a change destroys is kept."""
    return unit.get(Change, command.change_id).exported(command)


@handles(m.StartDeploy)
def start_deploy(command: m.StartDeploy, unit: UnitOfWork) -> dict[str, Any]:
    """Take the lock, hold the tokens, begin."""
    with _moving(command, unit) as (change, environment):
        return change.start_deploy(command, environment, account_of(change, unit), bill(unit, command.lines))


@handles(m.StartCanary)
def start_canary(command: m.StartCanary, unit: UnitOfWork) -> dict[str, Any]:
    """Let some people have the new release, or more of them."""
    with _moving(command, unit) as (change, environment):
        return change.start_canary(command, environment, account_of(change, unit))


@handles(m.RecordMeasurement)
def record_measurement(command: m.RecordMeasurement, unit: UnitOfWork) -> dict[str, Any]:
    """Write down what the guardrails say."""
    change = unit.get(Change, command.change_id)
    return change.measured(command, environment_of(change, unit), account_of(change, unit))


@handles(m.HoldCanary)
def hold_canary(command: m.HoldCanary, unit: UnitOfWork) -> dict[str, Any]:
    """Wait for a person."""
    change = unit.get(Change, command.change_id)
    return change.hold_canary(command, environment_of(change, unit), account_of(change, unit))


@handles(m.PauseDeploy)
def pause_deploy(command: m.PauseDeploy, unit: UnitOfWork) -> dict[str, Any]:
    """Let a canary be as it is."""
    return unit.get(Change, command.change_id).pause(command)


@handles(m.ResumeDeploy)
def resume_deploy(command: m.ResumeDeploy, unit: UnitOfWork) -> dict[str, Any]:
    """Let a canary go on."""
    return unit.get(Change, command.change_id).resume(command)


@handles(m.Promote)
def promote(command: m.Promote, unit: UnitOfWork) -> dict[str, Any]:
    """Let everybody have the new release, and let go what was held back of its effects."""
    with _moving(command, unit) as (change, environment):
        promoted = change.promote(command, environment, account_of(change, unit), held_effects(change, unit))
        unit.beside(effects.released((unit.partition, unit.context.tenant_id), deployment_of(change)))
        return promoted


@handles(m.Succeed)
def succeed(command: m.Succeed, unit: UnitOfWork) -> dict[str, Any]:
    """Pay, and free the environment."""
    with _moving(command, unit) as (change, environment):
        return change.succeed(command, environment, account_of(change, unit), bill(unit, command.lines))


@handles(m.AbortDeploy)
def abort_deploy(command: m.AbortDeploy, unit: UnitOfWork) -> dict[str, Any]:
    """Stop a deployment and go back at once; where there is none, say so."""
    change = unit.get(Change, command.change_id)
    environment = environment_of(change, unit)
    aborted = change.abort(command, environment, held_effects(change, unit))
    if aborted["aborted"]:
        come_back(change, environment, unit)
    return aborted


@handles(m.StartRollback)
def start_rollback(command: m.StartRollback, unit: UnitOfWork) -> dict[str, Any]:
    """Go back at once: the pointer moves with this."""
    change = unit.get(Change, command.change_id)
    environment = environment_of(change, unit)
    started = change.start_rollback(command, environment, held_effects(change, unit))
    come_back(change, environment, unit)
    return started


@handles(m.FinishRollback)
def finish_rollback(command: m.FinishRollback, unit: UnitOfWork) -> dict[str, Any]:
    """Pay for what was done before, and free the environment."""
    with _moving(command, unit) as (change, environment):
        return change.finish_rollback(command, environment, account_of(change, unit), bill(unit, command.lines))


@handles(m.BlockRollback)
def block_rollback(command: m.BlockRollback, unit: UnitOfWork) -> dict[str, Any]:
    """Let nothing be written where the way back is blocked."""
    with _moving(command, unit) as (change, environment):
        return change.block_rollback(command, environment)


@handles(m.RequestRollback)
def request_rollback(command: m.RequestRollback, unit: UnitOfWork) -> dict[str, Any]:
    """Go back behind a change that is live, by a change of its own: at once, or after what is under way."""
    change = unit.get(Change, command.change_id)
    if command.expected_version not in (None, change.version):
        raise errors.ChangeMovedOn(change_id=change.local_id, state=change.state, version=change.version)
    if change.state != "deployed":
        raise errors.NotInThisState(change_id=change.local_id, state=change.state, version=change.version)
    environment = environment_of(change, unit)
    if environment.source is None:
        release = command.release or environment.before(change.release or "")["release"]
    elif command.release is not None:
        raise errors.TakenBackByChange()
    else:
        # What others have pushed since stays: only this change is taken back.
        release = change.rollback_to or ""
    return ask_back(environment, change.account_id, change.local_id, release, command.reason, unit)


def ask_back(
    environment: AppEnvironment, account_id: str, of: str | None, release: str, reason: str, unit: UnitOfWork
) -> dict[str, Any]:
    """Begin a change that goes back to a release, and let it begin at once if nothing else is under way."""
    change = Change.request_rollback(unit.context, environment, account_id, of, release, reason)
    unit.add(change)
    if change.go_back_in_turn(environment, reason):
        come_back(change, environment, unit)
    return change.told(rollback_of=of, release=release)


@contextmanager
def _moving(command: m.StepCommand, unit: UnitOfWork) -> Iterator[tuple[Change, AppEnvironment]]:
    """A change and its environment, whose pointer is written as the command has left it."""
    change = unit.get(Change, command.change_id)
    environment = environment_of(change, unit)
    yield change, environment
    move_pointer(environment, unit)


def come_back(change: Change, environment: AppEnvironment, unit: UnitOfWork) -> None:
    """What a rollback does beside the log: the pointer, and the effects that nobody will see."""
    unit.beside(effects.dropped((unit.partition, unit.context.tenant_id), deployment_of(change)))
    move_pointer(environment, unit)
