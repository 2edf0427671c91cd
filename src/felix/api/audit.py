"""The audit trail over HTTP: who asked for what, why, and what became of it; and how often."""

from __future__ import annotations

from datetime import UTC, datetime

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from felix.api import documents, examples
from felix.api.http import MAX_PAGE, answer, chosen, identifier, integer, paged, place_of, services
from felix.api.ledger import BEGINNING, reads
from felix.api.replay import moment
from felix.domain.errors import Invalid
from felix.projections import audit_trail, commands

router = APIRouter(tags=["audit"])


@reads(
    "/v1/audit",
    examples.AUDIT,
    *documents.PAGE,
    documents.query("actor", "Only commands of this actor.", type="string"),
    documents.query("type", "Only commands of this type.", type="string"),
    documents.query("outcome", "Only accepted or only refused ones.", type="string", enum=["accepted", "refused"]),
    documents.query("code", "Only those refused with this code.", type="string"),
    documents.query("since", "First moment (RFC 3339).", type="string"),
    documents.query("until", "Moment after the last (RFC 3339).", type="string"),
    documents.query("correlation_id", "Only those with this correlation id.", type="string", format="uuid"),
    action="audit.read",
    router=router,
    min_position=documents.WITHIN_MOMENTS,
)
async def list_audit_trail(request: Request) -> Response:
    """Every command of the tenant, accepted or refused, newest first; `cursor` and `next` are sequences.

    `reason` is why it was given, where it takes a reason; `code` and `detail` say why it was refused.
    `first_tenant_sequence` and `last_tenant_sequence` lead to the events that it left.
    """
    tenant_id, partition = await place_of(request, "audit.read")
    given = request.query_params
    before = integer(request, "cursor", 0, 0, 2**63 - 1) if "cursor" in given else None
    limit = integer(request, "limit", 100, 1, MAX_PAGE)
    outcome = chosen(request, "outcome", "accepted", "refused")
    since, until = moment(request, "since"), moment(request, "until")
    correlation_id = identifier(request, "correlation_id")
    async with services(request).reads.tenant(tenant_id, partition) as tx:
        found = await audit_trail.commands(
            tx,
            before,
            limit,
            actor=given.get("actor"),
            type=given.get("type"),
            accepted=None if outcome is None else outcome == "accepted",
            code=given.get("code"),
            since=since,
            until=until,
            correlation_id=correlation_id,
        )
    return answer(paged(found, limit, "sequence"))


@reads(
    "/v1/command-counts",
    examples.COMMAND_COUNTS,
    documents.query("from", "A moment of the first day (RFC 3339, UTC); default: the beginning.", type="string"),
    documents.query("to", "A moment of the last day (RFC 3339, UTC); default: today.", type="string"),
    documents.query("by", "Comma-separated: day, type, actor, outcome. Default: day,outcome.", type="string"),
    action="audit.read",
    router=router,
    min_position=documents.WITHIN_MOMENTS,
)
async def show_command_counts(request: Request) -> Response:
    """How many commands there were, by day, type, actor or outcome: `accepted`, or the code of the refusal."""
    tenant_id, partition = await place_of(request, "audit.read")
    groups = [name for name in request.query_params.get("by", "day,outcome").split(",") if name]
    if not set(groups) <= set(commands.DIMENSIONS):
        raise Invalid(
            "by names something that commands are not counted by.",
            errors=[{"pointer": "?by", "rule": "enum", "detail": ", ".join(commands.DIMENSIONS)}],
        )
    since = moment(request, "from") or BEGINNING
    until = moment(request, "to") or datetime.now(UTC)
    async with services(request).reads.tenant(tenant_id, partition) as tx:
        found = await commands.counts(tx, since.date(), until.date(), groups)
    return answer({"data": found})
