"""The benchmarks run: what they measure is for a quiet machine to say, and never decided here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_a_quick_run_prints_its_figures() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick", "single_debits", "account_load"],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    for row in ("single debits over HTTP", "one hot account", "after restart", "fdatasync"):
        assert row in done.stdout
