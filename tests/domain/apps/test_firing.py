"""What automations do: decided by the record alone, the same every time, and with an end."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_app import FILES

from felix.domain.apps.firing import MAX_RUNS, FieldsSet, Happening, MailAsked, RecordMade, Run, WebhookAsked, fire
from felix.domain.apps.references import check
from felix.domain.apps.shapes import CompiledApp, compile_app
from felix.domain.apps.tree import AppTree, InvalidApp

RECORD = f"rec_{'1' * 32}"
THANK = FILES["automations/thank.json"]


def app(*automations: Mapping[str, Any], **files: Any) -> CompiledApp:
    """The bakery with these automations and no others."""
    own = {f"automations/a{number}.json": each for number, each in enumerate(automations)}
    kept = {path: content for path, content in FILES.items() if not path.startswith("automations/")}
    return compile_app("r", check(AppTree(kept | own | files)))


def automation(on: str, *actions: Mapping[str, Any], entity: str = "deal", **more: Any) -> dict[str, Any]:
    trigger = {"event": on, "entity": entity} | ({"field": more.pop("field")} if "field" in more else {})
    return {"title": "Something", "on": trigger, "actions": list(actions), **more}


def sets(field: str, value: Any) -> dict[str, Any]:
    return {"do": "set_field", "field": field, "value": value}


def run(compiled: CompiledApp, event: str, changed: str = "", **values: Any) -> list[Run]:
    """What an event of a deal leads to."""
    numbers = count(1)
    told = {"title": "Bread", "stage": "open"} | values
    happening = Happening(event, "deal", RECORD, told, frozenset(changed.split()))  # type: ignore[arg-type]
    return fire(compiled, happening, lambda: f"rec_{next(numbers):032x}")


def codes(runs: list[Run]) -> list[str | None]:
    return [each.failure and each.failure.code for each in runs]


def test_a_mail_goes_to_the_address_in_the_record() -> None:
    ((sent,),) = [each.effects for each in run(app(THANK), "changed", "stage", stage="won", email="a@example.com")]
    assert isinstance(sent, MailAsked) and sent.values["email"] == "a@example.com"


@pytest.mark.parametrize(
    "told",
    [
        {"event": "changed", "changed": "stage", "stage": "lost"},
        {"event": "changed", "changed": "title", "stage": "won"},
        {"event": "created", "changed": "stage", "stage": "won"},
    ],
    ids=["the condition does not hold", "another field changed", "it is another event"],
)
def test_nothing_happens_where(told: dict[str, str]) -> None:
    assert run(app(THANK), **told) == []  # type: ignore[arg-type]


def test_without_an_address_there_is_no_mail_and_no_failure() -> None:
    (only,) = run(app(THANK), "changed", "stage", stage="won")
    assert only.effects == () and only.failure is None


def test_what_an_automation_writes_sets_off_others() -> None:
    first = automation("created", sets("closes_on", "2026-01-31"))
    second = automation("changed", sets("value", 100), field="closes_on")
    runs = run(app(first, second), "created")
    assert [each.automation for each in runs] == ["a0", "a1"] and codes(runs) == [None, None]
    assert runs[1].effects == (FieldsSet(RECORD, "deal", {"value": 100}),)


def test_a_value_that_is_so_already_is_no_change() -> None:
    assert run(app(automation("changed", sets("value", 5))), "changed", "title", value=5)[0].effects == ()


def test_who_sets_off_itself_by_another_stops() -> None:
    """Ping sets what pong changes back."""
    ping = automation("changed", sets("value", 1), field="closes_on")
    pong = automation("changed", sets("closes_on", "2026-01-01"), field="value")
    back = automation("changed", sets("closes_on", "2026-02-02"), field="closes_on")
    runs = run(app(ping, pong, back), "changed", "closes_on", closes_on="2026-03-03")
    assert "automation_loop" in codes(runs) and len(runs) < MAX_RUNS


def test_who_meets_what_it_did_and_would_do_no_more_has_simply_ended() -> None:
    runs = run(app(automation("changed", sets("value", 1))), "changed", "title")
    assert codes(runs) == [None]


def test_a_cascade_that_would_not_end_is_cut_off() -> None:
    """Each of sixty makes a record, and each record sets off all others."""
    many = [
        automation("created", {"do": "create_record", "entity": "deal", "values": {"title": f"{number}"}})
        for number in range(60)
    ]
    runs = run(app(*many), "created")
    assert len(runs) == MAX_RUNS + 1 and codes(runs)[-1] == "too_many_runs"


def test_an_automation_takes_steps_and_does_not_leap() -> None:
    win = automation("changed", sets("stage", "won"), field="value")
    (won,) = run(app(win), "changed", "value", value=1)
    assert won.effects == (FieldsSet(RECORD, "deal", {"stage": "won"}, "win"),)
    (leapt,) = run(app(win), "changed", "value", value=1, stage="lost")
    assert leapt.effects == () and leapt.failure is not None and leapt.failure.code == "step_not_possible"


def test_a_run_that_fails_in_its_last_action_does_nothing() -> None:
    both = automation("created", sets("value", 1), sets("value", -1))
    (only,) = run(app(both), "created")
    assert only.effects == () and codes([only]) == ["invalid_record"]


def test_what_is_personal_is_not_written_by_automations() -> None:
    copied = {"do": "create_record", "entity": "contact", "values": {"name": "A"}, "from_fields": {"email": "email"}}
    (only,) = run(app(automation("created", copied)), "created", email="a@example.com")
    assert codes([only]) == ["personal_value_set"] and only.effects == ()


def test_a_new_record_has_its_defaults_and_begins_its_workflow() -> None:
    copied = {"do": "create_record", "entity": "deal", "from_fields": {"title": "title"}}
    ((made,), *_) = [each.effects for each in run(app(automation("removed", copied)), "removed")]
    assert isinstance(made, RecordMade) and made.values == {"title": "Bread", "stage": "open"}


ACTIONS = st.sampled_from(
    [
        sets("value", 1), sets("value", 2), sets("stage", "won"), sets("closes_on", "2026-01-01"), sets("title", "x"),
        {"do": "create_record", "entity": "deal", "from_fields": {"title": "title"}},
        {"do": "create_record", "entity": "contact", "values": {"name": "A"}},
        {"do": "send_email", "template": "thanks", "to_role": "client_owner"},
    ]
)  # fmt: skip
AUTOMATIONS = st.builds(
    lambda on, actions, field: automation(on, *actions, **({"field": field} if on == "changed" and field else {})),
    st.sampled_from(["created", "changed", "removed"]),
    st.lists(ACTIONS, min_size=1, max_size=3),
    st.sampled_from([None, "value", "stage", "title"]),
)


@settings(max_examples=60)
@given(st.lists(AUTOMATIONS, min_size=1, max_size=5), st.sampled_from(["created", "changed", "removed"]))
def test_whatever_the_automations_firing_ends_and_is_the_same_again(automations: list[Any], event: str) -> None:
    try:
        compiled = app(*automations)
    except InvalidApp:
        return
    once, again = (run(compiled, event, "value stage title") for _ in range(2))
    assert once == again and codes(once) == codes(again)
    assert len(once) <= MAX_RUNS + 1
    for each in once:
        assert each.failure is None or each.effects == (), "all or nothing"
    through = [each.automation for each in once if each.failure is None and each.record == RECORD]
    assert len(through) <= 2 * len(automations) ** 2, "none goes round"


def test_another_system_is_told_nothing_that_is_personal() -> None:
    shop = {"title": "Hook", "connector": "webhook", "config": {"url": "https://example.com/hook"}}
    tells = automation("created", {"do": "call_webhook", "integration": "hook"}, entity="contact")
    compiled = app(tells, **{"integrations/hook.json": shop})
    told = {"name": "Ada", "email": {"commitment": "0" * 64}}
    (only,) = fire(compiled, Happening("created", "contact", RECORD, told), lambda: "")
    assert only.effects == (WebhookAsked("hook", RECORD, "contact", "created", {"name": "Ada"}),)


@pytest.mark.parametrize(
    "integration",
    [None, {"connector": "shopify"}, {"connector": "webhook"}, {"connector": "webhook", "config": {"url": "http://x"}}],
    ids=["none", "another connector", "no address", "not under TLS"],
)
def test_a_webhook_needs_an_integration_that_is_one(integration: dict[str, Any] | None) -> None:
    files = {} if integration is None else {"integrations/hook.json": {"title": "Hook", **integration}}
    with pytest.raises(InvalidApp) as refused:
        app(automation("created", {"do": "call_webhook", "integration": "hook"}), **files)
    assert refused.value.facts["errors"][0]["pointer"].endswith("#/actions/0/integration")
