"""No sequence of commands, refusals and waiting leaves a lock, a hold or a half done deployment behind.

The rules are in :func:`change_book.broken_rules` and looked at after every command; here each is also broken on
purpose, so that none of them can be silent.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
from change_book import (
    ADA,
    APPROVER,
    BOB,
    MEMBER,
    OTHER,
    OWNER,
    WORKER,
    Book,
    Shop,
    Walk,
    broken_rules,
    digest,
    everything,
    line,
)
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from felix.domain.base import FelixEvent
from felix.domain.changes import change_rules, token_flow
from felix.domain.changes import messages as m
from felix.domain.changes.change import Change
from felix.domain.changes.environment import AppEnvironment
from felix.domain.changes.errors import ChangeIsOver
from felix.domain.errors import Corrupt, FelixError
from felix.domain.ledger.messages import VoidLot

PEOPLE = [ADA, BOB, OWNER, APPROVER, OTHER, MEMBER]
picks = st.integers(0, 2)
people = st.sampled_from(PEOPLE)
RISKS = ["low", "low", "medium", "high", "destructive"]
OUTCOMES = ["well", "well", "well", "asks", "hard", "needs_override"]
STRATEGIES: list[dict[str, Any]] = [{}, {"kind": "canary", "steps": [5, 50]}, {"kind": "preview"}, {"bake_s": 60}]


class Changes(RuleBasedStateMachine):
    """Three changes of one app, few tokens, many people: everything meets everything."""

    def __init__(self) -> None:
        super().__init__()
        self.shop = Shop(tokens_mtok=60_000)
        self.walks: list[Walk] = []

    @initialize(starts=st.lists(st.tuples(st.sampled_from(m.ENVIRONMENTS), st.integers(0, 14)), min_size=3, max_size=3))
    def begin(self, starts: list[tuple[str, int]]) -> None:
        for environment, steps in starts:
            self.walks.append(self.shop.request(environment=environment))
            self.go(self.walks[-1], steps)

    def attempt(self, action: Callable[[], Any]) -> bool:
        """Whether it was accepted. Refusals are answers; that facts contradict each other is none."""
        try:
            action()
        except Corrupt:
            raise
        except FelixError:
            return False
        return True

    @rule(which=picks, risk=st.sampled_from(RISKS), times=st.integers(1, 12), outcome=st.sampled_from(OUTCOMES))
    def go_on(self, which: int, risk: str, times: int, outcome: str) -> None:
        """Take the next steps, as a worker and patient people would; after the last one begin anew."""
        walk = self.walks[which]
        if walk.change.is_over:
            self.walks[which] = self.shop.request(environment=walk.change.environment, retry_of=walk.id)
        else:
            self.go(walk, times, risk, outcome)

    def go(self, walk: Walk, times: int, risk: str = "low", outcome: str = "well") -> None:
        for _ in range(times):
            if not self.attempt(lambda: self.next_step(walk, risk, outcome)):
                return

    def next_step(self, walk: Walk, risk: str, outcome: str) -> None:
        change = walk.change
        level = outcome if outcome in ("hard", "needs_override") else None
        asks = m.AskClarification(**walk.step, planner="grammar", questions=[m.Question(question="Which?")])
        answer = m.AnswerClarification(**walk.step, answer_index=digest("a"), answer_commitment=digest("b"))
        steps: dict[str, Callable[[], object]] = {
            "requested": walk.ingest,
            "ingested": walk.start_planning if outcome == "asks" else walk.plan,
            "planning": lambda: walk.do(asks),
            "needs_input": lambda: walk.do(answer, MEMBER),
            "planned": lambda: walk.diff(risk),
            "diffed": lambda: walk.check(level),
            "policy_violated": lambda: walk.do(m.OverridePolicy(**walk.step, reason="known", break_glass=True), ADA),
            "checked": walk.ask_people,
            "awaiting_approval": lambda: [walk.approve(by) for by in (APPROVER, OWNER)][: 1 + (change.risk != "low")],
            "approved": lambda: walk.queue(**STRATEGIES[int(walk.mark[0], 16) % len(STRATEGIES)]),
            "queued": walk.roll_back if change.kind_of_change == "rollback" else walk.start,
            "deploying": lambda: walk.promote() if _kind(change) == "instant" else walk.canary(_first(change)),
            "canary": lambda: self.next_canary(walk),
            "baking": walk.succeed,
            "rolling_back": walk.finish_rollback,
            "blocked_funds": lambda: walk.do(m.UnblockChange(**walk.step)),
        }
        steps.get(change.state, lambda: walk.do(m.ExpireChange(**walk.step)))()

    def next_canary(self, walk: Walk) -> None:
        if walk.change.paused:
            walk.do(m.ResumeDeploy(change_id=walk.id), OWNER)
        elif walk.change.weight == 5:
            walk.canary(50)
        else:
            walk.promote()

    @rule(which=picks, by=people)
    def decide(self, which: int, by: str) -> None:
        self.attempt(lambda: self.walks[which].approve(by))

    @rule(which=picks)
    def ask_a_model(self, which: int) -> None:
        """A request that is held, and cancelled, failed or paid by what comes next."""
        walk = self.walks[which]
        self.attempt(walk.start_planning)
        hold = m.HoldForRequest(**walk.step, lines=[line("changes.plan", 1)])
        if self.attempt(lambda: walk.do(hold)) and walk.change.holds:
            hold_id = max(walk.change.holds)
            self.attempt(lambda: walk.do(m.CancelChange(change_id=walk.id), MEMBER))
            self.attempt(lambda: walk.do(m.SettleRequest(**walk.step, hold_id=hold_id, unmeasured=1)))

    @rule(which=picks, by=people, what=st.integers(0, 9))
    def interfere(self, which: int, by: str, what: int) -> None:
        walk = self.walks[which]
        about: dict[str, Any] = {"change_id": walk.id}
        commands: list[Callable[[], m.Command]] = [
            lambda: m.CancelChange(**about),
            lambda: m.RejectChange(**walk.step, reason="no"),
            lambda: m.WithdrawApproval(**about),
            lambda: m.AbortDeploy(**about, reason="stop"),
            lambda: m.PauseDeploy(**about),
            lambda: m.ResumeDeploy(**about),
            lambda: m.RequestRollback(**about, reason="back"),
            lambda: m.RevisePlan(**walk.step, operations=digest(by)),
            lambda: m.RaiseCeiling(**walk.step, ceiling_mtok=10**9),
            lambda: m.AnswerClarification(**walk.step, answer_index=digest("a"), answer_commitment=digest("b")),
        ]

        def act() -> None:
            told = walk.do(commands[what](), by)
            if "rollback_of" in told:
                self.walks[which] = Walk(self.shop, told["change_id"], digest(told["change_id"]))

        self.attempt(act)

    @rule(which=picks, what=st.integers(0, 8), fence=st.integers(0, 1))
    def surprise(self, which: int, what: int, fence: int) -> None:
        """What a worker does on its worse days."""
        walk = self.walks[which]
        step, deploy = walk.step, {**walk.deploy_step, "fence": walk.deploy_step["fence"] + fence}
        place = m.ConflictingPlace(place="app.json#", ours="1", theirs="2")
        commands: list[Callable[[], m.Command]] = [
            lambda: m.FailStep(**step, step="x", failure="infra", reason="away", lines=[line("changes.plan", 1)]),
            lambda: m.FailStep(**step, step="x", failure="input", reason="no"),
            lambda: m.RebaseChange(**step, **walk.difference()),
            lambda: m.RecordConflict(**step, head_tree=walk.environment.tree, conflicts=[place]),
            lambda: m.SupersedeChange(**step, reason="newer_change"),
            lambda: m.StartRollback(**deploy, reason="errors"),
            lambda: m.BlockRollback(**deploy, reason="broken"),
            lambda: m.HoldForRequest(**step, lines=[line("changes.plan", 1)]),
            lambda: m.RecordMeasurement(
                **deploy, measurements=[m.Measurement(guardrail="x", verdict="fail", critical=True)]
            ),
        ]
        self.attempt(lambda: walk.do(commands[what]()))

    @rule(environment=st.sampled_from(["production", "sandbox"]), glass=st.booleans(), by=people)
    def override(self, environment: str, glass: bool, by: str) -> None:
        about: dict[str, Any] = {"app": "shop", "environment": environment}
        known = self.shop.environment(environment)
        why: dict[str, Any] = {**about, "reason": "it hangs", "break_glass": glass}
        if known.quarantined and glass:
            self.attempt(lambda: self.shop.book.do(m.LiftQuarantine(**why, release=known.quarantined[0]), by))
        elif known.weight is None and len(known.history) > 2:
            self.attempt(lambda: self.shop.book.do(m.ForceRollback(**why, release=known.history[0]["release"]), by))
        else:
            self.attempt(lambda: self.shop.book.do(m.ForceUnlock(**why), by))
        for override_id in list(known.reviews):
            close = m.CloseReview(**about, override_id=override_id, finding="well")
            self.attempt(lambda close=close: self.shop.book.do(close, by))  # type: ignore[misc]
        for override_id in list(self.shop.environment(environment).overrides):
            confirm = m.ConfirmOverride(app="shop", environment=environment, override_id=override_id)
            self.attempt(lambda confirm=confirm: self.shop.book.do(confirm, by))  # type: ignore[misc]

    @rule(seconds=st.sampled_from([1, 60, 60, 3_600, 3_600, 90_000]))
    def wait(self, seconds: int) -> None:
        self.shop.book.wait(seconds=seconds)

    @rule(tokens=st.sampled_from([0, 500, 20_000, 20_000]))
    def tokens_come_and_go(self, tokens: int) -> None:
        if tokens:
            self.shop.grant(tokens)
            return
        for lot_id in list(self.shop.account.book.lots):
            void = VoidLot(account_id=self.shop.account_id, lot_id=lot_id, reason="gone")
            self.attempt(lambda void=void: self.shop.book.do(void, ADA))  # type: ignore[misc]

    def teardown(self) -> None:
        """Whatever happened, a founder gets everything free again, and then nothing is held."""
        for environment in ("production", "sandbox"):
            if self.shop.environment(environment).lock is not None:
                command = m.ForceUnlock(app="shop", environment=environment, reason="the end", break_glass=True)
                self.shop.book.do(command, ADA)
            for entry in list(self.shop.environment(environment).queue):
                self.shop.book.do(m.CancelChange(change_id=entry["change_id"]), OWNER)
            assert self.shop.environment(environment).queue == []
        for one in list(self.shop.book.live.values()):
            if isinstance(one, Change) and not one.is_over:
                step: dict[str, Any] = {"change_id": one.local_id, "expected_version": one.version}
                self.shop.book.do(m.SupersedeChange(**step, reason="newer_change"))
        assert self.shop.account.held_mtok == 0


def _many(machine: type[RuleBasedStateMachine], quick: int = 25, steps: int = 30) -> None:
    deep = settings.get_current_profile_name() == "deep"
    run_state_machine_as_test(
        machine,
        settings=settings(
            deadline=None, max_examples=settings().max_examples if deep else quick, stateful_step_count=steps
        ),
    )


def test_nothing_is_ever_half_done() -> None:
    _many(Changes)


def _kind(change: Change) -> str:
    return str((change.strategy or {"kind": "instant"})["kind"])


def _first(change: Change) -> int:
    return 5 if _kind(change) == "canary" else 0


@pytest.mark.parametrize("defect", ["holds are forgotten", "the lock is forgotten", "terminal states are left"])
def test_a_defect_is_found(defect: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if defect == "holds are forgotten":
        monkeypatch.setattr(token_flow.TokenFlow, "give_back", lambda self, account: None)
    elif defect == "the lock is forgotten":
        monkeypatch.setattr(AppEnvironment, "unlock", lambda self, lock: None)
    else:
        monkeypatch.setattr(change_rules, "TERMINAL", frozenset())
        monkeypatch.setattr(change_rules.ChangeRules, "is_over", property(lambda self: False))
        late = {m.CancelChange: change_rules.ALLOWED[m.CancelChange] | {"cancelled", "deployed", "expired"}}
        monkeypatch.setattr(change_rules, "ALLOWED", change_rules.ALLOWED | late)
    with pytest.raises(AssertionError):
        _scripted()


def _scripted() -> None:
    """A day on which everything happens that the defects above concern."""
    shop = Shop()
    shop.request().go_live()
    walk = shop.request().ingest().plan().diff().start_checks()
    walk.do(m.CancelChange(change_id=walk.id), MEMBER)
    walk.do(m.CancelChange(change_id=walk.id), MEMBER)


def test_the_day_itself_is_a_normal_one() -> None:
    with pytest.raises(ChangeIsOver):
        _scripted()


def _tampered(change: Callable[[Book, Walk, AppEnvironment], object], way: str = "canary") -> list[str]:
    """What the rules say of a state that something was done to behind their back."""
    shop = Shop()
    walk = shop.request()
    if way == "canary":
        walk.to_queue(kind="canary", steps=[5]).start().canary(5)
    elif way == "deployed":
        walk.go_live()
    else:
        walk.to_queue()
    assert broken_rules(shop.book) == []
    book = deepcopy(shop.book)
    tampered = deepcopy(walk)
    tampered.shop.book = book
    change(book, tampered, tampered.environment)
    return broken_rules(book)


def _events(book: Book, walk: Walk) -> list[Any]:
    return book.events[walk.change.id]


def _settle_twice(book: Book, walk: Walk, _: AppEnvironment) -> None:
    events = _events(book, walk)
    events.append(next(event for event in events if isinstance(event, m.TokensSettled)))


def _settled(book: Book, walk: Walk, **changed: int) -> None:
    events = _events(book, walk)
    place = next(number for number, event in enumerate(events) if isinstance(event, m.TokensSettled))
    events[place] = events[place].model_copy(update=changed)


TAMPERED: dict[str, tuple[str, Callable[[Book, Walk, AppEnvironment], object]]] = {
    "settled twice": ("canary", _settle_twice),
    "not settled + released": ("canary", lambda book, walk, _: _settled(book, walk, released_mtok=7)),
    "not paid + absorbed": ("canary", lambda book, walk, _: _settled(book, walk, cost_mtok=7)),
    "open holds are not": ("canary", lambda book, walk, _: walk.change.holds.clear()),
    "spent is not": ("canary", lambda book, walk, _: setattr(walk.change, "spent_mtok", 1)),
    "more than its ceiling": ("canary", lambda book, walk, _: setattr(walk.change, "ceiling_mtok", 1)),
    "still holds tokens": ("canary", lambda book, walk, _: setattr(walk.change, "state", "cancelled")),
    "still runs out": ("deployed", lambda book, walk, _: setattr(walk.change, "expires_at", "2026-01-01T00:00Z")),
    "counts twice": ("queued", lambda book, walk, _: walk.change.approvals.append("founder:usr_anton")),
    "an author decides": ("queued", lambda book, walk, _: walk.change.approvals.append(MEMBER)),
    "resumes from nowhere": ("queued", lambda book, walk, _: setattr(walk.change, "resumes_at", "planned")),
    "0 locks": ("canary", lambda book, walk, environment: setattr(environment, "lock", None)),
    "waits 0 times": ("queued", lambda book, walk, environment: setattr(environment, "queue", [])),
    "ended 0 times": ("deployed", lambda book, walk, _: _events(book, walk).pop()),
    "happened after its end": ("deployed", lambda book, walk, _: _events(book, walk).append(_events(book, walk)[0])),
    "locked by nobody": ("canary", lambda book, walk, environment: environment.lock.update(change_id="chg_x")),  # type: ignore[union-attr]
    "without a deployment": ("queued", lambda book, walk, environment: setattr(environment, "weight", 5)),
    "runs what is quarantined": (
        "deployed",
        lambda book, walk, environment: environment.quarantined.append(environment.stable),
    ),
    "keeps 0 releases": ("queued", lambda book, walk, environment: environment.history.extend([{"release": "x"}] * 10)),
    "keeps a release twice": (
        "deployed",
        lambda book, walk, environment: environment.history.insert(0, environment.history[-1]),
    ),
    "points elsewhere": ("canary", lambda book, walk, environment: setattr(environment, "weight", 6)),
    "knows another deployment": (
        "canary",
        lambda book, walk, environment: environment.lock.update(deployment_id="dep_x"),  # type: ignore[union-attr]
    ),
    "knows of no closure": ("queued", lambda book, walk, environment: setattr(environment, "read_only", True)),
    "belong to no change": ("canary", lambda book, walk, _: walk.change.holds.clear()),
    "available is in lots": (
        "queued",
        lambda book, walk, _: setattr(walk.shop.account.book, "available_mtok", 1),
    ),
}


@pytest.mark.parametrize("rule_said", TAMPERED)
def test_each_rule_says_when_it_is_broken(rule_said: str) -> None:
    way, tamper = TAMPERED[rule_said]
    said = _tampered(tamper, way)
    expected = "keeps 11 releases" if rule_said == "keeps 0 releases" else rule_said
    assert any(expected in line for line in said), said


def test_every_event_can_happen() -> None:
    happened = {event.type for event in everything().book.recorded()}
    known = {one.TOPIC for one in vars(m).values() if isinstance(one, type) and issubclass(one, FelixEvent)
             and "TOPIC" in vars(one)}  # fmt: skip
    assert known - happened == set()


def test_the_journal_is_compared_with_a_replica() -> None:
    shop = Shop()
    walk = shop.request()
    walk.change.prompt_chars += 1
    with pytest.raises(AssertionError, match="replay is not the state"):
        walk.do(m.StartIngestion(**walk.step), WORKER)
