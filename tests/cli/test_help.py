"""The help: there at once, complete, and in the words of the code."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from inspect import getdoc

import pytest
from cyclopts import App

from felix.cli.app import COMMANDS, make_app, run

#: What takes long to import and nobody needs to read the help.
HEAVY = {"psycopg", "fastapi", "pydantic", "redis", "eventsourcing", "uvicorn", "httpx", "felix.bootstrap"}


def every_command() -> Iterator[tuple[str, App]]:
    """Every command with its whole name."""

    def below(app: App, name: str) -> Iterator[tuple[str, App]]:
        if app.default_command is not None:
            yield name, app
        for part in app:
            if not part.startswith("-"):
                yield from below(app[part], f"{name} {part}".strip())

    return below(make_app(), "")


ALL = dict(every_command())


def test_the_help_is_there_at_once() -> None:
    script = (
        "import sys\nfrom felix.cli.app import run\ntry:\n    run(['--help'])\nexcept SystemExit:\n    pass\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    took_s = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
    assert not HEAVY & set(done.stderr.split())
    assert took_s < 0.4, "of processor time, since other tests run beside this one"
    for name, _, sentence, _ in COMMANDS:
        assert name in done.stdout and sentence.split()[0] in done.stdout


@pytest.mark.parametrize(("name", "place", "sentence"), [each[:3] for each in COMMANDS], ids=[c[0] for c in COMMANDS])
def test_the_first_sentence_is_that_of_the_code(name: str, place: str, sentence: str) -> None:
    module, _, attribute = place.partition(":")
    found = getattr(import_module(module), attribute)
    said = found.help if isinstance(found, App) else (getdoc(found) or "").splitlines()[0]
    assert said == sentence


@pytest.mark.parametrize("name", ALL)
def test_every_command_has_help_and_every_parameter_is_explained(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*name.split(), "--help"]) == 0
    assert len(capsys.readouterr().out) > 60
    command = ALL[name]
    assert getdoc(command.default_command), name
    for argument in command.assemble_argument_collection(parse_docstring=True):
        if argument.parameter.name != ("*",):  # the one that only holds shared options together
            assert argument.parameter.help, f"{name}: {argument.name} is not explained"


def test_completion_knows_the_commands() -> None:
    script = make_app().generate_completion(shell="bash")
    assert all(name in script for name, _, _, _ in COMMANDS)
