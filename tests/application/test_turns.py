"""Tenants take turns in a lane: who sends one command beside ten thousand of another waits for a batch."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from offices import ACME, GLOBEX, Office, holding_the_head, new_key, until

from felix.application import lane as lane_module
from felix.application.lane import TooManyRequests
from felix.application.performer import new_context
from felix.application.turns import Turns
from felix.domain.ledger import messages as m

_WAITING = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"


@dataclass(frozen=True)
class Whose:
    tenant_id: UUID


@dataclass(frozen=True)
class Piece:
    context: Whose
    number: int
    weight: int = 1


def piece(tenant: int, number: int, weight: int = 1) -> Piece:
    return Piece(Whose(UUID(int=tenant)), number, weight)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 9)), max_size=60), st.integers(1, 8), st.integers(1, 12))
def test_nothing_is_lost_and_each_tenants_order_is_kept(
    arrived: list[tuple[int, int]], most: int, heaviest: int
) -> None:
    turns: Turns[Piece] = Turns()
    pieces = [piece(tenant, number, weight) for number, (tenant, weight) in enumerate(arrived)]
    for each in pieces:
        turns.add(each)
    taken: list[Piece] = []
    while batch := turns.take(most, heaviest):
        assert len(batch) <= most and (len(batch) == 1 or sum(each.weight for each in batch) <= heaviest)
        taken += batch
    assert not turns and sorted(taken, key=lambda each: each.number) == pieces
    for tenant in range(4):
        own = [each.number for each in taken if each.context.tenant_id.int == tenant]
        assert own == sorted(own)


def test_between_two_of_one_tenant_everybody_else_has_had_a_turn() -> None:
    turns: Turns[Piece] = Turns()
    for number in range(9):
        turns.add(piece(0, number))
    for tenant in (1, 2):
        turns.add(piece(tenant, 100 + tenant))
    assert [each.context.tenant_id.int for each in turns.take(5, 99)] == [0, 1, 2, 0, 0]


def test_who_is_too_heavy_for_this_batch_is_first_in_the_next() -> None:
    turns: Turns[Piece] = Turns()
    for each in (piece(0, 0), piece(1, 1, weight=10), piece(0, 2), piece(0, 3)):
        turns.add(each)
    assert [each.number for each in turns.take(9, 9)] == [0]
    assert [each.number for each in turns.take(9, 10)] == [1]
    assert [each.number for each in turns.take(9, 9)] == [2, 3]


def crowd(office: Office, floods: int, others: int) -> tuple[list[str], list[Any]]:
    """One tenant sends many commands at once and another then a few; who was answered, in order, and with what."""
    accounts = {tenant: office.open_account(10_000, tenant=tenant) for tenant in (ACME, GLOBEX)}
    answered: list[str] = []

    async def sent(tenant: UUID) -> Any:
        debit = m.DebitTokens(account_id=accounts[tenant], meter="m", amount_mtok=1)
        try:
            return await office.performer.perform(debit, new_context(tenant, new_key(), "service:key_1"))
        except TooManyRequests as refused:
            return refused
        finally:
            answered.append("acme" if tenant == ACME else "globex")

    async def all_of_them() -> list[Any]:
        with holding_the_head(office.database) as holder:
            first = asyncio.ensure_future(sent(ACME))
            await asyncio.sleep(0)
            until(lambda: office.rows(_WAITING) == [(1,)], "the lane waits")
            waiting = [asyncio.ensure_future(sent(tenant)) for tenant in [ACME] * floods + [GLOBEX] * others]
            await asyncio.sleep(0)
            holder.rollback()
            return await asyncio.gather(first, *waiting)

    return answered, asyncio.run(all_of_them())


def test_one_tenants_flood_keeps_no_other_waiting(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane_module, "MAX_BATCH_COMMANDS", 20)
    answered, outcomes = crowd(office, floods=400, others=5)
    assert all(outcome.accepted for outcome in outcomes)
    assert answered.index("globex") <= 1 + 20
    assert [who for who in answered[:41] if who == "globex"] == ["globex"] * 5


def test_one_tenants_flood_leaves_room_for_others(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane_module, "MAX_WAITING", 20)
    monkeypatch.setattr(lane_module, "MAX_WAITING_OF_A_TENANT", 10)
    _, outcomes = crowd(office, floods=30, others=5)
    turned_away = [outcome for outcome in outcomes if isinstance(outcome, TooManyRequests)]
    assert len(turned_away) == 21, "the one that was first has a place too"
    assert all(outcome.accepted for outcome in outcomes[-5:])
