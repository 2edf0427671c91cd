"""A workflow lets through what it names: the right state, the right people, a record that is ready."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as some
from sample_app import FILES, TREE

from felix.domain.apps import transitions as t
from felix.domain.apps.conditions import holds
from felix.domain.apps.references import check
from felix.domain.apps.roles import may, sees_entity
from felix.domain.apps.shapes import compile_app
from felix.domain.errors import FelixError
from felix.domain.identity.roles import CLIENT_ROLES, ROLES
from felix.eventstore.app_pointers import AppPointer

STRICT = FILES["workflows/deal_stage.json"] | {
    "transitions": [
        {
            "action": "win", "label": "Won", "from": ["open"], "to": "won", "roles": ["client_owner"],
            "when": {"field": "value", "is": "more", "value": 10},
        },
        {"action": "lose", "label": "Lost", "from": ["open", "won"], "to": "lost", "by_maker": False},
    ]
}  # fmt: skip
APP = compile_app("a" * 64, check(TREE.with_file("workflows/deal_stage.json", STRICT)))


@given(
    some.sampled_from([None, "open", "won", "lost"]),
    some.sampled_from([None, 10, 11]),
    some.sampled_from(ROLES),
    some.booleans(),
    some.sampled_from(["win", "lose", "fly"]),
)
def test_a_step_is_taken_exactly_when_all_that_it_asks_for_is_so(
    state: str | None, value: int | None, role: str, is_maker: bool, action: str
) -> None:
    values = {name: each for name, each in (("stage", state), ("value", value)) if each is not None}
    step = next((each for each in APP.app.workflows["deal_stage"].transitions if each.action == action), None)
    expected = (
        step is not None
        and (state or "open") in step.from_
        and (not step.roles or role in step.roles or role not in CLIENT_ROLES)
        and (step.by_maker or not is_maker)
        and holds(step.when, values)
    )
    try:
        taken = t.decide(APP, "deal", action, values, role=role, is_maker=is_maker)
    except FelixError:
        assert not expected
    else:
        assert expected and step is not None
        assert (taken.field, taken.was, taken.becomes) == ("stage", state or "open", step.to)
    offered = {each["action"] for each in t.open_steps(APP, "deal", values, role=role, is_maker=is_maker)}
    assert (action in offered) == expected


@pytest.mark.parametrize(
    ("action", "values", "role", "is_maker", "error"),
    [
        ("fly", {}, "client_owner", False, t.NoSuchStep),
        ("win", {"value": 11}, "client_member", False, t.StepNotYours),
        ("lose", {}, "client_member", True, t.MakerMayNot),
        ("win", {"value": 11, "stage": "lost"}, "client_owner", False, t.StepNotPossible),
        ("win", {"value": 10}, "client_owner", False, t.StepConditionUnmet),
    ],
)
def test_a_step_is_refused_with_what_is_missing(
    action: str, values: dict[str, object], role: str, is_maker: bool, error: type[FelixError]
) -> None:
    with pytest.raises(error):
        t.decide(APP, "deal", action, values, role=role, is_maker=is_maker)


def test_a_new_record_begins_at_the_beginning_and_leaps_nowhere() -> None:
    assert t.started(APP, "deal", {"title": "Bread"})["stage"] == "open"
    assert t.started(APP, "contact", {"name": "Ana"}) == {"name": "Ana"}
    with pytest.raises(t.StartsElsewhere):
        t.started(APP, "deal", {"stage": "won"})
    t.refuse_leaps(APP, "deal", {"title": "Bread"})
    with pytest.raises(t.ChangedByStepsOnly):
        t.refuse_leaps(APP, "deal", {"stage": "won"})


def test_an_entity_is_seen_through_one_of_its_views() -> None:
    views = {path: FILES[path] | {"roles": ["client_owner"]} for path in FILES if path.startswith("views/")}
    hidden = compile_app("b" * 64, check(type(TREE)({**FILES, **views})))
    assert sees_entity(hidden, "contact", "client_member"), "nothing is said of entities without views"
    assert not sees_entity(hidden, "deal", "client_member")
    assert sees_entity(hidden, "deal", "client_owner") and sees_entity(hidden, "deal", "auditor")
    assert sees_entity(APP, "deal", "client_member")
    assert may([], "client_member") and not may(["client_owner"], "client_member")


@given(some.uuids(), some.integers(0, 100), some.integers(0, 100))
def test_a_person_stays_with_the_candidate_while_its_share_grows(person: UUID, one: int, other: int) -> None:
    less, more = sorted((one, other))
    narrow, wide = (
        AppPointer("shop", "production", "a" * 64, "b" * 64, weight, "c" * 32).release_for(UUID(int=1), f"usr_{person}")
        for weight in (less, more)
    )
    assert narrow == "a" * 64 or wide == "b" * 64
    if less == 0:
        assert narrow == "a" * 64
    if more == 100:
        assert wide == "b" * 64


def test_a_share_is_a_share_and_another_salt_chooses_others() -> None:
    people = [f"usr_{number}" for number in range(4_000)]

    def chosen(salt: str) -> set[str]:
        pointer = AppPointer("shop", "production", "a" * 64, "b" * 64, 25, salt)
        return {person for person in people if pointer.release_for(UUID(int=1), person) == "b" * 64}

    first, second = chosen("0" * 32), chosen("1" * 32)
    assert 850 < len(first) < 1_150 and 850 < len(second) < 1_150
    assert len(first & second) < 400
