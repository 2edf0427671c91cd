"""A fact that can't be folded stops its tenant in that projection, and nobody else; nothing is skipped silently."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar
from uuid import UUID

import psycopg
import pytest

from felix.domain.errors import Corrupt, Unavailable
from felix.eventstore import batches
from felix.eventstore.batches import EventTooLarge, read_batch, read_tenant
from felix.eventstore.mapper import RecordedEvent
from felix.projections import partition_runner, poison
from felix.projections.base import Projection, connect_projector
from felix.projections.partition_runner import PartitionRunner
from felix.projections.registry import PROJECTIONS, install
from felix.projections.table_sets import digest
from felix.projections.tenants import Tenants

from .conftest import PARTITION, House, eventually, retell


class Spent(Projection):
    """Adds up what a tenant's debits say; can't take some of them."""

    name = "spent"
    reads = frozenset({"ledger.tokens_debited"})
    ignores = frozenset({"ledger.token_account_opened", "ledger.tokens_granted"})
    tables = ("spent",)
    ddl = """
        create table spent (partition int not null, tenant_id uuid not null, mtok bigint not null,
          last_position bigint not null, constraint spent_pkey primary key (partition, tenant_id));
    """
    #: Positions that raise, and what they raise.
    refuses: ClassVar[dict[int, Exception]] = {}

    def fold(self, events: Sequence[RecordedEvent], connection: psycopg.Connection[Any]) -> None:
        for event in events:
            if event.position in self.refuses:
                raise self.refuses[event.position]
            connection.execute(
                "insert into spent values (%s, %s, %s, %s) on conflict (partition, tenant_id) do update"
                " set mtok = spent.mtok + excluded.mtok, last_position = excluded.last_position",
                (event.partition, event.tenant_id, event.payload["amount_mtok"], event.position),
            )


@pytest.fixture
def spent(house: House, monkeypatch: pytest.MonkeyPatch) -> Iterator[Spent]:
    """A projection that can be made to fail, and a runner that is quick to try again."""
    monkeypatch.setattr(partition_runner, "RETRY_LOOK_S", 0.02)
    monkeypatch.setattr(partition_runner, "BACKOFF_S", 0.02)
    Spent.refuses = {}
    projection = Spent()
    install(house.url, [projection])
    yield projection
    Spent.refuses = {}


def rows(house: House, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(house.url) as connection:
        return connection.execute(query.encode()).fetchall()


def poisoned(house: House) -> dict[tuple[str, UUID], tuple[int, str, str, int]]:
    """Position, type, error and failures of what is stopped, by projection and tenant."""
    found = rows(house, "select projection, tenant_id, position, type, error, failures from felix.poisoned")
    return {(name, tenant_id): (at, type_, error, failures) for name, tenant_id, at, type_, error, failures in found}


def due_now(house: House) -> None:
    with psycopg.connect(house.url) as connection:
        connection.execute("update felix.poisoned set retry_at = now()")


def told(house: House, projection: Projection) -> dict[str, tuple[int, str]]:
    with psycopg.connect(house.url) as connection:
        return digest(connection, "read", projection.tables)


def retold(house: House, projection: Projection) -> dict[str, tuple[int, str]]:
    """The digest of the same projection folded from the beginning by nobody's runner."""
    retell(house.url, 500, projections=[projection])
    return told(house, projection)


@contextmanager
def as_administrator(house: House) -> Iterator[psycopg.Connection[Any]]:
    """Change what nobody may change."""
    with psycopg.connect(house.url) as connection:
        connection.execute("alter table felix.events disable trigger events_append_only")
        yield connection


def two_tenants(house: House) -> tuple[UUID, UUID, str, str]:
    acme, zeta = house.onboard("acme"), house.onboard("zeta")
    return acme, zeta, house.open_account(acme), house.open_account(zeta)


def test_a_raising_fold_stops_one_tenant_and_resumes_to_what_a_rebuild_makes(
    house: House, spent: Spent, caplog: pytest.LogCaptureFixture
) -> None:
    acme, zeta, acme_account, zeta_account = two_tenants(house)
    for _ in range(5):
        house.debit(acme, acme_account)
        house.debit(zeta, zeta_account)
    bad = house.head() - 5  # the third debit of acme
    Spent.refuses = {bad: Corrupt("no")}
    with house.running([*PROJECTIONS, spent]) as runner:
        eventually(lambda: house.cursor("spent") == house.head(), runner)
        assert rows(house, f"select mtok, last_position from read.spent where tenant_id = '{acme}'") == [
            (2_000, bad - 2)
        ]
        assert rows(house, f"select mtok from read.spent where tenant_id = '{zeta}'") == [(5_000,)]
        house.debit(acme, acme_account)
        house.debit(zeta, zeta_account)
        eventually(lambda: house.cursor("spent") == house.head(), runner)
        eventually(lambda: not any(lag.lag_events for lag in runner.lag().values()), runner)
        assert rows(house, f"select mtok from read.spent where tenant_id = '{zeta}'") == [(6_000,)]
        assert runner.lag()["spent", PARTITION].stopped == 1
        assert {name for name, _ in poisoned(house)} == {"spent"}
        due_now(house)
        eventually(lambda: poisoned(house)["spent", acme][3] >= 2, runner)
        assert poisoned(house)["spent", acme][:3] == (bad, "ledger.tokens_debited", "Corrupt")
        assert len([line for line in caplog.messages if "stops for tenant" in line]) == 1
        Spent.refuses = {}
        due_now(house)
        eventually(lambda: not poisoned(house), runner)
        house.debit(acme, acme_account)
        eventually(lambda: house.cursor("spent") == house.head(), runner)
        assert runner.lag()["spent", PARTITION].stopped == 0
    live = told(house, spent)
    assert retold(house, spent) == live


def test_a_tenant_that_stops_again_keeps_what_it_has_and_resumes_in_pages(
    house: House, spent: Spent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partition_runner, "BATCH", 4)
    acme, _, acme_account, _ = two_tenants(house)
    first = house.head() + 1
    for _ in range(20):
        house.debit(acme, acme_account)
    Spent.refuses = {first + 2: Corrupt("no"), first + 13: ValueError("nor this")}
    with house.running([spent]) as runner:
        eventually(lambda: ("spent", acme) in poisoned(house), runner)
        assert poisoned(house)["spent", acme][0] == first + 2
        del Spent.refuses[first + 2]
        due_now(house)
        eventually(lambda: poisoned(house)["spent", acme][0] == first + 13, runner)
        assert poisoned(house)["spent", acme][1:] == ("ledger.tokens_debited", "ValueError", 1)
        assert rows(house, "select mtok from read.spent") == [(13_000,)]
    Spent.refuses = {}
    # A new process tries at once: it may have brought the mended code.
    with house.running([spent]) as runner:
        eventually(lambda: not poisoned(house), runner)
    live = told(house, spent)
    assert rows(house, "select mtok from read.spent") == [(20_000,)]
    assert retold(house, spent) == live


def test_a_type_of_a_newer_version_stops_whoever_reads_its_noun(house: House) -> None:
    acme, zeta, acme_account, zeta_account = two_tenants(house)
    house.debit(acme, acme_account)
    strange = house.head()
    house.debit(zeta, zeta_account)
    with as_administrator(house) as connection:
        connection.execute(
            "update felix.events set type = 'ledger.tokens_teleported' where partition = 0 and position = %s",
            (strange,),
        )
    with house.running() as runner:
        eventually(house.is_retold, runner)
        found = poisoned(house)
        concerned = {
            projection.name
            for projection in PROJECTIONS
            if any(name.startswith("ledger.") for name in projection.reads)
        }
        assert {name for name, tenant_id in found if tenant_id == acme} >= concerned
        assert {tenant_id for _, tenant_id in found} == {acme}
        assert found["balances", acme][:3] == (strange, "ledger.tokens_teleported", "UnknownEventType")
        # Whoever counts every event and doesn't look inside goes on.
        assert ("tenants", acme) not in found
        with as_administrator(house) as connection:
            connection.execute(
                "update felix.events set type = 'ledger.tokens_debited' where partition = 0 and position = %s",
                (strange,),
            )
        due_now(house)
        eventually(lambda: not poisoned(house), runner)
    for projection in PROJECTIONS:
        if projection.name in concerned:
            live = told(house, projection)
            assert retold(house, projection) == live


@pytest.mark.parametrize(
    ("damage", "error"),
    [(b"{not json", "CorruptPayload"), (b'{"a":"' + b"x" * batches.MAX_STATE_BYTES + b'"}', "EventTooLarge")],
    ids=["corrupt", "oversized"],
)
def test_a_payload_that_is_no_payload_stops_whoever_reads_it(house: House, damage: bytes, error: str) -> None:
    acme, zeta, acme_account, zeta_account = two_tenants(house)
    house.debit(acme, acme_account)
    bad = house.head()
    house.debit(zeta, zeta_account)
    with as_administrator(house) as connection:
        row = connection.execute(
            "select state from felix.events where partition = 0 and position = %s", (bad,)
        ).fetchone()
        assert row is not None
        connection.execute("update felix.events set state = %s where partition = 0 and position = %s", (damage, bad))
    reading = [projection for projection in PROJECTIONS if projection.name in ("balances", "tenants")]
    with house.running(reading) as runner:
        eventually(lambda: all(house.cursor(each.name) == house.head() for each in reading), runner)
        assert {key: value[:3] for key, value in poisoned(house).items()} == {
            ("balances", acme): (bad, "ledger.tokens_debited", error)
        }
        with as_administrator(house) as connection:
            connection.execute(
                "update felix.events set state = %s where partition = 0 and position = %s", (row[0], bad)
            )
        due_now(house)
        eventually(lambda: not poisoned(house), runner)
    for projection in reading:
        live = told(house, projection)
        assert retold(house, projection) == live


def test_a_batch_is_bounded_in_bytes_and_never_holds_what_is_beyond_every_limit(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    acme, _, acme_account, _ = two_tenants(house)
    for _ in range(4):
        house.debit(acme, acme_account)
    head = house.head()
    monkeypatch.setattr(batches, "BATCH_BYTES", 100_000)
    with as_administrator(house) as connection:
        for position, size in ((head - 3, 60_000), (head - 2, 60_000), (head - 1, batches.MAX_STATE_BYTES + 1)):
            connection.execute(
                "update felix.events set state = %s where partition = 0 and position = %s", (b"1" * size, position)
            )
    with connect_projector(house.projector_url) as connection:
        first = read_batch(connection, PARTITION, 0, 500)
        assert [event.position for event in first] == list(range(1, head - 2))
        rest = read_batch(connection, PARTITION, head - 3, 500)
        assert [event.position for event in rest] == [head - 2, head - 1, head]
        assert len(rest[0].state) == 60_000
        for look in (lambda: rest[1].state, lambda: rest[1].payload, lambda: rest[1].event):
            with pytest.raises(EventTooLarge, match=f"0:{head - 1}"):
                look()
        assert rest[2].payload["amount_mtok"] == 1_000
        assert [event.position for event in read_tenant(connection, PARTITION, acme, head - 2, head, 500)] == [
            head - 2, head - 1, head,
        ]  # fmt: skip


@pytest.mark.parametrize(
    "error",
    [
        psycopg.OperationalError("away"),
        psycopg.errors.DiskFull("full"),
        psycopg.errors.DeadlockDetected("deadlock"),
        psycopg.errors.QueryCanceled("cancelled"),
        psycopg.errors.UndefinedTable("gone"),
        psycopg.errors.InsufficientPrivilege("not yours"),
        Unavailable(),
        MemoryError(),
        OSError(28, "no room"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_lies_with_the_database_stops_the_projection_and_not_the_tenant(
    house: House, spent: Spent, error: Exception
) -> None:
    acme, _, acme_account, _ = two_tenants(house)
    house.debit(acme, acme_account)
    Spent.refuses = {house.head(): error}
    assert not poison.is_poison(error)
    with house.running([spent]) as runner:
        eventually(lambda: runner.lag()["spent", PARTITION].error is not None, runner)
        assert house.cursor("spent") == 0 and not poisoned(house)
        Spent.refuses = {}
        eventually(lambda: house.cursor("spent") == house.head(), runner)
    assert rows(house, "select mtok from read.spent") == [(1_000,)]


@pytest.mark.parametrize(
    "error",
    [psycopg.errors.CheckViolation("no"), psycopg.errors.NumericValueOutOfRange("no"), KeyError("x"), Corrupt()],
    ids=lambda error: type(error).__name__,
)
def test_what_lies_with_the_event_is_poison(error: Exception) -> None:
    assert poison.is_poison(error)


def test_without_isolation_one_event_stops_everybody(
    house: House, spent: Spent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: it is the isolation that lets the others go on."""
    acme, zeta, acme_account, zeta_account = two_tenants(house)
    house.debit(acme, acme_account)
    Spent.refuses = {house.head(): Corrupt("no")}
    house.debit(zeta, zeta_account)
    monkeypatch.setattr(poison, "is_poison", lambda error: False)
    with house.running([spent]) as runner:
        eventually(lambda: runner.lag()["spent", PARTITION].error is not None, runner)
        assert house.cursor("spent") == 0 and rows(house, "select from read.spent") == []


def test_skipping_without_a_record_is_caught_by_the_digest(
    house: House, spent: Spent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: it is the record that brings the tenant back."""
    acme, zeta, acme_account, zeta_account = two_tenants(house)
    house.debit(acme, acme_account)
    Spent.refuses = {house.head(): Corrupt("no")}
    house.debit(acme, acme_account)
    house.debit(zeta, zeta_account)
    monkeypatch.setattr(poison, "record", lambda *_: None)
    with house.running([spent]) as runner:
        eventually(lambda: house.cursor("spent") == house.head(), runner)
    Spent.refuses = {}
    with house.running([spent]) as runner:
        eventually(lambda: runner.lag()["spent", PARTITION].owned, runner)
    live = told(house, spent)
    assert retold(house, spent) != live


def test_a_runner_that_was_overtaken_can_not_resume_a_tenant(house: House, spent: Spent) -> None:
    acme, _, acme_account, _ = two_tenants(house)
    house.debit(acme, acme_account)
    Spent.refuses = {house.head(): Corrupt("no")}
    with house.running([spent]) as runner:
        eventually(lambda: ("spent", acme) in poisoned(house), runner)
    Spent.refuses = {}
    zombie = PartitionRunner(lambda: connect_projector(house.projector_url), [spent], PARTITION)
    with connect_projector(house.projector_url) as connection:
        zombie._own(connection)
        with psycopg.connect(house.url) as admin:
            admin.execute("update felix.cursors set generation = generation + 1 where projection = 'spent'")
        zombie._resume(connection, zombie.cursors[0], acme)
    assert (zombie.cursors[0].error or "").startswith("Fenced")
    assert ("spent", acme) in poisoned(house) and rows(house, "select from read.spent") == []


def test_all_is_well_costs_no_savepoint(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    tenant_id = house.onboard()
    house.open_account(tenant_id)

    def never(*_: Any) -> None:
        raise AssertionError("nothing failed")

    monkeypatch.setattr(poison, "fold_by_tenant", never)
    with house.running([Tenants()]) as runner:
        eventually(lambda: house.cursor("tenants") == house.head(), runner)
        assert runner.lag()["tenants", PARTITION].error is None
