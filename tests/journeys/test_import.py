"""The real trace as usage of five clients: every call is paid once, whatever happens in between."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from running_felix import RunningFelix, eventually, post

REAL = Path(__file__).parents[3] / "shared" / "data" / "llm-usage" / "llm_inference_trace_code.csv"
CLIENTS = ["ada", "bob", "cleo", "dan", "eve"]
PRICES = {
    "effective_from": "2020-01-01T00:00:00Z",
    "prices": [
        {"meter": "llm.input_tokens", "kind": "per_unit", "price_mtok": 2500, "per": 1000},
        {"meter": "llm.output_tokens", "kind": "per_unit", "price_mtok": 10_000, "per": 1000},
    ],
}
MAPPING = [
    "--map", "time=TIMESTAMP", "--map", "llm.input_tokens=ContextTokens", "--map", "llm.output_tokens=GeneratedTokens",
    "--set", "model=gpt-4o",
]  # fmt: skip


@pytest.fixture(scope="module")
def trace(home: Path) -> Path:
    """The real trace, or one of the same shape where the data is not at hand."""
    if REAL.is_file():
        return REAL
    at = datetime(2023, 11, 16, 18, 17, 3, 979960)
    rows = [
        f"{at + timedelta(milliseconds=317 * n):%Y-%m-%d %H:%M:%S.%f}0,{n % 7437 + 1},{n % 97 + 1}" for n in range(8819)
    ]
    made = home / "trace.csv"
    made.write_text("\n".join(["TIMESTAMP,ContextTokens,GeneratedTokens", *rows]))
    return made


@pytest.fixture(scope="module")
def clients(running: RunningFelix) -> list[str]:
    """Five clients with a rate card and enough tokens."""
    with running.founder() as founder:
        for slug in CLIENTS:
            take_on_board(founder, slug, 10**9)
    return CLIENTS


def take_on_board(founder: httpx.Client, slug: str, amount_mtok: int) -> str:
    assert post(founder, "/v1/tenants", {"slug": slug, "name": slug.title()}).status_code == 201
    account_id: str = post(founder, "/v1/token-accounts", {"name": "main"}, slug).json()["account_id"]
    granted = post(founder, f"/v1/token-accounts/{account_id}/grants", {"amount_mtok": amount_mtok}, slug)
    published = post(founder, "/v1/rate-cards/default/versions", PRICES, slug)
    assert (granted.status_code, published.status_code) == (201, 201), (granted.text, published.text)
    return account_id


def expected(trace: Path) -> dict[str, dict[str, int]]:
    """What each client used and owes for it, computed from the file alone; every line is rounded up by itself."""
    sums = {slug: {"calls": 0, "input": 0, "output": 0, "mtok": 0} for slug in CLIENTS}
    with trace.open(newline="") as content:
        for number, row in enumerate(csv.DictReader(content)):
            mine = sums[CLIENTS[number % len(CLIENTS)]]
            used_input, used_output = int(row["ContextTokens"]), int(row["GeneratedTokens"])
            mine["calls"] += 1
            mine["input"] += used_input
            mine["output"] += used_output
            mine["mtok"] += -(-used_input * 2500 // 1000) + -(-used_output * 10_000 // 1000)
    return sums


def retold(founder: httpx.Client) -> dict[str, dict[str, int]]:
    """What the read models say."""
    found = {}
    for slug in CLIENTS:
        tenant = {"Felix-Tenant": slug}
        rows = founder.get("/v1/usage?from=2023-11-01T00:00:00Z&to=2023-11-30T00:00:00Z", headers=tenant).json()["data"]
        used: dict[str, Any] = {row["meter"]: row for row in rows}
        account = founder.get("/v1/token-accounts", headers=tenant).json()["data"][0]
        found[slug] = {
            "calls": used["llm.input_tokens"]["debits"] if used else 0,
            "input": used["llm.input_tokens"]["quantity"] if used else 0,
            "output": used["llm.output_tokens"]["quantity"] if used else 0,
            "mtok": account["consumed_mtok"],
        }
        assert account["balance"]["available_mtok"] == 10**9 - account["consumed_mtok"]
    return found


def importing(trace: Path) -> list[str]:
    tenants = [part for slug in CLIENTS for part in ("--tenant", slug)]
    return ["usage", "import", str(trace), *tenants, *MAPPING]


def test_an_import_that_is_killed_goes_on_and_every_call_is_paid_once(
    running: RunningFelix, trace: Path, clients: list[str]
) -> None:
    """Killed as soon as its first batches are in the log, which a state file then says."""
    killed = subprocess.Popen(
        [sys.executable, "-c", "from felix.cli import main; main()", *importing(trace)],
        env=running.environment, cwd=running.home, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while killed.poll() is None and not any((running.data_dir / "imports").glob("*.json")):
        time.sleep(0.005)
    killed.kill()
    assert killed.wait() in (-signal.SIGKILL, 0), "where the machine was busy with others it may be done by then"

    told = running.told(*importing(trace))

    assert told["complete"] and told["rows"] == 8819 and told["refused"] == 0
    assert told["accepted"] + told["duplicates"] == 8819
    with running.founder() as founder:
        eventually(lambda: retold(founder) == expected(trace), told=lambda: str(retold(founder)))
    told = running.told("verify", "ledger")
    assert told["consistent"], told["violations"]
    assert {each["check"] for each in told["checks"] if each["looked_at"]} >= {"snapshots", "read model", "commands"}


def test_a_second_import_changes_nothing(running: RunningFelix, trace: Path, clients: list[str]) -> None:
    assert running.told(*importing(trace))["complete"]
    with running.founder() as founder:
        eventually(lambda: retold(founder) == expected(trace), told=lambda: str(retold(founder)))
    for state in (running.data_dir / "imports").glob("*.json"):
        state.unlink()
    told = running.told(*importing(trace))
    assert (told["accepted"], told["duplicates"], told["refused"]) == (0, 8819, 0), "also without the state file"
    told = running.told(*importing(trace), "--again")
    assert (told["accepted"], told["duplicates"], told["refused"]) == (0, 8819, 0), "also under new keys"
    with running.founder() as founder:
        assert retold(founder) == expected(trace)


def test_refused_rows_are_named_and_get_another_chance(running: RunningFelix, trace: Path, clients: list[str]) -> None:
    poor = ["--tenant", "poor"]
    with running.founder() as founder:
        take_on_board(founder, "poor", 5_000)
    file = running.home / "few.csv"
    rows = ["TIMESTAMP,ContextTokens,GeneratedTokens", "2023-11-16 01:00:00,1000,100", "never,1,1"]
    file.write_text("\n".join([*rows, "2023-11-16 02:00:00,1000,100"]))
    errors = running.home / "errors.jsonl"

    done = running.felix("usage", "import", str(file), *poor, *MAPPING, "--errors", str(errors), check=False)

    assert done.returncode == 3
    assert "1 accepted" in done.stdout and "2 refused" in done.stdout
    refused = {row["row"]: row for row in map(json.loads, errors.read_text().splitlines())}
    assert refused[2]["rule"] == "time" and refused[3]["code"] == "insufficient_tokens"
    running.felix("tokens", "grant", "main", "5", *poor)
    again = running.felix("usage", "import", str(file), *poor, *MAPPING, "--again", "--json", check=False)
    told = json.loads(again.stdout)
    assert (told["accepted"], told["duplicates"], told["refused"]) == (1, 1, 1)
