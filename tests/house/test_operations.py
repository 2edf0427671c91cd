"""The commands of docs/operations.md are run against a real `felix up`, and what it names is there."""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from felix.cli.app import COMMANDS
from felix.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tests" / "journeys"))
from running_felix import RunningFelix  # noqa: E402

PAGE = (ROOT / "docs" / "operations.md").read_text()
_STEP = re.compile(r"^\$ felix (.+)\n((?:(?!\$ ).*\n)*?)(?=\$ |```)", re.M)
STEPS = [(step[1], step[2]) for step in _STEP.finditer(PAGE)]
#: Stands for lines that the page leaves out.
LEFT_OUT = "…"


@pytest.fixture(scope="module")
def running() -> Iterator[RunningFelix]:
    home = Path(tempfile.mkdtemp(prefix="felix-operations-", dir="/tmp"))
    home.chmod(0o755)
    felix = RunningFelix(home)
    try:
        felix.start()
        felix.felix("tenants", "add", "Acme Ltd")
        yield felix
    finally:
        felix.clean_up()
        shutil.rmtree(home, ignore_errors=True)


@pytest.mark.timeout(240)
def test_the_commands_that_look_do_what_the_page_says(running: RunningFelix) -> None:
    assert len(STEPS) >= 10
    for command, shown in STEPS:
        done = running.felix(*command.split())
        said = re.sub(r"Python \d+\.\d+\.\d+", "Python N", done.stdout)
        for line in re.sub(r"Python \d+\.\d+\.\d+", "Python N", shown).splitlines():
            if line.strip() not in ("", LEFT_OUT) and not line.startswith("Everything is as it should"):
                assert line in said, (command, line, said)
        assert done.stdout.strip(), command


def test_every_command_and_setting_that_is_named_is_there() -> None:
    commands = {name for name, *_ in COMMANDS}
    for named in re.findall(r"`felix ([a-z]+)", PAGE):
        assert named in commands, named
    settings = {f"FELIX_{name.upper()}" for name in Settings.model_fields}
    assert set(re.findall(r"FELIX_[A-Z_]+", PAGE)) - {"FELIX_"} <= settings
    units = {path.name for path in (ROOT / "ops" / "systemd").iterdir()}
    for unit in re.findall(r"(felix[a-z@-]*\.(?:service|timer))", PAGE):
        assert unit in units, unit
    for target in re.findall(r"\]\(([^)#:]+)\)", PAGE):
        assert (ROOT / "docs" / target).resolve().exists(), target
    for path in re.findall(r"`(ops/[^`]+)`", PAGE):
        assert (ROOT / path).exists(), path
    makes = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"`make ([a-z-]+)", PAGE)) <= makes
