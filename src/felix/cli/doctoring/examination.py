"""What is looked at: the settings, the directory, the processes and the database, each read once and never changed."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError

from felix.cli.installation import recorded_processes
from felix.embedded.processes import is_alive
from felix.settings import Settings

if TYPE_CHECKING:
    from felix.bootstrap import Endpoints
    from felix.eventstore.installed import Installed
    from felix.projections.vital_signs import VitalSigns

T = TypeVar("T")
_MIB = 2**20


@dataclass(frozen=True, slots=True)
class Limits:
    """From where on something is worth a warning or a problem, and how long an answer may take."""

    disk_low_bytes: int = 2048 * _MIB
    disk_full_bytes: int = 256 * _MIB
    inodes_low: int = 10_000
    memory_low_bytes: int = 512 * _MIB
    memory_short_bytes: int = 128 * _MIB
    open_files_low: int = 1024
    open_files_short: int = 256
    skew_low_s: float = 2.0
    skew_s: float = 30.0
    lag_events: int = 10_000
    stuck_after_s: float = 5.0
    overdue_s: float = 300.0
    answer_timeout_s: float = 8.0


class NoAnswer(Exception):
    """What was asked did not answer in time; ``str`` says who."""


@dataclass
class Examination:
    """One look at an installation."""

    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    limits: Limits = field(default_factory=Limits)
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    python_version: tuple[int, ...] = sys.version_info[:3]

    @cached_property
    def unreadable_settings(self) -> Exception | None:
        """Why the settings can't be read."""
        try:
            Settings()
        except (ValidationError, OSError, UnicodeDecodeError) as error:
            return error
        return None

    @cached_property
    def settings(self) -> Settings:
        """The settings; only for checks that need them."""
        return Settings()

    @cached_property
    def data_dir(self) -> Path:
        """Where the data is, links followed."""
        return self.settings.data_dir.absolute().resolve()

    @property
    def embedded_database(self) -> bool:
        """Whether Felix runs Postgres itself."""
        return self.settings.database_url is None

    @property
    def embedded_valkey(self) -> bool:
        """Whether Felix runs Valkey itself."""
        return self.settings.redis_url is None

    @cached_property
    def recorded(self) -> dict[str, Any]:
        """What `felix up` wrote down about its processes."""
        return recorded_processes(self.data_dir)

    @property
    def processes(self) -> dict[str, int]:
        """The recorded processes of `felix up`: the supervisor and its children."""
        return {name: pid for name, pid in self.recorded.items() if isinstance(pid, int)}

    @cached_property
    def supervisor(self) -> int | None:
        """The `felix up` that holds this directory; None when none is alive."""
        try:
            said = (self.data_dir / "felix.lock").read_text().strip()
        except OSError:
            return None
        pid = int(said) if said.isdigit() else 0
        return pid if pid and is_alive(pid) and runs_felix(pid) else None

    @cached_property
    def endpoints(self) -> Endpoints | None:
        """Where the services are; None when nobody says so."""
        from felix import bootstrap

        try:
            return bootstrap.Endpoints.locate(self.settings)
        except bootstrap.NotRunning:
            return None

    @cached_property
    def database(self) -> Installed | Exception | None:
        """What is installed in the database; the error when it does not answer, None when there is none to ask."""
        from felix.eventstore.installed import DatabaseNotExamined, examine

        endpoints = self.endpoints
        if endpoints is None:
            return None
        ask = partial(examine, endpoints.database_url, endpoints.as_role("felix_founder"), self.clock)
        try:
            return within(self.limits.answer_timeout_s, "the database", ask)
        except (NoAnswer, DatabaseNotExamined) as error:
            return error

    @property
    def installed(self) -> Installed:
        """What is installed in the database; only for checks that need it."""
        found = self.database
        if found is None or isinstance(found, Exception):
            raise LookupError("the database was not examined")
        return found

    @cached_property
    def signs(self) -> VitalSigns | None:
        """How the read models, the jobs and the books are; None when the tables are not those of this code."""
        from felix import bootstrap

        def ask() -> VitalSigns | str:
            return asyncio.run(bootstrap.look_around(self.settings))[0]

        try:
            signs = within(self.limits.answer_timeout_s, "the database", ask)
        except NoAnswer:
            return None
        return None if isinstance(signs, str) or signs.pending != [] else signs


def within(timeout_s: float, whom: str, ask: Callable[[], T]) -> T:
    """Ask something that may be frozen, and give up in time. Raises :class:`NoAnswer`.

    A frozen server accepts connections and never answers, which no timeout of a driver bounds as a whole; so the
    question is asked from a thread that is left behind.
    """
    answers: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            answers.append(ask())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, name=f"ask {whom}", daemon=True)
    thread.start()
    thread.join(timeout_s)
    if errors:
        raise errors[0]
    if not answers:
        raise NoAnswer(f"{whom} did not answer within {timeout_s:g} s")
    return answers[0]


def command_of(pid: int) -> str:
    """The command line of a process; empty where the kernel does not say."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def runs_felix(pid: int) -> bool:
    """Whether a process runs Felix, and not just something in a directory of that name."""
    return any(
        word.startswith("felix.") or word == "felix" or word.endswith("/bin/felix") for word in command_of(pid).split()
    )


def is_stopped(pid: int) -> bool:
    """Whether a process was frozen by SIGSTOP or a debugger."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] in ("T", "t")
    except OSError:
        return False
