"""``felix bench``: measure this machine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from felix.cli.errors import NoSourceCheckout, with_hint


def bench(*arguments: Annotated[str, Parameter(allow_leading_hyphen=True)]) -> int:
    """Measure throughput and latency on this machine.

    Runs the benchmarks of a source checkout on services of their own; a running Felix is not touched.

    Parameters
    ----------
    arguments
        What `python -m benchmarks` takes, such as the name of one benchmark or --help.
    """
    checkout = Path(__file__).resolve().parents[3]
    if not (checkout / "benchmarks").is_dir():
        raise with_hint(
            NoSourceCheckout("There are no benchmarks in an installed Felix."),
            "Run `make bench` in a source checkout.",
        )
    return subprocess.run([sys.executable, "-m", "benchmarks", *arguments], cwd=checkout, check=False).returncode
