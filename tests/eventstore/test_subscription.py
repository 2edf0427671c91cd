"""A subscription neither loses nor repeats an event, whatever happens to it, its session or its clock."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from eventsourcing.persistence import OperationalError, ProgrammingError
from lamps import ACME, stored, stream, take

from felix.eventstore import subscription as following
from felix.eventstore.connections import connect, writer_url
from felix.eventstore.partition_log import PartitionLog
from felix.eventstore.postgres import FelixAggregateRecorder, FelixApplicationRecorder, FelixDatastore

KILL = (
    "select count(pg_terminate_backend(pid)) from pg_stat_activity"
    " where datname = current_database() and application_name = 'felix_projector'"
)


@pytest.fixture
def recorder(datastore: FelixDatastore) -> FelixApplicationRecorder:
    return FelixApplicationRecorder(datastore)


def append(recorder: FelixApplicationRecorder, events: int, *, pause_s: float = 0.0) -> None:
    for _ in range(events):
        recorder.insert_events([stored(stream())])
        time.sleep(pause_s)


def positions(subscription: following.FelixSubscription, events: int) -> list[int]:
    return [notification.id for notification in take(subscription, events)]


def test_a_subscription_that_is_made_anew_goes_on_where_the_last_one_stopped(
    recorder: FelixApplicationRecorder,
) -> None:
    seen: list[int] = []
    with ThreadPoolExecutor() as threads:
        writing = threads.submit(append, recorder, 60, pause_s=0.001)
        for events in (1, 7, 2, 30, 20):
            with recorder.subscribe(gt=seen[-1] if seen else None) as subscription:
                seen += positions(subscription, events)
        writing.result()
    assert seen == list(range(1, 61))


def test_a_lost_connection_neither_loses_nor_repeats_an_event(
    database: str, recorder: FelixApplicationRecorder
) -> None:
    killed = 0
    with ThreadPoolExecutor() as threads, recorder.subscribe() as subscription:
        writing = threads.submit(append, recorder, 300, pause_s=0.002)
        reading = threads.submit(positions, subscription, 301)
        with psycopg.connect(database, autocommit=True) as admin:
            while not writing.done():
                found = admin.execute(KILL).fetchone()
                assert found is not None
                killed += found[0]
                time.sleep(0.05)
            # One more after the last cut, so that the reader has had to come back.
            append(recorder, 1)
        assert reading.result(timeout=10) == list(range(1, 302))
    assert killed >= 5


def test_a_database_that_was_never_there_is_an_error(database: str) -> None:
    datastore = FelixDatastore(psycopg.conninfo.make_conninfo(database, dbname="d_nowhere"))
    with FelixApplicationRecorder(datastore).subscribe() as subscription, pytest.raises(OperationalError):
        next(subscription)


def test_stopping_from_another_thread_ends_the_iteration_at_once_and_closes_the_connection(
    recorder: FelixApplicationRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "IDLE_MIN_S", 30.0)
    monkeypatch.setattr(following, "IDLE_MAX_S", 30.0)
    subscription = recorder.subscribe()
    with ThreadPoolExecutor() as threads:
        reading = threads.submit(list, subscription)
        time.sleep(0.2)
        assert not reading.done()
        subscription.stop()
        assert reading.result(timeout=1) == []
    assert subscription._connection is None
    assert list(subscription) == []
    with pytest.raises(ProgrammingError), subscription, subscription:
        pass


def test_stopping_during_an_outage_ends_the_iteration(
    database: str, recorder: FelixApplicationRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "RETRY_MIN_S", 30.0)
    append(recorder, 1)
    subscription = recorder.subscribe()
    assert positions(subscription, 1) == [1]
    with psycopg.connect(database, autocommit=True) as admin:
        admin.execute(KILL)
    with ThreadPoolExecutor() as threads:
        reading = threads.submit(list, subscription)
        time.sleep(0.2)
        assert not reading.done()
        subscription.stop()
        assert reading.result(timeout=1) == []


def test_an_append_in_the_same_process_is_seen_without_waiting_for_the_next_look(
    recorder: FelixApplicationRecorder, datastore: FelixDatastore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "IDLE_MIN_S", 30.0)
    monkeypatch.setattr(following, "IDLE_MAX_S", 30.0)
    with ThreadPoolExecutor() as threads, recorder.subscribe() as subscription:
        reading = threads.submit(positions, subscription, 1)
        time.sleep(0.2)
        assert not reading.done()
        append(FelixApplicationRecorder(datastore), 1)
        assert reading.result(timeout=2) == [1]


def test_an_append_of_another_process_is_seen_by_looking(database: str, recorder: FelixApplicationRecorder) -> None:
    log = PartitionLog(lambda: connect(writer_url(database)), 0)
    events = FelixAggregateRecorder(recorder.datastore)._new_events([stored(stream())], "elsewhere", "")
    with ThreadPoolExecutor() as threads, recorder.subscribe() as subscription:
        reading = threads.submit(positions, subscription, 1)
        time.sleep(0.2)
        log.open_batch([])
        log.commit(events, {ACME: 0}, [])
        assert reading.result(timeout=2) == [1]
    log.close()


def test_a_filter_passes_over_long_stretches_without_a_match(
    recorder: FelixApplicationRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "FILTERED_BATCH_POSITIONS", 7)
    rare = {3, 4, 40, 99, 100}
    recorder.insert_events([stored(stream(), topic="rare" if n in rare else "common") for n in range(1, 101)])
    with recorder.subscribe(topics=["rare", "absent"]) as subscription:
        assert positions(subscription, 5) == sorted(rare)
        recorder.insert_events([stored(stream(), topic="common"), stored(stream(), topic="rare")])
        assert positions(subscription, 1) == [102]


def test_a_subscription_reads_more_than_one_batch(
    recorder: FelixApplicationRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "BATCH_POSITIONS", 10)
    recorder.insert_events([stored(stream()) for _ in range(95)])
    with recorder.subscribe(gt=3) as subscription:
        assert positions(subscription, 92) == list(range(4, 96))


def test_ringing_for_nobody_and_for_those_who_left_does_no_harm(recorder: FelixApplicationRecorder) -> None:
    following.ring(0)
    subscription = recorder.subscribe()
    bell = subscription._bell
    del subscription
    following.ring(0)
    assert isinstance(bell, threading.Event)
    following.ring(77)
