"""Jobs of the platform itself: proof, snapshots, and tidying up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from felix.application.jobs.kinds import JobContext, job
from felix.domain.errors import Corrupt


class LedgerIsNotConsistent(Corrupt):
    """What is stored does not fit together; `felix verify ledger` shows where."""


@job("ledger.verify", max_attempts=3, lease_s=120)
def verify_ledger(context: JobContext) -> Mapping[str, Any]:
    """Prove that the log, and everything made from it, fits together. Raises :class:`LedgerIsNotConsistent`."""
    found = context.upkeep.verify_ledger(context.progress)
    if not found["consistent"]:
        raise LedgerIsNotConsistent(**found)
    return found


@job("eventstore.snapshot_long_streams", max_attempts=3, lease_s=120)
def snapshot_long_streams(context: JobContext) -> Mapping[str, Any]:
    """Snapshot streams that grew without their lane: by an import, or under an older state version."""
    return {"snapshots": context.upkeep.snapshot_long_streams(context.progress)}


@job("jobs.purge", max_attempts=3, lease_s=120)
def purge_jobs(context: JobContext) -> Mapping[str, Any]:
    """Forget jobs that were done or cancelled long ago; dead ones stay until somebody looks."""
    return {"purged": context.upkeep.purge_jobs()}
