"""Changes, environments and an account in memory: real handlers, a clock that stands, a journal that is checked.

Every accepted command is compared with a replica that only ever sees the events as JSON, so each test here also tests
that replay = state. After each command the rules that always hold are looked at (:func:`broken_rules`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, TypeVar
from uuid import UUID

import felix.application.handlers  # noqa: F401
from felix.application.unit_of_work import handler_of
from felix.domain.base import Command, CommandContext, FelixAggregate, FelixEvent, stream_name
from felix.domain.changes import messages as m
from felix.domain.changes.approvals import person_of
from felix.domain.changes.change import Change
from felix.domain.changes.code_tree import slug_of
from felix.domain.changes.environment import AppEnvironment
from felix.domain.context.document import ConnectSource, RepositorySource
from felix.domain.errors import Corrupt, FelixError, NotFound
from felix.domain.ledger.messages import GrantTokens, OpenTokenAccount
from felix.domain.ledger.token_account import TokenAccount
from felix.eventstore.mapper import RecordedEvent, decode_state, domain_event, encode_state, stored_name
from felix.eventstore.side_statements import SideStatement

A = TypeVar("A", bound=FelixAggregate)
TENANT = UUID(int=0x7E)
START = datetime(2026, 3, 1, 12, tzinfo=UTC)
ADA, BOB = "founder:usr_ada", "founder:usr_bob"
OWNER, APPROVER, OTHER, MEMBER = (
    "client_owner:usr_olga", "client_approver:usr_anton", "client_approver:usr_berta", "client_member:usr_mia",
)  # fmt: skip
SERVICE, WORKER = "service:key_machine", "system:job/1"


def digest(text: str) -> str:
    """Something's digest."""
    return sha256(text.encode()).hexdigest()


@dataclass
class Unit:
    """The unit of work of one command, in memory."""

    book: Book
    context: CommandContext
    partition: int = 0
    touched: dict[str, FelixAggregate] = field(default_factory=dict)
    writes: list[SideStatement] = field(default_factory=list)

    def find(self, cls: type[A], local_id: str) -> A | None:
        stream = stream_name(TENANT, cls.kind, local_id)
        found = self.touched.get(stream) or self.book.live.get(stream)
        if found is None:
            return None
        assert isinstance(found, cls)
        self.touched[stream] = found
        return found.deciding(self.context)

    def get(self, cls: type[A], local_id: str) -> A:
        if (found := self.find(cls, local_id)) is None:
            raise NotFound(f"There is no {cls.kind} {local_id}.")
        return found

    def add(self, aggregate: FelixAggregate) -> None:
        self.touched[aggregate.id] = aggregate

    def beside(self, write: SideStatement) -> None:
        self.writes.append(write)

    def ask_beside(self, question: SideStatement) -> list[tuple[Any, ...]]:
        return [(self.book.held_effects if "felix.effects" in question.text else 0,)]


@dataclass
class Book:
    """Everything of one client. ``events`` is the journal, by stream."""

    now: datetime = START
    live: dict[str, FelixAggregate] = field(default_factory=dict)
    replicas: dict[str, FelixAggregate] = field(default_factory=dict)
    events: dict[str, list[FelixEvent]] = field(default_factory=dict)
    last: list[FelixEvent] = field(default_factory=list)
    pointers: dict[tuple[str, str], tuple[Any, ...]] = field(default_factory=dict)
    commands: int = 0
    #: How many effects of whatever is new are held back.
    held_effects: int = 0

    def context(self, actor: str) -> CommandContext:
        self.commands += 1
        return CommandContext(TENANT, f"key-{self.commands}", UUID(int=self.commands << 16), actor, self.now)

    def do(self, command: Command, actor: str = WORKER) -> dict[str, Any]:
        """Perform a command. What is refused leaves no trace."""
        unit = Unit(self, self.context(actor))
        try:
            told = handler_of(type(command))(command, unit)
        except FelixError:
            for stream, aggregate in unit.touched.items():
                if stream in self.replicas:
                    # A lane keeps what has no new events: a refusal must not have changed it.
                    same = aggregate.pending_events or aggregate.snapshot() == self.replicas[stream].snapshot()
                    assert same, f"a refusal has changed {stream}"
                    self.live[stream] = thawed(self.replicas[stream])
            self.last = []
            raise
        self.last = []
        for stream, aggregate in unit.touched.items():
            happened = list(aggregate.pending_events)
            aggregate.pending_events.clear()
            self.last += happened
            self.live[stream] = aggregate
            self.events.setdefault(stream, []).extend(happened)
            for event in happened:
                self.replicas[stream] = _through_json(event).mutate(self.replicas.get(stream))
            assert self.replicas[stream].snapshot() == aggregate.snapshot(), f"replay is not the state of {stream}"
        for write in unit.writes:
            if "felix.app_pointers" in write.text:
                _, _, app, environment, *row = write.parameters
                assert row[-1] > self.pointers.get((app, environment), (0,))[-1], "the pointer went back"
                self.pointers[app, environment] = tuple(row)
        if broken := broken_rules(self):
            raise AssertionError(broken)
        return told

    def names(self) -> list[str]:
        """The last events, by their stored names without the room."""
        return [event.TOPIC.partition(".")[2] for event in self.last]

    def one(self, cls: type[A], local_id: str) -> A:
        """An aggregate as it is."""
        found = self.live[stream_name(TENANT, cls.kind, local_id)]
        assert isinstance(found, cls)
        return found

    def recorded(self) -> list[RecordedEvent]:
        """The journal as the log holds it, stream by stream."""
        events = [event for happened in self.events.values() for event in happened]
        return [
            RecordedEvent(
                0, number, TENANT, number, event.originator_id, event.originator_version, stored_name(type(event)),
                event.event_id, event.timestamp, f"key-{number}", ADA, {}, encode_state(event),
            )
            for number, event in enumerate(events, 1)
        ]  # fmt: skip

    def wait(self, **how: float) -> None:
        """Let time go by."""
        self.now += timedelta(**how)


def thawed(aggregate: A) -> A:
    """A copy that shares nothing, by way of a snapshot's JSON."""
    import orjson

    restored = type(aggregate).restore(
        stream=aggregate.id,
        version=aggregate.version,
        created_on=aggregate.created_on,
        modified_on=aggregate.modified_on,
        state=orjson.loads(orjson.dumps(aggregate.snapshot())),
    )
    return restored


def _through_json(event: FelixEvent) -> Any:
    """The event as the log gives it back."""
    name = stored_name(type(event))
    state = decode_state(name, encode_state(event))
    return domain_event(
        name,
        state,
        event.originator_id,
        event.originator_version,
        recorded_at=event.timestamp,
        event_id=event.event_id,
    )


class Shop:
    """A client with an account, an app in both environments, and shorthands for every step of a change."""

    def __init__(self, tokens_mtok: int = 10_000_000) -> None:
        self.book = Book()
        opened = self.book.do(OpenTokenAccount(name="Main"), ADA)
        self.account_id = opened["account_id"]
        if tokens_mtok:
            self.grant(tokens_mtok)
        self.book.do(m.CreateApp(app="shop", title="Shop", release=digest("r0"), tree=digest("t0")), ADA)

    def grant(self, tokens_mtok: int) -> None:
        self.book.do(GrantTokens(account_id=self.account_id, amount_mtok=tokens_mtok), ADA)

    @property
    def account(self) -> TokenAccount:
        return self.book.one(TokenAccount, self.account_id)

    def environment(self, name: str = "production") -> AppEnvironment:
        return self.book.one(AppEnvironment, f"shop.{name}")

    def change(self, change_id: str) -> Change:
        return self.book.one(Change, change_id)

    def request(self, by: str = MEMBER, **fields: Any) -> Walk:
        """Ask for a change."""
        given = {"app": "shop", "account_id": self.account_id, "prompt_index": digest("p"), "prompt_chars": 7}
        command = m.RequestChange(**{**given, "prompt_commitment": digest("c"), **fields})
        told = self.book.do(command, by)
        return Walk(self, told["change_id"], digest(told["change_id"]))

    def of_repository(self, commit: str = "a" * 40) -> Walk:
        """Ask for a change of a repository that the client has connected; it is checked already."""
        source = RepositorySource(kind="repository", repository="acme/site")
        connect = ConnectSource(title="Site", account_id=self.account_id, source=source)
        told, app = self.book.do(connect, OWNER), slug_of("acme/site")
        walk = self.request(app=app, source=told["document_id"])
        follow = m.FollowRepository(app=app, environment="production", commit=commit, seen=None, tree=digest(commit))
        walk.do(follow)
        return walk.ingest().plan().diff("high").check()


@dataclass
class Walk:
    """One change on its way. ``mark`` tells its digests from those of others."""

    shop: Shop
    id: str
    mark: str
    risk: Any = "low"

    @property
    def change(self) -> Change:
        return self.shop.change(self.id)

    @property
    def environment(self) -> AppEnvironment:
        return self.shop.book.one(AppEnvironment, self.change.where)

    @property
    def step(self) -> dict[str, Any]:
        return {"change_id": self.id, "expected_version": self.change.version}

    @property
    def deploy_step(self) -> dict[str, Any]:
        return {**self.step, "fence": max(1, self.environment.fence)}

    def d(self, what: str) -> str:
        return digest(self.mark + what)

    def do(self, command: Command, by: str = WORKER) -> dict[str, Any]:
        return self.shop.book.do(command, by)

    def ingest(self, **fields: Any) -> Walk:
        self.do(m.StartIngestion(**self.step, lines=[line("changes.context_kb", 200)], **fields))
        if self.change.state == "ingesting":
            self.do(m.RecordIngested(**self.step, context=self.d("context"), lines=[line("changes.context_kb", 100)]))
        return self

    def start_planning(self) -> Walk:
        self.do(m.StartPlanning(**self.step, planner="grammar", lines=[line("changes.plan", 2)]))
        return self

    def plan(self) -> Walk:
        self.start_planning()
        lines = [line("changes.plan", 1)]
        self.do(m.RecordPlan(**self.step, operations=self.d("operations"), count=1, planner="grammar", lines=lines))
        return self

    def difference(self, **parts: Any) -> dict[str, Any]:
        told = {
            "base_tree": self.environment.tree,
            "result_tree": self.d("result"),
            "diff": self.d("diff"),
            "release": self.d("release"),
            "effects": [],
            "effects_count": 0,
            "effects_digest": self.d("effects"),
            "risk": self.risk,
        }
        return {**told, **parts}

    def diff(self, risk: Any = "low") -> Walk:
        self.risk = risk
        self.do(m.RecordDiff(**self.step, **self.difference(), lines=[line("changes.diff", 1)]))
        return self

    def start_checks(self) -> Walk:
        self.do(m.StartChecks(**self.step, lines=[line("changes.check_cpu_ms", 20_000)]))
        return self

    def check(self, level: str | None = None, mark: str = "") -> Walk:
        self.start_checks()
        findings = [] if level is None else [m.Finding(check="examples", level=level, detail="no")]  # type: ignore[arg-type]
        lines = [line("changes.check_cpu_ms", 10_000)]
        self.do(m.RecordChecks(**self.step, checks=self.d("checks" + mark), findings=findings, lines=lines))
        return self

    def ask_people(self, **fields: Any) -> Walk:
        lines = [line("changes.deploy", 1), line("changes.canary_sample", 100)]
        self.do(m.RequestApproval(**{**self.step, "policy": self.d("policy"), "lines": lines, **fields}))
        return self

    def pull(self, **told: Any) -> Walk:
        """Its pull request is there; before anybody is asked, or once it is merged."""
        given = {"branch": "felix/change", "commit": "c" * 40, "number": 1, "url": "https://github.example/1"}
        self.do(m.RecordPullRequest(**{**self.step, **given, **told}))
        return self if told else self.ask_people()

    def approve_all(self) -> Walk:
        """Two people agree."""
        for by in (APPROVER, OWNER):
            self.approve(by)
        return self

    def to_approval(self, risk: Any = "low") -> Walk:
        return self.ingest().plan().diff(risk).check().ask_people()

    def approve(self, by: str = APPROVER, **fields: Any) -> dict[str, Any]:
        binding = self.change.binding
        told = {**self.step, "binding": binding.digest if binding else digest("none"), **fields}
        return self.do(m.ApproveChange(**told), by)

    def queue(self, by: str = APPROVER, **strategy: Any) -> Walk:
        self.do(m.DeployChange(**self.step, strategy=m.Strategy(**strategy)), by)
        return self

    def to_queue(self, risk: Any = "low", **strategy: Any) -> Walk:
        self.to_approval(risk).approve()
        return self.queue(**strategy)

    def export(self) -> Walk:
        self.do(m.RecordExport(**self.step, export=self.d("export"), entities=["deal"], records=2, size_bytes=200))
        return self

    def start_command(self, **parts: Any) -> m.StartDeploy:
        lines = [line("changes.deploy", 1), line("changes.canary_sample", 100)]
        found = {
            "base_tree": self.change.base_tree,
            "result_tree": self.d("result"),
            "diff": self.d("diff"),
            "release": self.d("release"),
            "checks": self.d("checks"),
            "policy": self.d("policy"),
            "rollback_to": self.environment.stable,
            "lines": lines,
        }
        return m.StartDeploy(**{**self.step, **found, **parts})

    def start(self, **parts: Any) -> Walk:
        self.do(self.start_command(**parts))
        return self

    def canary(self, percent: int) -> Walk:
        self.do(m.StartCanary(**self.deploy_step, percent=percent))
        return self

    def measure(self, verdict: Any = "pass", **how: Any) -> Walk:
        each = m.Measurement(guardrail="error_rate", verdict=verdict, **how)
        self.do(m.RecordMeasurement(**self.deploy_step, measurements=[each]))
        return self

    def promote(self) -> Walk:
        self.do(m.Promote(**self.deploy_step))
        return self

    def succeed(self, samples: int = 10) -> Walk:
        lines = [line("changes.deploy", 1), line("changes.canary_sample", samples)]
        self.do(m.Succeed(**self.deploy_step, lines=lines))
        return self

    def go_live(self, risk: Any = "low", **strategy: Any) -> Walk:
        return self.to_queue(risk, **strategy).start().promote().succeed()

    def roll_back(self, reason: str = "it is slow") -> Walk:
        self.do(m.StartRollback(**self.deploy_step, reason=reason))
        return self

    def finish_rollback(self) -> Walk:
        self.do(m.FinishRollback(**self.deploy_step, lines=[line("changes.deploy", 1)]))
        return self


def everything() -> Shop:
    """A shop in which everything has happened that can happen to a change and to an environment."""
    shop = Shop()
    production: dict[str, Any] = {"app": "shop", "environment": "production"}
    question, place = m.Question(question="Which?"), m.ConflictingPlace(place="app.json#", ours="1", theirs="2")
    glass: dict[str, Any] = {**production, "reason": "an example", "break_glass": True}

    walk = shop.request(ceiling_mtok=100).ingest()
    walk.do(m.RaiseCeiling(**walk.step, ceiling_mtok=10**7), MEMBER)
    walk.do(m.UnblockChange(**walk.step))
    walk.ingest().start_planning()
    walk.do(m.AskClarification(**walk.step, planner="grammar", questions=[question]))
    walk.do(m.AnswerClarification(**walk.step, answer_index=digest("a"), answer_commitment=digest("b")), OWNER)
    walk.plan().diff("high").check("needs_override")
    told = walk.do(m.OverridePolicy(**walk.step, reason="an example"), ADA)
    walk.do(m.ConfirmOverride(**production, override_id=told["override_id"]), BOB)
    walk.ask_people().approve(APPROVER)
    walk.do(m.WithdrawApproval(change_id=walk.id), APPROVER)
    for by in (APPROVER, OTHER):
        walk.approve(by)
    other = shop.request().go_live()
    rebased = walk.difference(diff=digest("anew"))
    walk.do(m.RebaseChange(**walk.step, **rebased))
    walk.check(mark="anew").ask_people()
    walk.do(m.RecordConflict(**walk.step, head_tree=walk.environment.tree, conflicts=[place]))
    walk.do(m.RevisePlan(**walk.step, operations=digest("mine")), MEMBER)
    walk.diff().check("hard")
    walk.do(m.SupersedeChange(**walk.step, by=other.id, reason="newer_change"))

    canary = shop.request().to_approval("destructive")
    for by in (APPROVER, OWNER):
        canary.approve(by)
    canary.queue(kind="canary", steps=[5]).export().start()
    canary.canary(5).measure()
    canary.do(m.PauseDeploy(change_id=canary.id), OWNER)
    canary.do(m.ResumeDeploy(change_id=canary.id), OWNER)
    shop.book.held_effects = 2
    canary.promote().roll_back()
    shop.book.held_effects = 0
    canary.do(m.BlockRollback(**canary.deploy_step, reason="an example"))
    unlocked = canary.do(m.ForceUnlock(**glass), ADA)
    canary.do(m.CloseReview(**production, override_id=unlocked["override_id"], finding="an example"), BOB)
    canary.do(m.LiftQuarantine(**glass, release=canary.d("release")), ADA)

    model = shop.request().ingest().start_planning()
    held = model.do(m.HoldForRequest(**model.step, lines=[line("changes.plan", 1)]))
    model.do(m.CancelChange(change_id=model.id), MEMBER)
    model.do(m.SettleRequest(**model.step, hold_id=held["hold_id"], unmeasured=1))
    shop.request().to_queue().start().roll_back().finish_rollback()
    shop.of_repository().pull().approve_all().queue(OWNER).start().pull(merged="b" * 40)
    rejected, failed, late = shop.request().to_approval(), shop.request(), shop.request().to_approval()
    rejected.do(m.RejectChange(**rejected.step, reason="an example"), OTHER)
    failed.do(m.FailStep(**failed.step, step="plan", failure="input", reason="an example"))
    shop.book.wait(days=8)
    late.do(m.ExpireChange(**late.step))
    return shop


def line(meter: str, quantity: int, model: str | None = None) -> m.Line:
    """So much of a meter."""
    return m.Line(meter=meter, quantity=quantity, model=model)


def broken_rules(book: Book) -> list[str]:
    """What must always be so of changes, environments and what they hold, and is not."""
    broken = []
    changes = [one for one in book.live.values() if isinstance(one, Change)]
    environments = [one for one in book.live.values() if isinstance(one, AppEnvironment)]
    accounts = [one for one in book.live.values() if isinstance(one, TokenAccount)]
    by_id = {change.local_id: change for change in changes}

    def must(so: bool, what: str) -> None:
        if not so:
            broken.append(what)

    for change in changes:
        name = f"{change.local_id[-6:]} ({change.state})"
        events = book.events.get(change.id, [])
        reserved = [event for event in events if isinstance(event, m.TokensReserved)]
        settled = [event for event in events if isinstance(event, m.TokensSettled)]
        ended = [event.hold_id for event in settled if event.hold_id is not None]
        must(len(ended) == len(set(ended)), f"{name}: a hold was settled twice")
        amounts = {event.hold_id: event.amount_mtok for event in reserved}
        for event in settled:
            if event.hold_id is not None:
                whole = event.settled_mtok + event.released_mtok
                must(amounts.get(event.hold_id) == whole, f"{name}: hold is not settled + released")
            must(event.settled_mtok + event.absorbed_mtok == event.cost_mtok, f"{name}: cost is not paid + absorbed")
        must(set(change.holds) == set(amounts) - set(ended), f"{name}: open holds are not those that were made")
        must(change.spent_mtok == sum(event.settled_mtok for event in settled), f"{name}: spent is not what was paid")
        must(change.spent_mtok + change.held_mtok <= change.ceiling_mtok, f"{name}: costs more than its ceiling")
        must(not change.is_over or not change.holds, f"{name}: over, and still holds tokens")
        must(not change.is_over or change.expires_at is None, f"{name}: over, and still runs out")
        people = [person_of(approver) for approver in change.approvals]
        must(len(people) == len(set(people)), f"{name}: somebody counts twice")
        if not change.self_allowed:
            must(not set(people) & set(change.authors), f"{name}: an author decides")
        must((change.state == "blocked_funds") == (change.resumes_at is not None), f"{name}: resumes from nowhere")
        live = change.state in m.LIVE or change.state in ("rolling_back", "attention")
        locks = [one for one in environments if one.lock is not None and one.lock["change_id"] == change.local_id]
        must(len(locks) == int(live), f"{name}: {len(locks)} locks")
        waits = [one for one in environments if one.place(change.local_id) is not None]
        must(len(waits) == int(change.state == "queued"), f"{name}: waits {len(waits)} times")
        terminal = [number for number, event in enumerate(events) if _ends(event)]
        must(len(terminal) == int(change.is_over), f"{name}: ended {len(terminal)} times")
        must(not terminal or terminal[0] == len(events) - 1, f"{name}: something happened after its end")
    for environment in environments:
        name = environment.local_id
        must(environment.lock is None or environment.lock["change_id"] in by_id, f"{name}: locked by nobody")
        must(environment.lock is not None or environment.weight is None, f"{name}: a candidate without a deployment")
        must(environment.stable not in environment.quarantined, f"{name}: runs what is quarantined")
        must(1 <= len(environment.history) <= 10, f"{name}: keeps {len(environment.history)} releases")
        kept = [entry["release"] for entry in environment.history]
        must(len(kept) == len(set(kept)), f"{name}: keeps a release twice")
        pointer = book.pointers.get((environment.app, environment.environment))
        if pointer is not None:
            here = (environment.stable, environment.candidate, environment.weight, environment.salt)
            must(pointer[:4] == here, f"{name}: the pointer points elsewhere")
            must(pointer[4] == environment.deployment_id, f"{name}: the pointer knows another deployment")
            must(pointer[5] == environment.read_only, f"{name}: the pointer knows of no closure")
    for account in accounts:
        try:
            account.assert_invariants()
        except Corrupt as wrong:
            broken.append(str(wrong))
        held = {hold_id for change in changes for hold_id in change.holds}
        strange = set(account.holds) - held
        must(not strange, f"{len(strange)} holds belong to no change")
    return broken


def _ends(event: FelixEvent) -> bool:
    return isinstance(
        event,
        m.DeploySucceeded | m.DeployRolledBack | m.ChangeRejected | m.ChangeExpired | m.ChangeSuperseded
        | m.ChangeCancelled | m.ChangeFailed,
    )  # fmt: skip
