"""``felix sessions``: where people are signed in, and how they are signed out."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from felix.cli.errors import UsageError
from felix.cli.options import Acting, Showing
from felix.cli.output import print_json, print_table
from felix.cli.session import Session, open_session
from felix.cli.users import find
from felix.domain.errors import NotFound
from felix.domain.identity.roles import PLATFORM_SLUG

if TYPE_CHECKING:
    from felix.domain.base import Command

app = App(name="sessions", help="Show where people are signed in, and sign them out.")
SHOWN = {
    "session_id": "session", "user_id": "user", "method": "signed in by", "second_factor": "second factor",
    "began_at": "since", "last_seen_at": "last seen", "expires_at": "until", "device": "device",
}  # fmt: skip


@app.command(name="list")
def list_sessions(
    user: Annotated[str | None, Parameter(show_default=False)] = None, *, showing: Showing | None = None
) -> None:
    """List the sessions that can be used, the newest first.

    Parameters
    ----------
    user
        Whose, by id or e-mail address. Default: everybody's.
    """
    showing = showing or Showing()
    with open_session() as session:
        found = _sessions(session, None if user is None else find(session, user)["user_id"])
    if showing.json:
        print_json(found)
    else:
        print_table(found, SHOWN, empty="Nobody is signed in.")


@app.command
def end(
    session_id: Annotated[str | None, Parameter(show_default=False)] = None,
    *,
    user: str | None = None,
    acting: Acting | None = None,
) -> None:
    """End a session, or all of a person's, everywhere within a second.

    Parameters
    ----------
    session_id
        The id that `felix sessions list` shows (sess_…).
    user
        Instead: all sessions of this person, by id or e-mail address.
    """
    from felix.domain.identity.session import EndSession, EndSessions

    if (session_id is None) == (user is None):
        raise UsageError("Say which: a session, or --user for all of a person's.")
    with open_session() as session:
        command: Command
        if user is not None:
            command = EndSessions(user_id=find(session, user)["user_id"], ending="ended_by_operator")
        else:
            whose = [row["user_id"] for row in _sessions(session, None) if row["session_id"] == session_id]
            if not whose or session_id is None:
                raise NotFound(f"There is no session {session_id} in use.")
            command = EndSession(session_id=session_id, user_id=whose[0], ending="ended_by_operator")
        session.perform(session.tenant(PLATFORM_SLUG), command, acting or Acting())


def _sessions(session: Session, user_id: str | None) -> list[dict[str, Any]]:
    from felix.application.sign_in import SESSION_IDLES
    from felix.projections import sign_in

    now = datetime.now(UTC)
    return session.ask_as_founder(lambda tx: sign_in.everybodys_sessions(tx, user_id, now, now - SESSION_IDLES))
