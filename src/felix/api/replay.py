"""Accounts at another position or moment, and quotes: replayed from the log, nothing is written."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from starlette.requests import Request

from felix.api.http import missing, read_position, services
from felix.domain.errors import Invalid
from felix.domain.ledger.token_account import TokenAccount
from felix.projections import past_balances
from felix.projections.freshness import wait_for_own
from felix.projections.history import aggregate_at
from felix.projections.tenant_tx import Row, TenantTx


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


def past_moment(request: Request) -> datetime | None:
    """``?as_of=`` where it has passed; what is to come is for the read models to say. Raises ``Invalid``."""
    as_of = moment(request, "as_of")
    return as_of if as_of is not None and as_of <= datetime.now(UTC) else None


def position_in(request: Request, name: str, tenant_id: UUID) -> int | None:
    """A position ``<tenant>:<tenant_sequence>``, or the bare number, from the query string. Raises ``Invalid``."""
    given = request.query_params.get(name)
    if not given:
        return None
    named, tenant_sequence = read_position(given if ":" in given else f"{tenant_id}:{given}") or (None, 0)
    if named == tenant_id:
        return tenant_sequence
    raise Invalid(
        f"{name} is not a position in this tenant's log, like {tenant_id}:17.",
        errors=[{"pointer": f"?{name}", "rule": "position", "detail": f"{tenant_id}:<tenant_sequence>"}],
    )


async def account_at_position(request: Request, tenant_id: UUID, partition: int, account_id: str) -> dict[str, Any]:
    """The whole account at ``?at_position=``, with its lots, holds, caps and adjustments."""
    position = position_in(request, "at_position", tenant_id)
    if "as_of" in request.query_params:
        raise Invalid(
            "Give at_position or as_of, not both.",
            errors=[{"pointer": "?as_of", "rule": "exclusive", "detail": "at_position is given"}],
        )
    async with services(request).reads.tenant(tenant_id, partition) as tx:
        account = await aggregate_at(tx, TokenAccount, account_id, tenant_sequence=position)
    if account is None:
        raise missing("account_id", account_id)
    return account.describe(account.modified_on)


async def past_accounts(
    request: Request, tenant_id: UUID, partition: int, question: Callable[[TenantTx], Awaitable[list[Row]]]
) -> list[Row]:
    """Accounts as they were, with what they had consumed: the journal has to have come as far as they had then."""
    found = services(request)
    async with found.reads.tenant(tenant_id, partition) as tx:
        rows = await question(tx)
    last = max((row["tenant_sequence"] for row in rows), default=0)
    await wait_for_own(found.reads, "token_transactions", tenant_id, partition, last, timeout_s=found.read_timeout_s)
    async with found.reads.tenant(tenant_id, partition) as tx:
        for row in rows:
            row["consumed_mtok"] = await past_balances.consumed_mtok(tx, row["account_id"], row["tenant_sequence"])
    return rows
