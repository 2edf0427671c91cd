"""The real application in process on a real Postgres: lanes, projections, two tenants, a founder."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import psycopg
import pytest
from felix_world import Caller, World, open_world

_numbers = count(1)


@pytest.fixture(scope="module")
def world(postgres_url: str, template: str) -> Iterator[World]:
    """One running Felix for the tests of a file, which bring accounts of their own.

    Some publish rate cards; with a world a file no test depends on which other files ran before it.
    """
    name = f"felix_api_{next(_numbers)}"
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
