"""Jobs on a real Postgres: a workshop with everything of a worker but its process."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# Accounts and whoever performs commands on them belong to the application's tests.
sys.path.append(str(Path(__file__).parents[1] / "application"))

from workshop import Workshop, open_workshop

from felix.bootstrap import following


@pytest.fixture
def workshop(database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workshop]:
    """A workshop on a fresh database. Grants do not wake changes there: tests count the jobs that they make."""
    others = tuple(policy for policy in following.POLICIES if policy.name != "moves_wake_changes")
    monkeypatch.setattr(following, "POLICIES", others)
    with open_workshop(database) as opened:
        yield opened
