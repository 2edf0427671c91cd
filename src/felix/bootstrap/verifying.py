"""Reading the whole log once more, beside what people see of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from uuid import UUID

from felix.application.verification import PartitionAudit, Report, RetoldBalance
from felix.bootstrap.books import open_directory, open_read_pool
from felix.bootstrap.endpoints import Endpoints
from felix.eventstore import audit
from felix.eventstore.connections import connect
from felix.eventstore.reader import command_heads, heads
from felix.projections import balances, token_transactions

#: Before every expiry: the question then answers what the fold has added up, and takes nothing off for the clock.
BEFORE_ALL = datetime(1970, 1, 1, tzinfo=UTC)

#: Accounts that a verification reads at once, and events after which it says how far it is.
VERIFY_PAGE = 1_000


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
