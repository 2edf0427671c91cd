"""Apps at work in a test: releases, a pointer, records and people; one database for all tests of a module."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar, Literal
from uuid import UUID, uuid4

from offices import PARTITIONS, Office, new_key, open_office, until

from felix import bootstrap
from felix.application.apps.releases import Releases
from felix.application.changes.places import move_pointer
from felix.application.outcome import Outcome
from felix.application.performer import new_context
from felix.application.records import Sealing, about, changing, creating
from felix.application.unit_of_work import UnitOfWork, handles
from felix.domain.apps.tree import AppTree
from felix.domain.base import Command
from felix.domain.changes.environment import AppEnvironment
from felix.domain.changes.messages import CreateApp
from felix.domain.ledger import messages as m
from felix.domain.records.messages import TakeStep
from felix.eventstore import effects
from felix.eventstore.jobs import JobBook
from felix.eventstore.sealing import new_root_key
from felix.eventstore.side_statements import SideStatement
from felix.eventstore.tenants import TenantDirectory
from felix.projections.runner import ProjectionRunner
from felix.settings import Settings
from felix.worker.job_runner import JobRunner
from felix.worker.upkeep import PlatformUpkeep

APP = "bakery"
Step = Literal["canary", "promote", "roll back"]


class Deploying(Command):
    """A step of a deployment without the change around it: what happens to the environment is what always happens."""

    command_name: ClassVar[str] = "test.deploying"
    step: Step
    release: str


@handles(Deploying)
def deploying(command: Deploying, unit: UnitOfWork) -> dict[str, Any]:
    """Take it."""
    environment, change_id = unit.get(AppEnvironment, f"{APP}.production"), f"chg_{'0' * 32}"
    place = (unit.partition, unit.context.tenant_id)
    if command.step == "canary":
        environment.take_lock(change_id, command.release, command.release, None, environment.stable)
        environment.shift(environment.locked_by(change_id), 50)
    else:
        lock = environment.locked_by(change_id)
        if command.step == "promote":
            environment.promote(lock)
            unit.beside(effects.released(place, lock["deployment_id"]))
        else:
            environment.bring_back(lock, quarantine=command.release)
            unit.beside(effects.dropped(place, lock["deployment_id"]))
        environment.unlock(lock)
    move_pointer(environment, unit)
    return {}


@dataclass
class Shop:
    """A worker's parts and a door's, on one database."""

    office: Office
    settings: Settings
    book: JobBook
    jobs: JobRunner
    upkeep: PlatformUpkeep
    policies: ProjectionRunner
    releases: Releases
    sealing: Sealing
    directory: TenantDirectory

    def client(self, files: Mapping[str, Any], *, tokens_mtok: int = 100_000) -> Client:
        """A new client with an app in production."""
        client = Client(self, uuid4())
        self.directory.pin(client.tenant_id, f"client-{client.tenant_id.hex[:8]}", "A client")
        client.account_id = self.office.open_account(tokens_mtok, tenant=client.tenant_id)
        client.begin(files)
        return client

    def settle(self) -> None:
        """Let policies see every event and jobs that are due be done, until nothing is left."""
        behind = (
            "select from felix.cursors c join felix.partitions p using (partition)"
            " where c.position < p.position and c.projection = any(%s) limit 1"
        )
        following = ["automations_fire", "deploys_set_timers", "records", "app_runs", "balances"]
        done = 1
        while done:
            self.policies.wake(0, 0)
            until(lambda: not self.rows(behind, following), "all is retold")
            keys = self.book.hand_out(1_000)
            for key in keys:
                self.jobs.do(*key)
            done = len(keys)

    def rows(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Ask the database."""
        return self.office.rows(query, *parameters)

    def run(self, statement: SideStatement | str, *parameters: Any) -> None:
        """Change the database, as nobody but a test may."""
        text = statement if isinstance(statement, str) else statement.text
        given = parameters if isinstance(statement, str) else statement.parameters
        with bootstrap.connect_owner(bootstrap.Endpoints(self.office.database, None, None)) as owner:
            owner.execute(text.encode(), given)

    def mails(self, about_id: str) -> list[str]:
        """What was sent about somebody or something, the oldest first."""
        found = sorted((self.settings.data_dir / "mail" / about_id).glob("*.eml"))
        return [path.read_text() for path in found]


@dataclass
class Client:
    """One tenant and its app."""

    shop: Shop
    tenant_id: UUID
    account_id: str = ""
    stable: str = ""
    candidate: str = ""

    @property
    def place(self) -> tuple[int, UUID]:
        return self.shop.directory.partition_of(self.tenant_id), self.tenant_id

    def release(self, files: Mapping[str, Any]) -> str:
        return self.shop.releases.put(AppTree(dict(files)))

    def begin(self, files: Mapping[str, Any]) -> None:
        """Let the app run in production."""
        self.stable = self.release(files)
        tree = AppTree(dict(files)).digest
        app = CreateApp(app=APP, title="The bakery", release=self.stable, tree=tree, environments=["production"])
        assert self.perform(app).accepted

    def deploy(self, step: Step, files: Mapping[str, Any] | None = None) -> str:
        """A step of a deployment, as a change takes it; the release that it is about."""
        release = self.candidate if files is None else self.release(files)
        self.candidate = release
        assert self.perform(Deploying(step=step, release=release)).accepted
        if step == "promote":
            self.stable = release
        return release

    def perform(self, command: Command, enclosed: Mapping[str, Any] | None = None) -> Outcome:
        context = new_context(self.tenant_id, new_key(), "client_owner:usr_1", enclosed=enclosed)
        return self.shop.office.performer.perform_blocking(command, context, timeout_s=30)

    def create(self, entity: str, values: Mapping[str, Any], *, release: str | None = None) -> str:
        app = self.shop.releases.app(release or self.stable)
        command, enclosed = creating(self.shop.sealing, self.tenant_id, app, self._where(entity), values)
        record_id: str = self.perform(command, enclosed).result["record_id"]
        return record_id

    def change(self, entity: str, record_id: str, values: Mapping[str, Any], *, release: str | None = None) -> None:
        app = self.shop.releases.app(release or self.stable)
        where = self._where(entity) | {"record_id": record_id}
        command, enclosed = changing(self.shop.sealing, self.tenant_id, app, where, values)
        assert self.perform(command, enclosed).accepted

    def take(self, entity: str, record_id: str, action: str, *, release: str | None = None) -> None:
        app = self.shop.releases.app(release or self.stable)
        step = TakeStep(**self._where(entity), record_id=record_id, action=action, release=app.release)
        assert self.perform(step, about(app)).accepted

    def member(self, role: str, email: str) -> str:
        """Somebody who is a member, with an address in the vault."""
        from felix.domain.identity.roles import PLATFORM

        user_id = f"usr_{uuid4().hex}"
        self.shop.run(
            "insert into felix.users (user_id, email_index, registered_at) values (%s, %s, now())",
            user_id, sha256(user_id.encode()).digest(),
        )  # fmt: skip
        self.shop.run(
            "insert into felix.memberships (tenant_id, user_id, role, granted_at) values (%s, %s, %s, now())",
            self.tenant_id, user_id, role,
        )  # fmt: skip
        platform = self.shop.directory.partition_of(PLATFORM)
        for write in self.shop.sealing.vault().enclose(email=email).writes(PLATFORM, platform, user_id):
            self.shop.run(write)
        return user_id

    def events(self, *types: str) -> list[tuple[str, dict[str, Any]]]:
        """What is in the client's log of these types: the type and what it says."""
        found: list[tuple[str, dict[str, Any]]] = self.shop.rows(
            "select type, convert_from(state, 'UTF8')::json from felix.events where partition = %s and tenant_id = %s"
            " and type = any(%s) order by tenant_sequence",
            *self.place, list(types),
        )  # fmt: skip
        return found

    def effects(self) -> list[tuple[str, str]]:
        """Kind and state of everything in the client's outbox."""
        return self.shop.rows(
            "select kind, state from felix.effects where partition = %s and tenant_id = %s order by made_at, effect_id",
            *self.place,
        )  # fmt: skip

    def top_up(self, amount_mtok: int) -> None:
        self.shop.office.done(m.GrantTokens(account_id=self.account_id, amount_mtok=amount_mtok), tenant=self.tenant_id)

    def _where(self, entity: str) -> dict[str, Any]:
        return {"app": APP, "environment": "production", "entity": entity, "account_id": self.account_id}


@contextmanager
def open_shop(database: str, directory: Path) -> Iterator[Shop]:
    """A shop on a database, with files in a directory."""
    endpoints = bootstrap.Endpoints(database, None, None)
    settings = Settings(
        _env_file=None, database_url=database, partitions=PARTITIONS, root_key=new_root_key(), data_dir=directory
    )
    with open_office(database) as office:
        book = bootstrap.open_job_book(endpoints)
        directory_of_tenants = bootstrap.open_directory(endpoints, partitions=PARTITIONS)
        secrets = bootstrap.open_secrets(endpoints, office.performer, directory_of_tenants.partition_of, settings)
        upkeep = PlatformUpkeep(endpoints, book, secrets, partitions=PARTITIONS, settings=settings)
        policies = bootstrap.open_runner(endpoints, partitions=PARTITIONS)
        sealing = Sealing(bootstrap.following_root_keys(settings), bootstrap.open_vault(settings))
        policies.start()
        try:
            yield Shop(
                office, settings, book, JobRunner(book, office.performer, upkeep, secrets), upkeep, policies,
                bootstrap.open_releases(settings), sealing, directory_of_tenants,
            )  # fmt: skip
        finally:
            assert policies.stop()
            directory_of_tenants.close()
            upkeep.close()
            book.close()
