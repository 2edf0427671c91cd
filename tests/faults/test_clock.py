"""The clocks of Felix's processes are wrong, differ, jump and stand still: what counts is the position, not the time.

Two API processes write in turn to one account over HTTP: one is days or minutes off, the other one's clock jumps back
and forth five times a second and stands still in between. The worker that retells has a third clock. Every write is
accepted, positions are in the order of the acknowledgements, the time of an account never goes back, reads wait for
positions as ever, and the read models are what a rebuild with the right clock makes of them.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from uuid import UUID

import httpx
import psycopg
import pytest
import time_machine
from clients import answers, gaps, is_ready
from figures import DEEP, record
from processes import Process, seconds_until
from projections.conftest import House, contents
from rebuilding import rebuilt, wait_until_retold, wrong_rows
from running_felix import post

from felix.application.api_keys import make_key
from felix.projections.registry import PROJECTIONS

MINUTES_10, DAYS_3 = 600, 259_200
WRITES = 400 if DEEP else 60
CASES = [
    pytest.param(-DAYS_3, DAYS_3, id="API 3 days behind, worker 3 days ahead"),
    pytest.param(DAYS_3, -DAYS_3, id="API 3 days ahead, worker 3 days behind", marks=pytest.mark.deep),
    pytest.param(-MINUTES_10, MINUTES_10, id="API 10 minutes behind, worker ahead", marks=pytest.mark.deep),
    pytest.param(MINUTES_10, -MINUTES_10, id="API 10 minutes ahead, worker behind", marks=pytest.mark.deep),
]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def steps_back(ids: Sequence[UUID]) -> int:
    """How often the next id is older: ids begin with the time of the API process that made them."""
    return sum(later < earlier for earlier, later in pairwise(ids))


@pytest.mark.parametrize(("api_s", "worker_s"), CASES)
def test_wrong_clocks_change_no_order_and_no_row(
    house: House, tmp_path: Path, api_s: int, worker_s: int, request: pytest.FixtureRequest
) -> None:
    tenant_id = house.onboard("bakery")
    account = f"/v1/token-accounts/{house.open_account(tenant_id, 10**9)}"
    key, _ = make_key(house.performer, tenant_id, "clock")
    headers = {"Authorization": f"Bearer {key}"}
    with ExitStack() as stack:
        stack.enter_context(
            Process(house.url, tmp_path / "worker.log", "shifted.py", "felix.worker.__main__", worker_s)
        )
        logs = []
        for offsets_s in ((api_s,), (0, -MINUTES_10, MINUTES_10, -DAYS_3, DAYS_3)):
            port = free_port()
            logs.append((f"http://127.0.0.1:{port}", tmp_path / f"api-{port}.log"))
            stack.enter_context(
                Process(house.url, logs[-1][1], "shifted.py", "felix.cli.serve", *offsets_s, FELIX_PORT=str(port))
            )
        clients = []
        for url, log in logs:
            seconds_until(lambda url=url: answers(url), 60, log.read_text)
            clients.append(stack.enter_context(httpx.Client(base_url=url, headers=headers, trust_env=False)))
        assert not is_ready(logs[0][0])  # whoever sends requests where it is ready does not send any there
        positions = []
        for number in range(WRITES):
            answer = post(clients[number % 2], f"{account}/debits", {"meter": "m", "amount_mtok": 1}, key=f"d-{number}")
            assert answer.status_code == 201, answer.text
            positions.append(int(answer.headers["Felix-Position"].partition(":")[2]))
        seen = clients[0].get(account, headers={"Felix-Min-Position": answer.headers["Felix-Position"]})
        assert seen.status_code == 200, seen.text
        assert seen.json()["balance"]["available_mtok"] == 10**9 - WRITES
        wait_until_retold(house.url, PROJECTIONS)
    with psycopg.connect(house.url) as connection:
        assert gaps(connection) == []
        events = connection.execute(
            "select recorded_at, event_id from felix.events where command_key like 'd-%' order by position"
        ).fetchall()
    recorded_at, event_ids = zip(*events, strict=True)
    backwards = steps_back(event_ids)
    found = contents(house.url)
    wrong = wrong_rows(found, rebuilt(house, PROJECTIONS))
    record(request.node.name, WRITES, steps_back_in_time=backwards, out_of_order=0, wrong_rows=wrong)
    assert positions == sorted(positions) and list(recorded_at) == sorted(recorded_at)
    assert backwards > WRITES // 10
    assert wrong == 0


def test_control_whoever_goes_by_the_time_in_the_ids_reads_another_order(
    house: House, request: pytest.FixtureRequest
) -> None:
    """The clocks of the test do go wrong: ids begin with the time of who made them, and are no order."""
    tenant_id = house.onboard("bakery")
    account_id = house.open_account(tenant_id, 10**9)
    for offset_s in (0, -DAYS_3, MINUTES_10, -MINUTES_10):
        with time_machine.travel(datetime.now(UTC) + timedelta(seconds=offset_s), tick=True):
            house.debit(tenant_id, account_id)
    with psycopg.connect(house.url) as connection:
        ids = [
            event_id
            for (event_id,) in connection.execute(
                "select event_id from felix.events where type = 'ledger.tokens_debited' order by position"
            )
        ]
    record(request.node.name, len(ids), steps_back_in_time=steps_back(ids))
    assert steps_back(ids) == 2
