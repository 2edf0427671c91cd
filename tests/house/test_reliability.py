"""The page about faults names every fault test and no other, and every kind of fault has a positive control."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from faults.report import FaultFile, FaultTest, fault_files, page, read_figures

ROOT = Path(__file__).resolve().parents[2]
FILES = fault_files()
_ROW = re.compile(r"^\| (?:\*Control:\* )?(.+?)(?: \(.*\))? \| [\d,–]+ \| ", re.M)


def named(text: str) -> set[str]:
    """The tests that have a row."""
    return set(_ROW.findall(text))


def test_every_fault_test_has_a_row_and_every_row_a_test() -> None:
    sentences = {test.sentence for file in FILES for test in file.tests}
    assert named((ROOT / "docs" / "reliability.md").read_text()) == sentences, "run `make reliability`"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.path.stem)
def test_every_kind_of_fault_has_a_positive_control_and_says_what_it_does(file: FaultFile) -> None:
    assert any(test.is_control for test in file.tests)
    assert len(file.told.splitlines()) > 2
    assert file.path.read_text().count("record(") >= len(file.tests), "every fault test records its figures"


def test_figures_come_from_the_run_and_what_did_not_run_says_so() -> None:
    first, second = FILES[0].tests[0], FILES[0].tests[-1]
    node = f"{first.name}[twice]"
    line = f'{{"test": "{node}", "node": "{node}", "rounds": 1200, "profile": "short", "figures": {{"lost_rows": 0}}}}'
    text = page(read_figures([line, line]), "Here.")
    assert f"{first.sentence} (twice) | 1,200 | lost rows 0 |" in text
    assert "short profile" in text and f"{second.sentence} | – | not run |" in text
    assert named(text) == {test.sentence for file in FILES for test in file.tests}
    assert "short profile" not in page(read_figures([line.replace("short", "deep")]), "Here.")


def test_a_test_is_told_as_a_sentence() -> None:
    assert FaultTest("test_control_a_lost_answer_is_missed", "").sentence == "A lost answer is missed"
