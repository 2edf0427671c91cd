"""Users and memberships as the doors ask for them at every request; written beside the events that say so."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from felix.eventstore.side_statements import SideStatement


def keep_user(user_id: str, email_index: bytes, at: datetime) -> SideStatement:
    """A new user, who is found by the index of the address."""
    return SideStatement(
        "insert into felix.users (user_id, email_index, registered_at) values (%s, %s, %s)", (user_id, email_index, at)
    )


def user_behind(email_index: bytes) -> SideStatement:
    """Asks who has an address: no row, or the one with the id."""
    return SideStatement("select user_id from felix.users where email_index = %s", (email_index,))


def set_status(user_id: str, status: str) -> SideStatement:
    """Whether a user may sign in; one who is erased is found by no address any more."""
    return SideStatement(
        "update felix.users set status = %s, email_index = case when %s = 'erased' then null else email_index end"
        " where user_id = %s",
        (status, status, user_id),
    )


def keep_membership(
    tenant_id: UUID, user_id: str, role: str, expires_at: datetime | None, at: datetime
) -> SideStatement:
    """What a person is in a tenant, new or changed."""
    return SideStatement(
        "insert into felix.memberships (tenant_id, user_id, role, expires_at, granted_at) values (%s, %s, %s, %s, %s)"
        " on conflict (tenant_id, user_id) do update set role = excluded.role, expires_at = excluded.expires_at",
        (tenant_id, user_id, role, expires_at, at),
    )


def end_membership(tenant_id: UUID, user_id: str) -> SideStatement:
    """A person is nothing in a tenant any more."""
    return SideStatement("delete from felix.memberships where tenant_id = %s and user_id = %s", (tenant_id, user_id))


def other_leaders(tenant_id: UUID, user_id: str, roles: list[Any]) -> SideStatement:
    """Asks whether anybody else in a tenant has one of these roles: one row, or none."""
    return SideStatement(
        "select 1 from felix.memberships where tenant_id = %s and user_id <> %s and role = any(%s) limit 1",
        (tenant_id, user_id, roles),
    )
