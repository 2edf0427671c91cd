"""An invitation is accepted once, in time, or it is over."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from people_stories import (
    ADA,
    BEN,
    CLIENT,
    DAY,
    INVITED,
    NOW,
    an_invitation,
    context,
    from_snapshot,
    happened,
    replayed,
)
from pydantic import TypeAdapter, ValidationError

from felix.domain.errors import FelixError
from felix.domain.identity.email import MAX_EMAIL_LENGTH, Email
from felix.domain.identity.invitation import (
    INVITATION_LASTS,
    AcceptInvitation,
    ExpireInvitation,
    Invitation,
    InvitationIsOver,
    SendInvitation,
    WithdrawInvitation,
)
from felix.domain.identity.membership import AccessIsOverAlready, RoleNotHere

ACCEPT = AcceptInvitation(invitation_id=INVITED, user_id=ADA)
WITHDRAW = WithdrawInvitation(invitation_id=INVITED)
EXPIRE = ExpireInvitation(invitation_id=INVITED)
LAST_MOMENT = NOW + INVITATION_LASTS - timedelta(microseconds=1)


def later(invitation: Invitation, at: Any) -> Invitation:
    return invitation.deciding(context(at=at))


def test_an_invitation_says_what_for_and_until_when() -> None:
    sent = an_invitation("auditor", expires_at=NOW + 30 * DAY)
    assert sent.describe() == {
        "invitation_id": INVITED, "role": "auditor", "status": "sent", "expires_at": "2026-01-08T12:00:00+00:00"
    }  # fmt: skip
    assert sent.access_expires_at == NOW + 30 * DAY


def test_nobody_is_invited_to_be_what_they_can_not_be() -> None:
    with pytest.raises(RoleNotHere):
        an_invitation("founder", CLIENT)
    with pytest.raises(AccessIsOverAlready):
        an_invitation("auditor", expires_at=NOW)


def test_the_same_asked_again_is_the_same_request_whatever_the_salt() -> None:
    first, second, other = (
        SendInvitation(role=role, invitation_id=INVITED, email_commitment=salted * 64).fingerprint_fields()
        for role, salted in (("client_member", "a"), ("client_member", "b"), ("client_owner", "a"))
    )
    assert first == second != other


def test_it_is_accepted_until_its_last_moment() -> None:
    sent = an_invitation()
    assert later(sent, LAST_MOMENT).accept(ACCEPT)
    assert (sent.status, sent.user_id) == ("accepted", ADA)


def test_whoever_has_accepted_may_say_so_again_and_nobody_else() -> None:
    sent = an_invitation()
    assert sent.accept(ACCEPT)
    assert not later(sent, NOW + 30 * DAY).accept(ACCEPT)
    with pytest.raises(InvitationIsOver) as refused:
        sent.accept(AcceptInvitation(invitation_id=INVITED, user_id=BEN))
    assert refused.value.facts == {"status": "accepted"}
    assert happened(sent) == ["invitation_sent", "invitation_accepted"]


def test_it_runs_out_whether_or_not_that_is_booked() -> None:
    sent = later(an_invitation(), NOW + INVITATION_LASTS)
    with pytest.raises(InvitationIsOver) as refused:
        sent.accept(ACCEPT)
    assert refused.value.facts == {"status": "expired"}
    assert sent.expire(EXPIRE) and not sent.expire(EXPIRE)
    with pytest.raises(InvitationIsOver):
        sent.accept(ACCEPT)
    assert happened(sent) == ["invitation_sent", "invitation_expired"]


def test_what_waits_or_is_over_does_not_expire() -> None:
    sent = an_invitation()
    assert not later(sent, LAST_MOMENT).expire(EXPIRE)
    sent.accept(ACCEPT)
    assert not later(sent, NOW + 30 * DAY).expire(EXPIRE)


def test_it_can_be_withdrawn_until_it_is_accepted() -> None:
    sent = an_invitation()
    assert sent.withdraw(WITHDRAW) and not sent.withdraw(WITHDRAW)
    with pytest.raises(InvitationIsOver) as refused:
        sent.accept(ACCEPT)
    assert refused.value.facts == {"status": "withdrawn"}
    accepted = an_invitation()
    accepted.accept(ACCEPT)
    with pytest.raises(InvitationIsOver):
        accepted.withdraw(WITHDRAW)


@given(st.lists(st.tuples(st.sampled_from([ACCEPT, WITHDRAW, EXPIRE]), st.integers(0, 4)), max_size=10))
def test_any_command_may_be_retried_and_replay_is_the_state(steps: list[tuple[Any, int]]) -> None:
    sent, day = an_invitation(), 0

    def ask(command: Any) -> Any:
        decide = {AcceptInvitation: sent.accept, WithdrawInvitation: sent.withdraw, ExpireInvitation: sent.expire}
        try:
            return decide[type(command)](command)
        except FelixError as refusal:
            return refusal.facts

    for command, days in steps:
        day += days
        later(sent, NOW + day * DAY)
        first = ask(command)
        before = len(happened(sent))
        assert ask(command) in (first, False)
        assert len(happened(sent)) == before <= 2
    assert replayed(sent).snapshot() == sent.snapshot() == from_snapshot(sent).snapshot()


_email: TypeAdapter[str] = TypeAdapter(Email)


@pytest.mark.parametrize(("written", "kept"), [
    ("ada@example.com", "ada@example.com"),
    ("  Ada.Lovelace+felix@Example.COM ", "ada.lovelace+felix@example.com"),
    ("ａｄａ@example.com", "ada@example.com"),
    ("jürgen@bäckerei.example", "jürgen@bäckerei.example"),
])  # fmt: skip
def test_an_address_is_kept_in_one_form(written: str, kept: str) -> None:
    assert _email.validate_python(written) == kept
    assert _email.validate_python(kept) == kept


@pytest.mark.parametrize("written", [
    "", "ada", "@example.com", "ada@", "ada@example", "a b@example.com", "ada@example.com\r\nBcc: b@example.com",
    "ada@example.com,b@example.com", "<ada@example.com>", "a\x00b@example.com", "ada@ex\u202eample.com",
    "a" * MAX_EMAIL_LENGTH + "@example.com",
])  # fmt: skip
def test_what_no_mail_could_reach_is_no_address(written: str) -> None:
    with pytest.raises(ValidationError):
        _email.validate_python(written)


@given(st.text(max_size=60))
def test_whatever_is_taken_for_an_address_is_so_in_its_kept_form_too(written: str) -> None:
    try:
        kept = _email.validate_python(written)
    except ValidationError:
        return
    assert _email.validate_python(kept) == kept
