"""The table of who users are at a sign-in provider, for the transaction of the event that binds them."""

from __future__ import annotations

from datetime import datetime

from felix.eventstore.side_statements import SideStatement


def bound(issuer: str, subject_index: bytes, user_id: str) -> SideStatement:
    """Question: bindings of this user, or of this identity, at a provider: whose, and whether it is this identity."""
    return SideStatement(
        "select user_id, subject_index = %s from felix.bound_identities"
        " where issuer = %s and (subject_index = %s or user_id = %s)",
        (subject_index, issuer, subject_index, user_id),
    )


def keep(issuer: str, subject_index: bytes, user_id: str, at: datetime) -> SideStatement:
    """Keep a binding."""
    return SideStatement(
        "insert into felix.bound_identities (issuer, subject_index, user_id, bound_at) values (%s, %s, %s, %s)",
        (issuer, subject_index, user_id, at),
    )
