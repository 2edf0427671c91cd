"""Three databases for three worlds, all alike."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import psycopg
import pytest

_numbers = count(1)


@pytest.fixture
def databases(postgres_url: str, template: str) -> Iterator[list[str]]:
    """The administrator's URLs of three fresh databases."""
    names = [f"felix_world_{next(_numbers)}" for _ in range(3)]
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        for name in names:
            connection.execute(f"create database {name} template {template} strategy file_copy")
    yield [psycopg.conninfo.make_conninfo(postgres_url, dbname=name) for name in names]
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        for name in names:
            connection.execute(f"drop database {name} with (force)")
