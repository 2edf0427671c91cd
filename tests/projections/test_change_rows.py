"""What is shown of changes and environments is what they are, whatever happens to them, in whatever batches."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row

from felix.domain.base import Command, FelixAggregate, FelixEvent
from felix.domain.changes import messages as m
from felix.domain.changes.change import Change
from felix.domain.changes.environment import AppEnvironment
from felix.domain.errors import FelixError
from felix.eventstore.connections import role_url
from felix.eventstore.mapper import RecordedEvent, encode_state, stored_name
from felix.projections import app_environments, changes
from felix.projections.base import connect_projector
from felix.projections.tenant_tx import ReadPool, TenantTx

sys.path.append(str(Path(__file__).parents[1] / "domain" / "changes"))
from change_book import ADA, APPROVER, BOB, MEMBER, OTHER, OWNER, Book, Shop, Walk, digest, line

PROJECTIONS = (changes.PROJECTION, app_environments.PROJECTION)
#: What a change and its row call by the same name.
SAME = (
    "state", "resumes_at", "app", "environment", "account_id", "channel", "requester", "authors",
    "retry_of", "rollback_of", "answers", "operations", "base_release", "base_tree", "result_tree", "diff", "release",
    "checks", "policy", "self_allowed", "ceiling_mtok", "held_mtok", "spent_mtok", "absorbed_mtok", "deployment_id",
    "weight", "paused", "version",
)  # fmt: skip


class Retelling:
    """A database in which the events of a book are retold."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.random = Random(20261123)

    def fold(self, book: Book, tenant_id: UUID, after: int = 0) -> int:
        """Retell what happened after so many events, as those of a client; how many there are."""
        happened = sorted(
            (event for events in book.events.values() for event in events), key=lambda one: one.event_id.int
        )
        told = [recorded(event, number, tenant_id) for number, event in enumerate(happened, 1)][after:]
        with connect_projector(role_url(self.url, "felix_projector")) as connection:
            while told:
                batch, told = (lambda size: (told[:size], told[size:]))(self.random.choice([1, 7, 500]))
                with connection.transaction():
                    for projection in PROJECTIONS:
                        if wanted := projection.wants(batch):
                            projection.fold(wanted, connection)
        return len(happened)

    def rows(self, table: str, tenant_id: UUID) -> list[dict[str, Any]]:
        with psycopg.connect(self.url, row_factory=dict_row) as connection:
            return connection.execute(
                f"select * from read.{table} where tenant_id = %s".encode(), (tenant_id,)
            ).fetchall()

    def ask(self, tenant_id: UUID, question: Callable[[TenantTx], Awaitable[Any]]) -> Any:
        async def run() -> Any:
            pool = ReadPool(role_url(self.url, "felix_reader"), max_size=1)
            await pool.open()
            try:
                async with pool.tenant(tenant_id, 0) as tx:
                    return await question(tx)
            finally:
                await pool.close()

        return asyncio.run(run())


def recorded(event: FelixEvent, number: int, tenant_id: UUID) -> RecordedEvent:
    """An event as the log has it."""
    stream = f"{tenant_id}:{event.originator_id.partition(':')[2]}"
    return RecordedEvent(
        0, number, tenant_id, number, stream, event.originator_version, stored_name(type(event)), event.event_id,
        event.timestamp, "key", "system:test", {}, encode_state(event),
    )  # fmt: skip


@pytest.fixture(scope="module")
def retelling(postgres_url: str, template: str) -> Iterator[Retelling]:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"create database felix_retold_changes template {template} strategy file_copy")
    yield Retelling(make_conninfo(postgres_url, dbname="felix_retold_changes"))
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("drop database felix_retold_changes with (force)")


def moment(told: str | None) -> datetime | None:
    return None if told is None else datetime.fromisoformat(told)


def differences(retelling: Retelling, book: Book, tenant_id: UUID) -> list[str]:
    """Where a row does not say what its aggregate says."""
    found = []

    def compare(what: str, shown: Any, so: Any) -> None:
        if shown != so:
            found.append(f"{what} is {so!r} and is shown as {shown!r}")

    rows = {row["change_id"]: row for row in retelling.rows("changes", tenant_id)}
    for change in of_kind(book, Change):
        row = rows.pop(change.local_id)
        for name in SAME:
            compare(f"{name} of {change.local_id[-6:]} ({change.state})", row[name], getattr(change, name))
        compare("kind", row["kind"], change.kind_of_change)
        compare("context", row["context"], change.context_digest)
        compare(f"expiry of {change.state}", row["expires_at"], moment(change.expires_at))
        compare("approvers", row["approvers"], change.approvals)
        compare("binding", row["binding"], change.binding and change.binding.digest)
        compare("end", row["ended_at"] is not None, change.is_over)
        compare("risk", row["risk"] or "low", change.risk)
        compare("export", row["export"] and row["export"]["digest"], change.export)
    assert not rows
    environments = {(row["app"], row["environment"]): row for row in retelling.rows("app_environments", tenant_id)}
    for environment in of_kind(book, AppEnvironment):
        row, lock = environments.pop((environment.app, environment.environment)), environment.lock or {}
        for name in ("title", "stable", "tree", "queue", "quarantined", "fence", "deployment_id", "version"):
            compare(f"{name} of {environment.environment}", row[name], getattr(environment, name))
        compare("weight", row["weight"], environment.weight or 0)
        compare("candidate", row["candidate"], lock.get("candidate") if lock else None)
        compare("lock", row["deploying"], lock.get("change_id"))
        compare("read only", row["closed_because"] is not None, environment.read_only)
    assert not environments
    told = retelling.rows("app_overrides", tenant_id)
    waiting = {one for environment in of_kind(book, AppEnvironment) for one in environment.overrides}
    reviews = {one for environment in of_kind(book, AppEnvironment) for one in environment.reviews}
    compare("overrides", {row["override_id"] for row in told if row["status"] == "proposed"}, waiting)
    compare("reviews", {row["override_id"] for row in told if row["status"] == "to_review"}, reviews)
    return found


def of_kind(book: Book, cls: type[FelixAggregate]) -> list[Any]:
    return [one for one in book.live.values() if isinstance(one, cls)]


class Day:
    """Three changes of one app, few tokens, many people: everything meets everything, the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.shop = Shop(tokens_mtok=self.random.choice([30_000, 10_000_000]))
        names = self.random.choices(["production", "sandbox"], [3, 1], k=3)
        self.walks = [self.shop.request(environment=name) for name in names]

    def go_on(self) -> None:
        """Do one thing. Refusals are answers."""
        number = self.random.randrange(3)
        walk, by = self.walks[number], self.random.choice([ADA, BOB, OWNER, APPROVER, OTHER, MEMBER])
        try:
            if self.random.random() < 0.7:
                self.next_step(walk)
            else:
                told = walk.do(self.random.choice(self.commands(walk))(), by)
                if "rollback_of" in told:
                    self.walks[number] = Walk(self.shop, told["change_id"], digest(told["change_id"]))
        except FelixError:
            if walk.change.is_over and self.random.random() < 0.5:
                self.walks[number] = self.shop.request(environment=walk.change.environment)
        if self.random.random() < 0.1:
            self.shop.book.wait(seconds=self.random.choice([60, 3_600, 3 * 86_400]))

    def next_step(self, walk: Walk) -> None:
        strategy: dict[str, Any] = self.random.choice([{}, {"kind": "canary", "steps": [5]}, {"kind": "preview"}])
        risk = self.random.choice(["low", "medium", "high", "destructive"])
        level = self.random.choice([None, None, None, "advisory", "needs_override", "hard"])
        started = walk.export if walk.change.risk == "destructive" and walk.change.export is None else walk.start
        steps: dict[str, Callable[[], object]] = {
            "requested": walk.ingest,
            "ingested": walk.plan,
            "planned": lambda: walk.diff(risk),
            "diffed": lambda: walk.check(level),
            "checked": walk.ask_people,
            "awaiting_approval": lambda: [walk.approve(who) for who in (APPROVER, OWNER)],
            "approved": lambda: walk.queue(**strategy),
            "queued": walk.roll_back if walk.change.kind_of_change == "rollback" else started,
            "deploying": lambda: walk.promote() if walk.change.strategy["kind"] == "instant" else walk.canary(5),  # type: ignore[index]
            "canary": walk.promote,
            "baking": walk.succeed,
            "rolling_back": walk.finish_rollback,
            "blocked_funds": lambda: [self.shop.grant(20_000), walk.do(m.UnblockChange(**walk.step))],
        }
        steps.get(walk.change.state, lambda: walk.do(m.ExpireChange(**walk.step)))()

    def commands(self, walk: Walk) -> list[Callable[[], Command]]:
        """What people do, founders beside the rules, and workers on their worse days."""
        about: dict[str, Any] = {"change_id": walk.id}
        where: dict[str, Any] = {"app": "shop", "environment": walk.change.environment}
        place = m.ConflictingPlace(place="app.json#", ours="1", theirs="2")
        asked = m.Question(question="Which?", candidates=["this", "that"])
        failing = m.Measurement(guardrail="x", verdict="fail", critical=True)
        confirmed = [*walk.environment.overrides, *walk.environment.reviews, "ovr_" + "0" * 32][0]
        glass = self.random.random() < 0.5
        return [
            lambda: m.CancelChange(**about),
            lambda: m.RejectChange(**walk.step, reason="no"),
            lambda: m.WithdrawApproval(**about),
            lambda: m.AbortDeploy(**about, reason="stop"),
            lambda: m.PauseDeploy(**about),
            lambda: m.ResumeDeploy(**about),
            lambda: m.RequestRollback(**about, reason="back"),
            lambda: m.RevisePlan(**walk.step, operations=digest("others")),
            lambda: m.RaiseCeiling(**walk.step, ceiling_mtok=10**9),
            lambda: m.AnswerClarification(**walk.step, answer_index=digest("a"), answer_commitment=digest("b")),
            lambda: m.AskClarification(**walk.step, questions=[asked], planner="grammar"),
            lambda: m.StartPlanning(**walk.step, planner="grammar", lines=[line("changes.plan", 1)]),
            lambda: m.FailStep(**walk.step, step="x", failure="infra", reason="away"),
            lambda: m.FailStep(**walk.step, step="x", failure="input", reason="no"),
            lambda: m.RebaseChange(**walk.step, **walk.difference()),
            lambda: m.RecordConflict(**walk.step, head_tree=walk.environment.tree, conflicts=[place]),
            lambda: m.SupersedeChange(**walk.step, reason="newer_change"),
            lambda: m.StartRollback(**walk.deploy_step, reason="errors"),
            lambda: m.BlockRollback(**walk.deploy_step, reason="broken"),
            lambda: m.HoldForRequest(**walk.step, lines=[line("changes.plan", 1)]),
            lambda: m.RecordMeasurement(**walk.deploy_step, measurements=[failing]),
            lambda: m.OverridePolicy(**walk.step, reason="now", break_glass=glass),
            lambda: m.ForceUnlock(**where, reason="it hangs", break_glass=glass),
            lambda: m.LiftQuarantine(**where, reason="fine", release=walk.d("release"), break_glass=glass),
            lambda: m.ConfirmOverride(**where, override_id=confirmed),
            lambda: m.CloseReview(**where, override_id=confirmed, finding="fine"),
        ]


@pytest.mark.parametrize("seed", range(6))
def test_what_is_shown_is_what_is_whatever_happens(seed: int, retelling: Retelling) -> None:
    day, tenant_id, seen = Day(seed), uuid4(), 0
    for _ in range(8):
        for _ in range(12):
            day.go_on()
        seen = retelling.fold(day.shop.book, tenant_id, seen)
        assert differences(retelling, day.shop.book, tenant_id) == []


def test_the_steps_say_what_each_cost(retelling: Retelling) -> None:
    shop, tenant_id = Shop(), uuid4()
    walk = shop.request().go_live()
    retelling.fold(shop.book, tenant_id)
    steps = retelling.ask(tenant_id, lambda tx: changes.steps(tx, walk.id))
    assert [step["version"] for step in steps] == list(range(1, walk.change.version + 1))
    assert sum(step["settled_mtok"] for step in steps) == walk.change.spent_mtok
    costs = retelling.ask(tenant_id, lambda tx: changes.costs(tx, walk.id))
    assert [row["step"] for row in costs] == ["ingest", "plan", "diff", "check", "deploy"]
    assert all(row["held_mtok"] == row["settled_mtok"] + row["released_mtok"] > 0 for row in costs)
    page = retelling.ask(tenant_id, lambda tx: changes.steps(tx, walk.id, 5, 3))
    assert [step["version"] for step in page] == [6, 7, 8]


def test_a_page_of_changes_is_found_by_what_is_asked(retelling: Retelling) -> None:
    shop, tenant_id = Shop(), uuid4()
    waiting, asked = shop.request().to_approval("high"), shop.request(by=APPROVER).to_approval()
    live = shop.request(environment="sandbox").go_live()
    retelling.fold(shop.book, tenant_id)
    at = datetime(2026, 3, 1, 13, tzinfo=UTC)

    def found(before: str | None = None, limit: int = 10, **chosen: Any) -> list[str]:
        rows = retelling.ask(tenant_id, lambda tx: changes.changes(tx, before, limit, at=at, **chosen))
        return [row["change_id"] for row in rows]

    assert found() == [live.id, asked.id, waiting.id]
    assert found(live.id, 1) == [asked.id]
    assert found(state="deployed") == found(environment="sandbox") == [live.id]
    assert found(app="other") == []
    assert found(requester="usr_mia") == [live.id, waiting.id]
    assert found(waiting_for=APPROVER) == [waiting.id], "nobody approves what they asked for"
    assert found(waiting_for=OTHER) == [asked.id, waiting.id]
    assert found(waiting_for=MEMBER) == [], "members do not decide"
    assert found(waiting_for="service:key_1") == []


def test_another_client_sees_nothing_of_it(retelling: Retelling) -> None:
    shop, tenant_id = Shop(), uuid4()
    walk = shop.request().go_live()
    retelling.fold(shop.book, tenant_id)
    assert retelling.ask(uuid4(), lambda tx: changes.change_of(tx, walk.id)) is None
    assert retelling.ask(uuid4(), lambda tx: app_environments.environment(tx, "shop", "production")) is None
    assert len(retelling.ask(tenant_id, lambda tx: app_environments.releases(tx, "shop", "production"))) == 2
