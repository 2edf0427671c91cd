"""`felix` as somebody types it, in process."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from felix import bootstrap
from felix.cli.app import run

PRICES = {
    "effective_from": "2020-01-01T00:00:00Z",
    "prices": [
        {"meter": "llm.input_tokens", "kind": "per_unit", "price_mtok": 2500, "per": 1000},
        {"meter": "llm.output_tokens", "kind": "per_unit", "price_mtok": 10_000, "per": 1000},
    ],
}


@dataclass(frozen=True)
class Said:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def told(self) -> Any:
        """The JSON document it printed."""
        return json.loads(self.out)


@dataclass(frozen=True)
class CommandLine:
    """`felix`, as somebody types it."""

    home: Path
    endpoints: bootstrap.Endpoints
    capture: pytest.CaptureFixture[str]

    def __call__(self, *arguments: str) -> Said:
        self.capture.readouterr()
        try:
            code = run(arguments)
        except SystemExit as stopped:
            code = int(stopped.code or 0)
        captured = self.capture.readouterr()
        return Said(code, captured.out, captured.err)

    def done(self, *arguments: str) -> Any:
        """Run what has to succeed, and give the JSON it prints."""
        said = self(*arguments, "--json")
        assert said.code == 0, (arguments, said)
        return said.told

    def retell(self) -> None:
        """Bring the read models up to date, as the worker does."""
        runner = bootstrap.open_runner(self.endpoints, partitions=4)
        runner.start()
        deadline = time.monotonic() + 20
        try:
            while not all(lag.owned and lag.lag_events == 0 for lag in runner.lag().values()):
                assert time.monotonic() < deadline, runner.lag()
                time.sleep(0.01)
        finally:
            assert runner.stop()
