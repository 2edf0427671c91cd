"""Puts the rooms together: the only place that knows every one of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from shutil import rmtree
from threading import Event
from typing import TYPE_CHECKING, Any
from uuid import UUID

import psycopg
from anyio import to_thread
from psycopg import sql

from felix import measures
from felix.adapters.doorbell import Doorbell, Listener, answers
from felix.adapters.mail import open_mailer
from felix.adapters.metrics import Metrics, clean, open_metrics
from felix.adapters.passwords import Argon2Passwords
from felix.adapters.pdf import read_pdf
from felix.adapters.tracing import tracing
from felix.api.addresses import read_networks
from felix.api.auth import Authenticator
from felix.api.credentials import impersonation_look_up, key_look_up, session_look_up
from felix.api.http import Services
from felix.api.key_uses import LastUses
from felix.api.live.hub import LiveHub
from felix.api.one_look import LOOK_TIMEOUT_S, OneLook
from felix.api.rate_limits import RateLimits
from felix.api.readiness import Check, checks_of, disk_of
from felix.api.watch import log_requests
from felix.application import handlers as _handlers
from felix.application import policies
from felix.application.apps.at_work import AppsAtWork
from felix.application.apps.releases import Releases
from felix.application.changes.planners import GrammarPlanner, Planner, PlannerChain
from felix.application.changes.steps.stepper import Stepper
from felix.application.changes.steps.workbench import Planners, Workbench
from felix.application.changes.transcripts import Transcripts
from felix.application.context import PassageIndex
from felix.application.documents import DocumentDesk, SourceReader
from felix.application.identity import Inviter
from felix.application.performer import Performer, new_context
from felix.application.policies.base import Terms
from felix.application.post import Post
from felix.application.secrets import Secrets, TenantSecretStore, User
from felix.application.verification import PartitionAudit, Report, RetoldBalance
from felix.domain.base import Command
from felix.domain.changes.modules import newest
from felix.domain.context.reading import Reading
from felix.domain.errors import FelixError, Invalid, NotFound, Unavailable
from felix.domain.identity.roles import PLATFORM
from felix.domain.identity.user import EraseUser
from felix.domain.privacy.erasure import ErasePersonalData
from felix.embedded.backup_store import ERASURE_KEY_FILE, BackupStore
from felix.eventstore import audit, subscription
from felix.eventstore.aggregates import Aggregates
from felix.eventstore.api_keys import KeyUses
from felix.eventstore.app_measurements import AppMeasurements
from felix.eventstore.connections import connect, role_url, without_user, writer_url
from felix.eventstore.context_index import ContextIndex
from felix.eventstore.effects import EffectBook
from felix.eventstore.erasure_key import ErasureKeyFile
from felix.eventstore.foreign_schema import read_schema
from felix.eventstore.jobs import JobBook, ScheduleBook
from felix.eventstore.migrations import Migration, migrate
from felix.eventstore.partition_log import PartitionLog
from felix.eventstore.reader import command_heads, heads
from felix.eventstore.sealing import RootKeys
from felix.eventstore.sign_in import Purpose
from felix.eventstore.sign_in_book import SignInBook
from felix.eventstore.tenant_secrets import SecretShelf
from felix.eventstore.tenants import TenantDirectory
from felix.eventstore.vault import EVERY_SUBJECT, Vault
from felix.eventstore.vault_shelf import VaultShelf
from felix.modules.library import hooks, library
from felix.projections import balances, registry, token_transactions
from felix.projections.app_shelf import AppShelf
from felix.projections.feeds import FeedName
from felix.projections.reactions import place_cursors, reaction
from felix.projections.rebuild_orders import ProjectionOrders, Rebuilder, rebuild_new_versions
from felix.projections.runner import ProjectionRunner
from felix.projections.tenant_tx import ReadPool
from felix.projections.vital_signs import VitalSigns, take
from felix.settings import Settings

if TYPE_CHECKING:
    # Imported where they are used: an HTTP client takes longer to load than most commands take.
    from felix.adapters.github import GitHubApp
    from felix.adapters.objects import Objects
    from felix.adapters.oidc import OidcProvider

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
#: The secret of the platform that is the private key of its GitHub App.
GITHUB_APP_KEY = "github.app-key"
#: What runs here, and where, while ``felix up`` does.
PROCESSES_FILE = "processes.json"
#: Made by ``felix up``; whoever restores a database needs it too.
ROOT_KEY_FILE = "root-key"
#: Why somebody is erased once more after a restore.
ERASED_BEFORE = "This was erased after the moment to which the database was restored."
#: Where mails are left while there is no mail server, in a directory for each person.
MAIL_DIR = "mail"
#: The git repositories of clients.
REPOSITORIES_DIR = "repositories"
#: What the driver raises when the database is away, for those who may not import it.
DATABASE_ERRORS = (psycopg.OperationalError, psycopg.InterfaceError)


class NotRunning(Unavailable):
    """Felix is not running here. Start it with `felix up`, or set FELIX_DATABASE_URL."""


class NoRootKey(Unavailable):
    """There is no root key here. `felix up` makes one; elsewhere set FELIX_ROOT_KEY to the one of this database."""


class NoGitHubApp(Invalid):
    """Felix is no GitHub App here. Set FELIX_GITHUB_APP_ID and the secret github.app-key of the platform."""


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


def following_root_keys(settings: Settings) -> Callable[[], RootKeys]:
    """The root keys for a process that runs on while they are rotated: the file is read again when it was replaced."""
    path = settings.data_dir / ROOT_KEY_FILE
    known: tuple[tuple[int, int] | None, RootKeys] | None = None

    def follow() -> RootKeys:
        nonlocal known
        seen = None
        if settings.root_key is None:
            with suppress(OSError):
                found = path.stat()
                seen = (found.st_ino, found.st_mtime_ns)
        if known is None or known[0] != seen:
            known = (seen, root_keys(settings))
        return known[1]

    return follow


def erasure_key(settings: Settings) -> ErasureKeyFile:
    """The erasure key of this installation, which ``felix up`` makes where it brings its own Postgres."""
    return ErasureKeyFile(settings.data_dir / ERASURE_KEY_FILE)


def open_vault(settings: Settings) -> Callable[[], Vault]:
    """The vault, with the root keys that are in force when it is asked for."""
    follow, key = following_root_keys(settings), erasure_key(settings)
    return lambda: Vault(follow(), key if key.path.exists() else None)


def open_sign_in_book(endpoints: Endpoints) -> SignInBook:
    """What sign-in keeps without a command."""
    url = endpoints.writer_url
    return SignInBook(lambda: connect(url))


def open_post(settings: Settings, book: SignInBook) -> Post:
    """How Felix writes to people, and makes links for those who hand them over in another way."""
    url = settings.smtp_url.get_secret_value() if settings.smtp_url else None
    mailer = open_mailer(url, settings.mail_from, settings.data_dir / MAIL_DIR)
    return Post(mailer, following_root_keys(settings), book, public_url(settings))


def open_inviter(settings: Settings) -> Callable[[], Inviter]:
    """How people are invited, with the root keys that are in force when it is asked for."""
    vault, keys = open_vault(settings), following_root_keys(settings)
    return lambda: Inviter(vault(), keys(), public_url(settings))


def open_sign_in_provider(settings: Settings) -> OidcProvider | None:
    """The OpenID provider that people may sign in with, if there is one."""
    if settings.oidc_issuer is None or settings.oidc_client_id is None:
        return None
    from felix.adapters.oidc import OidcProvider

    secret = settings.oidc_client_secret.get_secret_value() if settings.oidc_client_secret else None
    callback = f"{public_url(settings).rstrip('/')}/v1/oidc/callback"
    return OidcProvider(settings.oidc_issuer, settings.oidc_client_id, secret, callback)


def public_url(settings: Settings) -> str:
    """Where people reach Felix: as set, or where the `felix up` of this directory says that it listens."""
    if settings.public_url is not None:
        return settings.public_url
    with suppress(OSError, ValueError, KeyError):
        return str(json.loads((settings.data_dir / PROCESSES_FILE).read_text())["url"])
    return f"http://{settings.host}:{settings.port}"


def make_link(settings: Settings, endpoints: Endpoints, purpose: Purpose, user_id: str) -> str:
    """A link for a user, to be handed over by somebody who knows that it gets to the right person."""
    book = open_sign_in_book(endpoints)
    try:
        return open_post(settings, book).make_link(purpose, user_id)
    finally:
        book.close()


def kept_outside(settings: Settings, tenant_id: UUID, subject_id: str) -> dict[str, Any]:
    """What is kept of a subject outside of the database."""
    key, mails = erasure_key(settings), settings.data_dir / MAIL_DIR / subject_id
    return {
        "erasure_key": key.path.exists() and key.knows(str(tenant_id), subject_id),
        "mails": len(list(mails.iterdir())) if mails.is_dir() else 0,
    }


def forget_outside(settings: Settings, tenant_id: UUID, subject_id: str) -> dict[str, Any]:
    """Forget what is kept of a subject outside of the database: its erasure key, here and in the backups, and mails."""
    key, backups = erasure_key(settings), BackupStore(settings.backup_dir or settings.data_dir / "backups")
    went = kept_outside(settings, tenant_id, subject_id)
    if key.path.exists():
        key.forget([(str(tenant_id), subject_id)])
        if backups.keys.exists():
            backups.mirror_erasure_key(settings.data_dir)
    if went["mails"]:
        rmtree(settings.data_dir / MAIL_DIR / subject_id)
    return went


def erase_again(endpoints: Endpoints, key: ErasureKeyFile, *, partitions: int) -> int:
    """Erase in a restored database whoever was erased after its moment; how many.

    Nobody needs a list of them: they are those whom the erasure key has forgotten.
    """
    if not key.path.exists():
        return 0
    with connect(endpoints.writer_url) as connection:
        kept = connection.execute(EVERY_SUBJECT).fetchall()
    forgotten = [(tenant_id, subject) for _, tenant_id, subject in kept if not key.knows(str(tenant_id), subject)]
    directory = open_directory(endpoints, partitions=partitions)
    performer = open_performer(endpoints, directory.partition_of)
    try:
        for tenant_id, subject in forgotten:
            command: Command = (
                EraseUser(user_id=subject, reason=ERASED_BEFORE)
                if tenant_id == PLATFORM and subject.startswith("usr_")
                else ErasePersonalData(subject_id=subject, reason=ERASED_BEFORE)
            )
            context = new_context(tenant_id, f"restore:erase:{subject}", "felix:restore")
            _ = performer.perform_blocking(command, context).result
    finally:
        performer.close()
        directory.close()
    return len(forgotten)


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


def open_secrets(
    endpoints: Endpoints, performer: Performer, partition_of: Callable[[UUID], int], settings: Settings
) -> TenantSecretStore:
    """Tenants' secrets, for the adapters of a worker; who uses one is written down first."""
    url = endpoints.as_role("felix_projector")
    return TenantSecretStore(performer, SecretShelf(lambda: connect(url)), partition_of, following_root_keys(settings))


def open_key_uses(endpoints: Endpoints) -> KeyUses:
    """Where it is written when keys were last used."""
    url = endpoints.writer_url
    return KeyUses(lambda: connect(url))


def open_github(settings: Settings, secrets: Secrets) -> GitHubApp | None:
    """The GitHub App that Felix acts as, if there is one; each signature uses its key, a secret of the platform."""
    if settings.github_app_id is None:
        return None

    from felix.adapters.github import GitHubApp

    def private_key(user: User) -> AbstractContextManager[str]:
        return secrets.use(PLATFORM, GITHUB_APP_KEY, purpose="github.app-jwt", user=user)

    return GitHubApp(settings.github_app_id, private_key, api_url=settings.github_api_url)


def open_objects(settings: Settings) -> Objects:
    """Where immutable things are kept that are larger than an event."""
    from felix.adapters.objects import Objects

    return Objects.open(settings.objects_url or settings.data_dir / "objects")


@dataclass(frozen=True, slots=True)
class _ObjectsWhenNeeded:
    """Object storage that is opened at its first use: most processes never need it."""

    open: Callable[[], Objects]

    def put(self, kind: str, content: bytes) -> str:
        return self.open().put(kind, content)

    def get(self, kind: str, digest: str) -> bytes:
        return self.open().get(kind, digest)


def open_releases(settings: Settings) -> Releases:
    """The releases of all apps."""
    return Releases(_ObjectsWhenNeeded(cache(lambda: open_objects(settings))), hooks())


@contextmanager
def open_apps_at_work(endpoints: Endpoints, settings: Settings) -> Iterator[AppsAtWork]:
    """What jobs run apps with; closed in order."""
    from felix.adapters.webhooks import Webhooks

    reader, projector = endpoints.as_role("felix_reader"), endpoints.as_role("felix_projector")
    writer = endpoints.writer_url
    smtp_url = settings.smtp_url.get_secret_value() if settings.smtp_url else None
    with (
        closing(AppShelf(lambda: connect(reader))) as shelf,
        closing(EffectBook(lambda: connect(projector))) as book,
        closing(AppMeasurements(lambda: connect(writer))) as measurements,
        closing(VaultShelf(lambda: connect(reader), open_vault(settings))) as vault,
        closing(open_directory(endpoints, partitions=settings.partitions)) as directory,
    ):
        yield AppsAtWork(
            releases=open_releases(settings),
            shelf=shelf,
            effects=book,
            mailer=open_mailer(smtp_url, settings.mail_from, settings.data_dir / MAIL_DIR),
            webhooks=Webhooks(private=settings.private_sources),
            measurements=measurements,
            personal=vault.open,
            partition_of=directory.partition_of,
        )


@contextmanager
def open_stepper(
    endpoints: Endpoints, settings: Settings, apps: AppsAtWork, passages: PassageIndex
) -> Iterator[Stepper]:
    """Who takes the steps of changes, with what jobs run apps with."""
    from felix.adapters.repositories import AppRepository

    url, versions = endpoints.writer_url, library()
    with closing(Aggregates(lambda: connect(url))) as aggregates:
        yield Stepper(
            Workbench(
                aggregates=aggregates,
                objects=open_objects(settings),
                releases=apps.releases,
                repository=cache(partial(AppRepository, settings.data_dir / REPOSITORIES_DIR)),
                kept=apps.personal,
                passages=passages,
                planners=open_planners(settings),
                measurements=apps.measurements,
                library=versions,
                catalogue=newest(versions),
            )
        )


def open_planners(settings: Settings) -> Planners:
    """The planners of each tenant in their order; the SDKs of language models are loaded when one is first asked."""
    transcripts = Transcripts(_ObjectsWhenNeeded(cache(lambda: open_objects(settings))), following_root_keys(settings))

    @cache
    def language_model(tenant_id: UUID) -> Planner:
        from felix.adapters.llm_models import ModelEndpoint
        from felix.adapters.llm_planner import LLMPlanner

        endpoint = ModelEndpoint.of(str(settings.planner_model), settings.planner_base_url)
        key = settings.planner_key.get_secret_value() if settings.planner_key else ""
        return LLMPlanner(
            endpoint.provider,
            endpoint.model,
            endpoint.open,
            lambda: nullcontext(key),
            partial(transcripts.keep, tenant_id),
        )

    def chosen(tenant_id: UUID, planner: str | None, model: str | None) -> PlannerChain:
        # Whoever asked for a model by its name gets this one or none: another would have another price.
        if settings.planner_model is None or planner == "grammar" or model not in (None, settings.planner_model):
            return PlannerChain((GrammarPlanner(),))
        asked = language_model(tenant_id)
        return PlannerChain((asked,) if planner == "llm" else (GrammarPlanner(), asked))

    return chosen


def open_context_index(endpoints: Endpoints) -> ContextIndex:
    """The index of what planners may read."""
    writer, reader = endpoints.writer_url, endpoints.as_role("felix_reader")
    return ContextIndex(lambda: connect(writer), lambda: connect(reader))


def open_documents(endpoints: Endpoints, settings: Settings) -> DocumentDesk:
    """Where documents are read and indexed; close its index."""
    return DocumentDesk(open_context_index(endpoints), cache(lambda: open_objects(settings)), read_pdf)


def open_source_reader(settings: Settings) -> SourceReader:
    """Reads databases and repositories for a worker."""

    def read(secrets: Secrets, tenant_id: UUID, source: Mapping[str, Any], user: User) -> Reading:
        if source["kind"] == "database":
            from felix.adapters.safe_addresses import safe_addresses

            safe = partial(safe_addresses, private=settings.private_sources)
            with secrets.use(tenant_id, source["secret"], purpose="documents.read-schema", user=user) as url:
                return Reading.of(read_schema(url, safe))

        from felix.adapters.repository_reader import RepositoryReader

        github = open_github(settings, secrets)
        if github is None:
            raise NoGitHubApp()
        try:
            return RepositoryReader(github).read(source["repository"], source["branch"], user)
        finally:
            github.close()

    return read


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


def listen_to_doorbell(
    endpoints: Endpoints, heard: Callable[[int, int], None], wanted: Event | None = None
) -> Listener | None:
    """Hears what other processes committed, while that is wanted; not started yet, and None without Valkey."""
    return None if endpoints.redis_url is None else Listener(endpoints.redis_url, heard, wanted)


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
    document_desk = open_documents(endpoints, settings)
    measurements = AppMeasurements(lambda: connect(endpoints.writer_url))
    provider = open_sign_in_provider(settings)

    def committed(partition: int, position: int) -> None:
        doorbell.ring(partition, position)
        live.wake(partition, position)

    performer = open_performer(endpoints, directory.partition_of, committed=committed)
    authenticator = _authenticator(reads, directory)
    key_uses = open_key_uses(endpoints)
    passwords, sign_in_book = Argon2Passwords(), open_sign_in_book(endpoints)

    def write_uses(used_at: Mapping[str, datetime]) -> None:
        key_uses.write(used_at)
        sign_in_book.seen(used_at)

    last_uses = LastUses(authenticator.take_uses, write_uses)
    looks = _Looks(settings, endpoints, reads)
    listener = listen_to_doorbell(endpoints, live.wake, live.followed)
    await reads.open()
    last_uses.start()
    if listener is not None:
        listener.start()
    try:

        async def scrape() -> bytes:
            return await to_thread.run_sync(metrics.scrape, await looks.readings())

        with observing(settings, "api") as metrics, metrics.sampling(lambda: _sample(performer, reads, live)):
            yield Services(
                performer=performer,
                reads=reads,
                authenticator=authenticator,
                partition_of=directory.partition_of,
                root_keys=following_root_keys(settings),
                vault=open_vault(settings),
                pin_tenant=directory.pin,
                jobs=jobs,
                projection_orders=projection_orders(endpoints),
                objects=_ObjectsWhenNeeded(cache(lambda: open_objects(settings))),
                releases=open_releases(settings),
                measurements=measurements,
                library=library,
                documents=document_desk,
                ready=looks.checks,
                scrape=scrape,
                metrics_token=settings.metrics_token.get_secret_value() if settings.metrics_token else None,
                live=live,
                rate_limits=RateLimits(
                    reads_per_s=settings.limit_reads_per_s,
                    writes_per_s=settings.limit_writes_per_s,
                    client_times=settings.limit_client_times,
                    strangers_per_minute=settings.limit_strangers_per_minute,
                    processes=settings.api_processes,
                ),
                passwords=passwords,
                sign_in_book=sign_in_book,
                inviter=open_inviter(settings),
                sign_in_provider=provider,
                trusted_proxies=read_networks(settings.trusted_proxies),
                planner_model=settings.planner_model,
                read_timeout_s=settings.read_timeout_s,
            )
    finally:
        if provider is not None:
            provider.close()
        await live.close()
        await last_uses.close()
        key_uses.close()
        sign_in_book.close()
        passwords.close()
        await to_thread.run_sync(performer.close)
        if listener is not None:
            await to_thread.run_sync(listener.close)
        if doorbell is not None:
            await to_thread.run_sync(doorbell.close)
        await looks.close()
        await reads.close()
        jobs.close()
        document_desk.index.close()
        await to_thread.run_sync(measurements.close)
        directory.close()


def _authenticator(reads: ReadPool, directory: TenantDirectory) -> Authenticator:
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

    return Authenticator(
        key_look_up(reads, directory.remember),
        session_look_up(reads, directory.remember),
        generation,
        find_tenant,
        impersonation_look_up(reads, directory.partition_of),
    )


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
