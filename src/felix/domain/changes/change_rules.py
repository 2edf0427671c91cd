"""The state of a change, and what every decision about it begins with: the table of states and commands."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

from felix.domain.base import Command, FelixAggregate, FelixEvent
from felix.domain.changes import errors
from felix.domain.changes import messages as m
from felix.domain.changes.approvals import HEADS, person_of, role_of
from felix.domain.changes.binding import Binding
from felix.domain.changes.messages import LIVE, TERMINAL, State
from felix.domain.changes.risk import Risk

E = TypeVar("E", bound=FelixEvent)

#: How long a change waits for people, and for tokens.
INPUT_LASTS = FUNDS_LAST = REVISION_LASTS = timedelta(days=7)
APPROVAL_LASTS = timedelta(hours=72)
START_LASTS = timedelta(hours=24)
CHECKS_LAST = timedelta(hours=24)
#: How often a step is tried again that failed for no reason of its own.
MAX_RETRIES = 3
MAX_ANSWERS = 20

_WITH_A_DIFF: frozenset[State] = frozenset({
    "diffed", "checks_failed", "policy_violated", "checked", "awaiting_approval", "approved", "queued",
})  # fmt: skip
_BEFORE_DEPLOY: frozenset[State] = _WITH_A_DIFF | {
    "requested", "blocked_funds", "ingesting", "ingested", "planning", "needs_input", "planned", "checking",
}  # fmt: skip
_DECIDABLE: frozenset[State] = frozenset({"awaiting_approval", "approved", "queued"})

#: In which states a command is accepted. An abort is answered in the others too.
ALLOWED: dict[type[Command], frozenset[State]] = {
    m.StartIngestion: frozenset({"requested"}),
    m.RecordIngested: frozenset({"ingesting"}),
    m.StartPlanning: frozenset({"ingested"}),
    m.HoldForRequest: frozenset({"planning"}),
    m.SettleRequest: frozenset({"planning"}),
    m.RecordPlan: frozenset({"planning"}),
    m.AskClarification: frozenset({"planning"}),
    m.AnswerClarification: frozenset({"needs_input"}),
    m.RevisePlan: (_WITH_A_DIFF - {"queued"}) | {"needs_input", "planned"},
    m.RaiseCeiling: _BEFORE_DEPLOY - _DECIDABLE,
    m.RecordDiff: frozenset({"planned"}),
    m.StartChecks: frozenset({"diffed", "checked"}),
    m.RecordChecks: frozenset({"checking"}),
    m.OverridePolicy: frozenset({"policy_violated"}),
    m.RequestApproval: frozenset({"checked"}),
    m.RecordPullRequest: frozenset({"checked", "deploying", "rolling_back"}),
    m.ApproveChange: frozenset({"awaiting_approval"}),
    m.RejectChange: _DECIDABLE,
    m.WithdrawApproval: _DECIDABLE | {"blocked_funds"},
    m.DeployChange: frozenset({"approved"}),
    m.RecordExport: frozenset({"queued"}),
    m.StartDeploy: frozenset({"queued"}),
    m.StartCanary: frozenset({"deploying", "canary"}),
    m.RecordMeasurement: LIVE,
    m.HoldCanary: frozenset({"canary"}),
    m.PauseDeploy: frozenset({"canary"}),
    m.ResumeDeploy: frozenset({"canary"}),
    m.Promote: frozenset({"deploying", "canary"}),
    m.Succeed: frozenset({"baking"}),
    m.AbortDeploy: LIVE,
    m.StartRollback: LIVE | {"queued"},
    m.FinishRollback: frozenset({"rolling_back"}),
    m.BlockRollback: frozenset({"rolling_back"}),
    m.UnblockChange: frozenset({"blocked_funds"}),
    m.CancelChange: _BEFORE_DEPLOY,
    m.ExpireChange: _BEFORE_DEPLOY,
    m.SupersedeChange: _BEFORE_DEPLOY,
    m.FailStep: _BEFORE_DEPLOY - {"blocked_funds", "needs_input"},
    m.RebaseChange: _WITH_A_DIFF,
    m.RecordConflict: _WITH_A_DIFF | {"planned"},
}
#: What nobody does any more once the time is up, whether that was booked or not.
_IN_TIME = (
    m.AnswerClarification, m.RevisePlan, m.RaiseCeiling, m.ApproveChange, m.DeployChange, m.StartDeploy,
    m.UnblockChange, m.OverridePolicy,
)  # fmt: skip


class ChangeRules(FelixAggregate):
    """The state of a change. Moments are ISO 8601, so that a snapshot is the state as it is."""

    Event = FelixEvent

    if TYPE_CHECKING:
        # Set by the fold of ChangeRequested; annotations at run time would make this a dataclass.
        state: State
        app: str
        environment: m.Environment
        kind_of_change: m.Kind
        account_id: str
        channel: str
        requester: str
        #: Persons who may not decide: who asked, who edited, who answered.
        authors: list[str]
        planner: str | None
        model: str | None
        #: Whose key a model is asked with, once planning began.
        model_key: m.ModelKey | None
        prompt_chars: int
        retry_of: str | None
        rollback_of: str | None
        answers: int
        attempts: dict[str, int]
        cancel_asked: str | None
        #: When the state runs out, and where a change without funds goes on.
        expires_at: str | None
        resumes_at: State | None
        # What is planned.
        context_digest: str | None
        operations: str | None
        base_release: str
        base_tree: str
        base_commit: str | None
        result_tree: str | None
        result_commit: str | None
        diff: str | None
        release: str | None
        effects_digest: str | None
        places: list[str]
        risk: Risk
        conflicting: bool
        # What is agreed.
        checks: str | None
        checks_expire_at: str | None
        policy: str | None
        binding_parts: dict[str, Any] | None
        self_allowed: bool
        approvals: list[str]
        #: Approvals of what became this change by a rebase: they hold if the proof does.
        carryable: dict[str, Any] | None
        approval_ends_at: str | None
        starts_until: str | None
        # What is paid.
        ceiling_mtok: int
        quoted_high_mtok: int
        deploy_mtok: int
        holds: dict[str, dict[str, Any]]
        spent_mtok: int
        absorbed_mtok: int
        # What is deployed.
        strategy: dict[str, Any] | None
        priority: Literal["rollback", "founder", "normal"]
        #: What it destroys, as it was when its turn came.
        export: str | None
        deployment_id: str | None
        rollback_to: str | None
        weight: int | None
        step: int
        paused: bool
        asked: bool
        accept_inconclusive: bool
        failures: dict[str, int]
        unmeasurable: dict[str, int]
        critical_failure: str | None
        bakes_until: str | None
        # What it is in a repository: pull requests, as they were recorded last.
        repository: str | None
        pull: dict[str, Any] | None
        reverting: dict[str, Any] | None

    @property
    def is_over(self) -> bool:
        """Whether nothing happens to it any more."""
        return self.state in TERMINAL

    @property
    def held_mtok(self) -> int:
        """What its open holds have set aside."""
        return sum(hold["amount_mtok"] for hold in self.holds.values())

    @property
    def has_run_out(self) -> bool:
        """Whether nobody came in time."""
        return self.expires_at is not None and self.deciding_at >= datetime.fromisoformat(self.expires_at)

    @property
    def binding(self) -> Binding | None:
        """What approvals are bound to, once people are asked."""
        return None if self.binding_parts is None else Binding(**self.binding_parts)

    @property
    def where(self) -> str:
        """The local id of the environment it goes to."""
        return f"{self.app}.{self.environment}"

    def told(self, **facts: Any) -> dict[str, Any]:
        """What whoever decided hears: where the change is now, and what it has cost."""
        binding = self.binding
        return {
            "change_id": self.local_id,
            "state": self.state,
            "version": self.version,
            "expires_at": self.expires_at,
            "binding": binding and binding.digest,
            "spent_mtok": self.spent_mtok,
            "held_mtok": self.held_mtok,
            "ceiling_mtok": self.ceiling_mtok,
            **facts,
        }

    def enter(self, command: Any) -> datetime:
        """The time of a decision, once nothing about the change's state stands against the command.

        :raises ChangeIsOver, ChangeMovedOn, NotInThisState, ChangeExpiredAlready: each with what the state is.
        """
        seen = getattr(command, "expected_version", None)
        now = {"change_id": self.local_id, "state": self.state, "version": self.version}
        if self.is_over:
            raise errors.ChangeIsOver(**now)
        if seen is not None and seen != self.version:
            raise errors.ChangeMovedOn(expected_version=seen, **now)
        if self.state not in ALLOWED[type(command)]:
            raise errors.NotInThisState(**now)
        if isinstance(command, _IN_TIME) and self.has_run_out:
            raise errors.ChangeExpiredAlready(expires_at=self.expires_at, **now)
        return self.deciding_at

    def _happens(self, event_class: type[E], **payload: Any) -> E:
        """Make the event that the class of the aggregate made of ``event_class``, and give it back."""
        self.trigger_event(getattr(self, event_class.__name__), **payload)
        return cast(E, self._pending_events[-1])

    def _is_mine_to_change(self) -> str:
        """The actor, who asked for the change or may take anybody's. Raises ``NotYourChange``."""
        actor = self.context.actor
        if person_of(actor) != person_of(self.requester) and role_of(actor) not in HEADS:
            raise errors.NotYourChange()
        return actor

    def _author(self, actor: str) -> None:
        if person_of(actor) not in self.authors:
            self.authors.append(person_of(actor))

    def _waits(self, state: State, until: datetime | str | None = None) -> None:
        self.state = state
        self.expires_at = until.isoformat() if isinstance(until, datetime) else until

    def _ends(self, state: State) -> None:
        self._waits(state)
        self.resumes_at = None
        self.paused = False
