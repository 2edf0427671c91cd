"""What can be asked of a change and of the environment it goes to, and what can have happened to them.

A change is one prompt from request to end; an environment is what of an app runs where. What is large is in object
storage: a command and its event name it by the SHA-256 of its bytes, and :data:`OBJECTS` says of which kind each is.
What people wrote is personal: it travels enclosed, ends up in the vault under the change's id, and the event is
committed to it.

Commands of people say what they saw: ``expected_version`` is that of the change they looked at. Steps are taken by
Felix itself; theirs fences whoever was too slow, and so does the ``fence`` of a deployment.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from felix.domain.base import Command, FelixCreated, FelixEvent
from felix.domain.changes.risk import Risk
from felix.domain.context.document import DocumentId
from felix.domain.privacy.erasure import SubjectId
from felix.domain.values import (
    AccountId,
    Amount,
    HoldId,
    MeterName,
    Moment,
    Name,
    Reason,
    Slug,
)

ChangeId = Annotated[str, StringConstraints(pattern=r"^chg_[0-9a-f]{32}$")]
OverrideId = Annotated[str, StringConstraints(pattern=r"^ovr_[0-9a-f]{32}$")]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
#: A commit in the client's repository; without one the tree is all there is.
Commit = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}([0-9a-f]{24})?$")]
AppName = Slug
Environment = Literal["production", "sandbox"]
ENVIRONMENTS: tuple[Environment, ...] = ("production", "sandbox")
#: Whose key a language model is asked with: the client's own, the platform's secret, or the one of the settings.
ModelKey = Literal["tenant", "platform", "setting"]
Version = Annotated[int, Field(ge=1)]
Word = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
Sentence = Annotated[str, StringConstraints(min_length=1, max_length=1000)]

#: The kind, in object storage, of what commands and events name by its digest, by the name of the field.
OBJECTS: dict[str, str] = {
    "context": "change-contexts",
    "operations": "change-operations",
    "transcript": "change-transcripts",
    "diff": "change-diffs",
    "checks": "change-checks",
    "detail": "change-details",
    "export": "change-exports",
    "release": "releases",
}

#: What of a change is in its events; all of it is in its diff.
MAX_EFFECTS_SHOWN = 100
MAX_LISTED = 200
MAX_QUESTIONS = 10

State = Literal[
    "requested", "blocked_funds", "ingesting", "ingested", "planning", "needs_input", "planned", "diffed", "checking",
    "checks_failed", "policy_violated", "checked", "awaiting_approval", "approved", "queued", "deploying", "canary",
    "baking", "rolling_back", "attention",
    "deployed", "rolled_back", "rejected", "expired", "superseded", "cancelled", "failed",
]  # fmt: skip
#: Nothing happens to a change in one of these any more: whoever wants it again asks for another.
TERMINAL: frozenset[State] = frozenset(
    {"deployed", "rolled_back", "rejected", "expired", "superseded", "cancelled", "failed"}
)
#: A deployment is under way: the environment is locked.
LIVE: frozenset[State] = frozenset({"deploying", "canary", "baking"})
#: A step that costs tokens.
Step = Literal["ingest", "plan", "diff", "check", "deploy"]
Kind = Literal["prompt", "operations", "rollback"]
Channel = Literal["api", "web", "cli", "whatsapp", "mail", "form"]


class Line(Command):
    """So much of a meter; ``model`` where the price depends on one."""

    meter: MeterName
    quantity: Annotated[int, Field(ge=0, le=10**12)]
    model: Name | None = None


Lines = Annotated[list[Line], Field(max_length=50)]


class EffectLine(Command):
    """One effect of a change, as :class:`felix.domain.changes.effects.Effect` is shown."""

    kind: Annotated[str, Field(max_length=64)]
    path: Annotated[str, Field(max_length=200)]
    pointer: Annotated[str, Field(max_length=500)]
    sentence: Annotated[str, Field(max_length=2000)]
    risk: Risk


Effects = Annotated[list[EffectLine], Field(max_length=MAX_EFFECTS_SHOWN)]
#: Places that are written, each ``path#pointer``.
Places = Annotated[list[Annotated[str, Field(max_length=701)]], Field(max_length=2_000)]


class Question(Command):
    """Something that has to be known, and what could be meant."""

    question: Annotated[str, Field(min_length=1, max_length=2000)]
    candidates: Annotated[list[Annotated[str, Field(max_length=500)]], Field(max_length=50)] = []


class Finding(Command):
    """What a check, or a rule of a policy, found."""

    check: Word
    level: Literal["advisory", "needs_override", "hard"] = "hard"
    detail: Annotated[str, Field(max_length=2000)]
    place: Annotated[str, Field(max_length=701)] = ""


Findings = Annotated[list[Finding], Field(max_length=MAX_LISTED)]


class Strategy(Command):
    """How a change goes live.

    ``instant`` moves everybody at once. ``canary`` moves them by the percentages of ``steps``, each for ``hold_s`` and
    for no longer than ``max_wait_s``; ``preview`` shows the release to whoever asks for it by name and to nobody else,
    until somebody lets it go on. With ``window``, a cron line in a time zone, it begins at that time. What was moved to
    is watched for ``bake_s`` more.
    """

    kind: Literal["instant", "canary", "preview"] = "instant"
    steps: Annotated[list[Annotated[int, Field(ge=1, le=99)]], Field(max_length=10)] = []
    hold_s: Annotated[int, Field(ge=0, le=86_400)] = 300
    bake_s: Annotated[int, Field(ge=0, le=7 * 86_400)] = 0
    max_wait_s: Annotated[int, Field(ge=0, le=86_400)] = 3_600
    on_inconclusive: Literal["promote", "rollback", "ask"] = "rollback"
    window: Annotated[str, Field(min_length=9, max_length=100)] | None = None
    tz: Annotated[str, Field(max_length=64)] = "UTC"

    @model_validator(mode="after")
    def _steps_go_up(self) -> Self:
        if (self.kind == "canary") != bool(self.steps):
            raise ValueError("steps belong to a canary, and a canary has some")
        if self.steps != sorted(set(self.steps)):
            raise ValueError("steps must go up")
        return self


class Measurement(Command):
    """What a guardrail says after a look. ``value`` and ``limit`` are millionths of its unit, where it has numbers."""

    guardrail: Word
    verdict: Literal["pass", "fail", "inconclusive", "error"]
    critical: bool = False
    dry_run: bool = False
    samples: Annotated[int, Field(ge=0)] = 0
    value_micro: int | None = None
    limit_micro: int | None = None
    detail: Annotated[str, Field(max_length=500)] = ""


Measurements = Annotated[list[Measurement], Field(min_length=1, max_length=50)]


# --- what people ask of a change ----------------------------------------------------------------------------


class RequestChange(Command):
    """Ask for a change of an app, in words or, with ``operations``, in a form that says it exactly.

    The prompt travels enclosed (:func:`felix.application.changes.asking.asking`). Nothing is held yet: what it may
    cost at the most is ``ceiling_mtok``, or else the high end of the quote that the answer shows.
    """

    command_name: ClassVar[str] = "changes.request_change"
    app: AppName
    #: The connected repository that is to be different, in the place of an app; ``app`` is then what its name becomes.
    source: DocumentId | None = None
    environment: Environment = "production"
    account_id: AccountId
    kind: Literal["prompt", "operations"] = "prompt"
    operations: Digest | None = None
    #: An HMAC of the prompt under a key of this installation: tells two requests under one key apart.
    prompt_index: Digest
    prompt_commitment: Digest
    prompt_chars: Annotated[int, Field(ge=0)]
    channel: Channel = "api"
    #: The planner that the client chose; without one the first that understands the prompt.
    planner: Name | None = None
    model: Name | None = None
    #: What is asked where no model is named, as it was set when the door quoted it.
    default_model: Name | None = None
    ceiling_mtok: Amount | None = None
    retry_of: ChangeId | None = None

    @model_validator(mode="after")
    def _operations_are_given_or_planned(self) -> Self:
        if (self.kind == "operations") != (self.operations is not None):
            raise ValueError("operations belong to a change of kind operations, and only to that")
        if self.source is not None and self.environment != "production":
            raise ValueError("a repository has no other environment than production")
        return self

    def fingerprint_fields(self) -> dict[str, Any]:
        """Without the commitment, which is salted anew whenever the same is asked again, and what nobody asked for."""
        asked = super().fingerprint_fields()
        left = {"prompt_commitment", "default_model"} | ({"source"} if self.source is None else set())
        return {name: value for name, value in asked.items() if name not in left}


class OfChange(Command):
    """A person's command about one change. ``expected_version`` is that of the change they looked at."""

    change_id: ChangeId
    expected_version: Version | None = None


class SeenChange(OfChange):
    """The same where it matters what they saw."""

    expected_version: Version


class AnswerClarification(SeenChange):
    """Answer the questions of a change; the answer travels enclosed. It is planned anew with it."""

    command_name: ClassVar[str] = "changes.answer_clarification"
    answer_index: Digest
    answer_commitment: Digest

    def fingerprint_fields(self) -> dict[str, Any]:
        """Without the commitment, which is salted anew whenever the same is asked again."""
        return {name: value for name, value in super().fingerprint_fields().items() if name != "answer_commitment"}


class RevisePlan(SeenChange):
    """Put other operations in the place of those that were planned. Every approval begins anew."""

    command_name: ClassVar[str] = "changes.revise_plan"
    operations: Digest
    reason: Reason | None = None


class RaiseCeiling(SeenChange):
    """Let a change cost more, before anybody has approved what it costs."""

    command_name: ClassVar[str] = "changes.raise_ceiling"
    ceiling_mtok: Amount


class CancelChange(OfChange):
    """Let a change be that does not run anywhere yet: one's own, or as an owner or founder anybody's."""

    command_name: ClassVar[str] = "changes.cancel_change"
    reason: Reason | None = None


class ApproveChange(SeenChange):
    """Agree to exactly what was shown: ``binding`` is the digest that stood beside it."""

    command_name: ClassVar[str] = "changes.approve_change"
    binding: Digest
    comment: Reason | None = None


class RejectChange(SeenChange):
    """Turn a change down, for good."""

    command_name: ClassVar[str] = "changes.reject_change"
    reason: Reason


class WithdrawApproval(OfChange):
    """Take one's own approval back, until the deployment has begun."""

    command_name: ClassVar[str] = "changes.withdraw_approval"
    reason: Reason | None = None


class DeployChange(SeenChange):
    """Let an approved change go live, in its turn."""

    command_name: ClassVar[str] = "changes.deploy_change"
    strategy: Strategy = Strategy()


class AbortDeploy(OfChange):
    """Stop a deployment and go back to what ran before. Where nothing is under way, this says so and does nothing."""

    command_name: ClassVar[str] = "changes.abort_deploy"
    reason: Reason


class PauseDeploy(OfChange):
    """Let a canary stay as it is."""

    command_name: ClassVar[str] = "changes.pause_deploy"
    reason: Reason | None = None


class ResumeDeploy(OfChange):
    """Let a canary go on. ``accept_inconclusive`` takes too few samples for enough; nothing makes a failure pass."""

    command_name: ClassVar[str] = "changes.resume_deploy"
    accept_inconclusive: bool = False
    reason: Reason | None = None


class RequestRollback(OfChange):
    """Go back behind a change that is live: a change of its own, without approval, queue or price.

    Without ``release`` it leads to what ran before the change, as long as nothing else went live after it.
    """

    command_name: ClassVar[str] = "changes.request_rollback"
    release: Digest | None = None
    reason: Reason


# --- what founders override ---------------------------------------------------------------------------------


class Override(Command):
    """Something that the rules do not allow. In production another founder confirms it, unless the glass is broken:
    then it happens at once, and a review has to be closed."""

    reason: Reason
    break_glass: bool = False


class OverridePolicy(Override):
    """Let a change pass whose findings may be overridden."""

    command_name: ClassVar[str] = "changes.override_policy"
    change_id: ChangeId
    expected_version: Version


class OfEnvironment(Command):
    """A command about one environment of an app."""

    app: AppName
    environment: Environment

    @property
    def stream_id(self) -> str:
        """The local id of the environment."""
        return f"{self.app}.{self.environment}"


class ForceUnlock(Override, OfEnvironment):
    """Take a deployment from whoever works at it, roll it back, and free the environment."""

    command_name: ClassVar[str] = "apps.force_unlock"


class ForceRollback(Override, OfEnvironment):
    """Go back to a release, whatever is under way."""

    command_name: ClassVar[str] = "apps.force_rollback"
    release: Digest


class LiftQuarantine(Override, OfEnvironment):
    """Let a release that was rolled back be deployed again."""

    command_name: ClassVar[str] = "apps.lift_quarantine"
    release: Digest


class ConfirmOverride(OfEnvironment):
    """Let happen what another founder wants to override."""

    command_name: ClassVar[str] = "apps.confirm_override"
    override_id: OverrideId
    reason: Reason | None = None


class CloseReview(OfEnvironment):
    """Write down what came of looking at an override that nobody had confirmed; never one's own."""

    command_name: ClassVar[str] = "apps.close_review"
    override_id: OverrideId
    finding: Reason


class CreateApp(Command):
    """Begin an app with its first release, which is live at once in each of its environments."""

    command_name: ClassVar[str] = "apps.create_app"
    app: AppName
    title: Name
    release: Digest
    tree: Digest
    commit: Commit | None = None
    environments: Annotated[list[Environment], Field(min_length=1, max_length=2)] = ["production", "sandbox"]


class FollowRepository(OfEnvironment):
    """Know which commit the branch of a repository is at. ``seen`` is where it was thought to be."""

    command_name: ClassVar[str] = "apps.follow_repository"
    commit: Commit
    seen: Commit | None
    tree: Digest


# --- the steps that Felix takes -----------------------------------------------------------------------------


class StepCommand(Command):
    """A step of a change. Whoever did not see the last event is too late."""

    change_id: ChangeId
    expected_version: Version


class StartIngestion(StepCommand):
    """Hold what reading the context costs; none of it where everything was read before."""

    command_name: ClassVar[str] = "changes.start_ingestion"
    lines: Lines = []


class RecordIngested(StepCommand):
    """The context is read: an object of its own, with where it came from and what was left out."""

    command_name: ClassVar[str] = "changes.record_ingested"
    context: Digest
    sources: Annotated[list[Annotated[str, Field(max_length=300)]], Field(max_length=MAX_LISTED)] = []
    excluded: Annotated[list[Annotated[str, Field(max_length=300)]], Field(max_length=MAX_LISTED)] = []
    redactions: Annotated[int, Field(ge=0)] = 0
    size_bytes: Annotated[int, Field(ge=0)] = 0
    lines: Lines = []


class StartPlanning(StepCommand):
    """Hold what planning costs at the most, before anybody plans. ``key`` is whose a model is asked with."""

    command_name: ClassVar[str] = "changes.start_planning"
    planner: Name
    model: Name | None = None
    key: ModelKey | None = None
    template: Digest | None = None
    timeout_s: Annotated[int, Field(gt=0, le=3_600)] = 120
    lines: Lines = []


class HoldForRequest(StepCommand):
    """Hold the worst case of one more request to a model, before it leaves.

    ``day_limit_mtok`` is what the client's requests may cost in a day (UTC), all changes together.
    """

    command_name: ClassVar[str] = "changes.hold_for_request"
    lines: Annotated[list[Line], Field(min_length=1, max_length=50)]
    day_limit_mtok: Amount | None = None


class SettleRequest(StepCommand):
    """Pay for a request that was answered. With ``unmeasured``, the attempts of one that failed, nothing is paid."""

    command_name: ClassVar[str] = "changes.settle_request"
    hold_id: HoldId
    lines: Lines = []
    estimated: bool = False
    unmeasured: Annotated[int, Field(ge=0, le=100)] = 0


class RecordPlan(StepCommand):
    """The operations that were planned, by whom, and what of the context they rest on. ``base`` is what ran then.

    ``question`` is an HMAC of all that the plan depends on: whoever asks the same again is given this plan.
    """

    command_name: ClassVar[str] = "changes.record_plan"
    operations: Digest
    count: Annotated[int, Field(ge=1, le=2_000)]
    rationale: Annotated[str, Field(max_length=4_000)] = ""
    planner: Name
    model: Name | None = None
    cached: bool = False
    question: Digest | None = None
    transcript: Digest | None = None
    lines: Lines = []


class AskClarification(StepCommand):
    """What can't be planned without asking."""

    command_name: ClassVar[str] = "changes.ask_clarification"
    questions: Annotated[list[Question], Field(min_length=1, max_length=MAX_QUESTIONS)]
    planner: Name
    transcript: Digest | None = None
    lines: Lines = []


class RecordDiff(StepCommand):
    """What Felix worked out from the trees before and after. ``places`` are those that the operations write."""

    command_name: ClassVar[str] = "changes.record_diff"
    base_tree: Digest
    base_commit: Commit | None = None
    result_tree: Digest
    result_commit: Commit | None = None
    diff: Digest
    release: Digest
    effects: Effects
    effects_count: Annotated[int, Field(ge=0)]
    #: Over every effect, shown here or not: equal effects have equal digests.
    effects_digest: Digest
    places: Places = []
    risk: Risk
    lines: Lines = []


class StartChecks(StepCommand):
    """Hold what the checks cost at the most."""

    command_name: ClassVar[str] = "changes.start_checks"
    lines: Lines = []


class RecordChecks(StepCommand):
    """What the checks found: all of it is an object, what stands in the way is listed. ``sandbox`` names what
    confined the code that ran, if any did."""

    command_name: ClassVar[str] = "changes.record_checks"
    checks: Digest
    findings: Findings = []
    sandbox: Literal["bwrap", "landlock", "none"] = "none"
    lines: Lines = []


class RequestApproval(StepCommand):
    """Ask the people who decide. ``approvals`` is what the app's policy asks beyond the platform's rules, and
    ``lines`` what the deployment will hold."""

    command_name: ClassVar[str] = "changes.request_approval"
    policy: Digest
    approvals: dict[Risk, Annotated[int, Field(ge=1, le=5)]] = {}
    max_change_mtok: Amount | None = None
    sticky: bool = True
    lines: Lines = []


class RecordExport(StepCommand):
    """What a destructive change would destroy is kept: so many records of these entities, in so many bytes."""

    command_name: ClassVar[str] = "changes.record_export"
    export: Digest
    entities: Annotated[list[Word], Field(max_length=1_000)] = []
    records: Annotated[int, Field(ge=0)]
    size_bytes: Annotated[int, Field(ge=0)]


class StartDeploy(StepCommand):
    """Take the lock, hold what the deployment costs, and begin; all three or none.

    Every part of the binding was worked out anew from what is stored; ``rollback_to`` was opened and can be run.
    """

    command_name: ClassVar[str] = "changes.start_deploy"
    base_tree: Digest
    result_tree: Digest
    diff: Digest
    release: Digest
    checks: Digest
    policy: Digest
    rollback_to: Digest
    lines: Lines = []


class DeployStep(StepCommand):
    """A step of a deployment. ``fence`` is the one that it began with, or was taken over with."""

    fence: Version


class StartCanary(DeployStep):
    """Show the new release to so many in a hundred, or to more of them than before; 0 only to who asks for it."""

    command_name: ClassVar[str] = "changes.start_canary"
    percent: Annotated[int, Field(ge=0, le=99)]


class RecordMeasurement(DeployStep):
    """What the guardrails say now."""

    command_name: ClassVar[str] = "changes.record_measurement"
    measurements: Measurements


class HoldCanary(DeployStep):
    """Wait for a person: the guardrails could not tell, and the strategy says to ask."""

    command_name: ClassVar[str] = "changes.hold_canary"
    reason: Reason


class Promote(DeployStep):
    """Let everybody have the new release: the pointer moves, and what was held back of its effects is let go."""

    command_name: ClassVar[str] = "changes.promote"


class Succeed(DeployStep):
    """Nothing went wrong for as long as it was watched: pay, free the environment, done."""

    command_name: ClassVar[str] = "changes.succeed"
    lines: Lines = []


class StartRollback(DeployStep):
    """Go back to what ran before, at once: the pointer moves with this."""

    command_name: ClassVar[str] = "changes.start_rollback"
    reason: Reason
    guardrail: Word | None = None


class FinishRollback(DeployStep):
    """The old release answers: pay for what was done before, free the environment, done."""

    command_name: ClassVar[str] = "changes.finish_rollback"
    lines: Lines = []


class BlockRollback(DeployStep):
    """The old release can't be run: nothing is written in the environment any more until a founder has looked."""

    command_name: ClassVar[str] = "changes.block_rollback"
    reason: Reason


class RecordPullRequest(StepCommand):
    """Know the pull request that carries a change, or with ``reverts`` the one that takes it back, and what it
    became."""

    command_name: ClassVar[str] = "changes.record_pull_request"
    branch: Name
    commit: Commit
    merged: Commit | None = None
    number: Annotated[int, Field(gt=0)]
    reverts: bool = False
    url: Annotated[str, Field(max_length=500)]


class FailStep(StepCommand):
    """A step went wrong. ``infra`` is tried again, at most three times; whatever else fails the change."""

    command_name: ClassVar[str] = "changes.fail_step"
    step: Word
    failure: Literal["infra", "planner", "input", "limit", "storage"]
    reason: Reason
    detail: Digest | None = None
    lines: Lines = []


class ExpireChange(StepCommand):
    """Book that nobody came in time. The commands have refused since."""

    command_name: ClassVar[str] = "changes.expire_change"


class SupersedeChange(StepCommand):
    """There is nothing left to do: another change did it, or writes the same places and was approved."""

    command_name: ClassVar[str] = "changes.supersede_change"
    by: ChangeId | None = None
    reason: Literal["already_applied", "newer_change"]


class RebaseChange(StepCommand):
    """Stand on what runs now: the same operations, replayed on the new tree. It is checked and bound anew."""

    command_name: ClassVar[str] = "changes.rebase_change"
    base_tree: Digest
    base_commit: Commit | None = None
    result_tree: Digest
    result_commit: Commit | None = None
    diff: Digest
    release: Digest
    effects: Effects
    effects_count: Annotated[int, Field(ge=0)]
    effects_digest: Digest
    places: Places = []
    #: What others wrote between the two bases.
    touched_between: Annotated[list[Annotated[str, Field(max_length=701)]], Field(max_length=MAX_LISTED)] = []
    risk: Risk


class ConflictingPlace(Command):
    """A place that both this change and another write: what each makes of it, as JSON, cut where it is long."""

    place: Annotated[str, Field(max_length=701)]
    ours: Annotated[str, Field(max_length=1_000)]
    theirs: Annotated[str, Field(max_length=1_000)]


class RecordConflict(StepCommand):
    """The operations do not fit what runs now; people have to say what they want."""

    command_name: ClassVar[str] = "changes.record_conflict"
    head_tree: Digest
    conflicts: Annotated[list[ConflictingPlace], Field(min_length=1, max_length=50)]


class UnblockChange(StepCommand):
    """Go on where the tokens ran out; if there are too few still, nothing happens."""

    command_name: ClassVar[str] = "changes.unblock_change"


# --- what has happened to a change --------------------------------------------------------------------------


class ChangeRequested(FelixCreated):
    """Somebody asked for a change. ``subject_id`` is what the vault keeps the prompt under, and ``release`` what a
    rollback goes back to."""

    TOPIC: ClassVar[str] = "changes.change_requested"
    account_id: str
    app: str
    base_release: str
    base_tree: str
    channel: str
    environment: Environment
    kind: Kind
    model: str | None
    operations: str | None
    planner: str | None
    prompt_chars: int
    prompt_commitment: str | None
    reason: str | None
    release: str | None
    requester: str
    retry_of: str | None
    rollback_of: str | None
    subject_id: SubjectId


class RepositoryChosen(FelixEvent):
    """It is a repository that will be different, and no app."""

    TOPIC: ClassVar[str] = "changes.repository_chosen"
    repository: str


class TokensQuoted(FelixEvent):
    """What the change will probably cost, and what it may cost at the most."""

    TOPIC: ClassVar[str] = "changes.tokens_quoted"
    ceiling_mtok: int
    high_mtok: int
    lines: list[tuple[str, int, int, str]]
    low_mtok: int
    price_card: str


class CeilingRaised(FelixEvent):
    """The change may cost more."""

    TOPIC: ClassVar[str] = "changes.ceiling_raised"
    ceiling_mtok: int
    raised_by: str


class FundsInsufficient(FelixEvent):
    """A step could not be paid for; nothing of it was done. ``why`` is the code of what the account said.

    Where that is a limit of a day or of another window, ``opens_at`` is when there is room again.
    """

    TOPIC: ClassVar[str] = "changes.funds_insufficient"
    expires_at: Moment
    free_mtok: int
    needed_mtok: int
    opens_at: Moment | None
    resumes_at: State
    step: Step
    why: str

    class_version: ClassVar[int] = 2

    @staticmethod
    def upcast_v1_v2(state: dict[str, Any]) -> None:
        """The first did not say when there is room again."""
        state["opens_at"] = None


class FundsReturned(FelixEvent):
    """There are tokens again, or the change may cost more: it goes on where it was."""

    TOPIC: ClassVar[str] = "changes.funds_returned"


class TokensReserved(FelixEvent):
    """A step's tokens were set aside."""

    TOPIC: ClassVar[str] = "changes.tokens_reserved"
    amount_mtok: int
    hold_id: str
    lines: list[tuple[str, int, int, str]]
    price_card: str
    step: Step


class TokensSettled(FelixEvent):
    """A step was paid for.

    It cost ``cost_mtok`` by its lines; ``settled_mtok`` was paid from the hold, ``released_mtok`` given back, and
    ``absorbed_mtok`` is what it cost beyond its hold, which is the platform's loss. Without a hold
    nothing had been expected.
    """

    TOPIC: ClassVar[str] = "changes.tokens_settled"
    absorbed_mtok: int
    cost_mtok: int
    estimated: bool
    hold_id: str | None
    lines: list[tuple[str, int, int, str]]
    price_card: str
    released_mtok: int
    settled_mtok: int
    step: Step


class ProviderUsageUnmeasured(FelixEvent):
    """A provider failed without saying what it used: the hold was given back, and the loss is the platform's."""

    TOPIC: ClassVar[str] = "changes.provider_usage_unmeasured"
    attempts: int
    hold_id: str
    planner: str


class ContextIngestionStarted(FelixEvent):
    """What the planner will be given is being read."""

    TOPIC: ClassVar[str] = "changes.context_ingestion_started"


class ContextIngested(FelixEvent):
    """What the planner will be given is known."""

    TOPIC: ClassVar[str] = "changes.context_ingested"
    context: str
    excluded: list[str]
    redactions: int
    size_bytes: int
    sources: list[str]


class PlanStarted(FelixEvent):
    """Somebody plans. ``attempt`` counts from 1; ``key`` says whose a model is asked with, where one is."""

    TOPIC: ClassVar[str] = "changes.plan_started"
    attempt: int
    key: ModelKey | None
    model: str | None
    planner: str
    template: str | None
    timeout_s: int

    class_version: ClassVar[int] = 2

    @staticmethod
    def upcast_v1_v2(state: dict[str, Any]) -> None:
        """The first models were asked with the key of the settings."""
        state["key"] = None if state["model"] is None else "setting"


class ClarificationAsked(FelixEvent):
    """The planner does not know enough."""

    TOPIC: ClassVar[str] = "changes.clarification_asked"
    expires_at: Moment
    planner: str
    questions: list[dict[str, Any]]
    transcript: str | None


class ClarificationAnswered(FelixEvent):
    """Somebody answered; ``field`` is the answer's name in the vault."""

    TOPIC: ClassVar[str] = "changes.clarification_answered"
    answer_commitment: str
    answered_by: str
    field: str


class PlanProposed(FelixEvent):
    """Operations were planned. It says which planner and which model spoke, and whether it had been asked before."""

    TOPIC: ClassVar[str] = "changes.plan_proposed"
    cached: bool
    count: int
    model: str | None
    operations: str
    planner: str
    rationale: str
    transcript: str | None


class PlanRevised(FelixEvent):
    """A person put other operations in their place."""

    TOPIC: ClassVar[str] = "changes.plan_revised"
    operations: str
    reason: str | None
    revised_by: str


class DiffComputed(FelixEvent):
    """What is different between the trees before and after."""

    TOPIC: ClassVar[str] = "changes.diff_computed"
    base_commit: str | None
    base_tree: str
    diff: str
    effects: list[dict[str, Any]]
    effects_count: int
    effects_digest: str
    places: list[str]
    release: str
    result_commit: str | None
    result_tree: str
    risk: Risk


class ChecksStarted(FelixEvent):
    """The result is being checked."""

    TOPIC: ClassVar[str] = "changes.checks_started"


class ChecksPassed(FelixEvent):
    """Nothing stands in the way; ``findings`` are worth knowing."""

    TOPIC: ClassVar[str] = "changes.checks_passed"
    checks: str
    expires_at: Moment
    findings: list[dict[str, Any]]
    sandbox: str


class ChecksFailed(FelixEvent):
    """The result is not good enough; the plan can be revised."""

    TOPIC: ClassVar[str] = "changes.checks_failed"
    checks: str
    expires_at: Moment
    findings: list[dict[str, Any]]
    sandbox: str


class PolicyViolated(FelixEvent):
    """The result breaks rules that a founder may override."""

    TOPIC: ClassVar[str] = "changes.policy_violated"
    checks: str
    expires_at: Moment
    findings: list[dict[str, Any]]
    sandbox: str


class PolicyOverridden(FelixEvent):
    """Founders let it pass all the same."""

    TOPIC: ClassVar[str] = "changes.policy_overridden"
    expires_at: Moment
    override_id: str
    reason: str


class PullRequestRecorded(FelixEvent):
    """A pull request carries the change, or with ``reverts`` takes it back; ``merged`` is the commit that it became."""

    TOPIC: ClassVar[str] = "changes.pull_request_recorded"
    branch: str
    commit: str
    merged: str | None
    number: int
    repository: str
    reverts: bool
    url: str


class ApprovalRequested(FelixEvent):
    """People are asked to agree to exactly this: ``binding`` is a digest over all of it.

    ``quorum`` different people have to, in ``roles`` different roles; ``deploy_mtok`` is what the deployment will hold.
    """

    TOPIC: ClassVar[str] = "changes.approval_requested"
    binding: str
    ceiling_mtok: int
    deploy_mtok: int
    eligible_roles: list[str]
    expires_at: Moment
    policy: str
    quorum: int
    roles: int
    self_allowed: bool


class ApprovalGranted(FelixEvent):
    """Somebody agreed to what was shown."""

    TOPIC: ClassVar[str] = "changes.approval_granted"
    approver: str
    binding: str
    comment: str | None


class ApprovalCarried(FelixEvent):
    """An approval holds for what became of the change on another base, which is proved to be the same.

    ``proof`` names what is equal in both: the digests of operations and effects, and that the risk is not higher.
    """

    TOPIC: ClassVar[str] = "changes.approval_carried"
    approver: str
    from_binding: str
    proof: dict[str, str]
    to_binding: str


class ApprovalWithdrawn(FelixEvent):
    """Somebody took an approval back."""

    TOPIC: ClassVar[str] = "changes.approval_withdrawn"
    approver: str
    reason: str | None


class ChangeApproved(FelixEvent):
    """Enough people agree; the deployment may begin until ``expires_at``."""

    TOPIC: ClassVar[str] = "changes.change_approved"
    binding: str
    expires_at: Moment


class DeployQueued(FelixEvent):
    """The change waits for its turn in the environment."""

    TOPIC: ClassVar[str] = "changes.deploy_queued"
    priority: Literal["rollback", "founder", "normal"]
    queued_by: str
    strategy: dict[str, Any]


class LossesExported(FelixEvent):
    """What the change will destroy is kept in object storage, as it was when its turn came."""

    TOPIC: ClassVar[str] = "changes.losses_exported"
    entities: list[str]
    export: str
    records: int
    size_bytes: int


class DeployStarted(FelixEvent):
    """The deployment began: the environment is locked, and what ran before is known to run."""

    TOPIC: ClassVar[str] = "changes.deploy_started"
    deployment_id: str
    fence: int
    previous_release: str
    release: str


class CanaryStarted(FelixEvent):
    """So many in a hundred have the new release. Comes again with every step."""

    TOPIC: ClassVar[str] = "changes.canary_started"
    step: int
    weight: int


class GuardrailsMeasured(FelixEvent):
    """What the guardrails said."""

    TOPIC: ClassVar[str] = "changes.guardrails_measured"
    measurements: list[dict[str, Any]]


class CanaryPaused(FelixEvent):
    """The canary stays as it is. ``asked`` is whether it waits for a person because the guardrails could not tell."""

    TOPIC: ClassVar[str] = "changes.canary_paused"
    asked: bool
    paused_by: str
    reason: str | None


class CanaryResumed(FelixEvent):
    """The canary goes on."""

    TOPIC: ClassVar[str] = "changes.canary_resumed"
    accept_inconclusive: bool
    reason: str | None
    resumed_by: str


class DeployPromoted(FelixEvent):
    """Everybody has the new release; it is watched until ``bakes_until``."""

    TOPIC: ClassVar[str] = "changes.deploy_promoted"
    bakes_until: Moment
    release: str


class EffectsReleased(FelixEvent):
    """What the new release wanted to send while it was new goes out: so many mails, reports and web hooks."""

    TOPIC: ClassVar[str] = "changes.effects_released"
    count: int
    deployment_id: str


class DeploySucceeded(FelixEvent):
    """The change is live and nothing went wrong."""

    TOPIC: ClassVar[str] = "changes.deploy_succeeded"
    release: str


class RollbackStarted(FelixEvent):
    """What ran before runs again; ``release`` is what is gone."""

    TOPIC: ClassVar[str] = "changes.rollback_started"
    guardrail: str | None
    reason: str
    release: str
    started_by: str
    to: str


class EffectsDropped(FelixEvent):
    """What the release that is gone wanted to send is never sent: so many mails, reports and web hooks."""

    TOPIC: ClassVar[str] = "changes.effects_dropped"
    count: int
    deployment_id: str


class DeployRolledBack(FelixEvent):
    """The rollback is over."""

    TOPIC: ClassVar[str] = "changes.deploy_rolled_back"
    release: str
    to: str


class RollbackBlocked(FelixEvent):
    """What ran before can't be run. A founder has to look."""

    TOPIC: ClassVar[str] = "changes.rollback_blocked"
    reason: str


class StepFailed(FelixEvent):
    """A step went wrong; ``retried`` is whether it is tried again."""

    TOPIC: ClassVar[str] = "changes.step_failed"
    detail: str | None
    failure: str
    reason: str
    retried: bool
    step: str


class ChangeFailed(FelixEvent):
    """The change is over without having come to anything."""

    TOPIC: ClassVar[str] = "changes.change_failed"
    reason: str
    step: str


class CancellationAsked(FelixEvent):
    """The change is cancelled as soon as the request that is under way is paid for."""

    TOPIC: ClassVar[str] = "changes.cancellation_asked"
    cancelled_by: str
    reason: str | None


class ChangeCancelled(FelixEvent):
    """Somebody thought better of it."""

    TOPIC: ClassVar[str] = "changes.change_cancelled"
    cancelled_by: str
    reason: str | None


class ChangeRejected(FelixEvent):
    """Somebody who decides said no."""

    TOPIC: ClassVar[str] = "changes.change_rejected"
    reason: str
    rejecter: str


class ChangeExpired(FelixEvent):
    """Nobody came in time; ``what`` is the state that ran out."""

    TOPIC: ClassVar[str] = "changes.change_expired"
    what: State


class ChangeSuperseded(FelixEvent):
    """There is nothing left to do."""

    TOPIC: ClassVar[str] = "changes.change_superseded"
    by: str | None
    reason: str


class StaleBaseDetected(FelixEvent):
    """Something else went live since the change was worked out."""

    TOPIC: ClassVar[str] = "changes.stale_base_detected"
    base_tree: str
    head_tree: str
    touched_between: list[str]


class ChangeRebased(FelixEvent):
    """The same operations stand on what runs now."""

    TOPIC: ClassVar[str] = "changes.change_rebased"
    base_commit: str | None
    base_release: str
    base_tree: str
    diff: str
    effects: list[dict[str, Any]]
    effects_count: int
    effects_digest: str
    places: list[str]
    release: str
    result_commit: str | None
    result_tree: str
    risk: Risk


class ConflictFound(FelixEvent):
    """The operations do not fit what runs now, which is what the change stands on from here."""

    TOPIC: ClassVar[str] = "changes.conflict_found"
    base_release: str
    base_tree: str
    conflicts: list[dict[str, Any]]
    expires_at: Moment


# --- what has happened to an environment --------------------------------------------------------------------


class EnvironmentCreated(FelixCreated):
    """An app runs here from now on, with its first release."""

    TOPIC: ClassVar[str] = "apps.environment_created"
    app: str
    commit: str | None
    environment: Environment
    release: str
    title: str
    tree: str


class RepositoryConnected(FelixEvent):
    """It is a repository that is changed here, and no app: a branch of it, or else its default branch."""

    TOPIC: ClassVar[str] = "apps.repository_connected"
    branch: str | None
    repository: str
    source: str


class RepositoryMoved(FelixEvent):
    """The branch is at another commit than was known: somebody pushed to it, or what was merged has become one."""

    TOPIC: ClassVar[str] = "apps.repository_moved"
    commit: str
    tree: str


class QueueJoined(FelixEvent):
    """A change waits for its turn."""

    TOPIC: ClassVar[str] = "apps.queue_joined"
    change_id: str
    priority: Literal["rollback", "founder", "normal"]


class QueueLeft(FelixEvent):
    """A change waits no more."""

    TOPIC: ClassVar[str] = "apps.queue_left"
    change_id: str


class EnvironmentLocked(FelixEvent):
    """A deployment began: nothing else is deployed here until it is over."""

    TOPIC: ClassVar[str] = "apps.environment_locked"
    candidate: str
    change_id: str
    commit: str | None
    deployment_id: str
    fence: int
    rollback_to: str
    tree: str


class TrafficShifted(FelixEvent):
    """So many in a hundred have the candidate; ``salt`` decides, with their names, who."""

    TOPIC: ClassVar[str] = "apps.traffic_shifted"
    salt: str
    weight: int


class ReleasePromoted(FelixEvent):
    """The candidate is what runs."""

    TOPIC: ClassVar[str] = "apps.release_promoted"
    change_id: str
    commit: str | None
    deployment_id: str
    previous: str
    release: str
    tree: str


class ReleaseRestored(FelixEvent):
    """An earlier release runs again, and ``quarantined`` is not deployed here any more."""

    TOPIC: ClassVar[str] = "apps.release_restored"
    change_id: str
    commit: str | None
    deployment_id: str
    quarantined: str | None
    release: str
    tree: str


class EnvironmentUnlocked(FelixEvent):
    """The deployment is over."""

    TOPIC: ClassVar[str] = "apps.environment_unlocked"
    change_id: str
    deployment_id: str


class DeployTakenOver(FelixEvent):
    """Whoever works at the deployment does so no more."""

    TOPIC: ClassVar[str] = "apps.deploy_taken_over"
    fence: int
    taken_by: str


class EnvironmentClosed(FelixEvent):
    """Nothing is written here until a founder has looked."""

    TOPIC: ClassVar[str] = "apps.environment_closed"
    reason: str


class EnvironmentReopened(FelixEvent):
    """Records can be written again."""

    TOPIC: ClassVar[str] = "apps.environment_reopened"


class QuarantineLifted(FelixEvent):
    """A release that was rolled back may be deployed again."""

    TOPIC: ClassVar[str] = "apps.quarantine_lifted"
    release: str


class OverrideProposed(FelixEvent):
    """A founder wants something that the rules do not allow; another has to confirm it."""

    TOPIC: ClassVar[str] = "apps.override_proposed"
    change_id: str | None
    expires_at: Moment
    override_id: str
    proposer: str
    reason: str
    release: str | None
    what: str


class OverrideExercised(FelixEvent):
    """What the rules do not allow was done. Nobody but the proposer agreed where ``approver`` is missing."""

    TOPIC: ClassVar[str] = "apps.override_exercised"
    approver: str | None
    break_glass: bool
    change_id: str | None
    override_id: str
    proposer: str
    reason: str
    release: str | None
    what: str


class ReviewClosed(FelixEvent):
    """Another founder looked at an override that nobody had confirmed."""

    TOPIC: ClassVar[str] = "apps.review_closed"
    finding: str
    override_id: str
    reviewer: str
