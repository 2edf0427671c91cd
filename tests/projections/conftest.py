"""A client with a history of every kind of event, and ways to fold it and to look at what came out."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, TypeVar
from uuid import UUID, uuid4

import psycopg
import pytest
from domain.apps.sample_app import TREE

import felix.application.handlers  # noqa: F401 registers every handler
from felix.application.identity import Inviter, user_of_invitation
from felix.application.outcome import Outcome
from felix.application.performer import Performer, new_context
from felix.application.records import Sealing, about, changing, creating
from felix.application.secrets import setting
from felix.domain.apps.messages import RunAutomations, RunSchedule
from felix.domain.apps.references import check
from felix.domain.apps.shapes import compile_app
from felix.domain.base import Command
from felix.domain.changes import messages as c
from felix.domain.changes.messages import CreateApp
from felix.domain.context.document import (
    AddDocument,
    ConnectSource,
    Content,
    DatabaseSource,
    RecordFailedReading,
    RefreshSource,
    RemoveDocument,
    ReplaceDocument,
)
from felix.domain.context.passages import CUTTER
from felix.domain.context.reading import Reading
from felix.domain.errors import FelixError
from felix.domain.identity.access_log import RecordRead
from felix.domain.identity.impersonation import BeginImpersonation, EndImpersonation
from felix.domain.identity.invitation import AcceptInvitation, SendInvitation, WithdrawInvitation
from felix.domain.identity.membership import ChangeRole, EndMembership
from felix.domain.ledger import messages as m
from felix.domain.records.messages import RemoveRecord, RestoreRecord, TakeStep
from felix.domain.secrets.tenant_secrets import RemoveSecret, UseSecret
from felix.domain.tenancy.tenant import OnboardTenant
from felix.eventstore.connections import connect, role_url, writer_url
from felix.eventstore.context_index import ContextIndex
from felix.eventstore.partition_log import PartitionLog
from felix.eventstore.reader import heads
from felix.eventstore.sealing import RootKeys, new_root_key
from felix.eventstore.tenants import TenantDirectory
from felix.eventstore.vault import Vault
from felix.projections.base import Projection, connect_projector
from felix.projections.feeds import FEEDS
from felix.projections.registry import PROJECTIONS
from felix.projections.runner import ProjectionRunner
from felix.projections.tenant_tx import ReadPool, TenantTx

PARTITION = 0
#: What is sealed once must open whenever the tenant lives on.
ROOT_KEYS = RootKeys([new_root_key()])
T = TypeVar("T")


@dataclass
class House:
    """Felix without doors: the write side of one database, and the URLs of its read side."""

    url: str
    performer: Performer
    directory: TenantDirectory
    keys: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    #: Tenants that have an app, people and documents.
    settled: set[UUID] = field(default_factory=set)

    @property
    def projector_url(self) -> str:
        return role_url(self.url, "felix_projector")

    @property
    def reader_url(self) -> str:
        return role_url(self.url, "felix_reader")

    @property
    def founder_url(self) -> str:
        return role_url(self.url, "felix_founder")

    def onboard(self, slug: str = "acme", partition: int = PARTITION) -> UUID:
        tenant_id = uuid4()
        self.directory.pin(tenant_id, slug, slug.title(), partition=partition)
        self.perform(tenant_id, OnboardTenant(slug=slug, name=slug.title()))
        return tenant_id

    def perform(
        self, tenant_id: UUID, command: Command, enclosed: Any = None, *, actor: str = "founder:maria"
    ) -> dict[str, Any]:
        outcome: Outcome = self.performer.perform_blocking(
            command, new_context(tenant_id, f"key-{next(self.keys)}", actor, enclosed=enclosed)
        )
        result: dict[str, Any] = outcome.result
        return result

    def open_account(self, tenant_id: UUID, amount_mtok: int = 1_000_000, **fields: Any) -> str:
        account_id: str = self.perform(tenant_id, m.OpenTokenAccount(name="Main", **fields))["account_id"]
        if amount_mtok:
            self.perform(
                tenant_id,
                m.GrantTokens(account_id=account_id, amount_mtok=amount_mtok, cost_minor=990, currency="EUR"),
            )
        return account_id

    def debit(self, tenant_id: UUID, account_id: str, amount_mtok: int = 1_000, **fields: Any) -> dict[str, Any]:
        return self.perform(
            tenant_id,
            m.DebitTokens(account_id=account_id, meter="llm.output_tokens", amount_mtok=amount_mtok, **fields),
        )

    def ask(self, question: Callable[[ReadPool], Awaitable[T]]) -> T:
        """Ask the read side something, with a pool of its own."""

        async def asked() -> T:
            pool = ReadPool(self.reader_url, self.founder_url, max_size=4)
            await pool.open()
            try:
                return await question(pool)
            finally:
                await pool.close()

        return asyncio.run(asked())

    def ask_as(self, tenant_id: UUID, question: Callable[[TenantTx], Awaitable[T]], partition: int = PARTITION) -> T:
        """Ask as a tenant."""

        async def asked(pool: ReadPool) -> T:
            async with pool.tenant(tenant_id, partition) as tx:
                return await question(tx)

        return self.ask(asked)

    @contextmanager
    def running(self, projections: Sequence[Projection] = PROJECTIONS, **options: Any) -> Iterator[ProjectionRunner]:
        """A runner over all partitions, for a while."""
        runner = ProjectionRunner(self.projector_url, projections, range(4), **options)
        runner.start()
        try:
            yield runner
        finally:
            assert runner.stop()

    def is_retold(self, partition: int = PARTITION) -> bool:
        with psycopg.connect(self.url) as connection:
            ends = {name: feed.heads(connection)[partition] for name, feed in FEEDS.items()}
        return all(self.cursor(each.name, partition) == ends[each.feed] for each in PROJECTIONS)

    def head(self, partition: int = PARTITION) -> int:
        with psycopg.connect(self.url) as connection:
            return heads(connection)[partition]

    def own_head(self, tenant_id: UUID) -> int:
        """The ``tenant_sequence`` of a tenant's last event."""
        with psycopg.connect(self.url) as connection:
            found = connection.execute(
                "select max(tenant_sequence) from felix.events where tenant_id = %s", (tenant_id,)
            ).fetchone()
        return found[0] if found is not None else 0

    def cursor(self, projection: str = "balances", partition: int = PARTITION) -> int:
        with psycopg.connect(self.url) as connection:
            row = connection.execute(
                "select position from felix.cursors where projection = %s and partition = %s", (projection, partition)
            ).fetchone()
        assert row is not None
        return int(row[0])

    def catch_up(self) -> None:
        """Run the projections until they have retold everything."""
        with self.running() as runner:
            for partition in range(4):
                eventually(lambda p=partition: self.is_retold(p), runner)

    def live_a_little(self, tenant_id: UUID, seed: int, steps: int = 120) -> list[str]:
        """A few accounts that do everything an account can do; what is refused is refused. The first time an app,
        people and documents come with them."""
        random = Random(seed)
        accounts = [self.open_account(tenant_id, 50_000, credit_limit_mtok=20_000) for _ in range(3)]
        lots: list[str] = []
        holds: list[tuple[str, str]] = []
        debits: list[tuple[str, str]] = []
        for _ in range(steps):
            account_id = random.choice(accounts)
            try:
                result = self.perform(tenant_id, self._something(random, account_id, accounts, lots, holds, debits))
            except FelixError:
                continue
            if "lot_id" in result:
                lots.append(result["lot_id"])
            if "hold_id" in result:
                holds.append((account_id, result["hold_id"]))
            if "debit_id" in result:
                debits.append((account_id, result["debit_id"]))
        self.be_looked_at(tenant_id)
        if tenant_id in self.settled:
            return accounts
        self.settled.add(tenant_id)
        self.be_entrusted(tenant_id)
        self.be_peopled(tenant_id)
        records = self.keep_records(tenant_id, random)
        return [*accounts, records, self.be_read(tenant_id), self.be_changed(tenant_id)]

    def be_changed(self, tenant_id: UUID) -> str:
        """Changes of the app: one that goes live, one that is taken back, one that waits; the account that pays."""
        account_id, digests = (
            self.open_account(tenant_id, 10_000_000),
            (f"{number:064x}" for number in itertools.count(1)),
        )

        def step(command: type[c.StepCommand], **told: Any) -> dict[str, Any]:
            seen = {"change_id": change_id, "expected_version": version, **told}
            return self.perform(tenant_id, command(**seen), actor="system:worker")

        runs = "b" * 64
        for fate in ("deployed", "rolled_back", "waiting"):
            prompt = {"prompt_index": next(digests), "prompt_commitment": next(digests), "prompt_chars": 9}
            asked = c.RequestChange(app="bakery", account_id=account_id, **prompt)
            told = self.perform(tenant_id, asked, actor="client_member:ben")
            change_id, version = told["change_id"], told["version"]
            made = {name: next(digests) for name in ("diff", "release", "result_tree")}
            difference = made | {"base_tree": runs, "effects": [], "effects_count": 0, "effects_digest": next(digests)}
            for command, said in (
                (c.StartIngestion, {}),
                (c.RecordIngested, {"context": next(digests)}),
                (c.StartPlanning, {"planner": "grammar", "lines": [c.Line(meter="changes.plan", quantity=1)]}),
                (c.RecordPlan, {"operations": next(digests), "count": 1, "planner": "grammar"}),
                (c.RecordDiff, difference | {"risk": "low"}),
                (c.StartChecks, {}),
                (c.RecordChecks, {"checks": (checks := next(digests))}),
                (c.RequestApproval, {"policy": (policy := next(digests))}),
            ):
                version = (told := step(command, **said))["version"]
            if fate == "waiting":
                continue
            about = {"change_id": change_id}
            agreed = c.ApproveChange(**about, expected_version=version, binding=told["binding"])
            version = self.perform(tenant_id, agreed, actor="client_approver:ann")["version"]
            let = c.DeployChange(**about, expected_version=version)
            version = self.perform(tenant_id, let, actor="client_approver:ann")["version"]
            bound = made | {"base_tree": runs, "checks": checks, "policy": policy, "rollback_to": self.runs(tenant_id)}
            begun = step(c.StartDeploy, **bound)
            version, fence = begun["version"], begun["fence"]
            version = step(c.Promote, fence=fence)["version"]
            ends = [c.Succeed] if fate == "deployed" else [c.StartRollback, c.FinishRollback]
            for end in ends:
                reason = {"reason": "It is slow."} if end is c.StartRollback else {}
                version = step(end, fence=fence, **reason)["version"]
            runs = made["result_tree"] if fate == "deployed" else runs
        broken = c.LiftQuarantine(
            app="bakery", environment="production", release=made["release"], reason="now", break_glass=True
        )
        self.perform(tenant_id, broken)
        return account_id

    def runs(self, tenant_id: UUID) -> str:
        """The release of the app that runs."""
        with psycopg.connect(self.url) as connection:
            row = connection.execute(
                "select stable from felix.app_pointers where tenant_id = %s and environment = 'production'",
                (tenant_id,),
            ).fetchone()
        assert row is not None
        return str(row[0])

    def keep_records(self, tenant_id: UUID, random: Random) -> str:
        """An app, and records in it that are made, changed, moved on, removed and restored; the account that pays."""
        app, account_id = compile_app("a" * 64, check(TREE)), self.open_account(tenant_id, 50_000)
        self.perform(tenant_id, CreateApp(app="bakery", title="Bakery", release=app.release, tree="b" * 64))
        sealing = Sealing(lambda: ROOT_KEYS, lambda: Vault(ROOT_KEYS))
        for number in range(6):
            place = {"app": "bakery", "account_id": account_id, "entity": "contact"}
            values = {"name": f"Contact {number}", "email": f"{number}@example.org"}
            contact = self.perform(tenant_id, *creating(sealing, tenant_id, app, place, values))["record_id"]
            changed = {"email": random.choice([None, "other@example.org"]), "vip": True}
            of_contact = place | {"record_id": contact}
            self.perform(tenant_id, *changing(sealing, tenant_id, app, of_contact, changed))
            of_deal = place | {"entity": "deal"}
            made = creating(sealing, tenant_id, app, of_deal, {"title": "Straße", "contact": contact, "value": number})
            fields = of_deal | {"record_id": self.perform(tenant_id, *made)["record_id"], "release": app.release}
            action = random.choice(["win", "lose"])
            self.perform(tenant_id, TakeStep.model_validate(fields | {"action": action}), about(app))
            run = {"app": "bakery", "environment": "production", "account_id": account_id}
            set_off = RunAutomations(record_id=fields["record_id"], version=2, **run)
            self.perform(tenant_id, set_off, about(app))
            if number % 2:
                self.perform(tenant_id, RemoveRecord.model_validate(fields), about(app))
            if number % 4 == 3:
                self.perform(tenant_id, RestoreRecord.model_validate(fields), about(app))
        monthly = RunSchedule(schedule="monthly", due_at=datetime(2026, 1, 1, 7, tzinfo=UTC), **run)
        self.perform(tenant_id, monthly, about(app))
        return account_id

    def be_peopled(self, tenant_id: UUID) -> None:
        """People who are invited, come, change and go, and some who don't."""
        invited = []
        inviter = Inviter(Vault(ROOT_KEYS), ROOT_KEYS, "https://felix.example")
        for role in ("client_owner", "client_member", "client_approver", "client_member"):
            made = inviter.address(tenant_id, "us", uuid4().hex, f"{uuid4().hex}@example.com")
            sent = {"invitation_id": made.invitation_id, "email_commitment": made.email_commitment}
            self.perform(tenant_id, SendInvitation.model_validate(sent | {"role": role}), made.enclosed)
            invited.append((made.invitation_id, user_of_invitation(made.invitation_id)))
        for invitation_id, user_id in invited[:2]:
            self.perform(tenant_id, AcceptInvitation(invitation_id=invitation_id, user_id=user_id))
        self.perform(tenant_id, WithdrawInvitation(invitation_id=invited[2][0]))
        _, user_id = invited[1]
        until = datetime.now(UTC) + timedelta(days=30)
        self.perform(tenant_id, ChangeRole(user_id=user_id, role="auditor", expires_at=until))
        self.perform(tenant_id, EndMembership(user_id=user_id))
        self.perform(tenant_id, AcceptInvitation(invitation_id=invited[3][0], user_id=user_id))

    def be_entrusted(self, tenant_id: UUID) -> None:
        """Secrets that are set, rotated, used and removed."""
        for name, overlap_s in (("github", 0), ("github", 60), ("github", 0), ("stripe", 0)):
            self.perform(tenant_id, *setting(ROOT_KEYS, tenant_id, {"name": name, "overlap_s": overlap_s}, "a-secret"))
        for _ in range(3):
            self.perform(tenant_id, UseSecret(name="github", purpose="deploy"))
        self.perform(tenant_id, RemoveSecret(name="stripe", reason="gone"))

    def be_read(self, tenant_id: UUID) -> str:
        """Documents that come, change and go, and a source that could not be read; the account that pays."""
        account_id = self.open_account(tenant_id, 50_000)
        index = ContextIndex(lambda: connect(writer_url(self.url)), lambda: connect(self.reader_url))
        place = self.directory.partition_of(tenant_id), tenant_id

        def content(text: str) -> Content:
            read = Reading.of([("", text)])
            index.stage(place, read.digest, CUTTER, read.size_bytes, [("", text)])
            return Content.of(read)

        try:
            for number in range(2):
                added = AddDocument(
                    title="Hours", kind="text", account_id=account_id, content=content(f"From {number}\u200b")
                )
                document = self.perform(tenant_id, added)["document_id"]
            replaced = ReplaceDocument(document_id=document, kind="markdown", content=content("From nine"))
            self.perform(tenant_id, replaced)
            gone = AddDocument(title="Gone", kind="text", account_id=account_id, content=content("Gone"))
            self.perform(tenant_id, RemoveDocument(document_id=self.perform(tenant_id, gone)["document_id"]))
        finally:
            index.close()
        source = DatabaseSource(kind="database", secret="shop.database")
        connected = self.perform(tenant_id, ConnectSource(title="Shop", account_id=account_id, source=source))
        failed = RecordFailedReading(document_id=connected["document_id"], code="not_found", detail="There is none.")
        self.perform(tenant_id, failed)
        self.perform(tenant_id, RefreshSource(document_id=connected["document_id"]))
        return account_id

    def be_looked_at(self, tenant_id: UUID) -> None:
        """Staff read what is the client's, once with a client's eyes."""
        founder, eyes = "usr_" + "1" * 32, {"role": "client_owner", "reason": "They asked."}
        begin = BeginImpersonation(caller_id=founder, credential_id="sess_" + "2" * 32, **eyes)
        for seen_with in (None, self.perform(tenant_id, begin)["impersonation_id"]):
            self.perform(
                tenant_id,
                RecordRead(
                    reader_id=founder, action="log.read", what="/v1/events?limit=9", rows=9, impersonation_id=seen_with
                ),
            )
        self.perform(tenant_id, EndImpersonation(impersonation_id=seen_with))
        self.perform(tenant_id, begin)

    def _something(
        self,
        random: Random,
        account_id: str,
        accounts: list[str],
        lots: list[str],
        holds: list[tuple[str, str]],
        debits: list[tuple[str, str]],
    ) -> Command:
        amount = random.randint(1, 30_000)
        meter = random.choice(["llm.input_tokens", "llm.output_tokens", "storage.gb_hour"])
        lot_id = random.choice(lots) if lots else "lot_" + "0" * 32
        held_by, hold_id = random.choice(holds) if holds else (account_id, "hold_" + "0" * 32)
        debited_by, debit_id = random.choice(debits) if debits else (account_id, "deb_" + "0" * 42)
        person = random.choice([None, "ana", "ben"])
        choices: list[Callable[[], Command]] = [
            lambda: m.DebitTokens(account_id=account_id, meter=meter, amount_mtok=amount, quantity=3, person=person),
            lambda: m.DebitTokens(account_id=account_id, meter=meter, amount_mtok=amount, app="shop", model="m1"),
            lambda: m.HoldTokens(account_id=account_id, meter=meter, amount_mtok=amount, app="shop"),
            lambda: m.HoldTokens(account_id=account_id, meter=meter, amount_mtok=amount),
            lambda: m.ExtendHold(account_id=held_by, hold_id=hold_id, ttl_s=3_600),
            lambda: m.CaptureHold(
                account_id=held_by, hold_id=hold_id, amount_mtok=amount, overshoot="debt", quantity=2
            ),
            lambda: m.ReleaseHold(account_id=held_by, hold_id=hold_id),
            lambda: m.GrantTokens(
                account_id=account_id, amount_mtok=amount, kind=random.choice(["purchased", "promo"]),
                cost_minor=random.choice([0, 333]), currency="EUR", meters=random.choice([[], [meter]]),
                priority=random.randint(0, 200),
            ),
            lambda: m.ReverseDebit(account_id=debited_by, debit_id=debit_id, reason="dispute"),
            lambda: m.ReverseDebit(account_id=debited_by, debit_id=debit_id, amount_mtok=7, reason="dispute"),
            lambda: m.TransferTokens(account_id=account_id, to_account_id=random.choice(accounts), amount_mtok=amount),
            lambda: m.FreezeLot(account_id=account_id, lot_id=lot_id, reason="disputed"),
            lambda: m.UnfreezeLot(account_id=account_id, lot_id=lot_id, reason="won"),
            lambda: m.VoidLot(account_id=account_id, lot_id=lot_id, reason="mistake"),
            lambda: m.ClawBackTokens(account_id=account_id, lot_id=lot_id, amount_mtok=amount, reason="refund"),
            lambda: m.ProposeAdjustment(account_id=account_id, amount_mtok=amount, reason="goodwill"),
            lambda: m.ProposeAdjustment(account_id=account_id, amount_mtok=-amount, reason="mistake"),
            lambda: m.SetCreditLimit(account_id=account_id, credit_limit_mtok=amount, reason="agreed"),
            lambda: m.SetSpendCap(account_id=account_id, limit_mtok=10**9, window="day"),
            lambda: m.FreezeTokenAccount(account_id=account_id, reason="look"),
            lambda: m.UnfreezeTokenAccount(account_id=account_id, reason="looked"),
            lambda: m.UnfreezeTokenAccount(account_id=account_id, reason="looked"),
        ]  # fmt: skip
        return random.choice(choices)()


@pytest.fixture
def house(database: str) -> Iterator[House]:
    writer = writer_url(database)
    directory = TenantDirectory(lambda: connect(writer), partitions=4)
    performer = Performer(lambda p: PartitionLog(lambda: connect(writer), p), directory.partition_of)
    yield House(database, performer, directory)
    performer.close()
    directory.close()


def contents(url: str, projections: Iterable[Projection] = PROJECTIONS) -> dict[str, list[str]]:
    """Everything that the tables of projections hold, in an order of its own."""
    with psycopg.connect(url) as connection:
        return {
            table: sorted(map(repr, connection.execute(f"select * from read.{table}".encode())))
            for projection in projections
            for table in projection.tables
        }


def retell(url: str, batch: int, partition: int = PARTITION, projections: Sequence[Projection] = PROJECTIONS) -> None:
    """Empty the tables and fold a partition from the beginning, without a runner and without cursors."""
    with connect_projector(role_url(url, "felix_projector")) as connection:
        for projection in projections:
            for table in projection.tables:
                connection.execute(f"truncate {table}".encode())
        for feed in FEEDS.values():
            after = 0
            while facts := feed.read(connection, partition, after, batch):
                with connection.transaction():
                    for projection in projections:
                        if projection.feed == feed.name and (wanted := projection.wants(facts)):
                            projection.fold(wanted, connection)
                after = facts[-1].position


def eventually(condition: Callable[[], bool], about: Any = None, timeout_s: float = 15) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, about.lag() if isinstance(about, ProjectionRunner) else about
        time.sleep(0.005)
