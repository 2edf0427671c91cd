"""What every handler of a change begins and ends with: the change, its environment, its account, the pointer."""

from __future__ import annotations

from felix.application.unit_of_work import UnitOfWork
from felix.domain.changes.change import Change
from felix.domain.changes.code_tree import slug_of
from felix.domain.changes.environment import AppEnvironment
from felix.domain.changes.errors import EnvironmentNotFound, NotConnected
from felix.domain.context.document import Document
from felix.domain.errors import Refused
from felix.domain.ledger.token_account import TokenAccount
from felix.eventstore import effects
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


def repository_at(source: str, app: str, unit: UnitOfWork) -> AppEnvironment:
    """Where a connected repository is changed, from the first change of it on. Raises ``NotConnected``."""
    document = unit.find(Document, source)
    told = None if document is None or document.removed else document.source
    name = None if told is None or told["kind"] != "repository" else told["repository"]
    if told is None or name is None or app != slug_of(name):
        raise NotConnected(source=source)
    found = unit.find(AppEnvironment, f"{app}.production")
    if found is None:
        found = AppEnvironment.of_repository(unit.context, source, name, told["branch"])
        unit.add(found)
    elif found.source is None:
        raise NotConnected(source=source)
    found.connect(source, name, told["branch"])
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
    """Write where the pointer of an environment is after this command, in its transaction; a repository has none."""
    if environment.source is not None:
        return
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


def held_effects(change: Change, unit: UnitOfWork) -> int:
    """How many effects of a change's release wait for its promotion."""
    if change.deployment_id is None:
        return 0
    place = (unit.partition, unit.context.tenant_id)
    ((count,),) = unit.ask_beside(effects.count_held(place, change.deployment_id))
    return int(count)


def deployment_of(change: Change) -> str:
    """The deployment of a change that has begun one."""
    if change.deployment_id is None:
        raise Refused("This change has no deployment.", change_id=change.local_id)
    return change.deployment_id
