"""Two belts keep tenants apart, each tested with the other taken off; nothing poisons the pool."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import psycopg
import pytest

from felix.domain.errors import Unavailable
from felix.eventstore.connections import role_url
from felix.projections import balances, event_log, tenant_tx, tenants, token_transactions, usage
from felix.projections.freshness import NotYetProjected, wait_until
from felix.projections.tenant_tx import PoolPoisoned, PredicateMissing, ReadPool, TenantTx

from .conftest import PARTITION, House, eventually

SINCE, UNTIL = datetime(2020, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)


def questions(account_id: str, stream: str, key: str) -> dict[str, Callable[[TenantTx], Awaitable[Any]]]:
    """Every question a tenant can ask, about things that may be another's."""
    return {
        "account": lambda tx: balances.account(tx, account_id),
        "accounts": balances.accounts,
        "lots": lambda tx: balances.lots(tx, account_id, used_up=True),
        "holds": lambda tx: balances.holds(tx, account_id),
        "transactions": lambda tx: token_transactions.transactions(tx, account_id),
        "oldest": lambda tx: token_transactions.transactions(tx, account_id, order="oldest"),
        "trial_balance": token_transactions.trial_balance,
        "statement": lambda tx: token_transactions.statement(tx, account_id, SINCE, UNTIL),
        "usage": lambda tx: usage.usage(tx, date(2020, 1, 1), date(2200, 1, 1), usage.DIMENSIONS),
        "usage of an account": lambda tx: usage.usage(tx, date(2020, 1, 1), date(2200, 1, 1), (), account_id),
        "tenant": tenants.tenant,
        "events": event_log.events,
        "events of": lambda tx: event_log.events(tx, type="ledger.tokens_debited", actor="founder:maria", since=SINCE),
        "stream": lambda tx: event_log.stream_events(tx, stream),
        "command": lambda tx: event_log.command(tx, key),
    }


@pytest.fixture
def two(house: House) -> tuple[UUID, UUID, str]:
    """Two tenants in one partition; the account belongs to the first, the second has nothing but a name."""
    mine, other = house.onboard("acme"), house.onboard("zeta")
    account_id = house.open_account(mine)
    house.debit(mine, account_id, app="shop", person="ana", reference="r1")
    from felix.domain.ledger.messages import HoldTokens

    house.perform(mine, HoldTokens(account_id=account_id, meter="llm.output_tokens", amount_mtok=5))
    house.catch_up()
    return mine, other, account_id


def ask_all(house: House, tenant_id: UUID, account_id: str, mine: UUID) -> dict[str, Any]:
    asked = questions(account_id, f"{mine}:token_account:{account_id}", "key-4")

    async def all_of(pool: ReadPool) -> dict[str, Any]:
        answers = {}
        for name, question in asked.items():
            async with pool.tenant(tenant_id, PARTITION) as tx:
                answers[name] = await question(tx)
        return answers

    return house.ask(all_of)


def belongs_to_nobody_else(answers: dict[str, Any], mine: UUID) -> None:
    assert str(mine) not in repr(answers)
    assert answers["account"] is None and answers["command"] is None
    for name in ("accounts", "lots", "holds", "transactions", "oldest", "usage", "stream"):
        assert answers[name] == [], name
    assert answers["trial_balance"] == {}
    assert answers["statement"]["lines"] == [] and answers["statement"]["closing_mtok"] == 0
    assert answers["tenant"]["slug"] == "zeta"
    assert [event["type"] for event in answers["events"]] == ["tenancy.tenant_onboarded"]


def test_a_tenant_gets_its_own_answers(house: House, two: tuple[UUID, UUID, str]) -> None:
    mine, _, account_id = two
    answers = ask_all(house, mine, account_id, mine)
    assert answers["account"]["available_mtok"] == 1_000_000 - 1_000 - 5
    assert answers["account"]["held_mtok"] == 5 and answers["account"]["consumed_mtok"] == 1_000
    assert answers["accounts"] == [answers["account"] | {"as_of": answers["accounts"][0]["as_of"]}]
    assert [lot["granted_mtok"] for lot in answers["lots"]] == [1_000_000]
    assert [hold["amount_mtok"] for hold in answers["holds"]] == [5]
    assert [line["amount_mtok"] for line in answers["transactions"]] == [0, -1_000, 1_000_000]
    assert [line["available_mtok"] for line in answers["oldest"]] == [1_000_000, -1_000, -5]
    assert [line["balance_mtok"] for line in answers["oldest"]] == [1_000_000, 999_000, 999_000]
    assert answers["oldest"][1]["reference"] == "r1"
    assert {p["account"]: p["amount"] for p in answers["oldest"][1]["postings"] if p["asset"] == "TOK"} == {
        f"lot:{answers['lots'][0]['lot_id']}": -1_000,
        "consumed:llm.output_tokens": 1_000,
    }
    assert answers["statement"]["opening_mtok"] == 0 and answers["statement"]["closing_mtok"] == 999_000
    assert len(answers["statement"]["lines"]) == 3 and answers["statement"]["next"] is None
    assert [(u["meter"], u["app"], u["person"], u["amount_mtok"]) for u in answers["usage"]] == [
        ("llm.output_tokens", "shop", "ana", 1_000)
    ]
    assert answers["usage of an account"][0]["debits"] == 1
    assert answers["tenant"]["slug"] == "acme" and answers["tenant"]["events"] == 5
    assert [event["tenant_sequence"] for event in answers["events"]] == [1, 2, 3, 4, 5]
    assert len(answers["events of"]) == 1 and len(answers["stream"]) == 4
    assert answers["command"]["accepted"] is True


def test_a_statement_opens_where_the_one_before_closed(house: House, two: tuple[UUID, UUID, str]) -> None:
    mine, _, account_id = two

    async def statements(tx: TenantTx) -> Any:
        lines = await token_transactions.transactions(tx, account_id, order="oldest")
        cut = lines[1]["recorded_at"]
        return (
            await token_transactions.statement(tx, account_id, SINCE, cut),
            await token_transactions.statement(tx, account_id, cut, UNTIL, limit=1),
        )

    first, second = house.ask_as(mine, statements)
    assert first["closing_mtok"] == second["opening_mtok"] == 1_000_000
    assert len(second["lines"]) == 1 and second["next"] == second["lines"][0]["tenant_sequence"]


def test_a_tenant_sees_nothing_of_another(house: House, two: tuple[UUID, UUID, str]) -> None:
    mine, other, account_id = two
    belongs_to_nobody_else(ask_all(house, other, account_id, mine), mine)


def test_the_predicate_holds_without_row_level_security(house: House, two: tuple[UUID, UUID, str]) -> None:
    mine, other, account_id = two
    with psycopg.connect(house.url) as connection:
        for (table,) in connection.execute(
            "select format('%I.%I', schemaname, tablename) from pg_policies where policyname = 'bound_tenant'"
        ).fetchall():
            connection.execute(f"alter table {table} disable row level security".encode())
    belongs_to_nobody_else(ask_all(house, other, account_id, mine), mine)


def test_row_level_security_holds_without_the_predicate(house: House, two: tuple[UUID, UUID, str]) -> None:
    _, other, _ = two
    with psycopg.connect(house.reader_url, autocommit=True) as connection, psycopg.connect(house.url) as admin:
        tables = connection.execute(
            "select format('%I.%I', schemaname, tablename) from pg_policies where policyname = 'bound_tenant'"
        ).fetchall()
        full = 0
        for (table,) in tables:
            with connection.transaction():
                connection.execute(f"set local felix.tenant = '{other}'".encode())
                seen = connection.execute(f"select distinct tenant_id from {table}".encode()).fetchall()
                assert seen in ([], [(other,)]), table
            if admin.execute(f"select from {table} limit 1".encode()).fetchone() is None:
                continue  # no row, so no policy is looked at
            full += 1
            with pytest.raises(psycopg.Error, match="no tenant is bound"), connection.transaction():
                connection.execute(f"select * from {table}".encode())
    assert full >= 10


def test_a_question_without_the_predicates_is_not_asked(house: House, two: tuple[UUID, UUID, str]) -> None:
    async def bare(tx: TenantTx) -> Any:
        return await tx.fetch("select * from read.token_accounts")

    with pytest.raises(PredicateMissing):
        house.ask_as(two[0], bare)


def test_a_transaction_is_read_only_and_sees_one_moment(house: House, two: tuple[UUID, UUID, str]) -> None:
    mine, _, account_id = two

    async def twice(tx: TenantTx) -> Any:
        first = await event_log.events(tx)
        await asyncio.to_thread(house.debit, mine, account_id)
        assert len(await event_log.events(tx)) == len(first)
        await tx.fetch("delete from read.token_accounts where partition = %s and tenant_id = %s", PARTITION, mine)

    with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.ReadOnlySqlTransaction)):
        house.ask_as(mine, twice)


def test_the_founder_sees_every_tenant_and_a_reader_never_becomes_one(
    house: House, two: tuple[UUID, UUID, str]
) -> None:
    async def directory(pool: ReadPool) -> Any:
        async with pool.founder() as tx:
            return await tenants.tenants(tx)

    assert [(row["slug"], row["partition"]) for row in house.ask(directory)] == [("acme", 0), ("zeta", 0)]

    async def without() -> None:
        pool = ReadPool(house.reader_url)
        await pool.open()
        try:
            with pytest.raises(Unavailable):
                async with pool.founder():
                    pass
        finally:
            await pool.close()

    asyncio.run(without())


def test_cancelling_at_any_moment_does_not_poison_the_pool(house: House, two: tuple[UUID, UUID, str]) -> None:
    mine, other, account_id = two

    async def one(pool: ReadPool, tenant_id: UUID) -> Any:
        async with pool.tenant(tenant_id, PARTITION) as tx:
            await event_log.events(tx)
            await tx.fetch("select pg_sleep(0.001) where %s is not null -- partition = %s tenant_id = %s", 1, 2, 3)
            return await balances.account(tx, account_id)

    async def storm(pool: ReadPool) -> None:
        loop = asyncio.get_running_loop()
        cancelled = 0
        for step in range(90):
            task = loop.create_task(one(pool, mine))
            for _ in range(step // 2):
                await asyncio.sleep(0)
            if step % 3:
                await asyncio.sleep(step / 50_000)
            task.cancel()
            if step % 5 == 0:
                await asyncio.sleep(0)
                task.cancel()
            try:
                await task
            except asyncio.CancelledError:
                cancelled += 1
            assert await one(pool, other) is None
            assert (await one(pool, mine))["account_id"] == account_id
        assert cancelled > 40

    house.ask(storm)


def test_a_body_that_fails_gives_its_connection_back(house: House, two: tuple[UUID, UUID, str]) -> None:
    async def fail(pool: ReadPool) -> None:
        for _ in range(20):
            with pytest.raises(ZeroDivisionError):
                async with pool.tenant(two[0], PARTITION) as tx:
                    await event_log.events(tx)
                    raise ZeroDivisionError
            with pytest.raises(psycopg.errors.DivisionByZero):
                async with pool.tenant(two[0], PARTITION) as tx:
                    await tx.fetch("select 1 / 0 -- partition = %s tenant_id = %s", 1, 2)
        async with pool.tenant(two[0], PARTITION) as tx:
            assert await event_log.events(tx)

    house.ask(fail)


def test_a_connection_with_a_tenant_left_on_it_is_closed(house: House, two: tuple[UUID, UUID, str]) -> None:
    async def poisoned() -> None:
        url = role_url(house.url, "felix_reader", **{"felix.tenant": str(two[0])})
        pool = ReadPool(url, max_size=1)
        await pool.open()
        try:
            with pytest.raises(PoolPoisoned):
                async with pool.tenant(two[1], PARTITION) as tx:
                    await event_log.events(tx)
        finally:
            await pool.close()

    asyncio.run(poisoned())


def cut_readers(house: House) -> None:
    with psycopg.connect(house.url, autocommit=True) as admin:
        admin.execute(
            "select pg_terminate_backend(pid, 1000) from pg_stat_activity where application_name = 'felix_reader'"
            " and datname = current_database()"
        )


def test_a_database_that_went_away_is_unavailable_and_comes_back(
    house: House, two: tuple[UUID, UUID, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(pool: ReadPool) -> None:
        async def ask() -> Any:
            async with pool.tenant(two[0], PARTITION) as tx:
                return await event_log.events(tx)

        await asyncio.gather(*[ask() for _ in range(4)])
        await asyncio.to_thread(cut_readers, house)
        assert await ask()
        async with pool.tenant(two[0], PARTITION) as tx:
            assert await event_log.events(tx)
            await asyncio.to_thread(cut_readers, house)
            with pytest.raises(Unavailable):
                await event_log.events(tx)
        assert await ask()

    house.ask(away)

    monkeypatch.setattr(tenant_tx, "CHECKOUT_TIMEOUT_S", 0.2)

    async def never() -> None:
        pool = ReadPool(psycopg.conninfo.make_conninfo(house.reader_url, host="/nowhere"))
        await pool.open()
        try:
            with pytest.raises(Unavailable):
                async with pool.tenant(two[0], PARTITION) as tx:
                    await event_log.events(tx)
        finally:
            await pool.close()

    asyncio.run(never())


def test_who_wrote_can_wait_for_its_write(house: House, two: tuple[UUID, UUID, str]) -> None:
    mine, _, account_id = two
    with house.running() as runner:
        eventually(lambda: all(lag.owned for lag in runner.lag().values()), runner)

        async def write_and_read(pool: ReadPool) -> None:
            for expected in range(1, 6):
                await asyncio.to_thread(house.debit, mine, account_id)
                await wait_until(pool, ["balances", "usage"], PARTITION, house.head())
                async with pool.tenant(mine, PARTITION) as tx:
                    account = await balances.account(tx, account_id)
                assert account is not None and account["consumed_mtok"] == 1_000 + 1_000 * expected

        house.ask(write_and_read)


def test_who_waits_for_what_does_not_come_hears_how_far_it_is(house: House, two: tuple[UUID, UUID, str]) -> None:
    head = house.head()

    async def wait(pool: ReadPool) -> None:
        waits = [wait_until(pool, "balances", PARTITION, head + 7, timeout_s=0.1) for _ in range(50)]
        for error in await asyncio.gather(*waits, return_exceptions=True):
            assert isinstance(error, NotYetProjected)
            assert error.facts["behind"] == {"balances": head} and error.facts["lag_events"] == 7
        with pytest.raises(NotYetProjected):
            await wait_until(pool, "no_such_projection", PARTITION, 1, timeout_s=0)

    house.ask(wait)
