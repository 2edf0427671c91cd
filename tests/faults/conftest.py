"""Where the tests of faults borrow from: whoever runs a real Felix, and whoever knows what clients do."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
pytest.register_assert_rewrite("clients", "processes")
sys.path += [str(TESTS / "journeys"), str(TESTS / "application")]

from journeys.conftest import home, running  # noqa: E402
from projections.conftest import house  # noqa: E402

__all__ = ["home", "house", "running"]
