"""Puts a restored database where Felix is to use it: into an empty directory, or in place of the one that was there."""

import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from felix.embedded.archive import stop_archiving
from felix.embedded.backup_store import ERASURE_KEY_FILE, KEY_FILES
from felix.embedded.cluster import ASIDE, Cluster
from felix.embedded.errors import DataDirUnusable, DirectoryInUse
from felix.embedded.processes import Server, processes_in
from felix.embedded.supervisor import Supervisor
from felix.embedded.workspace import Workspace, sync_directory

SCRATCH = "restoring"
LEFT_BY_A_FAILED_ONE = (SCRATCH, "felix.lock")
END_WITHIN_S = 10.0
#: What the database of another moment must not meet: queues, and how far imports were.
BELONGS_TO_ITS_MOMENT = ("pgdata", "valkey", "imports")


def check_empty(directory: Path) -> None:
    """Raises DataDirUnusable when there is anything in the directory that no failed restore left behind."""
    try:
        if directory.exists() and any(path.name not in LEFT_BY_A_FAILED_ONE for path in directory.iterdir()):
            raise DataDirUnusable(
                f"{directory} is not empty, and a restore writes over nothing",
                "Name a new directory with --into, or replace a stopped Felix with --in-place.",
            )
    except NotADirectoryError as error:
        raise DataDirUnusable(f"{directory} is not a directory", "Name a new one with --into.") from error


@contextmanager
def held(directory: Path) -> Iterator[Path]:
    """Keep Felix from starting in a data directory; a place in it for the work, gone at the end.

    Raises DirectoryInUse when Felix or its Postgres runs there.
    """
    holder = Supervisor(directory, with_postgres=False, with_valkey=False)
    holder.hold()
    workspace = Workspace(directory)
    try:
        if (live := Cluster(workspace, Path()).live_postmaster()) is not None:
            raise DirectoryInUse(
                f"postgres {live.pid} still runs in {workspace.data_dir}",
                "It outlived its Felix. Start `felix up` and stop it in order.",
                pid=live.pid,
            )
        with cleared(workspace.data_dir / SCRATCH) as scratch:
            yield scratch
    finally:
        holder.stop()


@contextmanager
def cleared(scratch: Path) -> Iterator[Path]:
    """A directory that does not exist, neither before nor after; nor does a server in it that outlived a killed one."""
    _clear(scratch)
    try:
        yield scratch
    finally:
        _clear(scratch)


def _clear(scratch: Path) -> None:
    place = scratch / "pgdata"
    for name in ("postgres", "pg_combinebackup") if place.exists() else ():
        for pid in processes_in(place, name):
            orphan = Server(pid)
            orphan.send(signal.SIGKILL)  # nobody needs what it writes
            orphan.wait(END_WITHIN_S)
    shutil.rmtree(scratch, ignore_errors=True)


def put_in_place(scratch: Path, directory: Path) -> Path | None:
    """Move the restored database, whose server has stopped, to its place; where what was there before is now."""
    directory = directory.absolute().resolve()
    aside = None
    if (directory / "pgdata").exists():
        aside = directory / f"{ASIDE}{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
        aside.mkdir(mode=0o700)
        for name in BELONGS_TO_ITS_MOMENT:
            if (directory / name).exists():
                (directory / name).rename(aside / name)
    (scratch / "pgdata").rename(directory / "pgdata")
    for name in (*KEY_FILES, ERASURE_KEY_FILE):
        if (scratch / name).exists() and not (directory / name).exists():
            (scratch / name).rename(directory / name)
    stop_archiving(directory)
    sync_directory(directory)
    return aside
