"""Projection workers are killed and frozen while clients write, and the read models are what a rebuild makes of them.

Two real worker processes share the projections of a database on which commands of every kind are performed without a
pause. A kill is `kill -9` of the process that owns them, at a random moment; another one is started. A zombie is
frozen with `SIGSTOP` while it owns them, the other one takes over, and the frozen one wakes with `SIGCONT` and
believes to own them still. In the end every row of every table is compared with a rebuild from position 0 by a runner
that nobody disturbed.
"""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import pytest
from figures import DEEP, record
from processes import Process
from projections.conftest import House, contents
from rebuilding import rebuilt, wait_until_retold, wrong_rows

from felix.projections.base import Projection
from felix.projections.registry import PROJECTIONS
from felix.projections.usage import Usage

SEED = 20_261_123


@dataclass
class Toll:
    """What was done to the workers, and how long the read models stood still each time."""

    kills: int = 0
    zombies: int = 0
    takeovers_s: list[float] = field(default_factory=list)


@contextmanager
def clients_at_work(house: House, seed: int) -> Iterator[None]:
    """Three clients in three partitions that do everything an account can do, until the end of the block."""
    stopping, errors = threading.Event(), list[BaseException]()

    def live(tenant_id: UUID, seed: int) -> None:
        try:
            while not stopping.is_set():
                house.live_a_little(tenant_id, seed, steps=30)
                seed += 1
                # Workers get their share of two cores.
                stopping.wait(0.01)
        except BaseException as error:
            errors.append(error)

    tenants = [house.onboard(f"client-{partition}", partition) for partition in range(3)]
    threads = [
        threading.Thread(target=live, args=(tenant_id, 10_000 * number + seed))
        for number, tenant_id in enumerate(tenants)
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stopping.set()
        for thread in threads:
            thread.join()
    assert not errors, errors


def disturb(
    house: House, home: Path, script: str, faults: Sequence[str], projections: Sequence[Projection], seed: int
) -> Toll:
    """Kill and freeze workers at random moments while clients write, then let everything be retold."""
    chance, toll = random.Random(seed), Toll()
    with ExitStack() as stack:

        def start() -> Process:
            return stack.enter_context(Process(house.url, home / "worker.log", script))

        workers = [start(), start()]
        with clients_at_work(house, seed):
            wait_until_retold(house.url, projections)
            for fault in faults:
                time.sleep(chance.uniform(0.05, 0.6))
                owner = workers.pop(0)  # who has been there longest owns what the one before it owned
                if fault == "kill":
                    owner.kill()
                    toll.kills += 1
                    workers.append(start())
                    toll.takeovers_s.append(wait_until_retold(house.url, projections))
                else:
                    owner.send(signal.SIGSTOP)
                    toll.zombies += 1
                    toll.takeovers_s.append(wait_until_retold(house.url, projections))
                    owner.send(signal.SIGCONT)
                    workers.append(owner)
        wait_until_retold(house.url, projections)
        assert all(worker.alive for worker in workers), (home / "worker.log").read_text()
    return toll


def test_workers_that_are_killed_and_frozen_leave_no_wrong_row(
    house: House, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    faults = (["kill"] * 20 + ["zombie"] * 8) if DEEP else ["kill", "zombie", "kill", "kill"]
    if DEEP:
        random.Random(SEED).shuffle(faults)
    toll = disturb(house, tmp_path, "hurried_worker.py", faults, PROJECTIONS, SEED)
    found = contents(house.url)
    right = rebuilt(house, PROJECTIONS)
    wrong = wrong_rows(found, right)
    record(
        request.node.name, len(faults), kills=toll.kills, zombies=toll.zombies,
        events=sum(house.head(partition) for partition in range(4)), rows_compared=sum(map(len, right.values())),
        wrong_rows=wrong, longest_standstill_s=round(max(toll.takeovers_s), 2),
    )  # fmt: skip
    assert wrong == 0, f"seed {SEED}"
    assert min(map(len, (found["usage_by_day"], found["token_transactions"]))) > 0


def test_control_with_effect_and_checkpoint_apart_kills_leave_wrong_rows(
    house: House, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """The same kills and the same comparison, of a worker that commits the effect before the cursor."""
    projections = [Usage()]
    faults = ["kill"] * (12 if DEEP else 3)
    toll = disturb(house, tmp_path, "split_worker.py", faults, projections, SEED)
    found = contents(house.url, projections)
    right = rebuilt(house, projections)
    wrong = wrong_rows(found, right)
    record(
        request.node.name, toll.kills, kills=toll.kills, rows_compared=sum(map(len, right.values())), wrong_rows=wrong
    )
    assert wrong > 0, f"seed {SEED}"
