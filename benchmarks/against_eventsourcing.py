"""``perform`` against the stock ``eventsourcing`` Postgres application, in process, on the same server.

Felix: 64 asyncio callers, one debit a command, 500 accounts of 50 tenants; and bulk commands of 1,000 usage items for
four tenants. Peer: an ``Application`` with its own Postgres recorder as it comes (``PERSISTENCE_MODULE =
eventsourcing.postgres``), an aggregate with a debit event, one ``save`` a debit. The peer's aggregates stay in memory,
so it never reads, and it keeps no idempotency keys, prices or lots. It runs with 1, 2, 4, 8 and 16 threads in every
round, and the best of the round counts. Rounds alternate: peer, ``perform``, bulk.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from uuid import UUID

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event

from benchmarks import in_process
from benchmarks.books import open_books, performing
from benchmarks.report import Row
from benchmarks.server import PARTITIONS, Bench
from felix.bootstrap import ensure_database

CALLERS = 64
THREADS = (1, 2, 4, 8, 16)
PEER_ACCOUNTS = 512
PEER_DATABASE = "stock_eventsourcing"


class Account(Aggregate):
    """The peer's account: a balance and a debit."""

    @event("Opened")
    def __init__(self, balance_mtok: int) -> None:
        self.balance_mtok = balance_mtok

    @event("Debited")
    def debit(self, amount_mtok: int, meter: str) -> None:
        """Take tokens."""
        self.balance_mtok -= amount_mtok


def run(bench: Bench) -> list[Row]:
    """Measure."""
    in_process.collect_as_served()
    endpoints = bench.database("in_process")
    books = open_books(endpoints, tenants=bench.amount(50, 4), accounts=bench.amount(500, 20))
    bulk_books = open_books(endpoints, tenants=PARTITIONS, accounts=200)
    peer_for_s = 0.1 if bench.quick else 1.0
    peer, single, bulk = [], [], []
    application = _peer(bench)
    try:
        accounts = [Account(balance_mtok=10**14) for _ in range(PEER_ACCOUNTS)]
        application.save(*accounts)
        with performing(endpoints) as performer:
            in_process.single_debits(performer, books, bench.amount(2_000, 100), CALLERS)
            in_process.bulk(performer, bulk_books, 4)
            bench.settle(endpoints)
            for _ in range(bench.rounds):
                tried = {threads: _save(application, accounts, threads, peer_for_s) for threads in THREADS}
                peer.append(max(tried.values()))
                single.append(in_process.single_debits(performer, books, bench.amount(12_000, 200), CALLERS))
                bulk.append(in_process.bulk(performer, bulk_books, bench.amount(80, 4)))
    finally:
        application.close()
    rates = ", ".join(f"{threads}: {rate:,.0f}/s" for threads, rate in tried.items())
    return [
        Row(
            "stock eventsourcing application, one save a debit",
            "/s",
            peer,
            note=f"in the last round, by threads: {rates}",
        ),
        Row(f"perform, {CALLERS} callers in process", "/s", single),
        Row("perform against the stock application", "x", _ratios(single, peer), at_least=6),
        Row("bulk commands of 1,000 in process", "debits/s", bulk),
        Row("bulk against the stock application", "x", _ratios(bulk, peer), at_least=25),
    ]


def _ratios(ours: list[float], theirs: list[float]) -> list[float]:
    return [a / b for a, b in zip(ours, theirs, strict=True)]


def _peer(bench: Bench) -> Application[UUID]:
    ensure_database(bench.postgres.url("postgres"), PEER_DATABASE)
    return Application[UUID](
        env={
            "PERSISTENCE_MODULE": "eventsourcing.postgres",
            "POSTGRES_DBNAME": PEER_DATABASE,
            "POSTGRES_HOST": str(bench.postgres.socket_dir),
            "POSTGRES_PORT": str(bench.postgres.port),
            "POSTGRES_USER": bench.postgres.user,
            "POSTGRES_PASSWORD": bench.postgres.password,
            "POSTGRES_POOL_SIZE": str(max(THREADS)),
        }
    )


def _save(application: Application[UUID], accounts: list[Account], threads: int, for_s: float) -> float:
    """Debits a second with so many threads, each with accounts of its own."""
    done = [0] * threads
    until = time.perf_counter() + for_s

    def worker(number: int) -> Callable[[], None]:
        mine = accounts[number::threads]

        def work() -> None:
            while time.perf_counter() < until:
                account = mine[done[number] % len(mine)]
                account.debit(5, "llm.input_tokens")
                application.save(account)
                done[number] += 1

        return work

    began_at = time.perf_counter()
    workers = [threading.Thread(target=worker(number)) for number in range(threads)]
    for thread in workers:
        thread.start()
    for thread in workers:
        thread.join()
    return sum(done) / (time.perf_counter() - began_at)
