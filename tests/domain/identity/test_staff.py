"""Given what staff have read, and with whose eyes, when …, then … ."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from people_stories import NOW, context, from_snapshot, happened, replayed
from pydantic import ValidationError

from felix.domain.identity.access_log import MAX_WHAT, AccessLog, RecordRead
from felix.domain.identity.impersonation import (
    BeginImpersonation,
    Impersonation,
    NobodyToImpersonate,
)
from felix.domain.identity.roles import PLATFORM

READER = "usr_" + "d" * 32
READ: dict[str, Any] = {"reader_id": READER, "action": "log.read", "what": "/v1/events?limit=9", "rows": 9}
BEGIN: dict[str, Any] = {
    "caller_id": READER,
    "credential_id": "sess_" + "e" * 32,
    "role": "client_owner",
    "reason": "They do not see their invoice.",
}


def begun(**fields: Any) -> Impersonation:
    return Impersonation.start(context(), BeginImpersonation(**BEGIN | fields))


def test_every_read_is_added_in_order() -> None:
    log = AccessLog.open(context(), READER)
    assert [log.record(RecordRead(**READ | {"rows": rows}))["reads"] for rows in (0, None, 9)] == [1, 2, 3]
    assert happened(log) == ["access_log_begun", *["sensitive_data_read"] * 3]
    assert replayed(log).reads == from_snapshot(log).reads == 3
    assert (log.kind, log.local_id) == ("access_log", READER)


@pytest.mark.parametrize(
    "wrong",
    [
        {"reader_id": ""},
        {"reader_id": "usr_x:y"},
        {"rows": -1},
        {"what": ""},
        {"what": "x" * (MAX_WHAT + 1)},
        {"what": "/v1/\x00"},
        {"impersonation_id": "imp_1"},
        {"body": "what was read"},
    ],
)
def test_what_is_no_record_of_a_read_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        RecordRead(**READ | wrong)


def test_an_impersonation_says_as_what_why_and_until_when() -> None:
    impersonation = begun(minutes=60)
    (event,) = impersonation.pending_events
    told = event.model_dump(
        exclude={"originator_id", "originator_version", "timestamp", "event_id", "originator_topic"}
    )
    assert told == {"role": "client_owner", "reason": BEGIN["reason"], "expires_at": NOW + timedelta(hours=1)}
    assert replayed(impersonation).expires_at == from_snapshot(impersonation).expires_at == NOW + timedelta(hours=1)


def test_nobody_is_impersonated_in_the_platform() -> None:
    with pytest.raises(NobodyToImpersonate):
        Impersonation.start(context(PLATFORM), BeginImpersonation(**BEGIN))


def test_it_ends_once_and_never_after_its_time() -> None:
    impersonation = begun(minutes=10)
    for minutes in (5, 6):
        assert impersonation.deciding(context(at=NOW + timedelta(minutes=minutes))).end()["role"] == "client_owner"
    assert happened(impersonation) == ["impersonation_began", "impersonation_ended"]
    over = begun(minutes=10)
    over.deciding(context(at=NOW + timedelta(minutes=10))).end()
    assert happened(over) == ["impersonation_began"]


@pytest.mark.parametrize(
    "wrong", [{"role": "founder"}, {"role": "auditor"}, {"minutes": 61}, {"minutes": 0}, {"reason": ""}]
)
def test_what_is_no_impersonation_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        BeginImpersonation(**BEGIN | wrong)
