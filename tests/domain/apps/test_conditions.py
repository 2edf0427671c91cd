"""Whether conditions hold, and that they always end."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from felix.domain.apps.base import Condition, parts_of
from felix.domain.apps.conditions import holds

CONDITION: TypeAdapter[Condition] = TypeAdapter(Condition)


def condition(written: Any) -> Condition:
    return CONDITION.validate_python(written)


@pytest.mark.parametrize(
    ("is_", "value", "record", "so"),
    [
        ("equal", 1, 1, True), ("equal", 1, True, False), ("equal", "a", None, False), ("not_equal", "a", None, True),
        ("less", 2, 1, True), ("less", 2, None, False), ("less", 2, "1", False), ("less", "b", "a", True),
        ("at_most", 2, 2, True), ("more", 2, 3, True), ("at_least", 2, 1, False), ("less", True, False, False),
        ("one_of", [1, "a"], "a", True), ("one_of", [1], True, False), ("contains", "BRE", "bread", True),
        ("contains", "a", ["a"], True), ("contains", "a", None, False), ("is_empty", None, "", True),
        ("is_empty", None, 0, False), ("is_filled", None, [], False),
    ],
)  # fmt: skip
def test_a_comparison(is_: str, value: Any, record: Any, so: bool) -> None:
    written = {"field": "f", "is": is_} | ({} if value is None else {"value": value})
    assert holds(condition(written), {"f": record}) is so
    assert holds(condition({"not": written}), {"f": record}) is not so


def test_parts_together() -> None:
    a, b = ({"field": name, "is": "equal", "value": True} for name in "ab")
    assert holds(condition({"all": [a, {"any": [a, b]}]}), {"a": True, "b": False})
    assert not holds(condition({"all": [a, b]}), {"a": True})
    assert holds(None, {})


@pytest.mark.parametrize(
    "written",
    [
        {"field": "f", "is": "like", "value": "x"}, {"field": "f", "is": "equal"},
        {"field": "f", "is": "one_of", "value": []},
        {"field": "f", "is": "is_empty", "value": 1}, {"all": []}, {}, {"field": "F", "is": "is_empty"},
        {"field": "f", "is": "equal", "value": {"a": 1}}, {"field": "f", "is": "equal", "value": "a\0b"},
        {"field": "f", "is": "one_of", "value": [["a"]]}, {"field": "f", "is": "one_of", "value": ["a", None]},
    ],
)  # fmt: skip
def test_what_is_no_condition_is_refused(written: Any) -> None:
    with pytest.raises(ValueError):
        condition(written)


def test_a_condition_is_bounded() -> None:
    written: Any = {"field": "f", "is": "is_empty"}
    for _ in range(10):
        written = {"not": written}
    with pytest.raises(ValueError, match="levels deep"):
        parts_of(condition(written))
    wide = {"all": [{"any": [{"field": "f", "is": "is_empty"}] * 20}] * 3}
    with pytest.raises(ValueError, match="comparisons"):
        parts_of(condition(wide))


@given(
    st.recursive(
        st.builds(
            lambda is_, value: {"field": "f", "is": is_, "value": value},
            st.sampled_from(["equal", "less", "more", "contains"]),
            st.integers() | st.text(st.characters(codec="utf-8", exclude_characters="\0")) | st.booleans(),
        ),
        lambda inner: st.builds(lambda x: {"not": x}, inner)
        | st.builds(lambda x: {"all": x}, st.lists(inner, min_size=1, max_size=3)),
        max_leaves=5,
    ),
    st.none() | st.integers() | st.text() | st.booleans() | st.lists(st.text()),
)  # fmt: skip
def test_it_never_raises(written: Any, value: Any) -> None:
    assert holds(condition(written), {"f": value}) in (True, False)
