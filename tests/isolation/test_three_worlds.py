"""Tenant A asks three worlds the same: one in which B has its data, one in which B has other data, and one without B.

The requests are made from the OpenAPI document, by people and machines of A and by those who are nobody there any more,
with ids, cursors, e-mail addresses, short names, positions and idempotency keys of A, of B and of nobody. A and B live
in the same partition. Every answer is compared byte for byte, headers too, but for the date and the request's own id;
and no row of B may change. Each of the two belts, row-level security and the predicates of the questions, is tried with
the other taken off.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any

import pytest
from faults.figures import DEEP, record
from isolation import leaks
from isolation.comparing import Comparison, compare, three_worlds
from isolation.generated import Requests

from felix.api import app as api_app
from felix.projections.tenant_tx import ReadTx, TenantTx

SEED = 20310305
ALL = 50_000 if DEEP else 2_000
#: With one belt taken off.
SOME = 10_000 if DEEP else 350
#: What is seeded is one operation among a hundred others: each has to be asked for often enough.
SEEDED, OFTEN = (10_000, 1) if DEEP else (700, 3)

#: Takes row-level security off a database, as a mistake in a migration would.
WITHOUT_ROW_LEVEL_SECURITY = """
    do $$
    declare
      target regclass;
    begin
      for target in select oid from pg_class where relrowsecurity and relnamespace in
          ('felix'::regnamespace, 'read'::regnamespace) loop
        execute format('alter table %s disable row level security, no force row level security', target);
      end loop;
    end
    $$
"""
_PREDICATE = re.compile(r"\b(?:\w+\.)?tenant_id = %s")


def run(
    databases: list[str], count: int, *prepare: str, often: Mapping[str, int] | None = None
) -> tuple[Requests, Comparison]:
    """Ask every world ``count`` requests."""
    document = api_app.create_app(lambda app: None).openapi()  # type: ignore[arg-type,return-value]
    requests = Requests(document, SEED, often=often or {})

    async def ask() -> Comparison:
        async with three_worlds(databases, prepare) as worlds:
            leaks.DATABASES.update({id(w.app.state.services): d for w, d in zip(worlds, databases, strict=True)})
            return await compare(worlds, requests, count)

    return requests, asyncio.run(ask())


def keep(test: str, found: Comparison, **more: Any) -> None:
    """Record what was found."""
    record(
        test,
        found.requests,
        worlds=found.worlds,
        differences=found.differences.total(),
        tables_of_B_changed=len(found.changed_rows),
        operations=len(found.asked),
        operations_that_accepted_some=len(found.accepted),
        server_errors=sum(times for status, times in found.statuses.items() if status >= 500 and status != 503),
        **more,
    )


def assert_nothing_differs(requests: Requests, found: Comparison) -> None:
    assert not found.differences and not found.changed_rows, found.report()
    never = {operation[0] for operation in requests.operations} - found.asked.keys()
    assert not never, f"these were never asked: {sorted(never)}"
    assert not {status for status in found.statuses if status >= 500} - {503}, found.statuses
    assert found.statuses[200] > found.requests / 20, "A has to be let in to see anything"


@pytest.mark.timeout(3600 if DEEP else 300)
def test_what_a_tenant_sees_depends_on_nothing_that_another_holds(databases: list[str]) -> None:
    """Every operation of the document is asked; those that could not be are none."""
    requests, found = run(databases, ALL)
    assert_nothing_differs(requests, found)
    keep("every operation", found)


@pytest.mark.timeout(1800 if DEEP else 200)
def test_the_predicates_hold_without_row_level_security(databases: list[str]) -> None:
    """Row-level security is taken off every table of a copy of the database."""
    requests, found = run(databases, SOME, WITHOUT_ROW_LEVEL_SECURITY)
    assert_nothing_differs(requests, found)
    keep("row-level security taken off", found)


@pytest.mark.timeout(1800 if DEEP else 200)
def test_row_level_security_holds_without_the_predicates(databases: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Every `tenant_id = %s` of every question of a tenant is made true for all rows before it is asked."""
    stripped = 0
    fetch = ReadTx.fetch

    async def without_predicate(self: ReadTx, query: Any, *parameters: Any) -> Any:
        nonlocal stripped
        if isinstance(self, TenantTx):
            query, times = _PREDICATE.subn("%s::uuid is not null", query)
            stripped += times
        return await fetch(self, query, *parameters)

    monkeypatch.setattr(ReadTx, "fetch", without_predicate)
    requests, found = run(databases, SOME)
    assert stripped > SOME / 2, "writes ask the read models little"
    assert_nothing_differs(requests, found)
    keep("predicates taken out", found, predicates_taken_out=stripped)


@pytest.mark.timeout(1800 if DEEP else 200)
def test_control_seven_seeded_leaks_are_found_and_nothing_else(
    databases: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An id without its tenant, a search and a count of everybody's, a taken name, a refusal that says whose it is, a
    cursor of the partition, and a write to somebody else's row: each is found, and no other operation differs."""
    monkeypatch.setattr(api_app, "ROOMS", (*api_app.ROOMS, leaks))
    _, found = run(databases, SEEDED, often=dict.fromkeys(leaks.LEAKS, OFTEN))
    seen = set(found.differences)
    if found.changed_rows:
        seen.add("update_foreign")
    assert seen == set(leaks.LEAKS), found.report()
    assert found.changed_rows == {"read.token_accounts"}, found.changed_rows
    keep(
        "seeded leaks",
        found,
        leaks_seeded=len(leaks.LEAKS),
        leaks_found=len(seen),
        false_alarms=len(seen - leaks.LEAKS.keys()),
    )


@pytest.mark.timeout(200)
def test_control_both_belts_off_is_found(databases: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without row-level security and without predicates A sees B, and that is found at once."""
    fetch = ReadTx.fetch

    async def without_predicate(self: ReadTx, query: Any, *parameters: Any) -> Any:
        if isinstance(self, TenantTx):
            query = _PREDICATE.sub("%s::uuid is not null", query)
        return await fetch(self, query, *parameters)

    monkeypatch.setattr(ReadTx, "fetch", without_predicate)
    with pytest.raises(AssertionError, match="A begins alike"):
        run(databases, 1, WITHOUT_ROW_LEVEL_SECURITY)
    record("both belts off", 1, found=1)
