"""What follows the log: projections and policies, and the tables that they need."""

from __future__ import annotations

from functools import partial

from felix.application import policies
from felix.application.policies.base import Terms
from felix.bootstrap.endpoints import Endpoints
from felix.eventstore.connections import connect
from felix.eventstore.migrations import Migration, migrate
from felix.projections import registry
from felix.projections.reactions import place_cursors, reaction
from felix.projections.rebuild_orders import ProjectionOrders, Rebuilder, rebuild_new_versions
from felix.projections.runner import ProjectionRunner

#: What follows from events; each follows the log under its name.
POLICIES = policies.discover()


def bring_up_to_date(endpoints: Endpoints, *, partitions: int, backup_password: str | None = None) -> list[Migration]:
    """Apply what is pending and make the tables of every projection."""
    applied = migrate(
        endpoints.database_url,
        partitions=partitions,
        role_password=endpoints.role_password,
        backup_password=backup_password,
    )
    registry.install(endpoints.database_url)
    rebuild_new_versions(endpoints.as_role("felix_projector"), registry.PROJECTIONS)
    place_cursors(endpoints.database_url, [policy.name for policy in POLICIES if policy.begins == "now"])
    return applied


def open_runner(endpoints: Endpoints, *, partitions: int, terms: Terms | None = None) -> ProjectionRunner:
    """The projections, kept up to date, and the policies, which follow the same log."""
    reacting = [
        reaction(policy.name, policy.reads, partial(policy.react, terms=terms or Terms())) for policy in POLICIES
    ]
    return ProjectionRunner(endpoints.as_role("felix_projector"), (*registry.PROJECTIONS, *reacting), range(partitions))


def open_rebuilder(endpoints: Endpoints) -> Rebuilder:
    """Runs the rebuilds that were asked for; for the worker, which leaves the other core to the rest."""
    return Rebuilder(endpoints.as_role("felix_projector"), registry.PROJECTIONS)


def projection_orders(endpoints: Endpoints) -> ProjectionOrders:
    """What the founder may ask of the read models."""
    url = endpoints.writer_url
    return ProjectionOrders(lambda: connect(url), registry.PROJECTIONS)
