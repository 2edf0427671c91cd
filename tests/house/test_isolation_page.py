"""The page about isolation names every isolation test and no other, and every file has a control."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from faults.report import FaultFile, files_of, read_figures
from isolation.report import page

ROOT = Path(__file__).resolve().parents[2]
FILES = files_of(ROOT / "tests" / "isolation")
_ROW = re.compile(r"^\| (?:\*Control:\* )?(.+?)(?: \([^|]*\))? \| [\d,–]+ \| ", re.M)


def named(text: str) -> set[str]:
    """The tests that have a row."""
    return set(_ROW.findall(text))


def test_every_isolation_test_has_a_row_and_every_row_a_test() -> None:
    sentences = {test.sentence for file in FILES for test in file.tests}
    assert named((ROOT / "docs" / "isolation.md").read_text()) == sentences, "run `make isolation`"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.path.stem)
def test_every_file_has_a_control_and_says_what_it_does(file: FaultFile) -> None:
    assert any(test.is_control for test in file.tests)
    assert len(file.told.splitlines()) > 2


def test_what_did_not_run_says_so_and_a_short_profile_too() -> None:
    test = FILES[0].tests[0]
    line = f'{{"test": "it", "node": "{test.name}", "rounds": 7, "profile": "short", "figures": {{"differences": 0}}}}'
    text = page(read_figures([line]), "Here.")
    assert f"{test.sentence} (it) | 7 | differences 0 |" in text
    assert "short profile" in text and "not run" in text
    assert "short profile" not in page(read_figures([line.replace("short", "deep")]), "Here.")
