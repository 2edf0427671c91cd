"""`felix up`, killed piece by piece: it comes back by itself, and what was acknowledged is there."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from running_felix import RunningFelix, eventually, post, post_until_it_is_done

from felix.bootstrap import Endpoints
from felix.embedded.processes import is_alive

TENANT = "bakery"


@pytest.fixture(scope="module")
def account(running: RunningFelix) -> str:
    """A funded account of a tenant."""
    with running.founder() as founder:
        assert post(founder, "/v1/tenants", {"slug": TENANT, "name": "The Bakery"}).status_code == 201
        opened = post(founder, "/v1/token-accounts", {"name": "main"}, TENANT)
        assert opened.status_code == 201, opened.text
        account_id: str = opened.json()["account_id"]
        granted = post(founder, f"/v1/token-accounts/{account_id}/grants", {"amount_mtok": 10**9}, TENANT)
        assert granted.status_code == 201, granted.text
    return account_id


def debit(founder: httpx.Client, account: str, careful: bool = True) -> httpx.Response:
    send = post_until_it_is_done if careful else post
    return send(founder, f"/v1/token-accounts/{account}/debits", {"meter": "api.calls", "amount_mtok": 1000}, TENANT)


def balance_mtok(founder: httpx.Client, account: str, after: httpx.Response) -> int:
    """The available tokens, once the read model has seen a write; a busy machine may take longer than a request."""
    answers: list[httpx.Response] = []

    def is_answered() -> bool:
        position = {"Felix-Tenant": TENANT, "Felix-Min-Position": after.headers["Felix-Position"]}
        answers.append(founder.get(f"/v1/token-accounts/{account}", headers=position))
        return answers[-1].status_code != 503

    eventually(is_answered)
    assert answers[-1].status_code == 200, answers[-1].text
    told: dict[str, Any] = answers[-1].json()
    return int((told.get("balance") or told)["available_mtok"])


def test_it_says_where_it_is_and_answers(running: RunningFelix, account: str) -> None:
    assert running.url in running.said()
    assert (running.data_dir / "founder-key").read_text().strip() in running.said()
    assert httpx.get(f"{running.url}/readyz", trust_env=False).json()["status"] == "ready"
    with running.founder() as founder:
        before = balance_mtok(founder, account, debit(founder, account))
        assert balance_mtok(founder, account, debit(founder, account)) == before - 1000


def test_no_process_runs_as_owner_or_administrator(running: RunningFelix, account: str) -> None:
    with running.founder() as founder:
        debit(founder, account)
    told = json.loads((running.data_dir / "run.json").read_text())
    with psycopg.connect(told["database_url"], autocommit=True) as administrator:

        def serving() -> list[tuple[str, bool]]:
            return administrator.execute(
                "select distinct usename, rolsuper or pg_has_role(usename, 'felix_owner', 'member')"
                " from pg_stat_activity join pg_roles on rolname = usename"
                " where backend_type = 'client backend' and pid <> pg_backend_pid()"
            ).fetchall()

        eventually(lambda: {"felix_reader", "felix_writer", "felix_projector"} <= {name for name, _ in serving()})
        connected = serving()
    assert [name for name, may_own in connected if may_own] == []
    given = Endpoints(told["database_url"], None, told["role_password"]).serving_url
    assert "password" not in given
    with pytest.raises(psycopg.OperationalError, match=r"password|role"):
        psycopg.connect(given, user="felix", passfile="/dev/null", password="")


def test_secrets_are_nobody_elses_business(running: RunningFelix) -> None:
    for name in ("founder-key", "role-password", "backup-password", "root-key", "run.json", "postgres-password"):
        assert (running.data_dir / name).stat().st_mode & 0o077 == 0, name
    password = (running.data_dir / "role-password").read_text().strip().encode()
    for name in ("api", "worker"):
        for file in ("environ", "cmdline"):
            assert password not in Path(f"/proc/{running.pid_of(name)}/{file}").read_bytes()
    logs = b"".join(path.read_bytes() for path in (running.data_dir / "logs").glob("felix-*.log"))
    assert password not in logs


def test_a_second_one_on_the_same_directory_says_so(running: RunningFelix) -> None:
    done = running.felix("up", check=False)
    assert done.returncode == 1
    assert str(running.pid_of("supervisor")) in done.stderr
    assert "already used" in done.stderr and "FELIX_DATA_DIR" in done.stderr
    assert httpx.get(f"{running.url}/healthz", trust_env=False).status_code == 200


def test_a_port_that_is_taken_is_named(home: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        elsewhere = home / "elsewhere"
        elsewhere.mkdir(mode=0o755)
        done = RunningFelix(elsewhere, FELIX_PORT=str(port)).felix("up", check=False)
    assert done.returncode == 1
    assert str(port) in done.stderr and "FELIX_PORT" in done.stderr
    assert not (elsewhere / "data" / "pgdata").exists(), "nothing was started for nothing"


def test_status_says_what_runs(running: RunningFelix, account: str) -> None:
    told = running.told("status")
    assert told["ready"] and told["url"] == running.url and told["events"] > 0
    assert {each["process"] for each in told["processes"]} == {"supervisor", "api", "worker"}


def test_a_killed_api_comes_back_and_refuses_nobody(running: RunningFelix, account: str) -> None:
    killed = running.kill("api")
    began_at = time.monotonic()
    with running.founder() as founder:
        # The supervisor holds the listening socket: who connects now waits and is served by the next process.
        assert debit(founder, account, careful=False).status_code == 201
    assert time.monotonic() - began_at < 15
    eventually(lambda: running.processes().get("api") not in (None, killed))


def test_a_killed_worker_comes_back_and_catches_up(running: RunningFelix, account: str) -> None:
    running.kill("worker")
    with running.founder() as founder:
        written = debit(founder, account)
        eventually(
            lambda: (
                founder.get(
                    f"/v1/token-accounts/{account}",
                    headers={"Felix-Tenant": TENANT, "Felix-Min-Position": written.headers["Felix-Position"]},
                ).status_code
                == 200
            )
        )


@pytest.mark.parametrize("service", ["postgres", "valkey"])
def test_a_killed_service_comes_back_and_nothing_acknowledged_is_lost(
    running: RunningFelix, account: str, service: str
) -> None:
    with running.founder() as founder:
        before = balance_mtok(founder, account, debit(founder, account))
        killed = running.kill(service)
        for _ in range(3):
            written = debit(founder, account)
            assert written.status_code == 201
        eventually(lambda: running.felix("status", check=False).returncode == 0)
        assert running.pid_of(service) != killed
        assert balance_mtok(founder, account, debit(founder, account)) == before - 4000


def test_children_of_a_killed_supervisor_end_and_the_next_one_goes_on(running: RunningFelix, account: str) -> None:
    running.remember()
    postgres = running.pid_of("postgres")
    running.kill("supervisor")
    assert running.process is not None
    running.process.wait()
    eventually(lambda: not any(is_alive(running.last_known[name]) for name in ("api", "worker")), 10)
    running.environment["FELIX_PORT"] = running.last_known["url"].rpartition(":")[2]
    running.start()
    assert running.pid_of("postgres") == postgres, "the server that went on is adopted"
    with running.founder() as founder:
        assert debit(founder, account).status_code == 201


def test_the_next_one_gets_the_port_although_children_are_still_ending(running: RunningFelix, account: str) -> None:
    running.remember()
    known = (running.data_dir / "processes.json").read_bytes()
    running.kill("supervisor")
    assert running.process is not None
    running.process.wait()
    running.launch()
    (running.data_dir / "processes.json").write_bytes(known)
    eventually(lambda: running.processes().get("supervisor") == running.process.pid, 30, running.said)
    assert running.url == running.last_known["url"]
    with running.founder() as founder:
        assert debit(founder, account).status_code == 201


def test_the_ledger_is_consistent_after_all_of_this(running: RunningFelix, account: str) -> None:
    told = running.told("verify", "ledger")
    assert told["consistent"] and told["events"] > 3, told


def test_it_stops_in_time_and_leaves_nothing_behind(running: RunningFelix, account: str) -> None:
    running.remember()
    assert running.left_over()
    assert running.stop() < 10
    assert running.process is not None and running.process.returncode == 0, running.said()
    assert running.left_over() == []
    assert "everything is stopped" in running.said()
    done = running.felix("tenants", "list", check=False)
    assert done.returncode == 1 and "felix up" in done.stderr and "Traceback" not in done.stderr


def test_it_starts_again_where_it_was_and_ctrl_c_stops_it(running: RunningFelix, account: str) -> None:
    if running.process is not None and running.process.poll() is None:
        running.stop()
    took_s = running.start()
    key = (running.data_dir / "founder-key").read_text().strip()
    assert running.said().count(key) == 1, "the key is shown once"
    with running.founder() as founder:
        assert debit(founder, account).status_code == 201
    assert running.stop(signal.SIGINT) < 10
    assert running.left_over() == []
    if not os.environ.get("PYTEST_XDIST_WORKER"):
        assert took_s < 5


def test_a_database_of_your_own_is_used_by_several_api_processes(home: Path, database: str) -> None:
    elsewhere = home / "own"
    elsewhere.mkdir(mode=0o755)
    felix = RunningFelix(elsewhere, FELIX_DATABASE_URL=database, FELIX_API_PROCESSES="2")
    try:
        felix.start()
        assert not (felix.data_dir / "pgdata").exists()
        assert {"api-1", "api-2", "worker"} <= felix.processes().keys()
        with felix.founder() as founder:
            post(founder, "/v1/tenants", {"slug": TENANT, "name": "The Bakery"})
            opened = post(founder, "/v1/token-accounts", {"name": "main"}, TENANT).json()["account_id"]
            for name in ("api-1", "api-2"):
                felix.kill(name)
                granted = post_until_it_is_done(
                    founder, f"/v1/token-accounts/{opened}/grants", {"amount_mtok": 500}, TENANT
                )
                assert granted.status_code == 201
            assert balance_mtok(founder, opened, granted) == 1000
        felix.remember()
        assert felix.stop() < 10
        assert felix.left_over() == []
    finally:
        felix.clean_up()


@pytest.mark.parametrize("after_s", [0.3, 1.0])
def test_ctrl_c_during_the_start_leaves_nothing_behind(home: Path, after_s: float) -> None:
    elsewhere = home / f"broken-off-{after_s}"
    elsewhere.mkdir(mode=0o755)
    felix = RunningFelix(elsewhere)
    try:
        felix.launch()
        time.sleep(after_s)
        felix.stop(signal.SIGINT)
        assert felix.left_over() == []
        assert "Traceback" not in felix.said(), felix.said()
        felix.start()
        assert httpx.get(f"{felix.url}/readyz", trust_env=False).status_code == 200
    finally:
        felix.clean_up()
