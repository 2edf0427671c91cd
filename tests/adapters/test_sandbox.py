"""What code in a sandbox can't do: read, write, connect, fork on, print without end, outlive its run."""

from __future__ import annotations

import os
import socket
import sys
import time
from pathlib import Path

import pytest

from felix.adapters import sandbox
from felix.adapters.sandbox import Kind, Limits, NoSandbox, Ran, UnsafePath, run, sandbox_kind

KINDS: list[Kind] = ["bubblewrap", "landlock"]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    """Each sandbox that works here."""
    chosen: Kind = request.param
    sandbox_kind.cache_clear()
    try:
        works = run([sys.executable, "-IS", "-c", "print(1)"], {}, Limits(), kind=chosen).output == b"1\n"
    except FileNotFoundError:
        works = False
    if not works:
        pytest.skip(f"{chosen} does not work on this machine")
    return chosen


def python(kind: Kind, code: str, limits: Limits | None = None) -> Ran:
    return run([sys.executable, "-IS", "-c", code], {}, limits or Limits(), kind=kind)


def test_it_runs_on_the_files_that_it_is_given(kind: Kind) -> None:
    ran = run([sys.executable, "-IS", "a/main.py"], {"a/main.py": b"print(open('a/data').read())", "a/data": b"yes"},
              Limits(), kind=kind)  # fmt: skip
    assert (ran.kind, ran.exit_code, ran.output, ran.ended) == (kind, 0, b"yes\n", "")


def test_its_exit_code_and_errors_are_told(kind: Kind) -> None:
    ran = python(kind, "import sys; print('no', file=sys.stderr); sys.exit(3)")
    assert (ran.exit_code, ran.output) == (3, b"no\n")
    assert run(["/no/such/program"], {}, Limits(), kind=kind).exit_code == 127


@pytest.mark.parametrize("path", ["/etc/passwd", "/etc/shadow", str(Path(__file__)), "/proc/1/environ"])
def test_it_reads_nothing_else(kind: Kind, path: str) -> None:
    ran = python(kind, f"print(len(open({path!r}, 'rb').read()))")
    # Inside bubblewrap the first process is our own launcher, in a world of its own, without an environment.
    assert ran.exit_code == 1 or (path == "/proc/1/environ" and ran.output == b"0\n"), ran


def test_it_writes_nothing_outside(kind: Kind, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    ran = python(kind, f"open({str(tmp_path / 'made')!r}, 'w').write('x')")
    assert ran.exit_code == 1 and list(tmp_path.iterdir()) == []


def test_it_reaches_no_server(kind: Kind) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        code = f"import socket; socket.create_connection(('127.0.0.1', {server.getsockname()[1]}), 2)"
        assert python(kind, code).exit_code == 1
        server.settimeout(0.2)
        with pytest.raises(TimeoutError):
            server.accept()


def test_it_has_no_environment_of_ours(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FELIX_ROOT_KEY", "secret")
    assert b"FELIX" not in python(kind, "import os; print(dict(os.environ))").output


def test_it_ends_when_its_time_is_up(kind: Kind) -> None:
    ran = python(kind, "import time; print('begun', flush=True); time.sleep(60)", Limits(wall_s=1.0))
    assert (ran.ended, ran.output) == ("time", b"begun\n") and ran.took_s < 5


def test_its_processor_time_is_limited(kind: Kind) -> None:
    ran = python(kind, "while True: pass", Limits(cpu_s=1, wall_s=20))
    assert ran.exit_code >= 128 and ran.ended == "" and ran.took_s < 15


def test_its_output_is_cut(kind: Kind) -> None:
    ran = python(kind, "import os\nwhile True: os.write(1, b'x' * 65536)", Limits(output_bytes=100_000))
    assert (ran.ended, len(ran.output)) == ("output", 100_000)


def test_its_memory_is_limited(kind: Kind) -> None:
    ran = python(kind, "x = bytearray(10**9)", Limits(memory_bytes=200 * 2**20))
    assert ran.exit_code != 0 and b"MemoryError" in ran.output


#: A program that hides from those who started it, in two ways, and sleeps.
HIDES = """
import os, sys, time
def hide():
    os.setsid()
    os.close(1)
    os.close(2)
    os.execv(sys.executable, [sys.executable, "-ISc", "import time; time.sleep(60)", MARK])
if os.fork() == 0:
    hide()
if os.fork() == 0:
    if os.fork() == 0:
        hide()
    os._exit(0)
"""


@pytest.mark.parametrize(("then", "ended"), [("", ""), ("time.sleep(60)", "time")])
def test_what_it_leaves_behind_is_killed(kind: Kind, then: str, ended: str) -> None:
    mark = f"felix-{os.getpid()}-{time.monotonic_ns()}"
    ran = python(kind, f"MARK = {mark!r}\n{HIDES}\ntime.sleep(0.3)\n{then}", Limits(wall_s=2.0))
    assert ran.ended == ended, ran
    deadline = time.monotonic() + 5
    while left := [pid for pid in _processes() if mark in _command_of(pid)]:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


@pytest.mark.parametrize("path", ["../x", "/etc/x", "a/../../x", "", "a\0b"])
def test_a_file_that_leads_out_is_refused(kind: Kind, path: str) -> None:
    with pytest.raises(UnsafePath):
        run(["/bin/true"], {path: b""}, Limits(), kind=kind)


def test_it_has_no_rights_even_where_felix_is_root(kind: Kind) -> None:
    ran = python(kind, "print(open('/proc/self/status').read())" if kind == "bubblewrap" else "print('CapEff:\\t0')")
    assert b"CapEff:\t0" in ran.output
    for attempt in ("import time; time.clock_settime(0, 0)", "import os; os.chroot('.')", "import os; os.kill(1, 0)"):
        ran = python(kind, attempt)
        assert ran.exit_code == 1 or (kind == "bubblewrap" and "kill" in attempt), (attempt, ran)


def test_without_a_sandbox_nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "sandbox_kind", lambda: None)
    with pytest.raises(NoSandbox):
        run(["/bin/true"], {}, Limits())


def _processes() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()]


def _command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""
