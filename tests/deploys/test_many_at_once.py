"""Changes of many apps are taken by the worker's own jobs at the same time, each through policies, timers and threads.

Every change is asked for before the first one is taken. The policies follow the log, the jobs that they ask for are
handed out and done by four threads, and people approve and deploy as soon as they are asked. In the end every change is
over, every environment free, and whatever an account held is paid or given back.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from figures import DEEP, record
from invariants import violations
from test_kills import begin
from yard import OUTCOMES, PARTITIONS, ROOT_KEY, Yard, actor_of

from felix import bootstrap
from felix.domain.changes import messages as m
from felix.eventstore.jobs import JobBook
from felix.settings import Settings
from felix.worker.job_runner import JobRunner
from felix.worker.upkeep import PlatformUpkeep

APPS = 50 if DEEP else 3
TIMEOUT_S = 600 if DEEP else 60
THREADS = 4
#: Each step of the canary lasts, so that people can abort it and guardrails can fail.
UNHURRIED = m.Strategy(kind="canary", steps=[5, 50], hold_s=1, bake_s=0, max_wait_s=0)


def test_changes_of_many_apps_at_once_all_come_to_their_end(yard: Yard) -> None:
    endpoints = bootstrap.Endpoints(yard.database, None, None)
    settings = Settings(
        _env_file=None, database_url=yard.database, partitions=PARTITIONS, root_key=ROOT_KEY, data_dir=yard.home
    )
    names = list(OUTCOMES)
    asked = {begin(yard, f"many-{names[number % 3]}"): names[number % 3] for number in range(APPS)}
    directory = bootstrap.open_directory(endpoints, partitions=PARTITIONS)
    secrets = bootstrap.open_secrets(endpoints, yard.performer, directory.partition_of, settings)
    book: JobBook = bootstrap.open_job_book(endpoints)
    upkeep = PlatformUpkeep(endpoints, book, secrets, partitions=PARTITIONS, settings=settings)
    runner = JobRunner(book, yard.performer, upkeep, secrets)
    policies = bootstrap.open_runner(endpoints, partitions=PARTITIONS)
    policies.start()
    began_at = time.monotonic()
    open_changes = {change_id: outcome for (change_id, _), outcome in asked.items()}
    try:
        with ThreadPoolExecutor(THREADS) as threads:
            while open_changes:
                assert time.monotonic() - began_at < TIMEOUT_S, {id: yard.change(id).state for id in open_changes}
                keys = book.hand_out(100)
                list(threads.map(lambda key: runner.do(*key), keys))
                for change_id, outcome in list(open_changes.items()):
                    change = yard.change(change_id)
                    if change.is_over:
                        del open_changes[change_id]
                    elif (command := OUTCOMES[outcome][0](yard, change)) is not None:
                        if isinstance(command, m.DeployChange):
                            command = command.model_copy(update={"strategy": UNHURRIED})
                        yard.do(command, actor_of(command))
                if not keys:
                    time.sleep(0.02)
    finally:
        assert policies.stop()
        upkeep.close()
        book.close()
        directory.close()
    found = [
        f"{outcome}: {each}"
        for (change_id, first), outcome in asked.items()
        for each in violations(yard, change_id, first, yard.change(change_id).state)
        if yard.change(change_id).state in ("deployed", "rolled_back")
    ]
    states = [yard.change(change_id).state for change_id, _ in asked]
    took_s = round(time.monotonic() - began_at, 1)
    record(
        "many at once", APPS, apps=APPS, deployed=states.count("deployed"), rolled_back=states.count("rolled_back"),
        violations=len(found), took_s=took_s,
    )  # fmt: skip
    assert not found, found
    assert set(states) == {"deployed", "rolled_back"}
