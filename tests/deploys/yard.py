"""Where changes are taken from request to end in a test: a tenant's apps, the people around them, and the steps.

What a person or a worker does next follows from the log alone, so whoever is killed is followed by another who goes on
where the log ends. The clock is the test's: it stands still until nothing is to be done, then jumps to the next timer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any
from uuid import UUID

from felix import bootstrap
from felix.application.apps.at_work import AppsAtWork
from felix.application.changes.asking import asking
from felix.application.changes.steps.stepper import FENCED, Stepper
from felix.application.outcome import Outcome
from felix.application.performer import Performer, new_context
from felix.domain.apps.measured import Running
from felix.domain.apps.tree import AppTree
from felix.domain.base import Command
from felix.domain.changes import messages as m
from felix.domain.changes.change import Change
from felix.domain.changes.environment import AppEnvironment
from felix.domain.ledger.messages import GrantTokens, OpenTokenAccount
from felix.eventstore.aggregates import Aggregates
from felix.eventstore.connections import connect
from felix.eventstore.sealing import new_root_key
from felix.settings import Settings

PARTITIONS = 4
#: Lives in partition 0.
TENANT = UUID("0192f000-0000-7000-8000-000000000000")
PLACE = (0, TENANT)
ASKER, APPROVER, OWNER = "client_member:usr_asks", "client_approver:usr_approves", "client_owner:usr_owns"
WORKER = "system:changes"
ROOT_KEY = new_root_key()
#: What the process of a nursery is told, and what came of it.
Ask = Callable[[dict[str, Any]], dict[str, Any]]
#: No two changes have an object in common: one that is missing is not made up for by another's.
PROMPT = 'Add a date field called "{app}" to deals and show it in the list'
TOKENS_MTOK = 10_000_000
#: A canary with a look at each step, and a watch that is over at once.
CANARY = m.Strategy(kind="canary", steps=[5, 50], hold_s=0, bake_s=0, max_wait_s=0)
MOST_STEPS = 80

FILES: dict[str, Any] = {
    "app.json": {"spec_version": 1, "app": "shop", "title": "The Shop"},
    "entities/deal.json": {
        "title": "Deal",
        "plural": "Deals",
        "named_by": "title",
        "fields": {"title": {"type": "text", "label": "Title", "required": True}},
    },
    "views/deals.json": {"kind": "list", "entity": "deal", "title": "Deals", "columns": [{"field": "title"}]},
    "views/deal_form.json": {
        "kind": "form",
        "entity": "deal",
        "title": "Deal",
        "sections": [{"title": "Deal", "fields": ["title"]}],
    },
    "tests/making.json": {
        "title": "A deal is made",
        "when": [{"create": "ours", "entity": "deal", "values": {"title": "Bread"}}],
        "then": [{"record": "ours", "has": {"title": "Bread"}}],
    },
}


class Stuck(AssertionError):
    """Nothing more happens to a change that is not over."""


@dataclass
class Yard:
    """A performer, the steps, and the objects and repositories that they write."""

    database: str
    home: Path
    performer: Performer
    apps: AppsAtWork
    stepper: Stepper
    aggregates: Aggregates
    settings: Settings
    #: Commands that came too late.
    late: int = 0
    at: datetime = field(default_factory=lambda: datetime.now(UTC))
    _keys: Iterator[int] = field(default_factory=count)

    def do(
        self, command: Command, actor: str, key: str | None = None, enclosed: dict[str, Any] | None = None
    ) -> Outcome:
        """Perform a command at the test's time."""
        context = new_context(TENANT, key or f"yard-{self.at.timestamp()}-{next(self._keys)}", actor, enclosed=enclosed)
        context.at = self.at
        outcome = self.performer.perform_blocking(command, context, timeout_s=30)
        self.late += not outcome.accepted and isinstance(outcome.refusal, FENCED)
        return outcome

    def found(self, app: str, account_id: str, files: dict[str, Any] | None = None) -> AppTree:
        """Begin an app in both environments."""
        tree = AppTree({**FILES, "app.json": {**FILES["app.json"], "title": app}, **(files or {})})
        release = bootstrap.open_releases(self.settings).put(tree)
        command = m.CreateApp(app=app, title=app, release=release, tree=tree.digest)
        _ = self.do(command, "founder:usr_founds").result
        return tree

    def account(self, tokens_mtok: int = TOKENS_MTOK) -> str:
        """A new account with tokens."""
        account_id: str = self.do(OpenTokenAccount(name="Main"), "founder:usr_founds").result["account_id"]
        if tokens_mtok:
            _ = self.do(GrantTokens(account_id=account_id, amount_mtok=tokens_mtok), "founder:usr_founds").result
        return account_id

    def ask(self, app: str, account_id: str, prompt: str = PROMPT, environment: str = "production", **more: Any) -> str:
        """Ask for a change; its id."""
        fields = {"app": app, "environment": environment, "account_id": account_id, **more}
        vault = bootstrap.open_vault(self.settings)()
        words = prompt.format(app=app)
        command, enclosed = asking(bootstrap.root_keys(self.settings), vault, TENANT, fields, words)
        change_id: str = self.do(command, ASKER, enclosed=enclosed).result["change_id"]
        return change_id

    def change(self, change_id: str) -> Change:
        """A change as it is now."""
        found = self.aggregates.find(PLACE, Change, change_id)
        assert found is not None
        return found

    def environment(self, change: Change) -> AppEnvironment:
        """Where it goes to, as it is now."""
        found = self.aggregates.find(PLACE, AppEnvironment, change.where)
        assert found is not None
        return found

    def drive(self, change_id: str, people: People) -> Change:
        """Take steps until the change is over; between them people do what they do."""
        for _ in range(MOST_STEPS):
            change = self.change(change_id)
            if (command := people(self, change)) is not None:
                outcome = self.do(command, actor_of(command), f"{change_id}-{command.command_name}-{change.version}")
                assert outcome.accepted or isinstance(outcome.refusal, FENCED), outcome.refusal
                continue
            stepped = self.stepper.step(PLACE, change_id, lambda command: self.do(command, WORKER), self.at)
            if stepped.goes_on:
                continue
            if self.change(change_id).is_over:
                return self.change(change_id)
            if stepped.did is None and stepped.until is None and self.change(change_id).version == change.version:
                raise Stuck(f"{change.state} at version {change.version}")
            self.at = max(self.at + timedelta(milliseconds=1), stepped.until or self.at)
        raise Stuck(f"{self.change(change_id).state} after {MOST_STEPS} steps")


People = Callable[[Yard, Change], Command | None]


def actor_of(command: Command) -> str:
    """Who does what in a yard."""
    return APPROVER if isinstance(command, m.ApproveChange) else OWNER


def agreeing(strategy: m.Strategy = CANARY) -> People:
    """People who agree, and let the change go live in some way."""

    def people(yard: Yard, change: Change) -> Command | None:
        seen = {"change_id": change.local_id, "expected_version": change.version}
        if change.state == "awaiting_approval" and change.binding is not None:
            return m.ApproveChange(**seen, binding=change.binding.digest)
        if change.state == "approved":
            return m.DeployChange(**seen, strategy=strategy)
        return None

    return people


def aborting(yard: Yard, change: Change) -> Command | None:
    """The same, who think better of it when half of the people have the new release."""
    if change.state == "canary" and change.weight == CANARY.steps[-1]:
        return m.AbortDeploy(change_id=change.local_id, expected_version=change.version, reason="It looks wrong.")
    return agreeing()(yard, change)


def failing(yard: Yard, change: Change) -> Command | None:
    """The same, whose new release can't answer half of the people who have it."""
    if change.state == "canary" and change.weight == CANARY.steps[-1]:
        running = Running(*PLACE, change.app, change.environment, str(change.release))
        for measure in ("requests", "failed_requests"):
            yard.apps.measurements.count(running, measure, 50)
        yard.apps.measurements.write()
        # Counts are of the real minute, which may have begun since the test's clock stands still.
        yard.at = max(yard.at, datetime.now(UTC))
    return agreeing()(yard, change)


#: What people do, and what becomes of the change.
OUTCOMES: dict[str, tuple[People, str]] = {
    "success": (agreeing(), "deployed"),
    "rollback": (failing, "rolled_back"),
    "abort": (aborting, "rolled_back"),
}


@contextmanager
def open_yard(database: str, home: Path, root_key: str = ROOT_KEY) -> Iterator[Yard]:
    """A yard on a database; ``home`` keeps objects and repositories."""
    settings = Settings(_env_file=None, database_url=database, partitions=PARTITIONS, root_key=root_key, data_dir=home)
    endpoints = bootstrap.Endpoints(database, None, None)
    with ExitStack() as stack:
        directory = bootstrap.open_directory(endpoints, partitions=PARTITIONS)
        stack.callback(directory.close)
        directory.pin(TENANT, "acme", "Acme", partition=0)
        performer = bootstrap.open_performer(endpoints, directory.partition_of)
        stack.callback(performer.close)
        desk = bootstrap.open_documents(endpoints, settings)
        stack.callback(desk.index.close)
        apps = stack.enter_context(bootstrap.open_apps_at_work(endpoints, settings))
        secrets = bootstrap.open_secrets(endpoints, performer, directory.partition_of, settings)
        stepper = stack.enter_context(bootstrap.open_stepper(endpoints, settings, apps, desk.index, secrets))
        aggregates = Aggregates(lambda: connect(endpoints.writer_url))
        stack.callback(aggregates.close)
        yield Yard(database, home, performer, apps, stepper, aggregates, settings)
