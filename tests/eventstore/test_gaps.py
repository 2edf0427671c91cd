"""No reader misses an event, however many write; and the test would notice if one did."""

from __future__ import annotations

import random
import threading
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from eventsourcing.persistence import InternalError
from lamps import stored, stream, take

from felix.domain.errors import Corrupt
from felix.eventstore.postgres import FelixApplicationRecorder, FelixDatastore

WRITERS = 6
APPENDS = 40


def test_a_tailing_reader_sees_every_event_of_many_writers_once_and_in_order(database: str) -> None:
    stores = [FelixDatastore(database) for _ in range(WRITERS + 1)]
    reader = FelixApplicationRecorder(stores.pop())
    sizes = [[random.Random(seed).choice((1, 1, 2, 3, 30)) for _ in range(APPENDS)] for seed in range(WRITERS)]
    total = sum(map(sum, sizes))
    start = threading.Barrier(WRITERS + 1)

    def write(store: FelixDatastore, batches: list[int]) -> list[int]:
        recorder, name, version = FelixApplicationRecorder(store), stream(), 0
        positions: list[int] = []
        start.wait()
        for size in batches:
            events = [stored(name, version + n) for n in range(1, size + 1)]
            positions += recorder.insert_events(events) or []
            version += size
        return positions

    def tail() -> list[tuple[int, str, int]]:
        start.wait()
        with reader.subscribe() as subscription:
            return [
                (event.id, str(event.originator_id), event.originator_version) for event in take(subscription, total)
            ]

    with ThreadPoolExecutor(WRITERS + 1) as threads:
        tailing = threads.submit(tail)
        written = [position for positions in threads.map(write, stores, sizes) for position in positions]
        seen = tailing.result()
    assert [position for position, _, _ in seen] == list(range(1, total + 1))
    assert sorted(written) == list(range(1, total + 1))
    versions = defaultdict(list)
    for _, name, version in seen:
        versions[name].append(version)
    assert len(versions) == WRITERS
    assert all(found == sorted(found) for found in versions.values())
    for store in [*stores, reader.datastore]:
        store.close()


def test_a_reader_of_a_shared_sequence_misses_events(database: str) -> None:
    """The positive control: the same race on a bigserial column, and events appear behind the reader."""
    with psycopg.connect(database, autocommit=True) as admin:
        admin.execute("create table read.naive (id bigserial primary key)")
    stop = threading.Event()

    def write(seed: int) -> int:
        think, written = random.Random(seed), 0
        with psycopg.connect(database) as connection:
            while not stop.is_set():
                connection.execute("insert into read.naive default values")
                time.sleep(think.uniform(0, 0.004))
                connection.commit()
                written += 1
        return written

    missed = 0
    with ThreadPoolExecutor(WRITERS) as threads, psycopg.connect(database, autocommit=True) as reader:
        writing = [threads.submit(write, seed) for seed in range(WRITERS)]
        last, seen, deadline = 0, 0, time.monotonic() + 10
        while missed == 0 and time.monotonic() < deadline:
            if found := reader.execute("select id from read.naive where id > %s order by id", (last,)).fetchall():
                last, seen = found[-1][0], seen + len(found)
            behind = reader.execute("select count(*) from read.naive where id <= %s", (last,)).fetchone()
            assert behind is not None
            missed = behind[0] - seen
        stop.set()
        assert sum(writer.result(timeout=5) for writer in writing) > 0
    assert missed > 0


@pytest.mark.parametrize("lost", [1, 3, 5], ids=["first", "middle", "last"])
def test_a_position_that_is_not_there_stops_every_reader(lost: int, database: str, datastore: FelixDatastore) -> None:
    recorder = FelixApplicationRecorder(datastore)
    recorder.insert_events([stored(stream(), topic=f"topic{n}") for n in range(1, 6)])
    with psycopg.connect(database) as admin:
        admin.execute("alter table felix.events disable trigger events_append_only")
        admin.execute("delete from felix.events where position = %s", (lost,))
    with pytest.raises(InternalError, match="lacks a position") as found:
        recorder.select_notifications(1, 10)
    assert isinstance(found.value, Corrupt)
    with recorder.subscribe() as subscription, pytest.raises(Corrupt):
        next(subscription)
    assert [n.id for n in recorder.select_notifications(None, 10, topics=["topic2", "topic4"])] == [2, 4]
    if lost != 5:
        assert [n.id for n in recorder.select_notifications(lost + 1, 10)] == list(range(lost + 1, 6))


def test_batches_begin_and_end_where_they_were_asked_to(datastore: FelixDatastore) -> None:
    recorder = FelixApplicationRecorder(datastore)
    recorder.insert_events([stored(stream()) for _ in range(30)])

    def ids(start: int | None, limit: int, stop: int | None = None, inclusive: bool = True) -> list[int]:
        return [n.id for n in recorder.select_notifications(start, limit, stop, inclusive_of_start=inclusive)]

    assert ids(None, 3) == [1, 2, 3]
    assert ids(0, 3) == [1, 2, 3]
    assert ids(29, 10) == [29, 30]
    assert ids(29, 10, inclusive=False) == [30]
    assert ids(31, 10) == ids(30, 10, inclusive=False) == ids(5, 10, stop=4) == ids(1, 0) == []
    assert ids(5, 10, stop=7) == [5, 6, 7]
