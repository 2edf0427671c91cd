"""Rules of the house that no other tool looks after."""

from __future__ import annotations

import hashlib
import re
import subprocess
from pathlib import Path

from felix.settings import Settings, env_example

ROOT = Path(__file__).resolve().parents[2]
LANDED = ROOT / "tests" / "house" / "migrations.sha256"
#: Written so that this file does not find itself.
OF_ONE_MACHINE = re.compile(r"/(?:work|root|home/[a-z]+)" + "/")


def test_every_setting_is_documented() -> None:
    assert (ROOT / ".env.example").read_text() == env_example(), "run `make docs`"
    for name, field in Settings.model_fields.items():
        assert field.description and field.description.endswith("."), name
        assert f"# FELIX_{name.upper()}=" in env_example()


def test_landed_migrations_are_never_edited() -> None:
    """A new one is added to the list: sha256sum migrations/*.sql > tests/house/migrations.sha256."""
    listed = dict(reversed(line.split()) for line in LANDED.read_text().splitlines())
    found = {f"migrations/{path.name}": path for path in sorted((ROOT / "migrations").glob("*.sql"))}
    assert list(listed) == list(found), "a migration is missing, or is not in the list"
    for name, path in found.items():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == listed[name], f"{name} was edited after it had landed"


def test_nothing_names_a_path_of_one_machine() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    ).stdout.splitlines()  # fmt: skip
    for name in listed:
        path = ROOT / name
        if path.suffix in (".py", ".md", ".toml", ".sql", ".example", "") and path.is_file():
            found = OF_ONE_MACHINE.search(path.read_text(errors="replace"))
            assert found is None, f"{name} names {found and found[0]}"


def test_the_checks_of_a_change_are_one_executable_script() -> None:
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    text = script.read_text()
    assert text.startswith("#!/usr/bin/env bash\n") and "set -euo pipefail" in text
    assert text.index("make lint") < text.index("make test")
