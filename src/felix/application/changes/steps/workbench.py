"""What a step is taken with, and what it sees: the ports to everything outside of the log."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, Protocol
from uuid import UUID

from felix.application.apps.at_work import Shelf
from felix.application.apps.measurements import Measurements
from felix.application.apps.releases import Releases, ReleaseStore
from felix.application.changes.code_target import CodeTarget
from felix.application.changes.planners import PlannerChain
from felix.application.context import PassageIndex
from felix.application.outcome import Outcome
from felix.domain.apps.tree import AppTree
from felix.domain.base import Command
from felix.domain.changes.change import Change
from felix.domain.changes.environment import AppEnvironment
from felix.domain.changes.modules import Library
from felix.domain.context.known_secrets import KnownSecrets
from felix.domain.errors import Refused
from felix.eventstore.aggregates import Aggregates
from felix.eventstore.recorded_plans import RecordedPlans

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
#: The planners of a change: those that the client chose, if they did, with the key that planning began with.
Planners = Callable[[Place, Change], PlannerChain]


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
    shelf: Shelf
    library: Library
    catalogue: Mapping[str, str]
    #: Where repositories are. Raises what says that Felix was let into none.
    code: Callable[[], CodeTarget]
    plans: RecordedPlans
    #: What a question is found by and not known from: an HMAC of it.
    index: Callable[[str], bytes]
    #: The secrets of a client, as texts are searched for them. Raises ``Unavailable``.
    known: Callable[[Place], KnownSecrets]
    #: What the requests of a client to language models may cost in a day.
    model_day_mtok: int | None = None
    #: Looks at what is new are so far apart at the least.
    look_every_s: float = 15.0


@dataclass(frozen=True)
class Look:
    """A change and its environment as they are when a step is decided on."""

    bench: Workbench
    place: Place
    change: Change
    environment: AppEnvironment
    at: datetime

    @cached_property
    def known(self) -> KnownSecrets:
        """The client's own secrets: no planner reads one, and no change writes one. Raises ``Unavailable``."""
        return self.bench.known(self.place)

    @property
    def code(self) -> CodeTarget:
        """Where the repository is."""
        return self.bench.code()

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
