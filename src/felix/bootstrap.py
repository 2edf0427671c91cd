"""Puts the rooms together: the only place that knows every one of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from anyio import to_thread
from psycopg import sql

from felix import measures
from felix.adapters.doorbell import Doorbell, Listener, answers
from felix.adapters.metrics import Metrics, clean, open_metrics
from felix.adapters.tracing import tracing
from felix.api.auth import Authenticator
from felix.api.credentials import key_look_up, session_look_up
from felix.api.http import Services
from felix.api.live.hub import LiveHub
from felix.api.one_look import LOOK_TIMEOUT_S, OneLook
from felix.api.readiness import Check, checks_of, disk_of
from felix.api.watch import log_requests
from felix.application import handlers as _handlers
from felix.application import policies
from felix.application.performer import Performer
from felix.application.policies.base import Terms
from felix.application.verification import PartitionAudit, Report, RetoldBalance
from felix.domain.errors import FelixError, Invalid, NotFound, Unavailable
from felix.eventstore import audit, subscription
from felix.eventstore.connections import connect, role_url, without_user, writer_url
from felix.eventstore.jobs import JobBook, ScheduleBook
from felix.eventstore.migrations import Migration, migrate
from felix.eventstore.partition_log import PartitionLog
from felix.eventstore.reader import command_heads, heads
from felix.eventstore.sealing import RootKeys
from felix.eventstore.tenants import TenantDirectory
from felix.projections import balances, registry, token_transactions
from felix.projections.feeds import FeedName
from felix.projections.reactions import place_cursors, reaction
from felix.projections.rebuild_orders import ProjectionOrders, Rebuilder, rebuild_new_versions
from felix.projections.runner import ProjectionRunner
from felix.projections.tenant_tx import ReadPool
from felix.projections.vital_signs import VitalSigns, take
from felix.settings import Settings

_ = _handlers  # importing it registers every command handler

#: What follows from events; each follows the log under its name.
POLICIES = policies.discover()
#: Before every expiry: the question then answers what the fold has added up, and takes nothing off for the clock.
BEFORE_ALL = datetime(1970, 1, 1, tzinfo=UTC)
#: Accounts that a verification reads at once, and events after which it says how far it is.
VERIFY_PAGE = 1_000
#: A statement on the table of jobs is milliseconds; a page of a purge is the longest.
JOB_STATEMENT_TIMEOUT_MS = 20_000
#: Written by ``felix up`` so that other commands on this machine find the running services.
RUN_FILE = "run.json"
#: Made by ``felix up``; whoever restores a database needs it too.
ROOT_KEY_FILE = "root-key"
#: What the driver raises when the database is away, for those who may not import it.
DATABASE_ERRORS = (psycopg.OperationalError, psycopg.InterfaceError)


class NotRunning(Unavailable):
    """Felix is not running here. Start it with `felix up`, or set FELIX_DATABASE_URL."""


class NoRootKey(Unavailable):
    """There is no root key here. `felix up` makes one; elsewhere set FELIX_ROOT_KEY to the one of this database."""


class NotAnAddress(Invalid):
    """FELIX_DATABASE_URL is not the address of a database. It looks like postgresql://user:password@host/database."""


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where the services are. URLs carry passwords: its text shows none of it."""

    database_url: str = field(repr=False)
    redis_url: str | None = field(repr=False)
    role_password: str | None = field(repr=False)

    def save(self, data_dir: Path) -> None:
        """Leave the addresses for other commands on this machine, readable by the owner only."""
        path = data_dir / RUN_FILE
        partial = path.with_suffix(".new")
        partial.touch(mode=0o600)
        partial.write_text(
            json.dumps(
                {
                    "database_url": self.database_url,
                    "redis_url": self.redis_url,
                    "role_password": self.role_password,
                }
            )
        )
        partial.rename(path)

    @classmethod
    def locate(cls, settings: Settings) -> Endpoints:
        """From the settings, or from the ``felix up`` that runs on the same data directory. Raises NotRunning."""
        if settings.database_url is not None:
            return cls(
                _checked(settings.database_url.get_secret_value()),
                settings.redis_url.get_secret_value() if settings.redis_url else None,
                settings.database_role_password.get_secret_value() if settings.database_role_password else None,
            )
        with suppress(OSError, ValueError, TypeError):
            return cls(**json.loads((settings.data_dir / RUN_FILE).read_text()))
        raise NotRunning()

    @property
    def writer_url(self) -> str:
        """For lanes and the tenant directory."""
        return writer_url(self.database_url, password=self.role_password)

    @property
    def serving_url(self) -> str:
        """For processes that serve: with a role password nothing in it lets them sign in as the administrator."""
        return self.database_url if self.role_password is None else without_user(self.database_url)

    def as_role(self, role: str) -> str:
        """For one of the other roles."""
        return role_url(self.database_url, role, password=self.role_password)


def _checked(url: str) -> str:
    """The same, if it can be read; what the driver says of one that can't would repeat its password."""
    try:
        psycopg.conninfo.conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        raise NotAnAddress() from None
    return url


def root_keys(settings: Settings) -> RootKeys:
    """The root key in force and those before it. Raises :class:`NoRootKey` and ``NotARootKey``."""
    if settings.root_key is not None:
        return RootKeys(settings.root_key.get_secret_value().split(","))
    try:
        return RootKeys((settings.data_dir / ROOT_KEY_FILE).read_text().split(","))
    except OSError as error:
        raise NoRootKey(path=str(settings.data_dir / ROOT_KEY_FILE)) from error


def bring_up_to_date(endpoints: Endpoints, *, partitions: int, backup_password: str | None = None) -> list[Migration]:
    """Apply what is pending and make the tables of every projection."""
    applied = migrate(
        endpoints.database_url,
        partitions=partitions,
        role_password=endpoints.role_password,
        backup_password=backup_password,
    )
    registry.install(endpoints.database_url)
    rebuild_new_versions(endpoints.as_role("felix_projector"), registry.PROJECTIONS)
    place_cursors(endpoints.database_url, [policy.name for policy in POLICIES if policy.begins == "now"])
    return applied


def open_directory(endpoints: Endpoints, *, partitions: int) -> TenantDirectory:
    """The directory of tenants and their partitions."""
    url = endpoints.writer_url
    return TenantDirectory(lambda: connect(url), partitions=partitions)


def open_performer(
    endpoints: Endpoints,
    partition_of: Callable[[UUID], int],
    *,
    committed: Callable[[int, int], None] | None = None,
) -> Performer:
    """The write side."""
    url = endpoints.writer_url

    def ring(partition: int, position: int) -> None:
        subscription.ring(partition)
        if committed is not None:
            committed(partition, position)

    return Performer(lambda partition: PartitionLog(lambda: connect(url), partition), partition_of, committed=ring)


def open_read_pool(endpoints: Endpoints, *, max_size: int = 10) -> ReadPool:
    """The read side; open and close it inside an event loop."""
    return ReadPool(endpoints.as_role("felix_reader"), endpoints.as_role("felix_founder"), max_size=max_size)


def open_runner(endpoints: Endpoints, *, partitions: int, terms: Terms | None = None) -> ProjectionRunner:
    """The projections, kept up to date, and the policies, which follow the same log."""
    reacting = [
        reaction(policy.name, policy.reads, partial(policy.react, terms=terms or Terms())) for policy in POLICIES
    ]
    return ProjectionRunner(endpoints.as_role("felix_projector"), (*registry.PROJECTIONS, *reacting), range(partitions))


def open_rebuilder(endpoints: Endpoints) -> Rebuilder:
    """Runs the rebuilds that were asked for; for the worker, which leaves the other core to the rest."""
    return Rebuilder(endpoints.as_role("felix_projector"), registry.PROJECTIONS)


def projection_orders(endpoints: Endpoints) -> ProjectionOrders:
    """What the founder may ask of the read models."""
    url = endpoints.writer_url
    return ProjectionOrders(lambda: connect(url), registry.PROJECTIONS)


def open_job_book(endpoints: Endpoints, *, role: str = "felix_projector") -> JobBook:
    """The table of jobs: for the worker, or as ``felix_writer`` for whoever retries and cancels."""
    return JobBook(_connect_to_jobs(endpoints, role))


def open_schedule(endpoints: Endpoints) -> ScheduleBook:
    """The schedule, for one ticker."""
    return ScheduleBook(_connect_to_jobs(endpoints, "felix_projector"))


def _connect_to_jobs(endpoints: Endpoints, role: str) -> Callable[[], psycopg.Connection[Any]]:
    url = role_url(
        endpoints.database_url, role, password=endpoints.role_password, statement_timeout=JOB_STATEMENT_TIMEOUT_MS
    )
    return lambda: connect(url)


def verify_ledger(
    endpoints: Endpoints,
    *,
    partitions: int,
    chosen: Collection[int] | None = None,
    told: Callable[[int, int], None],
) -> Report:
    """Read the whole log and check everything that is made from it; ``told`` hears how many events, and of how many."""
    report = Report()
    with connect(endpoints.as_role("felix_founder")) as connection:
        retold = {partition: at for name, partition, at in audit.cursors(connection) if name == "balances"}
    seen, sums = asyncio.run(_what_people_see(endpoints, partitions))
    report.check_trial_balance(sums)
    with (
        connect(endpoints.as_role("felix_founder")) as connection,
        connect(endpoints.as_role("felix_founder")) as commands,
    ):
        ends = {at: head for at, head in sorted(heads(connection).items()) if chosen is None or at in chosen}
        last_commands = command_heads(connection)
        total = sum(ends.values())
        told(0, total)
        for partition, head in ends.items():
            check = PartitionAudit(
                report,
                partition,
                commands=audit.command_spans(commands, partition, head),
                snapshots=audit.snapshot_digests(connection, partition),
                balances=seen.get(partition, {}),
                retold_until=min(head, retold.get(partition, 0)),
            )
            for event in audit.every_event(connection, partition, head):
                check.add(event)
                if report.events % VERIFY_PAGE == 0:
                    told(report.events, total)
            check.finish(head)
            last = last_commands[partition]
            report.check_command_feed(partition, audit.command_sequences(commands, partition, last), last)
        told(total, total)
    return report


async def _what_people_see(
    endpoints: Endpoints, partitions: int
) -> tuple[dict[int, dict[tuple[UUID, str], RetoldBalance]], dict[str, dict[str, int]]]:
    """The balances of every account by partition, and the trial balance, as the read models have them."""
    found: dict[int, dict[tuple[UUID, str], RetoldBalance]] = {}
    directory = open_directory(endpoints, partitions=partitions)
    pool = open_read_pool(endpoints, max_size=2)
    await pool.open()
    try:
        async with pool.founder() as founder:
            sums = await token_transactions.trial_balance(founder)
        for place in directory.all():
            accounts = found.setdefault(place.partition, {})
            after = ""
            while True:
                async with pool.tenant(place.tenant_id, place.partition) as tx:
                    page = await balances.accounts(tx, after, VERIFY_PAGE, BEFORE_ALL)
                if not page:
                    break
                for row in page:
                    balance = {name: row[name] for name in ("available_mtok", "held_mtok", "frozen_mtok", "debt_mtok")}
                    accounts[place.tenant_id, row["account_id"]] = RetoldBalance(row["version"], balance)
                after = page[-1]["account_id"]
    finally:
        await pool.close()
        directory.close()
    return found, sums


def connect_owner(endpoints: Endpoints) -> psycopg.Connection[tuple[object, ...]]:
    """A connection that may take on ``felix_owner``: for keys, and nothing that a serving process does."""
    return connect(endpoints.database_url)


def open_doorbell(endpoints: Endpoints) -> Doorbell:
    """Tells the projections of other processes what was committed; does nothing without Valkey."""
    return Doorbell(endpoints.redis_url)


def listen_to_doorbell(endpoints: Endpoints, heard: Callable[[int, int], None]) -> Listener | None:
    """Hears what other processes committed; not started yet, and None without Valkey."""
    return None if endpoints.redis_url is None else Listener(endpoints.redis_url, heard)


def ensure_database(server_url: str, name: str) -> bool:
    """Make a database on a server of our own unless it exists; True when it was made."""
    with connect(server_url) as connection:
        if connection.execute("select from pg_database where datname = %s", (name,)).fetchone() is not None:
            return False
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        return True


@asynccontextmanager
async def open_services(settings: Settings) -> AsyncIterator[Services]:
    """Everything the API needs, opened and closed in order."""
    endpoints = Endpoints.locate(settings)
    log_requests(slow_after_s=settings.slow_request_s, everything=settings.log_requests)
    directory = open_directory(endpoints, partitions=settings.partitions)
    reads = open_read_pool(endpoints)
    doorbell = open_doorbell(endpoints)
    live = LiveHub(reads)
    jobs = open_job_book(endpoints, role="felix_writer")

    def committed(partition: int, position: int) -> None:
        doorbell.ring(partition, position)
        live.wake(partition, position)

    performer = open_performer(endpoints, directory.partition_of, committed=committed)
    looks = _Looks(settings, endpoints, reads)
    listener = listen_to_doorbell(endpoints, live.wake)
    await reads.open()
    if listener is not None:
        listener.start()
    try:

        async def generation() -> int:
            async with reads.unbound() as tx:
                row = await tx.fetch_one("select generation from felix.access_generation")
            return int(row["generation"]) if row else 0

        async def find_tenant(named: str) -> UUID:
            async with reads.founder() as tx:
                row = await tx.fetch_one(
                    "select tenant_id, partition from felix.tenants where slug = %s or tenant_id::text = %s",
                    named,
                    named,
                )
            if row is None:
                raise NotFound(f"There is no tenant {named}.", id=named)
            found: UUID = row["tenant_id"]
            directory.remember(found, row["partition"])
            return found

        async def scrape() -> bytes:
            return await to_thread.run_sync(metrics.scrape, await looks.readings())

        with observing(settings, "api") as metrics, metrics.sampling(lambda: _sample(performer, reads, live)):
            yield Services(
                performer=performer,
                reads=reads,
                authenticator=Authenticator(
                    key_look_up(reads, directory.remember),
                    session_look_up(reads, directory.remember),
                    generation,
                    find_tenant,
                ),
                partition_of=directory.partition_of,
                root_keys=cache(partial(root_keys, settings)),
                pin_tenant=directory.pin,
                jobs=jobs,
                projection_orders=projection_orders(endpoints),
                ready=looks.checks,
                scrape=scrape,
                metrics_token=settings.metrics_token.get_secret_value() if settings.metrics_token else None,
                live=live,
                read_timeout_s=settings.read_timeout_s,
            )
    finally:
        await live.close()
        await to_thread.run_sync(performer.close)
        if listener is not None:
            await to_thread.run_sync(listener.close)
        if doorbell is not None:
            await to_thread.run_sync(doorbell.close)
        await looks.close()
        await reads.close()
        jobs.close()
        directory.close()


#: A person who asks from a cold start waits for imports too.
PATIENT_LOOK_S = 5.0


async def look_around(settings: Settings) -> tuple[VitalSigns | str, list[Check]]:
    """What the database says, and what ``/readyz`` makes of it, for a process that serves nothing."""
    endpoints = Endpoints.locate(settings)
    reads = open_read_pool(endpoints, max_size=2)
    await reads.open()
    looks = _Looks(settings, endpoints, reads, timeout_s=PATIENT_LOOK_S)
    try:
        return await looks.look()
    finally:
        await looks.close()
        await reads.close()


class _Looks:
    """What the API looks at to say how Felix is."""

    def __init__(
        self, settings: Settings, endpoints: Endpoints, reads: ReadPool, *, timeout_s: float = LOOK_TIMEOUT_S
    ) -> None:
        self._data_dir = settings.data_dir
        feeds: dict[str, FeedName] = {**registry.FOLLOWING, **{policy.name: "events" for policy in POLICIES}}

        async def ask_database() -> VitalSigns | str:
            try:
                return await take(reads, feeds)
            except (FelixError, psycopg.Error) as error:
                return f"The database does not answer as it should: {error}"

        async def ask_valkey() -> bool | None:
            url = endpoints.redis_url
            return None if url is None else await to_thread.run_sync(answers, url)

        late = f"The database does not answer within {timeout_s:g} s."
        self._database = OneLook[VitalSigns | str](ask_database, late, timeout_s)
        self._valkey = OneLook[bool | None](ask_valkey, False, timeout_s)

    async def look(self) -> tuple[VitalSigns | str, list[Check]]:
        """What the database says, and the checks of ``/readyz``."""
        signs, valkey_answers = await asyncio.gather(self._database.look(), self._valkey.look())
        return signs, checks_of(signs, valkey_answers, self._data_dir)

    async def checks(self) -> list[Check]:
        """The checks of ``/readyz``."""
        return (await self.look())[1]

    async def readings(self) -> list[tuple[measures.Measure, measures.Labels, float]]:
        """What is asked for a scrape."""
        signs, valkey_answers = await asyncio.gather(self._database.look(), self._valkey.look())
        disk = disk_of(self._data_dir)
        return [
            (measures.DATABASE_UP, (), float(not isinstance(signs, str))),
            *([] if valkey_answers is None else [(measures.VALKEY_UP, (), float(valkey_answers))]),
            (measures.DISK_FREE, (), disk.free),
            (measures.DISK_SIZE, (), disk.total),
            *([] if isinstance(signs, str) else signs.readings()),
        ]

    async def close(self) -> None:
        """End what still hangs."""
        await self._database.close()
        await self._valkey.close()


@contextmanager
def observing(settings: Settings, kind: str) -> Iterator[Metrics]:
    """Count, and trace where that is asked for, for as long as the process works."""
    metrics = open_metrics(settings.metrics_dir, kind, settings.process_name)
    try:
        with tracing(kind):
            yield metrics
    finally:
        metrics.close()


def supervise_metrics(directory: Path) -> Metrics:
    """Begin to count anew in a directory of which this process starts all others that use it."""
    clean(directory)
    return open_metrics(directory, "supervisor", "supervisor")


def _sample(performer: Performer, reads: ReadPool, live: LiveHub) -> None:
    measures.LIVE_CONNECTIONS.set(live.streams)
    for partition, waiting in performer.waiting().items():
        measures.WAITING.set(waiting, str(partition))
    for use in reads.use():
        measures.DATABASE_CONNECTIONS.set(use.busy, use.pool, "busy")
        measures.DATABASE_CONNECTIONS.set(use.idle, use.pool, "idle")
        measures.DATABASE_WAITING.set(use.waiting, use.pool)
