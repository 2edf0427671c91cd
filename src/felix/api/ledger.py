"""Token accounts over HTTP: every write is one command, every read one question to a read model."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from felix.api import documents, examples
from felix.api.http import (
    MAX_PAGE,
    Endpoint,
    allowed,
    answer,
    command_from,
    fresh,
    guarded,
    integer,
    missing,
    page,
    paged,
    perform,
    place_of,
    read_json,
    services,
)
from felix.api.replay import account_at_position, moment, past_accounts, past_moment
from felix.domain.base import Command
from felix.domain.identity.access import ACTIONS
from felix.domain.identity.roles import PLATFORM_ROLES
from felix.domain.ledger import messages as m
from felix.projections import balance_snapshots, balances, past_balances, token_transactions
from felix.projections.tenant_tx import Row, TenantTx

router = APIRouter(tags=["token accounts"])
ACCOUNT = "/v1/token-accounts/{account_id}"
BEGINNING = datetime(2000, 1, 1, tzinfo=UTC)
#: Accounts of a page at a moment that has passed: each is replayed.
MAX_PAST_PAGE = 100
_BALANCE = ("available_mtok", "held_mtok", "frozen_mtok", "debt_mtok")


def told_of(action: str) -> str:
    """Who may do it, for the description of an endpoint."""
    grants = ACTIONS[action].grants
    return "\n\nFounder only." if set(grants) <= PLATFORM_ROLES else ""


def writes(
    path: str,
    command_class: type[Command],
    *,
    status: int = 200,
    example: tuple[Any, Any] | None = None,
    router: APIRouter = router,
) -> None:
    """Add an endpoint that performs a command. Path parameters become fields of the command of the same name."""
    in_path = frozenset(part[1:-1] for part in path.split("/") if part.startswith("{"))
    action = command_class.command_name

    async def endpoint(request: Request) -> Response:
        principal = await allowed(request, action)
        command = command_from(command_class, await read_json(request), request.path_params)
        return await perform(request, principal, command, status)

    asked, answered = example or examples.WRITES[command_class.__name__]
    endpoint.__name__ = action.partition(".")[2]
    endpoint.__doc__ = command_class.__doc__
    described = documents.write(command_class, in_path, asked, status, answered)
    performs(path, endpoint, action, described, status=status, router=router)


def performs(
    path: str, endpoint: Endpoint, action: str, described: dict[str, Any], *, status: int = 200, router: APIRouter
) -> None:
    """Add an endpoint that performs a command in its own way; it is called and told by its name and its docstring."""
    told = (endpoint.__doc__ or "").strip()
    router.add_api_route(
        path,
        guarded(endpoint),
        methods=["POST"],
        status_code=status,
        name=endpoint.__name__,
        operation_id=endpoint.__name__,
        summary=told.splitlines()[0],
        description=told + told_of(action),
        response_class=Response,
        openapi_extra=documents.does(action) | described,
    )


writes("/v1/token-accounts", m.OpenTokenAccount, status=201)
writes(f"{ACCOUNT}/close", m.CloseTokenAccount)
writes(f"{ACCOUNT}/freeze", m.FreezeTokenAccount)
writes(f"{ACCOUNT}/unfreeze", m.UnfreezeTokenAccount)
writes(f"{ACCOUNT}/grants", m.GrantTokens, status=201)
writes(f"{ACCOUNT}/expiries", m.BookExpiries)
writes(f"{ACCOUNT}/lots/{{lot_id}}/expire", m.ExpireLot)
writes(f"{ACCOUNT}/lots/{{lot_id}}/claw-backs", m.ClawBackTokens, status=201)
writes(f"{ACCOUNT}/lots/{{lot_id}}/void", m.VoidLot)
writes(f"{ACCOUNT}/lots/{{lot_id}}/extend", m.ExtendLot)
writes(f"{ACCOUNT}/lots/{{lot_id}}/freeze", m.FreezeLot)
writes(f"{ACCOUNT}/lots/{{lot_id}}/unfreeze", m.UnfreezeLot)
writes(f"{ACCOUNT}/holds", m.HoldTokens, status=201)
writes(f"{ACCOUNT}/holds/{{hold_id}}/capture", m.CaptureHold)
writes(f"{ACCOUNT}/holds/{{hold_id}}/release", m.ReleaseHold)
writes(f"{ACCOUNT}/holds/{{hold_id}}/extend", m.ExtendHold)
writes(f"{ACCOUNT}/debits", m.DebitTokens, status=201)
writes(f"{ACCOUNT}/debits/{{debit_id}}/reversals", m.ReverseDebit, status=201)
writes(f"{ACCOUNT}/transfers", m.TransferTokens, status=201)
writes(f"{ACCOUNT}/credit-limit", m.SetCreditLimit)
writes(f"{ACCOUNT}/spend-caps", m.SetSpendCap, status=201)
writes(f"{ACCOUNT}/spend-caps/{{cap_id}}/remove", m.RemoveSpendCap)
writes(f"{ACCOUNT}/adjustments", m.ProposeAdjustment, status=201)
writes(f"{ACCOUNT}/adjustments/{{adjustment_id}}/approvals", m.ApproveAdjustment, status=201)
writes(f"{ACCOUNT}/adjustments/{{adjustment_id}}/rejections", m.RejectAdjustment, status=201)


def reads(
    path: str,
    example: Any,
    *parameters: dict[str, Any],
    action: str,
    router: APIRouter = router,
    problems: tuple[int, ...] = (),
    min_position: dict[str, Any] = documents.MIN_POSITION,
    nullable: frozenset[str] = frozenset(),
) -> Callable[[Endpoint], Endpoint]:
    """Add an endpoint that answers from a read model; the decorated function's docstring is its description.

    ``action`` is what the table of actions calls it; the endpoint asks for it with ``place_of`` or ``allowed``.
    ``nullable`` names members of the answer that have a value in the example and may be null.
    """

    def add(endpoint: Endpoint) -> Endpoint:
        told = (endpoint.__doc__ or "").strip()
        router.add_api_route(
            path,
            guarded(endpoint),
            methods=["GET"],
            name=endpoint.__name__,
            operation_id=endpoint.__name__,
            summary=told.splitlines()[0],
            description=told,
            response_class=Response,
            openapi_extra=documents.does(action)
            | documents.read(
                example,
                *parameters,
                problems=problems or (404, 422),
                min_position=min_position,
                nullable=nullable,
            ),
        )
        return endpoint

    return add


@reads(
    "/v1/token-accounts",
    examples.ACCOUNTS,
    documents.query("cursor", "`next` of the page before.", type="string"),
    documents.PAGE[1],
    documents.AS_OF,
    action="ledger.read",
)
async def list_token_accounts(request: Request) -> Response:
    """The tenant's accounts with their balances, now or at another moment."""
    tenant_id, partition = await place_of(request, "ledger.read")
    await fresh(request, tenant_id, partition, "balances")
    cursor = request.query_params.get("cursor", "")
    limit = integer(request, "limit", 100, 1, MAX_PAGE)
    if (then := past_moment(request)) is not None:
        limit = min(limit, MAX_PAST_PAGE)
        found = await past_accounts(
            request, tenant_id, partition, lambda tx: past_balances.accounts(tx, cursor, limit, then)
        )
    else:
        async with services(request).reads.tenant(tenant_id, partition) as tx:
            found = await balances.accounts(tx, cursor, limit, moment(request, "as_of"))
    return answer(paged([shown(row) for row in found], limit, "account_id"))


@reads(
    ACCOUNT,
    examples.ACCOUNT,
    documents.query("at_position", "The account as it was at this position of its tenant's log.", type="string"),
    documents.AS_OF,
    action="ledger.read",
)
async def show_token_account(request: Request) -> Response:
    """One account: balance and status, now or at another moment; the whole account at a position of the log."""
    tenant_id, partition = await place_of(request, "ledger.read")
    account_id = request.path_params["account_id"]
    if "at_position" in request.query_params:
        return answer(await account_at_position(request, tenant_id, partition, account_id))
    await fresh(request, tenant_id, partition, "balances")
    found: Row | None
    if (then := past_moment(request)) is not None:
        found = next(
            iter(await past_accounts(request, tenant_id, partition, lambda tx: _one(tx, account_id, then))), None
        )
    else:
        async with services(request).reads.tenant(tenant_id, partition) as tx:
            found = await balances.account(tx, account_id, moment(request, "as_of"))
    if found is None:
        raise missing("account_id", account_id)
    return answer(shown(found))


async def _one(tx: TenantTx, account_id: str, at: datetime) -> list[Row]:
    account = await past_balances.account(tx, account_id, at)
    return [] if account is None else [account]


def shown(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the read model in the shape in which a replayed account is shown."""
    shown = dict(row)
    shown["balance"] = {name: shown.pop(name) for name in _BALANCE}
    return shown


@asynccontextmanager
async def _account(request: Request, tenant_id: UUID, partition: int) -> AsyncIterator[tuple[TenantTx, str]]:
    """A transaction for questions about the account that the path names. Raises ``NotFound`` where there is none."""
    account_id = request.path_params["account_id"]
    async with services(request).reads.tenant(tenant_id, partition) as tx:
        if await balances.account(tx, account_id) is None:
            raise missing("account_id", account_id)
        yield tx, account_id


@reads(f"{ACCOUNT}/lots", examples.LOTS, documents.AS_OF, action="ledger.read")
async def list_lots(request: Request) -> Response:
    """The account's lots in the order in which they are spent, now or at another moment."""
    return await _parts(request, balances.lots, past_balances.lots)


@reads(f"{ACCOUNT}/holds", examples.HOLDS, documents.AS_OF, action="ledger.read")
async def list_holds(request: Request) -> Response:
    """The account's open holds, now or at another moment."""
    return await _parts(request, balances.holds, past_balances.holds)


async def _parts(
    request: Request,
    question: Callable[[TenantTx, str, datetime | None], Awaitable[list[Row]]],
    past_question: Callable[[TenantTx, str, datetime], Awaitable[list[Row] | None]],
) -> Response:
    """What an account is made of: from the read model, or replayed where the moment has passed."""
    tenant_id, partition = await place_of(request, "ledger.read")
    await fresh(request, tenant_id, partition, "balances")
    if (then := past_moment(request)) is not None:
        account_id = request.path_params["account_id"]
        async with services(request).reads.tenant(tenant_id, partition) as tx:
            found = await past_question(tx, account_id, then)
        if found is None:
            raise missing("account_id", account_id)
        return answer({"data": found})
    async with _account(request, tenant_id, partition) as (tx, account_id):
        return answer({"data": await question(tx, account_id, moment(request, "as_of"))})


@reads(f"{ACCOUNT}/transactions", examples.TRANSACTIONS, *documents.PAGE, action="ledger.read")
async def list_transactions(request: Request) -> Response:
    """The account's journal: every transaction with its postings, oldest first."""
    tenant_id, partition = await place_of(request, "ledger.read")
    await fresh(request, tenant_id, partition, "balances", "token_transactions")
    cursor, limit = page(request)
    async with _account(request, tenant_id, partition) as (tx, account_id):
        found = await token_transactions.transactions(tx, account_id, cursor, limit, "oldest")
    return answer(paged(found, limit, "tenant_sequence"))


@reads(
    f"{ACCOUNT}/statements",
    examples.STATEMENT,
    documents.query("from", "First moment (RFC 3339); default: the beginning.", type="string"),
    documents.query("to", "Moment after the last (RFC 3339); default: now.", type="string"),
    *documents.PAGE,
    action="ledger.read",
)
async def show_statement(request: Request) -> Response:
    """Opening balance, movements and closing balance of a period."""
    tenant_id, partition = await place_of(request, "ledger.read")
    await fresh(request, tenant_id, partition, "balances", "token_transactions")
    since = moment(request, "from") or BEGINNING
    until = moment(request, "to") or datetime.now(UTC)
    cursor, limit = page(request)
    async with _account(request, tenant_id, partition) as (tx, account_id):
        return answer(await token_transactions.statement(tx, account_id, since, until, cursor, limit))


@reads(
    f"{ACCOUNT}/balance-history",
    examples.BALANCE_HISTORY,
    documents.query("from", "A moment of the first day (RFC 3339, UTC); default: the account's first.", type="string"),
    documents.query("to", "A moment of the last day (RFC 3339, UTC); default, and at most: today.", type="string"),
    action="ledger.read",
)
async def show_balance_history(request: Request) -> Response:
    """The account's closing figures of every UTC day; a day on which nothing happened closes as the day before."""
    tenant_id, partition = await place_of(request, "ledger.read")
    await fresh(request, tenant_id, partition, "balances", "balance_snapshots")
    since, today = moment(request, "from"), datetime.now(UTC)
    until = min(moment(request, "to") or today, today)
    async with _account(request, tenant_id, partition) as (tx, account_id):
        found = await balance_snapshots.balance_history(tx, account_id, since and since.date(), until.date())
    return answer({"account_id": account_id, "data": found})


@reads("/v1/trial-balance", examples.TRIAL_BALANCE, action="ledger.read")
async def show_trial_balance(request: Request) -> Response:
    """The sum of every ledger account of the tenant; they add up to zero, per asset, at every position."""
    tenant_id, partition = await place_of(request, "ledger.read")
    await fresh(request, tenant_id, partition, "token_transactions")
    async with services(request).reads.tenant(tenant_id, partition) as tx:
        sums = await token_transactions.trial_balance(tx)
    return answer({"assets": sums, "totals": {asset: sum(amounts.values()) for asset, amounts in sums.items()}})
