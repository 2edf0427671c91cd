"""One database, one yard and one nursery for all tests of deployments: each test has apps of its own in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

# What a test counted is kept where the fault tests keep it.
sys.path.append(str(Path(__file__).parents[1] / "faults"))

from yard import ROOT_KEY, Ask, Yard, open_yard


@pytest.fixture(scope="session")
def deploys_database(postgres_url: str, template: str) -> Iterator[str]:
    """The administrator's URL of a database."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"create database deploys template {template} strategy file_copy")
    yield psycopg.conninfo.make_conninfo(postgres_url, dbname="deploys")
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("drop database deploys with (force)")


@pytest.fixture(scope="session")
def yard(deploys_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    """A yard in this process."""
    with open_yard(deploys_database, tmp_path_factory.mktemp("yard")) as opened:
        yield opened


@pytest.fixture(scope="session")
def nursery(yard: Yard, deploys_database: str) -> Iterator[Ask]:
    """A process that begins workers; what it is told, and what came of it."""
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("nursery.py")), deploys_database, str(yard.home)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "FELIX_ROOT_KEY": ROOT_KEY},
    )  # fmt: skip
    assert process.stdin is not None and process.stdout is not None
    stdin, stdout = process.stdin, process.stdout
    assert stdout.readline() == "ready\n"

    def ask(told: dict[str, Any]) -> dict[str, Any]:
        stdin.write(json.dumps(told) + "\n")
        stdin.flush()
        answer: dict[str, Any] = json.loads(stdout.readline())
        return answer

    try:
        yield ask
    finally:
        stdin.close()
        process.wait(10)
        stdout.close()
