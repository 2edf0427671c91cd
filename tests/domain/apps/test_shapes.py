"""What a record may hold: every type with what it takes and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_app import TREE, entity, options

from felix.domain.apps.entities import Entity
from felix.domain.apps.references import check
from felix.domain.apps.shapes import CompiledApp, InvalidRecord, Shape, compile_app

RECORD = "rec_" + "0" * 32


@pytest.fixture(scope="module")
def app() -> CompiledApp:
    return compile_app(TREE.digest, check(TREE))


def shape(**field: Any) -> Shape:
    """An entity with a name and one field ``f``."""
    fields = {"name": {"type": "text", "label": "Name"}, "f": {"label": "F", **field}}
    return Shape("thing", Entity.model_validate(entity("Thing", "Things", "name", **fields)))


def refused(call: Any, values: dict[str, Any]) -> list[tuple[str, str]]:
    with pytest.raises(InvalidRecord) as error:
        call(values)
    return [(entry["pointer"], entry["rule"]) for entry in error.value.facts["errors"]]


@pytest.mark.parametrize(
    ("field", "taken", "kept"),
    [
        ({"type": "text"}, " bread ", "bread"),
        ({"type": "integer", "minimum": 0}, 0, 0),
        ({"type": "decimal", "places": 2}, 150, 150),
        ({"type": "money", "currency": "EUR"}, -5, -5),
        ({"type": "boolean"}, False, False),
        ({"type": "date"}, "2026-01-31", "2026-01-31"),
        ({"type": "moment"}, "2026-01-31T10:00:00+01:00", "2026-01-31T09:00:00Z"),
        ({"type": "choice", "options": options("a", "b")}, "b", "b"),
        ({"type": "choices", "options": options("a", "b")}, ["b", "a"], ["b", "a"]),
        ({"type": "email"}, "a@example.com", "a@example.com"),
        ({"type": "phone"}, "+49 30 123456", "+49 30 123456"),
        ({"type": "url"}, "https://example.com/a?b", "https://example.com/a?b"),
        ({"type": "reference", "to": "thing"}, RECORD, RECORD),
        ({"type": "text"}, None, None),
    ],
)
def test_a_value_of_the_type_is_taken(field: dict[str, Any], taken: Any, kept: Any) -> None:
    assert shape(**field).whole({"f": taken}) == {"f": kept} == shape(**field).part({"f": taken})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ({"type": "text"}, 1), ({"type": "text"}, "a\0b"), ({"type": "text", "max_length": 3}, "four"),
        ({"type": "text"}, "x" * 501), ({"type": "integer"}, "1"), ({"type": "integer"}, 1.0),
        ({"type": "integer"}, True), ({"type": "integer"}, 2**53), ({"type": "integer", "minimum": 0}, -1),
        ({"type": "money", "currency": "EUR"}, 1.5), ({"type": "boolean"}, 1), ({"type": "date"}, "31.1.2026"),
        ({"type": "date"}, "2026-02-30"), ({"type": "moment"}, "2026-01-31T10:00:00"),
        ({"type": "moment"}, "0001-01-01T00:00:00+10:00"), ({"type": "choice", "options": options("a")}, "b"),
        ({"type": "choices", "options": options("a")}, ["a", "a"]), ({"type": "email"}, "nobody"),
        ({"type": "email"}, "a@b\r\nBcc: c@d"), ({"type": "url"}, "javascript:alert(1)"),
        ({"type": "phone"}, "call me"), ({"type": "reference", "to": "thing"}, "rec_1"), ({"type": "text"}, {}),
        ({"type": "text", "required": True}, None),
    ],
)  # fmt: skip
def test_any_other_value_is_refused_and_its_field_named(field: dict[str, Any], value: Any) -> None:
    assert [pointer.split("/")[1] for pointer, _ in refused(shape(**field).whole, {"f": value})] == ["f"]
    assert refused(shape(**field).part, {"f": value})


def test_a_new_record_gets_defaults_and_needs_what_is_required(app: CompiledApp) -> None:
    deal = app.shapes["deal"]
    assert deal.whole({"title": "Bread"}) == {"title": "Bread", "stage": "open"}
    assert refused(deal.whole, {}) == [("/title", "missing")]
    assert deal.part({}) == {} and deal.part({"value": None}) == {"value": None}


def test_a_field_that_nobody_knows_or_that_is_hidden_is_refused(app: CompiledApp) -> None:
    assert refused(app.shapes["deal"].whole, {"title": "x", "nothing": 1}) == [("/nothing", "extra_forbidden")]
    assert refused(shape(type="text", hidden=True).part, {"f": "x"}) == [("/f", "extra_forbidden")]


def test_what_is_personal_is_known(app: CompiledApp) -> None:
    assert app.shapes["contact"].personal == {"email"} and app.shapes["deal"].personal == frozenset()


@given(
    st.dictionaries(
        st.sampled_from(["title", "contact", "value", "stage", "closes_on", "email", "x"]),
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text(), max_size=3),
    )
)
def test_whatever_is_sent_is_taken_or_refused(values: dict[str, Any]) -> None:
    deal = Shape("deal", check(TREE).entities["deal"])
    try:
        taken = deal.whole(values)
    except InvalidRecord:
        return
    assert deal.whole(taken) == taken, "what was taken is taken again, unchanged"
