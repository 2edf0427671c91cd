"""The command line in process, on a database of its own."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import PRICES, CommandLine

from felix import bootstrap


@pytest.fixture
def felix(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> CommandLine:
    """The command line on an empty installation."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FELIX_DATABASE_URL", database)
    monkeypatch.setenv("FELIX_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("NO_COLOR", "1")
    return CommandLine(tmp_path, bootstrap.Endpoints(database, None, None), capsys)


@pytest.fixture
def account(felix: CommandLine) -> str:
    """A funded account of the only client, who has a rate card."""
    prices = felix.home / "prices.json"
    prices.write_text(json.dumps(PRICES))
    felix.done("tenants", "add", "Acme Ltd")
    felix.done("rates", "publish", str(prices))
    account_id: str = felix.done("tokens", "open", "main")["result"]["account_id"]
    felix.done("tokens", "grant", account_id, "1000", "--kind", "promo", "--reason", "welcome")
    return account_id


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], None]:
    """Wait until something holds, or fail."""

    def wait(holds: Callable[[], bool], timeout_s: float = 10) -> None:
        deadline = time.monotonic() + timeout_s
        while not holds():
            assert time.monotonic() < deadline, "it did not come about in time"
            time.sleep(0.01)

    return wait
