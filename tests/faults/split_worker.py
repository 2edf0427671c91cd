"""The worker of a positive control: effects are committed before the cursor moves, in a transaction of their own."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

import psycopg

from felix import bootstrap
from felix.projections.base import connect_projector
from felix.projections.runner import ProjectionRunner
from felix.projections.usage import Usage
from felix.settings import Settings

#: Between effect and checkpoint, so that few kills are enough to hit it.
GAP_S = 0.3


def main() -> int:
    """Run until SIGTERM."""
    url = bootstrap.Endpoints.locate(Settings(_env_file=None)).as_role("felix_projector")

    class SplitUsage(Usage):
        def fold(self, events: Sequence[Any], connection: psycopg.Connection[Any]) -> None:
            with connect_projector(url) as apart:
                with apart.transaction():
                    super().fold(events, apart)
                time.sleep(GAP_S)

    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    runner = ProjectionRunner(url, [SplitUsage()], range(4))
    runner.start()
    stopping.wait()
    return 0 if runner.stop() else 1


if __name__ == "__main__":
    sys.exit(main())
