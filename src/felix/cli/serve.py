"""One process that serves the API: a child of ``felix up``, or run by hand with ``python -m felix.cli.serve``.

A child inherits the listening socket, so that several share it and a restart refuses nobody.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
from importlib import import_module

#: A parent that is gone can't be asked to wait: requests at hand get this long.
ORPHAN_TIMEOUT_S = 3.0


def main() -> None:
    """Serve ``felix.asgi:app`` until SIGTERM, SIGINT, or the end of the parent."""
    import uvicorn

    from felix.adapters.logs import log_json
    from felix.cli.one_write import OneWriteProtocol
    from felix.cli.server import Server
    from felix.embedded import await_brief, supervised, when_orphaned
    from felix.settings import Settings

    log_json(process="api")
    # By name, because the two entry points do not know each other; here, because it takes the time of a child's wait.
    app = import_module("felix.asgi").app
    # A batch makes tens of thousands of objects that die with it: the default would look through them all the time.
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    if supervised():
        os.environ.update(await_brief())
        when_orphaned(lambda: os.kill(os.getpid(), signal.SIGTERM), at_the_latest_s=ORPHAN_TIMEOUT_S)
    settings = Settings()
    log_json(settings.log_level, process=settings.process_name or "api")
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http=OneWriteProtocol,
        ws="none",
        access_log=False,
        log_config=None,
        timeout_graceful_shutdown=max(1, int(settings.shutdown_timeout_s / 2)),
        server_header=False,
        proxy_headers=False,
    )
    server = Server(config, stopping=lambda: app.state.services.live.end())
    server.run([_inherited_socket()] if "--fd" in sys.argv else None)


def _inherited_socket() -> socket.socket:
    return socket.socket(fileno=int(sys.argv[sys.argv.index("--fd") + 1]))


if __name__ == "__main__":
    main()
