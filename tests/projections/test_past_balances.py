"""What was answered at a moment is answered about that moment for ever after, run-outs between events included."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

import psycopg
import pytest

from felix.application import lane
from felix.application.performer import new_command_id
from felix.domain.base import Command, CommandContext
from felix.domain.errors import FelixError
from felix.domain.ledger import messages as m
from felix.eventstore.connections import role_url
from felix.eventstore.reader import read_partition
from felix.projections import balances, past_balances
from felix.projections.balance_snapshots import BalanceSnapshots, balance_history
from felix.projections.base import connect_projector
from felix.projections.tenant_tx import ReadPool, TenantTx
from felix.projections.token_transactions import TokenTransactions

from .conftest import PARTITION, House

FOLDS = (balances.Balances(), TokenTransactions(), BalanceSnapshots())
DEEP = os.environ.get("FELIX_TEST_PROFILE") == "deep"
NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)


class Chronicle:
    """Performs commands at moments of its own, retells each at once, and keeps what was answered in between."""

    def __init__(self, house: House, seed: int) -> None:
        self.house = house
        self.random = Random(seed)
        self.tenant_id = house.onboard()
        self.at = NEW_YEAR
        self.connection = connect_projector(role_url(house.url, "felix_projector"))
        self.retold = 0

    def perform(self, command: Command) -> dict[str, Any] | None:
        """The result of a command that is given now; ``None`` where it is refused."""
        context = CommandContext(
            self.tenant_id, f"key-{next(self.house.keys)}", new_command_id(), "founder:maria", self.at
        )
        try:
            result: dict[str, Any] = self.house.performer.perform_blocking(command, context).result
        except FelixError:
            result = {}
        events = read_partition(self.connection, PARTITION, self.retold)
        for fold in FOLDS if events else ():
            if wanted := fold.wants(events):
                fold.fold(wanted, self.connection)
        self.retold += len(events)
        return result or None

    def close(self) -> None:
        self.connection.close()

    def pass_time(self, most: timedelta) -> None:
        """Let up to so much time go by."""
        self.at += timedelta(microseconds=self.random.randrange(int(most / timedelta(microseconds=1))))


async def answers(tx: TenantTx, account_ids: list[str], at: datetime) -> list[Any]:
    """What the read model says of accounts, lots and holds at a moment."""
    told: list[Any] = [await balances.accounts(tx, "", 100, at)]
    for account_id in account_ids:
        told += [await balances.account(tx, account_id, at), await balances.lots(tx, account_id, at)]
        told += [await balances.holds(tx, account_id, at)]
    return told


async def answers_afterwards(tx: TenantTx, account_ids: list[str], at: datetime) -> list[Any]:
    """The same from the log."""
    told: list[Any] = [[await whole(tx, row) for row in await past_balances.accounts(tx, "", 100, at)]]
    for account_id in account_ids:
        told += [await whole(tx, await past_balances.account(tx, account_id, at))]
        told += [
            await past_balances.lots(tx, account_id, at) or [],
            await past_balances.holds(tx, account_id, at) or [],
        ]
    return told


async def whole(tx: TenantTx, row: Any) -> Any:
    if row is None:
        return None
    return row | {"consumed_mtok": await past_balances.consumed_mtok(tx, row["account_id"], row["tenant_sequence"])}


@pytest.mark.parametrize("seed", range(40 if DEEP else 2))
def test_the_past_is_answered_as_it_was_answered_then(house: House, seed: int) -> None:
    with closing(Chronicle(house, seed)) as chronicle:
        asyncio.run(_live_and_look_back(house, chronicle, steps=100))


async def _live_and_look_back(house: House, chronicle: Chronicle, steps: int) -> None:
    random = chronicle.random
    pool = ReadPool(house.reader_url, max_size=2)
    await pool.open()
    try:
        account_ids: list[str] = []
        things: tuple[list[str], list[tuple[str, str]], list[tuple[str, str]]] = ([], [], [])
        kept: list[tuple[datetime, list[Any]]] = []
        for step in range(steps):
            if random.random() < 0.7:  # else it is given at the very moment of the one before
                chronicle.pass_time(timedelta(hours=12))
            if step % 50 == 0:
                opened = chronicle.perform(m.OpenTokenAccount(name=f"Account {step}", credit_limit_mtok=20_000))
                assert opened is not None
                account_ids.append(opened["account_id"])
            _remember(things, await _something(house, chronicle, account_ids, things))
            if random.random() < 0.5:
                chronicle.pass_time(timedelta(hours=random.choice([0.01, 30])))
                async with pool.tenant(chronicle.tenant_id, PARTITION) as tx:
                    kept.append((chronicle.at, await answers(tx, account_ids, chronicle.at)))
                # What is recorded at the very moment of an answer counts afterwards, and can't have then.
                chronicle.at += timedelta(microseconds=1)
        for at, told in kept:
            known = [row["account_id"] for row in told[0]]
            asked = account_ids[: (len(told) - 1) // 3]
            async with pool.tenant(chronicle.tenant_id, PARTITION) as tx:
                assert await answers_afterwards(tx, asked, at) == told, at
            assert set(known) == set(asked)
        async with pool.tenant(chronicle.tenant_id, PARTITION) as tx:
            assert await past_balances.account(tx, account_ids[0], NEW_YEAR - timedelta(days=1)) is None
            assert await past_balances.lots(tx, account_ids[0], NEW_YEAR - timedelta(days=1)) is None
    finally:
        await pool.close()


async def _something(
    house: House, chronicle: Chronicle, account_ids: list[str], things: tuple[list[str], list[Any], list[Any]]
) -> dict[str, Any]:
    """One of everything an account can be asked, with lots and holds that run out within days."""
    random, account_id = chronicle.random, chronicle.random.choice(account_ids)
    chance = random.random()
    command: Command
    if chance < 0.15:
        expires_at = chronicle.at + timedelta(hours=random.randint(1, 60))
        command = m.GrantTokens(account_id=account_id, amount_mtok=40_000, kind="promo", expires_at=expires_at)
    elif chance < 0.3:
        command = m.HoldTokens(
            account_id=account_id, amount_mtok=random.randint(1, 9_000), meter="m", ttl_s=random.randint(60, 86_400)
        )
    elif chance < 0.35:
        command = m.BookExpiries(account_id=account_id)
    else:
        command = house._something(random, account_id, account_ids, *things)
    return (chronicle.perform(command) or {}) | {"of": getattr(command, "account_id", account_id)}


def _remember(things: tuple[list[str], list[Any], list[Any]], result: dict[str, Any]) -> None:
    lots, holds, debits = things
    if "lot_id" in result:
        lots.append(result["lot_id"])
    if "hold_id" in result:
        holds.append((result["of"], result["hold_id"]))
    if "debit_id" in result:
        debits.append((result["of"], result["debit_id"]))


@pytest.fixture
def chronicle(house: House) -> Iterator[Chronicle]:
    with closing(Chronicle(house, 0)) as begun:
        yield begun


def test_a_moment_between_the_snapshots_of_a_long_stream_is_found(
    house: House, chronicle: Chronicle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane, "SNAPSHOT_EVERY", every := 20)
    opened = chronicle.perform(m.OpenTokenAccount(name="Main"))
    assert opened is not None
    account_id = opened["account_id"]
    chronicle.perform(m.GrantTokens(account_id=account_id, amount_mtok=10**9))
    at: dict[int, datetime] = {}
    for number in range(1, 2 * every + 9):
        chronicle.at += timedelta(minutes=1)
        chronicle.perform(m.DebitTokens(account_id=account_id, meter="m", amount_mtok=1))
        at[number] = chronicle.at

    async def then(tx: TenantTx) -> None:
        for number in at:
            for moment in (at[number], at[number] + timedelta(seconds=59)):
                row = await whole(tx, await past_balances.account(tx, account_id, moment))
                assert (row["available_mtok"], row["consumed_mtok"]) == (10**9 - number, number)
                assert row["version"] == number + 2

    house.ask_as(chronicle.tenant_id, then)
    with psycopg.connect(house.url) as connection:
        kept = connection.execute("select count(*) from felix.snapshots where stream like %s", (f"%{account_id}",))
        assert kept.fetchone() == (2,)


def test_the_history_has_every_day_and_closes_as_the_account_did(house: House, chronicle: Chronicle) -> None:
    opened = chronicle.perform(m.OpenTokenAccount(name="Main", credit_limit_mtok=500))
    assert opened is not None
    account_id = opened["account_id"]
    noon = NEW_YEAR + timedelta(hours=12)
    for day, command in (
        (1, m.GrantTokens(account_id=account_id, amount_mtok=1_000)),
        (1, m.DebitTokens(account_id=account_id, meter="m", amount_mtok=300)),
        (4, m.HoldTokens(account_id=account_id, meter="m", amount_mtok=200)),
        (4, m.DebitTokens(account_id=account_id, meter="m", amount_mtok=600)),
    ):
        chronicle.at = noon + timedelta(days=day)
        assert chronicle.perform(command) is not None
    today = NEW_YEAR.date()

    def days(tx: Any, first: int | None, last: int) -> Any:
        since = None if first is None else today + timedelta(days=first)
        return balance_history(tx, account_id, since, today + timedelta(days=last))

    told = house.ask_as(chronicle.tenant_id, lambda tx: days(tx, -9, 6))
    figures = ("events", "balance_mtok", "available_mtok", "held_mtok", "debt_mtok", "granted_mtok", "consumed_mtok")
    assert [tuple(row[name] for name in figures) for row in told] == [
        (1, 0, 0, 0, 0, 0, 0),
        (2, 700, 700, 0, 0, 1_000, 300),
        (0, 700, 700, 0, 0, 1_000, 300),
        (0, 700, 700, 0, 0, 1_000, 300),
        (2, 100, 0, 200, 100, 1_000, 900),
        (0, 100, 0, 200, 100, 1_000, 900),
        (0, 100, 0, 200, 100, 1_000, 900),
    ]
    assert [row["day"] for row in told] == [today + timedelta(days=number) for number in range(7)]
    assert house.ask_as(chronicle.tenant_id, lambda tx: days(tx, None, 6)) == told
    assert house.ask_as(chronicle.tenant_id, lambda tx: days(tx, 3, 3)) == told[3:4]
    assert house.ask_as(chronicle.tenant_id, lambda tx: days(tx, 4, 3)) == []
    with pytest.raises(FelixError, match="more days than one answer"):
        house.ask_as(chronicle.tenant_id, lambda tx: days(tx, None, 4_000))
    stranger: UUID = house.onboard("zeta")
    assert house.ask_as(stranger, lambda tx: days(tx, None, 6)) == []
