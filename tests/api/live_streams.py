"""Real servers with live streams, and readers of them that check what they are told."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit

import uvicorn
from fastapi import FastAPI
from felix_world import make_app

from felix.api.live.hub import LiveHub
from felix.cli.live import EventStream, Message
from felix.cli.one_write import OneWriteProtocol
from felix.cli.server import Server
from felix.settings import Settings

PATIENCE_S = 15.0


@dataclass
class Served:
    """An API behind a real socket, in a thread of the test."""

    url: str
    app: FastAPI
    server: Server

    @property
    def live(self) -> LiveHub:
        hub: LiveHub = self.app.state.services.live
        return hub


@contextmanager
def serve(settings: Settings) -> Iterator[Served]:
    """Run the API as `felix.cli.serve` does."""
    app = make_app(settings)
    with serve_app(app, lambda: app.state.services.live.end()) as (url, server):
        yield Served(url, app, server)


@contextmanager
def serve_app(app: Any, stopping: Callable[[], None] = lambda: None) -> Iterator[tuple[str, Server]]:
    """Run any application behind a real socket, in a thread."""
    config = uvicorn.Config(
        app, port=0, loop="uvloop", http=OneWriteProtocol, ws="none", log_config=None, access_log=False,
        timeout_graceful_shutdown=5,
    )  # fmt: skip
    server = Server(config, stopping)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    eventually(lambda: server.started or not thread.is_alive())
    host, port = server.servers[0].sockets[0].getsockname()[:2]
    try:
        yield f"http://{host}:{port}", server
    finally:
        server.should_exit = True
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


def eventually(holds: Callable[[], bool], told: Callable[[], Any] = str, patience_s: float = PATIENCE_S) -> None:
    """Wait until something holds, or fail."""
    deadline = time.monotonic() + patience_s
    while not holds():
        assert time.monotonic() < deadline, f"it did not come about in time: {told()}"
        time.sleep(0.005)


@dataclass
class Listening:
    """One connection, read by a thread of its own."""

    status: int
    headers: dict[str, str]
    connection: http.client.HTTPConnection
    response: http.client.HTTPResponse
    socket: socket.socket
    stream: EventStream
    messages: list[Message] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    ended: bool = False

    def read(self) -> None:
        """Keep every message until the end. Closing is this thread's: another one would pull the file away from it."""
        with closing(self.connection), closing(self.response), suppress(OSError, http.client.HTTPException):
            for message in self.stream.read(self._lines()):
                self.messages.append(message)
        self.ended = True

    def _lines(self) -> Iterator[str]:
        while line := self.response.readline():
            self.lines.append(line.decode().rstrip("\n"))
            yield self.lines[-1]

    @property
    def last_event_id(self) -> str:
        return self.stream.last_event_id

    def told(self, event: str = "events") -> list[Any]:
        """What messages of a topic said."""
        return [json.loads(message.data) for message in list(self.messages) if message.event == event]

    def sequences(self) -> list[int]:
        return [event["tenant_sequence"] for event in self.told()]

    def wait_for(self, holds: Callable[[Listening], bool]) -> None:
        eventually(lambda: holds(self), lambda: self.messages[-3:])

    def hang_up(self) -> None:
        """Be gone, as a browser that is closed."""
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)


def listen(url: str, headers: dict[str, str], last_event_id: str = "", **query: str) -> Listening:
    """Connect and read until the end."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=60)
    sent = headers | ({"Last-Event-ID": last_event_id} if last_event_id else {})
    connection.connect()
    kept = connection.sock
    connection.request("GET", "/v1/live?" + urlencode(query), headers=sent)
    response = connection.getresponse()
    found = Listening(
        response.status, {name.lower(): value for name, value in response.getheaders()}, connection, response, kept,
        EventStream(last_event_id),
    )  # fmt: skip
    threading.Thread(target=found.read, daemon=True).start()
    return found


def freeze(url: str, headers: dict[str, str], path: str = "/v1/live", **query: str) -> socket.socket:
    """Connect, ask, and never read."""
    address = urlsplit(url)
    frozen = socket.socket()
    # The smallest buffer that the system gives, so that little is enough to fill it.
    frozen.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    frozen.connect((address.hostname, address.port))
    lines = [f"GET {path}?{urlencode(query)} HTTP/1.1", "Host: felix", *(f"{k}: {v}" for k, v in headers.items())]
    frozen.sendall("\r\n".join([*lines, "", ""]).encode())
    return frozen
