"""Rebuilds: beside what is read, while writes go on, to the same rows; switched without a gap, resumed after a kill."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import psycopg
import pytest

from felix.domain.errors import Corrupt
from felix.eventstore.connections import connect, writer_url
from felix.projections import rebuild, rebuild_folders
from felix.projections.balances import Balances
from felix.projections.base import Projection, connect_projector
from felix.projections.partition_runner import PartitionRunner
from felix.projections.rebuild import NotRequested, Progress, Rebuild, RebuildFailed, RebuildUnderWay, Rebuilt
from felix.projections.rebuild_orders import NoSuchProjection, ProjectionOrders, Rebuilder
from felix.projections.registry import PROJECTIONS, install
from felix.projections.table_sets import LIVE, REBUILD, digest
from felix.projections.tenant_tx import BeingRebuilt, TenantTx
from felix.projections.tenants import Tenants
from felix.projections.token_transactions import TokenTransactions

from .conftest import PARTITION, House, eventually

BALANCES = Balances()
#: How often a rebuild is killed; each start of a process is a second and more.
KILLS = 10 if os.environ.get("FELIX_TEST_PROFILE") == "deep" else 2


def orders(house: House, projections: Sequence[Projection] = PROJECTIONS) -> ProjectionOrders:
    return ProjectionOrders(lambda: connect(writer_url(house.url)), projections)


def rebuilt(house: House, projection: Projection = BALANCES, *, accept: bool = False, **options: Any) -> Rebuilt:
    """Ask for a rebuild and run it."""
    key = f"rebuild-{next(house.keys)}"
    orders(house, [projection]).rebuild(projection.name, "founder:maria", key, accept_difference=accept)
    done = Rebuild(house.projector_url, projection, **options).run()
    assert done is not None
    return done


def live(house: House, projection: Projection = BALANCES) -> dict[str, tuple[int, str]]:
    with psycopg.connect(house.url) as connection:
        return digest(connection, LIVE.schema, projection.tables)


def one(house: House, query: str) -> Any:
    with psycopg.connect(house.url) as connection:
        row = connection.execute(query.encode()).fetchone()
    return None if row is None else row[0] if len(row) == 1 else row


@contextmanager
def writing(house: House, tenants: Sequence[UUID]) -> Iterator[list[int]]:
    """A writer that goes on for a while; what it has written so far."""
    accounts = [(tenant_id, house.open_account(tenant_id, 10**12)) for tenant_id in tenants]
    stopping, written = threading.Event(), [0]

    def write() -> None:
        while not stopping.is_set():
            for tenant_id, account_id in accounts:
                house.debit(tenant_id, account_id)
                written[0] += 1

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield written
    finally:
        stopping.set()
        thread.join()


def test_a_rebuild_while_a_writer_goes_on_makes_the_same_rows(house: House) -> None:
    tenants = [house.onboard("acme"), house.onboard("zeta", partition=2)]
    for seed, tenant_id in enumerate(tenants):
        house.live_a_little(tenant_id, seed)
    heard: list[Progress] = []
    with house.running() as runner:
        eventually(house.is_retold, runner)
        tables = one(house, "select 'read.token_accounts'::regclass::oid")
        with writing(house, tenants) as written:
            for projection in PROJECTIONS:
                before = written[0]
                done = rebuilt(house, projection, report=heard.append)
                assert (done.state, done.differences) == ("done", []), projection.name
                assert "the same rows" in done.detail
                eventually(lambda before=before: written[0] > before)
        assert one(house, "select 'read.token_accounts'::regclass::oid") != tables
        eventually(house.is_retold, runner)
        eventually(lambda: all(lag.owned for lag in runner.lag().values()), runner)
    assert {progress.state for progress in heard} == {"folding", "comparing", "switching"}
    after = {projection.name: live(house, projection) for projection in PROJECTIONS}
    for projection in PROJECTIONS:
        assert rebuilt(house, projection).state == "done"
        assert live(house, projection) == after[projection.name]
    left = "select count(*) from pg_tables where schemaname = 'rebuild'"
    assert one(house, left) == 0 and one(house, "select count(*) from felix.rebuild_cursors") == 0


def test_a_difference_is_named_and_not_switched_until_it_is_accepted(house: House) -> None:
    acme, zeta = house.onboard("acme"), house.onboard("zeta")
    for tenant_id in (acme, zeta):
        house.open_account(tenant_id)
    house.catch_up()
    honest = live(house)
    with psycopg.connect(house.url) as connection:
        connection.execute("update read.token_accounts set consumed_mtok = 7 where tenant_id = %s", (acme,))
    wrong = live(house)
    done = rebuilt(house)
    assert done.state == "refused"
    assert done.differences == [f"token_accounts differs for 1 tenant (1 rows, rebuilt 1): {acme}"]
    assert live(house) == wrong
    assert one(house, "select state from felix.rebuilds") == "refused"
    with psycopg.connect(house.url) as connection:
        assert digest(connection, REBUILD.schema, BALANCES.tables) == honest
    house.open_account(zeta)  # what happened meanwhile is folded before the switch
    accepted = rebuilt(house, accept=True)
    assert (accepted.state, len(accepted.differences)) == ("done", 1)
    assert "accepted" in accepted.detail
    house.catch_up()
    again = rebuilt(house)
    assert (again.state, again.differences) == ("done", [])


def test_a_switch_without_a_comparison_would_not_notice(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: it is the digest that finds the difference."""
    house.open_account(house.onboard())
    house.catch_up()
    with psycopg.connect(house.url) as connection:
        connection.execute("update read.token_accounts set consumed_mtok = 7")
    monkeypatch.setattr(rebuild, "differences", lambda *_, **__: [])
    assert rebuilt(house).state == "done"


def test_rows_in_another_order_have_the_same_digest_and_other_rows_another(house: House) -> None:
    tenant_id = house.onboard()
    for _ in range(3):
        house.open_account(tenant_id)
    house.catch_up()
    before = live(house)
    with psycopg.connect(house.url) as connection:
        connection.execute("create temp table kept as select * from read.token_accounts order by account_id desc")
        connection.execute("truncate read.token_accounts")
        connection.execute("insert into read.token_accounts select * from kept")
    assert live(house) == before
    with psycopg.connect(house.url) as connection:
        # Two changes that would cancel out in a sum of amounts.
        connection.execute(
            "update read.token_lots set remaining_mtok = remaining_mtok - 1 where lot_id = (select min(lot_id)"
            " from read.token_lots)"
        )
    after = live(house)
    assert after["token_lots"] != before["token_lots"] and after["token_accounts"] == before["token_accounts"]


REBUILDING = """
import sys
from felix.projections import rebuild_folders, rebuild
from felix.projections.balances import Balances
from felix.projections.rebuild import Rebuild
rebuild_folders.BATCH, rebuild.LOOK_EVERY_S, rebuild_folders.ALONE_BELOW_EVENTS = 5, 0.01, int(sys.argv[2])
rebuild.ALONE_BELOW_EVENTS = rebuild_folders.ALONE_BELOW_EVENTS
rebuild.NEAR_EVENTS = 0
if __name__ == "__main__":
    done = Rebuild(sys.argv[1], Balances(), processes=2).run()
    print(done.state, done.differences)
"""


@pytest.mark.parametrize("alone_below", [10**9, 0], ids=["threads", "processes"])
def test_a_killed_rebuild_goes_on_where_it_was(house: House, alone_below: int, tmp_path: Any) -> None:
    tenants = [house.onboard(f"client-{p}", partition=p) for p in range(4)]
    for tenant_id in tenants:
        account_id = house.open_account(tenant_id, 10**9)
        for _ in range(60):
            house.debit(tenant_id, account_id)
    house.catch_up()
    before = live(house)
    orders(house).rebuild("balances", "founder:maria", "k-1")
    script = tmp_path / "rebuilding.py"
    script.write_text(REBUILDING)
    command = [sys.executable, str(script), house.projector_url, str(alone_below)]
    place, killed = "select coalesce(sum(position), 0)::bigint from felix.rebuild_cursors", 0
    total = sum(house.head(p) for p in range(4))
    reached = 0
    for _ in range(KILLS):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            eventually(lambda at=reached, p=process: one(house, place) > at or p.poll() is not None, timeout_s=30)
            if process.poll() is None and one(house, place) < total:
                killed += 1
        finally:
            process.kill()
            process.communicate()
        if one(house, "select state from felix.rebuilds") == "done":
            break
        now = one(house, place)
        assert now >= reached  # it never began again
        reached = now
    assert killed > 0
    if one(house, "select state from felix.rebuilds") != "done":
        # A process that folds outlives its parent for as long as it takes to notice.
        done = None
        deadline = time.monotonic() + 20
        while done is None:
            try:
                done = Rebuild(house.projector_url, BALANCES).run()
            except RebuildUnderWay:
                assert time.monotonic() < deadline
        assert (done.state, done.differences) == ("done", [])
    assert live(house) == before


def test_only_one_process_rebuilds_and_only_what_was_asked_for(house: House) -> None:
    house.onboard()
    with pytest.raises(NotRequested):
        Rebuild(house.projector_url, BALANCES).run()
    asked = orders(house).rebuild("balances", "founder:maria", "k-1")
    assert (asked["state"], asked["version"], asked["requested_by"]) == (
        "requested", BALANCES.version, "founder:maria",
    )  # fmt: skip
    assert orders(house).rebuild("balances", "founder:ben", "k-2")["requested_by"] == "founder:maria"
    with pytest.raises(NoSuchProjection):
        orders(house).rebuild("ghosts", "founder:maria", "k-3")
    inside: list[type[BaseException]] = []

    def second(progress: Progress) -> None:
        try:
            Rebuild(house.projector_url, BALANCES).run()
        except RebuildUnderWay as error:
            inside.append(type(error))

    done = Rebuild(house.projector_url, BALANCES, report=second).run()
    assert done is not None and done.state == "done" and set(inside) == {RebuildUnderWay}
    # The same key asks once, however often it is sent; another one asks again.
    assert orders(house).rebuild("balances", "founder:maria", "k-1")["state"] == "done"
    assert orders(house).rebuild("balances", "founder:maria", "k-4")["state"] == "requested"


class Reader:
    """Counts rows for as long as it is told to, in transactions of two questions; remembers when there were fewer."""

    def __init__(self, house: House, table: str, tenant_id: UUID) -> None:
        self.answers, self.fewer, self.errors = 0, 0, [""]
        self.errors.clear()
        self._query = f"select count(*) from read.{table} where partition = 0 and tenant_id = %s"
        self._house, self._tenant_id = house, tenant_id
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Reader:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        most = 0
        try:
            with psycopg.connect(self._house.reader_url, autocommit=True) as connection:
                while not self._stopping.is_set():
                    connection.execute("begin isolation level repeatable read, read only")
                    connection.execute(f"set local felix.tenant = '{self._tenant_id}'".encode())
                    counts = []
                    for _ in range(2):
                        row = connection.execute(self._query.encode(), (self._tenant_id,)).fetchone()
                        assert row is not None
                        counts.append(int(row[0]))
                        time.sleep(0.002)
                    connection.execute("commit")
                    self.answers += 1
                    if counts[0] < most or counts[0] != counts[1]:
                        self.fewer += 1
                    most = max(most, *counts)
        except psycopg.Error as error:
            self.errors.append(repr(error))


def hammered(house: House, monkeypatch: pytest.MonkeyPatch, rounds: int) -> tuple[int, list[str], int]:
    """Rebuild while readers ask and a writer writes: how often somebody saw fewer rows, errors, answers."""
    tenant_id = house.onboard()
    projection = TokenTransactions()
    with house.running() as runner, writing(house, [tenant_id]):
        eventually(lambda: house.cursor("token_transactions") > 20, runner)
        readers = [Reader(house, "token_transactions", tenant_id) for _ in range(4)]
        for reader in readers:
            reader.__enter__()
        try:
            for _ in range(rounds):
                assert rebuilt(house, projection).state == "done"
        finally:
            for reader in readers:
                reader.__exit__()
    answers = sum(reader.answers for reader in readers)
    return sum(reader.fewer for reader in readers), [error for reader in readers for error in reader.errors], answers


def test_readers_see_no_gap_while_the_tables_are_switched(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    fewer, errors, answers = hammered(house, monkeypatch, rounds=4)
    assert (fewer, errors) == (0, []) and answers > 100


def test_a_switch_that_does_not_wait_for_readers_is_seen_by_them(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: a reader with an older snapshot gets to the new tables and finds less."""
    monkeypatch.setattr(Rebuild, "_wait_for_readers", lambda *_: None)
    house.open_account(tenant_id := house.onboard())
    house.catch_up()
    with psycopg.connect(house.founder_url) as reader:
        reader.execute("set transaction isolation level repeatable read")
        reader.execute("select 1")  # the snapshot is taken here
        assert rebuilt(house).state == "done"
        row = reader.execute("select count(*) from read.token_accounts where tenant_id = %s", (tenant_id,)).fetchone()
    assert row == (0,)


def test_the_switch_waits_for_whoever_began_before(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebuild, "READERS_PATIENCE_S", 0.05)
    monkeypatch.setattr(rebuild, "SWITCH_PATIENCE_S", 0.3)
    house.open_account(house.onboard())
    house.catch_up()
    before = live(house)
    with psycopg.connect(house.founder_url) as reader:
        reader.execute("set transaction isolation level repeatable read")
        reader.execute("select 1")
        with pytest.raises(RebuildFailed, match="could not be switched"):
            rebuilt(house)
        assert live(house) == before
    assert one(house, "select state from felix.rebuilds") == "failed"
    assert rebuilt(house).state == "done"


def test_a_runner_of_before_the_switch_is_fenced(house: House) -> None:
    tenant_id = house.onboard()
    account_id = house.open_account(tenant_id)
    house.catch_up()
    zombie = PartitionRunner(lambda: connect_projector(house.projector_url), [BALANCES], PARTITION)
    with connect_projector(house.projector_url) as connection:
        zombie._own(connection)
        assert rebuilt(house).state == "done"
        house.debit(tenant_id, account_id)
        zombie._fold_batch(connection, zombie.cursors, 500)
    assert (zombie.cursors[0].error or "").startswith("Fenced")
    assert house.cursor() == house.head() - 1
    house.catch_up()
    assert rebuilt(house).differences == []


class Renewed(Balances):
    """Balances with another table and one column more."""

    version = Balances.version + 1
    tables = (*Balances.tables, "token_footnotes")
    ddl = (
        Balances.ddl
        + """
        alter table token_accounts add column renewed boolean not null default true;
        create table token_footnotes (partition int not null, tenant_id uuid not null, footnote text not null,
          constraint token_footnotes_pkey primary key (partition, tenant_id));
    """
    )


async def renewed(tx: TenantTx) -> list[dict[str, Any]]:
    """A question that only the new tables can answer."""
    return await tx.fetch(
        "select renewed from read.token_accounts where partition = %s and tenant_id = %s", tx.partition, tx.tenant_id
    )


def test_a_new_version_is_rebuilt_while_the_old_one_answers_and_then_switched(house: House) -> None:
    tenant_id = house.onboard()
    account_id = house.open_account(tenant_id)
    with house.running([BALANCES]) as old:
        eventually(lambda: house.cursor() == house.head(), old)
        before = live(house)["token_lots"]
        assert install(house.url, [Renewed()]) == ["balances"]
        with pytest.raises(BeingRebuilt):
            house.ask_as(tenant_id, renewed)
        house.debit(tenant_id, account_id)
        eventually(lambda: house.cursor() == house.head(), old)  # processes of the old version go on until the switch
        with house.running([Renewed()]) as new:
            rebuilder = Rebuilder(house.projector_url, [Renewed()])
            rebuilder.start()
            try:
                eventually(lambda: one(house, "select state from felix.rebuilds") == "done")
            finally:
                assert rebuilder.stop()
            house.debit(tenant_id, account_id)
            eventually(lambda: house.cursor() == house.head(), new)
            eventually(lambda: new.lag()["balances", PARTITION].owned, new)
            eventually(lambda: "is installed" in (old.lag()["balances", PARTITION].error or ""), old)
    assert house.ask_as(tenant_id, renewed) == [{"renewed": True}]
    assert one(house, "select count(*) from read.token_footnotes") == 0
    assert live(house)["token_lots"] != before
    assert one(house, "select distinct version from felix.cursors where projection = 'balances'") == Renewed.version
    assert install(house.url, [Renewed()]) == []
    # And back again: what only the newer version has goes away.
    assert install(house.url, [BALANCES]) == ["balances"]
    done = Rebuild(house.projector_url, BALANCES).run()
    assert done is not None and done.state == "done" and "new version" in done.detail
    assert one(house, "select to_regclass('read.token_footnotes')") is None


class Picky(Tenants):
    """Can't take some tenants."""

    name = "picky"
    tables = ("picky",)
    ddl = Tenants.ddl.replace("tenants", "picky")
    refused: set[UUID] = set()

    def fold(self, events: Sequence[Any], connection: psycopg.Connection[Any]) -> None:
        if any(event.tenant_id in self.refused for event in events):
            raise Corrupt("no")
        for event in events:
            connection.execute(
                "insert into picky as p (partition, tenant_id, events, last_event_at, last_position)"
                " values (%s, %s, 1, %s, %s) on conflict on constraint picky_pkey do update set events = p.events + 1,"
                " last_event_at = excluded.last_event_at, last_position = excluded.last_position",
                (event.partition, event.tenant_id, event.recorded_at, event.position),
            )


@pytest.fixture
def picky(house: House) -> Iterator[Picky]:
    Picky.refused = set()
    projection = Picky()
    install(house.url, [projection])
    yield projection
    Picky.refused = set()


def caught_up(house: House, projection: Projection) -> None:
    with house.running([projection]) as runner:
        eventually(lambda: house.cursor(projection.name) == house.head(), runner)


def test_stopped_tenants_are_carried_over_and_worse_is_refused(house: House, picky: Picky) -> None:
    acme, zeta = house.onboard("acme"), house.onboard("zeta")
    for tenant_id in (acme, zeta):
        house.open_account(tenant_id)
    Picky.refused = {acme}
    caught_up(house, picky)
    carried = rebuilt(house, picky)
    assert (carried.state, carried.differences) == ("done", [])
    assert "1 stopped tenant was carried over" in carried.detail
    assert one(house, "select tenant_id from felix.poisoned") == acme
    Picky.refused = {acme, zeta}
    worse = rebuilt(house, picky)
    assert worse.state == "refused" and len(worse.differences) == 1
    assert f"stop for tenant {zeta}" in worse.differences[0]
    Picky.refused = set()
    mended = rebuilt(house, picky)
    assert (mended.state, mended.differences) == ("done", [])
    assert one(house, "select count(*) from felix.poisoned") == 0
    caught_up(house, picky)
    assert one(house, f"select events from read.picky where tenant_id = '{acme}'") == 3


def test_a_rebuild_that_can_not_go_on_says_why(house: House, picky: Picky, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebuild, "PATIENCE_S", 0.2)
    monkeypatch.setattr(rebuild, "NEAR_EVENTS", 0)
    house.onboard()

    def full(*_: Any) -> None:
        raise psycopg.errors.DiskFull("no room")

    monkeypatch.setattr(Picky, "fold", full)
    with pytest.raises(RebuildFailed, match="DiskFull: no room"):
        rebuilt(house, picky)
    assert one(house, "select state from felix.rebuilds") == "failed"
    monkeypatch.undo()
    assert rebuilt(house, picky).state == "done"


def test_who_folds_may_not_make_tables(house: House) -> None:
    with connect_projector(house.projector_url) as connection:
        for statement in (
            "create table read.mine (partition int)",
            "create table rebuild.mine (partition int)",
            "drop table read.token_accounts",
            "insert into felix.table_sets values ('balances', 9, '{events}', 'drop table felix.events')",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement.encode())
    with psycopg.connect(house.reader_url) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("select felix.switch_table_set('balances')")


def test_the_worker_stops_a_rebuild_and_the_next_one_goes_on(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebuild, "NEAR_EVENTS", -1)  # never near enough
    house.open_account(house.onboard())
    house.catch_up()
    orders(house).rebuild("balances", "founder:maria", "k-1")
    rebuilder = Rebuilder(house.projector_url, PROJECTIONS)
    rebuilder.start()
    eventually(lambda: one(house, "select sum(position)::bigint from felix.rebuild_cursors") == house.head())
    assert rebuilder.stop()
    assert one(house, "select state from felix.rebuilds") == "folding"
    monkeypatch.undo()
    done = Rebuild(house.projector_url, BALANCES).run()
    assert done is not None and (done.state, done.differences) == ("done", [])


def test_a_short_log_is_folded_by_threads_and_a_long_one_by_processes(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen: list[int] = []
    folding: Callable[..., Any] = rebuild_folders.folding

    def watched(url: str, projection: Projection, partitions: Sequence[int], processes: int) -> Any:
        chosen.append(processes)
        return folding(url, projection, partitions, 0)

    monkeypatch.setattr(rebuild, "folding", watched)
    house.open_account(house.onboard())
    house.catch_up()
    rebuilt(house, processes=2)
    monkeypatch.setattr(rebuild, "ALONE_BELOW_EVENTS", 2)
    rebuilt(house, processes=2)
    assert chosen == [0, 2]
