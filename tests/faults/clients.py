"""Clients that debit over HTTP while things break, what they were told, and whether the log says the same.

They live in the process of the test, which no fault hits: what they were told is known for certain.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from itertools import pairwise
from typing import Any

import httpx
import psycopg
from figures import DEEP
from running_felix import RunningFelix, post, post_until_it_is_done

GRANTED_MTOK = 10**12
CLIENTS = 4
#: An answer that takes longer is given up, and its outcome is unknown.
PATIENCE_S = 30.0
#: Between two attempts: a refused connection costs nothing, a full core would.
PAUSE_S = 0.01
#: After an acknowledgement: the short profile leaves the cores to what is being started again.
BREATH_S = 0.0 if DEEP else 0.005
_STORED = """
    select command_key, (convert_from(state, 'UTF8')::jsonb ->> 'amount_mtok')::bigint
    from felix.events where type = 'ledger.tokens_debited'
"""
_HEADS = """
    select partition, position, last from felix.partitions p, lateral (
      select coalesce(max(position), 0) as last from felix.events e where e.partition = p.partition) l
    where position <> last
"""
#: What has to be dense: (what, column, by what).
_DENSE = (("position", "partition"), ("tenant_sequence", "partition, tenant_id"), ("version", "partition, stream"))


@dataclass
class Told:
    """What clients sent and heard, by idempotency key: the amount of the debit."""

    acknowledged: dict[str, int] = field(default_factory=dict)
    #: Sent, and the connection broke before an answer came.
    unknown: dict[str, int] = field(default_factory=dict)
    statuses: Counter[int] = field(default_factory=Counter)
    answered_at: list[float] = field(default_factory=list)
    #: Bodies of answers that a client can make nothing of.
    strange: list[str] = field(default_factory=list)

    def longest_silence_s(self, since: float, until: float) -> float:
        """The longest time without an acknowledgement between two moments."""
        moments = [since, *sorted(moment for moment in self.answered_at if since <= moment <= until), until]
        return max(later - earlier for earlier, later in pairwise(moments))


@dataclass(frozen=True)
class Bakery:
    """A tenant of a running Felix with one account; ``key`` is its client's."""

    account_id: str
    key: str


def take_on_board(felix: RunningFelix) -> Bakery:
    """A tenant with an account that never runs dry, of a Felix that keeps its port over restarts."""
    felix.environment["FELIX_PORT"] = str(port_of(felix))
    with felix.founder() as founder:
        assert post(founder, "/v1/tenants", {"slug": "bakery", "name": "The Bakery"}).status_code == 201
        account_id = post(founder, "/v1/token-accounts", {"name": "main"}, "bakery").json()["account_id"]
        granted = post_until_it_is_done(
            founder, f"/v1/token-accounts/{account_id}/grants", {"amount_mtok": GRANTED_MTOK}, "bakery"
        )
        assert granted.status_code == 201, granted.text
    key: str = felix.told("keys", "create", "--tenant", "bakery")["key"]
    return Bakery(account_id, key)


@contextmanager
def debiting(port: int, bakery: Bakery, told: Told, seed: str) -> Iterator[None]:
    """Clients that send debits until the end of the block, one after the other, whatever happens.

    A 503 is asked again with the same key. When a connection breaks the outcome is unknown; the client goes on with
    its next debit and asks nobody, so that what became of it can be looked up later.
    """
    stopping = threading.Event()
    threads = [
        threading.Thread(target=_debit, args=(port, bakery, told, f"{seed}-{number}", stopping))
        for number in range(CLIENTS)
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stopping.set()
        for thread in threads:
            thread.join()


def _debit(port: int, bakery: Bakery, told: Told, name: str, stopping: threading.Event) -> None:
    chance, connection = random.Random(name), HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    path, number = f"/v1/token-accounts/{bakery.account_id}/debits", 0
    while not stopping.is_set():
        key, amount = f"{name}-{number}", chance.randint(1, 1_000)
        number += 1
        body = json.dumps({"meter": "api.calls", "amount_mtok": amount})
        headers = {"Authorization": f"Bearer {bakery.key}", "Idempotency-Key": key, "Content-Type": "application/json"}
        heard_503 = False
        while not stopping.is_set():
            try:
                if connection.sock is None:
                    connection.connect()
            except OSError:  # nothing was sent
                connection.close()
                stopping.wait(PAUSE_S)
                continue
            try:
                connection.request("POST", path, body, headers)
                answer = connection.getresponse()
                content = answer.read()
            except (OSError, HTTPException):
                connection.close()
                told.unknown[key] = amount
                break
            told.statuses[answer.status] += 1
            if answer.status == 201:
                told.acknowledged[key] = amount
                told.answered_at.append(time.monotonic())
                stopping.wait(BREATH_S)
                break
            if answer.status != 503 or answer.getheader("Retry-After") is None:
                told.strange.append(f"{answer.status}: {content[:300]!r}")
                break
            heard_503 = True
            stopping.wait(PAUSE_S)
        else:
            if heard_503:
                told.unknown[key] = amount
    connection.close()


def stored_debits(connection: psycopg.Connection[Any]) -> list[tuple[str, int]]:
    """Every debit of the log: its key and its amount."""
    return connection.execute(_STORED).fetchall()


def differences(told: Told, stored: list[tuple[str, int]]) -> dict[str, list[str]]:
    """Where the log contradicts what clients were told; empty when it does nowhere."""
    times, amounts = Counter(key for key, _ in stored), dict(stored)
    sent = told.acknowledged | told.unknown
    found = {
        "acknowledged and lost": [key for key in told.acknowledged if key not in amounts],
        "stored twice": [key for key, number in times.items() if number > 1],
        "never sent": [key for key in amounts if key not in sent],
        "another amount": [key for key, amount in amounts.items() if sent.get(key, amount) != amount],
    }
    return {what: keys for what, keys in found.items() if keys}


def gaps(connection: psycopg.Connection[Any]) -> list[str]:
    """Whatever is not dense in the log."""
    found = [
        f"{column} of {row}"
        for column, by in _DENSE
        for row in connection.execute(
            f"select {by}, count(*), min({column}), max({column}) from felix.events group by {by}"
            f" having min({column}) <> 1 or max({column}) <> count(*)".encode()
        )
    ]
    return found + [f"head of {row}" for row in connection.execute(_HEADS)]


def port_of(felix: RunningFelix) -> int:
    """Where a running Felix answers."""
    return int(felix.url.rpartition(":")[2])


def is_ready(url: str) -> bool:
    """Whether `/readyz` says so."""
    return _is_fine(f"{url}/readyz")


def answers(url: str) -> bool:
    """Whether there is anybody, ready or not."""
    return _is_fine(f"{url}/healthz")


def _is_fine(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False, timeout=2).status_code == 200
    except httpx.TransportError:
        return False


def database_of(felix: RunningFelix) -> psycopg.Connection[Any]:
    """A connection of the owner of a running Felix's database."""
    return psycopg.connect(json.loads((felix.data_dir / "run.json").read_text())["database_url"], autocommit=True)


def check_log(connection: psycopg.Connection[Any], told: Told) -> dict[str, int]:
    """What was acknowledged is stored once, with its amount, and nothing else is there; the log is dense.

    The stored debits by key.
    """
    stored = stored_debits(connection)
    assert differences(told, stored) == {}
    assert told.strange == []
    assert gaps(connection) == []
    return dict(stored)


def check_everything(felix: RunningFelix, bakery: Bakery, told: Told) -> dict[str, Any]:
    """All that must hold when the fault is over; figures for the record.

    Beside :func:`check_log`: what is unknown is settled by its key, balances are what the events add up to, and the
    read models have caught up.
    """
    with database_of(felix) as connection:
        amounts = check_log(connection, told)
    with httpx.Client(base_url=felix.url, headers={"Authorization": f"Bearer {bakery.key}"}, trust_env=False) as client:
        for key in told.unknown:
            assert (client.get(f"/v1/commands/{key}").status_code == 200) == (key in amounts), key
        account = f"/v1/token-accounts/{bakery.account_id}"
        last = post_until_it_is_done(client, f"{account}/debits", {"meter": "api.calls", "amount_mtok": 1})
        assert last.status_code == 201, last.text
        told.acknowledged[last.request.headers["Idempotency-Key"]] = 1
        seen = _seen(client, account, last.headers["Felix-Position"])
    assert seen["balance"]["available_mtok"] == GRANTED_MTOK - sum(amounts.values()) - 1
    verified = felix.told("verify", "ledger")
    assert verified["consistent"], verified["violations"]
    return {
        "acknowledged": len(told.acknowledged),
        "lost": 0,
        "unknown": len(told.unknown),
        "unknown_but_stored": len(told.unknown.keys() & amounts.keys()),
        "events": verified["events"],
    }


def _seen(client: httpx.Client, path: str, position: str, timeout_s: float = 30) -> Mapping[str, Any]:
    deadline = time.monotonic() + timeout_s
    while True:
        answer = client.get(path, headers={"Felix-Min-Position": position})
        if answer.status_code == 200:
            found: Mapping[str, Any] = answer.json()
            return found
        assert answer.status_code == 503 and time.monotonic() < deadline, answer.text
