"""Valkey is killed, flushed, frozen and full while 500 jobs are under way, and so is the worker killed.

A real worker does the jobs; half of them debit a millitoken, half add a line to a file, which nothing but the claim
keeps from happening twice. Meanwhile a client debits through a performer of its own, which must never wait for Valkey.
In the end every job is done, every debit is in the log once, and every line is in the file once.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
import redis
from figures import DEEP, record
from offices import ACME, Office, open_office
from processes import Process, seconds_until

from felix import bootstrap
from felix.adapters.job_queue import NAMESPACE, QUEUE, JobQueue
from felix.application.performer import new_context
from felix.domain.ledger.messages import DebitTokens
from felix.embedded import EmbeddedValkey, ValkeySettings
from felix.eventstore.jobs import NewJob

JOBS = 500
#: The jobs become due within this time, so that the fault hits while they are handed out, queued and done.
SPREAD_S = 1.5
#: How long a fault lasts.
FAULT_S = 1.5
ROUNDS = 20 if DEEP else 1
PATIENCE_S = 120 + 30 * ROUNDS
#: A debit that waited for Valkey would take the two seconds that the doorbell gives it, or as long as the fault lasts.
MOST_S = 1.5
_numbers = count(1)


@dataclass
class Scene:
    """A database, a Valkey, and a worker that does jobs with both."""

    database: str
    home: Path
    valkey: EmbeddedValkey
    office: Office
    account_id: str
    place: Path
    worker: Process | None = None

    @property
    def url(self) -> str:
        return self.valkey.start().url

    def start_worker(self, *arguments: str) -> None:
        """Start a worker, or another one after its end."""
        settings = {"FELIX_REDIS_URL": self.url, "FELIX_PARTITIONS": "4", "FELIX_LOG_LEVEL": "INFO"}
        self.worker = Process(self.database, self.home / "log", "job_worker.py", self.place, *arguments, **settings)
        worker = self.worker
        seconds_until(lambda: self.rows(_CONNECTED) != [(0,)] or not worker.alive, 30)
        assert worker.alive, (self.home / "log").read_text()[-2_000:]

    def rows(self, query: str, *parameters: object) -> list[tuple[object, ...]]:
        return self.office.rows(query, *parameters)

    def plan(self, number: int) -> list[UUID]:
        """Ask for jobs of both kinds that become due one after the other."""
        began_at = datetime.now(UTC)
        planned = [
            NewJob(
                0, ACME, ("test.debit", "test.note")[each % 2], f"{next(_numbers)}", "policy:of_the_test", 8,
                began_at + timedelta(seconds=SPREAD_S * each / number), {"account_id": self.account_id},
            )
            for each in range(number)
        ]  # fmt: skip
        book = bootstrap.open_job_book(bootstrap.Endpoints(self.database, None, None))
        book.add(planned)
        book.close()
        return [each.job_id for each in planned]

    def done(self) -> int:
        ((number,),) = self.rows("select count(*) from felix.jobs where state = 'done' and kind like 'test.%%'")
        assert isinstance(number, int)
        return number

    def effects(self) -> Counter[str]:
        """How often each job had its effect."""
        debits = self.rows("select command_key from felix.events where command_key like 'job:%%'")
        lines = self.place.read_text().splitlines() if self.place.exists() else []
        return Counter([str(key).removeprefix("job:") for (key,) in debits] + lines)

    def wrong(self, planned: list[UUID]) -> dict[str, int]:
        """Jobs that had no effect, or more than one."""
        effects = self.effects()
        return {str(job_id): effects[str(job_id)] for job_id in planned if effects[str(job_id)] != 1}


_CONNECTED = (
    "select count(*) from pg_stat_activity where application_name = 'felix_projector' and datname = current_database()"
)


@contextmanager
def open_scene(postgres_url: str, template: str, home: Path) -> Iterator[Scene]:
    """A worker with a Valkey of its own on a fresh database."""
    number = next(_numbers)
    database = psycopg.conninfo.make_conninfo(postgres_url, dbname=f"felix_jobs_{number}")
    data_dir = home / f"valkey-{number}"
    data_dir.mkdir()
    data_dir.chmod(0o755)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"create database felix_jobs_{number} template {template} strategy file_copy")
    valkey = EmbeddedValkey(ValkeySettings(data_dir))
    valkey.start()
    try:
        with open_office(database) as office:
            made = Scene(database, home, valkey, office, office.open_account(10**9), home / f"notes-{number}")
            try:
                yield made
            finally:
                if made.worker is not None:
                    made.worker.kill()
    finally:
        valkey.stop()
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            connection.execute(f"drop database felix_jobs_{number} with (force)")


@pytest.fixture(scope="module")
def scene(postgres_url: str, template: str, home: Path) -> Iterator[Scene]:
    """A worker that every fault of Valkey hits."""
    with open_scene(postgres_url, template, home) as opened:
        opened.start_worker()
        yield opened


@pytest.fixture
def own_scene(postgres_url: str, template: str, home: Path) -> Iterator[Scene]:
    """No worker yet: the test starts its own."""
    with open_scene(postgres_url, template, home) as opened:
        yield opened


@contextmanager
def debits(scene: Scene) -> Iterator[list[float]]:
    """A client that debits without a pause, and rings Valkey's bell each time; the seconds that each debit took."""
    took_s: list[float] = []
    errors: list[BaseException] = []
    stopping = threading.Event()
    endpoints = bootstrap.Endpoints(scene.database, scene.url, None)
    doorbell = bootstrap.open_doorbell(endpoints)
    directory = bootstrap.open_directory(endpoints, partitions=4)
    performer = bootstrap.open_performer(endpoints, directory.partition_of, committed=doorbell.ring)

    def live() -> None:
        command = DebitTokens(account_id=scene.account_id, meter="money", amount_mtok=1)
        try:
            while not stopping.wait(0.005):
                began_at = time.monotonic()
                context = new_context(ACME, f"money-{next(_numbers)}", "client:a")
                assert performer.perform_blocking(command, context).accepted
                took_s.append(time.monotonic() - began_at)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=live)
    thread.start()
    try:
        yield took_s
    finally:
        stopping.set()
        thread.join()
        performer.close()
        doorbell.close()
        directory.close()
    assert not errors, errors


def is_killed(scene: Scene) -> None:
    """kill -9, and some time later it is started again with the file that it left."""
    os.kill(scene.valkey.pid, signal.SIGKILL)
    time.sleep(FAULT_S)
    scene.valkey.start()


def is_flushed(scene: Scene) -> None:
    """Everything in it is gone, again and again."""
    with redis.Redis.from_url(scene.url) as client:
        for _ in range(5):
            client.flushall()
            time.sleep(FAULT_S / 5)


def is_frozen(scene: Scene) -> None:
    """It keeps every connection open and answers nothing."""
    os.kill(scene.valkey.pid, signal.SIGSTOP)
    time.sleep(2 * FAULT_S)
    os.kill(scene.valkey.pid, signal.SIGCONT)


def is_full(scene: Scene) -> None:
    """It answers, and takes nothing more."""
    with redis.Redis.from_url(scene.url) as client:
        before = client.config_get("maxmemory")["maxmemory"]
        client.config_set("maxmemory", "1kb")
        time.sleep(FAULT_S)
        client.config_set("maxmemory", before)


@pytest.mark.timeout(PATIENCE_S)
@pytest.mark.parametrize("fault", [is_killed, is_flushed, is_frozen, is_full])
def test_every_job_has_its_effect_once_and_money_does_not_wait_when_valkey(
    scene: Scene, fault: Callable[[Scene], None]
) -> None:
    recovered_s, slowest_s, money = [], [], 0
    for _ in range(ROUNDS):
        before = scene.done()
        planned = scene.plan(JOBS)
        with debits(scene) as took_s:
            seconds_until(lambda before=before: scene.done() > before + JOBS // 10, 30)  # type: ignore[misc]
            assert scene.done() < before + JOBS, "they were done before the fault"
            fault(scene)
            recovered_s.append(seconds_until(lambda before=before: scene.done() == before + JOBS, 60))  # type: ignore[misc]
        assert scene.wrong(planned) == {}
        slowest_s.append(max(took_s))
        money += len(took_s)
    assert max(slowest_s) < MOST_S
    assert scene.rows("select count(*) from felix.jobs where state = 'dead'") == [(0,)]
    record(
        f"valkey {fault.__name__.replace('_', ' ')}",
        ROUNDS,
        jobs=ROUNDS * JOBS,
        lost=0,
        doubled=0,
        slowest_recovery_s=round(max(recovered_s), 2),
        debits_meanwhile=money,
        slowest_debit_s=round(max(slowest_s), 3),
    )


@pytest.mark.timeout(PATIENCE_S)
def test_every_job_has_its_effect_once_when_workers_are_killed(scene: Scene) -> None:
    """Debits only: a line can be written and the worker be gone before it can say so."""
    recovered_s = []
    for _ in range(ROUNDS):
        before = scene.done()
        planned = scene.plan(JOBS)
        seconds_until(lambda before=before: scene.done() > before + JOBS // 10, 30)  # type: ignore[misc]
        assert scene.worker is not None
        scene.worker.kill()
        scene.start_worker()
        recovered_s.append(seconds_until(lambda before=before: scene.done() == before + JOBS, 60))  # type: ignore[misc]
        debits_of_jobs = set(map(str, planned[::2]))
        assert debits_of_jobs.isdisjoint(scene.wrong(planned))
    record(
        "workers killed in the middle of jobs", ROUNDS, jobs=ROUNDS * JOBS, lost=0, doubled=0,
        slowest_recovery_s=round(max(recovered_s), 2),
    )  # fmt: skip


@pytest.mark.parametrize(
    "frozen",
    [pytest.param(False, id="valkey answers", marks=pytest.mark.deep), pytest.param(True, id="valkey is frozen")],
)
def test_a_worker_that_is_asked_to_stop_leaves_no_job_claimed(scene: Scene, frozen: bool) -> None:
    worker, before = scene.worker, scene.done()
    assert worker is not None
    planned = scene.plan(200)
    seconds_until(lambda: scene.done() > before + 20, 30)
    if frozen:
        os.kill(scene.valkey.pid, signal.SIGSTOP)
    worker.send(signal.SIGTERM)
    stopped_s = seconds_until(lambda: not worker.alive, 10)
    if frozen:
        os.kill(scene.valkey.pid, signal.SIGCONT)
    assert scene.rows("select count(*) from felix.jobs where state = 'running'") == [(0,)]
    scene.start_worker()
    seconds_until(lambda: scene.done() == before + 200, 60)
    assert scene.wrong(planned) == {}
    record(f"worker stopped, valkey {'frozen' if frozen else 'there'}", 1, jobs=200, stopped_s=round(stopped_s, 2))


@contextmanager
def queue_of(scene: Scene) -> Iterator[JobQueue]:
    """The queue, from outside of the worker."""
    queue = JobQueue(scene.url, lambda partition, job_id: None, threads=1)
    yield queue
    queue.close()


def send_again(scene: Scene, planned: list[UUID]) -> None:
    """Put the message of every job into the queue twice more, the last ones first."""
    with queue_of(scene) as queue:
        for _ in range(2):
            queue.send([(0, job_id) for job_id in reversed(planned)])


def all_messages_are_taken(scene: Scene) -> bool:
    with redis.Redis.from_url(scene.url) as client:
        return client.llen(f"{NAMESPACE}:{QUEUE}") == 0


def test_messages_that_come_again_and_in_another_order_do_nothing(scene: Scene) -> None:
    before = scene.done()
    planned = scene.plan(JOBS)
    seconds_until(lambda: scene.done() > before + JOBS // 10, 30)
    send_again(scene, planned)
    seconds_until(lambda: scene.done() == before + JOBS and all_messages_are_taken(scene), 60)
    assert scene.wrong(planned) == {}
    record("messages doubled and reordered", 1, jobs=JOBS, messages=3 * JOBS, doubled=0)


def test_a_worker_that_does_not_look_at_the_claim_is_caught(own_scene: Scene) -> None:
    """The control: the same messages, and a worker that believes them."""
    scene = own_scene
    scene.start_worker("careless")
    planned = scene.plan(60)
    seconds_until(lambda: len(scene.effects()) > 6, 30)
    send_again(scene, planned)
    seconds_until(lambda: all_messages_are_taken(scene), 60)
    wrong = scene.wrong(planned)
    assert len(wrong) > 10 and max(wrong.values()) > 1
    # The debits had their effect once all the same: their command's key is the second belt.
    assert set(wrong).isdisjoint(map(str, planned[::2]))
    record("control: a worker without claims", 1, jobs=60, doubled=len(wrong))
