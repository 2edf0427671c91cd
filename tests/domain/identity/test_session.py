"""A session begins, changes its token, and ends once."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from people_stories import ADA, NOW, context
from pydantic import ValidationError

from felix.domain.identity.roles import PLATFORM
from felix.domain.identity.session import BeginSession, EndSession, Session, SessionIsOver

LASTS = timedelta(hours=12)


def a_session(**fields: Any) -> Session:
    """Ada has signed in."""
    return Session.let_in(context(PLATFORM), BeginSession(user_id=ADA, method="password", **fields), NOW + LASTS)


def at(session: Session, later: timedelta) -> Session:
    """The same, while a later command is decided."""
    return session.deciding(context(PLATFORM, NOW + later))


def told(session: Session) -> list[str]:
    """What has happened."""
    return [type(event).__name__ for event in session.pending_events]


def test_it_says_who_came_in_how_and_until_when() -> None:
    (began,) = a_session(second_factor=True).pending_events
    assert isinstance(began, Session.SessionBegan)
    assert (began.user_id, began.method, began.second_factor, began.expires_at) == (ADA, "password", True, NOW + LASTS)


@pytest.mark.parametrize(("proof", "proved"), [("password", False), ("totp", True)])
def test_a_code_of_an_app_proves_a_second_factor_and_a_password_does_not(proof: Any, proved: bool) -> None:
    session = a_session()
    session.step_up(proof)
    assert session.second_factor is proved


def test_it_ends_once() -> None:
    session = a_session()
    assert session.end("signed_out")
    assert not session.end("password_changed")
    assert told(session) == ["SessionBegan", "SessionEnded"]


def test_what_is_over_is_not_taken_up_again() -> None:
    ended = a_session()
    ended.end("ended_by_user")
    for over in (ended, at(a_session(), LASTS)):
        before = told(over)
        with pytest.raises(SessionIsOver):
            over.step_up("password")
        with pytest.raises(SessionIsOver):
            over.rotate(second_factor=True)
        assert told(over) == before


def test_until_the_last_moment_it_can_be_used() -> None:
    session = at(a_session(), LASTS - timedelta(microseconds=1))
    session.rotate(second_factor=True)
    assert session.second_factor


def test_a_snapshot_is_the_session() -> None:
    session = a_session()
    session.step_up("totp")
    again = Session.restore(
        stream=session.id,
        version=session.version,
        created_on=NOW,
        modified_on=session.modified_on,
        state=session.snapshot(),
    )
    assert again.snapshot() == session.snapshot()
    with pytest.raises(SessionIsOver):
        at(again, LASTS).step_up("password")


@pytest.mark.parametrize(
    "fields", [{"session_id": "sess_1"}, {"user_id": "ada"}, {"ending": "because"}, {"session_id": "sess_" + "G" * 32}]
)
def test_what_no_session_can_be_is_no_command(fields: dict[str, str]) -> None:
    good = {"session_id": "sess_" + "0" * 32, "user_id": ADA, "ending": "signed_out"}
    EndSession.model_validate(good)
    with pytest.raises(ValidationError):
        EndSession.model_validate(good | fields)
