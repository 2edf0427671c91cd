"""Jobs over HTTP: a client sees its own, the founder everybody's and the platform's; only the founder steps in."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import UUID

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from felix.api import documents, examples
from felix.api.auth import Principal
from felix.api.http import MAX_PAGE, allowed, allowed_everywhere, answer, guarded, integer, services
from felix.api.ledger import reads
from felix.domain.errors import Invalid, NotFound
from felix.domain.identity.roles import PLATFORM_ROLES
from felix.eventstore.jobs import JobBook, JobKey
from felix.projections import jobs

router = APIRouter(tags=["jobs"])

#: What tells of the inside of Felix, and of people who run it.
_FOUNDERS = ("error", "settled_by")
#: What a job of the platform, or of a person, does not have.
_NOT_OF_ALL = ("tenant_id", "correlation_id", "causation_id")


@reads(
    "/v1/jobs",
    examples.JOBS,
    documents.query("state", "Only jobs in this state.", type="string", enum=list(jobs.STATES)),
    documents.query("kind", "Only jobs of this kind, such as ledger.book_expiries.", type="string"),
    documents.query("cursor", "`next` of the page before.", type="string"),
    documents.PAGE[1],
    action="jobs.read",
    router=router,
    problems=(404, 422),
)
async def list_jobs(request: Request) -> Response:
    """Work that is done later, what is due last first.

    A client sees its own jobs, without the errors of failed ones. A founder who names no tenant sees those of all
    tenants and of the platform itself.
    """
    principal, tenant_id = await allowed_everywhere(request, "jobs.read")
    state = request.query_params.get("state") or None
    if state is not None and state not in jobs.STATES:
        detail = f"one of {', '.join(jobs.STATES)}"
        raise Invalid("There is no such state.", errors=[{"pointer": "?state", "rule": "enum", "detail": detail}])
    chosen = {"state": state, "kind": request.query_params.get("kind")}
    after, limit = _cursor(request), integer(request, "limit", 100, 1, MAX_PAGE)
    if tenant_id is None:
        async with services(request).reads.founder() as founder:
            found = await jobs.everybodys_jobs(founder, after, limit, **chosen)
    else:
        async with services(request).reads.tenant(tenant_id, services(request).partition_of(tenant_id)) as tx:
            found = await jobs.jobs(tx, after, limit, **chosen)
    end = found[-1] if len(found) == limit else None
    return answer(
        {
            "data": [_shown(row, principal) for row in found],
            "next": f"{end['due_at'].isoformat()}_{end['job_id']}" if end else None,
        }
    )


@reads("/v1/jobs/{job_id}", examples.JOB, action="jobs.read", router=router)
async def show_job(request: Request) -> Response:
    """One job: what it is about, how far it is, and what became of it."""
    principal, tenant_id = await allowed_everywhere(request, "jobs.read")
    return answer(_shown(await _find(request, tenant_id), principal))


def _settles(name: str, sentence: str, told: str, settle: Callable[[JobBook, JobKey, str], None]) -> None:
    """Add an endpoint with which the founder steps in."""

    async def endpoint(request: Request) -> Response:
        principal = await allowed(request, f"jobs.{name}")
        found = await _find(request, None)
        key = (found["partition"], found["job_id"])
        await run_in_threadpool(settle, services(request).jobs, key, principal.actor)
        return answer(_shown(await _find(request, None), principal))

    router.add_api_route(
        f"/v1/jobs/{{job_id}}/{name}",
        guarded(endpoint),
        methods=["POST"],
        operation_id=f"{name}_job",
        name=f"{name}_job",
        summary=sentence,
        description=f"{sentence} {told}\n\nFounder only.",
        response_class=Response,
        openapi_extra=documents.does(f"jobs.{name}")
        | {
            "requestBody": {
                "required": False,
                "content": {"application/json": {"schema": {"type": "object", "properties": {}}, "example": {}}},
            },
            "responses": documents.responses(200, examples.JOB, 403, 404, 409),
        },
    )


_settles(
    "retry",
    "Try a dead, cancelled or waiting job now.",
    "It has all its attempts again. Asking twice is asking once; what it does to the books it does once in any case.",
    JobBook.retry,
)
_settles(
    "cancel",
    "Never do a job that is not under way.",
    "What it would have done is not undone or done otherwise; it can be retried later.",
    JobBook.cancel,
)


async def _find(request: Request, tenant_id: UUID | None) -> dict[str, Any]:
    given = request.path_params["job_id"]
    try:
        job_id = UUID(given)
    except ValueError:
        raise NotFound(f"There is no job {given}.", id=given) from None
    if tenant_id is None:
        async with services(request).reads.founder() as founder:
            found = await jobs.anybodys_job(founder, job_id)
    else:
        async with services(request).reads.tenant(tenant_id, services(request).partition_of(tenant_id)) as tx:
            found = await jobs.job(tx, job_id)
    if found is None:
        raise NotFound(f"There is no job {given}.", id=given)
    return found


def _cursor(request: Request) -> jobs.After | None:
    given = request.query_params.get("cursor")
    if not given:
        return None
    due_at, _, job_id = given.partition("_")
    try:
        at = datetime.fromisoformat(due_at)
        if at.tzinfo is None:
            raise ValueError("no zone")
        return at, UUID(job_id)
    except ValueError:
        raise Invalid(
            "The cursor is not one that a page of jobs gave.",
            errors=[{"pointer": "?cursor", "rule": "cursor", "detail": "`next` of the page before"}],
        ) from None


def _shown(row: dict[str, Any], principal: Principal) -> dict[str, Any]:
    shown = {name: value for name, value in row.items() if value is not None or name not in _NOT_OF_ALL}
    done, total = shown.pop("progress_done"), shown.pop("progress_total")
    shown["progress"] = None if done is None else {"done": done, "total": total}
    if principal.role not in PLATFORM_ROLES:
        for name in _FOUNDERS:
            del shown[name]
    return shown
