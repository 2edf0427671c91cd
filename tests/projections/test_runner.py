"""The runner: exactly once, zombies fenced, gaps stop it, failures stay with their projection."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any, ClassVar

import psycopg
import pytest

from felix.eventstore.mapper import RecordedEvent
from felix.eventstore.reader import GapInLog, heads, read_partition, read_stream
from felix.projections import base, partition_runner
from felix.projections.balances import Balances
from felix.projections.base import EVERY_EVENT, PATIENT, Projection, connect_projector
from felix.projections.partition_runner import Cursor, Fenced, PartitionRunner
from felix.projections.registry import PROJECTIONS, install
from felix.projections.usage import Usage

from .conftest import PARTITION, House, contents, eventually


class Count(Projection):
    """Counts the events of each tenant: what is delivered twice is counted twice."""

    name = "counts"
    reads = frozenset({EVERY_EVENT})
    tables = ("counts",)
    ddl = """
        create table counts (partition int not null, tenant_id uuid not null, events bigint not null,
          constraint counts_pkey primary key (partition, tenant_id));
    """

    def fold(self, events: Sequence[RecordedEvent], connection: psycopg.Connection[Any]) -> None:
        for event in events:
            connection.execute(
                "insert into counts values (%s, %s, 1)"
                " on conflict (partition, tenant_id) do update set events = counts.events + 1",
                (event.partition, event.tenant_id),
            )


class WithoutRoom(Count):
    """Has no room on the disk as long as it is told so: nothing that lies with an event."""

    failing: ClassVar[bool] = True

    def fold(self, events: Sequence[RecordedEvent], connection: psycopg.Connection[Any]) -> None:
        super().fold(events, connection)
        if self.failing:
            raise psycopg.errors.DiskFull("no room")


def counted(house: House) -> int:
    with psycopg.connect(house.url) as connection:
        row = connection.execute("select coalesce(sum(events), 0)::bigint from read.counts").fetchone()
    assert row is not None
    return int(row[0])


def stale_runner(house: House, projection: Projection, position: int) -> tuple[PartitionRunner, Any]:
    """A runner that believes to own a projection at a position it no longer is at, and its connection."""
    runner = PartitionRunner(lambda: connect_projector(house.projector_url), [projection], PARTITION)
    runner.cursors = [Cursor(projection, position, owned=True)]
    return runner, connect_projector(house.projector_url)


def test_what_is_delivered_twice_counts_once(house: House) -> None:
    tenant_id = house.onboard()
    account_id = house.open_account(tenant_id)
    house.catch_up()
    before = contents(house.url)
    runner, connection = stale_runner(house, Balances(), 0)
    with connection:
        runner._fold_batch(connection, runner.cursors, 500)
    assert contents(house.url) == before
    assert runner.cursors[0].error is not None and runner.cursors[0].error.startswith("Fenced")
    assert house.cursor() == house.head()
    del account_id


def test_a_zombie_is_fenced(house: House) -> None:
    install(house.url, [Count()])
    tenant_id = house.onboard()
    house.open_account(tenant_id)
    head = house.head()
    first, first_connection = stale_runner(house, Count(), 0)
    zombie, zombie_connection = stale_runner(house, Count(), 0)
    with first_connection, zombie_connection:
        events = read_partition(zombie_connection, PARTITION, 0)
        with zombie_connection.transaction(), pytest.raises(Fenced):
            first._fold_batch(first_connection, first.cursors, 500)
            zombie._move(zombie_connection, zombie.cursors, 0, events[-1].position)
        zombie._fold_group(zombie_connection, zombie.cursors, events)
    assert counted(house) == head
    assert zombie.cursors[0].position == 0 and not zombie.cursors[0].owned


def test_control_with_the_cursor_in_a_transaction_of_its_own_a_zombie_counts_double(house: House) -> None:
    install(house.url, [Count()])
    tenant_id = house.onboard()
    house.open_account(tenant_id)
    for _ in range(2):
        runner, connection = stale_runner(house, Count(), 0)
        with connection:
            events = read_partition(connection, PARTITION, 0)
            with connection.transaction():
                Count().fold(events, connection)
            try:
                with connection.transaction():
                    runner._move(connection, runner.cursors, 0, events[-1].position)
            except Fenced:
                pass
    assert counted(house) == 2 * house.head()


def test_two_runners_share_the_work_and_one_takes_over(house: House) -> None:
    install(house.url, [Count()])
    tenant_id = house.onboard()
    account_id = house.open_account(tenant_id)
    projections = [Count()]
    with house.running(projections) as second, house.running(projections) as first:
        for _ in range(30):
            house.debit(tenant_id, account_id)
        eventually(lambda: house.cursor("counts") == house.head())
        owners = [lag.owned for runner in (first, second) for (_, p), lag in runner.lag().items() if p == PARTITION]
        assert sorted(owners) == [False, True]
        (first if first.lag()["counts", PARTITION].owned else second).stop()
        house.debit(tenant_id, account_id)
        eventually(lambda: house.cursor("counts") == house.head())
    assert counted(house) == house.head()


def test_a_killed_connection_loses_and_doubles_nothing(house: House) -> None:
    install(house.url, [Count()])
    tenant_id = house.onboard()
    account_id = house.open_account(tenant_id)
    with house.running([Count()]) as runner, psycopg.connect(house.url, autocommit=True) as admin:
        for round_ in range(40):
            house.debit(tenant_id, account_id)
            if round_ % 10 == 5:
                admin.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity"
                    " where application_name = 'felix_projector' and datname = current_database()"
                )
        eventually(lambda: house.cursor("counts") == house.head(), runner)
    assert counted(house) == house.head()


def remove_event(house: House, position: int) -> None:
    with psycopg.connect(house.url) as connection:
        connection.execute("alter table felix.events disable trigger events_append_only")
        connection.execute("delete from felix.events where partition = 0 and position = %s", (position,))


@pytest.mark.parametrize("missing", ["in the middle", "at the end"])
def test_a_gap_in_the_log_stops_the_projections_before_it(house: House, missing: str) -> None:
    tenant_id = house.onboard()
    account_id = house.open_account(tenant_id)
    for _ in range(5):
        house.debit(tenant_id, account_id)
    position = house.head() - (2 if missing == "in the middle" else 0)
    remove_event(house, position)
    with house.running() as runner:
        of_events = {projection.name for projection in PROJECTIONS if projection.feed == "events"}
        eventually(lambda: all(lag.error for (n, p), lag in runner.lag().items() if p == 0 and n in of_events), runner)
        for lag in runner.lag().values():
            if lag.partition == PARTITION and lag.projection in of_events:
                assert lag.error is not None and lag.error.startswith("GapInLog")
                assert lag.position < position
    with connect_projector(house.projector_url) as connection:
        if missing == "in the middle":
            with pytest.raises(GapInLog, match=f"no position {position}"):
                read_partition(connection, PARTITION, 0)
            with pytest.raises(GapInLog, match="has no version"):
                read_stream(connection, PARTITION, f"{tenant_id}:token_account:{account_id}")
        assert heads(connection)[PARTITION] == house.head()


def test_a_failing_projection_stops_alone_and_goes_on_when_it_is_mended(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partition_runner, "BACKOFF_S", 0.05)
    failing = WithoutRoom()
    install(house.url, [failing])
    tenant_id = house.onboard()
    account_id = house.open_account(tenant_id)
    with house.running([*PROJECTIONS, failing]) as runner:
        eventually(lambda: house.cursor("balances") == house.head() and house.cursor("usage") == house.head(), runner)
        eventually(lambda: runner.lag()["counts", PARTITION].error is not None, runner)
        lag = runner.lag()["counts", PARTITION]
        assert lag.error == "DiskFull: no room" and lag.position == 0 and lag.lag_events == house.head()
        assert runner.lag()["balances", PARTITION].error is None
        assert counted(house) == 0
        house.debit(tenant_id, account_id)
        monkeypatch.setattr(WithoutRoom, "failing", False)
        eventually(lambda: house.cursor("counts") == house.head(), runner)
        assert runner.lag()["counts", PARTITION].error is None
        eventually(lambda: not any(lag.lag_events for lag in runner.lag().values()), runner)
    assert counted(house) == house.head()


def test_projections_at_different_places_meet_and_read_the_log_once(house: House) -> None:
    tenant_id = house.onboard()
    account_id = house.open_account(tenant_id)
    with house.running([Usage()]) as runner:
        eventually(lambda: house.cursor("usage") == house.head(), runner)
    for _ in range(10):
        house.debit(tenant_id, account_id)
    runner_ = PartitionRunner(lambda: connect_projector(house.projector_url), [Balances(), Usage()], PARTITION)
    behind, ahead = runner_.cursors
    behind.owned = ahead.owned = True
    behind.position, ahead.position = 0, house.cursor("usage")
    runner_.heads["events"] = house.head()
    assert runner_._next_group(time.monotonic()) == ([behind], ahead.position)
    behind.position = ahead.position
    assert runner_._next_group(time.monotonic()) == ([behind, ahead], partition_runner.BATCH)


def test_a_wake_up_is_heard_at_once(house: House) -> None:
    tenant_id = house.onboard()
    account_id = house.open_account(tenant_id)
    with house.running(poll_s=60) as runner:
        eventually(lambda: house.cursor("usage") == house.head(), runner)
        took = []
        for _ in range(10):
            house.debit(tenant_id, account_id)
            begun = time.perf_counter()
            runner.wake(PARTITION, house.head())
            eventually(lambda: runner.lag()["usage", PARTITION].position == house.head(), runner)
            took.append(time.perf_counter() - begun)
    assert sorted(took)[len(took) // 2] < 0.25


def test_a_runner_stops_promptly_also_in_the_middle_of_a_slow_statement(house: House) -> None:
    class Slow(Count):
        entered = threading.Event()

        def fold(self, events: Sequence[RecordedEvent], connection: psycopg.Connection[Any]) -> None:
            self.entered.set()
            connection.execute("select pg_sleep(30)")

    install(house.url, [Count()])
    house.onboard()
    with house.running([Slow()]) as runner:
        assert Slow.entered.wait(10)
        begun = time.monotonic()
        assert runner.stop(timeout_s=0.2)
        assert time.monotonic() - begun < 3
    assert house.cursor("counts") == 0


def test_a_runner_does_not_touch_tables_of_another_version(house: House) -> None:
    class Renewed(Count):
        version = 2

    install(house.url, [Renewed()])
    house.onboard()
    with house.running([Count()]) as runner:
        eventually(lambda: runner.lag()["counts", PARTITION].error is not None, runner)
        assert "version 2 is installed" in (runner.lag()["counts", PARTITION].error or "")
    assert counted(house) == 0


@pytest.mark.parametrize("in_transaction", [False, True])
def test_an_owner_that_is_frozen_loses_its_projections(
    house: House, monkeypatch: pytest.MonkeyPatch, in_transaction: bool
) -> None:
    monkeypatch.setattr(base, "FROZEN_AFTER_S", 0.5)
    monkeypatch.setattr(partition_runner, "IDLE_S", 0.1)
    with connect_projector(house.projector_url) as frozen:
        for projection in PROJECTIONS:
            key = partition_runner._lock_key(projection.name, PARTITION)
            assert frozen.execute("select pg_try_advisory_lock(%s)", (key,)).fetchone() == (True,)
        if in_transaction:
            frozen.execute("begin")
        house.open_account(house.onboard())
        with house.running() as runner:
            eventually(lambda: house.cursor() == house.head(), runner)
            eventually(lambda: all(lag.owned for lag in runner.lag().values()), runner)
        with pytest.raises(psycopg.Error, match="timeout"):
            frozen.execute("select 1")


def test_an_owner_that_is_frozen_in_the_middle_of_a_copy_loses_its_projections(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "FROZEN_AFTER_S", 0.2)
    monkeypatch.setattr(base, "TRANSACTION_TIMEOUT_S", 0.5)
    with connect_projector(house.projector_url) as frozen, connect_projector(house.projector_url, patient=True) as slow:
        for projection in PROJECTIONS:
            key = partition_runner._lock_key(projection.name, PARTITION)
            assert frozen.execute("select pg_try_advisory_lock(%s)", (key,)).fetchone() == (True,)
        for connection in (frozen, slow):
            connection.execute("begin")
            connection.pgconn.exec_(b"copy read.token_transactions from stdin")
        house.open_account(house.onboard())
        with house.running() as runner:
            eventually(lambda: house.cursor() == house.head(), runner)
            eventually(lambda: all(lag.owned for lag in runner.lag().values()), runner)
        assert in_copy(house.url) == [PATIENT]
        frozen.close()
        slow.close()


def in_copy(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        found = connection.execute(
            "select application_name from pg_stat_activity where datname = current_database() and query like 'copy %'"
        )
        return [name for (name,) in found]


def test_an_owner_with_nothing_to_do_keeps_its_projections(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "FROZEN_AFTER_S", 0.5)
    monkeypatch.setattr(partition_runner, "IDLE_S", 0.1)
    with house.running() as runner:
        eventually(lambda: all(lag.owned for lag in runner.lag().values()), runner)
        connections = [each._connection for each in runner._runners.values()]
        time.sleep(1.5)
        assert [each._connection for each in runner._runners.values()] == connections
