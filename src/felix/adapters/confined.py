"""The first program inside a sandbox: takes away what the code that follows may not have, starts it, buries it.

Run by path, with the bare interpreter and this file alone, so it imports the standard library only. It stays as the
parent of all that follows: what a killed or finished program leaves behind, however it hid, is killed with it.

Usage: confined.py LIMITS -- PROGRAM ARGUMENTS…, where LIMITS is the JSON of :class:`felix.adapters.sandbox.Limits` and,
for Landlock, the paths that may be read and written.
"""

import ctypes
import json
import os
import resource
import signal
import struct
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

#: Numbers of the kernel's interface, the same on every architecture since Linux 5.13 (include/uapi/linux/landlock.h).
LANDLOCK_CREATE_RULESET, LANDLOCK_ADD_RULE, LANDLOCK_RESTRICT_SELF = 444, 445, 446
RULE_PATH_BENEATH = 1
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 36, 38
PR_CAPBSET_DROP, PR_SET_SECUREBITS = 24, 28
#: SECBIT_NOROOT and SECBIT_NO_SETUID_FIXUP, each locked (linux/securebits.h).
NO_ROOT_LOCKED = 0b1111
CAPABILITY_VERSION_3 = 0x20080522
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
#: Every right on files that each version of the interface knows; what is handled and not allowed is denied.
HANDLED = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1}
#: Truncating and device controls came later; newer versions handle all of these.
HANDLED_NEWEST = (1 << 16) - 1
#: Rights that make sense on a single file.
ON_FILES = EXECUTE | WRITE_FILE | READ_FILE | 1 << 14 | 1 << 15
TCP_BIND_AND_CONNECT = 0b11
SCOPE_SOCKETS_AND_SIGNALS = 0b11

libc = ctypes.CDLL(None, use_errno=True)


def landlock_version() -> int:
    """The version of the kernel's interface; 0 where there is none."""
    return max(0, int(libc.syscall(LANDLOCK_CREATE_RULESET, None, 0, 1)))


def restrict(readable: Iterable[str], writable: Iterable[str]) -> None:
    """Deny this process, and all that it starts, every file but these, and every TCP connection. Raises OSError."""
    version = landlock_version()
    if os.geteuid() == 0 and version < 6:
        raise OSError("before version 6 nothing keeps root from sending signals to other processes of root")
    handled = HANDLED.get(version, HANDLED_NEWEST)
    attributes = struct.pack(
        "QQQ",
        handled,
        TCP_BIND_AND_CONNECT if version >= 4 else 0,
        SCOPE_SOCKETS_AND_SIGNALS if version >= 6 else 0,
    )
    ruleset = _call(LANDLOCK_CREATE_RULESET, attributes, 24 if version >= 6 else 16 if version >= 4 else 8, 0)
    for paths, rights in ((readable, EXECUTE | READ_FILE | READ_DIR), (writable, handled)):
        for path in paths:
            try:
                descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            allowed = rights & handled & (~0 if Path(path).is_dir() else ON_FILES)
            _call(LANDLOCK_ADD_RULE, ruleset, RULE_PATH_BENEATH, struct.pack("=Qi", allowed, descriptor), 0)
            os.close(descriptor)
    _prctl(PR_SET_NO_NEW_PRIVS, 1)
    _call(LANDLOCK_RESTRICT_SELF, ruleset, 0)
    os.close(ruleset)


def disarm() -> None:
    """Leave root nothing but the name: no capability, now or by starting another program."""
    _prctl(PR_SET_SECUREBITS, NO_ROOT_LOCKED)
    for capability in range(64):
        libc.prctl(PR_CAPBSET_DROP, ctypes.c_ulong(capability), 0, 0, 0)  # those that do not exist are refused
    if libc.capset(struct.pack("=Ii", CAPABILITY_VERSION_3, 0), bytes(24)) != 0:
        raise OSError(ctypes.get_errno(), "capset")


def limit(limits: dict[str, int]) -> None:
    """What one process may use at the most."""
    for name, value in (
        (resource.RLIMIT_CPU, limits["cpu_s"]),
        (resource.RLIMIT_AS, limits["memory_bytes"]),
        (resource.RLIMIT_FSIZE, limits["file_bytes"]),
        (resource.RLIMIT_NOFILE, limits["open_files"]),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(name, (value, value))


def bury() -> None:
    """Kill all that is left of what was started; children of the dead become ours, so none is out of reach."""
    listed = Path(f"/proc/self/task/{os.getpid()}/children")
    while children := [int(pid) for pid in listed.read_text().split()]:
        for pid in children:
            with suppress(ProcessLookupError, ChildProcessError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


def main() -> int:
    """Confine, run, bury; the exit code of the program, or 128 and the number of the signal that ended it."""
    given, program = json.loads(sys.argv[1]), sys.argv[3:]
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    _prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    # From before the first child: whoever stops this process stops all that it started.
    signal.signal(signal.SIGTERM, _end)
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.setsid()
        limit(given["limits"])
        if "readable" in given:
            restrict(given["readable"], given["writable"])
            if os.geteuid() == 0:
                disarm()
        os.chdir(given["directory"])
        try:
            os.execvpe(program[0], program, given["environment"])
        except OSError as error:
            os.write(2, f"{program[0]}: {error.strerror}\n".encode())
            os._exit(127)
    _, status = os.waitpid(child, 0)
    bury()
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def _end(number: int, _: object) -> None:
    bury()
    os._exit(128 + number)


def _call(number: int, *arguments: object) -> int:
    done: int = libc.syscall(number, *arguments)
    if done < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return done


def _prctl(option: int, value: int) -> None:
    if libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


if __name__ == "__main__":
    sys.exit(main())
