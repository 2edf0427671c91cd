"""The write path without HTTP: ``perform`` and bulk commands in this process, for the comparisons with peers."""

from __future__ import annotations

import asyncio
import gc
import time

import orjson
import uvloop

from benchmarks.books import ACTOR, METER, Books, new_key, usage_batch
from felix.application.performer import Performer, new_context
from felix.domain.ledger.messages import DebitTokens
from felix.domain.metering.messages import DebitUsageBatch
from felix.domain.metering.usage import read_usage

ITEMS = 1_000
#: What an API process sets at its start: a young collection after so many new objects, and an old one rarely.
GC_THRESHOLDS = (50_000, 20, 50)


def collect_as_served() -> None:
    """Collect garbage as the API process does, for ourselves and for a peer in this process alike."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


def single_debits(performer: Performer, books: list[Books], number: int, callers: int) -> float:
    """Debits a second with so many asyncio callers, each waiting for its outcome before the next."""
    return uvloop.run(_single_debits(performer, books, number, callers))


async def _single_debits(performer: Performer, books: list[Books], number: int, callers: int) -> float:
    targets = [(of_tenant.tenant_id, account) for of_tenant in books for account in of_tenant.accounts]
    run = new_key("p")
    numbers = iter(range(number))

    async def caller() -> None:
        for i in numbers:
            tenant_id, account_id = targets[i * 7919 % len(targets)]
            outcome = await performer.perform(
                DebitTokens(account_id=account_id, meter=METER, amount_mtok=5),
                new_context(tenant_id, f"{run}-{i}", ACTOR),
            )
            assert outcome.accepted

    began_at = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(callers)))
    return number / (time.perf_counter() - began_at)


def bulk(performer: Performer, books: list[Books], batches: int) -> float:
    """Debits a second in commands of 1,000, from the bytes of their bodies, one caller a tenant."""
    run = new_key("q")
    bodies = [(books[i % len(books)], usage_batch(books[i % len(books)], f"{run}-{i}", ITEMS)) for i in range(batches)]
    return uvloop.run(_bulk(performer, bodies, len(books)))


async def _bulk(performer: Performer, bodies: list[tuple[Books, bytes]], callers: int) -> float:
    waiting = iter(bodies)

    async def caller() -> None:
        for of_tenant, body in waiting:
            good, bad = read_usage(orjson.loads(body), of_tenant.tenant_id)
            key = new_key("c")
            outcome = await performer.perform(
                DebitUsageBatch.of(good, bad, key), new_context(of_tenant.tenant_id, key, ACTOR)
            )
            assert outcome.result["accepted"] == ITEMS

    began_at = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(callers)))
    return len(bodies) * ITEMS / (time.perf_counter() - began_at)
