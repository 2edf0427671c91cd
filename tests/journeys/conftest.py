"""A Felix that really runs, one for the tests of a module."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from running_felix import RunningFelix


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A directory that everybody may pass, as the servers' own user must."""
    path = Path(tempfile.mkdtemp(prefix="felix-journey-", dir="/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module")
def running(home: Path) -> Iterator[RunningFelix]:
    """A Felix that runs, for the tests of one module, which may kill what they like."""
    felix = RunningFelix(home)
    try:
        felix.start()
        yield felix
    finally:
        felix.clean_up()
