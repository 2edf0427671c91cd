"""What every handler of a change begins and ends with: the change, its environment, its account, the pointer."""

from __future__ import annotations

from felix.application.unit_of_work import UnitOfWork
from felix.domain.changes.change import Change
from felix.domain.changes.environment import AppEnvironment
from felix.domain.changes.errors import EnvironmentNotFound
from felix.domain.errors import Refused
from felix.domain.ledger.token_account import TokenAccount
from felix.eventstore.app_pointers import AppPointer, moved


def account_of(change: Change, unit: UnitOfWork) -> TokenAccount:
    """The account that pays for a change."""
    return unit.get(TokenAccount, change.account_id)


def environment_at(app: str, environment: str, unit: UnitOfWork) -> AppEnvironment:
    """An environment of an app. Raises ``EnvironmentNotFound``."""
    found = unit.find(AppEnvironment, f"{app}.{environment}")
    if found is None:
        raise EnvironmentNotFound(app=app, environment=environment)
    return found


def environment_of(change: Change, unit: UnitOfWork) -> AppEnvironment:
    """Where a change goes to."""
    return environment_at(change.app, change.environment, unit)


def leave_queue(change: Change, unit: UnitOfWork) -> None:
    """Let a change that is not queued any more wait no more."""
    environment = environment_of(change, unit)
    if change.state != "queued":
        environment.leave(change.local_id)


def move_pointer(environment: AppEnvironment, unit: UnitOfWork) -> None:
    """Write where the pointer of an environment is after this command, in its transaction."""
    unit.beside(
        moved(
            (unit.partition, unit.context.tenant_id),
            AppPointer(
                app=environment.app,
                environment=environment.environment,
                stable=environment.stable,
                candidate=environment.candidate,
                weight=environment.weight,
                salt=environment.salt,
                deployment_id=environment.deployment_id,
                read_only=environment.read_only,
                version=environment.version,
            ),
        )
    )


def deployment_of(change: Change) -> str:
    """The deployment of a change that has begun one."""
    if change.deployment_id is None:
        raise Refused("This change has no deployment.", change_id=change.local_id)
    return change.deployment_id
