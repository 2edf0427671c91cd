"""What a fault test counted, kept for the page that is written from it: ``docs/reliability.md``."""

from __future__ import annotations

import json
import os
from typing import Any

#: Names the file that figures are added to; without it nothing is kept.
FILE = "FELIX_FIGURES"
#: Whether the long profile runs: more rounds of the same.
DEEP = os.environ.get("FELIX_TEST_PROFILE") == "deep"


def record(test: str, rounds: int, **figures: Any) -> None:
    """Keep what the test at hand counted: ``test`` is its name, or what it did; ``rounds`` how often."""
    path = os.environ.get(FILE)
    if path is None:
        return
    node = os.environ.get("PYTEST_CURRENT_TEST", test).rpartition("::")[2].removesuffix(" (call)")
    profile = "deep" if DEEP else "short"
    line = {"test": test, "node": node, "rounds": rounds, "profile": profile, "figures": figures}
    # Parallel workers share the file: a line is one write to its end, so none is torn or lost.
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(file, json.dumps(line).encode() + b"\n")
    finally:
        os.close(file)
