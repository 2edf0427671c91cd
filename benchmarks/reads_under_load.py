"""Reads under load: the balance of an account over HTTP, with a million events stored and writes going on.

One real API process and one real worker. The log is filled with usage events in batches of 1,000 for 500 accounts of
50 tenants, and the read models retell all of it first. Then 200 requests a second ask for one account each, in turn,
at times that were fixed beforehand; latency counts from the moment a request was due, so that a stall counts for
every request that it holds up. Meanwhile other processes send 200 single debits a second, also at fixed times. In the
same run, alternating: the same with a batch of 1,000 usage events every five seconds on top, the same reads without
writes, and ``/healthz``, which asks nobody, at the same rate. Every answer must be a 200, and every write accepted.
"""

from __future__ import annotations

import time
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context

from benchmarks.books import Books, new_key, open_books, single_debits, usage_batch
from benchmarks.bulk_usage import ITEMS, over_http
from benchmarks.load import Answers, Load, drive, get, post
from benchmarks.report import Row
from benchmarks.server import Bench
from felix.bootstrap import Endpoints

EVENTS = 1_000_000
READS_S = WRITES_S = 200
LASTS_S = 25
WARM_UP_S = 2
BATCH_EVERY_S = 5
#: The log is filled in portions, which the load generator keeps in memory.
PORTION = 100
CONNECTIONS = 16
CATCH_UP_TIMEOUT_S = 600.0
_EVENTS = "select count(*) from felix.events"
_BEHIND = (
    "select coalesce(sum(greatest(0, case when c.projection in ('audit_trail', 'commands') then p.commands"
    " else p.position end - c.position)), 0) from felix.cursors c join felix.partitions p using (partition)"
)


def run(bench: Bench) -> list[Row]:
    """Measure."""
    endpoints = bench.database("reads_under_load")
    books = open_books(endpoints, tenants=bench.amount(50, 4), accounts=bench.amount(500, 20))
    lasts_s = bench.amount(LASTS_S, 2)
    bare, quiet, busy, bursts = list[Answers](), list[Answers](), list[Answers](), list[Answers]()
    with (
        bench.worker(endpoints),
        bench.api(endpoints) as api,
        ProcessPoolExecutor(2, mp_context=get_context("spawn")) as writers,
    ):
        batches = bench.amount(EVENTS, 20_000) // ITEMS
        for first in range(0, batches, PORTION):
            over_http(bench, endpoints, api, books, min(PORTION, batches - first))
        _catch_up(bench, endpoints)
        bench.settle(endpoints)
        stored = bench.query(endpoints, _EVENTS)
        _read(bench, api.port, books, WARM_UP_S)
        for _ in range(bench.rounds):
            bare.append(bench.drive(_at_rate(api.port, [get("/healthz")] * (READS_S * lasts_s))))
            quiet.append(_read(bench, api.port, books, lasts_s))
            for read, batches_too in ((busy, False), (bursts, True)):
                writing = _write(writers, api.port, books, lasts_s + WARM_UP_S, batches_too)
                time.sleep(WARM_UP_S)
                read.append(_read(bench, api.port, books, lasts_s))
                _check([*(each.result() for each in writing), read[-1]])
            _check([bare[-1], quiet[-1]])
    what = f"GET balance at {READS_S} requests/s, {stored:,} events stored"
    writes = f"meanwhile {WRITES_S} single debits/s"
    return [
        Row(
            f"{what}, writes going on, p99",
            "ms",
            _percentile(busy, 0.99),
            at_most=15,
            note=f"{writes}; no errors in {sum(each.accepted for each in busy):,} reads",
        ),
        Row("the same, p50", "ms", _percentile(busy, 0.5)),
        Row("the same, p99.9", "ms", _percentile(busy, 0.999)),
        Row("the same, the longest", "ms", _percentile(busy, 1.0)),
        Row(f"the same with a batch of {ITEMS:,} every {BATCH_EVERY_S} s on top, p99", "ms", _percentile(bursts, 0.99)),
        Row(f"the same with a batch of {ITEMS:,} every {BATCH_EVERY_S} s on top, p50", "ms", _percentile(bursts, 0.5)),
        Row("the same reads without writes, p99", "ms", _percentile(quiet, 0.99)),
        Row("the same reads without writes, p50", "ms", _percentile(quiet, 0.5)),
        Row("GET /healthz at the same rate without writes, p99", "ms", _percentile(bare, 0.99)),
    ]


def _catch_up(bench: Bench, endpoints: Endpoints) -> None:
    deadline = time.monotonic() + CATCH_UP_TIMEOUT_S
    while bench.query(endpoints, _BEHIND):
        if time.monotonic() > deadline:
            raise TimeoutError("the read models did not retell everything")
        time.sleep(0.1)


def _at_rate(port: int, requests: list[bytes]) -> Load:
    return Load(port, CONNECTIONS, requests, rate_s=READS_S)


def _read(bench: Bench, port: int, books: list[Books], lasts_s: int) -> Answers:
    accounts = [(each.api_key, account) for each in books for account in each.accounts]
    asked = (accounts[number % len(accounts)] for number in range(READS_S * lasts_s))
    requests = [get(f"/v1/token-accounts/{account}", api_key=api_key) for api_key, account in asked]
    return bench.drive(_at_rate(port, requests))


def _write(
    writers: ProcessPoolExecutor, port: int, books: list[Books], lasts_s: int, batches_too: bool
) -> list[Future[Answers]]:
    debits = single_debits(books, WRITES_S * lasts_s, new_key("w"))
    writing = [writers.submit(drive, Load(port, CONNECTIONS, debits, rate_s=WRITES_S))]
    if not batches_too:
        return writing
    run = new_key("u")
    batches = [
        post(
            "/v1/usage/batch",
            usage_batch(of_tenant, f"{run}-{number}", ITEMS),
            api_key=of_tenant.api_key,
            idempotency_key=f"{run}-{number}",
        )
        for number, of_tenant in (
            (number, books[number % len(books)]) for number in range(-(-lasts_s // BATCH_EVERY_S))
        )
    ]
    return [*writing, writers.submit(drive, Load(port, 1, batches, rate_s=1 / BATCH_EVERY_S))]


def _check(answers: list[Answers]) -> None:
    if wrong := {status: number for each in answers for status, number in each.others.items()}:
        raise AssertionError(f"not everything was answered with 2xx: {wrong}")


def _percentile(rounds: list[Answers], share: float) -> list[float]:
    return [each.latency_ms(share) for each in rounds]
