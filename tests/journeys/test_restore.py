"""A mistake is made and taken back: backup, drill and restore of a Felix that runs, as an operator types them."""

from __future__ import annotations

import json
import re
import shlex
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from running_felix import RunningFelix, post

from felix.cli.app import make_app, run
from felix.embedded.live_postgres import LivePostgres
from felix.embedded.processes import processes_in

TENANT = "bakery"
PAGE = Path(__file__).parents[2] / "docs" / "backup.md"


@pytest.fixture(scope="module")
def account(running: RunningFelix) -> str:
    """A funded account of a tenant."""
    with running.founder() as founder:
        assert post(founder, "/v1/tenants", {"slug": TENANT, "name": "The Bakery"}).status_code == 201
        account_id: str = post(founder, "/v1/token-accounts", {"name": "main"}, TENANT).json()["account_id"]
        grant(running, account_id, 10**9)
    return account_id


def grant(felix: RunningFelix, account: str, amount_mtok: int) -> None:
    with felix.founder() as founder:
        path = f"/v1/token-accounts/{account}/grants"
        assert post(founder, path, {"amount_mtok": amount_mtok}, TENANT).status_code == 201


def balance_mtok(felix: RunningFelix, account: str) -> int:
    """What a command of the command line says, which needs the read model and no position."""
    told = felix.told("tokens", "balance", account, "--tenant", TENANT)
    return int(told["balance"]["available_mtok"])


@contextmanager
def load(felix: RunningFelix, account: str) -> Iterator[list[int]]:
    """Debit all the time, with a breath between; the list has a status for each answer."""
    answers: list[int] = []
    stopping = threading.Event()

    def debit() -> None:
        with felix.founder() as founder:
            while not stopping.is_set():
                body = {"meter": "api.calls", "amount_mtok": 1, "reference": uuid4().hex}
                answers.append(post(founder, f"/v1/token-accounts/{account}/debits", body, TENANT).status_code)
                stopping.wait(0.02)

    threads = [threading.Thread(target=debit) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        stopping.set()
        for thread in threads:
            thread.join()


@dataclass(frozen=True)
class Typed:
    """`felix` in this process, on the directory of a running one: what fails early need not start Python first."""

    felix: RunningFelix
    monkeypatch: pytest.MonkeyPatch
    capture: pytest.CaptureFixture[str]

    def __call__(self, *arguments: str, code: int = 0, **settings: str) -> str:
        """Everything a command prints."""
        self.monkeypatch.chdir(self.felix.home)
        for name, value in {"FELIX_DATA_DIR": str(self.felix.data_dir), "NO_COLOR": "1", **settings}.items():
            self.monkeypatch.setenv(name, value)
        self.capture.readouterr()
        found = run(arguments)
        said = "".join(self.capture.readouterr())
        assert found == code and "Traceback" not in said, (found, said)
        return said


@pytest.fixture
def typed(running: RunningFelix, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Typed:
    return Typed(running, monkeypatch, capsys)


def test_a_backup_is_made_while_people_work(running: RunningFelix, account: str, typed: Typed) -> None:
    assert "There are no backups" in typed("backup", "list")
    assert "there are no backups" in typed("restore", "--to", "latest", "--into", "copy", code=1)
    with load(running, account) as answers:
        full = running.told("backup")
        before = len(answers)
        incremental = running.told("backup")
    assert (full["kind"], incremental["kind"], incremental["parent"]) == ("full", "incremental", full["id"])
    assert before and set(answers) == {201}, "nobody was turned away"
    assert sum(full["facts"]["heads"].values()) == full["facts"]["events"] > 3
    listed = json.loads(typed("backup", "list", "--json"))
    assert [each["id"] for each in listed["backups"]] == [full["id"], incremental["id"]]
    assert listed["archiving"] and listed["restorable_from"] < listed["restorable_until"]
    assert "2 backups are as they were written" in typed("backup", "verify")
    assert "There is nothing to remove" in typed("backup", "prune", "--keep", "2")


def test_a_drill_brings_back_precisely_the_same_rows_and_leaves_no_trace(running: RunningFelix, account: str) -> None:
    with load(running, account) as answers:
        told = running.told("drill", "restore")
    assert told["passed"] and all(row["same"] and row["events"] == row["events_restored"] for row in told["partitions"])
    assert told["rpo_s"] == 0 and told["rto_s"] <= told["took_s"] and told["violations"] == []
    assert set(answers) == {201}
    assert not list(running.data_dir.glob("drill*")), "what was restored is gone"
    assert processes_in(running.data_dir / "drill" / "pgdata", "postgres") == []


@pytest.mark.parametrize("line", re.findall(r"^ *\$ (.+)$", PAGE.read_text(), re.M))
def test_the_commands_of_the_page_are_there(line: str) -> None:
    words = [word for word in shlex.split(line) if "=" not in word]
    assert words[0] == "felix"
    command, _, unused = make_app().parse_args(words[1:], exit_on_error=False, print_error=False)[:3]
    assert command.__module__.startswith("felix.cli.") and not unused


def test_wrong_input_is_explained(running: RunningFelix, account: str, home: Path, typed: Typed) -> None:
    assert "--into DIR" in typed("restore", "--to", "latest", code=2)
    assert "has no time zone" in typed("restore", "--to", "2026-01-31T12:00", "--into", "copy", code=2)
    assert "is not a moment" in typed("restore", "--to", "yesterday", "--into", "copy", code=2)
    assert "before the oldest backup" in typed("restore", "--to", "2020-01-01T00:00Z", "--into", "copy", code=1)
    assert "is not empty" in typed("restore", "--to", "latest", "--into", str(running.data_dir), code=1)
    assert "already used by the Felix process" in typed("restore", "--to", "latest", "--in-place", code=1)
    assert "At least one backup is kept" in typed("backup", "prune", "--keep", "0", code=2)
    assert "either full or incremental" in typed("backup", "--full", "--incremental", code=2)
    assert not (home / "copy" / "pgdata").exists()
    assert "Postgres does not run" in typed("backup", code=1, FELIX_DATA_DIR=str(home / "nowhere"))
    assert not (home / "nowhere").exists()
    for command in (["backup"], ["backup", "list"], ["restore", "--to", "latest", "--in-place"], ["drill", "restore"]):
        told = typed(*command, code=2, FELIX_DATABASE_URL="postgresql://felix@nowhere/felix")
        assert "its operator makes its backups" in told


@dataclass(frozen=True)
class Mistake:
    """When it had not been made yet, and what there was then."""

    at: str
    balance_mtok: int


@pytest.fixture(scope="module")
def mistake(running: RunningFelix, account: str) -> Mistake:
    """Two grants that nobody meant."""
    grant(running, account, 5)
    before_mtok = balance_mtok(running, account)
    at = datetime.now(UTC).isoformat()
    grant(running, account, 777)
    grant(running, account, 777)
    return Mistake(at, before_mtok)


def test_a_mistake_is_looked_at_in_a_copy(
    running: RunningFelix, account: str, mistake: Mistake, home: Path, typed: Typed
) -> None:
    copy = RunningFelix(home / "beside")
    copy.home.mkdir(mode=0o755)
    where = ["restore", "--to", mistake.at, "--into", str(copy.data_dir)]
    plan = json.loads(typed(*where, "--dry-run", "--json"))
    assert len(plan["backups"]) == 2 and plan["dry_run"] and not copy.data_dir.exists()
    told = running.told(*where)
    assert told["consistent"] and told["violations"] == [] and told["last_commit_at"] < mistake.at
    try:
        copy.start()
        assert balance_mtok(copy, account) == mistake.balance_mtok
        grant(copy, account, 1)
        copy.stop()
    finally:
        copy.clean_up()


def test_a_mistake_is_taken_back(running: RunningFelix, account: str, mistake: Mistake, typed: Typed) -> None:
    key = (running.data_dir / "founder-key").read_bytes()
    running.stop()
    told: dict[str, Any] = running.told("restore", "--to", mistake.at, "--in-place")
    assert told["consistent"] and told["events"] > 3
    assert (Path(told["set_aside"]) / "pgdata" / "PG_VERSION").exists()
    running.start()
    assert balance_mtok(running, account) == mistake.balance_mtok
    assert (running.data_dir / "founder-key").read_bytes() == key
    assert not json.loads(typed("backup", "list", "--json"))["archiving"], "another past must not be mixed in"
    assert running.told("backup")["kind"] == "full"


def test_a_drill_that_does_not_bring_everything_back_fails(running: RunningFelix, account: str) -> None:
    """The control: an event of a partition is taken away behind everybody's back, and its head says there are more."""
    assert json.loads(running.felix("drill", "restore", "--json").stdout)["passed"]
    address = LivePostgres.find(running.data_dir).address
    with psycopg.connect(address.url("felix")) as connection:
        connection.execute("alter table felix.events disable trigger all")
        gone = connection.execute(
            "delete from felix.events where (partition, position) in"
            " (select partition, position - 1 from felix.partitions where position > 2) returning partition"
        ).fetchall()
    done = running.felix("drill", "restore", "--json", check=False)
    told = json.loads(done.stdout)
    assert done.returncode == 1 and not told["passed"]
    assert {row["partition"] for row in told["partitions"] if not row["same"]} == {row[0] for row in gone}
    assert any("is missing" in line for line in told["violations"])
