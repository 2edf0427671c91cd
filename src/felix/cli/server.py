"""uvicorn's server, which ends live streams before it waits for connections to end by themselves."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import uvicorn

#: How long a client may take to read the rest of an answer that is complete, once the server stops.
LAST_BYTES_S = 2.0


class Server(uvicorn.Server):
    """uvicorn tells the application of the end only after the last connection, and live streams have none."""

    def __init__(self, config: uvicorn.Config, stopping: Callable[[], None]) -> None:
        super().__init__(config)
        self._stopping = stopping

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more connections, end the streams, and let the requests at hand finish."""
        self._stopping()
        asyncio.get_running_loop().call_later(LAST_BYTES_S, self._cut_off)
        await super().shutdown(sockets)

    def _cut_off(self) -> None:
        """A client that is frozen would keep a connection open that has nothing more to say."""
        for connection in list(self.server_state.connections):
            cycle = getattr(connection, "cycle", None)
            if cycle is None or cycle.response_complete:
                connection.transport.abort()
