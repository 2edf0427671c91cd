"""The tour is applied to a copy of the source as it is printed: its counts hold, and its commands succeed there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOUR = ROOT / "docs" / "tour.md"
COPIED = (
    "src",
    "tests",
    "migrations",
    "docs",
    "pyproject.toml",
    "Makefile",
    "README.md",
    ".env.example",
    ".ci",
    ".github",
)
_EDIT = re.compile(
    r"^(?:New file `(?P<new>[^`]+)`|In `(?P<old>[^`]+)`, (?:(?P<how>before|instead of) `(?P<line>[^\n]+)`|at the end))"
    r"\n\n```(?:python|json)\n(?P<text>.*?)^```$",
    re.M | re.S,
)
_COMMANDS = re.compile(r"^```console\n(.*?)^```$", re.M | re.S)
_TESTS = re.compile(r'\.venv/bin/python -m pytest (\S+) -k "?([^"]+?)"?')
DEEP = os.environ.get("FELIX_TEST_PROFILE") == "deep"
#: Checks the whole copy without a cache: more than a minute.
SLOW = ".venv/bin/mypy"


@dataclass
class Section:
    """A change of the tour: what it edits, in order, and what it runs."""

    title: str
    edits: list[re.Match[str]]
    commands: list[str]
    product: set[str] = field(init=False)
    tests: set[str] = field(init=False)

    def __post_init__(self) -> None:
        files = {edit["new"] or edit["old"] for edit in self.edits}
        self.product = {name for name in files if name.startswith("src/")}
        self.tests = {name for name in files if name.startswith("tests/")}
        assert files == self.product | self.tests


def sections() -> Iterator[Section]:
    for part in re.split(r"^## ", TOUR.read_text(), flags=re.M)[1:]:
        commands = [line[2:] for block in _COMMANDS.finditer(part) for line in block[1].splitlines()]
        yield Section(part.splitlines()[0], list(_EDIT.finditer(part)), commands)


SECTIONS = {section.title: section for section in sections()}


def apply(edit: re.Match[str], root: Path) -> None:
    """Make one edit. A line that is named has to be there once."""
    if edit["new"]:
        assert not (root / edit["new"]).exists(), edit["new"]
        (root / edit["new"]).parent.mkdir(parents=True, exist_ok=True)
        (root / edit["new"]).write_text(edit["text"])
        return
    path = root / edit["old"]
    text = path.read_text()
    if edit["how"] is None:
        path.write_text(text + edit["text"])
        return
    line = f"{edit['line']}\n"
    assert text.count(f"\n{line}") == 1, f"{edit['old']} has {text.count(line)} lines {edit['line']!r}"
    kept = line if edit["how"] == "before" else ""
    path.write_text(text.replace(f"\n{line}", f"\n{edit['text']}{kept}"))


@dataclass
class Copy:
    """A copy of the source in which the tour is walked."""

    root: Path

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the tour with the copy's code and the environment's programs."""
        program, _, rest = command.removeprefix(".venv/bin/").partition(" ")
        own = {"python": sys.executable, "felix": f"{sys.executable} -c 'from felix.cli import main; main()'"}
        words = f"{own.get(program, Path(sys.executable).parent / program)} {rest}"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("FELIX_", "PYTEST_"))}
        return subprocess.run(
            words, shell=True, cwd=self.root, env=kept | {"PYTHONPATH": str(self.root / "src")}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300,
        )  # fmt: skip

    def edit(self, section: Section) -> None:
        """Make the edits of a section."""
        for edit in section.edits:
            apply(edit, self.root)

    def succeed(self, command: str) -> None:
        """Run a command that has to succeed, and if it is one of tests, to have run some."""
        done = self.run(command)
        assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}"
        assert "pytest" not in command or " passed" in done.stdout, f"{command} ran no test"


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tmp_path / name)
    return Copy(tmp_path)


def test_the_tour_counts_what_it_edits() -> None:
    table = dict(re.findall(r"^\| \[[^]]+\]\(#([a-z-]+)\) \| ([^|]+) \|", TOUR.read_text(), re.M))
    assert {name: len(section.product) for name, section in SECTIONS.items() if section.edits} == {
        "New event with its command": 2,
        "New event that moves a balance": 3,
        "New endpoint": 2,
        "New projection": 1,
        "New policy": 2,
        "New app module": 5,
    }
    for name, section in SECTIONS.items():
        told = table.get(name.lower().replace(" ", "-"), "–")
        assert (str(len(section.product)) if section.edits else "–") in told, name
        assert len(section.tests) <= 1, name
    # Everything that looks like code is an edit: nothing is shown that is not tried.
    blocks = re.findall(r"^```(?:python|json)$", TOUR.read_text(), re.M)
    assert len(blocks) == sum(len(section.edits) for section in SECTIONS.values())


def joined(commands: list[str]) -> str:
    """Runs of pytest as one, which needs one database and not five."""
    asked = [_TESTS.fullmatch(command) for command in commands]
    paths = dict.fromkeys(each[1] for each in asked if each)
    chosen = " or ".join(f"({each[2]})" for each in asked if each)
    return f'.venv/bin/python -m pytest {" ".join(paths)} -k "{chosen}"'


@pytest.mark.timeout(900)
def test_the_tour_can_be_walked(copy: Copy) -> None:
    """Its commands at the end of each section in the deep profile; else once for all of them, at the end."""
    tests, others = [], []
    for section in SECTIONS.values():
        copy.edit(section)
        for command in section.commands:
            if DEEP:
                copy.succeed(command)
            (tests if _TESTS.fullmatch(command) else others).append(command)
    if not DEEP:
        for command in dict.fromkeys([joined(tests), *others]):
            if command != SLOW:
                copy.succeed(command)
    for name in ("docs/api.md", "docs/events.md", "docs/schemas/events/ledger.tokens_given_up.v1.json", "docs/erd.md"):
        assert re.search("give_up|given_up", (copy.root / name).read_text()), name


def test_a_step_that_is_left_out_is_noticed(copy: Copy) -> None:
    """The control: without the postings of an event, and without its page, the tour's own commands fail."""
    section = SECTIONS["New event that moves a balance"]
    for edit in section.edits:
        if "postings.py" not in (edit["old"] or ""):
            apply(edit, copy.root)
    _, tests, _ = section.commands
    assert "FAILED tests/domain/ledger/test_lots.py::test_given_up_tokens_are_gone" in copy.run(tests).stdout
    page = copy.run(".venv/bin/python -m pytest tests/house/test_docs.py -k 'up_to_date and events.md'")
    assert "run `felix docs write`" in page.stdout


def test_rooms_that_do_not_exist_yet_are_said_not_to() -> None:
    text = TOUR.read_text()
    assert "The port does not exist yet" in text or "PaymentProvider" in "".join(
        path.read_text() for path in (ROOT / "src/felix/application").rglob("*.py")
    )
