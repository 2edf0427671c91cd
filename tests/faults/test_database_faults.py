"""The database throws everybody out, and the disk is full: clients hear 503, and it heals by itself.

A real `felix up` whose data directory is a small file system of its own. First every session of the database is ended
every 50 ms while clients write and read. Then the disk is filled to its last byte while clients write: commits
fail, Postgres may go down and can't come up again; when there is room again nobody has to do anything. Clients are
told nothing but 201 and 503 with `Retry-After`, the same key has one effect, and what was acknowledged is in the log.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import psycopg
import pytest
from clients import (
    Bakery,
    Told,
    check_everything,
    check_log,
    database_of,
    debiting,
    differences,
    is_ready,
    port_of,
    stored_debits,
    take_on_board,
)
from figures import DEEP, record
from processes import seconds_until
from running_felix import RunningFelix, eventually, post

STORMS = 600 if DEEP else 20
STORM_EVERY_S = 0.05
FILLINGS = 20 if DEEP else 1
DISK = "400m"
_EVERYBODY = (
    "select pg_terminate_backend(pid) from pg_stat_activity where datname = 'felix' and pid <> pg_backend_pid()"
)


@pytest.fixture(scope="module")
def small_disk(home: Path) -> Iterator[Path | None]:
    """A file system of a few hundred megabytes; None for who may not mount one."""
    place = home / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK},mode=755", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode != 0:
        yield None
        return
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture(scope="module")
def felix(home: Path, small_disk: Path | None) -> Iterator[RunningFelix]:
    """A Felix on that file system."""
    felix = RunningFelix(small_disk or home)
    felix.output = home / "output"  # a full disk must not swallow what it says
    try:
        felix.start()
        yield felix
    finally:
        felix.clean_up()


@pytest.fixture(scope="module")
def bakery(felix: RunningFelix) -> Bakery:
    """A client of it."""
    return take_on_board(felix)


@pytest.fixture(scope="module")
def told() -> Told:
    """What the clients of this module were told, from the first test to the last."""
    return Told()


def test_sessions_that_are_ended_again_and_again_are_at_most_a_503(
    felix: RunningFelix, bakery: Bakery, told: Told, request: pytest.FixtureRequest
) -> None:
    reads: list[int] = []
    path, headers = f"/v1/token-accounts/{bakery.account_id}", {"Authorization": f"Bearer {bakery.key}"}
    began_at = time.monotonic()
    with (
        debiting(port_of(felix), bakery, told, "storm"),
        database_of(felix) as admin,
        httpx.Client(base_url=felix.url, headers=headers, trust_env=False, timeout=30) as reader,
    ):
        eventually(lambda: len(told.acknowledged) > 20, 30, felix.said)
        for _ in range(STORMS):
            admin.execute(_EVERYBODY)
            reads.append(reader.get(path).status_code)
            time.sleep(STORM_EVERY_S)
        heard = len(told.acknowledged)
        healed_s = seconds_until(lambda: len(told.acknowledged) > heard + 20, 30, felix.said)
        silence_s = told.longest_silence_s(began_at, time.monotonic())
    assert set(reads) <= {200, 503}, reads
    with database_of(felix) as admin:
        check_log(admin, told)
    record(
        request.node.name, STORMS, acknowledged=len(told.acknowledged), lost=0, answers_503=told.statuses[503],
        reads_503=reads.count(503), longest_silence_s=round(silence_s, 2), healed_s=round(healed_s, 2),
    )  # fmt: skip


def test_a_full_disk_is_a_503_and_heals_by_itself(
    felix: RunningFelix, bakery: Bakery, told: Told, small_disk: Path | None, request: pytest.FixtureRequest
) -> None:
    if small_disk is None:
        pytest.skip("only who may mount a file system can fill one up without filling the machine's")
    ballast, healed_s, before = small_disk / "ballast", list[float](), told.statuses[503]
    with debiting(port_of(felix), bakery, told, "full"):
        for _ in range(FILLINGS):
            refused = told.statuses[503]
            fill(ballast, felix, lambda refused=refused: told.statuses[503] > refused + 5)
            ballast.unlink()
            heard = len(told.acknowledged)
            healed_s.append(seconds_until(lambda heard=heard: len(told.acknowledged) > heard + 20, 60, felix.said))
    eventually(lambda: is_ready(felix.url), 30, felix.said)
    figures = check_everything(felix, bakery, told)
    record(
        request.node.name, FILLINGS, **figures, answers_503=told.statuses[503] - before,
        healed_s_longest=round(max(healed_s), 2),
    )  # fmt: skip


def fill(ballast: Path, felix: RunningFelix, refused: Callable[[], bool]) -> None:
    """Take the last byte of the file system, and whatever Postgres gives back, until clients are refused."""

    def one_more() -> bool:
        with ballast.open("ab", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(1 << 20))
        with suppress(psycopg.Error), database_of(felix) as admin:
            admin.execute("select pg_switch_wal()")  # the room that is set aside for the log is used up sooner
        return refused()

    eventually(one_more, 60, felix.said)


def test_control_a_503_that_is_taken_for_an_answer_is_missed(
    felix: RunningFelix, bakery: Bakery, told: Told, request: pytest.FixtureRequest
) -> None:
    """The same comparison, with a client that does not come back after its 503."""
    careless, path = Told(), f"/v1/token-accounts/{bakery.account_id}/debits"
    headers = {"Authorization": f"Bearer {bakery.key}"}
    with (
        ThreadPoolExecutor(1) as pool,
        httpx.Client(base_url=felix.url, headers=headers, trust_env=False, timeout=30) as client,
        database_of(felix) as holder,
        holder.transaction(force_rollback=True),
        database_of(felix) as admin,
    ):
        holder.execute("select from felix.partitions for update")
        asked = pool.submit(post, client, path, {"meter": "api.calls", "amount_mtok": 1}, key="careless")
        while not asked.done():  # the lane's first session, and that of its second try
            admin.execute(_EVERYBODY + " and application_name = 'felix_writer'")
            time.sleep(STORM_EVERY_S)
        assert asked.result().status_code == 503, asked.result().text
    careless.acknowledged["careless"] = 1
    with database_of(felix) as admin:
        found = differences(careless, stored_debits(admin))
    record(request.node.name, 1, lost=len(found["acknowledged and lost"]), of=1)
    assert found["acknowledged and lost"] == ["careless"]
