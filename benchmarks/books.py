"""Tenants with token accounts, prices and API keys, made through the real write path; and what to send for them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any
from uuid import UUID, uuid4

import orjson
import uvloop

from benchmarks.load import post
from benchmarks.server import PARTITIONS
from felix.application.api_keys import make_key
from felix.application.performer import Performer, new_context
from felix.bootstrap import Endpoints, open_directory, open_performer
from felix.domain.base import Command
from felix.domain.ledger.messages import GrantTokens, OpenTokenAccount
from felix.domain.metering.messages import PublishRateCard
from felix.domain.tenancy.tenant import OnboardTenant

METER, MODEL, ACTOR = "llm.input_tokens", "gpt-4o", "founder:bench"
AMPLE_MTOK = 10**14
MAX_AT_ONCE = 200
PRICES = [
    {"kind": "per_unit", "meter": "llm.input_tokens", "price_mtok": 15, "per": 1000},
    {"kind": "per_unit", "meter": "llm.output_tokens", "price_mtok": 60, "per": 1000},
]
_runs = count(1)


@dataclass(frozen=True)
class Books:
    """A tenant with accounts that never run dry, and its key."""

    tenant_id: UUID
    partition: int
    api_key: str
    accounts: list[str]


@contextmanager
def performing(endpoints: Endpoints) -> Iterator[Performer]:
    """The write side in this process, from scratch: nothing is in its memory yet."""
    directory = open_directory(endpoints, partitions=PARTITIONS)
    performer = open_performer(endpoints, directory.partition_of)
    try:
        yield performer
    finally:
        performer.close()
        directory.close()


def open_books(endpoints: Endpoints, *, tenants: int, accounts: int) -> list[Books]:
    """Onboard tenants, one partition after the other, with ``accounts`` accounts in all."""
    directory = open_directory(endpoints, partitions=PARTITIONS)
    made = [uuid4() for _ in range(tenants)]
    for number, tenant_id in enumerate(made):
        directory.pin(tenant_id, f"t-{tenant_id.hex[:12]}", "Bench", partition=number % PARTITIONS)
    directory.close()
    with performing(endpoints) as performer:
        opened = uvloop.run(_open_accounts(performer, made, -(-accounts // tenants)))
        return [
            Books(tenant_id, number % PARTITIONS, make_key(performer, tenant_id, "bench")[0], of_tenant)
            for number, (tenant_id, of_tenant) in enumerate(zip(made, opened, strict=True))
        ]


async def _open_accounts(performer: Performer, tenants: list[UUID], each: int) -> list[list[str]]:
    free = asyncio.Semaphore(MAX_AT_ONCE)

    async def do(tenant_id: UUID, command: Command) -> dict[str, Any]:
        async with free:
            return (await performer.perform(command, new_context(tenant_id, new_key("setup"), ACTOR))).result

    async def account(tenant_id: UUID) -> str:
        opened = await do(tenant_id, OpenTokenAccount(name="Bench"))
        account_id: str = opened["account_id"]
        await do(tenant_id, GrantTokens(account_id=account_id, amount_mtok=AMPLE_MTOK, kind="purchased"))
        return account_id

    async def tenant(tenant_id: UUID) -> list[str]:
        await do(tenant_id, OnboardTenant(slug=f"t-{tenant_id.hex[:12]}", name="Bench"))
        await do(tenant_id, PublishRateCard.model_validate({"prices": PRICES}))
        return await asyncio.gather(*(account(tenant_id) for _ in range(each)))

    return await asyncio.gather(*map(tenant, tenants))


def new_key(prefix: str) -> str:
    """An idempotency key that was never used; all of one round share the prefix."""
    return f"{prefix}-{next(_runs)}-{uuid4().hex[:8]}"


def single_debits(books: list[Books], number: int, run: str) -> list[bytes]:
    """Requests for single debits, in turn over all accounts, tenant by tenant."""
    body = orjson.dumps({"meter": METER, "amount_mtok": 5})
    targets = [
        (of_tenant.api_key, f"/v1/token-accounts/{of_tenant.accounts[place]}/debits")
        for place in range(max(len(of_tenant.accounts) for of_tenant in books))
        for of_tenant in books
        if place < len(of_tenant.accounts)
    ]
    return [
        post(path, body, api_key=api_key, idempotency_key=f"{run}-{i}")
        for i, (api_key, path) in ((i, targets[i % len(targets)]) for i in range(number))
    ]


def usage_batch(of_tenant: Books, run: str, items: int) -> bytes:
    """The body of one batch: CloudEvents in turn over the tenant's accounts."""
    accounts = of_tenant.accounts
    return orjson.dumps(
        [
            {
                "specversion": "1.0",
                "type": "felix.usage",
                "source": "/bench",
                "id": f"{run}-{i}",
                "subject": accounts[i % len(accounts)],
                "data": {"meter": METER, "quantity": 100 + i, "model": MODEL},
            }
            for i in range(items)
        ]
    )
