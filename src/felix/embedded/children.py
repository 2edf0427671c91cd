"""Runs Felix's own processes as children that start early, live on a pipe, and end with their parent.

A child's standard input is a pipe. Its first line is the brief, JSON with what the child must know; addresses and
passwords so appear in no process list and no /proc/<pid>/environ. Its end means that the parent is gone, also after
`kill -9`. A child is launched before the brief is known, so that its imports take no time of their own.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from felix.embedded.processes import last_lines

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0
CALM_AFTER_S = 10.0  # a child that has lived so long is started again without a pause
SUPERVISED = "--supervised"


class Child:
    """One process that is started again, after a growing pause, when it dies.

    `module` is run with `python -m`; `open_log` opens the file that takes what it writes; descriptors in `keep_open`
    are inherited.
    """

    def __init__(
        self,
        name: str,
        module: str,
        arguments: Sequence[str] = (),
        *,
        open_log: Callable[[], IO[bytes]],
        log_path: Path,
        keep_open: Sequence[int] = (),
    ) -> None:
        self.name = name
        self.deaths = 0
        self._command = [sys.executable, "-m", module, SUPERVISED, *arguments]
        self._open_log = open_log
        self._log_path = log_path
        self._log_since = 0
        self._keep_open = tuple(keep_open)
        self._process: subprocess.Popen[bytes] | None = None
        self._brief: bytes | None = None
        self._pause_s = FIRST_PAUSE_S
        self._launched_at = 0.0
        self._due_at = 0.0

    @property
    def pid(self) -> int | None:
        """The process id, while there is a process."""
        return None if self._process is None else self._process.pid

    def launch(self) -> None:
        """Start the process; it imports what it needs and waits for the brief."""
        with self._open_log() as log:
            self._log_since = log.tell()
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a terminal's Ctrl-C reaches the parent only, which stops all in order
                pass_fds=self._keep_open,
                bufsize=0,
            )
        self._launched_at = time.monotonic()
        if self._brief is not None:
            self._send_brief()

    def brief(self, facts: Mapping[str, str]) -> None:
        """Say what the process must know, its name too; a later one of the same child hears the same."""
        self._brief = json.dumps({"FELIX_PROCESS_NAME": self.name, **facts}).encode() + b"\n"
        self._send_brief()

    def check(self) -> str | None:
        """Start the process again when it has died and its pause is over; a sentence when it just died."""
        if self._process is None:
            if time.monotonic() >= self._due_at:
                self.launch()
            return None
        code = self._process.poll()
        if code is None:
            return None
        self.deaths += 1
        self._close()
        if time.monotonic() - self._launched_at > CALM_AFTER_S:
            self._pause_s = FIRST_PAUSE_S
        self._due_at = time.monotonic() + self._pause_s
        pause_s, self._pause_s = self._pause_s, min(2 * self._pause_s, LONGEST_PAUSE_S)
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
        return f"{self.name} {how} and is started again in {pause_s:g} s"

    def last_words(self) -> str:
        """The last lines that the newest process wrote to its log."""
        return last_lines(self._log_path, self._log_since, 12)

    def ask_to_stop(self) -> None:
        """Send SIGTERM, to the process itself and not to a group."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def stop(self, timeout_s: float) -> bool:
        """End the process; one that does not end in time is killed. Says whether it ended by itself."""
        process = self._process
        if process is None:
            return True
        self.ask_to_stop()
        in_time = True
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            in_time = False
            process.kill()
            process.wait()
        self._close()
        return in_time

    def _send_brief(self) -> None:
        process = self._process
        if process is None or process.stdin is None or self._brief is None:
            return
        with contextlib.suppress(BrokenPipeError):  # it died; check() will see that
            process.stdin.write(self._brief)

    def _close(self) -> None:
        process, self._process = self._process, None
        if process is not None and process.stdin is not None:
            process.stdin.close()


def supervised() -> bool:
    """Say whether this process was launched by a Child."""
    return SUPERVISED in sys.argv[1:]


def await_brief() -> dict[str, str]:
    """Read the brief from the parent. Ends the process when there is no parent any more."""
    line = sys.stdin.buffer.readline()
    if not line.endswith(b"\n"):
        raise SystemExit(0)
    brief: dict[str, str] = json.loads(line)
    return brief


def when_orphaned(end: Callable[[], None], *, at_the_latest_s: float) -> None:
    """Call `end` from a thread once the parent is gone, and kill this process if that did not end it in time."""

    def watch() -> None:
        while os.read(0, 4096):
            pass
        end()
        time.sleep(at_the_latest_s)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="lifeline", daemon=True).start()


def begin_child(*, at_the_latest_s: float) -> threading.Event:
    """Begin a process that runs until it is asked to stop: the event is set by SIGTERM, SIGINT, or a parent's end.

    A supervised child first waits for its brief and takes it into its environment; ``at_the_latest_s`` after the
    parent's end it is ended.
    """
    stopping = threading.Event()
    if supervised():
        os.environ.update(await_brief())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    if supervised():
        when_orphaned(stopping.set, at_the_latest_s=at_the_latest_s)
    return stopping
