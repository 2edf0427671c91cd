"""Beginning apps, and what founders do beside the rules: confirmed by another, or looked at afterwards."""

from __future__ import annotations

from typing import Any

from felix.application.changes.deploying import ask_back, come_back
from felix.application.changes.places import account_of, environment_at, environment_of, held_effects, move_pointer
from felix.application.unit_of_work import UnitOfWork, handles
from felix.domain.changes import errors
from felix.domain.changes.change import Change
from felix.domain.changes.environment import AppEnvironment
from felix.domain.changes.messages import (
    CloseReview,
    ConfirmOverride,
    CreateApp,
    ForceRollback,
    ForceUnlock,
    LiftQuarantine,
    OverridePolicy,
)


@handles(CreateApp)
def create_app(command: CreateApp, unit: UnitOfWork) -> dict[str, Any]:
    """Begin an app; its first release is live at once. Raises ``EnvironmentExists``."""
    for environment in command.environments:
        if unit.find(AppEnvironment, f"{command.app}.{environment}") is not None:
            raise errors.EnvironmentExists(app=command.app, environment=environment)
    for environment in sorted(set(command.environments)):
        created = AppEnvironment.create(unit.context, command, environment)
        unit.add(created)
        move_pointer(created, unit)
    return {"app": command.app, "title": command.title, "release": command.release}


@handles(OverridePolicy)
def override_policy(command: OverridePolicy, unit: UnitOfWork) -> dict[str, Any]:
    """Let a change pass whose findings may be overridden."""
    change = unit.get(Change, command.change_id)
    change.enter(command)
    environment = environment_of(change, unit)
    override_id, done = environment.override("policy", command, change_id=change.local_id)
    if done:
        change.override_policy(override_id, command.reason)
        move_pointer(environment, unit)
    return change.told(override_id=override_id, done=done)


@handles(ForceUnlock)
def force_unlock(command: ForceUnlock, unit: UnitOfWork) -> dict[str, Any]:
    """Free an environment. Raises ``NothingToUnlock``."""
    environment = environment_at(command.app, command.environment, unit)
    if environment.lock is None:
        raise errors.NothingToUnlock()
    override_id, done = environment.override("unlock", command, change_id=environment.lock["change_id"])
    return _outcome(environment, override_id, _unlock(environment, command.reason, unit) if done else None)


@handles(ForceRollback)
def force_rollback(command: ForceRollback, unit: UnitOfWork) -> dict[str, Any]:
    """Go back to a release, whatever is under way. Raises ``ReleaseNotKept`` and ``TakenBackByChange``."""
    environment = environment_at(command.app, command.environment, unit)
    if environment.source is not None:
        raise errors.TakenBackByChange()
    environment.entry(command.release)
    override_id, done = environment.override("rollback", command, release=command.release)
    changed = _go_back(environment, command.release, command.reason, unit) if done else None
    return _outcome(environment, override_id, changed)


@handles(LiftQuarantine)
def lift_quarantine(command: LiftQuarantine, unit: UnitOfWork) -> dict[str, Any]:
    """Let a release be deployed again."""
    environment = environment_at(command.app, command.environment, unit)
    override_id, done = environment.override("quarantine", command, release=command.release)
    if done:
        environment.lift_quarantine(command.release)
    return _outcome(environment, override_id, {} if done else None)


@handles(ConfirmOverride)
def confirm_override(command: ConfirmOverride, unit: UnitOfWork) -> dict[str, Any]:
    """Let happen what another founder wants, if it still can."""
    environment = environment_at(command.app, command.environment, unit)
    wanted = environment.confirm(command)
    changed: dict[str, Any] = {}
    if wanted["what"] == "policy":
        change = unit.get(Change, wanted["change_id"])
        if change.state != "policy_violated":
            raise errors.NotInThisState(change_id=change.local_id, state=change.state, version=change.version)
        change.override_policy(command.override_id, wanted["reason"])
        changed = change.told()
    elif wanted["what"] == "unlock":
        if environment.lock is None or environment.lock["change_id"] != wanted["change_id"]:
            raise errors.NothingToUnlock()
        changed = _unlock(environment, wanted["reason"], unit)
    elif wanted["what"] == "rollback":
        changed = _go_back(environment, wanted["release"], wanted["reason"], unit)
    else:
        environment.lift_quarantine(wanted["release"])
    return _outcome(environment, command.override_id, changed)


@handles(CloseReview)
def close_review(command: CloseReview, unit: UnitOfWork) -> dict[str, Any]:
    """Write down what came of looking at an override that nobody had confirmed."""
    return environment_at(command.app, command.environment, unit).close_review(command)


def _unlock(environment: AppEnvironment, reason: str, unit: UnitOfWork) -> dict[str, Any]:
    lock = environment.take_over()
    change = unit.get(Change, lock["change_id"])
    change.free(environment, lock, account_of(change, unit), reason, held_effects(change, unit))
    come_back(change, environment, unit)
    return change.told()


def _go_back(environment: AppEnvironment, release: str, reason: str, unit: UnitOfWork) -> dict[str, Any]:
    if environment.lock is None:
        if environment.stable == release:
            raise errors.ReleaseRunsAlready(release=release)
        last = environment.history[-1]["change_id"]
        if last is None:
            raise errors.ReleaseNotKept(release=release)
        paid_by = unit.get(Change, last).account_id
        return ask_back(environment, paid_by, last, release, reason, unit)
    change = unit.get(Change, environment.lock["change_id"])
    change.force_back(environment, release, reason, held_effects(change, unit))
    come_back(change, environment, unit)
    return change.told()


def _outcome(environment: AppEnvironment, override_id: str, changed: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "app": environment.app,
        "environment": environment.environment,
        "release": environment.stable,
        "override_id": override_id,
        "done": changed is not None,
        "change": changed or None,
    }
