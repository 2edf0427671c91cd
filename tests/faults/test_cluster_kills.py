"""Everything is killed at once while clients write: what was acknowledged is stored, and Felix is back at once.

A real `felix up` with its supervisor, API, worker, Postgres (with fsync, as in production) and Valkey. Four clients
debit over HTTP without a pause; at a random moment every process gets `kill -9`, and `felix up` is started again on
the same directory. In the end every acknowledged debit is in the log once and with its amount, every debit without an
answer is settled by `GET /v1/commands/{key}`, the log is dense, `felix verify ledger` finds nothing, and balance and
read models are what the events add up to.
"""

from __future__ import annotations

import os
import random
import time

import pytest
from clients import (
    Bakery,
    Told,
    check_everything,
    database_of,
    debiting,
    differences,
    is_ready,
    port_of,
    stored_debits,
    take_on_board,
)
from figures import DEEP, record
from processes import kill_everything, seconds_until
from running_felix import RunningFelix, eventually

SEED = 20_261_123
ROUNDS = 10 if DEEP else 2
READY_WITHIN_S = 5.0
#: With other tests on the same cores, how long a start takes says nothing: `make reliability` runs these alone.
ALONE = DEEP and not os.environ.get("PYTEST_XDIST_WORKER")


@pytest.fixture(scope="module")
def bakery(running: RunningFelix) -> Bakery:
    """A client of it."""
    return take_on_board(running)


@pytest.fixture(scope="module")
def told() -> Told:
    """What the clients of this module were told, from the first test to the last."""
    return Told()


def killed_and_back(felix: RunningFelix) -> tuple[int, float]:
    """Kill everything, start again; how many processes there were, and seconds from the start until it is ready."""
    url = felix.url
    number = kill_everything(felix)
    felix.launch()
    return number, seconds_until(lambda: is_ready(url), 60, felix.said)


def test_everything_killed_at_once_loses_nothing_that_was_acknowledged(
    running: RunningFelix, bakery: Bakery, told: Told, request: pytest.FixtureRequest
) -> None:
    chance, processes, ready_s = random.Random(SEED), 0, list[float]()
    began_at = time.monotonic()
    with debiting(port_of(running), bakery, told, "cluster"):
        for _ in range(ROUNDS):
            heard = len(told.acknowledged)
            eventually(lambda heard=heard: len(told.acknowledged) > heard + 20, 30, running.said)
            time.sleep(chance.uniform(0.1, 1.0))
            number, took_s = killed_and_back(running)
            processes += number
            ready_s.append(took_s)
        heard = len(told.acknowledged)
        eventually(lambda: len(told.acknowledged) > heard + 20, 30, running.said)
    silence_s = told.longest_silence_s(began_at, time.monotonic())
    eventually(lambda: bool(running.processes()), 30, running.said)
    figures = check_everything(running, bakery, told)
    record(
        request.node.name, ROUNDS, processes_killed=processes, **figures,
        ready_again_s_longest=round(max(ready_s), 2), longest_silence_s=round(silence_s, 2),
    )  # fmt: skip
    assert not ALONE or max(ready_s) <= READY_WITHIN_S, ready_s


def test_control_an_acknowledgement_that_nobody_gave_is_found(
    running: RunningFelix, bakery: Bakery, told: Told, request: pytest.FixtureRequest
) -> None:
    """The comparison is with what is stored, not with what was sent: one made-up answer and one twin are named."""
    with database_of(running) as admin:
        stored = stored_debits(admin)
    invented = Told(told.acknowledged | {"nobody-sent-this": 7}, dict(told.unknown))
    found = differences(invented, [*stored, stored[0]])
    record(request.node.name, 1, found=sum(map(len, found.values())), of=2)
    assert found == {"acknowledged and lost": ["nobody-sent-this"], "stored twice": [stored[0][0]]}


def test_control_commits_that_do_not_wait_for_the_disk_are_lost(
    running: RunningFelix, bakery: Bakery, request: pytest.FixtureRequest
) -> None:
    """The same kill and the same comparison, with `synchronous_commit = off`: what was acknowledged is gone."""
    with database_of(running) as admin:
        # Only the kill decides what is written, not the writer that comes by five times a second.
        admin.execute("alter system set wal_writer_delay = '10s'")
        admin.execute("alter database felix set synchronous_commit = off")
        admin.execute("select pg_reload_conf()")
    killed_and_back(running)
    eventually(lambda: bool(running.processes()), 30, running.said)
    careless = Told()
    with debiting(port_of(running), bakery, careless, "careless"):
        eventually(lambda: len(careless.acknowledged) > 100, 30, running.said)
        killed_and_back(running)
    eventually(lambda: bool(running.processes()), 30, running.said)
    with database_of(running) as admin:
        mine = [(key, amount) for key, amount in stored_debits(admin) if key.startswith("careless")]
    lost = differences(careless, mine)
    record(
        request.node.name, 1, acknowledged=len(careless.acknowledged),
        lost=len(lost.get("acknowledged and lost", [])),
    )  # fmt: skip
    assert lost.keys() == {"acknowledged and lost"}
