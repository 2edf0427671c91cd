"""Writes ``docs/reliability.md`` from the fault tests and the figures of one run of them.

``python -m tests.faults.report FIGURES``, where FIGURES is the file that ``FELIX_FIGURES`` named during the run; what
is done and checked is told by the docstrings of the tests, so that no word or number is typed twice. `make
reliability` runs the long profile and writes the page.
"""

from __future__ import annotations

import ast
import json
import os
import platform
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PAGE = HERE.parents[1] / "docs" / "reliability.md"
CONTROL = "control_"
#: Faults that other tests do, below the level of whole processes.
ELSEWHERE = (
    ("tests/application/test_lane_faults.py", "frozen and cut-off writers, lost acknowledgements of commits"),
    ("tests/application/test_lane_processes.py", "several processes that write to one account at once"),
    ("tests/eventstore/test_lost_acknowledgement.py", "appends whose answer is lost around the commit"),
    ("tests/eventstore/test_gaps.py", "readers that tail the log while many write"),
    ("tests/projections/test_runner.py", "owners of projections that hold a lock and do nothing"),
    ("tests/api/test_api_database_away.py", "every endpoint while the database is away"),
    ("tests/journeys/test_up.py", "`felix up` killed piece by piece, stopped during its start, started twice"),
)


@dataclass(frozen=True)
class FaultTest:
    """One test function: its name, and what it says of itself."""

    name: str
    told: str

    @property
    def is_control(self) -> bool:
        """Whether it shows that a fault would be found."""
        return "control" in f"{self.name} {self.told.partition('.')[0]}".lower()

    @property
    def sentence(self) -> str:
        """Its name as a sentence."""
        words = self.name.removeprefix("test_").removeprefix(CONTROL).replace("_", " ")
        return words[0].upper() + words[1:]


@dataclass(frozen=True)
class FaultFile:
    """One file of fault tests: what is done, in its own words, and its tests."""

    path: Path
    told: str
    tests: Sequence[FaultTest]


def fault_files() -> list[FaultFile]:
    """Every file of fault tests, by name."""
    return files_of(HERE)


def files_of(directory: Path) -> list[FaultFile]:
    """Every file of tests in a directory, by name."""
    found = []
    for path in sorted(directory.glob("test_*.py")):
        tree = ast.parse(path.read_text())
        tests = [
            FaultTest(node.name, ast.get_docstring(node) or "")
            for node in tree.body
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
        ]
        found.append(FaultFile(path, ast.get_docstring(tree) or "", tests))
    return found


def read_figures(lines: Iterable[str]) -> dict[str, dict[str, Any]]:
    """What was recorded, by test with its parameters; of one that was recorded twice the last time."""
    return {line["node"]: line for line in map(json.loads, lines)}


def page(figures: Mapping[str, Mapping[str, Any]], measured: str) -> str:
    """The text of ``docs/reliability.md``."""
    files = fault_files()
    profiles = {line["profile"] for line in figures.values()}
    short = ["**These are figures of the short profile; `make reliability` measures the full one.**", ""]
    lines = [
        "# Reliability",
        "",
        "What was broken on purpose, how often, what was checked afterwards, and what came out. Written by",
        "`make reliability`; no figure is typed by hand. Every fault has positive controls: the same fault or the same",
        "check with something wrong on purpose, which has to be found.",
        "",
        measured,
        "",
        *([] if profiles == {"deep"} else short),
        *sections(files, figures),
    ]
    lines += ["## Faults that other tests do", ""]
    lines += [f"- `{path}`: {told}" for path, told in ELSEWHERE]
    return "\n".join(lines) + "\n"


def sections(files: Sequence[FaultFile], figures: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The lines of a page: one section a file."""
    lines: list[str] = []
    for file in files:
        title = file.path.stem.removeprefix("test_").replace("_", " ").capitalize()
        lines += [f"## {title}", "", file.told, "", "| test | rounds | figures |", "|---|--:|---|"]
        lines += [row for test in file.tests for row in rows(test, figures)]
        told = [f"- {test.sentence}: {test.told}" for test in file.tests if test.told]
        lines += ["", *told, *([""] if told else []), f"`{file.path.relative_to(HERE.parents[1])}`", ""]
    return [re.sub(r"``([^`]+)``", r"`\1`", line) for line in lines]


def rows(test: FaultTest, figures: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The rows of a test: one for each set of parameters that ran."""
    sentence = f"*Control:* {test.sentence}" if test.is_control else test.sentence
    ran = {name: line for name, line in figures.items() if name.partition("[")[0] == test.name}
    if not ran:
        return [f"| {sentence} | – | not run |"]
    found = []
    for name, line in ran.items():
        # What the test says it did, or else its parameters.
        parameters = name.partition("[")[2].removesuffix("]") if line["test"] == name else line["test"]
        told = ", ".join(f"{key.replace('_', ' ')} {number(value)}" for key, value in line["figures"].items())
        of = f" ({parameters})" if parameters else ""
        found.append(f"| {sentence}{of} | {number(line['rounds'])} | {told} |")
    return found


def number(value: Any) -> str:
    """A figure with separators; what is no number as it is."""
    return f"{value:,}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def main() -> int:
    """Write the page."""
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    PAGE.write_text(page(read_figures(Path(sys.argv[1]).read_text().splitlines()), conditions()))
    return 0


def conditions() -> str:
    """Where and when it was measured."""
    return (
        f"{len(os.sched_getaffinity(0))} cores, Linux {platform.release()}, Python {platform.python_version()},"
        f" {datetime.now(UTC):%Y-%m-%d}."
    )


if __name__ == "__main__":
    sys.exit(main())
