"""What a step is taken with, and what it sees: the ports to everything outside of the log."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from felix.application.apps.measurements import Measurements
from felix.application.apps.releases import Releases, ReleaseStore
from felix.application.changes.planners import PlannerChain
from felix.application.context import PassageIndex
from felix.application.outcome import Outcome
from felix.domain.apps.tree import AppTree
from felix.domain.base import Command
from felix.domain.changes.change import Change
from felix.domain.changes.environment import AppEnvironment
from felix.domain.changes.modules import Library
from felix.domain.errors import Refused
from felix.eventstore.aggregates import Aggregates

Place = tuple[int, UUID]
#: Performs a command for the change's tenant; its outcome may be a refusal.
Perform = Callable[[Command], Outcome]


class BaseForgotten(Refused):
    """More than ten releases went live since this change was asked for; ask for it again."""


class Repository(Protocol):
    """The repository of one tenant. What is recorded stays; refs move by compare-and-swap."""

    def head(self, ref: str) -> str | None:
        """The commit that a ref points to; None where there is none yet."""

    def record(self, tree: AppTree, parent: str | None, message: str, author: str, at: datetime) -> str:
        """Keep a tree and a commit of it; the same arguments give the same commit."""

    def move(self, ref: str, old: str | None, new: str) -> bool:
        """Let a ref point to another commit, if it still points to ``old``; whether it did."""


#: What the vault has of a subject of a tenant, by its names; nothing of who was forgotten.
Kept = Callable[[Place, str], Mapping[str, str]]
#: The planners of a tenant, for the planner and the model that the client chose, if they did.
Planners = Callable[[UUID, str | None, str | None], PlannerChain]


@dataclass(frozen=True)
class Workbench:
    """The ports, and the modules that can be installed: every version, and the newest of each."""

    aggregates: Aggregates
    objects: ReleaseStore
    releases: Releases
    repository: Callable[[UUID], Repository]
    kept: Kept
    passages: PassageIndex
    planners: Planners
    measurements: Measurements
    library: Library
    catalogue: Mapping[str, str]


@dataclass(frozen=True)
class Look:
    """A change and its environment as they are when a step is decided on."""

    bench: Workbench
    place: Place
    change: Change
    environment: AppEnvironment
    at: datetime

    @property
    def step(self) -> dict[str, Any]:
        """What every command of a step begins with: whoever did not see the last event is too late."""
        return {"change_id": self.change.local_id, "expected_version": self.change.version}

    @property
    def deploy_step(self) -> dict[str, Any]:
        """The same for a step of a deployment, with its fence."""
        return {**self.step, "fence": max(self.environment.fence, 1)}

    def tree(self, digest: str) -> AppTree:
        """One of the trees that ran here, or the one that the change began with. Raises :class:`BaseForgotten`."""
        known = {entry["tree"]: entry["release"] for entry in self.environment.history}
        release = known.get(digest, self.change.base_release)
        found = self.bench.releases.tree(release)
        if found.digest != digest:
            raise BaseForgotten(tree=digest)
        return found

    def head(self) -> AppTree:
        """The app as it runs now."""
        return self.bench.releases.tree(self.environment.stable)


@dataclass(frozen=True, slots=True)
class Rest:
    """There is nothing to do before a time, or before somebody does something."""

    until: datetime | None = None


Next = Command | Rest
