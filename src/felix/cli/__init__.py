"""The command line operates Felix: ``felix up``, and everything a founder does without a browser."""

from __future__ import annotations

import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run a command. Exit codes: 0 done, 1 an error that was named, 2 wrong usage, 3 partly refused, 130 Ctrl-C."""
    try:
        from felix.cli.app import run, tell_of_a_defect

        sys.excepthook = tell_of_a_defect
        sys.exit(run(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
