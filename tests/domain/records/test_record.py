"""A record keeps what it is not told about, and adds up to the same however it is loaded."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as some

from felix.application.performer import new_context
from felix.domain.apps.transitions import Taken
from felix.domain.base import FelixEvent
from felix.domain.errors import NotFound
from felix.domain.records.messages import ChangeRecord, CreateRecord
from felix.domain.records.record import Record, RecordChangedMeanwhile, RecordNotRemoved

TENANT = UUID(int=7)
OLD, NEW = "a" * 64, "b" * 64
NAMES = some.sampled_from(["title", "value", "stage", "email", "unknown_here"])
VALUES = some.dictionaries(NAMES, some.one_of(some.none(), some.integers(-5, 5), some.text(max_size=3)), max_size=4)
SEALED = some.dictionaries(NAMES, some.sampled_from([None, "0" * 64, "1" * 64]), max_size=2)


def command(**fields: Any) -> CreateRecord:
    return CreateRecord(app="shop", entity="deal", release=OLD, **fields)


def made(values: dict[str, Any], personal: dict[str, str] | None = None) -> Record:
    context = new_context(TENANT, "key", "client_owner:usr_1")
    return Record.create(context, context.mint("rec"), command(), values, personal or {})


def replayed(record: Record) -> Record:
    found: Any = None
    for event in record.pending_events:
        assert isinstance(event, FelixEvent)
        found = event.mutate(found)
    assert isinstance(found, Record)
    return found


@given(VALUES, some.lists(some.tuples(VALUES, SEALED), max_size=5))
def test_changes_touch_what_they_name_and_nothing_else(
    values: dict[str, Any], changes: list[tuple[dict[str, Any], dict[str, str | None]]]
) -> None:
    record = made(values)
    told = {name: value for name, value in values.items() if value is not None}
    for changed, sealed in changes:
        sealed = {name: value for name, value in sealed.items() if name not in changed}
        before, version = dict(record.told), record.version
        happened = record.change(NEW, changed, sealed)
        assert happened == (record.version == version + 1)
        for name in before.keys() - changed.keys() - sealed.keys():
            assert record.told[name] == before[name]
        told |= changed | {name: value and {"commitment": value} for name, value in sealed.items()}
        told = {name: value for name, value in told.items() if value is not None}
        assert record.told == told
        assert not record.values.keys() & record.personal.keys()
        again = record.version
        record.change(NEW, changed, {})
        assert record.version == again, "the same values change nothing"
    other = replayed(record)
    assert (other.told, other.version) == (record.told, record.version)
    state = record.snapshot()
    thawed = Record.restore(
        stream=record.id, version=record.version, created_on=record.created_on, modified_on=record.modified_on,
        state=state,
    )  # fmt: skip
    assert thawed.told == record.told


def test_a_record_remembers_who_made_it_and_where_it_belongs() -> None:
    record = made({"title": "Bread"})
    assert (record.maker, record.local_id[:4]) == ("usr_1", "rec_")
    record.refuse_elsewhere(command(), record.local_id)
    with pytest.raises(NotFound):
        record.refuse_elsewhere(command().model_copy(update={"environment": "sandbox"}), record.local_id)


def test_who_saw_another_version_is_told() -> None:
    record = made({"title": "Bread"})
    record.refuse_stale(None)
    record.refuse_stale(1)
    record.change(NEW, {"title": "Cake"}, {})
    with pytest.raises(RecordChangedMeanwhile) as refused:
        record.refuse_stale(1)
    assert refused.value.facts == {"expected_version": 1, "version": 2}


def test_what_is_removed_can_be_brought_back_once() -> None:
    record = made({"title": "Bread"})
    with pytest.raises(RecordNotRemoved):
        record.bring_back(NEW)
    record.remove(NEW)
    record.bring_back(NEW)
    record.step(NEW, "win", Taken("stages", "stage", "open", "won"))
    assert (record.removed, record.values) == (False, {"title": "Bread", "stage": "won"})


def test_the_door_s_answers_do_not_tell_two_requests_apart() -> None:
    asked = {"app": "shop", "entity": "deal", "record_id": "rec_" + "0" * 32, "values": {"a": 1}}
    one = ChangeRecord.model_validate(asked | {"release": OLD, "account_id": "acct_" + "0" * 32})
    other = ChangeRecord.model_validate(asked | {"release": NEW})
    assert one.fingerprint_fields() == other.fingerprint_fields()
    assert one.fingerprint_fields() != one.model_copy(update={"values": {"a": 2}}).fingerprint_fields()
