"""Runs code that nobody trusts: in bubblewrap, behind Landlock where that is missing, and otherwise not at all.

What runs sees the system's libraries, the files that it is given, and nothing else: no network, no other process, none
of the environment. Time, memory, open files and output are capped; output is read as it comes and cut at its cap, and
whatever is still running then is killed, with everything that it has started.
"""

from __future__ import annotations

import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from felix.adapters import confined
from felix.domain.errors import Invalid, Unavailable

Kind = Literal["bubblewrap", "landlock"]

_LAUNCHER = Path(confined.__file__)
#: The system's programs and libraries; what is not there is left out.
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64")
#: Where a program finds itself inside bubblewrap.
_INSIDE = "/work"
_PROBE_TIMEOUT_S = 5.0
#: After a program was told to end, its sandbox may take so long to be gone.
_GONE_WITHIN_S = 5.0
_ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "HOME": "/tmp",
    "PYTHONDONTWRITEBYTECODE": "1",
}


class NoSandbox(Unavailable):
    """There is no sandbox here, and nothing that executes code runs without one. Install bubblewrap."""


class UnsafePath(Invalid):
    """A file's path leads out of the place that it belongs to."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one run may use at the most. Memory and open files are for each process of it."""

    wall_s: float = 10.0
    cpu_s: int = 5
    memory_bytes: int = 512 * 2**20
    file_bytes: int = 16 * 2**20
    open_files: int = 256
    output_bytes: int = 2**20


@dataclass(frozen=True, slots=True)
class Ran:
    """What became of a run. ``exit_code`` is 128 and more where a signal ended it."""

    kind: Kind
    exit_code: int
    output: bytes
    #: Why it was ended before its time, if it was.
    ended: Literal["", "time", "output"]
    took_s: float


@cache
def sandbox_kind() -> Kind | None:
    """The best sandbox that works on this machine: tried, not guessed."""
    for kind in ("bubblewrap", "landlock"):
        with tempfile.TemporaryDirectory() as place:
            try:
                done = subprocess.run(
                    _command(kind, [sys.executable, "-IS", "-c", "print('works')"], Path(place), Limits()),
                    capture_output=True,
                    timeout=_PROBE_TIMEOUT_S,
                    env={},
                )
            except (OSError, subprocess.TimeoutExpired):
                continue
            if done.stdout == b"works\n":
                return kind
    return None


def run(program: Sequence[str], files: Mapping[str, bytes], limits: Limits, *, kind: Kind | None = None) -> Ran:
    """Run a program on some files, in the directory that they are in.

    ``files`` are named by relative paths. Raises :class:`NoSandbox` and :class:`UnsafePath`.
    """
    chosen = kind or sandbox_kind()
    if chosen is None:
        raise NoSandbox()
    with tempfile.TemporaryDirectory(prefix="felix-run-") as name:
        place = Path(name)
        for path, content in files.items():
            _put(place, path, content)
        return _watched(_command(chosen, program, place, limits), chosen, limits)


def _put(place: Path, path: str, content: bytes) -> None:
    target = place / path
    parts = Path(path).parts
    if not parts or Path(path).is_absolute() or ".." in parts or "\0" in path:
        raise UnsafePath(path=path)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)


def _command(kind: Kind, program: Sequence[str], place: Path, limits: Limits) -> list[str]:
    base = os.path.realpath(sys.base_prefix)
    system = [path for path in _SYSTEM if os.path.lexists(path)]
    numbers = {name: value for name, value in asdict(limits).items() if name not in ("wall_s", "output_bytes")}
    inner = [_bare(each) for each in program]
    if kind == "landlock":
        given: dict[str, object] = {
            "limits": numbers,
            "readable": [*system, base, "/etc/ld.so.cache", "/dev/urandom", "/dev/zero"],
            "writable": [str(place), "/dev/null"],
            "directory": str(place),
            "environment": _ENVIRONMENT | {"HOME": str(place), "TMPDIR": str(place)},
        }
        return [_bare(sys.executable), "-IS", str(_LAUNCHER), json.dumps(given), "--", *inner]
    wrapped = shutil.which("bwrap")
    if wrapped is None:
        raise FileNotFoundError("bwrap")
    given = {"limits": numbers, "directory": _INSIDE, "environment": _ENVIRONMENT}
    mounts: list[str] = []
    for each in system:
        target = Path(each)
        mounts += ["--symlink", str(target.readlink()), each] if target.is_symlink() else ["--ro-bind", each, each]
    return [
        wrapped,
        *("--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL", "--clearenv"),
        *mounts,
        *("--ro-bind-try", base, base),
        *("--ro-bind", str(_LAUNCHER), "/launcher.py"),
        *("--proc", "/proc", "--dev", "/dev"),
        *("--size", str(limits.file_bytes), "--tmpfs", "/tmp"),
        *("--ro-bind", str(place), _INSIDE, "--chdir", _INSIDE),
        *("--", _bare(sys.executable), "-IS", "/launcher.py", json.dumps(given), "--", *inner),
    ]  # fmt: skip


def _bare(program: str) -> str:
    """The interpreter itself where a program is that of this environment: inside there is no environment of ours."""
    return os.path.realpath(program) if program == sys.executable else program


def _watched(command: Sequence[str], kind: Kind, limits: Limits) -> Ran:
    began_at = time.monotonic()
    ended: Literal["", "time", "output"] = ""
    output = bytearray()
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={},
        start_new_session=True,
    )
    assert child.stdout is not None
    with child.stdout as stream, selectors.DefaultSelector() as selector:
        os.set_blocking(stream.fileno(), False)
        selector.register(stream, selectors.EVENT_READ)
        while not ended:
            left_s = began_at + limits.wall_s - time.monotonic()
            if left_s <= 0 or not selector.select(left_s):
                ended = "time"
                break
            piece = stream.read(65_536)
            if not piece:
                break  # nobody has the other end any more
            output += piece[: limits.output_bytes - len(output)]
            if len(output) >= limits.output_bytes:
                ended = "output"
        if not ended:
            try:
                child.wait(max(0.0, began_at + limits.wall_s - time.monotonic()))
            except subprocess.TimeoutExpired:
                ended = "time"
        if ended:
            _end(child)
    code = child.wait()
    return Ran(kind, 128 - code if code < 0 else code, bytes(output), ended, time.monotonic() - began_at)


def _end(child: subprocess.Popen[bytes]) -> None:
    """Ask the first program inside to bury the others; bubblewrap's own death takes its whole world with it."""
    child.send_signal(signal.SIGTERM)
    try:
        child.wait(_GONE_WITHIN_S)
    except subprocess.TimeoutExpired:
        child.kill()
