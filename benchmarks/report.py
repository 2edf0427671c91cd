"""What was measured, as a table on the terminal and as ``docs/benchmarks.md``."""

from __future__ import annotations

import os
import platform
import re
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from types import ModuleType

from rich.console import Console
from rich.table import Table

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "benchmarks.md"
COMMITS = 300
PACKAGES = ("eventsourcing", "psycopg", "uvicorn", "uvloop", "pydantic")


@dataclass
class Row:
    """One measured figure: a value a round. Its median is compared with what is to be reached, where that is given."""

    what: str
    unit: str
    values: list[float]
    at_least: float | None = None
    at_most: float | None = None
    note: str = ""

    @property
    def reach(self) -> str:
        """What is to be reached, in words."""
        if self.at_least is not None:
            return f">= {_number(self.at_least)} {self.unit}"
        return f"<= {_number(self.at_most)} {self.unit}" if self.at_most is not None else ""

    @property
    def met(self) -> str:
        """Whether the median reaches it; empty where nothing was promised."""
        if not self.reach:
            return ""
        if not self.values:
            return "not available"
        middle = median(self.values)
        high_enough = self.at_least is None or middle >= self.at_least
        low_enough = self.at_most is None or middle <= self.at_most
        return "yes" if high_enough and low_enough else "**not reached**"

    def cells(self) -> list[str]:
        """What, reach, minimum, median, maximum, met."""
        if self.values:
            measured = [_number(value) for value in (min(self.values), median(self.values), max(self.values))]
            measured[1] += f" {self.unit}"
        else:
            measured = ["–", "–", "–"]
        return [self.what, self.reach, *measured, self.met]


@dataclass
class Conditions:
    """Where and when the figures were measured."""

    cores: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))
    load_at_start: float = field(default_factory=lambda: os.getloadavg()[0])
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    fdatasync_us: float = 0.0
    postgres: str = ""
    rounds: int = 0
    took_s: float = 0.0
    load_at_end: float = 0.0

    def lines(self) -> list[str]:
        """One fact a line."""
        busy = self.load_at_start > self.cores / 4
        return [
            *(["**The machine was busy with other things: these figures say little.**"] if busy else []),
            f"{self.cores} cores ({_processor()}), load average {self.load_at_start:.2f} at the start"
            f" and {self.load_at_end:.2f} at the end",
            f"fdatasync after an 8 kB write: {self.fdatasync_us:.0f} µs (median of {COMMITS}, same directory)",
            f"{self.postgres}, embedded, fsync and synchronous_commit on; {platform.python_implementation()}"
            f" {platform.python_version()}; Linux {platform.release()}",
            ", ".join(f"{name} {version(name)}" for name in PACKAGES),
            f"{self.rounds} rounds; {self.started_at:%Y-%m-%d %H:%M} UTC, {self.took_s:.0f} s in all",
        ]


def fdatasync_us(directory: Path) -> float:
    """How long one durable write takes here, without a database."""
    with tempfile.TemporaryFile(dir=directory) as file:
        file.write(bytes(8192 * 64))
        os.fsync(file.fileno())
        times = []
        for number in range(COMMITS):
            began_at = time.perf_counter()
            os.pwrite(file.fileno(), bytes(8192), 8192 * (number % 64))
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - began_at)
    return median(times) * 1e6


def show(rows: Iterable[Row]) -> None:
    """Print the table."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("what", "reach"):
        table.add_column(title)
    for title in ("min", "median", "max"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("met")
    for row in rows:
        table.add_row(*(cell.replace("**", "") for cell in row.cells()))
        if row.note:
            table.add_row(f"  [dim]{row.note}[/dim]")
    Console(width=None if sys.stdout.isatty() else 150).print(table)


def write(figures: list[tuple[ModuleType, list[Row]]], conditions: Conditions) -> None:
    """Write ``docs/benchmarks.md``: results, conditions, and what each figure measures, in its module's own words."""
    lines = [
        "# Benchmarks",
        "",
        "Written by `make bench` (`python -m benchmarks --write`); run it to measure your machine. Load generator,",
        "Felix and Postgres share the cores. A ratio compares with a peer on the same server in the same run, in",
        "alternating rounds. The median of the rounds decides whether a figure was reached.",
        "",
        "| what | reach | min | median | max | met |",
        "|---|---|--:|--:|--:|---|",
        *(f"| {' | '.join(row.cells())} |" for _, rows in figures for row in rows),
        "",
        "## Conditions",
        "",
        *(f"- {line}" for line in conditions.lines()),
        "",
        "## What was measured, and how",
    ]
    for module, rows in figures:
        text = re.sub(r"``([^`]+)``", r"`\1`", (module.__doc__ or "").strip())
        title = module.__name__.rpartition(".")[2].replace("_", " ").capitalize()
        lines += ["", f"### {title}", "", *text.splitlines()]
        notes = [f"- {row.what}: {row.note}" for row in rows if row.note]
        lines += ["", *notes] if notes else []
    DOCUMENT.parent.mkdir(exist_ok=True)
    DOCUMENT.write_text("\n".join(lines) + "\n")


def _number(value: float | None) -> str:
    if value is None:
        return ""
    digits = 0 if abs(value) >= 100 or value == int(value) else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f}"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
