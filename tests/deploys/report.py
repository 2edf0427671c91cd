"""Writes ``docs/changes.md`` from the tests of deployments and the figures of one run of them.

``python -m tests.deploys.report FIGURES``, where FIGURES is the file that ``FELIX_FIGURES`` named during the run; the
words are those of the tests, as in :mod:`tests.faults.report`. `make reliability` runs the long profile and writes the
page.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from faults.report import conditions, files_of, read_figures, sections

HERE = Path(__file__).resolve().parent
PAGE = HERE.parents[1] / "docs" / "changes.md"
#: What else is measured or tried of changes.
ELSEWHERE = (
    ("tests/planning", "what is planned of each prompt, and what hostile and foreign texts get"),
    ("tests/domain/changes", "operations: applied, taken back and replayed; diffs, risks and limits"),
    ("tests/adapters/test_sandbox.py", "code that tries to leave the sandbox"),
)


def page(figures: Mapping[str, Mapping[str, Any]], measured: str) -> str:
    """The text of ``docs/changes.md``."""
    files = files_of(HERE)
    short = ["**These are figures of the short profile; `make reliability` measures the full one.**", ""]
    lines = [
        "# Changes under fire",
        "",
        "What was done to workers while they took changes live and back, how often, and what came out; and how often",
        "the grammar planner was right. Written by `make reliability`; no figure is typed by hand. The controls are",
        "faults made on purpose, which have to be found.",
        "",
        measured,
        "",
        *([] if {line["profile"] for line in figures.values()} == {"deep"} else short),
        *sections(files, figures),
        "## What other tests hold",
        "",
        *(f"- `{path}`: {told}" for path, told in ELSEWHERE),
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write the page."""
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    PAGE.write_text(page(read_figures(Path(sys.argv[1]).read_text().splitlines()), conditions()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
