"""Several processes on one partition take turns at its head: nothing is lost, nothing is spent twice."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from offices import Office

from felix.domain.ledger.messages import DebitTokens

WRITER = Path(__file__).with_name("writer.py")
PROCESSES = 3


def debit_from_processes(office: Office, account: str, each: int) -> int:
    """How many debits were accepted, all processes together."""
    processes = [
        subprocess.Popen(
            [sys.executable, str(WRITER), office.database, account, f"writer-{number}", str(each)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(PROCESSES)
    ]
    try:
        for process in processes:
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
        with ThreadPoolExecutor(PROCESSES) as pool:
            told = list(pool.map(lambda process: process.communicate("go\n", timeout=100)[0], processes))
        return sum(map(int, told))
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
                process.communicate()


@pytest.mark.parametrize("each", [200, pytest.param(5_000, marks=pytest.mark.deep)])
def test_debits_of_three_processes_on_one_account_are_all_there_and_in_one_order(each: int, office: Office) -> None:
    enough = PROCESSES * each
    account = office.open_account(enough)
    assert debit_from_processes(office, account, each) == enough
    replayed = office.replay(account)
    assert (replayed.available_mtok, replayed.version) == (0, enough + 2)
    replayed.assert_invariants()
    office.assert_log_is_whole()
    batches = office.rows(
        "select count(*) from felix.events where type = 'ledger.tokens_debited' group by xmin order by 1 desc limit 1"
    )
    assert batches[0][0] > 10, "what waits shares a transaction"
    assert not office.do(DebitTokens(account_id=account, meter="m", amount_mtok=1)).accepted


def test_three_processes_together_never_overdraw(office: Office) -> None:
    account = office.open_account(250)
    assert debit_from_processes(office, account, 100) == 250
    assert office.replay(account).available_mtok == 0
    refused = office.rows("select count(*) from felix.commands where not accepted and command_key like 'writer%%'")
    assert refused == [(50,)]
    office.assert_log_is_whole()
