"""The real application in process on a real Postgres: lanes, projections, two tenants, a founder."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from felix_world import Caller, World, open_world


@pytest.fixture(scope="session")
def world(postgres_url: str, template: str) -> Iterator[World]:
    """One running Felix for all tests of a process that leave it as they found it: they bring accounts of their own."""
    name = "felix_api"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"create database {name} template {template} strategy file_copy")
    with open_world(psycopg.conninfo.make_conninfo(postgres_url, dbname=name)) as opened:
        yield opened
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"drop database {name} with (force)")


@pytest.fixture
def own_world(database: str) -> Iterator[World]:
    """A running Felix on a database of its own, for tests that break it."""
    with open_world(database) as opened:
        yield opened


@pytest.fixture
def bakery(world: World) -> Caller:
    """A client with a rate card."""
    return world.bakery


@pytest.fixture
def garage(world: World) -> Caller:
    """Another client with a rate card, in another partition."""
    return world.garage


@pytest.fixture
def founder(world: World) -> Caller:
    """The founder, speaking for the bakery."""
    return world.founder
