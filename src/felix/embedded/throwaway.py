"""Gives tests a Postgres of their own, without fsync, that is gone afterwards."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from felix.embedded.postgres import EmbeddedPostgres, PostgresAddress, PostgresSettings


@contextmanager
def throwaway_postgres(
    settings: dict[str, str] | None = None, *, max_connections: int = 200, parent: Path | None = None
) -> Iterator[PostgresAddress]:
    """Run an empty server in a new temporary directory below `parent`; stop it and delete it at the end.

    `parent` must let the service account pass when root runs the tests, which pytest's tmp_path does
    not; the system's temporary directory does.
    """
    data_dir = Path(tempfile.mkdtemp(prefix="felix-throwaway-", dir=parent))
    server = EmbeddedPostgres(
        PostgresSettings(data_dir, settings=settings or {}, durable=False, max_connections=max_connections)
    )
    try:
        yield server.start(timeout_s=60)
    finally:
        server.stop()
        shutil.rmtree(data_dir, ignore_errors=True)
