"""Accounts at another position or moment, and quotes: replayed from the log, nothing is written."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from starlette.requests import Request

from felix.api.http import missing, services
from felix.domain.errors import Invalid
from felix.domain.ledger.token_account import TokenAccount
from felix.projections.history import aggregate_at


def moment(request: Request, name: str) -> datetime | None:
    """A moment from the query string, in UTC. Raises ``Invalid``."""
    given = request.query_params.get(name)
    if not given:
        return None
    try:
        at = datetime.fromisoformat(given.replace(" ", "+"))
        if at.tzinfo is not None:
            return at.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise Invalid(
        f"{name} is not a moment like 2026-01-31T12:00:00Z.",
        errors=[{"pointer": f"?{name}", "rule": "moment", "detail": "RFC 3339 with a zone"}],
    )


def position_in(request: Request, name: str, partition: int) -> int | None:
    """A position ``<partition>:<position>``, or the bare number, from the query string. Raises ``Invalid``."""
    given = request.query_params.get(name)
    if not given:
        return None
    named, colon, position = given.partition(":")
    number = position if colon else named
    if number.isdecimal() and number.isascii() and len(number) < 19 and (not colon or named == str(partition)):
        return int(number)
    raise Invalid(
        f"{name} is not a position of this tenant's partition, like {partition}:1234.",
        errors=[{"pointer": f"?{name}", "rule": "position", "detail": f"{partition}:<position>"}],
    )


async def account_in_the_past(request: Request, tenant_id: UUID, partition: int, account_id: str) -> dict[str, Any]:
    """The account at ``?at_position=`` or ``?as_of=``. A moment in the future is a forecast: lots expire, holds end."""
    position = position_in(request, "at_position", partition)
    as_of = moment(request, "as_of")
    if position is not None and as_of is not None:
        raise Invalid(
            "Give at_position or as_of, not both.",
            errors=[{"pointer": "?as_of", "rule": "exclusive", "detail": "at_position is given"}],
        )
    async with services(request).reads.tenant(tenant_id, partition) as tx:
        account = await aggregate_at(tx, TokenAccount, account_id, position=position, at=as_of)
    if account is None:
        raise missing("account_id", account_id)
    return account.describe(as_of or account.modified_on)
