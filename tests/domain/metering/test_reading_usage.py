"""CloudEvents are read one by one: a bad one gets a pointer and a rule, and never stops the others."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from felix.domain.metering.messages import DebitUsageBatch, UsageItem
from felix.domain.metering.usage import UsageBatchTooLarge, dedupe_key, read_usage

TENANT, OTHER_TENANT = UUID(int=7), UUID(int=8)
ACCOUNT = f"acct_{5:032x}"
LONG = "x" * 201
MISSING = object()


def an_event(**changes: Any) -> dict[str, Any]:
    """A good event with attributes changed, or left out (``MISSING``)."""
    event = {
        "specversion": "1.0",
        "type": "felix.usage",
        "source": "/apps/assistant",
        "id": "call-81",
        "subject": ACCOUNT,
        "time": "2026-01-31T12:00:00Z",
        "data": {"meter": "llm.input_tokens", "quantity": 4808},
    } | changes
    return {name: value for name, value in event.items() if value is not MISSING}


def data(**changes: Any) -> dict[str, Any]:
    return an_event(data={k: v for k, v in (an_event()["data"] | changes).items() if v is not MISSING})


def quantities(**each: Any) -> dict[str, Any]:
    return an_event(data={"quantities": each})


def test_an_event_is_read() -> None:
    full = an_event(
        data={
            "quantities": {"llm.input_tokens": 4808, "llm.output_tokens": 10},
            "model": "gpt-4o",
            "app": "assistant",
            "person": "Zoë",
            "reference": "ticket 7",
        }
    )
    good, bad = read_usage([full, data()], TENANT)
    assert not bad
    assert good[0] == (
        0,
        UsageItem(
            source="/apps/assistant",
            id="call-81",
            account_id=ACCOUNT,
            lines=[("llm.input_tokens", 4808), ("llm.output_tokens", 10)],
            model="gpt-4o",
            app="assistant",
            person="Zoë",
            at=datetime(2026, 1, 31, 12, tzinfo=UTC),
            reference="ticket 7",
            dedupe_key=dedupe_key(TENANT, "/apps/assistant", "call-81"),
        ),
    )
    assert good[1][1].lines == [("llm.input_tokens", 4808)]


@pytest.mark.parametrize(
    "event",
    [
        an_event(time=MISSING),
        an_event(time=None),
        an_event(time="2026-01-31t12:00:00.123456789z"),
        an_event(time="2026-01-31T12:00:00-05:30"),
        an_event(type="felix.usage.v2"),
        an_event(id="é" * 200),
        an_event(datacontenttype="application/json; charset=utf-8", dataschema="https://x.test/s"),
        an_event(traceparent="00-ab", sampledrate=-3, replay=True, nothing=None),
        data(model=None, app=None, person=None, reference=None, quantities=None),
        data(quantity=2**53 - 1),
        an_event(data={"quantities": {"m": 1}, "meter": None, "quantity": None}),
        an_event(data={"quantities": {f"m{n}": 1 for n in range(20)}}),
    ],
)
def test_what_cloudevents_allows_is_allowed(event: dict[str, Any]) -> None:
    good, bad = read_usage([event], TENANT)
    assert (len(good), bad) == (1, [])


MALFORMED: list[tuple[Any, str, str]] = [
    (None, "", "type"),
    ([], "", "type"),
    ("felix", "", "type"),
    ({}, "/specversion", "required"),
    *((an_event(**{name: MISSING}), f"/{name}", "required") for name in ("type", "source", "id", "subject", "data")),
    (an_event(specversion="0.3"), "/specversion", "value"),
    (an_event(specversion=1.0), "/specversion", "value"),
    (an_event(type="stripe.usage"), "/type", "value"),
    (an_event(type=None), "/type", "value"),
    (an_event(source=""), "/source", "length"),
    (an_event(source=LONG), "/source", "length"),
    (an_event(source=None), "/source", "required"),
    (an_event(source=["a"]), "/source", "type"),
    (an_event(source="a\0b"), "/source", "text"),
    (an_event(source="a\ud800"), "/source", "text"),
    (an_event(id=""), "/id", "length"),
    (an_event(id=LONG), "/id", "length"),
    (an_event(id=81), "/id", "type"),
    (an_event(id="a\0"), "/id", "text"),
    (an_event(id="\udfff"), "/id", "text"),
    (an_event(subject=None), "/subject", "required"),
    (an_event(subject=5), "/subject", "type"),
    (an_event(subject={}), "/subject", "type"),
    (an_event(subject="acct_5"), "/subject", "pattern"),
    (an_event(subject=ACCOUNT + "\n"), "/subject", "pattern"),
    (an_event(subject=ACCOUNT.upper()), "/subject", "pattern"),
    (an_event(time=0), "/time", "type"),
    (an_event(time="2026-01-31"), "/time", "rfc3339"),
    (an_event(time="2026-01-31T12:00:00"), "/time", "rfc3339"),
    (an_event(time="2026-02-30T12:00:00Z"), "/time", "rfc3339"),
    (an_event(time="2026-01-31T12:00:00Z\n"), "/time", "rfc3339"),
    (an_event(time="٢٠٢٦-01-31T12:00:00Z"), "/time", "rfc3339"),
    (an_event(time="0001-01-01T00:00:00+23:59"), "/time", "rfc3339"),
    (an_event(time="9999-12-31T23:59:59-23:59"), "/time", "rfc3339"),
    (an_event(time="2026-01-31T12:00:00+24:00"), "/time", "rfc3339"),
    (an_event(datacontenttype="text/xml"), "/datacontenttype", "value"),
    (an_event(datacontenttype=1), "/datacontenttype", "type"),
    (an_event(data_base64="e30="), "/data_base64", "unknown_field"),
    (an_event(**{"Trace-Id": "x"}), "/Trace-Id", "unknown_field"),
    (an_event(**{"a/b~c": "x"}), "/a~1b~0c", "unknown_field"),
    (an_event(**{"": "x"}), "/", "unknown_field"),
    (an_event(ext={"a": 1}), "/ext", "type"),
    (an_event(ext=1.5), "/ext", "type"),
    (an_event(ext=2**31), "/ext", "range"),
    (an_event(ext="\0"), "/ext", "text"),
    (an_event(time=MISSING, ext=[]), "/ext", "type"),
    (an_event(data=None), "/data", "type"),
    (an_event(data=[]), "/data", "type"),
    (an_event(data={}), "/data/meter", "required"),
    (data(meter=MISSING), "/data/meter", "required"),
    (data(meter=5), "/data/meter", "type"),
    (data(meter=["m"]), "/data/meter", "type"),
    (data(meter="Tokens"), "/data/meter", "pattern"),
    (data(meter="a."), "/data/meter", "pattern"),
    (data(meter="m\n"), "/data/meter", "pattern"),
    (data(meter="m" * 65), "/data/meter", "pattern"),
    (data(quantity=MISSING), "/data/quantity", "required"),
    (data(quantity=None), "/data/quantity", "required"),
    (data(quantity=True), "/data/quantity", "type"),
    (data(quantity=1.0), "/data/quantity", "type"),
    (data(quantity="1"), "/data/quantity", "type"),
    (data(quantity=0), "/data/quantity", "range"),
    (data(quantity=-1), "/data/quantity", "range"),
    (data(quantity=2**53), "/data/quantity", "range"),
    (data(quantities={"m": 1}), "/data/meter", "exclusive"),
    (an_event(data={"quantities": {"m": 1}, "quantity": 1}), "/data/quantity", "exclusive"),
    (an_event(data={"quantities": {}}), "/data/quantities", "length"),
    (an_event(data={"quantities": {f"m{n}": 1 for n in range(21)}}), "/data/quantities", "length"),
    (an_event(data={"quantities": [["m", 1]]}), "/data/quantities", "type"),
    (quantities(m=1, n=0), "/data/quantities/n", "range"),
    (quantities(m=1, n=None), "/data/quantities/n", "required"),
    (quantities(m=True), "/data/quantities/m", "type"),
    (quantities(**{"a/b": 1}), "/data/quantities/a~1b", "pattern"),
    (data(model=""), "/data/model", "length"),
    (data(model=LONG), "/data/model", "length"),
    (data(model=5), "/data/model", "type"),
    (data(model=["gpt-4o"]), "/data/model", "type"),
    (data(app="\0"), "/data/app", "text"),
    (data(person="\ud800"), "/data/person", "text"),
    (data(reference=LONG), "/data/reference", "length"),
    (data(modle="gpt-4o"), "/data/modle", "unknown_field"),
    (data(**{"x\ud800\0": 1}), "/data/x??", "unknown_field"),
]


@pytest.mark.parametrize(("event", "pointer", "rule"), MALFORMED)
def test_a_malformed_item_is_refused_with_a_pointer_and_stops_no_other(event: Any, pointer: str, rule: str) -> None:
    good, bad = read_usage([an_event(), an_event(id="2"), an_event(id="3"), event, an_event(id="5")], TENANT)
    assert [index for index, _ in good] == [0, 1, 2, 4]
    (error,) = bad
    assert error.pop("detail")
    assert error == {"index": 3, "code": "malformed_item", "pointer": f"/events/3{pointer}", "rule": rule}


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=()), max_size=20)
    | st.sampled_from(["m", "1.0", "felix.usage", ACCOUNT, "2026-01-31T12:00:00Z"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
bent_events = st.builds(
    lambda event, changes, inner: event | changes | {"data": {**event["data"], **inner}},
    st.sampled_from([an_event(), quantities(m=1), an_event(time=MISSING)]),
    st.dictionaries(st.sampled_from([*an_event(), "ext", "Ext"]), json_values, max_size=2),
    st.dictionaries(st.sampled_from(["meter", "quantity", "quantities", "model", "other"]), json_values, max_size=2),
)


@given(st.lists(json_values | bent_events, max_size=6))
def test_no_json_value_whatever_raises(items: list[Any]) -> None:
    good, bad = read_usage(items, TENANT)
    assert sorted([index for index, _ in good] + [error["index"] for error in bad]) == list(range(len(items)))
    for error in bad:
        json.dumps(error, ensure_ascii=False).encode()
        assert error["pointer"].startswith(f"/events/{error['index']}")
    for _, item in good:
        assert item.at is None or item.at.tzinfo is UTC
        assert all(type(quantity) is int and 0 < quantity < 2**53 for _, quantity in item.lines)


texts = st.text(min_size=1, max_size=6)


@given(st.tuples(texts, texts), st.tuples(texts, texts))
def test_a_dedupe_key_stands_for_tenant_source_and_id(one: tuple[str, str], other: tuple[str, str]) -> None:
    assert (dedupe_key(TENANT, *one) == dedupe_key(TENANT, *other)) == (one == other)
    assert dedupe_key(TENANT, *one) != dedupe_key(OTHER_TENANT, *one)


def test_a_dedupe_key_never_changes() -> None:
    assert dedupe_key(TENANT, "/apps/assistant", "call-81").hex() == "10b6d842c9331d86b89f8869916658c2"
    assert len({dedupe_key(TENANT, "ab", "c"), dedupe_key(TENANT, "a", "bc")}) == 2


def test_a_batch_has_at_most_1000_items() -> None:
    assert read_usage([], TENANT) == ([], [])
    assert len(read_usage([an_event()] * 1000, TENANT)[0]) == 1000
    with pytest.raises(UsageBatchTooLarge):
        read_usage([an_event()] * 1001, TENANT)


# --- the command --------------------------------------------------------------------------------------------


def a_batch(*events: Any) -> DebitUsageBatch:
    return DebitUsageBatch.of(*read_usage(list(events), TENANT), request_digest="00ff")


def test_a_batch_keeps_the_places_of_its_items_and_the_errors() -> None:
    command = a_batch(an_event(), None, an_event(id="2"))
    assert command.positions == [0, 2]
    assert [error["index"] for error in command.malformed] == [1]
    assert command.weight == 2


def test_a_batch_survives_json() -> None:
    command = a_batch(an_event(), quantities(m=1), an_event(time=MISSING), 5)
    assert DebitUsageBatch.model_validate_json(command.model_dump_json()) == command


def test_a_batch_of_what_was_not_read_is_refused() -> None:
    with pytest.raises(ValidationError):
        DebitUsageBatch(items=[("a", "b")], positions=[0], request_digest="00ff")  # type: ignore[list-item]


def test_the_fingerprint_is_of_the_request_and_the_rate_card() -> None:
    assert a_batch(an_event(), 5).fingerprint_fields() == {"events": "00ff", "rate_card_id": "default"}
