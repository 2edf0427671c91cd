"""Jobs find their way whatever becomes of the queue, and a lost one is found again."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest
from offices import until
from workshop import CALLS, DONE, Workshop

from felix import bootstrap
from felix.adapters.job_queue import JobQueue, QueueAway
from felix.eventstore.jobs import JobKey
from felix.worker import relay as relays
from felix.worker.jobs import JobService
from felix.worker.local_queue import LocalQueue
from felix.worker.relay import Relay


@dataclass
class Shelf:
    """A queue that nobody takes from, which can be away or forget what it has."""

    keys: list[JobKey] = field(default_factory=list)
    away: bool = False

    def send(self, keys: Sequence[JobKey]) -> None:
        if self.away:
            raise QueueAway()
        self.keys += keys

    def size(self) -> int:
        if self.away:
            raise QueueAway()
        return len(self.keys)


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def relay(workshop: Workshop, shelf: Shelf) -> Iterator[Relay]:
    """A relay that hands jobs to the shelf, and to this process when that is away."""
    local = LocalQueue(workshop.runner.do, threads=2)
    local.start()
    made = Relay(workshop.book, shelf, local)
    made.start()
    yield made
    made.ask_to_stop()
    local.ask_to_stop()
    assert made.join(5) and local.join(5)


def test_due_jobs_are_handed_out_once(workshop: Workshop, relay: Relay, shelf: Shelf) -> None:
    keys = {workshop.plan("test.note", str(number)) for number in range(5)}
    until(lambda: len(shelf.keys) == 5, "they are handed out")
    assert set(shelf.keys) == keys and DONE == {}


def test_a_message_that_the_queue_forgot_is_sent_again(workshop: Workshop, relay: Relay, shelf: Shelf) -> None:
    keys = [workshop.plan("test.note", str(number)) for number in range(3)]
    until(lambda: len(shelf.keys) == 3, "they are handed out")
    shelf.keys.remove(keys[1])
    until(lambda: keys[1] in shelf.keys, "it is handed out again")


def test_a_message_that_the_queue_keeps_is_not_sent_again_at_once(
    workshop: Workshop, relay: Relay, shelf: Shelf
) -> None:
    workshop.plan("test.note", "a")
    until(lambda: workshop.book.handed_out(1.5) == 1, "it has been handed out for a while")
    assert len(shelf.keys) == 1


def test_a_message_that_nobody_takes_is_sent_again_in_the_end(
    workshop: Workshop, relay: Relay, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relays, "LOST_AFTER_S", 1.2)
    workshop.plan("test.note", "a")
    until(lambda: len(shelf.keys) == 2, "it is handed out again")


def test_while_the_queue_is_away_jobs_are_done_here(workshop: Workshop, relay: Relay, shelf: Shelf) -> None:
    shelf.away = True
    workshop.plan("test.note", "a")
    until(lambda: DONE == {"a": [1]}, "it is done without the queue")
    assert relay.queue_is_away


def test_a_job_whose_worker_is_gone_is_handed_out_again(workshop: Workshop, relay: Relay, shelf: Shelf) -> None:
    key = workshop.plan("test.note", "a")
    until(lambda: shelf.keys == [key], "it is handed out")
    workshop.claim(key, lease_s=0.1)
    until(lambda: shelf.keys == [key, key], "it is handed out again")


def test_a_local_queue_takes_a_job_once_while_it_waits() -> None:
    go_on, done = threading.Event(), []

    def do(partition: int, job_id: object) -> None:
        go_on.wait(5)
        done.append(job_id)

    queue = LocalQueue(do, threads=1)  # type: ignore[arg-type]
    queue.send([(0, number) for number in (1, 2, 3, 3, 2, 1)])  # type: ignore[misc]
    assert queue.size() == 3
    queue.start()
    go_on.set()
    until(lambda: done == [1, 2, 3], "each is done once")
    queue.ask_to_stop()
    assert queue.join(5)


def test_a_valkey_that_is_not_there_says_so_quickly() -> None:
    queue = JobQueue("unix:///nowhere/valkey.sock", lambda partition, job_id: None, threads=1)
    with pytest.raises(QueueAway):
        queue.send([(0, "x")])  # type: ignore[list-item]
    with pytest.raises(QueueAway):
        queue.size()


def test_without_valkey_a_worker_does_all_of_it(workshop: Workshop) -> None:
    service = JobService(workshop.endpoints, workshop.office.performer, workshop.secrets, partitions=4)
    service.start()
    for number in range(50):
        workshop.plan("test.note", str(number))
    until(lambda: len(DONE) == 50, "they are done")
    assert set(map(tuple, DONE.values())) == {(1,)}
    assert service.stop(3)
    assert workshop.rows("select distinct state from felix.jobs where kind = 'test.note'") == [("done",)]
    # The ticker has noted where each entry of the schedule begins, and has asked for nothing.
    assert workshop.rows("select distinct state from felix.jobs where kind <> 'test.note'") == [("cancelled",)]


def test_what_a_stopping_worker_can_not_end_goes_to_the_next_at_once(workshop: Workshop) -> None:
    go_on, begun = threading.Event(), threading.Event()

    def work(context: object) -> dict[str, int]:
        begun.set()
        go_on.wait(20)
        return {}

    CALLS["slow"] = work
    key = workshop.plan("test.call", "slow")
    service = JobService(workshop.endpoints, workshop.office.performer, workshop.secrets, partitions=4)
    service.start()
    assert begun.wait(5)
    with ThreadPoolExecutor(1) as stopping:
        stopped = stopping.submit(service.stop, 0.3)
        until(lambda: workshop.row(key)["state"] == "waiting", "it is given back")
        go_on.set()
        assert not stopped.result(10)


def test_two_workers_share_the_jobs(workshop: Workshop) -> None:
    services = [
        JobService(workshop.endpoints, workshop.office.performer, workshop.secrets, partitions=4) for _ in range(2)
    ]
    for service in services:
        service.start()
    for number in range(100):
        workshop.plan("test.note", str(number))
    until(lambda: len(DONE) == 100, "they are done")
    for service in services:
        assert service.stop(3)
    assert set(map(tuple, DONE.values())) == {(1,)}


def test_the_table_is_closed_to_whoever_only_reads(workshop: Workshop) -> None:
    workshop.plan("test.note", "a")
    for role, allowed in (("felix_founder", 1), ("felix_writer", 1)):
        book = bootstrap.open_job_book(workshop.endpoints, role=role)
        assert book.handed_out(0) + allowed == 1
        book.close()
    other_tenant = "00000000-0000-0000-0000-000000000001"
    with bootstrap.connect_owner(workshop.endpoints) as owner, owner.transaction():
        owner.execute("set local role felix_reader")
        owner.execute(f"set local felix.tenant = '{other_tenant}'".encode())
        assert owner.execute("select count(*) from felix.jobs").fetchone() == (0,)
