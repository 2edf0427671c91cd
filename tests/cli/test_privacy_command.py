"""`felix privacy`: what was revealed is checked, and who is not there is said not to be."""

from __future__ import annotations

import io
import re
import sys

import pytest
from command_line import CommandLine

from felix.eventstore.sealing import new_root_key
from felix.eventstore.vault import commitment

SALT = bytes(range(32))
FITS = commitment(SALT, "ada@example.com")


@pytest.mark.parametrize("given, code", [("ada@example.com", 0), ("ada@example.com\n", 0), ("Ada@example.com", 1)])
def test_a_value_is_checked_against_a_commitment(
    felix: CommandLine, monkeypatch: pytest.MonkeyPatch, given: str, code: int
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(given))
    said = felix("privacy", "check", FITS, "--salt", SALT.hex(), "--json")
    assert said.code == code and said.told == {"commitment": FITS, "fits": code == 0}


def test_what_is_no_salt_is_refused(felix: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("ada@example.com"))
    said = felix("privacy", "check", FITS, "--salt", "salt")
    assert said.code != 0 and "64 hex digits" in said.err


def test_who_is_not_there_can_be_neither_shown_nor_erased(felix: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FELIX_ROOT_KEY", new_root_key())
    felix.done("tenants", "add", "Acme Ltd")
    nobody, why = f"usr_{'0' * 32}", ("--reason", "They asked.")
    for arguments in (
        ("export", nobody),
        ("erase", nobody, *why),
        ("erase", nobody, *why, "--dry-run"),
        ("export", "cust_1", "--tenant", "acme-ltd"),
        ("erase", "cust_1", "--tenant", "acme-ltd", *why),
    ):
        said = felix("privacy", *arguments)
        assert said.code == 1 and re.search("There is no|Nothing is kept", said.err), (arguments, said)
    assert "--tenant SLUG" in felix("privacy", "export", "cust_1").err
