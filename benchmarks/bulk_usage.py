"""Bulk usage over HTTP: CloudEvents in batches of 1,000, priced by a rate card, one event row each.

One real API process, no worker. Four keep-alive connections, each for a tenant in a partition of its own, post
prebuilt bodies of 1,000 items for 50 accounts as fast as they are answered. Every item is validated, looked up in the
dedupe index, priced, debited and written as one event row; every batch must answer 1,000 accepted, and the log must
hold exactly one row an item.
"""

from __future__ import annotations

from statistics import median

from benchmarks.books import Books, new_key, open_books, usage_batch
from benchmarks.load import Load, post
from benchmarks.report import Row
from benchmarks.server import PARTITIONS, Bench, Running, cpu_s
from felix.bootstrap import Endpoints

ITEMS = 1_000
_USAGE = "select count(*) from felix.events where dedupe_key is not null"


def run(bench: Bench) -> list[Row]:
    """Measure."""
    endpoints = bench.database("bulk_usage")
    books = open_books(endpoints, tenants=PARTITIONS, accounts=200)
    batches = bench.amount(100, 4)
    rates, cpu, p50_ms = [], [], []
    with bench.api(endpoints) as api:
        over_http(bench, endpoints, api, books, bench.amount(16, 4))
        bench.settle(endpoints)
        for _ in range(bench.rounds):
            before = cpu_s(api.pid), bench.postgres_cpu_s()
            rate, latency_ms = over_http(bench, endpoints, api, books, batches)
            after = cpu_s(api.pid), bench.postgres_cpu_s()
            cpu.append([1e6 * (b - a) / (batches * ITEMS) for a, b in zip(before, after, strict=True)])
            rates.append(rate)
            p50_ms.append(latency_ms)
    api_us, postgres_us = (median(column) for column in zip(*cpu, strict=True))
    return [
        Row(
            "bulk usage over HTTP, batches of 1,000, four connections",
            "debits/s",
            rates,
            at_least=30_000,
            note=f"CPU an item: API {api_us:.1f} µs, Postgres {postgres_us:.1f} µs",
        ),
        Row("p50 of a batch of 1,000 at four connections", "ms", p50_ms),
    ]


def over_http(
    bench: Bench, endpoints: Endpoints, api: Running, books: list[Books], batches: int
) -> tuple[float, float]:
    """Post this many batches; debits a second, and the median latency of a batch in ms."""
    run = new_key("b")
    requests = [
        post(
            "/v1/usage/batch",
            usage_batch(books[i % len(books)], f"{run}-{i}", ITEMS),
            api_key=books[i % len(books)].api_key,
            idempotency_key=f"{run}-{i}",
        )
        for i in range(batches)
    ]
    before = bench.query(endpoints, _USAGE)
    answers = bench.drive(Load(api.port, len(books), requests))
    written = bench.query(endpoints, _USAGE) - before
    if answers.accepted != batches or written != batches * ITEMS:
        raise AssertionError(f"{batches} batches sent, {answers.accepted} accepted, {written} rows in the log")
    return answers.rate_s * ITEMS, answers.latency_ms(0.5)
