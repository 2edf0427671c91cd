"""A proxy before Postgres that loses a session at the worst moment: around its commit."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from psycopg.conninfo import conninfo_to_dict, make_conninfo

READY_OUTSIDE_A_TRANSACTION = b"Z\x00\x00\x00\x05I"


class SeveringProxy:
    """Passes sessions through; the next commit after :meth:`sever` meets the chosen fate.

    ``after``: the server has committed, the answer is lost. ``during``: the client is cut off while the commit is
    still on its way, and arrives 300 ms later. ``before``: the commit never arrives; ``meanwhile`` is called when the
    server has noticed, before the client has.
    """

    def __init__(self, url: str) -> None:
        parts = conninfo_to_dict(url)
        host, port = str(parts.get("host") or "localhost"), int(parts.get("port") or 5432)
        self._upstream: Any = str(Path(host) / f".s.PGSQL.{port}") if host.startswith("/") else (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = make_conninfo(
            url, host="127.0.0.1", port=self._listener.getsockname()[1], sslmode="disable", gssencmode="disable"
        )
        self.severed = 0
        self._fate: str | None = None
        self._meanwhile: Callable[[], object] = lambda: None
        threading.Thread(target=self._accept, daemon=True).start()

    def sever(self, fate: str, meanwhile: Callable[[], object] = lambda: None) -> None:
        """Choose the fate of the next commit."""
        self._fate, self._meanwhile = fate, meanwhile

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                server = socket.socket(socket.AF_UNIX if isinstance(self._upstream, str) else socket.AF_INET)
                server.connect(self._upstream)
                answers_pass = threading.Event()
                answers_pass.set()
                for pump in (self._to_server, self._to_client):
                    threading.Thread(target=pump, args=(client, server, answers_pass), daemon=True).start()

    def _to_server(self, client: socket.socket, server: socket.socket, answers_pass: threading.Event) -> None:
        with suppress(OSError):
            while data := client.recv(65536):
                if self._fate is None or b"commit\x00" not in data.lower():
                    server.sendall(data)
                    continue
                fate, self._fate = self._fate, None
                self.severed += 1
                answers_pass.clear()
                if fate == "during":
                    cut(client)
                    time.sleep(0.3)
                    server.sendall(data)
                elif fate == "after":
                    server.sendall(data)
                    continue
                elif fate == "before":
                    cut(server)
                    self._meanwhile()
                    cut(client)
                    return
        # After a cut the server's side stays until it has answered, as it would behind a broken network.
        if answers_pass.is_set():
            cut(server)

    def _to_client(self, client: socket.socket, server: socket.socket, answers_pass: threading.Event) -> None:
        tail = b""
        with suppress(OSError):
            while data := server.recv(65536):
                if answers_pass.is_set():
                    client.sendall(data)
                    continue
                tail = (tail + data)[-len(READY_OUTSIDE_A_TRANSACTION) :]
                if tail == READY_OUTSIDE_A_TRANSACTION:
                    break
        # When the commit was kept back, the other pump decides when the client learns of it.
        if answers_pass.is_set() or tail == READY_OUTSIDE_A_TRANSACTION:
            cut(client)
        cut(server)


def cut(connection: socket.socket) -> None:
    """Close both directions at once."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()


@contextmanager
def severing_proxy(url: str) -> Iterator[SeveringProxy]:
    """A proxy for the time of one test."""
    proxy = SeveringProxy(url)
    try:
        yield proxy
    finally:
        proxy.close()
