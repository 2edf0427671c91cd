"""Lanes on a real Postgres, without HTTP: an office that performs commands, and two clients."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# The proxy that loses sessions around their commits belongs to the event store's tests.
sys.path.append(str(Path(__file__).parents[1] / "eventstore"))

from offices import Office, open_office


@pytest.fixture
def office(database: str) -> Iterator[Office]:
    """One process that performs commands on a fresh database."""
    with open_office(database) as opened:
        yield opened


@pytest.fixture
def other_office(database: str, office: Office) -> Iterator[Office]:
    """Another process on the same partitions: lanes, connections and memory of its own."""
    with open_office(database) as opened:
        yield opened
