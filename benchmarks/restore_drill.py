"""A restore drill of a 500 MB database, with the commands that an operator types.

A Postgres of its own is filled through the write path with bulk usage of 200 accounts, and the read models retell it,
until the database has 500 MB. Each round then makes a full backup, adds 20,000 events, makes an incremental backup,
adds 20,000 more, and runs ``felix drill restore``: the rows of every partition are noted at one moment, both backups
are verified and combined, the archived log is played back to that moment beside the running server, the read models are
brought up to date, every row is compared, and the whole log is audited. The drill has to pass. What is measured ends
when all of that is done; the size is that of the database without its log.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.books import Books, open_books, performing
from benchmarks.in_process import ITEMS, bulk
from benchmarks.report import Row
from benchmarks.server import PARTITIONS, Bench, clean_environment
from felix.bootstrap import Endpoints, bring_up_to_date, ensure_database, open_runner
from felix.cli.installation import DATABASE
from felix.embedded import EmbeddedPostgres, PostgresSettings

SIZE_MB = 500
CATCH_UP_TIMEOUT_S = 600.0
_SIZE = "select pg_database_size(current_database())"


def run(bench: Bench) -> list[Row]:
    """Measure."""
    data_dir = bench.directory / "drill"
    postgres = EmbeddedPostgres(PostgresSettings(data_dir))
    address = postgres.start()
    try:
        ensure_database(address.url("postgres"), DATABASE)
        endpoints = Endpoints(address.url(DATABASE), None, None)
        bring_up_to_date(endpoints, partitions=PARTITIONS)
        books = open_books(endpoints, tenants=PARTITIONS, accounts=bench.amount(200, 20))
        more = bench.amount(20, 4)
        _fill(bench, endpoints, books, 1e6 * bench.amount(SIZE_MB, 20))
        return _measure(bench, data_dir, lambda: _use(endpoints, books, more))
    finally:
        postgres.stop()


def _measure(bench: Bench, data_dir: Path, add: Callable[[], None]) -> list[Row]:
    full, incremental, answers, drills, restores = [], [], [], [], []
    told: dict[str, Any] = {}
    for number in range(bench.rounds):
        full.append(_felix(data_dir, "backup", "--full")["took_s"])
        add()
        incremental.append(_felix(data_dir, "backup", "--incremental")["took_s"])
        add()
        told = _felix(data_dir, "drill", "restore")
        assert told["passed"] and all(row["same"] for row in told["partitions"]), told
        answers.append(told["rto_s"])
        drills.append(told["took_s"])
        into = str(bench.directory / f"restored-{number}")
        restores.append(_felix(data_dir, "restore", "--to", "latest", "--into", into)["took_s"])
    megabytes = told["database_bytes"] / 1e6
    return [
        Row(
            f"restore drill of a database of {SIZE_MB} MB, exact rows",
            "s",
            drills,
            at_most=60,
            note=f"{megabytes:,.0f} MB, {told['events']:,} events in the last round",
        ),
        Row("until the restored database answers", "s", answers),
        Row("felix restore --to latest, audited", "s", restores),
        Row("full backup", "s", full),
        Row("incremental backup after 20,000 events", "s", incremental),
    ]


def _fill(bench: Bench, endpoints: Endpoints, books: list[Books], size_bytes: float) -> None:
    while bench.query(endpoints, _SIZE) < size_bytes:
        _use(endpoints, books, bench.amount(40, 4))


def _use(endpoints: Endpoints, books: list[Books], batches: int) -> None:
    """Write this many batches, and let the read models retell them."""
    with performing(endpoints) as performer:
        bulk(performer, books, batches)
    runner = open_runner(endpoints, partitions=PARTITIONS)
    runner.start()
    deadline = time.monotonic() + CATCH_UP_TIMEOUT_S
    try:
        while not all(lag.owned and lag.lag_events == 0 for lag in runner.lag().values()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"the read models did not retell {batches * ITEMS} events")
            time.sleep(0.05)
    finally:
        runner.stop()


def _felix(data_dir: Path, *arguments: str) -> dict[str, Any]:
    """The JSON that a command prints."""
    done = subprocess.run(
        [sys.executable, "-c", "from felix.cli import main; main()", *arguments, "--json"],
        env=clean_environment() | {"FELIX_DATA_DIR": str(data_dir)},
        cwd=data_dir,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"felix {' '.join(arguments)} ended with {done.returncode}:\n{done.stderr}{done.stdout}")
    told: dict[str, Any] = json.loads(done.stdout)
    return told
