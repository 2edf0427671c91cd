"""Runs the wheel's own programs (pg_basebackup, pg_verifybackup, psql, ...) as the account that owns the databases."""

import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from felix.embedded.account import ServiceAccount
from felix.embedded.errors import ServiceDidNotStart
from felix.embedded.processes import CLEAN_ENVIRONMENT

_PERCENT = re.compile(r"\((\d+)%\)")
MAX_LINES = 8


@dataclass(frozen=True)
class Said:
    """What a program printed, and whether it did what it was asked."""

    done: bool
    out: str
    problem: str


@dataclass(frozen=True)
class Programs:
    """The directory of the programs, and who they run as."""

    bin_dir: Path
    account: ServiceAccount

    def ask(
        self,
        name: str,
        *arguments: str | Path,
        environment: Mapping[str, str] | None = None,
        directory: Path = Path("/"),
    ) -> Said:
        """Run a program to its end."""
        return self.follow(name, *arguments, environment=environment, directory=directory)

    def follow(
        self,
        name: str,
        *arguments: str | Path,
        environment: Mapping[str, str] | None = None,
        directory: Path = Path("/"),
        keep_open: Sequence[int] = (),
        on_percent: Callable[[int], None] | None = None,
    ) -> Said:
        """Run a program to its end and pass its progress on; it does not outlive an exception in here.

        Descriptors in `keep_open` are inherited, for locks. A program whose Felix was killed goes on; it is found by
        the directory that it works in.
        """
        try:
            process = subprocess.Popen(
                [self.bin_dir / name, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if on_percent is None else subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                cwd=directory,
                env={**CLEAN_ENVIRONMENT, **(environment or {})},
                start_new_session=True,
                pass_fds=tuple(keep_open),
                user=self.account.uid if self.account.switch else None,
                group=self.account.gid if self.account.switch else None,
                extra_groups=[] if self.account.switch else None,
                text=True,
                errors="replace",
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise ServiceDidNotStart(f"{name} could not be run as user {self.account.name}: {error}") from error
        with process:
            try:
                out, problem = ("", self._watch(process, on_percent)) if on_percent else process.communicate()
                code = process.wait()
            except BaseException:
                process.terminate()
                raise
        lines = problem.strip().splitlines()[-MAX_LINES:]
        return Said(code == 0, out.strip(), "\n".join(f"  {line}" for line in lines))

    def _watch(self, process: subprocess.Popen[str], on_percent: Callable[[int], None]) -> str:
        problem = []
        assert process.stderr is not None
        for line in process.stderr:
            if (percent := _PERCENT.search(line)) is not None:
                on_percent(int(percent[1]))
            else:
                problem.append(line)
        return "".join(problem)
