"""A noisy tenant: what others wait while one sends ten times what it may.

One real API process, no worker. Four tenants in four partitions send 50 single debits a second each, at times that
were fixed beforehand; latency counts from the moment a request was due. Alternating, another process sends debits of a
fifth tenant, which lives in the partition of the first: ten times its limit of 100 a second, so that nine of ten are
refused with 429; and then, where the limit is out of its way, as many as 16 connections get answered. Every request of
the four must be accepted.
"""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from statistics import median

from benchmarks.books import Books, new_key, open_books, single_debits
from benchmarks.load import Answers, Load, drive
from benchmarks.report import Row
from benchmarks.server import Bench
from felix.bootstrap import Endpoints

OTHERS = 4
EACH_S = 50
LIMIT_S = 100
TIMES = 10
LASTS_S = 20
WARM_UP_S = 1
CONNECTIONS = 16
#: Debits a second that no process performs: the limit is out of the way.
BEYOND_S = 1_000_000
#: So many a second are more than one process answers, so the flood outlasts the four.
FLOOD_S = 5_000


def run(bench: Bench) -> list[Row]:
    """Measure."""
    endpoints = bench.database("noisy_tenant")
    *others, noisy = open_books(endpoints, tenants=OTHERS + 1, accounts=10 * (OTHERS + 1))
    lasts_s = bench.amount(LASTS_S, 1)
    limited = _alternate(bench, endpoints, others, noisy, lasts_s, LIMIT_S, LIMIT_S * TIMES)
    free = _alternate(bench, endpoints, others, noisy, lasts_s, BEYOND_S, None)
    quiet, beside, floods = limited
    refused = sum(flood.others[429] for flood in floods)
    sent = refused + sum(flood.accepted for flood in floods)
    quiet_p99, beside_p99 = _p99(quiet), _p99(beside)
    what = f"{OTHERS} tenants with {EACH_S} debits/s each"
    return [
        Row(
            f"{what}, while another floods at {TIMES} times its limit: p99, times that without it",
            "×",
            [b / q for b, q in zip(beside_p99, quiet_p99, strict=True)],
            at_most=2,
            note=f"{100 * refused / sent:.0f} % of {sent:,} requests of the flood were refused with 429",
        ),
        Row(f"{what}, p99", "ms", quiet_p99),
        Row(f"{what}, while another floods, p99", "ms", beside_p99),
        Row(
            f"{what}, while another sends without a limit as fast as {CONNECTIONS} connections go, p99",
            "ms",
            _p99(free[1]),
            note=f"{median(flood.rate_s for flood in free[2]):,.0f} debits/s of the other were accepted meanwhile",
        ),
    ]


def _alternate(
    bench: Bench,
    endpoints: Endpoints,
    others: list[Books],
    noisy: Books,
    lasts_s: int,
    limit_s: int,
    flood_s: int | None,
) -> tuple[list[Answers], list[Answers], list[Answers]]:
    """The four without the flood, with it, and the flood: in turn, in as many rounds."""
    quiet, beside, floods = list[Answers](), list[Answers](), list[Answers]()
    settings = {"FELIX_LIMIT_WRITES_PER_S": str(limit_s), "FELIX_LIMIT_CLIENT_TIMES": "1"}
    with (
        bench.api(endpoints, **settings) as api,
        ProcessPoolExecutor(1, mp_context=get_context("spawn")) as flooders,
    ):
        _send(bench, api.port, others, WARM_UP_S)
        bench.settle(endpoints)
        for _ in range(bench.rounds):
            quiet.append(_send(bench, api.port, others, lasts_s))
            number = (flood_s or FLOOD_S) * (lasts_s + 2 * WARM_UP_S)
            load = Load(api.port, CONNECTIONS, single_debits([noisy], number, new_key("n")), rate_s=flood_s)
            load.lasts_s = lasts_s + 2 * WARM_UP_S
            flood = flooders.submit(drive, load)
            time.sleep(WARM_UP_S)
            beside.append(_send(bench, api.port, others, lasts_s))
            floods.append(flood.result())
    return quiet, beside, floods


def _send(bench: Bench, port: int, others: list[Books], lasts_s: int) -> Answers:
    rate_s = EACH_S * len(others)
    answers = bench.drive(Load(port, CONNECTIONS, single_debits(others, rate_s * lasts_s, new_key("o")), rate_s=rate_s))
    if answers.others:
        raise AssertionError(f"not everything of the others was accepted: {answers.others}")
    return answers


def _p99(rounds: list[Answers]) -> list[float]:
    return [each.latency_ms(0.99) for each in rounds]
