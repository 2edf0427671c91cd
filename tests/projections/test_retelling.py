"""Live = rebuilt; every event is handled or named as ignored; the books balance."""

from __future__ import annotations

import importlib
import pkgutil
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

import felix.domain
from felix.domain.base import FelixEvent
from felix.domain.ledger.token_account import TokenAccount
from felix.eventstore.connections import connect, writer_url
from felix.eventstore.partition_log import PartitionLog
from felix.projections import balances, token_transactions
from felix.projections.base import EVERY_EVENT, Projection
from felix.projections.registry import PROJECTIONS, discover, install
from felix.projections.tenant_tx import TenantTx

from .conftest import PARTITION, House, contents, retell


def stored_event_names() -> set[str]:
    for module in pkgutil.walk_packages(felix.domain.__path__, "felix.domain."):
        importlib.import_module(module.name)
    found, classes = set(), [FelixEvent]
    while classes:
        classes += (cls := classes.pop()).__subclasses__()
        if name := getattr(cls, "TOPIC", None):
            found.add(name)
    return found


@pytest.mark.parametrize("projection", PROJECTIONS, ids=lambda projection: projection.name)
def test_every_event_is_handled_or_named_as_ignored(projection: Projection) -> None:
    if EVERY_EVENT in projection.reads or projection.feed == "commands":
        return
    known = stored_event_names()
    nouns = {name.partition(".")[0] for name in projection.reads}
    concerned = {name for name in known if name.partition(".")[0] in nouns}
    assert len(known) > 40
    assert concerned == projection.reads | projection.ignores
    assert not projection.reads & projection.ignores


def test_projections_are_found_by_being_there() -> None:
    assert [p.name for p in discover()] == [
        "access_log",
        "app_environments",
        "app_runs",
        "audit_trail",
        "balance_snapshots",
        "balances",
        "changes",
        "commands",
        "documents",
        "members",
        "records",
        "secrets",
        "stream_heads",
        "tenants",
        "token_transactions",
        "usage",
    ]


def test_live_is_rebuilt_whatever_the_batches(house: House) -> None:
    tenants = [house.onboard("acme"), house.onboard("zeta")]
    with house.running() as runner:
        for seed, tenant_id in enumerate(tenants):
            house.live_a_little(tenant_id, seed)
        del runner
    house.catch_up()
    live = contents(house.url)
    assert len(live["token_transactions"]) > 50 and len(live["audit_trail"]) > 150
    assert all(live.values()), "no table is empty"
    for batch in (1, 7, 500, 100_000):
        retell(house.url, batch)
        assert contents(house.url) == live, f"batches of {batch}"


@pytest.mark.parametrize("seed", range(3))
def test_balances_say_what_the_account_says(house: House, seed: int) -> None:
    tenant_id = house.onboard()
    account_ids = house.live_a_little(tenant_id, seed + 10, steps=200)
    house.catch_up()
    log = PartitionLog(lambda: connect(writer_url(house.url)), PARTITION)
    later = datetime(2199, 1, 1, tzinfo=UTC)

    async def shown(tx: TenantTx) -> list[Any]:
        return [
            (
                await balances.account(tx, account_id, at),
                await balances.lots(tx, account_id, at),
                await balances.holds(tx, account_id, at),
            )
            for account_id in account_ids
            for at in (datetime.now(UTC), later)
        ]

    answers = iter(house.ask_as(tenant_id, shown))
    for account_id in account_ids:
        loaded = log.load(TokenAccount, f"{tenant_id}:token_account:{account_id}")
        assert loaded is not None
        aggregate = loaded[0]
        assert isinstance(aggregate, TokenAccount)
        for at in (datetime.now(UTC), later):
            account, lots, holds = next(answers)
            balance = {name: account[name] for name in aggregate.balance}
            assert balance == aggregate.balance_at(at)
            assert (account["status"], account["version"]) == (aggregate.status, aggregate.version)
            names = ("lot_id", "kind", "available_mtok", "held_mtok", "frozen_mtok", "meters", "priority")
            assert [[lot[name] for name in names] for lot in lots] == [
                [lot[name] for name in names] for lot in aggregate.lots_at(at)
            ]
            assert {hold["hold_id"] for hold in holds} == {
                hold.hold_id for hold in aggregate.holds.values() if hold.expires_at > at
            }
    log.close()


def test_the_trial_balance_is_zero_and_agrees_with_the_balances(house: House) -> None:
    tenants = [house.onboard("acme"), house.onboard("zeta")]
    for seed, tenant_id in enumerate(tenants):
        house.live_a_little(tenant_id, seed + 20)
    house.catch_up()
    for tenant_id in tenants:
        sums = house.ask_as(tenant_id, token_transactions.trial_balance)
        assert {asset: sum(accounts.values()) for asset, accounts in sums.items()} == {"TOK": 0, "EUR": 0}
        page = house.ask_as(tenant_id, balances.accounts)
        assert sums["TOK"].get("held", 0) == sum(account["held_mtok"] for account in page)
        assert -sums["TOK"].get("debt", 0) == sum(account["debt_mtok"] for account in page)
        assert sum(v for k, v in sums["TOK"].items() if k.startswith("consumed:")) == sum(
            account["consumed_mtok"] for account in page
        )

    async def founder(pool: Any) -> dict[str, dict[str, int]]:
        async with pool.founder() as tx:
            return await token_transactions.trial_balance(tx)

    assert not any(sum(accounts.values()) for accounts in house.ask(founder).values())


def test_the_last_snapshot_of_a_balance_is_the_balance(house: House) -> None:
    tenant_id = house.onboard()
    account_ids = house.live_a_little(tenant_id, 30, steps=200)
    house.catch_up()
    with psycopg.connect(house.url) as connection:
        found = connection.execute(
            "select a.account_id, s.available_mtok, s.held_mtok, s.frozen_mtok, s.debt_mtok, s.consumed_mtok, l.mtok,"
            " a.held_mtok, a.frozen_mtok, a.debt_mtok, a.consumed_mtok from read.token_accounts a"
            " cross join lateral (select * from read.balance_snapshots s where s.account_id = a.account_id"
            " order by day desc limit 1) s cross join lateral (select coalesce(sum(remaining_mtok), 0) as mtok"
            " from read.token_lots l where l.account_id = a.account_id) l"
        ).fetchall()
    assert {row[0] for row in found} == set(account_ids)
    for row in found:
        assert row[1:6] == row[6:]


def test_installing_again_changes_nothing_and_a_new_version_waits_for_its_rebuild(house: House) -> None:
    tenant_id = house.onboard()
    house.open_account(tenant_id)
    house.catch_up()
    before = contents(house.url)
    assert install(house.url) == []
    assert contents(house.url) == before

    class Renewed(balances.Balances):
        version = balances.Balances.version + 1

    assert install(house.url, [Renewed()]) == ["balances"]
    assert contents(house.url) == before
    assert house.cursor() == house.head()
    with psycopg.connect(house.url) as connection:
        cursors = connection.execute("select distinct version from felix.cursors where projection = 'balances'")
        assert cursors.fetchall() == [(balances.Balances.version,)]
        ordered = connection.execute("select projection, version, state from felix.rebuilds")
        assert ordered.fetchall() == [("balances", Renewed.version, "requested")]


def test_every_table_is_isolated_and_its_keys_begin_with_the_partition(house: House) -> None:
    with psycopg.connect(house.url) as connection:
        tables = connection.execute(
            "select c.relname, c.relrowsecurity and c.relforcerowsecurity, r.rolname,"
            " (select array_agg(a.attname::text) from pg_attribute a where a.attrelid = c.oid and a.attnotnull)"
            " from pg_class c join pg_roles r on r.oid = c.relowner"
            " where c.relnamespace = 'read'::regnamespace and c.relkind = 'r'"
        ).fetchall()
        assert {name for name, *_ in tables} == {table for p in PROJECTIONS for table in p.tables}
        for _, forced, owner, columns in tables:
            assert forced and owner == "felix_owner" and {"partition", "tenant_id"} <= set(columns)
        indexes = connection.execute(
            "select indexdef from pg_indexes where schemaname = 'read' and indexdef !~ '\\(partition, '"
        ).fetchall()
        assert indexes == []
