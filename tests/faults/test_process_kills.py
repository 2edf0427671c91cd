"""One process of Felix is killed while clients write: the others go on, and it comes back by itself.

A real `felix up`, four clients that debit over HTTP without a pause. `kill -9` hits the API, the worker, the
postmaster alone (its backends are orphans that hold on to the shared memory), one backend (Postgres then restarts all
of them), and Valkey. Clients are told nothing but 201 and 503 with `Retry-After`; after each kill the log has what
was acknowledged, once. At the end the whole is stopped with SIGTERM under the same load: it ends with 0 in less than
ten seconds, and no debit was committed whose client was not told.
"""

from __future__ import annotations

import os
import random
import signal
import time

import pytest
from clients import (
    Bakery,
    Told,
    check_everything,
    check_log,
    database_of,
    debiting,
    differences,
    gaps,
    is_ready,
    port_of,
    stored_debits,
    take_on_board,
)
from figures import DEEP, record
from running_felix import RunningFelix, eventually

SEED = 20_261_123
ROUNDS = 5 if DEEP else 1
STOPS = 5 if DEEP else 1
STOPPED_WITHIN_S = 10.0


@pytest.fixture(scope="module")
def bakery(running: RunningFelix) -> Bakery:
    """A client of it."""
    return take_on_board(running)


@pytest.fixture(scope="module")
def told() -> Told:
    """What the clients of this module were told, from the first test to the last."""
    return Told()


def kill_a_backend(felix: RunningFelix) -> int:
    """The backend of a lane."""
    with database_of(felix) as admin:
        (found,) = admin.execute(
            "select pid from pg_stat_activity where application_name = 'felix_writer'"
            " order by state_change desc limit 1"
        ).fetchall()
    os.kill(found[0], signal.SIGKILL)
    return int(found[0])


def kill(felix: RunningFelix, victim: str) -> None:
    """kill -9, and wait until whoever watches has seen it."""
    if victim == "backend":
        kill_a_backend(felix)
        return
    killed = felix.kill(victim)

    def is_back() -> bool:
        try:
            return felix.pid_of(victim) != killed
        except (OSError, LookupError, TypeError, ValueError):
            return False

    eventually(is_back, 30, felix.said)


@pytest.mark.parametrize("victim", ["api", "worker", "postgres", "backend", "valkey"])
def test_one_process_killed_loses_nothing_that_was_acknowledged(
    running: RunningFelix, bakery: Bakery, told: Told, victim: str, request: pytest.FixtureRequest
) -> None:
    chance, silences_s, before = random.Random(SEED), list[float](), len(told.acknowledged)
    statuses = told.statuses.copy()
    with debiting(port_of(running), bakery, told, victim):
        for _ in range(ROUNDS):
            heard = len(told.acknowledged)
            eventually(lambda heard=heard: len(told.acknowledged) > heard + 20, 30, running.said)
            time.sleep(chance.uniform(0.05, 0.3))
            began_at = time.monotonic()
            kill(running, victim)
            heard = len(told.acknowledged)
            eventually(lambda heard=heard: len(told.acknowledged) > heard + 20, 30, running.said)
            silences_s.append(told.longest_silence_s(began_at, time.monotonic()))
    eventually(lambda: is_ready(running.url), 30, running.said)
    with database_of(running) as admin:
        check_log(admin, told)
    record(
        request.node.name, ROUNDS, acknowledged=len(told.acknowledged) - before, lost=0,
        answers_503=(told.statuses - statuses)[503], longest_silence_s=round(max(silences_s), 2),
    )  # fmt: skip


def test_control_an_event_that_is_gone_from_the_log_is_missed(
    running: RunningFelix, told: Told, request: pytest.FixtureRequest
) -> None:
    """The check that follows every kill, on a log from which a superuser took one debit, for one transaction."""
    with database_of(running) as admin, admin.transaction(force_rollback=True):
        key, _ = stored_debits(admin)[0]
        admin.execute("alter table felix.events disable trigger user")
        admin.execute("delete from felix.events where command_key = %s", (key,))
        assert differences(told, stored_debits(admin)) == {"acknowledged and lost": [key]}
        dense = gaps(admin)
        assert {what.partition(" of ")[0] for what in dense} == {"position", "tenant_sequence", "version"}
        with pytest.raises(AssertionError, match="acknowledged and lost"):
            check_log(admin, told)
    record(request.node.name, 1, removed=1, found=1, gaps_found=len(dense))


def test_a_stop_in_order_answers_everything_that_it_commits(
    running: RunningFelix, bakery: Bakery, told: Told, request: pytest.FixtureRequest
) -> None:
    took_s, answered = list[float](), 0
    for number in range(STOPS):
        heard = Told()
        with debiting(port_of(running), bakery, heard, f"stop-{number}"):
            eventually(lambda heard=heard: len(heard.acknowledged) > 50, 30, running.said)
            running.remember()
            took_s.append(running.stop())
        assert running.process is not None and running.process.returncode == 0, running.said()
        assert running.left_over() == []
        running.start()
        with database_of(running) as admin:
            stored = dict(stored_debits(admin))
        assert not heard.unknown.keys() & stored.keys(), "committed, and its client was not told"
        answered += len(heard.acknowledged)
        told.acknowledged |= heard.acknowledged
        told.unknown |= heard.unknown
        told.strange += heard.strange
    eventually(lambda: is_ready(running.url), 30, running.said)
    figures = check_everything(running, bakery, told)
    record(
        request.node.name, STOPS, acknowledged=answered, lost=figures["lost"], committed_and_not_told=0,
        longest_stop_s=round(max(took_s), 2),
    )  # fmt: skip
    assert max(took_s) < STOPPED_WITHIN_S
