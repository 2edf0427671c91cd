"""What an append promises: dense, ordered, atomic, in its tenant's partition, and never changed afterwards."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
from eventsourcing.application import Application
from eventsourcing.persistence import IntegrityError, ProgrammingError, Tracking
from lamps import ACME, GLOBEX, NOON, Lamp, LampDimmed, context, stored, stream

from felix.domain.errors import Corrupt
from felix.eventstore.connections import connect, role_url, writer_url
from felix.eventstore.mapper import FelixStoredEvent
from felix.eventstore.partition_log import PartitionLog
from felix.eventstore.postgres import (
    FelixAggregateRecorder,
    FelixApplicationRecorder,
    FelixDatastore,
    FelixFactory,
    FelixProcessRecorder,
    FelixTrackingRecorder,
    new_event_id,
)
from felix.eventstore.snapshots import NewSnapshot, snapshot_type

INSERT = (
    "insert into felix.events (partition, position, tenant_id, tenant_sequence, version, recorded_at, event_id, stream,"
    " type, command_key, actor, metadata, state) values (0, 2, %s, 2, 2, now(), %s, 's', 't', '', 'a', '{}', '')"
)


def rows(database: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(database) as admin:
        return admin.execute(query.encode()).fetchall()


def test_positions_and_tenant_sequences_are_dense_and_a_refused_append_leaves_no_gap(
    database: str, datastore: FelixDatastore
) -> None:
    recorder = FelixApplicationRecorder(datastore)
    acme, globex = stream(ACME), stream(GLOBEX)
    assert recorder.insert_events([stored(acme, 1), stored(globex, 1), stored(acme, 2)]) == [1, 2, 3]
    with pytest.raises(IntegrityError):
        recorder.insert_events([stored(globex, 2), stored(acme, 2)])
    many = [stored(globex, version) for version in range(2, 60)]
    assert recorder.insert_events(many) == list(range(4, 62))
    assert recorder.max_notification_id() == 61
    found = rows(database, "select position, tenant_id, tenant_sequence from felix.events order by position")
    assert [position for position, _, _ in found] == list(range(1, 62))
    assert [sequence for _, tenant, sequence in found if tenant == ACME] == [1, 2]
    assert [sequence for _, tenant, sequence in found if tenant == GLOBEX] == list(range(1, 60))


def test_an_append_says_who_asked_and_under_which_key(database: str, datastore: FelixDatastore) -> None:
    recorder = FelixApplicationRecorder(datastore)
    recorder.insert_events([stored(stream())])
    recorder.insert_events([stored(stream())], actor="founder:1", command_key="key-1")
    found = rows(database, "select actor, command_key, metadata::text from felix.events order by position")
    assert found == [("library", "", "{}"), ("founder:1", "key-1", "{}")]
    with pytest.raises(TypeError):
        recorder.insert_events([stored(stream())], actr="a typing error is not swallowed")


def test_an_event_that_the_table_refuses_is_refused_and_the_recorder_goes_on(datastore: FelixDatastore) -> None:
    recorder = FelixApplicationRecorder(datastore)
    with pytest.raises(IntegrityError):
        recorder.insert_events([stored(stream(), version=-1)])
    with pytest.raises(UnicodeEncodeError):
        recorder.insert_events([stored(f"{ACME}:thing:\ud800") for _ in range(40)])
    assert recorder.insert_events([stored(stream())]) == [1]


def test_felix_events_keep_their_id_and_time_through_an_application(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERSISTENCE_MODULE", "felix.eventstore.postgres")
    with Application[str](env={"FELIX_DATABASE_URL": database}) as app:
        lamp = Lamp.begin(context(), "kitchen", room="kitchen")
        lamp.dim(30)
        saved = lamp.pending_events[:]
        recordings = app.save(lamp, actor="founder:1")
        assert [recording.notification.id for recording in recordings] == [1, 2]
        assert list(app.events.get(lamp.id)) == saved
        notifications = app.recorder.select_notifications(None, 10)
        assert [app.mapper.to_domain_event(notification) for notification in notifications] == saved
        copy: Lamp = app.repository.get(lamp.id)
        assert (copy.version, copy.room, copy.level_percent) == (2, "kitchen", 30)
        app.close()


def test_event_ids_made_for_plain_events_are_uuids_of_version_7_and_differ() -> None:
    ids = {new_event_id(NOON) for _ in range(100)}
    assert len(ids) == 100
    assert {(event_id.version, event_id.variant) for event_id in ids} == {(7, "specified in RFC 4122")}
    assert {event_id.int >> 80 for event_id in ids} == {int(NOON.timestamp() * 1000)}


# Where a tenant lives.


def test_another_partition_sees_nothing_of_a_stream(datastore: FelixDatastore) -> None:
    name = stream()
    FelixApplicationRecorder(datastore, partition=0).insert_events([stored(name)])
    other = FelixApplicationRecorder(datastore, partition=1)
    assert other.select_events(name) == []
    assert other.select_notifications(None, 10) == []
    assert other.max_notification_id() is None


def test_a_tenant_of_another_partition_is_refused(database: str, datastore: FelixDatastore) -> None:
    with psycopg.connect(database) as admin:
        admin.execute("insert into felix.tenants values (%s, 1, 'acme', 'Acme', now())", (ACME,))
    wrong, right = FelixApplicationRecorder(datastore, partition=0), FelixApplicationRecorder(datastore, partition=1)
    with pytest.raises(ProgrammingError, match="lives in partition 1"):
        wrong.insert_events([stored(stream(GLOBEX)), stored(stream(ACME))])
    assert wrong.insert_events([stored(stream(GLOBEX))]) == [1]
    assert right.insert_events([stored(stream(ACME))]) == [1]
    assert right.insert_events([stored(stream(ACME))]) == [2]


def test_a_partition_without_a_head_is_refused(datastore: FelixDatastore) -> None:
    recorder = FelixApplicationRecorder(datastore, partition=9)
    for attempt in (
        lambda: recorder.insert_events([stored(stream())]),
        lambda: recorder.select_notifications(None, 1),
        recorder.max_notification_id,
    ):
        with pytest.raises(Corrupt, match="9"):
            attempt()


def test_a_stream_that_names_no_tenant_is_refused_unless_one_is_set(database: str, datastore: FelixDatastore) -> None:
    names = ["lamp", "lamp:1", str(ACME), f"{ACME}".upper() + ":thing:1", f"{{{ACME}}}:thing:1", f"{ACME.hex}:thing:1"]
    strict, lenient = FelixApplicationRecorder(datastore), FelixApplicationRecorder(datastore, tenant_id=GLOBEX)
    for name in names:
        with pytest.raises(ProgrammingError, match="FELIX_TENANT"):
            strict.insert_events([stored(name)])
        assert lenient.insert_events([stored(name)])
    assert set(rows(database, "select tenant_id from felix.events")) == {(GLOBEX,)}


def test_a_reader_sees_the_tenant_it_is_bound_to_and_nothing_when_it_is_not(
    database: str, datastore: FelixDatastore
) -> None:
    FelixApplicationRecorder(datastore).insert_events([stored(stream(ACME)), stored(stream(GLOBEX))])
    with psycopg.connect(role_url(database, "felix_reader")) as reader:
        with pytest.raises(psycopg.Error, match="no tenant is bound"):
            reader.execute("select 1 from felix.events")
        reader.rollback()
        reader.execute("select set_config('felix.tenant', %s, true)", (str(ACME),))
        assert reader.execute("select tenant_id from felix.events").fetchall() == [(ACME,)]


# Never changed.


def test_nobody_changes_what_is_recorded_neither_the_owner_nor_a_superuser_who_skips_triggers(
    database: str, datastore: FelixDatastore
) -> None:
    FelixApplicationRecorder(datastore).insert_events([stored(stream())])
    before = rows(database, "select * from felix.events")
    users = {
        role: role_url(database, role)
        for role in ("felix_writer", "felix_projector", "felix_reader", "felix_founder", "felix_owner")
    }
    users["superuser"] = database
    users["superuser as a replica"] = psycopg.conninfo.make_conninfo(
        database, options="-c session_replication_role=replica"
    )
    changes = ("update felix.events set actor = 'x'", "delete from felix.events", "truncate felix.events")
    for user, url in users.items():
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("select set_config('felix.tenant', %s, false)", (str(ACME),))
            # Row-level security hides every row from the owner, who therefore changes nothing without an error.
            for change in changes:
                try:
                    connection.execute(change.encode())
                except psycopg.Error as error:
                    assert error.sqlstate in ("42501", "FX403"), (user, change)
                else:
                    assert (user, change.split()[0]) in {("felix_owner", "update"), ("felix_owner", "delete")}
            if user in ("felix_projector", "felix_reader", "felix_founder", "felix_owner"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(INSERT, (ACME, new_event_id(NOON)))
        assert rows(database, "select * from felix.events") == before, user


# Order.


@pytest.mark.parametrize("outcome", ["commits", "gives up"])
def test_a_younger_append_waits_for_an_older_open_one_and_never_passes_it(
    outcome: str, database: str, datastore: FelixDatastore
) -> None:
    younger, elsewhere = FelixApplicationRecorder(datastore), FelixApplicationRecorder(datastore, partition=1)
    older = PartitionLog(lambda: connect(writer_url(database)), 0)
    older.open_batch([])
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(younger.insert_events, [stored(stream())])
        assert elsewhere.insert_events([stored(stream())]) == [1], "another partition does not wait"
        time.sleep(0.2)
        assert not waiting.done()
        assert younger.max_notification_id() is None, "nothing is visible before its turn"
        if outcome == "commits":
            event = FelixAggregateRecorder(datastore)._new_events([stored(stream())], "older", "")
            assert older.commit(event, {ACME: 0}, []) == 1
        else:
            older.rollback()
        assert waiting.result(timeout=5) == [2 if outcome == "commits" else 1]
    older.close()


def test_a_recorder_outlives_the_session_it_wrote_with(database: str, datastore: FelixDatastore) -> None:
    recorder = FelixApplicationRecorder(datastore)
    recorder.insert_events([stored(stream())])
    killed = rows(
        database, "select pg_terminate_backend(pid) from pg_stat_activity where usename is not null"
        " and datname = current_database() and pid <> pg_backend_pid()",
    )  # fmt: skip
    assert killed
    time.sleep(0.05)
    assert recorder.insert_events([stored(stream())]) == [2]
    assert recorder.max_notification_id() == 2


def test_threads_that_share_a_recorder_append_one_after_the_other(datastore: FelixDatastore) -> None:
    recorder = FelixApplicationRecorder(datastore)
    start = threading.Barrier(4)

    def append(_: int) -> list[int]:
        start.wait()
        return [position for _ in range(10) for position in recorder.insert_events([stored(stream())]) or []]

    with ThreadPoolExecutor(4) as threads:
        positions = [position for appended in threads.map(append, range(4)) for position in appended]
    assert sorted(positions) == list(range(1, 41))


# Tracking.


def test_two_trackers_of_one_application_do_not_share_a_position(datastore: FelixDatastore) -> None:
    balances, invoices = (FelixTrackingRecorder(datastore, tracker=name) for name in ("balances", "invoices"))
    balances.insert_tracking(Tracking("ledger", 7))
    assert invoices.max_tracking_id("ledger") is None
    invoices.insert_tracking(Tracking("ledger", 3))
    assert (balances.max_tracking_id("ledger"), invoices.max_tracking_id("ledger")) == (7, 3)


def test_a_process_recorder_keeps_neither_events_nor_tracking_when_one_of_them_is_refused(
    datastore: FelixDatastore,
) -> None:
    recorder = FelixProcessRecorder(datastore, tracker="dunning")
    name = stream()
    recorder.insert_events([stored(name, 1)], tracking=Tracking("ledger", 1))
    with pytest.raises(IntegrityError):
        recorder.insert_events([stored(name, 1)], tracking=Tracking("ledger", 2))
    with pytest.raises(IntegrityError):
        recorder.insert_events([stored(name, 2)], tracking=Tracking("ledger", 1))
    assert recorder.max_tracking_id("ledger") == 1
    assert len(recorder.select_events(name)) == 1
    with pytest.raises(ProgrammingError):
        FelixApplicationRecorder(datastore).insert_events([stored(name, 3)], tracking=Tracking("ledger", 2))


# Older shapes.


def test_an_old_version_is_brought_up_to_date_when_it_is_read_and_not_in_the_table(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERSISTENCE_MODULE", "felix.eventstore.postgres")
    with Application[str](env={"FELIX_DATABASE_URL": database}) as app:
        lamp = Lamp.begin(context(), "hall", room="hall")
        app.save(lamp)
        event_id, at = new_event_id(NOON), NOON + timedelta(seconds=1)
        old = FelixStoredEvent(lamp.id, 2, LampDimmed.TOPIC, b'{"level":40}', event_id=event_id, recorded_at=at)
        app.recorder.insert_events([old])
        copy: Lamp = app.repository.get(lamp.id)
        assert (copy.version, copy.level_percent, copy.modified_on) == (2, 40, at)
        copy.deciding(context()).dim(50)
        app.save(copy)
        app.close()
    assert [state for (state,) in rows(database, "select state from felix.events where version > 1 order by 1")] == [
        b'{"class_version":2,"level_percent":50}',
        b'{"level":40}',
    ]


def test_a_snapshot_of_an_older_state_version_is_ignored(database: str, datastore: FelixDatastore) -> None:
    lamp = Lamp.begin(context(), "attic", room="attic")
    lamp.dim(20)
    events = [
        FelixStoredEvent(lamp.id, 1, "test.lamp_installed", b'{"originator_topic":"test.lamp","room":"attic"}'),
        FelixStoredEvent(lamp.id, 2, "test.lamp_dimmed", b'{"class_version":2,"level_percent":20}'),
    ]
    FelixApplicationRecorder(datastore).insert_events(events)
    log = PartitionLog(lambda: connect(writer_url(database)), 0)

    def keep(version: int, type_: str, state: bytes) -> None:
        log.open_batch([])
        log.commit([], {}, [], [NewSnapshot(ACME, lamp.id, version, type_, NOON, NOON, state)])

    def load() -> tuple[int, int]:
        found = log.load(Lamp, lamp.id)
        assert found is not None
        assert isinstance(found[0], Lamp)
        return found[0].level_percent, found[1]

    assert snapshot_type(Lamp) == "test.lamp/2"
    keep(0, "test.lamp/1", b'{"brightness":"bright"}')
    assert load() == (20, 0), "the stream was replayed from its beginning"
    keep(1, snapshot_type(Lamp), b'{"level_percent":100,"room":"attic"}')
    assert load() == (20, 1), "a snapshot of this version is used"
    keep(2, "test.lamp/1", b'{"brightness":"bright"}')
    assert load() == (20, 1), "one of another version does not hide it"
    assert FelixAggregateRecorder(datastore, purpose="snapshots").select_events(lamp.id) == [], "not the library's"
    log.close()


def test_partition_and_tenant_come_from_the_environment_or_are_named_in_the_error(database: str) -> None:
    env = {"FELIX_DATABASE_URL": database, "FELIX_PARTITION": "2", "FELIX_TENANT": str(ACME)}
    factory = FelixFactory(env)
    assert (factory.partition, factory.tenant_id) == (2, UUID(str(ACME)))
    for key, value in {"FELIX_DATABASE_URL": "", "FELIX_PARTITION": "two", "FELIX_TENANT": "acme"}.items():
        with pytest.raises(OSError, match=key):
            FelixFactory({**env, key: value})
