"""One throwaway Postgres a test process, and a migrated database cloned from a template for every test."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator
from itertools import count

import psycopg
import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("quick", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile(
    "deep", deadline=None, max_examples=2_000, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
settings.load_profile(os.environ.get("FELIX_TEST_PROFILE", "quick"))

PARTITIONS = 4
_numbers = count(1)

# A shell lets what it runs in the background ignore Ctrl-C, and so would everything that tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


# What is imported to collect thousands of tests stays: looking through it for garbage, again and again, finds none.
gc.disable()


def pytest_xdist_auto_num_workers() -> int:
    """Three processes for two cores: a sixth of the time of tests is waiting for what they started."""
    return max(2, len(os.sched_getaffinity(0)) * 3 // 2)


def pytest_collection_finish() -> None:
    """Look for garbage from now on, among what comes from now on."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """The administrator's URL of a server of this test process, database ``postgres``."""
    from felix.embedded import throwaway_postgres

    with throwaway_postgres() as address:
        yield address.url("postgres")


@pytest.fixture(scope="session")
def template(postgres_url: str) -> str:
    """The name of a database with every migration and the tables of every projection."""
    from felix.eventstore.migrations import migrate
    from felix.projections.registry import install

    url = url_of(postgres_url, "felix_template")
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("create database felix_template")
    migrate(url, partitions=PARTITIONS)
    install(url)
    return "felix_template"


@pytest.fixture
def database(postgres_url: str, template: str) -> Iterator[str]:
    """The administrator's URL of a fresh database."""
    name = f"felix_{next(_numbers)}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"create database {name} template {template} strategy file_copy")
    yield url_of(postgres_url, name)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"drop database {name} with (force)")


def url_of(postgres_url: str, database: str) -> str:
    """The same server, another database."""
    return psycopg.conninfo.make_conninfo(postgres_url, dbname=database)
