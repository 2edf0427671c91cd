"""Projection lag: from the acknowledgement of a debit to the moment when every read model shows it.

One real API process and one real worker with all projections and the doorbell in Valkey. 64 connections send 2,000
single debits a second at fixed times over HTTP, for 500 accounts of 50 tenants. The load generator notes when each
debit was acknowledged and its position; a prober reads ``felix.cursors`` every 2 ms and notes how far the slowest
projection of each partition is. The lag of every debit after the first two seconds is counted, none is sampled away.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from typing import Any

import psycopg

from benchmarks.books import new_key, open_books, single_debits
from benchmarks.load import Answers, Load, percentile
from benchmarks.report import Row
from benchmarks.server import PARTITIONS, Bench, cpu_s
from felix.bootstrap import Endpoints
from felix.eventstore.connections import connect
from felix.projections.registry import PROJECTIONS

RATE_S = 2_000
WARM_UP_S = 2.0
LOOK_EVERY_S = 0.002
CATCH_UP_TIMEOUT_S = 30.0
#: What a client is told counts its own events; cursors count those of a partition.
_PLACES = "select tenant_id::text, tenant_sequence, partition, position from felix.events"
_CURSORS = "select partition, min(position) from felix.cursors where projection <> all(%s) group by partition"
#: Those that follow the commands have positions of another kind.
_OTHERS = [projection.name for projection in PROJECTIONS if projection.feed != "events"]


class Prober:
    """Looks at the cursors until it is told to stop; remembers when each partition was how far."""

    def __init__(self, endpoints: Endpoints) -> None:
        self.seen: dict[int, tuple[list[int], list[float]]] = {p: ([], []) for p in range(PARTITIONS)}
        self._connection: psycopg.Connection[Any] = connect(endpoints.database_url)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def until(self, heads: dict[int, int]) -> None:
        """Go on until all of this was seen, then stop. Raises ``TimeoutError``."""
        deadline = time.monotonic() + CATCH_UP_TIMEOUT_S
        while any(not (seen := self.seen[p][0]) or seen[-1] < head for p, head in heads.items()):
            if time.monotonic() > deadline:
                self.stop()
                raise TimeoutError(f"the projections did not reach {heads}")
            time.sleep(0.05)
        self.stop()

    def stop(self) -> None:
        """End."""
        self._stopping.set()
        self._thread.join()
        self._connection.close()

    def visible_at(self, partition: int, position: int) -> float:
        """The first look at which the slowest projection had retold this position."""
        positions, moments = self.seen[partition]
        return moments[bisect_left(positions, position)]

    def _run(self) -> None:
        while not self._stopping.wait(LOOK_EVERY_S):
            rows = self._connection.execute(_CURSORS, (_OTHERS,), prepare=True).fetchall()
            now = time.monotonic()
            for partition, position in rows:
                positions, moments = self.seen[partition]
                if not positions or position > positions[-1]:
                    positions.append(position)
                    moments.append(now)


def run(bench: Bench) -> list[Row]:
    """Measure."""
    endpoints = bench.database("projection_lag")
    books = open_books(endpoints, tenants=bench.amount(50, 5), accounts=bench.amount(500, 20))
    number = bench.amount(int((WARM_UP_S + 8) * RATE_S), 3 * RATE_S)
    p50, p99, worst, rates, notes = [], [], [], [], []
    with bench.worker(endpoints) as worker, bench.api(endpoints) as api:
        bench.drive(Load(api.port, 64, single_debits(books, bench.amount(1_000, 100), new_key("w"))))
        for _ in range(bench.rounds):
            before = cpu_s(worker.pid), cpu_s(api.pid)
            answers, acknowledged_at, prober = _round(
                bench, endpoints, api.port, single_debits(books, number, new_key("l"))
            )
            after = cpu_s(worker.pid), cpu_s(api.pid)
            warm = acknowledged_at[0][0] + WARM_UP_S
            lags = [
                max(0.0, prober.visible_at(partition, position) - acknowledged)
                for acknowledged, partition, position in acknowledged_at
                if acknowledged >= warm
            ]
            p50.append(percentile(lags, 0.5) * 1e3)
            p99.append(percentile(lags, 0.99) * 1e3)
            worst.append(max(lags) * 1e3)
            rates.append(answers.rate_s)
            notes = [100 * (b - a) / answers.elapsed_s for a, b in zip(before, after, strict=True)]
    return [
        Row("projection lag p99 at 2,000 events/s", "ms", p99, at_most=150),
        Row("projection lag p50", "ms", p50),
        Row("projection lag, the longest", "ms", worst),
        Row(
            "rate meanwhile",
            "events/s",
            rates,
            at_least=0.975 * RATE_S,
            note=f"share of a core: worker {notes[0]:.0f} %, API {notes[1]:.0f} %",
        ),
    ]


def _round(
    bench: Bench, endpoints: Endpoints, port: int, requests: list[bytes]
) -> tuple[Answers, list[tuple[float, int, int]], Prober]:
    prober = Prober(endpoints)
    try:
        answers = bench.drive(Load(port, 64, requests, rate_s=RATE_S, positions=True))
    except BaseException:
        prober.stop()
        raise
    if answers.accepted != len(requests):
        prober.stop()
        raise AssertionError(f"{len(requests)} sent, {answers.accepted} accepted, {answers.others}")
    with connect(endpoints.database_url) as connection:
        places = {(tenant, own): place for tenant, own, *place in connection.execute(_PLACES)}
    acknowledged_at = [(at, *places[tenant, own]) for at, tenant, own in answers.positions]
    heads: dict[int, int] = {}
    for _, partition, position in acknowledged_at:
        heads[partition] = max(heads.get(partition, 0), position)
    prober.until(heads)
    return answers, acknowledged_at, prober
