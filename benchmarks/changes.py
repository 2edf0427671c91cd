"""Changes: from a prompt to its diff, and from the decision to roll back to the old release answering.

One real worker with its policies, timers and threads; the prompts are performed here, one after the other, each for an
app of its own with the CRM module. The diff is there when its event is in the log: context, plan by the grammar planner
and diff are six commands and five objects. Then half of the people get the new release, and somebody aborts: the old
release answers everybody when the pointer that each request reads names nothing else, and it is ready to serve.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

from benchmarks.books import new_key, open_books, performing
from benchmarks.load import percentile
from benchmarks.report import Row
from benchmarks.server import Bench
from felix import bootstrap
from felix.application.changes.asking import asking
from felix.application.changes.founding import founding
from felix.application.performer import new_context
from felix.domain.base import Command
from felix.domain.changes import messages as m
from felix.domain.changes.change import Change
from felix.eventstore.aggregates import Aggregates
from felix.eventstore.connections import connect
from felix.eventstore.sealing import new_root_key
from felix.modules.library import library
from felix.projections.app_shelf import AppShelf
from felix.settings import Settings

PROMPT = "Add a required due date to deals and show it in the list"
ASKER, APPROVER, OWNER = "client_member:usr_asks", "client_approver:usr_approves", "client_owner:usr_owns"
#: Half of the people have the new release for as long as it is watched.
CANARY = m.Strategy(kind="canary", steps=[50], hold_s=600)
LOOK_EVERY_S = 0.002
TIMEOUT_S = 30.0


def run(bench: Bench) -> list[Row]:
    """Measure."""
    endpoints, home, root_key = bench.database("changes"), Path(bench.directory) / "changes", new_root_key()
    settings = Settings(_env_file=None, root_key=root_key, data_dir=home)
    (books,) = open_books(endpoints, tenants=1, accounts=1)
    place, account_id = (books.partition, books.tenant_id), books.accounts[0]
    releases, keys = bootstrap.open_releases(settings), bootstrap.root_keys(settings)
    vault = bootstrap.open_vault(settings)()
    diffs: list[float] = []
    rollbacks: list[float] = []
    with ExitStack() as stack:
        performer = stack.enter_context(performing(endpoints))
        doorbell = stack.enter_context(closing(bootstrap.open_doorbell(endpoints)))
        aggregates = stack.enter_context(closing(Aggregates(lambda: connect(endpoints.writer_url))))
        shelf = stack.enter_context(closing(AppShelf(lambda: connect(endpoints.as_role("felix_reader")))))
        stack.enter_context(bench.worker(endpoints, FELIX_ROOT_KEY=root_key, FELIX_DATA_DIR=str(home)))

        def do(command: Command, actor: str, enclosed: dict[str, object] | None = None) -> dict[str, object]:
            outcome = performer.perform_blocking(
                command, new_context(books.tenant_id, new_key("c"), actor, enclosed=enclosed)
            )
            doorbell.ring(outcome.partition, outcome.last_position or 0)
            return outcome.result

        def until(reached: Callable[[Change], bool], change_id: str) -> Change:
            deadline = time.perf_counter() + TIMEOUT_S
            while True:
                change = aggregates.find(place, Change, change_id)
                assert change is not None
                if reached(change):
                    return change
                assert time.perf_counter() < deadline and not change.is_over, change.state
                time.sleep(LOOK_EVERY_S)

        for _ in range(bench.rounds):
            diffed_s, back_s = [], []
            for _ in range(1 + bench.amount(50, 3)):
                app = new_key("app").lower()
                founded = founding(releases, library(), app, "Shop", ["crm"], ["production"])
                do(founded, "founder:bench")
                fields = {"app": app, "environment": "production", "account_id": account_id}
                command, enclosed = asking(keys, vault, books.tenant_id, fields, PROMPT)
                began_at = time.perf_counter()
                change_id = str(do(command, ASKER, enclosed)["change_id"])
                until(lambda change: change.diff is not None, change_id)
                diffed_s.append(time.perf_counter() - began_at)
                change = until(lambda change: change.state == "awaiting_approval", change_id)
                assert change.binding is not None
                seen, binding = change.version, change.binding.digest
                do(m.ApproveChange(change_id=change_id, expected_version=seen, binding=binding), APPROVER)
                seen = until(lambda change: change.state == "approved", change_id).version
                do(m.DeployChange(change_id=change_id, expected_version=seen, strategy=CANARY), OWNER)
                until(lambda change: change.state == "canary", change_id)
                began_at = time.perf_counter()
                do(m.AbortDeploy(change_id=change_id, reason="It was measured."), OWNER)
                pointer = shelf.pointer(place, app, "production")
                assert pointer is not None and pointer.candidate is None
                assert releases.app(pointer.stable).release == founded.release
                back_s.append(time.perf_counter() - began_at)
            # The first one finds a worker that has just begun.
            diffs.append(percentile(diffed_s[1:], 0.95) * 1_000)
            rollbacks.append(percentile(back_s[1:], 0.99) * 1_000)
    return [
        Row("prompt to diff, grammar planner, p95", "ms", diffs, at_most=500),
        Row("rollback decided to the old release answering, p99", "ms", rollbacks, at_most=1_000),
    ]
