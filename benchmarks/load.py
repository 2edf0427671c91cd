"""The load generator: prebuilt HTTP/1.1 requests over raw sockets and epoll, in a process of its own.

It shares the cores with what it measures, so it does as little as it can: no HTTP library, no event loop, no parsing
beyond status, length and, where asked for, position. It says how much CPU it took.
"""

from __future__ import annotations

import gc
import select
import socket
import time
from collections import Counter, deque
from dataclasses import dataclass, field

#: An answer that takes longer than this ends the run with an error.
PATIENCE_S = 60.0


@dataclass(slots=True)
class Load:
    """What to send. ``rate_s`` requests a second at fixed times; None: the next as soon as a connection is free.

    After ``lasts_s`` no more is sent, whatever is left.
    """

    port: int
    connections: int
    requests: list[bytes]
    rate_s: float | None = None
    positions: bool = False
    lasts_s: float | None = None


@dataclass(slots=True)
class Answers:
    """What came back. Latency counts from when a request was due; moments are ``time.monotonic()``."""

    accepted: int = 0
    others: Counter[int] = field(default_factory=Counter)
    elapsed_s: float = 0.0
    cpu_s: float = 0.0
    latencies_s: list[float] = field(default_factory=list)
    #: (moment of the acknowledgement, tenant, tenant_sequence), where ``positions`` was asked for.
    positions: list[tuple[float, str, int]] = field(default_factory=list)

    @property
    def rate_s(self) -> float:
        """Accepted requests a second."""
        return self.accepted / self.elapsed_s

    def latency_ms(self, share: float) -> float:
        """A percentile of the latency."""
        return percentile(self.latencies_s, share) * 1e3


def percentile(values: list[float], share: float) -> float:
    """The value that this share of all values does not exceed."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))]


def post(path: str, body: bytes, *, api_key: str, idempotency_key: str) -> bytes:
    """One request, ready to be sent."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {api_key}\r\n"
        f"Idempotency-Key: {idempotency_key}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def get(path: str, *, api_key: str = "") -> bytes:
    """One request that reads, ready to be sent."""
    authorization = f"Authorization: Bearer {api_key}\r\n" if api_key else ""
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{authorization}\r\n".encode()


def drive(load: Load) -> Answers:
    """Send everything and wait for the last answer. Raises ``ConnectionError`` when the server hangs up."""
    gc.disable()
    epoll = select.epoll()
    sockets: dict[int, socket.socket] = {}
    for _ in range(load.connections):
        made = socket.create_connection(("127.0.0.1", load.port))
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.setblocking(False)
        sockets[made.fileno()] = made
        epoll.register(made, select.EPOLLIN)
    try:
        return _drive(load, epoll, sockets)
    finally:
        epoll.close()
        for made in sockets.values():
            made.close()


def _drive(load: Load, epoll: select.epoll, sockets: dict[int, socket.socket]) -> Answers:
    answers = Answers()
    latencies, requests, clock, rate = answers.latencies_s, load.requests, time.monotonic, load.rate_s
    idle = deque(sockets)  # in turn: a connection that rests for seconds is closed by the server
    due_at = dict.fromkeys(sockets, 0.0)
    unsent: dict[int, memoryview] = {}
    partial: dict[int, bytes] = {}
    at, end = 0, len(requests)
    cpu_before = time.process_time()
    began_at = now = clock()
    over_at = None if load.lasts_s is None else began_at + load.lasts_s
    while at < end or len(idle) < len(sockets):
        if over_at is not None and now > over_at:
            end = at
        while idle and at < end:
            due = now if rate is None else began_at + at / rate
            if due > now:
                break
            connection = idle.popleft()
            due_at[connection] = due
            request = requests[at]
            at += 1
            sent = sockets[connection].send(request)
            if sent < len(request):
                unsent[connection] = memoryview(request)[sent:]
                epoll.modify(connection, select.EPOLLIN | select.EPOLLOUT)
        wait_s = PATIENCE_S
        if rate is not None and idle and at < end:
            wait_s = max(0.0, began_at + at / rate - clock())
        ready = epoll.poll(wait_s)
        now = clock()
        if not ready and wait_s == PATIENCE_S:
            raise ConnectionError(f"no answer for {PATIENCE_S:g} s")
        for connection, what in ready:
            if what & select.EPOLLOUT:
                _send_more(epoll, sockets[connection], connection, unsent)
            if not what & ~select.EPOLLOUT:
                continue
            data = sockets[connection].recv(65_536)
            if connection in partial:
                data = partial.pop(connection) + data
            elif not data:
                raise ConnectionError("the server closed a connection")
            body = data.find(b"\r\n\r\n") + 4
            if body > 3:
                length = data.find(b"content-length: ") + 16
                if len(data) >= body + int(data[length : data.find(b"\r", length)]):
                    latencies.append(now - due_at[connection])
                    idle.append(connection)
                    if data[9] == 50:  # "2", first digit of the status
                        answers.accepted += 1
                        if load.positions:
                            answers.positions.append((now, *_position(data)))
                    else:
                        answers.others[int(data[9:12])] += 1
                    continue
            partial[connection] = data
    answers.elapsed_s = now - began_at
    answers.cpu_s = time.process_time() - cpu_before
    return answers


def _send_more(epoll: select.epoll, to: socket.socket, connection: int, unsent: dict[int, memoryview]) -> None:
    left = unsent[connection]
    left = left[to.send(left) :]
    if left:
        unsent[connection] = left
    else:
        del unsent[connection]
        epoll.modify(connection, select.EPOLLIN)


def _position(answer: bytes) -> tuple[str, int]:
    start = answer.find(b"felix-position: ") + 16
    tenant, _, sequence = answer[start : answer.find(b"\r", start)].partition(b":")
    return tenant.decode(), int(sequence)
