"""A key does what its scopes leave of its role, passes on no more than it has, and only ever loses."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from felix.domain.base import CommandContext
from felix.domain.identity.access import ACTIONS, grant_of
from felix.domain.identity.api_key import (
    MAX_OVERLAP_S,
    ApiKey,
    ApiKeyHasASuccessor,
    ApiKeyHasEnded,
    CreateApiKey,
    KeyWouldBeExpired,
    MoreThanItsMaker,
    Reach,
    RevokeApiKey,
    RoleOutOfPlace,
    RotateApiKey,
    ScopeOfAnotherRole,
)
from felix.domain.identity.roles import PLATFORM
from felix.domain.identity.scopes import actions_within, are_within, covers
from felix.eventstore.mapper import canonical_json

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
TENANT = UUID(int=7)
ALL = Reach()
_commands = count(1)


def context(at: datetime = NOW, tenant_id: UUID = TENANT) -> CommandContext:
    number = next(_commands)
    return CommandContext(tenant_id, f"key-{number}", UUID(int=number << 16), "client_owner:usr_a", at)


def made(maker: Reach = ALL, at: datetime = NOW, tenant_id: UUID = TENANT, **fields: Any) -> ApiKey:
    return ApiKey.create(context(at, tenant_id), CreateApiKey(**({"label": "shop"} | fields)), maker)


def rotated(key: ApiKey, at: datetime, maker: Reach = ALL, **fields: Any) -> ApiKey:
    return key.deciding(context(at)).rotate(RotateApiKey(key_id=key.local_id, **fields), maker)


def revoked(key: ApiKey, at: datetime = NOW) -> ApiKey:
    key.deciding(context(at)).revoke(RevokeApiKey(key_id=key.local_id))
    return key


# --- making -------------------------------------------------------------------------------------------------


def test_a_key_is_made_and_its_event_says_all_but_the_key() -> None:
    key = made(scopes=["ledger.*"], expires_at=NOW + DAY)
    (event,) = key.pending_events
    told = event.model_dump(exclude={"originator_id", "originator_version", "timestamp", "event_id"})
    assert told == {
        "originator_topic": "identity.api_key",
        "expires_at": NOW + DAY,
        "label": "shop",
        "role": "service",
        "rotated_from": None,
        "scopes": ["ledger.*"],
    }
    assert key.shown()["key_id"].startswith("key_") and key.shown()["expires_at"] == "2026-01-02T12:00:00+00:00"


@pytest.mark.parametrize(("role", "place"), [("founder", TENANT), ("founder_readonly", TENANT), ("service", PLATFORM)])
def test_a_key_has_a_role_of_its_place(role: str, place: UUID) -> None:
    with pytest.raises(RoleOutOfPlace):
        made(role=role, tenant_id=place)


def test_a_scope_that_means_nothing_to_the_role_is_refused() -> None:
    with pytest.raises(ScopeOfAnotherRole):
        made(scopes=["ledger.read", "tenancy.*"])
    assert made(scopes=["tenancy.*"], role="founder", tenant_id=PLATFORM).scopes == ["tenancy.*"]


@pytest.mark.parametrize("expires_at", [NOW, NOW - DAY])
def test_a_key_that_would_have_expired_is_refused(expires_at: datetime) -> None:
    with pytest.raises(KeyWouldBeExpired):
        made(expires_at=expires_at)


@pytest.mark.parametrize(
    "fields",
    [
        {"scopes": []},
        {"scopes": ["*.*"]},
        {"scopes": ["*"]},
        {"scopes": ["ledger"]},
        {"scopes": ["ledger.reed"]},
        {"scopes": ["Ledger.read"]},
        {"scopes": ["ledger.read.x"]},
        {"scopes": ["ledger.read"] * 51},
        {"role": "client_owner"},
        {"expires_at": "tomorrow"},
        {"label": ""},
    ],
)
def test_what_is_no_key_is_invalid(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        CreateApiKey(**({"label": "shop"} | fields))


@pytest.mark.parametrize("overlap_s", [-1, MAX_OVERLAP_S + 1])
def test_an_overlap_is_of_seven_days_at_most(overlap_s: int) -> None:
    with pytest.raises(ValidationError):
        RotateApiKey(key_id="key_" + "0" * 32, overlap_s=overlap_s)


# --- no more than its maker ---------------------------------------------------------------------------------

LIMITED = Reach(frozenset({"ledger.*", "*.read"}), NOW + DAY)


@pytest.mark.parametrize(
    "fields",
    [
        {"scopes": ["ledger.read"], "expires_at": NOW + DAY},
        {"scopes": ["ledger.*", "jobs.read"], "expires_at": NOW + HOUR},
        {"scopes": ["*.read"], "expires_at": NOW + HOUR},
    ],
)
def test_a_key_passes_on_what_it_has(fields: dict[str, Any]) -> None:
    assert made(LIMITED, **fields).scopes == fields["scopes"]


@pytest.mark.parametrize(
    "fields",
    [
        {"expires_at": NOW + HOUR},
        {"scopes": ["metering.*"], "expires_at": NOW + HOUR},
        {"scopes": ["ledger.read", "metering.debit_usage_batch"], "expires_at": NOW + HOUR},
        {"scopes": ["ledger.read"]},
        {"scopes": ["ledger.read"], "expires_at": NOW + DAY + HOUR},
    ],
)
def test_a_key_passes_on_no_more_than_it_has(fields: dict[str, Any]) -> None:
    with pytest.raises(MoreThanItsMaker):
        made(LIMITED, **fields)


def test_a_key_gets_no_wider_one_by_rotating_it() -> None:
    for wide in (made(), made(scopes=["metering.*"]), made(scopes=["ledger.*"])):
        with pytest.raises(MoreThanItsMaker):
            rotated(wide, NOW, LIMITED)
    assert rotated(made(scopes=["ledger.*"], expires_at=NOW + HOUR), NOW, LIMITED).scopes == ["ledger.*"]


PATTERNS = sorted(
    {part for name in ACTIONS for part in (name, name.partition(".")[0] + ".*", "*." + name.partition(".")[2])}
)


@given(st.lists(st.sampled_from(PATTERNS), min_size=1), st.lists(st.sampled_from(PATTERNS), min_size=1))
def test_scopes_within_others_allow_nothing_that_those_do_not(ours: list[str], theirs: list[str]) -> None:
    if are_within(ours, theirs):
        assert actions_within(frozenset(ours)) <= actions_within(frozenset(theirs))


@pytest.mark.parametrize(
    ("scope", "other", "does"),
    [
        ("ledger.read", "ledger.read", True),
        ("ledger.*", "ledger.read", True),
        ("*.read", "ledger.read", True),
        ("ledger.*", "*.read", False),
        ("*.read", "ledger.*", False),
        ("ledger.read", "ledger.*", False),
        ("ledger.*", "metering.read", False),
    ],
)
def test_a_group_covers_its_members_and_no_other_group(scope: str, other: str, does: bool) -> None:
    assert covers(scope, other) is does


def test_a_machine_of_a_client_may_do_nothing_that_its_owner_may_not() -> None:
    for maker, key in (("client_owner", "service"), ("founder", "service"), ("founder", "founder_readonly")):
        beyond = {action for action in ACTIONS if grant_of(action, key) is not None} - {
            action for action in ACTIONS if grant_of(action, maker) is not None
        }
        assert beyond == set(), (maker, key)


# --- rotating and revoking ----------------------------------------------------------------------------------


def test_a_rotated_key_goes_on_for_the_overlap_and_its_successor_lives_as_long_as_it_was_to() -> None:
    key = made(scopes=["ledger.*"], expires_at=NOW + 30 * DAY)
    successor = rotated(key, NOW + DAY, overlap_s=3600)
    assert key.expires_at == NOW + DAY + HOUR and key.successor_id == successor.local_id
    assert successor.expires_at == NOW + 31 * DAY
    assert (successor.label, successor.role, successor.scopes) == ("shop", "service", ["ledger.*"])
    assert made().expires_at is None and rotated(made(), NOW + DAY).expires_at is None


def test_no_overlap_outlives_the_key_itself() -> None:
    key = made(expires_at=NOW + HOUR)
    rotated(key, NOW + HOUR / 2, overlap_s=MAX_OVERLAP_S)
    assert key.expires_at == NOW + HOUR


def test_a_key_has_one_successor() -> None:
    key = made()
    first = rotated(key, NOW)
    with pytest.raises(ApiKeyHasASuccessor) as refused:
        rotated(key, NOW + HOUR)
    assert refused.value.facts == {"successor_id": first.local_id}
    rotated(first, NOW + HOUR)


def test_what_has_ended_is_not_rotated() -> None:
    expired, overlapped = made(expires_at=NOW + HOUR), made()
    rotated(overlapped, NOW, overlap_s=0)
    for key in (expired, overlapped, revoked(made())):
        with pytest.raises(ApiKeyHasEnded):
            rotated(key, NOW + HOUR)


def test_revoking_twice_is_revoking_once() -> None:
    key = made()
    before = len(key.pending_events)
    revoked(revoked(key), NOW + DAY)
    assert key.revoked and len(key.pending_events) == before + 1


def test_a_key_is_the_same_after_its_snapshot() -> None:
    key = made(scopes=["*.read"], expires_at=NOW + 30 * DAY)
    rotated(key, NOW + DAY)
    again = ApiKey.restore(
        stream=key.id,
        version=key.version,
        created_on=key.created_on,
        modified_on=key.modified_on,
        state=orjson.loads(canonical_json(key.snapshot())),
    )
    assert again.snapshot() == key.snapshot()
