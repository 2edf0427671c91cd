"""A real worker that knows the jobs of the test: ``job_worker.py PLACE [careless]``.

``PLACE`` is a file to which each job of kind ``test.note`` adds a line: an effect that is doubled when the job is. A
careless worker does what a message says without looking whether the job is still to be done: the control.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from psycopg.rows import class_row

from felix.application.jobs.kinds import JobContext, job
from felix.domain.ledger.messages import DebitTokens
from felix.eventstore import jobs
from felix.worker.__main__ import main

LEASE_S = 4.0
#: What a job takes, so that many are under way when something breaks.
WORK_S = 0.01


@job("test.note", lease_s=LEASE_S)
def note(context: JobContext) -> Mapping[str, Any]:
    """Add a line to the file."""
    time.sleep(WORK_S)
    file = os.open(PLACE, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(file, f"{context.job.job_id}\n".encode())
    finally:
        os.close(file)
    return {}


@job("test.debit", lease_s=LEASE_S)
def debit(context: JobContext) -> Mapping[str, Any]:
    """Debit one millitoken."""
    time.sleep(WORK_S)
    command = DebitTokens(account_id=context.job.payload["account_id"], meter="jobs", amount_mtok=1)
    return {"debit_id": context.perform(command).result["debit_id"]}


def claim_whatever_happened(self: jobs.JobBook, key: jobs.JobKey, leases_s: Mapping[str, float]) -> jobs.Job | None:
    """A claim that asks nobody."""

    def reading(connection: Any) -> jobs.Job | None:
        with connection.cursor(row_factory=class_row(jobs.Job)) as cursor:
            found: jobs.Job | None = cursor.execute(
                "select partition, job_id, tenant_id, kind, payload, due_at, 1 as attempts, max_attempts, origin,"
                " correlation_id, causation_id, %s as claim from felix.jobs where partition = %s and job_id = %s",
                (uuid4(), *key),
            ).fetchone()
            return found

    return self._call(reading)


if __name__ == "__main__":
    PLACE = Path(sys.argv[1])
    if "careless" in sys.argv:
        jobs.JobBook.claim = claim_whatever_happened  # type: ignore[method-assign]
    sys.exit(main())
