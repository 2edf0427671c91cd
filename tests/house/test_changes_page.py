"""The page about changes under fire names every test of deployments and no other, and says where no figure is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from deploys.report import page
from faults.report import FaultFile, files_of, read_figures

ROOT = Path(__file__).resolve().parents[2]
FILES = files_of(ROOT / "tests" / "deploys")
_ROW = re.compile(r"^\| (?:\*Control:\* )?(.+?)(?: \([^|]*\))? \| [\d,–]+ \| ", re.M)


def named(text: str) -> set[str]:
    """The tests that have a row."""
    return set(_ROW.findall(text))


def test_every_test_of_deployments_has_a_row_and_every_row_a_test() -> None:
    sentences = {test.sentence for file in FILES for test in file.tests}
    assert named((ROOT / "docs" / "changes.md").read_text()) == sentences, "run `make reliability`"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.path.stem)
def test_every_file_says_what_it_does_and_records_its_figures(file: FaultFile) -> None:
    assert len(file.told.splitlines()) > 2
    assert file.path.read_text().count("record(") >= len(file.tests)


def test_what_did_not_run_says_so_and_a_short_profile_too() -> None:
    test = FILES[0].tests[0]
    line = f'{{"test": "it", "node": "{test.name}", "rounds": 7, "profile": "short", "figures": {{"violations": 0}}}}'
    text = page(read_figures([line]), "Here.")
    assert f"{test.sentence} (it) | 7 | violations 0 |" in text
    assert "short profile" in text and "not run" in text
