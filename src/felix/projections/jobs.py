"""Jobs: what is due, what is being done, and what has failed.

Not a projection: these are questions about the table that the worker works on.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

from felix.projections.tenant_tx import FounderTx, Row, TenantTx

STATES = ("waiting", "handed_out", "running", "done", "dead", "cancelled")

_JOB = (
    "j.job_id, j.partition, j.tenant_id, j.kind, j.state, j.due_at, j.attempts, j.max_attempts, j.payload, j.result,"
    " j.error, j.progress_done, j.progress_total, j.origin, j.settled_by, j.correlation_id, j.causation_id,"
    " j.created_at, j.finished_at"
)
_TENANTS = f"select {_JOB} from felix.jobs j where partition = %s and tenant_id = %s"  # noqa: S608 constants
_EVERYBODYS = f"select {_JOB} from felix.partitions p join felix.jobs j using (partition) where true"  # noqa: S608 constants
#: Where a page begins: after this time, and of the same time after this id.
After = tuple[datetime, UUID]


async def jobs(tx: TenantTx, after: After | None = None, limit: int = 100, **chosen: str | None) -> list[Row]:
    """The tenant's jobs, what is due last first. ``chosen`` may name a ``state`` and a ``kind``."""
    query, values = _page(after, chosen)
    return await tx.fetch(_TENANTS + query, tx.partition, tx.tenant_id, *values, limit)


async def job(tx: TenantTx, job_id: UUID) -> Row | None:
    """One of the tenant's jobs."""
    return await tx.fetch_one(_TENANTS + " and j.job_id = %s", tx.partition, tx.tenant_id, job_id)


async def everybodys_jobs(
    tx: FounderTx, after: After | None = None, limit: int = 100, **chosen: str | None
) -> list[Row]:
    """The jobs of all tenants and of the platform itself, what is due last first."""
    query, values = _page(after, chosen)
    return await tx.fetch(_EVERYBODYS + query, *values, limit)


async def anybodys_job(tx: FounderTx, job_id: UUID) -> Row | None:
    """One job, whoever's it is."""
    return await tx.fetch_one(_EVERYBODYS + " and j.job_id = %s", job_id)


def _page(after: After | None, chosen: dict[str, str | None]) -> tuple[LiteralString, list[Any]]:
    query: LiteralString = ""
    values: list[Any] = []
    if chosen.get("state"):
        query += " and j.state = %s"
        values.append(chosen["state"])
    if chosen.get("kind"):
        query += " and j.kind = %s"
        values.append(chosen["kind"])
    if after is not None:
        query += " and (j.due_at, j.job_id) < (%s, %s)"
        values += after
    return query + " order by j.due_at desc, j.job_id desc limit %s", values
