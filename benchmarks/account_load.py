"""An account with 100,000 events after a restart: how long until it is in memory, and until it decides.

The history is written as usage batches on one account. Each round is a fresh Python process with nothing in memory: it
connects, and times ``PartitionLog.load`` (newest snapshot and the events after it); then another fresh process times
its whole first command, a debit through ``perform`` with connecting, head, load, decision and durable commit.
"""

from __future__ import annotations

import subprocess
import sys
import time
from uuid import UUID

import orjson

from benchmarks.books import ACTOR, METER, Books, new_key, open_books, performing, usage_batch
from benchmarks.report import Row
from benchmarks.server import ROOT, Bench
from felix.application.performer import new_context
from felix.bootstrap import Endpoints
from felix.domain.base import stream_name
from felix.domain.ledger.messages import DebitTokens
from felix.domain.ledger.token_account import TokenAccount
from felix.domain.metering.messages import DebitUsageBatch
from felix.domain.metering.usage import read_usage
from felix.eventstore.connections import connect
from felix.eventstore.partition_log import PartitionLog

ITEMS = 1_000


def run(bench: Bench) -> list[Row]:
    """Measure."""
    endpoints = bench.database("account_load")
    books = open_books(endpoints, tenants=1, accounts=1)[0]
    _write_history(endpoints, books, bench.amount(100, 2))
    loads, firsts, versions = [], [], []
    for _ in range(bench.rounds):
        load_ms, version = _fresh_process(endpoints, books, "load")
        first_ms, _ = _fresh_process(endpoints, books, "command")
        loads.append(load_ms)
        firsts.append(first_ms)
        versions.append(version)
    return [
        Row(
            "load of an account with 100,000 events after restart",
            "ms",
            loads,
            at_most=50,
            note=f"the account has {int(min(versions)):,} events",
        ),
        Row("its whole first command after restart", "ms", firsts),
    ]


def _write_history(endpoints: Endpoints, books: Books, batches: int) -> None:
    with performing(endpoints) as performer:
        for number in range(batches):
            key = new_key("h")
            good, bad = read_usage(orjson.loads(usage_batch(books, f"{key}-{number}", ITEMS)), books.tenant_id)
            outcome = performer.perform_blocking(
                DebitUsageBatch.of(good, bad, key), new_context(books.tenant_id, key, ACTOR)
            )
            assert outcome.result["accepted"] == ITEMS


def _fresh_process(endpoints: Endpoints, books: Books, what: str) -> tuple[float, float]:
    done = subprocess.run(
        [sys.executable, "-m", __name__],
        input=orjson.dumps([endpoints.database_url, str(books.tenant_id), books.accounts[0], what]),
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    took_ms, version = orjson.loads(done.stdout)
    return took_ms, version


def _measure(database_url: str, tenant: str, account_id: str, what: str) -> tuple[float, float]:
    """In the fresh process: milliseconds, and the version that the account has."""
    endpoints, tenant_id = Endpoints(database_url, None, None), UUID(tenant)
    if what == "command":
        with performing(endpoints) as performer:
            command = DebitTokens(account_id=account_id, meter=METER, amount_mtok=5)
            began_at = time.perf_counter()
            outcome = performer.perform_blocking(command, new_context(tenant_id, new_key("f"), ACTOR))
            took_s = time.perf_counter() - began_at
            assert outcome.accepted
        return took_s * 1e3, 0
    log = PartitionLog(lambda: connect(endpoints.writer_url), 0)
    log.open_batch([])
    began_at = time.perf_counter()
    loaded = log.load(TokenAccount, stream_name(tenant_id, TokenAccount.kind, account_id))
    took_s = time.perf_counter() - began_at
    log.close()
    assert loaded is not None
    return took_s * 1e3, loaded[0].version


if __name__ == "__main__":
    sys.stdout.buffer.write(orjson.dumps(_measure(*orjson.loads(sys.stdin.buffer.read()))))
