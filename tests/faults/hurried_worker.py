"""A real worker whose sessions count as frozen after a second, or five in a COPY, so that a test need not wait long."""

from __future__ import annotations

import sys

from felix.projections import base, partition_runner
from felix.worker.__main__ import main

if __name__ == "__main__":
    base.FROZEN_AFTER_S, base.TRANSACTION_TIMEOUT_S, partition_runner.IDLE_S = 1.0, 5.0, 0.3
    sys.exit(main())
