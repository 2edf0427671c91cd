"""Jobs about documents: sources are read, and what was removed is forgotten where the lane can't reach."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from felix.application.jobs.kinds import FINAL, JobContext, job
from felix.application.secrets import User
from felix.domain.context.document import RecordFailedReading, RecordReading
from felix.domain.errors import Corrupt, FelixError, Unavailable

#: A repository of some hundred files is as many requests.
READING_LEASE_S = 300.0


@job("documents.read_source", lease_s=READING_LEASE_S, max_attempts=4)
def read_source(context: JobContext) -> Mapping[str, Any]:
    """Read a source and index it. What would fail again is written into the log for the client to see."""
    doing, told = context.job, context.job.payload
    if doing.tenant_id is None:
        raise Corrupt("A document belongs to a tenant.")
    user = User(doing.origin, f"job:{doing.job_id}", doing.correlation_id, doing.causation_id)
    try:
        reading = context.upkeep.read_source(context.secrets, doing.tenant_id, told["source"], user)
        content = context.upkeep.documents.prepare((doing.partition, doing.tenant_id), reading)
    except Corrupt:
        raise
    except FINAL as error:
        return _failed(context, error)
    except Unavailable as error:
        if doing.attempts < doing.max_attempts:
            raise
        return _failed(context, error)
    outcome = context.perform(RecordReading(document_id=told["document_id"], content=content))
    if not outcome.accepted:
        return _failed(context, outcome.refusal)
    return {"digest": content.digest, "size_bytes": content.size_bytes}


def _failed(context: JobContext, error: FelixError) -> Mapping[str, Any]:
    command = RecordFailedReading(
        document_id=context.job.payload["document_id"], code=error.code, detail=error.detail[:500]
    )
    context.perform(command, "failed")
    return {"failed": error.code}


@job("documents.forget_orphans", max_attempts=3, lease_s=60)
def forget_orphans(context: JobContext) -> Mapping[str, Any]:
    """Forget what was handed over and not added, for example because it could not be paid."""
    return {"forgotten": context.upkeep.documents.forget_orphans()}


@job("documents.forget_text")
def forget_text(context: JobContext) -> Mapping[str, Any]:
    """Remove a text from object storage that no document of the tenant leads to any more."""
    doing = context.job
    if doing.tenant_id is None:
        raise Corrupt("A document belongs to a tenant.")
    place = (doing.partition, doing.tenant_id)
    return {"forgotten": context.upkeep.documents.forget(place, doing.payload["digest"])}
