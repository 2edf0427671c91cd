"""A real `felix up` in a directory of its own: started, asked over HTTP, killed piece by piece, stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx

from felix.embedded.processes import is_alive, processes_in


class RunningFelix:
    """One data directory, and the `felix up` that runs on it."""

    def __init__(self, home: Path, **settings: str) -> None:
        self.home = home
        self.data_dir = home / "data"
        kept = {name: value for name, value in os.environ.items() if not name.startswith("FELIX_")}
        self.environment = kept | {"FELIX_DATA_DIR": str(self.data_dir), "FELIX_PORT": "0", "NO_COLOR": "1"} | settings
        self.process: subprocess.Popen[str] | None = None
        self.launched: list[subprocess.Popen[str]] = []
        self.output = home / "output"

    def launch(self, *arguments: str) -> None:
        """Start it and return at once."""
        (self.data_dir / "processes.json").unlink(missing_ok=True)
        with self.output.open("a") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-c", "from felix.cli import main; main()", "up", *arguments],
                env=self.environment,
                cwd=self.home,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                text=True,
            )
        self.launched.append(self.process)

    def start(self, *arguments: str, timeout_s: float = 60) -> float:
        """Start it and wait until it has answered; the seconds that took."""
        began_at = time.monotonic()
        self.launch(*arguments)
        eventually(lambda: bool(self.processes()) or self._ended(), timeout_s, self.said)
        assert not self._ended(), self.said()
        return time.monotonic() - began_at

    def _ended(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    def said(self) -> str:
        """What it printed."""
        return self.output.read_text()

    def processes(self) -> dict[str, Any]:
        """What it says about its processes."""
        with suppress(OSError, ValueError):
            found: dict[str, Any] = json.loads((self.data_dir / "processes.json").read_text())
            return found
        return {}

    @property
    def url(self) -> str:
        url: str = self.processes()["url"]
        return url

    def pid_of(self, name: str) -> int:
        """A process of it: supervisor, api, worker, postgres or valkey."""
        if name == "postgres":
            return int((self.data_dir / "pgdata" / "postmaster.pid").read_text().splitlines()[0])
        if name == "valkey":
            return processes_in(self.data_dir / "valkey", "valkey-server")[0]
        return int(self.processes()[name])

    def kill(self, name: str) -> int:
        """kill -9."""
        pid = self.pid_of(name)
        os.kill(pid, signal.SIGKILL)
        return pid

    def stop(self, number: signal.Signals = signal.SIGTERM, timeout_s: float = 60) -> float:
        """Stop it, and say how long that took."""
        assert self.process is not None
        began_at = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(timeout_s)
        return time.monotonic() - began_at

    def left_over(self) -> list[int]:
        """Processes that belong to this directory and still live."""
        pids = [pid for name, pid in self.last_known.items() if name != "url" and is_alive(pid)]
        pids += processes_in(self.data_dir / "pgdata", "postgres")
        return pids + processes_in(self.data_dir / "valkey", "valkey-server")

    last_known: dict[str, Any] = {}

    def remember(self) -> None:
        """Keep the process ids for :meth:`left_over`."""
        self.last_known = self.processes()

    def felix(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command of the command line on it."""
        done = subprocess.run(
            [sys.executable, "-c", "from felix.cli import main; main()", *arguments],
            env=self.environment, cwd=self.home, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert not check or done.returncode == 0, (arguments, done.returncode, done.stdout, done.stderr)
        return done

    def told(self, *arguments: str) -> Any:
        """The JSON that a command prints."""
        return json.loads(self.felix(*arguments, "--json").stdout)

    def founder(self) -> httpx.Client:
        """A client with the founder's key."""
        key = (self.data_dir / "founder-key").read_text().strip()
        return httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {key}"}, timeout=20, trust_env=False)

    def clean_up(self) -> None:
        """End whatever is left, by process id."""
        for process in self.launched:
            if process.poll() is None:
                process.terminate()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(15)
                process.kill()
                process.wait()
        for pid in self.left_over():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def eventually(holds: Callable[[], bool], timeout_s: float = 60, told: Callable[[], str] = str) -> None:
    """Wait until something holds, or fail: later than a request that waits for an answer which never comes."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, f"it did not come about in time: {told()}"
        time.sleep(0.02)


def post(
    client: httpx.Client, path: str, body: Any, tenant: str | None = None, key: str | None = None
) -> httpx.Response:
    """Send a write; with the same key it has its effect once."""
    headers = {"Idempotency-Key": key or uuid4().hex}
    if tenant is not None:
        headers["Felix-Tenant"] = tenant
    return client.post(path, json=body, headers=headers)


def post_until_it_is_done(
    client: httpx.Client, path: str, body: Any, tenant: str | None = None, timeout_s: float = 30
) -> httpx.Response:
    """Send a write as a careful client does: the same key again until there is an answer."""
    key, deadline = uuid4().hex, time.monotonic() + timeout_s
    while True:
        with suppress(httpx.TransportError):
            answer = post(client, path, body, tenant, key)
            if answer.status_code < 500:
                return answer
        assert time.monotonic() < deadline, "no answer in time"
        time.sleep(0.05)
