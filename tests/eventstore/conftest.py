"""What recorders work with, over the databases of the global fixtures."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from felix.eventstore.postgres import FelixDatastore


@pytest.fixture
def datastore(database: str) -> Iterator[FelixDatastore]:
    """The fresh database as recorders use it."""
    store = FelixDatastore(database)
    yield store
    store.close()
