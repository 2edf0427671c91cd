"""The access log shows what staff did with a client's data, the same live and rebuilt."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from felix.projections import access_log
from felix.projections.access_log import PROJECTION
from felix.projections.tenant_tx import TenantTx

from .conftest import House, contents, retell


@pytest.fixture
def looked_at(house: House) -> UUID:
    """A client whose data staff read, beside another."""
    tenant_id = house.onboard("acme")
    for each in (tenant_id, house.onboard("zeta")):
        house.be_looked_at(each)
    house.catch_up()
    return tenant_id


def asked(house: House, tenant_id: UUID, **filters: Any) -> list[dict[str, Any]]:
    async def question(tx: TenantTx) -> list[dict[str, Any]]:
        return await access_log.reads(tx, **filters)

    return house.ask_as(tenant_id, question)


def test_it_is_the_same_rebuilt_whatever_the_batches(house: House, looked_at: UUID) -> None:
    live = contents(house.url, [PROJECTION])
    assert {table: len(rows) for table, rows in live.items()} == {"access_log": 2 * 5, "impersonations": 2 * 2}
    for batch in (1, 3, 500):
        retell(house.url, batch, projections=[PROJECTION])
        assert contents(house.url, [PROJECTION]) == live, f"batches of {batch}"


def test_entries_come_newest_first_and_filtered(house: House, looked_at: UUID) -> None:
    began, ended, read = "impersonation_began", "impersonation_ended", "read"
    rows = asked(house, looked_at)
    assert [row["kind"] for row in rows] == [began, ended, read, read, began]
    assert [row["tenant_sequence"] for row in rows] == sorted((row["tenant_sequence"] for row in rows), reverse=True)
    seen_with = rows[1]["impersonation_id"]
    assert [row["kind"] for row in asked(house, looked_at, impersonation_id=seen_with)] == [ended, read, began]
    assert [row["rows"] for row in asked(house, looked_at, kind=read)] == [9, 9]
    assert asked(house, looked_at, actor="auditor:nobody") == []
    assert asked(house, looked_at, until=datetime(2020, 1, 1, tzinfo=UTC)) == []
    assert asked(house, looked_at, before=rows[1]["tenant_sequence"], limit=2) == rows[2:4]


def test_impersonations_are_under_way_until_they_end_or_run_out(house: House, looked_at: UUID) -> None:
    async def active(tx: TenantTx, at: datetime | None) -> list[dict[str, Any]]:
        return await access_log.impersonations(tx, at=at)

    now = datetime.now(UTC)
    every = house.ask_as(looked_at, lambda tx: active(tx, None))
    assert [row["ended_at"] is None for row in every] == [True, False]
    assert house.ask_as(looked_at, lambda tx: active(tx, now)) == every[:1]
    assert house.ask_as(looked_at, lambda tx: active(tx, now + timedelta(minutes=16))) == []
