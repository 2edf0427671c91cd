"""Generated pages say what the code says, and the written ones name things that are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from felix.cli import docs
from felix.domain.errors import error_classes
from felix.domain.ledger.postings import EVENTS_WITHOUT_POSTINGS, TOKEN_EVENTS

ROOT = Path(__file__).resolve().parents[2]
PAGES = docs.generate()
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("*.md"))
SECTIONS = ["Context", "Decision", "Consequences", "Alternatives", "Enforced by"]


@pytest.mark.parametrize("name", PAGES)
def test_a_generated_page_is_up_to_date(name: str) -> None:
    assert (ROOT / name).read_text() == PAGES[name], "run `felix docs write`"


def test_a_page_that_differs_or_is_missing_is_found(tmp_path: Path) -> None:
    assert docs.outdated(tmp_path) == list(PAGES)
    for name, text in PAGES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert docs.outdated(tmp_path) == []
    (tmp_path / "docs/errors.md").write_text("nothing")
    assert docs.outdated(tmp_path) == ["docs/errors.md"]


def test_every_event_of_the_ledger_is_in_the_catalogue_with_what_causes_it() -> None:
    page = PAGES["docs/events.md"]
    sections = dict(re.findall(r"^## (\S+)\n(.*?)(?=^## |\Z)", page, re.S | re.M))
    assert sections.keys() >= TOKEN_EVENTS | EVENTS_WITHOUT_POSTINGS
    for name, section in sections.items():
        assert "Caused by " in section, name
        assert ("Postings: " in section) == (name in TOKEN_EVENTS), name
        assert f"`{name}`" in page


def test_the_causes_are_those_that_the_code_has() -> None:
    """A sample by hand, since the page is read from the code by a program."""
    sections = dict(re.findall(r"^## (\S+)\n.*?^Caused by (.*?)$", PAGES["docs/events.md"], re.S | re.M))
    assert sections["ledger.tokens_sent"] == "`ledger.transfer_tokens`."
    assert sections["ledger.tokens_debited"] == "`ledger.debit_tokens`, `metering.debit_usage_batch`."
    assert sections["ledger.hold_expired"] == "any command on an account where something has run out."
    assert sections["metering.rate_card_created"] == "`metering.publish_rate_card`."


def test_every_error_is_on_the_page() -> None:
    page = PAGES["docs/errors.md"]
    for code, cls in error_classes().items():
        if cls.__module__.split(".")[0] == "felix" and cls.__module__.split(".")[1] in docs.ROOMS:
            assert f"`{code}`" in page


@pytest.mark.parametrize("page", DECISIONS, ids=lambda page: page.stem)
def test_a_decision_is_one_page_of_the_same_five_parts(page: Path) -> None:
    text = page.read_text()
    assert re.findall(r"^## (.+)$", text, re.M) == SECTIONS
    assert len(text.splitlines()) <= 70
    for path in re.findall(r"`((?:src|tests|migrations|docs)/[^`:*]+)`", text):
        assert (ROOT / path).exists(), path


def test_decisions_are_numbered_without_a_gap() -> None:
    assert [int(page.stem[:4]) for page in DECISIONS] == list(range(1, len(DECISIONS) + 1))


def test_the_migrations_name_decisions_that_exist() -> None:
    for migration in (ROOT / "migrations").glob("*.sql"):
        for path in re.findall(r"docs/decisions/\S+\.md", migration.read_text()):
            assert (ROOT / path).exists(), path
