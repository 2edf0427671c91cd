"""``python -m benchmarks``: measure every figure, or those that are named."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType

from benchmarks.report import DOCUMENT, Conditions, Row, fdatasync_us, show, write
from benchmarks.server import Bench

FIGURES = (
    "single_debits",
    "bulk_usage",
    "against_eventsourcing",
    "against_pgbench",
    "projection_lag",
    "rebuild",
    "reads_under_load",
    "noisy_tenant",
    "account_load",
    "app_releases",
    "changes",
    "cold_start",
    "restore_drill",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write if asked to; 1 when a figure was not reached, which a quick run never judges."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"figures to measure: {', '.join(FIGURES)}")
    parser.add_argument("--quick", action="store_true", help="tiny amounts: shows that it runs, says nothing of speed")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    parser.add_argument("--rounds", type=int, default=None, help="rounds of each figure (3; quick: 1)")
    chosen = parser.parse_args(arguments)
    if unknown := set(chosen.names) - set(FIGURES):
        parser.error(f"there is no figure {', '.join(sorted(unknown))}; there are {', '.join(FIGURES)}")
    rounds = chosen.rounds or (1 if chosen.quick else 3)
    conditions = Conditions(rounds=rounds)
    began_at = time.monotonic()
    measured: list[tuple[ModuleType, list[Row]]] = []
    with Bench(quick=chosen.quick, rounds=rounds) as bench:
        conditions.fdatasync_us = fdatasync_us(bench.directory)
        conditions.postgres = f"PostgreSQL {bench.query(bench.database('felix'), 'show server_version')}"
        for name in chosen.names or FIGURES:
            print(f"{name} …", file=sys.stderr, flush=True)
            module = import_module(f"benchmarks.{name}")
            measured.append((module, module.run(bench)))
    conditions.took_s = time.monotonic() - began_at
    conditions.load_at_end = os.getloadavg()[0]
    rows = [row for _, of_figure in measured for row in of_figure]
    show(rows)
    print("\n".join(f"  {line}" for line in conditions.lines()))
    if chosen.write:
        write(measured, conditions)
        print(f"written to {DOCUMENT}")
    return 0 if chosen.quick or all(row.met in ("", "yes") for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
