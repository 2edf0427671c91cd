"""``python -m felix.worker``: runs projections, policies and jobs, woken by the doorbell and by a look at the heads.

SIGTERM or SIGINT to this process lets the batches and jobs at hand finish; so does the end of the parent.
"""

from __future__ import annotations

import gc
import logging
import sys
import time
from datetime import timedelta
from threading import Event

from felix import bootstrap
from felix.adapters.logs import log_json
from felix.application.policies.base import Terms
from felix.embedded import begin_child
from felix.settings import Settings
from felix.worker.jobs import JobService

log = logging.getLogger("felix.worker")

#: One batch is milliseconds, and so are most jobs; a fold that is still at it after this is cancelled and done again at
#: the next start, and a job given back.
STOP_TIMEOUT_S = 3.5
ORPHAN_TIMEOUT_S = 4.5
#: How often the lag is looked at, and said when it is worth it.
REPORT_EVERY_S = 10.0
WORTH_SAYING_EVENTS = 1_000


def main() -> int:
    """Run until asked to stop; 1 when something would not stop in time."""
    log_json(process="worker")
    stopping = begin_child(at_the_latest_s=ORPHAN_TIMEOUT_S)
    settings = Settings()
    log_json(settings.log_level, process=settings.process_name or "worker")
    with bootstrap.observing(settings, "worker"):
        return _work(settings, stopping)


def _work(settings: Settings, stopping: Event) -> int:
    endpoints = bootstrap.Endpoints.locate(settings)
    terms = Terms(lot_expiry_notice=timedelta(days=settings.lot_expiry_notice_days))
    runner = bootstrap.open_runner(endpoints, partitions=settings.partitions, terms=terms)
    directory = bootstrap.open_directory(endpoints, partitions=settings.partitions)
    doorbell = bootstrap.open_doorbell(endpoints)
    performer = bootstrap.open_performer(endpoints, directory.partition_of, committed=doorbell.ring)
    secrets = bootstrap.open_secrets(endpoints, performer, directory.partition_of, settings)
    jobs = JobService(endpoints, performer, secrets, partitions=settings.partitions)
    listener = bootstrap.listen_to_doorbell(endpoints, runner.wake)
    rebuilder = bootstrap.open_rebuilder(endpoints)
    runner.start()
    rebuilder.start()
    if listener is not None:
        listener.start()
    jobs.start()
    # What is there now stays: looking through it all again and again would hold up everything for a tenth of a second.
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    log.info("the worker runs", extra={"partitions": settings.partitions})
    while not stopping.wait(REPORT_EVERY_S):
        behind = [lag for lag in runner.lag().values() if lag.owned and lag.lag_events > WORTH_SAYING_EVENTS]
        for lag in behind:
            log.warning(
                "a projection is behind",
                extra={"projection": lag.projection, "partition": lag.partition, "lag_events": lag.lag_events},
            )
    began_at = time.monotonic()
    jobs.ask_to_stop()
    rebuilder.ask_to_stop()
    if listener is not None:
        listener.close()
    stopped = runner.stop(STOP_TIMEOUT_S)
    stopped &= rebuilder.stop(max(0.1, began_at + STOP_TIMEOUT_S - time.monotonic()))
    stopped &= jobs.stop(began_at + STOP_TIMEOUT_S - time.monotonic())
    performer.close()
    doorbell.close()
    directory.close()
    log.info("the worker has stopped" if stopped else "the worker stops in the middle of a batch or a job")
    return 0 if stopped else 1


if __name__ == "__main__":
    sys.exit(main())
