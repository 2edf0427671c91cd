"""Single debits over HTTP: spread over many accounts, on one hot account, and one after the other.

One real API process (``felix.cli.serve``), no worker. 64 keep-alive connections send one debit each, as soon as the
last was answered, for 500 accounts of 50 tenants in four partitions, then for one single account, in alternating
rounds; then one connection alone measures latency. Every request has an ``Idempotency-Key`` of its own and every
debit is one event row. Only 2xx answers count, and the log must hold exactly as many debits as were acknowledged.
"""

from __future__ import annotations

from statistics import median

from benchmarks.books import Books, new_key, open_books, single_debits
from benchmarks.load import Answers, Load
from benchmarks.report import Row
from benchmarks.server import Bench, Running, cpu_s
from felix.bootstrap import Endpoints

CONNECTIONS = 64
_DEBITS = "select count(*) from felix.events where type = 'ledger.tokens_debited'"


def run(bench: Bench) -> list[Row]:
    """Measure."""
    endpoints = bench.database("single_debits")
    books = open_books(endpoints, tenants=bench.amount(50, 5), accounts=bench.amount(500, 20))
    hot = [Books(books[0].tenant_id, books[0].partition, books[0].api_key, books[0].accounts[:1])]
    number = bench.amount(12_000, 200)
    spread_s, hot_s, p50_ms, cpu = [], [], [], []
    with bench.api(endpoints) as api:
        _round(bench, endpoints, api, books, bench.amount(2_000, 100), CONNECTIONS)
        bench.settle(endpoints)
        for _ in range(bench.rounds):
            before = cpu_s(api.pid), bench.postgres_cpu_s()
            answers = _round(bench, endpoints, api, books, number, CONNECTIONS)
            after = cpu_s(api.pid), bench.postgres_cpu_s()
            cpu.append([1e6 * (b - a) / number for a, b in zip(before, after, strict=True)])
            cpu[-1].append(1e6 * answers.cpu_s / number)
            spread_s.append(answers.rate_s)
            hot_s.append(_round(bench, endpoints, api, hot, number, CONNECTIONS).rate_s)
            p50_ms.append(_round(bench, endpoints, api, books, bench.amount(1_000, 50), 1).latency_ms(0.5))
    api_us, postgres_us, load_us = (median(column) for column in zip(*cpu, strict=True))
    return [
        Row(
            f"single debits over HTTP, {CONNECTIONS} connections, one API process, 500 accounts",
            "/s",
            spread_s,
            at_least=3_000,
            note=f"CPU a request: API {api_us:.0f} µs, Postgres {postgres_us:.0f} µs, load generator {load_us:.0f} µs",
        ),
        Row("p50 of a single debit at one connection", "ms", p50_ms, at_most=3),
        Row("single debits on one hot account", "/s", hot_s),
        Row(
            "one hot account, share of the spread rate",
            "%",
            [100 * h / s for h, s in zip(hot_s, spread_s, strict=True)],
            at_least=90,
        ),
    ]


def _round(
    bench: Bench, endpoints: Endpoints, api: Running, books: list[Books], number: int, connections: int
) -> Answers:
    before = bench.query(endpoints, _DEBITS)
    answers = bench.drive(Load(api.port, connections, single_debits(books, number, new_key("r"))))
    written = bench.query(endpoints, _DEBITS) - before
    if answers.others or answers.accepted != number or written != number:
        raise AssertionError(f"{number} sent, {answers.accepted} accepted, {answers.others}, {written} in the log")
    return answers
