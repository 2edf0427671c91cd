"""Rebuild: a read model made anew from the whole log, beside the one that is read, by two processes that fold.

The log has 100,000 debits of 200 accounts of 40 tenants over 4 partitions, made by the real bulk commands (priced by a
rate card, with meter, quantity and model), and then 1,000,000. Each rebuild is what `felix projections rebuild` does:
it folds everything from position 0, compares its rows with those that are read, and switches. The rate is that of
folding, from the start of the processes to the last event; comparing and switching are in the note. Memory is the
largest resident size of a process that folds, for the long log against the short one. The peer is Postgres itself,
which hands the whole log out with COPY on one connection, to nobody.
"""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from multiprocessing import active_children
from pathlib import Path
from statistics import median

from benchmarks.books import Books, new_key, open_books, performing
from benchmarks.in_process import ITEMS, bulk
from benchmarks.report import Row
from benchmarks.server import PARTITIONS, Bench
from felix.bootstrap import Endpoints, projection_orders
from felix.eventstore.connections import connect
from felix.eventstore.reader import COLUMNS
from felix.projections.base import Projection
from felix.projections.rebuild import Progress, Rebuild
from felix.projections.registry import PROJECTIONS
from felix.projections.runner import ProjectionRunner

MEASURED = ("balances", "token_transactions")
PROCESSES = 2


@dataclass
class Measured:
    """One rebuild: what it folded, how long that and the rest took, and how much memory it had."""

    events: int = 0
    folding_s: float = 0.0
    ending_s: float = 0.0
    peak_mb: float = 0.0

    @property
    def rate_s(self) -> float:
        """Events a second."""
        return self.events / self.folding_s


def run(bench: Bench) -> list[Row]:
    """Measure."""
    endpoints = bench.database("rebuild")
    books = open_books(endpoints, tenants=bench.amount(40, 4), accounts=bench.amount(200, 8))
    projections = [projection for projection in PROJECTIONS if projection.name in MEASURED]
    _fill(bench, endpoints, books, bench.amount(100_000, 4_000))
    few = {projection.name: _rebuild(endpoints, projection) for projection in projections}
    _fill(bench, endpoints, books, bench.amount(900_000, 16_000))
    _follow(endpoints, projections)
    rows = []
    for projection in projections:
        many, copied_s = [], []
        for _ in range(bench.rounds):
            many.append(_rebuild(endpoints, projection))
            copied_s.append(_copy_log(endpoints))
        rows += _rows(projection.name, few[projection.name], many, copied_s)
    return rows


def _rows(name: str, few: Measured, many: list[Measured], copied_s: list[float]) -> list[Row]:
    peaks_mb = [each.peak_mb for each in many]
    ending_s = median(each.ending_s for each in many)
    return [
        Row(
            f"rebuild of {name}",
            "events/s",
            [each.rate_s for each in many],
            at_least=30_000,
            note=f"{many[-1].events:,} events; comparing and switching took {ending_s:.1f} s more",
        ),
        Row(
            f"rebuild of {name} : Postgres handing out the log",
            "times",
            [each.folding_s / copied for each, copied in zip(many, copied_s, strict=True)],
        ),
        Row(
            f"rebuild of {name}, memory with the long log : with the short one",
            "times",
            [peak_mb / few.peak_mb for peak_mb in peaks_mb],
            at_most=1.25,
            note=f"{few.peak_mb:.0f} MB for {few.events:,} events, {median(peaks_mb):.0f} MB for {many[-1].events:,}",
        ),
    ]


def _fill(bench: Bench, endpoints: Endpoints, books: list[Books], events: int) -> None:
    with performing(endpoints) as performer:
        bulk(performer, books, events // ITEMS)
    bench.settle(endpoints)


def _rebuild(endpoints: Endpoints, projection: Projection) -> Measured:
    measured = Measured()
    began_at = time.monotonic()

    def report(progress: Progress) -> None:
        if progress.state == "folding":
            measured.events, measured.folding_s = progress.events, time.monotonic() - began_at
            pids = [child.pid for child in active_children() if child.pid is not None] or [os.getpid()]
            measured.peak_mb = max(measured.peak_mb, *map(_peak_mb, pids))

    projection_orders(endpoints).rebuild(projection.name, "founder:bench", new_key("r"))
    url = endpoints.as_role("felix_projector")
    done = Rebuild(url, projection, processes=PROCESSES, report=report).run()
    assert done is not None and done.state == "done" and not done.differences, done
    measured.ending_s = time.monotonic() - began_at - measured.folding_s
    return measured


def _peak_mb(pid: int) -> float:
    """The largest resident size that a process has had."""
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        found = None
    return int(found[1]) / 1024 if found else 0.0


def _copy_log(endpoints: Endpoints) -> float:
    """Seconds that Postgres takes to hand out the whole log, of which nothing is made."""
    began_at = time.monotonic()
    query = f"copy (select {COLUMNS} from felix.events) to stdout (format binary)".encode()
    with connect(endpoints.database_url) as source, source.cursor().copy(query) as rows:
        for _ in rows:
            pass
    return time.monotonic() - began_at


def _follow(endpoints: Endpoints, projections: list[Projection]) -> None:
    """Bring what is read up to the heads, as a worker would have."""
    runner = ProjectionRunner(endpoints.as_role("felix_projector"), projections, range(PARTITIONS))
    runner.start()
    while not all(lag.owned and not lag.lag_events for lag in runner.lag().values()):
        time.sleep(0.1)
    runner.stop()
