"""uvicorn's HTTP protocol with one write a response.

uvicorn writes head and body one after the other and uvloop sends each at once: two system calls, two packets and two
wake-ups of the client for every answer. Here what is written in one turn of the loop leaves together, at its end.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

#: What is gathered at most: an answer that is written in one turn of the loop has to meet the flow control as well.
GATHERED_BYTES = 64 * 1024
#: A closed connection whose client takes nothing of the rest for this long is cut off.
LINGER_S = 10.0


class OneWrite:
    """A transport that gathers writes until the end of the loop's turn."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._parts: list[bytes] = []
        self._bytes = 0

    def write(self, data: bytes) -> None:
        """Send this soon, with what else is written meanwhile."""
        if not self._parts:
            self._loop.call_soon(self._flush)
        self._parts.append(data)
        self._bytes += len(data)
        if self._bytes >= GATHERED_BYTES:
            self._flush()

    def close(self) -> None:
        """Send what is left, then close."""
        self._flush()
        self._transport.close()
        self._linger(None)

    def _linger(self, left_before: int | None) -> None:
        """A client that does not read would keep what was written for it, and its connection, for ever."""
        left = self._transport.get_write_buffer_size()
        if left and left == left_before:
            self._transport.abort()
        elif left:
            self._loop.call_later(LINGER_S, self._linger, left)

    def _flush(self) -> None:
        self._bytes = 0
        if self._parts:
            parts, self._parts = self._parts, []
            if not self._transport.is_closing():
                self._transport.write(b"".join(parts))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class OneWriteProtocol(HttpToolsProtocol):
    """The protocol that ``felix.cli.serve`` gives uvicorn."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected."""
        super().connection_made(OneWrite(transport, self.loop))  # type: ignore[arg-type]

    def on_message_begin(self) -> None:
        """A request has begun; what answers it may cut the connection off, whatever waits to be written."""
        super().on_message_begin()
        self.scope["felix.abort"] = self.transport.abort  # type: ignore[typeddict-unknown-key]
