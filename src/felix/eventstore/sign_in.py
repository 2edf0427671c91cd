"""What sign-in keeps beside the log: hashes of tokens, links and passwords, and sealed second factors.

The statements are for :meth:`~felix.application.unit_of_work.UnitOfWork.beside` and ``ask_beside``: they run in the
transaction of the command's events. All that is presented by a person is known here by its hash alone.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256
from typing import Literal

from felix.domain.identity.roles import PLATFORM
from felix.eventstore.side_statements import SideStatement

Purpose = Literal["invitation", "magic_link", "password_reset"]

TOKEN_BYTES = 32
#: A browser's description of itself may be longer; this much tells one from another.
MAX_DEVICE_LENGTH = 200


def new_token() -> str:
    """A fresh token for a session or a link: 256 bits, 43 characters that may stand in a URL."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def hash_token(token: str) -> bytes:
    """What is stored of a token: with 256 bits of randomness a plain hash suffices."""
    return sha256(token.encode()).digest()


# Links: single use, expiring. ``subject`` is whom or what they are for: a user's id, or an invitation's.


def link_made(token_hash: bytes, purpose: Purpose, subject: str, at: datetime, expires_at: datetime) -> SideStatement:
    """Keep a link."""
    return SideStatement(
        "insert into felix.links (token_hash, purpose, subject, made_at, expires_at) values (%s, %s, %s, %s, %s)",
        (token_hash, purpose, subject, at, expires_at),
    )


def link_open(token_hash: bytes, purpose: Purpose, at: datetime) -> SideStatement:
    """Question: the subject of a link that can still be used."""
    return SideStatement(
        "select subject from felix.links"
        " where token_hash = %s and purpose = %s and used_at is null and expires_at > %s for update",
        (token_hash, purpose, at),
    )


def link_used(token_hash: bytes, at: datetime) -> SideStatement:
    """A link is used up."""
    return SideStatement("update felix.links set used_at = %s where token_hash = %s", (at, token_hash))


def links_void(subject: str, at: datetime) -> SideStatement:
    """Whatever links there are for a subject are worthless from now on."""
    return SideStatement("update felix.links set used_at = %s where subject = %s and used_at is null", (at, subject))


# Sessions.


def session_begun(
    session_id: str,
    user_id: str,
    token_hash: bytes,
    *,
    method: str,
    second_factor: bool,
    at: datetime,
    expires_at: datetime,
    device: str,
) -> SideStatement:
    """Keep the session that has begun."""
    return SideStatement(
        "insert into felix.sessions (session_id, token_hash, user_id, method, second_factor, began_at, last_seen_at,"
        " expires_at, device) values (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
        (session_id, token_hash, user_id, method, second_factor, at, at, expires_at, device[:MAX_DEVICE_LENGTH]),
    )


def session_stepped_up(session_id: str, token_hash: bytes, at: datetime, *, second_factor: bool) -> SideStatement:
    """Another token, and the moment of the proof."""
    return SideStatement(
        "update felix.sessions set token_hash = %s, stepped_up_at = %s, second_factor = %s where session_id = %s",
        (token_hash, at, second_factor, session_id),
    )


def session_rotated(session_id: str, token_hash: bytes, *, second_factor: bool) -> SideStatement:
    """Another token."""
    return SideStatement(
        "update felix.sessions set token_hash = %s, second_factor = %s where session_id = %s",
        (token_hash, second_factor, session_id),
    )


def session_over(session_id: str, at: datetime) -> SideStatement:
    """The token is worthless."""
    return SideStatement(
        "update felix.sessions set ended_at = %s where session_id = %s and ended_at is null", (at, session_id)
    )


def open_sessions(user_id: str) -> SideStatement:
    """Question: the ids of a user's sessions that nobody has ended."""
    return SideStatement(
        "select session_id from felix.sessions where user_id = %s and ended_at is null order by session_id", (user_id,)
    )


def sessions_over(user_id: str, at: datetime) -> SideStatement:
    """All tokens of a user are worthless: for a command of a client's log, which can't write the sessions' events.

    Those follow, by the policy ``changed_roles_end_sessions``.
    """
    return SideStatement(
        "update felix.sessions set ended_at = %s where user_id = %s and ended_at is null", (at, user_id)
    )


def sessions_before(user_id: str, at: datetime) -> SideStatement:
    """Question: the ids of a user's sessions that began before, over or not."""
    return SideStatement(
        "select session_id from felix.sessions where user_id = %s and began_at < %s order by session_id", (user_id, at)
    )


def is_of_platform(user_id: str) -> SideStatement:
    """Question: a row, if a user is one of the people who run the platform."""
    return SideStatement(
        "select user_id from felix.memberships where tenant_id = %s and user_id = %s", (PLATFORM, user_id)
    )


# Passwords, second factors, recovery codes. ``excluded`` is not used: it would take the right to read what is kept.


def password_kept(user_id: str, password_hash: str, at: datetime) -> SideStatement:
    """Keep a password's hash, in place of the one before."""
    return SideStatement(
        "insert into felix.passwords (user_id, password_hash, set_at) values (%s, %s, %s)"
        " on conflict (user_id) do update set password_hash = %s, set_at = %s",
        (user_id, password_hash, at, password_hash, at),
    )


def password_hashed_anew(user_id: str, password_hash: str, set_at: datetime) -> SideStatement:
    """The same password under today's cost, if it is still the same."""
    return SideStatement(
        "update felix.passwords set password_hash = %s where user_id = %s and set_at = %s",
        (password_hash, user_id, set_at),
    )


def password_is_of(user_id: str, set_at: datetime) -> SideStatement:
    """Question: a row, if the password is still the one that was set then."""
    return SideStatement(
        "select user_id from felix.passwords where user_id = %s and set_at = %s for update", (user_id, set_at)
    )


def second_factor_kept(user_id: str, sealed_secret: bytes, step: int, at: datetime) -> SideStatement:
    """Keep a second factor, in place of the one before. ``step`` is the time step of the code that proved it."""
    return SideStatement(
        "insert into felix.second_factors (user_id, sealed_secret, last_step, enrolled_at) values (%s, %s, %s, %s)"
        " on conflict (user_id) do update set sealed_secret = %s, last_step = %s, enrolled_at = %s",
        (user_id, sealed_secret, step, at, sealed_secret, step, at),
    )


def second_factor_dropped(user_id: str) -> SideStatement:
    """Forget a second factor."""
    return SideStatement("delete from felix.second_factors where user_id = %s", (user_id,))


def step_is_new(user_id: str, step: int) -> SideStatement:
    """Question: a row, if no code of this time step or a later one was used."""
    return SideStatement(
        "select user_id from felix.second_factors where user_id = %s and last_step < %s for update", (user_id, step)
    )


def step_used(user_id: str, step: int) -> SideStatement:
    """A code of this time step was used; it and earlier ones are worthless."""
    return SideStatement("update felix.second_factors set last_step = %s where user_id = %s", (step, user_id))


def codes_kept(user_id: str, code_hashes: Sequence[bytes]) -> SideStatement:
    """Keep recovery codes."""
    return SideStatement(
        "insert into felix.recovery_codes (user_id, code_hash) select %s, unnest(%s::bytea[])",
        (user_id, list(code_hashes)),
    )


def codes_dropped(user_id: str) -> SideStatement:
    """Forget recovery codes."""
    return SideStatement("delete from felix.recovery_codes where user_id = %s", (user_id,))


def code_is_there(user_id: str, code_hash: bytes) -> SideStatement:
    """Question: a row, if this code was issued and not used."""
    return SideStatement(
        "select user_id from felix.recovery_codes where user_id = %s and code_hash = %s for update",
        (user_id, code_hash),
    )


def code_used(user_id: str, code_hash: bytes) -> SideStatement:
    """A recovery code is used up."""
    return SideStatement("delete from felix.recovery_codes where user_id = %s and code_hash = %s", (user_id, code_hash))
