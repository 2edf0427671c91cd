"""What a running Felix tells of itself: one answer for all processes, ids in every line, and no secret in any."""

from __future__ import annotations

import json
import os
import re
import signal
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import httpx
import psycopg
import pytest
from running_felix import RunningFelix, eventually, post
from scraped import Scrape

from felix.application.jobs.upkeep import verify_ledger
from felix.bootstrap import Endpoints
from felix.embedded.workspace import LOG_MAX_BYTES, LOG_PIECES, Workspace
from felix.eventstore.jobs import insert_jobs
from felix.measures import CATALOGUE, Histogram

DEBITS, REFUSALS, REPLAYS = 60, 7, 5
CANARY = "canary" + "0123456789abcdef" * 2
#: Measures of what has not happened here.
NOT_HERE = {"felix_snapshots_stored_total", "felix_command_failures_total"}


@pytest.fixture(scope="module")
def account(running: RunningFelix) -> str:
    with running.founder() as founder:
        assert post(founder, "/v1/tenants", {"slug": "bakery", "name": "The Bakery"}).status_code == 201
        opened = post(founder, "/v1/token-accounts", {"name": "Main"}, "bakery")
        found: str = opened.json()["account_id"]
        granted = post(founder, f"/v1/token-accounts/{found}/grants", {"amount_mtok": 10**9}, "bakery")
        assert granted.status_code == 201, granted.text
    return found


def debit(running: RunningFelix, account: str, amount_mtok: int, key: str | None = None) -> int:
    """A debit on a connection of its own, which any of the processes may take."""
    body = {"meter": "m", "amount_mtok": amount_mtok}
    sent = {
        "Authorization": f"Bearer {(running.data_dir / 'founder-key').read_text().strip()}",
        "Idempotency-Key": key or uuid4().hex,
        "Felix-Tenant": "bakery",
    }
    at = f"{running.url}/v1/token-accounts/{account}/debits"
    return httpx.post(at, json=body, headers=sent, trust_env=False, verify=False, timeout=20).status_code


def living(running: RunningFelix) -> set[str]:
    """The processes whose gauges are told."""
    return Scrape.of(running).values("felix_process_start_time_seconds", "process")


def test_counts_are_exact_whichever_process_answers(running: RunningFelix, account: str) -> None:
    before = Scrape.of(running)
    keys = [uuid4().hex for _ in range(DEBITS)]
    with ThreadPoolExecutor(8) as pool:
        said = Counter(pool.map(lambda key: debit(running, account, 1, key), keys))
        said += Counter(pool.map(lambda _: debit(running, account, 10**12), range(REFUSALS)))
        said += Counter(pool.map(lambda key: debit(running, account, 1, key), keys[:REPLAYS]))
    assert said == {201: DEBITS + REPLAYS, 402: REFUSALS}

    debits = "/v1/token-accounts/{account_id}/debits"
    expected = (
        ("felix_commands_total", {"type": "ledger.debit_tokens", "outcome": "accepted"}, DEBITS),
        ("felix_commands_total", {"outcome": "refused"}, REFUSALS),
        ("felix_commands_total", {"outcome": "replayed"}, REPLAYS),
        ("felix_refusals_total", {"code": "insufficient_tokens"}, REFUSALS),
        ("felix_events_appended_total", {}, DEBITS),
        ("felix_batch_commands_sum", {}, DEBITS + REFUSALS + REPLAYS),
        ("felix_request_seconds_count", {"route": debits, "method": "POST", "status": "201"}, DEBITS + REPLAYS),
        ("felix_request_seconds_count", {"route": debits, "status": "402"}, REFUSALS),
    )

    def told() -> list[tuple[str, dict[str, str], float]]:
        now = Scrape.of(running)
        return [(name, labels, now.sum(name, **labels) - before.sum(name, **labels)) for name, labels, _ in expected]

    # A batch is counted after its callers have their answers. Six times, so that both processes are asked.
    for _ in range(6):
        eventually(lambda: told() == list(expected), 5, lambda: str(told()))
    everybody = {"api-1", "api-2", "worker", "supervisor"}
    eventually(lambda: living(running) == everybody, 20)  # the worker comes last
    scrape = Scrape.of(running)
    assert scrape.sum("felix_log_position") == running.told("status")["events"]


def test_both_processes_answer(running: RunningFelix) -> None:
    """The positive control of the test above: with one it would show nothing."""
    pids = set()
    with httpx.Client(base_url=running.url, trust_env=False, verify=False) as held:
        held.get("/healthz")  # one connection is kept open, so that the next ones are not all the same process's
        for _ in range(60):
            httpx.get(f"{running.url}/healthz", trust_env=False, verify=False)
    for name in ("api-1", "api-2"):
        lines = (running.data_dir / "logs" / f"felix-{name}.log").read_text().splitlines()
        if any('"route":"/healthz"' in line for line in lines):
            pids.add(name)
    assert pids == {"api-1", "api-2"}


def test_counters_survive_kill_9_and_gauges_of_the_dead_vanish(running: RunningFelix, account: str) -> None:
    debit(running, account, 1)
    eventually(lambda: Scrape.of(running).sum("felix_process_cpu_seconds_total", process="worker") > 0)
    before = Scrape.of(running)
    counted = before.sum("felix_commands_total", outcome="accepted")
    started = {sample.labels["process"]: sample.value for sample in before.matching("felix_process_start_time_seconds")}
    worker_cpu = before.sum("felix_process_cpu_seconds_total", process="worker")
    supervisor = running.pid_of("supervisor")
    os.kill(supervisor, signal.SIGSTOP)  # so that nobody is started again while we look
    try:
        for name in ("worker", "api-2"):
            running.kill(name)
        # The socket is shared and the dead one accepts nothing more.
        eventually(lambda: living(running) == {"api-1", "supervisor"}, 10)
        alone = Scrape.of(running)
        assert alone.sum("felix_commands_total", outcome="accepted") == counted
        assert alone.sum("felix_process_cpu_seconds_total", process="worker") >= worker_cpu
    finally:
        os.kill(supervisor, signal.SIGCONT)
    eventually(lambda: {"worker", "api-2"} <= living(running), 20)
    again = Scrape.of(running)
    assert again.sum("felix_commands_total", outcome="accepted") == counted
    assert again.sum("felix_process_restarts_total", process="worker") == 1
    (sample,) = again.matching("felix_process_start_time_seconds", process="worker")
    assert sample.value > started["worker"], "the one that was started again, and not the dead one"
    files = sorted(path.name for path in (running.data_dir / "metrics").glob("counter_*"))
    assert files == [f"counter_{slot}.db" for slot in ("api-1", "api-2", "supervisor", "worker")]


def test_only_the_token_and_the_founder_may_scrape(running: RunningFelix) -> None:
    url = f"{running.url}/metrics"
    with running.founder() as founder:
        assert founder.get("/metrics").status_code == 200
    client_key = running.told("keys", "create", "--tenant", "bakery")["key"]
    for sent, status in (
        ({}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"X-Forwarded-For": "127.0.0.1"}, 401),
        ({"Authorization": f"Bearer {client_key}"}, 403),
    ):
        assert httpx.get(url, headers=sent, trust_env=False, verify=False).status_code == status, sent


def test_every_measure_is_told_once_it_has_happened_and_nothing_else_is(running: RunningFelix, account: str) -> None:
    _ask_for_a_verification(running)
    expected = {name for name in CATALOGUE if name not in NOT_HERE}

    def told() -> set[str]:
        return {re.sub(r"_(bucket|sum|count)$", "", name) if _is_histogram(name) else name for name in names()}

    def names() -> set[str]:
        return Scrape.of(running).names()

    eventually(lambda: told() >= expected, 20, lambda: str(expected - told()))
    assert told() <= CATALOGUE.keys()
    assert Scrape.of(running).sum("felix_ledger_verification_problems") == 0


def _is_histogram(name: str) -> bool:
    return isinstance(CATALOGUE.get(re.sub(r"_(bucket|sum|count)$", "", name)), Histogram)


def _ask_for_a_verification(running: RunningFelix) -> None:
    endpoints = Endpoints(**json.loads((running.data_dir / "run.json").read_text()))
    with psycopg.connect(endpoints.as_role("felix_projector")) as connection:
        insert_jobs(connection, [verify_ledger.of_platform("test", "test", datetime.now(UTC), {})])


def lines_of(running: RunningFelix, name: str) -> list[dict[str, object]]:
    text = (running.data_dir / "logs" / f"felix-{name}.log").read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_every_line_is_json_and_names_its_process(running: RunningFelix) -> None:
    for name in ("api-1", "api-2", "worker"):
        lines = lines_of(running, name)
        assert lines and all({"event", "level", "at", "process", "logger"} <= line.keys() for line in lines)
    assert any(line["logger"] == "uvicorn.error" for line in lines_of(running, "api-1"))


def test_a_request_can_be_followed_through_the_log(running: RunningFelix, account: str) -> None:
    key = uuid4().hex
    with running.founder() as founder:
        answer = post(founder, f"/v1/token-accounts/{account}/debits", {"meter": "m", "amount_mtok": 1}, "bakery", key)
    request_id = answer.headers["felix-request-id"]

    def found() -> list[dict[str, object]]:
        lines = [line for name in ("api-1", "api-2") for line in lines_of(running, name)]
        return [line for line in lines if line.get("request_id") == request_id]

    eventually(lambda: bool(found()))
    (line,) = found()
    assert (line["command_key"], line["command"], line["status"]) == (key, "ledger.debit_tokens", 201)
    assert {"tenant_id", "command_id", "correlation_id", "duration_ms", "route"} <= line.keys()


def test_no_secret_that_was_sent_is_in_any_log(running: RunningFelix, account: str) -> None:
    fake = f"fx_live_{CANARY}"
    with running.founder() as founder:
        at = f"/v1/token-accounts/{account}/debits"
        for sent in (
            {"Authorization": f"Bearer {fake}"},
            {"Authorization": f"Basic {CANARY}"},
            {"Cookie": f"session={CANARY}"},
            {"Felix-Tenant": CANARY},
            {"Felix-Correlation-Id": CANARY},
            {"traceparent": CANARY},
        ):
            founder.post(at, json={"meter": CANARY, "secret": CANARY}, headers={"Idempotency-Key": uuid4().hex} | sent)
            founder.get(f"/v1/token-accounts?key={CANARY}", headers=sent)
        founder.post(at, content=f'{{"password": "{CANARY}"'.encode(), headers={"Idempotency-Key": uuid4().hex})
    secrets = {
        "canary": CANARY,
        "founder key": (running.data_dir / "founder-key").read_text().strip(),
        "role password": (running.data_dir / "role-password").read_text().strip(),
        "metrics token": (running.data_dir / "metrics-token").read_text().strip(),
        "postgres password": (running.data_dir / "postgres-password").read_text().strip(),
    }
    wrong = f"postgres//felix:{CANARY}@nowhere/felix"
    said = ""
    for url, command in (
        (wrong, ["migrate"]),
        (f"postgresql://felix:{CANARY}@127.0.0.1:1/felix", ["status"]),
        (f"host=127.0.0.1 port=1 password={CANARY}", ["tenants", "list"]),
    ):
        running.environment["FELIX_DATABASE_URL"] = url
        try:
            done = running.felix(*command, check=False)
        finally:
            del running.environment["FELIX_DATABASE_URL"]
        assert done.returncode == 1 and ("error: " in done.stderr or "not answer" in done.stdout), done
        said += done.stdout + done.stderr
    said += "".join(path.read_text(errors="replace") for path in (running.data_dir / "logs").iterdir())
    printed = running.said()
    for name, secret in secrets.items():
        assert secret not in said, name
        # The founder's key is shown once to whoever starts Felix, and to nobody else.
        assert printed.count(secret) == (name == "founder key"), name


def test_logs_stay_small_for_ever(running: RunningFelix) -> None:
    workspace = Workspace(running.data_dir)
    log = running.data_dir / "logs" / "felix-api-1.log"
    for _ in range(LOG_PIECES + 2):
        with log.open("ab") as more:
            more.write(b'{"event":"filler"}\n' * (LOG_MAX_BYTES // 19 + 1))
        workspace.rotate_logs()
        assert log.stat().st_size < LOG_MAX_BYTES
    pieces = sorted(path.name for path in log.parent.glob("felix-api-1.log*"))
    assert pieces == ["felix-api-1.log", *(f"felix-api-1.log.{number}" for number in range(1, LOG_PIECES + 1))]
    written = log.stat().st_size

    def answered() -> bool:
        httpx.get(f"{running.url}/healthz", trust_env=False, verify=False)
        return log.stat().st_size > written

    eventually(answered)  # the process goes on writing, at the new beginning
    assert log.read_bytes().startswith(b'{"')


def test_a_log_that_is_a_link_is_not_followed(home: Path) -> None:
    other = home / "other"
    other.write_bytes(b"x" * (LOG_MAX_BYTES + 1))
    workspace = Workspace(home / "linked")
    (home / "linked" / "logs").mkdir()
    (home / "linked" / "logs" / "evil.log").symlink_to(other)
    workspace.rotate_logs()
    assert other.stat().st_size == LOG_MAX_BYTES + 1
    assert not (home / "linked" / "logs" / "evil.log.1").exists()
