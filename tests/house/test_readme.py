"""What the README shows is what happens: its console blocks are run against a real `felix up`.

Run this file to write the README anew with what was printed: python tests/house/test_readme.py
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tests" / "journeys"))
from running_felix import RunningFelix, eventually  # noqa: E402

README = ROOT / "README.md"
SHOWN_URL = "http://127.0.0.1:8080"
_BLOCK = re.compile(r"^```console( living)?\n(.*?)^```$", re.M | re.S)
PRICES = {
    "effective_from": "2026-01-01T00:00:00Z",
    "prices": [
        {"meter": "llm.input_tokens", "kind": "per_unit", "price_mtok": 2500, "per": 1000},
        {"meter": "llm.output_tokens", "kind": "per_unit", "price_mtok": 10_000, "per": 1000},
    ],
}
TRACE = "at,in,out\n2026-01-05T09:00:00Z,4808,10\n2026-01-05T09:00:01Z,3180,8\n2026-01-05T09:00:04Z,374,14\n"
#: Stands for lines that the README leaves out.
LEFT_OUT = "  …\n"
#: Run by hand and by CI, not from inside the tests.
NOT_RUN = {"make test"}


@dataclass(frozen=True)
class Step:
    """A command of the README and what it says that it prints."""

    command: str
    shown: str
    living: bool


def steps(text: str) -> Iterator[Step]:
    for block in _BLOCK.finditer(text):
        for part in re.split(r"^\$ ", block[2], flags=re.M)[1:]:
            command, _, shown = part.partition("\n")
            yield Step(command, shown, bool(block[1]))


STEPS = list(steps(README.read_text()))


class Demonstration:
    """A Felix on which the README is run from its first command to its last."""

    def __init__(self, home: Path) -> None:
        home.chmod(0o755)
        self.felix = RunningFelix(home, FELIX_DATA_DIR=".felix")
        self.felix.data_dir = home / ".felix"
        (home / "prices.json").write_text(json.dumps(PRICES))
        (home / "trace.csv").write_text(TRACE)
        if shutil.which("curl", path=self.felix.environment["PATH"]) is None:
            pytest.skip("there is no curl")

    def run(self, command: str) -> str:
        """What a command prints, as a reader at its default port would see it."""
        if command == "make up":
            self.felix.start("--demo")
            eventually(lambda: "tidewater-legal" in self.felix.said() and self.felix.said().endswith("\n\n"))
            return self._as_shown(self.felix.said())
        command = self.as_printed(command).replace(SHOWN_URL, self.felix.url)
        command = re.sub(r"^felix ", f'{sys.executable} -c "from felix.cli import main; main()" ', command)
        done = subprocess.run(
            command, shell=True, env=self.felix.environment, cwd=self.felix.home, text=True, timeout=60,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        return self._as_shown(done.stdout)

    def as_printed(self, command: str) -> str:
        """A command with the account and the key of the first client here."""
        kept = self.felix.data_dir / "demo.json"
        if not kept.exists():
            return command
        client = json.loads(kept.read_text())["bloom-and-vine"]
        command = re.sub(r"acct_[0-9a-f]{32}", client["account_id"], command)
        if "--binding" in command:
            change = self.felix.told("changes", "show", "--tenant", "bloom-and-vine")
            command = re.sub(r"(?<=--binding )[0-9a-f]{64}", change["approval"]["binding"], command)
        return re.sub(r"fx_live_\w{36}", client["key"], command)

    def _as_shown(self, said: str) -> str:
        said = re.sub(r"^[^\n]*━[^\n]*\n", "", said, flags=re.M)  # a progress bar that has gone by
        lines = [line.rstrip() for line in said.replace(self.felix.url, SHOWN_URL).strip("\n").splitlines()]
        return "".join(line + "\n" for line in lines)


def comparable(said: str, living: bool) -> str:
    """The text without what differs from run to run; of a living system only its words."""
    said = re.sub(r"fx_live_\w{36}", "KEY", said)
    said = re.sub(r"\b(acct|lot|hold|deb|key|cli|usr|inv|chg)(_|-)[0-9a-f]{16,42}\b", r"\1_ID", said)
    said = re.sub(r"\b[0-9a-f]{64}\b", "DIGEST", said)
    said = re.sub(r"#[\w-]{43}", "#TOKEN", said)
    said = re.sub(r"(?<=, password )[\w-]{20}", "PASSWORD", said)
    said = re.sub(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", "UUID", said)
    said = re.sub(r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:\d{2}(\.\d+)?(Z|\+00:00)?", "MOMENT", said)
    said = re.sub(r"\b\d{1,4}:\d+\b", "POSITION", said)
    said = re.sub(r"\bpartition +\d+", "partition N", said)
    said = re.sub(r"\b\d+\.\d+ s\b|[\d,]+ a second", "TIME", said)
    if living:
        said = re.sub(r"\d[\d,.]*", "N", said)
        said = re.sub(r"–", "N", said)
    return re.sub(r"[ \n]+", " ", said).strip()


@pytest.fixture(scope="module")
def demonstration() -> Iterator[Demonstration]:
    home = Path(tempfile.mkdtemp(prefix="felix-readme-", dir="/tmp"))
    shown = Demonstration(home)
    try:
        yield shown
    finally:
        shown.felix.clean_up()
        shutil.rmtree(home, ignore_errors=True)


@pytest.mark.timeout(300)
def test_what_the_readme_shows_is_what_happens(demonstration: Demonstration) -> None:
    for step in STEPS:
        if step.command in NOT_RUN:
            continue
        said, shown = demonstration.run(step.command), step.shown
        if LEFT_OUT in shown:
            beginning, _, end = shown.partition(LEFT_OUT)
            told = comparable(said, step.living)
            assert told.startswith(comparable(beginning, step.living)), step.command
            assert told.endswith(comparable(end, step.living)), step.command
        else:
            assert comparable(said, step.living) == comparable(shown, step.living), step.command


def test_the_first_screen_has_the_picture_the_two_commands_and_a_first_request() -> None:
    first = README.read_text().split("\n## ")[0]
    assert first.index("──▶") < first.index("$ make up") < first.index("$ make test") < first.index("$ curl")
    targets = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.M)
    assert {"up", "test"} <= set(targets) and len(targets) <= 12


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README.read_text()):
        assert (ROOT / target).exists(), target


def write() -> None:
    """Put what is printed into the README."""
    home = Path(tempfile.mkdtemp(prefix="felix-readme-", dir="/tmp"))
    shown = Demonstration(home)

    def anew(block: re.Match[str]) -> str:
        parts = []
        for step in steps(block[0]):
            said = step.shown if step.command in NOT_RUN else shown.run(step.command)
            if step.command == "make up":
                clients = said.split("\n\n")
                said = "\n\n".join(clients[:-4]) + f"\n\n{LEFT_OUT}"
            parts.append(f"$ {shown.as_printed(step.command)}\n{said}")
        return f"```console{block[1] or ''}\n" + "\n".join(parts) + "```"

    try:
        README.write_text(_BLOCK.sub(anew, README.read_text()))
    finally:
        shown.felix.clean_up()
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    write()
