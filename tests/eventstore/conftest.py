"""Databases for these tests: one migrated template a session, one clone of it a test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import count

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from felix.eventstore.migrations import migrate
from felix.eventstore.postgres import FelixDatastore

_numbers = count()


@pytest.fixture(scope="session")
def postgres_url() -> str:
    """The admin URL of a server."""
    return os.environ.get("FELIX_TEST_DATABASE_URL", "host=/tmp/pgs/sock user=felix dbname=postgres")


@pytest.fixture(scope="session")
def _template(postgres_url: str) -> Iterator[str]:
    name = f"d_eventstore_{os.getpid()}"
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(f"drop database if exists {name} with (force)")
        admin.execute(f"create database {name}")
        migrate(make_conninfo(postgres_url, dbname=name), partitions=4)
        yield name
        admin.execute(f"drop database {name} with (force)")


@pytest.fixture
def database(postgres_url: str, _template: str) -> Iterator[str]:
    """The admin URL of a fresh, migrated database with four partitions."""
    name = f"{_template}_{next(_numbers)}"
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(f"create database {name} template {_template} strategy wal_log")
        yield make_conninfo(postgres_url, dbname=name)
        admin.execute(f"drop database {name} with (force)")


@pytest.fixture
def datastore(database: str) -> Iterator[FelixDatastore]:
    """The fresh database as recorders use it."""
    store = FelixDatastore(database)
    yield store
    store.close()
