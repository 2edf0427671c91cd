"""Starts, recognises and ends server processes, children or adopted ones, by process id.

Only processes that were verified to be ours are ever signalled.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from felix.embedded.account import ServiceAccount
from felix.embedded.errors import ServiceDidNotStart

EXIT_UNKNOWN = 255  # an adopted process is not our child, so the kernel does not tell us its exit code

# The environment is built, not inherited: it may hold API keys, and /proc/<pid>/environ of an
# unprivileged server is readable by every process of that account. PG* variables would also leak in.
CLEAN_ENVIRONMENT: Mapping[str, str] = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}


def launch(
    command: Sequence[str | Path],
    account: ServiceAccount,
    output: IO[bytes],
    *,
    keep_open: Sequence[int] = (),
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a server as `account`, in its own session so that a terminal's Ctrl-C does not reach it.

    Descriptors in `keep_open` are inherited, for locks. Raises ServiceDidNotStart.
    """
    try:
        return subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd="/",
            env={**CLEAN_ENVIRONMENT, **(environment or {})},
            start_new_session=True,
            pass_fds=tuple(keep_open),
            user=account.uid if account.switch else None,
            group=account.gid if account.switch else None,
            extra_groups=[] if account.switch else None,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise ServiceDidNotStart(
            f"{command[0]} could not be run as user {account.name}: {error}",
            "Is the file system mounted noexec, or the machine out of memory or processes?",
        ) from error


class Server:
    """One server process: our child, or a process that an earlier supervisor left behind."""

    def __init__(self, pid: int, child: subprocess.Popen[bytes] | None = None) -> None:
        self.pid = pid
        self._child = child
        self._birth = _birth(pid)

    def poll(self) -> int | None:
        """Return the exit code once the process is gone (EXIT_UNKNOWN for an adopted one), else None."""
        if self._child is not None:
            return self._child.poll()
        # The birth time tells a recycled process id from the process that was adopted.
        return None if is_alive(self.pid) and _birth(self.pid) == self._birth else EXIT_UNKNOWN

    def send(self, number: signal.Signals) -> None:
        """Signal the process unless it is gone."""
        if self.poll() is None:
            # It may end between the two lines, which is what the signal was for.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def wait(self, timeout_s: float) -> bool:
        """Wait for the end of the process and say whether it came in time."""
        deadline = time.monotonic() + timeout_s
        while self.poll() is None:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.01)
        return True


def is_alive(pid: int) -> bool:
    """Say whether the process runs; a zombie does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # alive, and of another user
    return _stat_field(pid, 0) not in ("Z", "X")


def runs_in(pid: int, directory: Path, name: str) -> bool:
    """Say whether the process is a `name` that works in `directory`; servers change into their data.

    Without /proc (macOS) nothing can be compared, and a live process is taken for the one that is named.
    """
    if not is_alive(pid):
        return False
    return _works_in(pid, directory, name) is True or not Path("/proc/self/stat").exists()


def runs_elsewhere(pid: int, directory: Path, name: str) -> bool:
    """Say whether the live process is known to be another program, or one that works somewhere else."""
    return is_alive(pid) and _works_in(pid, directory, name) is False


def _works_in(pid: int, directory: Path, name: str) -> bool | None:
    """Compare program name and working directory; None when the kernel does not let us look."""
    try:
        program = Path(f"/proc/{pid}/stat").read_text().split("(", 1)[1].rsplit(")", 1)[0]
        return program == name[:15] and Path(f"/proc/{pid}/cwd").samefile(directory)
    except OSError:
        return None


def processes_in(directory: Path, name: str) -> list[int]:
    """List the processes called `name` that work in `directory`."""
    pids = [int(entry.name) for entry in Path("/proc").glob("[0-9]*")]
    return [pid for pid in pids if runs_in(pid, directory, name)]


def last_lines(log: Path, since: int = 0, count: int = 8) -> str:
    """Return the last lines a server wrote after byte `since` of its log, indented for an error text."""
    try:
        with log.open("rb") as file:
            file.seek(since if since <= log.stat().st_size else 0)  # a log that was rotated begins anew
            lines = file.read(256_000).decode(errors="replace").strip().splitlines()[-count:]
    except OSError as error:
        lines = [f"(log not readable: {error})"]
    return "\n".join(f"  {line}" for line in lines or ["(the log says nothing)"])


def _stat_field(pid: int, index: int) -> str:
    """Return a field of /proc/<pid>/stat, counted after the command name; empty without /proc."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[index]
    except OSError:
        return ""


def _birth(pid: int) -> str:
    return _stat_field(pid, 19)
