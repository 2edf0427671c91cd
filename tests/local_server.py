"""A real HTTP server on a private port of this machine, for systems that tests imitate."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

#: Longer than any client waits; a test that ends lets it go.
HANG_S = 30.0


@dataclass(frozen=True)
class Asked:
    """A request as it came in."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def form(self) -> dict[str, str]:
        return dict(parse_qsl(self.body.decode(), keep_blank_values=True))

    @property
    def bearer(self) -> str:
        """The token of the Authorization header, or nothing."""
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        return token if scheme.lower() in ("bearer", "token") else ""


@dataclass
class Told:
    """What goes back. ``raw`` is sent in place of everything, byte for byte."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes | None = None

    def encoded(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


Fault = Callable[[Asked], Told]


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up, as one that is killed does, is nobody's mistake here."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class LocalServer:
    """Answers requests with :meth:`answer`; each of ``faults`` spoils one request, in order, before it is looked at."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.faults: list[Fault] = []
        self._let_go = threading.Event()
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}"

    def answer(self, asked: Asked) -> Told:
        """What a system of this kind answers."""
        raise NotImplementedError

    @contextmanager
    def running(self) -> Iterator[Any]:
        """Listen for a while."""
        self._thread.start()
        try:
            yield self
        finally:
            self._let_go.set()
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()

    # --- faults ---

    def let_go(self) -> None:
        """End what hangs."""
        self._let_go.set()

    def hangs(self, asked: Asked) -> Told:
        """Take the request and say nothing."""
        self._let_go.wait(HANG_S)
        return Told(raw=b"")

    @staticmethod
    def hangs_up(asked: Asked) -> Told:
        """Close the connection in the middle of the answer."""
        return Told(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")

    @staticmethod
    def fails(asked: Asked) -> Told:
        """A server error without a sensible body."""
        return Told(502, b"<html>Bad Gateway</html>")

    @staticmethod
    def babbles(asked: Asked) -> Told:
        """What is not JSON."""
        return Told(200, b"\xff\xfe{]")

    @staticmethod
    def floods(asked: Asked) -> Told:
        """More than anybody asked for."""
        return Told(200, b'{"a": "' + b"x" * (3 * 1024 * 1024) + b'"}')

    @staticmethod
    def leads_to(url: str) -> Fault:
        """A redirect."""
        return lambda asked: Told(302, {}, {"Location": url})

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Head and body are written one after the other; without this the second waits for the first one's arrival.
            disable_nagle_algorithm = True

            def handle_any(self) -> None:
                split = urlsplit(self.path)
                length = int(self.headers.get("content-length") or 0)
                asked = Asked(
                    self.command,
                    split.path,
                    dict(parse_qsl(split.query, keep_blank_values=True)),
                    {name.lower(): value for name, value in self.headers.items()},
                    self.rfile.read(length),
                )
                server.asked.append(asked)
                told = server.faults.pop(0)(asked) if server.faults else server.answer(asked)
                with suppress(OSError):
                    self._tell(told)

            def _tell(self, told: Told) -> None:
                if told.raw is not None:
                    self.wfile.write(told.raw)
                    self.close_connection = True
                    return
                body = told.encoded()
                self.send_response(told.status)
                for name, value in {"Content-Type": "application/json", **told.headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any

        return Handler
