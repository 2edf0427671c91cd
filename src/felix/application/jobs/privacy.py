"""What an erasure leaves to do outside of the database."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from felix.application.jobs.kinds import JobContext, job
from felix.domain.errors import Corrupt


@job("privacy.forget_outside")
def forget_outside(context: JobContext) -> Mapping[str, Any]:
    """Let the erasure key forget somebody, so that no backup can be read, and remove mails that were left in files."""
    if context.job.tenant_id is None:
        raise Corrupt("Whom data is about belongs to a tenant.")
    return context.upkeep.forget_outside(context.job.tenant_id, context.job.payload["subject_id"])
