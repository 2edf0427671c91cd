"""What `felix modules` says of the modules that come with Felix; it needs no database."""

from __future__ import annotations

import json

import pytest

from felix.cli.app import run


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = run(["modules", *arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_modules_are_listed_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    _, listed, _ = told(capsys, "list", "--json")
    assert [module["id"] for module in json.loads(listed)] == ["crm", "inventory"]
    code, shown, _ = told(capsys, "show", "inventory", "--version", "1.0.0", "--json")
    assert code == 0 and json.loads(shown)["versions"] == ["1.0.0", "1.1.0"]
    _, text, _ = told(capsys, "show", "inventory")
    assert "stock_move" in text and "valuation" in text and "0.015" in text
    assert "Customers" in told(capsys, "list")[1]


def test_a_module_that_there_is_not_is_said_to_be_missing(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, error = told(capsys, "show", "payroll")
    assert (code, out) == (1, "") and "no_such_module" in error
