"""`felix up` with live streams open: readers lose nothing when it is killed, and do not hold it up when it stops."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from typing import Any

import httpx
import pytest
from running_felix import RunningFelix, eventually, post

from felix.cli.live import EventStream, Message, follow

DEEP = os.environ.get("FELIX_TEST_PROFILE") == "deep"
CLIENTS, FROZEN = 50, 15
#: Of those that are not frozen, so many read the log from its beginning, as the frozen ones would.
FROM_THE_BEGINNING = 35 if DEEP else 3
TENANT = "bakery"


class Following:
    """A dashboard that comes back by itself, as `felix live` does, in a thread."""

    def __init__(self, client: httpx.Client, tenant: str | None = TENANT) -> None:
        self.stream = EventStream()
        self.messages: list[Message] = []
        self._client = client
        self._asked = {"topics": "events"} | ({"tenant": tenant} if tenant else {})
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        with suppress(RuntimeError):  # the client was closed: the test is over
            for message in follow(self._client, self._asked, self.stream):
                self.messages.append(message)

    def told(self) -> list[Any]:
        return [json.loads(message.data) for message in list(self.messages) if message.event == "events"]

    def begun(self) -> int:
        return sum(message.event == "ready" for message in list(self.messages))


@pytest.fixture(scope="module")
def account(running: RunningFelix) -> str:
    """An account of a tenant."""
    with running.founder() as founder:
        assert post(founder, "/v1/tenants", {"slug": TENANT, "name": "The Bakery"}).status_code == 201
        account_id: str = post(founder, "/v1/token-accounts", {"name": "main"}, TENANT).json()["account_id"]
        prices = {"prices": [{"meter": "api.calls", "kind": "flat", "price_mtok": 0}]}
        assert post(founder, "/v1/rate-cards/default/versions", prices, TENANT).status_code == 201
    # Clients come back to where they were: it keeps its port when it is started again.
    running.environment["FELIX_PORT"] = str(httpx.URL(running.url).port)
    return account_id


@pytest.fixture
def clients() -> Iterator[list[socket.socket]]:
    """Where the test keeps its connections."""
    kept: list[socket.socket] = []
    yield kept
    for client in kept:
        client.close()


@pytest.fixture
def command_line(running: RunningFelix, account: str) -> Iterator[subprocess.Popen[str]]:
    """`felix live`, which ends by Ctrl-C."""
    process = subprocess.Popen(
        [sys.executable, "-c", "from felix.cli import main; main()", "live", "--json", "--tenant", TENANT],
        env=running.environment, cwd=running.home, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    yield process
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)


@pytest.fixture
def writing(running: RunningFelix, account: str) -> Iterator[list[str]]:
    """Grants, one after the other, whatever becomes of the API; the positions that were acknowledged.

    There is a breath between them: what is tried is who hears of each, not how many there are.
    """
    stopping = threading.Event()
    acknowledged: list[str] = []

    def write() -> None:
        with running.founder() as founder:
            while not stopping.is_set():
                with suppress(httpx.TransportError):
                    answer = post(founder, f"/v1/token-accounts/{account}/grants", {"amount_mtok": 1}, TENANT)
                    if answer.status_code == 201:
                        acknowledged.append(answer.headers["felix-position"])
                time.sleep(0 if DEEP else 0.02)

    thread = threading.Thread(target=write)
    thread.start()
    yield acknowledged
    stopping.set()
    thread.join()


def test_a_reader_misses_nothing_and_hears_nothing_twice_while_the_server_is_killed(
    running: RunningFelix, account: str, writing: list[str], command_line: subprocess.Popen[str]
) -> None:
    """Also `felix live`, in a process of its own. Who follows all partitions is told the platform's own events too."""
    assert command_line.stdout is not None
    with running.founder() as client:
        one, all_of_them = Following(client), Following(client, None)
        eventually(lambda: bool(one.begun() and all_of_them.begun() and command_line.stdout.readline()))
        for killed in range(1, 3):
            before = len(one.told())
            eventually(lambda before=before: len(one.told()) > before + 20)
            running.kill("api")
            eventually(lambda killed=killed: one.begun() > killed and all_of_them.begun() > killed, 30)
        acknowledged = list(writing)
        for following in (one, all_of_them):
            eventually(lambda it=following: acknowledged[-1] in positions(it.told()))
        told = one.told()
        printed = list[Any]()
        while acknowledged[-1] not in positions(printed[-1:]):
            message = json.loads(command_line.stdout.readline())
            printed += [message["data"]] if message["event"] == "events" else []
    everything: dict[int, list[Any]] = {}
    for event in all_of_them.told():
        everything.setdefault(event["partition"], []).append(event)
    followed = [
        (told, "tenant_sequence"),
        (printed, "tenant_sequence"),
        *((of, "position") for of in everything.values()),
    ]
    for events, by in followed:
        assert [(a[by], b[by]) for a, b in pairwise(events) if b[by] != a[by] + 1] == [], by
    since = next(number for number, position in enumerate(acknowledged) if position in positions(told))
    assert since < len(acknowledged) // 2 and set(acknowledged[since:]) <= positions(told)


def positions(events: list[Any]) -> set[str]:
    return {f"{event['tenant_id']}:{event['tenant_sequence']}" for event in events}


def usage(account: str, id_: str) -> dict[str, Any]:
    data = {"meter": "api.calls", "quantity": 1}
    return {"specversion": "1.0", "type": "felix.usage", "source": "/a", "id": id_, "subject": account, "data": data}


def test_it_stops_in_time_with_fifty_streams_open_some_of_them_frozen(
    running: RunningFelix, account: str, clients: list[socket.socket], writing: list[str]
) -> None:
    with running.founder() as founder:
        for batch in range(8):
            asked_for = {"events": [usage(account, f"{batch}-{number}") for number in range(1000)]}
            assert post(founder, "/v1/usage/batch", asked_for, TENANT).json()["accepted"] == 1000
    address = httpx.URL(running.url)
    key = (running.data_dir / "founder-key").read_text().strip()
    for number in range(CLIENTS):
        since = "&last_event_id=0" if number < FROZEN + FROM_THE_BEGINNING else ""
        asked = f"GET /v1/live?tenant={TENANT}{since} HTTP/1.1\r\nHost: felix\r\nAuthorization: Bearer {key}\r\n\r\n"
        client = socket.socket()
        if number < FROZEN:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect((address.host, address.port))
        client.sendall(asked.encode())
        clients.append(client)
    heard: dict[int, bytes] = {}

    def read(number: int) -> None:
        with suppress(OSError):
            while chunk := clients[number].recv(65536):
                heard[number] = (heard.get(number, b"") + chunk)[-500:]

    threads = [threading.Thread(target=read, args=(number,), daemon=True) for number in range(FROZEN, CLIENTS)]
    for thread in threads:
        thread.start()
    eventually(
        lambda: len(heard) == CLIENTS - FROZEN and all(b"ledger.tokens_granted" in each for each in heard.values())
    )
    running.remember()

    took_s = running.stop()

    assert took_s < 10, running.said()
    assert "killed" not in running.said().rpartition("stopping ...")[2], running.said()
    for thread in threads:
        thread.join(5)
    assert all(b"Felix is shutting down" in heard[number] for number in range(FROZEN, CLIENTS))
    assert running.left_over() == []
    acknowledged = len(writing)
    running.start()
    with running.founder() as founder:
        eventually(lambda: len(writing) > acknowledged)
        last = founder.get("/v1/live", params={"tenant": TENANT, "last_event_id": "0", "follow": "false"})
    told = [json.loads(message.data) for message in EventStream().read(last.iter_lines()) if message.event == "events"]
    assert set(writing[:acknowledged]) <= positions(told), "what was acknowledged before the end is there"
