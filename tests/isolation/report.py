"""Writes ``docs/isolation.md`` from the isolation tests and the figures of one run of them.

``python -m tests.isolation.report FIGURES``, where FIGURES is the file that ``FELIX_FIGURES`` named during the run; the
words are those of the tests, as in :mod:`tests.faults.report`. `make isolation` runs the long profile and writes the
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
PAGE = HERE.parents[1] / "docs" / "isolation.md"
ELSEWHERE = (
    ("tests/eventstore/test_isolation_catalogue.py", "every table, key, policy, function and grant of the database"),
    (
        "tests/projections/test_tenant_tx.py",
        "the only way to a cursor, and connections that come back with a tenant bound",
    ),
    ("tests/api/test_access_matrix.py", "every endpoint as every role"),
    ("tests/api/test_api_fuzz.py", "whatever arrives, no answer is a 5xx"),
)


def page(figures: Mapping[str, Mapping[str, Any]], measured: str) -> str:
    """The text of ``docs/isolation.md``."""
    files = files_of(HERE)
    short = ["**These are figures of the short profile; `make isolation` measures the full one.**", ""]
    lines = [
        "# Isolation",
        "",
        "What was done to see another tenant through Felix, how often, and what came out. Written by `make isolation`;",
        "no figure is typed by hand. The controls are leaks made on purpose, which have to be found.",
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
