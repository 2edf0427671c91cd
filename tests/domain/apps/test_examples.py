"""An app's own examples: they pass where the app does what it says, and say where it does not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from sample_app import FILES

from felix.application.apps.templates import render_mail
from felix.domain.apps import examples
from felix.domain.apps.examples import ExampleResult, run_examples
from felix.domain.apps.references import check
from felix.domain.apps.shapes import compile_app
from felix.domain.apps.tree import AppTree

WIN_FROM_LOST = FILES["workflows/deal_stage.json"]["transitions"][0] | {"from": ["lost"]}


def results(changed: Mapping[str, Any] = {}, **example: Any) -> list[ExampleResult]:
    """The bakery's examples with some files changed, or another example instead."""
    files = FILES | dict(changed)
    if example:
        files["tests/winning.json"] = {"title": "An example", **example}
    return run_examples(compile_app("r", check(AppTree(files))), render_mail)


def failed(changed: Mapping[str, Any] = {}, **example: Any) -> tuple[str, str, str]:
    (only,) = results(changed, **example)
    assert not only.passed
    return only.step, only.expected, only.found


def with_change(path: str, **changes: Any) -> dict[str, Any]:
    return {path: FILES[path] | changes}


DEAL = {"record": "ours", "entity": "deal", "values": {"title": "Bread", "email": "a@example.com"}}
WON = {"take": "win", "record": "ours"}


def test_an_app_that_does_what_it_says_passes() -> None:
    assert results() == [ExampleResult("winning", "A deal that is won thanks the customer", True)]


@pytest.mark.parametrize(
    ("changed", "step", "expected", "found"),
    [
        (with_change("automations/thank.json", enabled=False), "then/1", "the mail thanks is sent", "no mail was sent"),
        ({"templates/thanks.liquid": "Dear {{ deal.titel }}"}, "when/0", "the automation thank sends thanks", "titel"),
        ({"templates/thanks.liquid": "{% for %}"}, "when/0", "the automation thank sends thanks", "template_broken"),
        (
            with_change("workflows/deal_stage.json", transitions=[WIN_FROM_LOST]),
            "when/0",
            "the step is taken",
            "step_not_possible",
        ),
    ],
    ids=["nobody thanks", "a misspelt field", "no template at all", "another way"],
)
def test_an_app_that_is_wrong_is_caught(changed: dict[str, Any], step: str, expected: str, found: str) -> None:
    at, wanted, was = failed(changed)
    assert (at, wanted) == (step, expected) and found in was, was


def test_a_wrong_value_is_named_with_what_was_found() -> None:
    then = [{"record": "ours", "has": {"stage": "lost"}}]
    assert failed(given=[DEAL], when=[WON], then=then) == ("then/0", "ours.stage is 'lost'", "'won'")


def test_values_that_no_record_can_have_fail_where_they_are() -> None:
    wrong = DEAL | {"values": {"title": "Bread", "value": -1}}
    at, expected, found = failed(given=[wrong], when=[WON], then=[{"sent": "thanks"}])
    assert (at, expected) == ("given/0", "a record of deal") and "/value" in found


@pytest.mark.parametrize(
    ("when", "code"),
    [
        ({"create": "other", "entity": "deal", "values": {"title": None}}, "invalid_record"),
        ({"change": "ours", "values": {"stage": "won"}}, "changed_by_steps_only"),
        ({"create": "other", "entity": "deal", "values": {"title": "x", "stage": "won"}}, "starts_elsewhere"),
    ],
)
def test_a_refusal_that_is_expected_is_no_failure_and_one_that_does_not_come_is(when: Any, code: str) -> None:
    (passed,) = results(given=[DEAL], when=[when], then=[{"refused": code}])
    assert passed.passed, passed
    at, expected, _ = failed(given=[DEAL], when=[WON], then=[{"refused": code}])
    assert (at, expected) == ("then/0", f"a step is refused: {code}")
    at, expected, found = failed(given=[DEAL], when=[when], then=[{"record": "ours"}])
    assert (at, expected) == ("when/0", "the step is taken") and code in found


def test_what_an_example_does_not_say_is_filled_in() -> None:
    """A field that becomes required later breaks no example that is not about it."""
    due = FILES["entities/deal.json"]["fields"] | {"due": {"type": "date", "label": "Due", "required": True}}
    (passed,) = results(with_change("entities/deal.json", fields=due))
    assert passed.passed, passed


def test_references_lead_to_records_by_the_names_of_the_example() -> None:
    ada = {"record": "ada", "entity": "contact", "values": {"name": "Ada"}}
    made = {"create": "deal", "entity": "deal", "values": {"title": "x", "contact": "ada"}}
    (passed,) = results(given=[ada], when=[made], then=[{"record": "deal", "has": {"contact": "ada"}}])
    assert passed.passed, passed


def test_an_automation_that_fails_fails_the_example() -> None:
    loop = {
        "title": "Again", "on": {"event": "created", "entity": "deal"},
        "actions": [{"do": "create_record", "entity": "deal", "values": {"title": "x"}}],
    }  # fmt: skip
    made = {"create": "deal", "entity": "deal", "values": {"title": "x"}}
    at, expected, found = failed({"automations/again.json": loop}, when=[made], then=[{"record": "deal"}])
    assert (at, expected) == ("when/0", "the automation again runs") and found.startswith("automation_loop")


def test_examples_that_are_more_work_than_may_be_fail_and_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examples, "MAX_WORK", 30)
    many = {f"tests/t{number}.json": FILES["tests/winning.json"] for number in range(20)}
    found = results(many)
    assert found[0].passed and not found[-1].passed and "more work" in found[-1].found
