"""The audit trail tells every command, and the streams and counters beside it tell the same."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from felix.application.performer import new_context
from felix.domain.base import Command
from felix.domain.errors import FelixError
from felix.domain.ledger import messages as m
from felix.projections import audit_trail, commands, event_log, stream_heads
from felix.projections.tenant_tx import TenantTx

from .conftest import House


@pytest.fixture
def tenant_id(house: House) -> UUID:
    return house.onboard()


def perform(house: House, tenant_id: UUID, command: Command, actor: str = "founder:maria", **context: Any) -> Any:
    """The outcome of a command, accepted or refused."""
    key = f"key-{next(house.keys)}"
    return house.performer.perform_blocking(command, new_context(tenant_id, key, actor, **context))


def trail(house: House, tenant_id: UUID, **filters: Any) -> list[dict[str, Any]]:
    return house.ask_as(tenant_id, lambda tx: audit_trail.commands(tx, **filters))


def test_a_refusal_is_told_with_who_and_why_and_leads_to_no_event(house: House, tenant_id: UUID) -> None:
    account_id = house.open_account(tenant_id, 0)
    correlation_id, causation_id = uuid4(), uuid4()
    context = {"correlation_id": correlation_id, "causation_id": causation_id, "on_behalf_of": "client:ana"}
    freeze = m.FreezeTokenAccount(account_id=account_id, reason="The card was stolen.")
    assert perform(house, tenant_id, freeze, "founder:bob", **context).accepted
    refused = perform(house, tenant_id, freeze, "founder:bob", **context)
    assert not refused.accepted and refused.correlation_id == str(correlation_id)
    house.catch_up()
    second, first = trail(house, tenant_id, limit=2)
    assert (first["accepted"], first["code"], first["detail"]) == (True, None, None)
    assert first["first_tenant_sequence"] == first["last_tenant_sequence"] == house.own_head(tenant_id)
    assert (second["accepted"], second["code"]) == (False, "account_frozen")
    assert second["detail"] == refused.refusal.detail and second["first_tenant_sequence"] is None
    for row in (first, second):
        assert (row["actor"], row["on_behalf_of"], row["type"]) == (
            "founder:bob",
            "client:ana",
            "ledger.freeze_token_account",
        )
        assert row["reason"] == "The card was stolen."
        assert (row["correlation_id"], row["causation_id"]) == (correlation_id, causation_id)
    events = house.ask_as(tenant_id, lambda tx: event_log.events(tx, correlation_id=correlation_id))
    assert [(event["tenant_sequence"], event["metadata"]["causation_id"]) for event in events] == [
        (first["first_tenant_sequence"], str(causation_id))
    ]


def test_a_command_without_a_correlation_id_is_found_by_its_own(house: House, tenant_id: UUID) -> None:
    house.open_account(tenant_id, 7)
    house.catch_up()
    for row in trail(house, tenant_id):
        found = trail(house, tenant_id, correlation_id=row["correlation_id"])
        assert [each["sequence"] for each in found] == [row["sequence"]]
        events = house.ask_as(tenant_id, lambda tx, row=row: event_log.events(tx, correlation_id=row["correlation_id"]))
        expected = list(range(row["first_tenant_sequence"], row["last_tenant_sequence"] + 1))
        assert [event["tenant_sequence"] for event in events] == expected


def test_the_trail_is_the_commands_that_were_given_filtered_and_page_by_page(house: House, tenant_id: UUID) -> None:
    stranger = house.onboard("zeta")
    house.live_a_little(stranger, 1, steps=30)
    house.live_a_little(tenant_id, 2)
    house.catch_up()
    with psycopg.connect(house.url) as connection:
        given = connection.execute(
            "select row_number() over (order by c.sequence), c.type, c.actor, c.accepted, c.command_key,"
            " first.tenant_sequence, last.tenant_sequence, c.recorded_at from felix.commands c"
            " left join felix.events first on first.partition = c.partition and first.position = c.first_position"
            " left join felix.events last on last.partition = c.partition and last.position = c.last_position"
            " where c.tenant_id = %s order by c.sequence desc",
            (tenant_id,),
        ).fetchall()
    whole = trail(house, tenant_id, limit=1000)
    names = ("sequence", "type", "actor", "accepted", "command_key", "first_tenant_sequence", "last_tenant_sequence")
    assert [tuple(row[name] for name in (*names, "recorded_at")) for row in whole] == given
    assert 5 < sum(not row["accepted"] for row in whole) < len(whole)
    for row in whole:
        assert (row["code"] is None) == (row["detail"] is None) == row["accepted"]

    def chosen(**filters: Any) -> list[Any]:
        return [row["sequence"] for row in trail(house, tenant_id, limit=1000, **filters)]

    middle = whole[len(whole) // 2]
    codes = {row["code"] for row in whole if row["code"]}
    for filters, fits in (
        ({"accepted": True}, lambda row: row["accepted"]),
        ({"accepted": False}, lambda row: not row["accepted"]),
        ({"type": middle["type"]}, lambda row: row["type"] == middle["type"]),
        ({"actor": "nobody"}, lambda row: False),
        ({"since": middle["recorded_at"]}, lambda row: row["recorded_at"] >= middle["recorded_at"]),
        ({"until": middle["recorded_at"]}, lambda row: row["recorded_at"] < middle["recorded_at"]),
        *(({"code": code}, lambda row, code=code: row["code"] == code) for code in codes),
        ({"code": min(codes), "accepted": True}, lambda row: False),
        ({"type": middle["type"], "accepted": False, "before": middle["sequence"]}, lambda row: (
            row["type"] == middle["type"] and not row["accepted"] and row["sequence"] < middle["sequence"])),
    ):  # fmt: skip
        assert chosen(**filters) == [row["sequence"] for row in whole if fits(row)], filters

    async def every(tx: TenantTx) -> list[Any]:
        return [row async for row in audit_trail.every_command(tx)]

    pages = pytest.MonkeyPatch()
    pages.setattr(audit_trail, "EXPORT_PAGE", 7)
    assert house.ask_as(tenant_id, every) == whole
    pages.undo()


def test_commands_are_counted_as_the_trail_has_them(house: House, tenant_id: UUID) -> None:
    house.live_a_little(tenant_id, 3)
    house.catch_up()
    whole = trail(house, tenant_id, limit=1000)
    today = datetime.now(UTC).date()

    def counted(*by: str, days: int = 0) -> Counter[tuple[Any, ...]]:
        day = today + timedelta(days=days)
        rows = house.ask_as(tenant_id, lambda tx: commands.counts(tx, day - timedelta(days=1), day, by))
        return Counter({tuple(row[name] for name in by): row["commands"] for row in rows})

    assert counted("type", "outcome") == Counter((row["type"], row["code"] or "accepted") for row in whole)
    assert counted("day") == Counter((row["recorded_at"].date(),) for row in whole)
    assert counted("actor") == Counter((row["actor"],) for row in whole)
    assert counted()[()] == len(whole) and not counted("type", days=-5)
    with pytest.raises(FelixError, match="can't be counted"):
        counted("tenant_id")


def test_streams_are_listed_by_what_happened_last_or_by_name(house: House, tenant_id: UUID) -> None:
    accounts = house.live_a_little(tenant_id, 4)
    house.live_a_little(house.onboard("zeta"), 5, steps=30)
    house.catch_up()
    with psycopg.connect(house.url) as connection:
        expected = connection.execute(
            "select stream, max(version), count(*), min(tenant_sequence), max(tenant_sequence), min(recorded_at),"
            " max(recorded_at),"
            " (array_agg(type order by tenant_sequence desc))[1]"
            " from felix.events where tenant_id = %s group by stream order by max(tenant_sequence) desc",
            (tenant_id,),
        ).fetchall()

    def listed(**asked: Any) -> list[dict[str, Any]]:
        return house.ask_as(tenant_id, lambda tx: stream_heads.streams(tx, **asked))

    newest = listed()
    names = ("stream", "version", "events", "first_tenant_sequence", "last_tenant_sequence", "first_at", "last_at")
    assert [tuple(row[name] for name in (*names, "last_type")) for row in newest] == expected
    assert {row["kind"] for row in newest} == {row[0].split(":")[1] for row in expected}
    by_name = sorted(row["stream"] for row in newest)
    assert [row["stream"] for row in listed(order="name")] == by_name
    stored = {row[0].split(":")[2] for row in expected if ":token_account:" in row[0]}
    assert stored >= set(accounts)
    assert sorted(row["id"] for row in listed(kind="token_account")) == sorted(stored)
    assert [row["id"] for row in listed(prefix=accounts[1])] == [accounts[1]]
    assert len(listed(kind="token_account", prefix="acct_")) == len(stored)
    assert not listed(kind="tenant", prefix="acct_")
    assert not listed(kind="token") and not listed(prefix="%")
    for order, by in (("newest", "last_tenant_sequence"), ("name", "stream")):
        seen, after = [], None
        while page := listed(order=order, after=after, limit=3):
            seen += [row["stream"] for row in page]
            after = page[-1][by]
        assert seen == [row["stream"] for row in listed(order=order)]
