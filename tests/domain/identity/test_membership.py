"""What a person can be in a tenant, and who says so."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from people_stories import ADA, CLIENT, DAY, NOW, a_member, context, from_snapshot, happened, replayed
from pydantic import ValidationError

from felix.domain.errors import FelixError
from felix.domain.identity.membership import (
    AccessIsOverAlready,
    AlreadyMember,
    ChangeRole,
    EndMembership,
    LastOwner,
    Membership,
    MembershipHasEnded,
    OwnRole,
    RoleNotHere,
)
from felix.domain.identity.roles import CLIENT_ROLES, HUMAN_ROLES, PLATFORM, PLATFORM_ROLES, ROLES

END = EndMembership(user_id=ADA, reason="left")


def change(role: Any, expires_at: datetime | None = None) -> ChangeRole:
    return ChangeRole(user_id=ADA, role=role, expires_at=expires_at)


@pytest.mark.parametrize("role", sorted(HUMAN_ROLES))
@pytest.mark.parametrize("tenant_id", [CLIENT, PLATFORM], ids=["client", "platform"])
def test_founders_are_members_of_the_platform_and_everybody_else_of_a_client(role: Any, tenant_id: UUID) -> None:
    until = NOW + DAY if role == "auditor" else None
    if (role in PLATFORM_ROLES) == (tenant_id == PLATFORM):
        assert a_member(role, tenant_id, until).role == role
    else:
        with pytest.raises(RoleNotHere):
            a_member(role, tenant_id, until)


@pytest.mark.parametrize("role", ROLES)
def test_auditors_and_nobody_else_are_so_until_a_moment(role: Any) -> None:
    for until in (None, NOW + DAY):
        fits = role != "service" and (role == "auditor") == (until is not None)
        if fits:
            assert change(role, until).role == role
        else:
            with pytest.raises(ValidationError):
                change(role, until)


def test_access_that_would_be_over_already_is_refused() -> None:
    with pytest.raises(AccessIsOverAlready):
        a_member("auditor", expires_at=NOW)
    with pytest.raises(AccessIsOverAlready):
        a_member().change_role(change("auditor", NOW - DAY), others_lead=True)


def test_a_role_is_changed() -> None:
    member = a_member()
    member.change_role(change("client_approver"), others_lead=False)
    assert happened(member) == ["membership_granted", "role_changed"]
    assert member.describe() == {"user_id": ADA, "role": "client_approver", "expires_at": None}


def test_to_stay_what_one_is_changes_nothing() -> None:
    member = a_member("auditor", expires_at=NOW + DAY)
    member.change_role(change("auditor", NOW + DAY), others_lead=False)
    assert happened(member) == ["membership_granted"]
    member.change_role(change("auditor", NOW + 2 * DAY), others_lead=False)
    assert happened(member) == ["membership_granted", "role_changed"]


@pytest.mark.parametrize("actor", [f"client_owner:{ADA}", f"founder:{ADA}"])
def test_nobody_changes_their_own_role(actor: str) -> None:
    member = a_member("client_owner").deciding(context(actor=actor))
    with pytest.raises(OwnRole):
        member.change_role(change("client_member"), others_lead=True)


@pytest.mark.parametrize(("role", "tenant_id", "less"), [
    ("client_owner", CLIENT, "client_member"),
    ("founder", PLATFORM, "founder_readonly"),
])  # fmt: skip
def test_the_last_who_can_give_roles_stays(role: Any, tenant_id: UUID, less: Any) -> None:
    last = a_member(role, tenant_id)
    with pytest.raises(LastOwner):
        last.change_role(change(less), others_lead=False)
    with pytest.raises(LastOwner):
        last.end(END, others_lead=False)
    last.change_role(change(role), others_lead=False)
    assert happened(last) == ["membership_granted"]
    last.change_role(change(less), others_lead=True)
    last.end(END, others_lead=False)
    assert last.role is None


def test_a_membership_ends_once_and_can_begin_again() -> None:
    member = a_member()
    member.end(END, others_lead=False)
    member.end(END, others_lead=False)
    assert happened(member) == ["membership_granted", "membership_ended"]
    with pytest.raises(MembershipHasEnded):
        member.change_role(change("client_owner"), others_lead=True)
    member.resume("client_approver", None)
    assert member.is_in_force and member.role == "client_approver"


def test_who_is_a_member_becomes_none_again_by_an_invitation() -> None:
    with pytest.raises(AlreadyMember) as refused:
        a_member().resume("client_owner", None)
    assert refused.value.facts["role"] == "client_member"


def test_an_auditor_whose_time_is_over_can_be_invited_again() -> None:
    auditor = a_member("auditor", expires_at=NOW + DAY)
    assert auditor.is_in_force
    auditor.deciding(context(at=NOW + DAY))
    assert not auditor.is_in_force
    auditor.resume("auditor", NOW + 3 * DAY)
    assert auditor.is_in_force
    with pytest.raises(RoleNotHere):
        auditor.deciding(context(at=NOW + 4 * DAY)).resume("founder", None)


_roles = st.sampled_from(sorted(CLIENT_ROLES))
_steps = st.one_of(
    st.tuples(st.just("change"), _roles, st.booleans()),
    st.tuples(st.just("end"), _roles, st.booleans()),
    st.tuples(st.just("resume"), _roles, st.booleans()),
)


def asked(member: Membership, step: tuple[str, Any, bool]) -> str | None:
    """Ask for something; the code of its refusal."""
    what, role, others_lead = step
    try:
        if what == "change":
            member.change_role(change(role), others_lead=others_lead)
        elif what == "end":
            member.end(END, others_lead=others_lead)
        else:
            member.resume(role, None)
    except FelixError as refusal:
        return refusal.code
    return None


@given(st.lists(_steps, max_size=12))
def test_any_command_may_be_retried_and_replay_is_the_state(steps: list[tuple[str, Any, bool]]) -> None:
    member = a_member("client_owner")
    for step in steps:
        refused = asked(member, step)
        before = len(happened(member))
        again = asked(member, step)
        assert len(happened(member)) == before, "a retry has no second effect"
        if refused is not None:
            assert again == refused
    assert replayed(member).snapshot() == member.snapshot() == from_snapshot(member).snapshot()
