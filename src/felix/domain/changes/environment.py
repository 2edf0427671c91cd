"""An environment of an app: what runs there, what is about to, who waits, and what founders did beside the rules.

One deployment at a time holds the lock, from its beginning to its end. Whoever works at it says its fence; a founder
who takes it over moves the fence on, and what the other one does comes too late. Planning never locks.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, Literal, Self, TypeVar, cast

from eventsourcing.domain import event

from felix.domain.base import CommandContext, FelixAggregate, FelixEvent
from felix.domain.changes import errors
from felix.domain.changes import messages as m
from felix.domain.changes.approvals import is_person, person_of, role_of
from felix.domain.changes.code_tree import digest_of, slug_of

E = TypeVar("E", bound=FelixEvent)
Priority = Literal["rollback", "founder", "normal"]

PRIORITIES: tuple[Priority, ...] = ("rollback", "founder", "normal")
#: Releases that there is a way back to; object storage keeps them.
HISTORY = 10
MAX_QUEUED = 100
MAX_QUARANTINED = 200
MAX_OVERRIDES = 20
#: A founder who was asked to confirm looks within a day, or is asked again.
OVERRIDE_LASTS = timedelta(hours=24)


class AppEnvironment(FelixAggregate):
    """One app in one environment; its local id is ``<app>.<environment>``."""

    TOPIC = "apps.app_environment"
    kind = "app_environment"
    Event = FelixEvent

    class_version = 2

    EnvironmentCreated = m.EnvironmentCreated
    RepositoryConnected = m.RepositoryConnected
    RepositoryMoved = m.RepositoryMoved
    QueueJoined = m.QueueJoined
    QueueLeft = m.QueueLeft
    EnvironmentLocked = m.EnvironmentLocked
    TrafficShifted = m.TrafficShifted
    ReleasePromoted = m.ReleasePromoted
    ReleaseRestored = m.ReleaseRestored
    EnvironmentUnlocked = m.EnvironmentUnlocked
    DeployTakenOver = m.DeployTakenOver
    EnvironmentClosed = m.EnvironmentClosed
    EnvironmentReopened = m.EnvironmentReopened
    QuarantineLifted = m.QuarantineLifted
    OverrideProposed = m.OverrideProposed
    OverrideExercised = m.OverrideExercised
    ReviewClosed = m.ReviewClosed

    @classmethod
    def create(cls, context: CommandContext, command: m.CreateApp, environment: m.Environment) -> Self:
        """Begin an environment with the app's first release."""
        return cls.begin(
            context,
            f"{command.app}.{environment}",
            app=command.app,
            commit=command.commit,
            environment=environment,
            release=command.release,
            title=command.title,
            tree=command.tree,
        )

    @classmethod
    def of_repository(cls, context: CommandContext, source: str, repository: str, branch: str | None) -> Self:
        """Begin one whose releases are the trees of a repository. Nobody has looked at it yet."""
        unseen = digest_of(repository, "")
        app = slug_of(repository)
        told = {"app": app, "commit": None, "environment": "production", "release": unseen, "tree": unseen}
        begun = cls.begin(context, f"{app}.production", title=repository, **told)
        begun.connect(source, repository, branch)
        return begun

    @event(m.EnvironmentCreated)
    def __init__(
        self, app: str, commit: str | None, environment: m.Environment, release: str, title: str, tree: str
    ) -> None:
        self.app = app
        self.environment = environment
        self.title = title
        #: What ran, the last entry runs: ``release``, ``tree``, ``commit``, ``change_id``.
        self.history: list[dict[str, Any]] = [_entry(release, tree, commit, None)]
        self.queue: list[dict[str, str]] = []
        self.lock: dict[str, Any] | None = None
        self.fence = 0
        self.weight: int | None = None
        self.salt: str | None = None
        self.read_only = False
        self.quarantined: list[str] = []
        self.overrides: dict[str, dict[str, Any]] = {}
        self.reviews: dict[str, dict[str, Any]] = {}
        #: The connected repository that is changed here, where it is no app.
        self.source: str | None = None
        self.repository: str | None = None
        self.branch: str | None = None

    def connect(self, source: str, repository: str, branch: str | None) -> None:
        """Be of a repository that a tenant has connected, whether as before or anew."""
        if (self.source, self.branch) != (source, branch):
            self._happens(m.RepositoryConnected, branch=branch, repository=repository, source=source)

    @event(m.RepositoryConnected)
    def _connected(self, branch: str | None, repository: str, source: str) -> None:
        self.source, self.repository, self.branch = source, repository, branch

    def follow(self, command: m.FollowRepository) -> None:
        """Know where the branch is. Raises ``EnvironmentIsLocked``, and ``BaseMoved`` for who looked earlier."""
        if self.lock is not None:
            raise errors.EnvironmentIsLocked(change_id=self.lock["change_id"])
        if command.seen != self.commit:
            raise errors.BaseMoved(base_tree=command.tree, head_tree=self.tree)
        if command.commit != self.commit:
            self._happens(m.RepositoryMoved, commit=command.commit, tree=command.tree)

    @event(m.RepositoryMoved)
    def _moved(self, commit: str, tree: str) -> None:
        last = self.history[-1]
        same = last["tree"] == tree
        #: What was never looked at is nothing to go back to.
        kept = self.history[:-1] if same or last["commit"] is None else self.history
        self.history = [*kept, _entry(tree, tree, commit, last["change_id"] if same else None)][-HISTORY:]

    @property
    def stable(self) -> str:
        """The release that runs."""
        release: str = self.history[-1]["release"]
        return release

    @property
    def tree(self) -> str:
        """The tree of what runs: what a change has to stand on."""
        tree: str = self.history[-1]["tree"]
        return tree

    @property
    def commit(self) -> str | None:
        """The commit of what runs."""
        commit: str | None = self.history[-1]["commit"]
        return commit

    @property
    def candidate(self) -> str | None:
        """The release that some people have, while a deployment shows it to them."""
        release: str | None = None if self.lock is None or self.weight is None else self.lock["candidate"]
        return release

    @property
    def deployment_id(self) -> str | None:
        """The deployment that is under way."""
        deployment_id: str | None = None if self.lock is None else self.lock["deployment_id"]
        return deployment_id

    def entry(self, release: str) -> dict[str, Any]:
        """One of the releases that there is a way back to. Raises ``ReleaseNotKept``."""
        kept = {entry["release"]: entry for entry in self.history}
        if release not in kept:
            raise errors.ReleaseNotKept(release=release)
        return kept[release]

    def before(self, release: str) -> dict[str, Any]:
        """What ran before a release that runs now. Raises ``NotTheLatest`` and ``ReleaseNotKept``."""
        if self.stable != release:
            raise errors.NotTheLatest(release=release, runs=self.stable)
        if len(self.history) < 2:
            raise errors.ReleaseNotKept(release=release)
        before: dict[str, Any] = self.history[-2]
        return before

    # The queue.

    @property
    def has_room(self) -> bool:
        """Whether somebody more can wait."""
        return not self.read_only and len(self.queue) < MAX_QUEUED

    def join(self, change_id: str, priority: Priority) -> int:
        """Wait for one's turn; the place in the queue, from 1. Raises what :meth:`_open` does, and ``QueueIsFull``."""
        self._open()
        if not self.has_room:
            raise errors.QueueIsFull(limit=MAX_QUEUED)
        self._happens(m.QueueJoined, change_id=change_id, priority=priority)
        return self.place(change_id) or 0

    @event(m.QueueJoined)
    def _joined(self, change_id: str, priority: Priority) -> None:
        waiting = [*self.queue, {"change_id": change_id, "priority": priority}]
        self.queue = sorted(waiting, key=lambda entry: PRIORITIES.index(cast(Priority, entry["priority"])))

    def leave(self, change_id: str) -> None:
        """Wait no more; who does not wait need not leave."""
        if self.place(change_id) is not None:
            self._happens(m.QueueLeft, change_id=change_id)

    @event(m.QueueLeft)
    def _left(self, change_id: str) -> None:
        self.queue = [entry for entry in self.queue if entry["change_id"] != change_id]

    def place(self, change_id: str) -> int | None:
        """The place in the queue, from 1; None for who does not wait."""
        waiting = [entry["change_id"] for entry in self.queue]
        return waiting.index(change_id) + 1 if change_id in waiting else None

    # The deployment.

    def refuse_release(self, release: str) -> None:
        """Raises ``ReleaseQuarantined``, and ``ReleaseRunsAlready``."""
        if release in self.quarantined:
            raise errors.ReleaseQuarantined(release=release)
        if release == self.stable:
            raise errors.ReleaseRunsAlready(release=release)

    def take_lock(
        self, change_id: str, candidate: str, tree: str, commit: str | None, rollback_to: str
    ) -> tuple[str, int]:
        """Begin a deployment: its id and its fence.

        :raises EnvironmentIsLocked, EnvironmentIsClosed, NotYourTurn:
        """
        self._open()
        if self.lock is not None:
            raise errors.EnvironmentIsLocked(change_id=self.lock["change_id"])
        if self.queue and self.queue[0]["change_id"] != change_id:
            raise errors.NotYourTurn(place=self.place(change_id), change_id=self.queue[0]["change_id"])
        self.leave(change_id)
        deployment_id, fence = self.context.mint("dep"), self.fence + 1
        self._happens(
            m.EnvironmentLocked,
            candidate=candidate,
            change_id=change_id,
            commit=commit,
            deployment_id=deployment_id,
            fence=fence,
            rollback_to=rollback_to,
            tree=tree,
        )
        return deployment_id, fence

    @event(m.EnvironmentLocked)
    def _locked(
        self,
        candidate: str,
        change_id: str,
        commit: str | None,
        deployment_id: str,
        fence: int,
        rollback_to: str,
        tree: str,
    ) -> None:
        self.fence = fence
        self.lock = {
            "change_id": change_id,
            "deployment_id": deployment_id,
            "candidate": candidate,
            "tree": tree,
            "commit": commit,
            "rollback_to": rollback_to,
        }

    def locked_by(self, change_id: str, fence: int | None = None) -> dict[str, Any]:
        """The lock of a change's deployment. Raises ``Fenced`` for whoever has it no more."""
        lock = self.lock
        if lock is None or lock["change_id"] != change_id or (fence is not None and fence != self.fence):
            raise errors.Fenced(fence=self.fence, change_id=None if lock is None else lock["change_id"])
        return lock

    def shift(self, lock: dict[str, Any], weight: int) -> None:
        """Show the candidate to so many in a hundred."""
        said = f"{lock['candidate']}|{lock['deployment_id']}".encode()
        self._happens(m.TrafficShifted, salt=sha256(said).hexdigest()[:32], weight=weight)

    @event(m.TrafficShifted)
    def _shifted(self, salt: str, weight: int) -> None:
        self.salt, self.weight = salt, weight

    def promote(self, lock: dict[str, Any]) -> None:
        """Let the candidate be what runs."""
        self._happens(
            m.ReleasePromoted,
            change_id=lock["change_id"],
            commit=lock["commit"],
            deployment_id=lock["deployment_id"],
            previous=self.stable,
            release=lock["candidate"],
            tree=lock["tree"],
        )

    @event(m.ReleasePromoted)
    def _promoted(self, change_id: str, commit: str | None, release: str, tree: str) -> None:
        self.weight = self.salt = None
        self.history = [*self.history, _entry(release, tree, commit, change_id)][-HISTORY:]

    def bring_back(self, lock: dict[str, Any], to: str | None = None, *, quarantine: str | None = None) -> str:
        """Let an earlier release run again, or still; which one. ``quarantine`` is not deployed here any more."""
        entry = self.entry(to or lock["rollback_to"])
        self._happens(
            m.ReleaseRestored,
            change_id=lock["change_id"],
            commit=entry["commit"],
            deployment_id=lock["deployment_id"],
            quarantined=quarantine,
            release=entry["release"],
            tree=entry["tree"],
        )
        return self.stable

    @event(m.ReleaseRestored)
    def _restored(self, change_id: str, commit: str | None, quarantined: str | None, release: str, tree: str) -> None:
        self.weight = self.salt = None
        if release != self.stable:
            gone = {release, quarantined}
            kept = [entry for entry in self.history if entry["release"] not in gone]
            self.history = [*kept, _entry(release, tree, commit, change_id)]
        if quarantined is not None and quarantined not in self.quarantined:
            self.quarantined = [*self.quarantined, quarantined][-MAX_QUARANTINED:]

    def unlock(self, lock: dict[str, Any]) -> None:
        """End a deployment."""
        self._happens(m.EnvironmentUnlocked, change_id=lock["change_id"], deployment_id=lock["deployment_id"])

    @event(m.EnvironmentUnlocked)
    def _unlocked(self) -> None:
        self.lock = None
        self.weight = self.salt = None

    def take_over(self) -> dict[str, Any]:
        """Take the deployment from whoever works at it. Raises ``NothingToUnlock``."""
        if self.lock is None:
            raise errors.NothingToUnlock()
        self._happens(m.DeployTakenOver, fence=self.fence + 1, taken_by=self.context.actor)
        return self.lock

    @event(m.DeployTakenOver)
    def _taken_over(self, fence: int) -> None:
        self.fence = fence

    def close(self, reason: str) -> None:
        """Let nothing be written: what runs can't be run."""
        self._happens(m.EnvironmentClosed, reason=reason)

    @event(m.EnvironmentClosed)
    def _closed(self) -> None:
        self.read_only = True

    def reopen(self) -> None:
        """Let records be written again, where they could not be."""
        if self.read_only:
            self._happens(m.EnvironmentReopened)

    @event(m.EnvironmentReopened)
    def _reopened(self) -> None:
        self.read_only = False

    def lift_quarantine(self, release: str) -> None:
        """Let a release be deployed again."""
        if release in self.quarantined:
            self._happens(m.QuarantineLifted, release=release)

    @event(m.QuarantineLifted)
    def _quarantine_lifted(self, release: str) -> None:
        self.quarantined = [digest for digest in self.quarantined if digest != release]

    # Overrides.

    def override(
        self, what: str, command: m.Override, *, change_id: str | None = None, release: str | None = None
    ) -> tuple[str, bool]:
        """Ask another founder, or, in a sandbox or with the glass broken, do it: the override's id, and whether.

        :raises PeopleDecide, MayNotDecide, TooManyOverrides:
        """
        proposer = self._founder()
        if len(self.overrides) + len(self.reviews) >= MAX_OVERRIDES:
            raise errors.TooManyOverrides(limit=MAX_OVERRIDES)
        override_id = self.context.mint("ovr")
        told = {
            "change_id": change_id,
            "override_id": override_id,
            "proposer": proposer,
            "reason": command.reason,
            "release": release,
            "what": what,
        }
        if self.environment == "production" and not command.break_glass:
            self._happens(m.OverrideProposed, expires_at=self.deciding_at + OVERRIDE_LASTS, **told)
            return override_id, False
        self._happens(m.OverrideExercised, approver=None, break_glass=self.environment == "production", **told)
        return override_id, True

    def confirm(self, command: m.ConfirmOverride) -> dict[str, Any]:
        """Agree to another founder's override; what it is. Raises ``OverrideNotFound``, ``OwnOverride`` and so on."""
        approver = self._founder()
        proposed = self.overrides.get(command.override_id)
        if proposed is None or self.deciding_at >= datetime.fromisoformat(proposed["expires_at"]):
            raise errors.OverrideNotFound()
        if person_of(proposed["proposer"]) == person_of(approver):
            raise errors.OwnOverride()
        told = {name: value for name, value in proposed.items() if name != "expires_at"}
        self._happens(
            m.OverrideExercised, approver=approver, break_glass=False, override_id=command.override_id, **told
        )
        return proposed

    def close_review(self, command: m.CloseReview) -> dict[str, Any]:
        """Write down what came of looking at a broken glass. Raises ``OverrideNotFound`` and ``OwnOverride``."""
        reviewer = self._founder()
        review = self.reviews.get(command.override_id)
        if review is None:
            raise errors.OverrideNotFound()
        if person_of(review["proposer"]) == person_of(reviewer):
            raise errors.OwnOverride()
        self._happens(m.ReviewClosed, finding=command.finding, override_id=command.override_id, reviewer=reviewer)
        return {"override_id": command.override_id, "reviews_open": len(self.reviews)}

    @event(m.OverrideProposed)
    def _override_proposed(
        self,
        change_id: str | None,
        expires_at: datetime,
        override_id: str,
        proposer: str,
        reason: str,
        release: str | None,
        what: str,
    ) -> None:
        self.overrides = {
            **self.overrides,
            override_id: {
                "change_id": change_id,
                "expires_at": expires_at.isoformat(),
                "proposer": proposer,
                "reason": reason,
                "release": release,
                "what": what,
            },
        }

    @event(m.OverrideExercised)
    def _override_exercised(
        self, break_glass: bool, override_id: str, proposer: str, reason: str, timestamp: datetime, what: str
    ) -> None:
        self.overrides = {known: told for known, told in self.overrides.items() if known != override_id}
        if break_glass:
            review = {"proposer": proposer, "reason": reason, "what": what, "since": timestamp.isoformat()}
            self.reviews = {**self.reviews, override_id: review}

    @event(m.ReviewClosed)
    def _review_closed(self, override_id: str) -> None:
        self.reviews = {known: told for known, told in self.reviews.items() if known != override_id}

    def _founder(self) -> str:
        actor = self.context.actor
        if not is_person(actor):
            raise errors.PeopleDecide()
        if role_of(actor) != "founder":
            raise errors.MayNotDecide()
        return actor

    def _open(self) -> None:
        if self.read_only:
            raise errors.EnvironmentIsClosed(app=self.app, environment=self.environment)

    def _happens(self, event_class: type[E], **payload: Any) -> E:
        """Make the event that the class of the aggregate made of ``event_class``, and give it back."""
        self.trigger_event(getattr(self, event_class.__name__), **payload)
        return cast(E, self._pending_events[-1])


def _entry(release: str, tree: str, commit: str | None, change_id: str | None) -> dict[str, Any]:
    return {"release": release, "tree": tree, "commit": commit, "change_id": change_id}
