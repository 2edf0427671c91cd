"""A Felix of two API processes and a worker, and what it says about itself."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
sys.path += [str(TESTS / "journeys"), str(TESTS / "api")]

from journeys.conftest import home  # noqa: E402
from running_felix import RunningFelix  # noqa: E402

__all__ = ["home"]


@pytest.fixture(scope="module")
def running(home: Path) -> Iterator[RunningFelix]:
    """Two API processes behind one port."""
    felix = RunningFelix(home, FELIX_API_PROCESSES="2", FELIX_LOG_REQUESTS="true")
    try:
        felix.start()
        yield felix
    finally:
        felix.clean_up()
