"""Gives tests a Postgres of their own, without fsync, that is gone afterwards."""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from felix.embedded.postgres import EmbeddedPostgres, PostgresAddress, PostgresSettings
from felix.embedded.processes import is_alive, processes_in

_PREFIX = "felix-throwaway-"
#: Nobody keeps a backup of what is thrown away.
_WITHOUT_ARCHIVE = {"archive_mode": "off", "summarize_wal": "off"}


@contextmanager
def throwaway_postgres(
    settings: dict[str, str] | None = None, *, max_connections: int = 200, parent: Path | None = None
) -> Iterator[PostgresAddress]:
    """Run an empty server in a new temporary directory below `parent`; stop it and delete it at the end.

    `parent` must let the service account pass when root runs the tests, which pytest's tmp_path does
    not; the system's temporary directory does. What a process left behind that was killed goes first.
    """
    _clear_away(parent or Path(tempfile.gettempdir()))
    data_dir = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=parent))
    server = EmbeddedPostgres(
        PostgresSettings(
            data_dir, settings=_WITHOUT_ARCHIVE | (settings or {}), durable=False, max_connections=max_connections
        )
    )
    try:
        yield server.start(timeout_s=60)
    finally:
        server.stop()
        shutil.rmtree(data_dir, ignore_errors=True)


def _clear_away(parent: Path) -> None:
    for left in parent.glob(f"{_PREFIX}[0-9]*-*"):
        owner = left.name.removeprefix(_PREFIX).partition("-")[0]
        if not owner.isdigit() or is_alive(int(owner)):
            continue
        with suppress(OSError, ValueError, IndexError):
            postmaster = int((left / "pgdata" / "postmaster.pid").read_text().splitlines()[0])
            if postmaster in processes_in(left / "pgdata", "postgres"):
                os.kill(postmaster, signal.SIGQUIT)
        shutil.rmtree(left, ignore_errors=True)
