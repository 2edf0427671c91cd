"""``python -m felix.worker``: runs the projections, woken by the doorbell and by its own look at the heads.

SIGTERM or SIGINT lets the batches at hand finish; so does the end of the parent.
"""

from __future__ import annotations

import logging
import sys

from felix import bootstrap
from felix.adapters.logs import log_json
from felix.embedded import begin_child
from felix.settings import Settings

log = logging.getLogger("felix.worker")

#: One batch is milliseconds; a fold that is still at it after this is cancelled and done again at the next start.
STOP_TIMEOUT_S = 3.5
ORPHAN_TIMEOUT_S = 4.5
#: How often the lag is looked at, and said when it is worth it.
REPORT_EVERY_S = 10.0
WORTH_SAYING_EVENTS = 1_000


def main() -> int:
    """Run until asked to stop; 1 when a projection would not stop in time."""
    stopping = begin_child(at_the_latest_s=ORPHAN_TIMEOUT_S)
    settings = Settings()
    log_json(settings.log_level, process="worker")
    endpoints = bootstrap.Endpoints.locate(settings)
    runner = bootstrap.open_runner(endpoints, partitions=settings.partitions)
    listener = bootstrap.listen_to_doorbell(endpoints, runner.wake)
    runner.start()
    if listener is not None:
        listener.start()
    log.info("the worker runs", extra={"partitions": settings.partitions})
    while not stopping.wait(REPORT_EVERY_S):
        behind = [lag for lag in runner.lag().values() if lag.owned and lag.lag_events > WORTH_SAYING_EVENTS]
        for lag in behind:
            log.warning(
                "a projection is behind",
                extra={"projection": lag.projection, "partition": lag.partition, "lag_events": lag.lag_events},
            )
    if listener is not None:
        listener.close()
    stopped = runner.stop(STOP_TIMEOUT_S)
    log.info("the worker has stopped" if stopped else "the worker stops in the middle of a batch")
    return 0 if stopped else 1


if __name__ == "__main__":
    sys.exit(main())
