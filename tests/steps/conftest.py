"""One database and one yard for all tests of steps: each has an app of its own in it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

# Where changes are taken from request to end belongs to the tests of deployments.
sys.path.append(str(Path(__file__).parents[1] / "deploys"))

from yard import Yard, open_yard


@pytest.fixture(scope="session")
def yard(postgres_url: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    """A yard."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"create database steps template {template} strategy file_copy")
    url = psycopg.conninfo.make_conninfo(postgres_url, dbname="steps")
    with open_yard(url, tmp_path_factory.mktemp("steps")) as opened:
        yield opened
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("drop database steps with (force)")
