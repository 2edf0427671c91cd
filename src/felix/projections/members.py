"""Members: who is, was, or is asked to become a member of a tenant, and as what."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import psycopg

from felix.eventstore.mapper import RecordedEvent
from felix.projections.base import Projection, change
from felix.projections.tenant_tx import FounderTx, Row, TenantTx

_JOIN = """
    insert into members (partition, tenant_id, user_id, role, expires_at, joined_at, changed_at)
    values (%s, %s, %s, %s, %s, %s, %s)
    on conflict on constraint members_pkey do update set role = excluded.role, expires_at = excluded.expires_at,
      joined_at = excluded.joined_at, changed_at = excluded.changed_at, ended_at = null
"""
_INVITE = """
    insert into invitations (partition, tenant_id, invitation_id, role, access_expires_at, sent_at, sent_by, expires_at)
    values (%s, %s, %s, %s, %s, %s, %s, %s)
"""
_MEMBER = " where partition = %s and tenant_id = %s and user_id = %s"
_CHANGE = "update members set role = %s, expires_at = %s, changed_at = %s" + _MEMBER  # noqa: S608 constants
_END = "update members set changed_at = %s, ended_at = %s" + _MEMBER  # noqa: S608 constants
_CLOSE = (
    "update invitations set status = %s, ended_at = %s, user_id = %s"
    " where partition = %s and tenant_id = %s and invitation_id = %s"
)
#: What becomes of an invitation, by the event that says so.
_CLOSED = {
    "members.invitation_accepted": "accepted",
    "members.invitation_withdrawn": "withdrawn",
    "members.invitation_expired": "expired",
}


class Members(Projection):
    """One row a person and tenant, also when the membership has ended, and one an invitation."""

    name = "members"
    version = 1
    reads = frozenset(
        {
            "members.membership_granted",
            "members.membership_resumed",
            "members.role_changed",
            "members.membership_ended",
            "members.invitation_sent",
            *_CLOSED,
        }
    )
    tables = ("members", "invitations")
    ddl = """
        create table members (
          partition int not null,
          tenant_id uuid not null,
          user_id text collate "C" not null,
          role text not null,
          expires_at timestamptz,
          joined_at timestamptz not null,
          changed_at timestamptz not null,
          ended_at timestamptz,
          constraint members_pkey primary key (partition, tenant_id, user_id)
        ) with (fillfactor = 70);
        create table invitations (
          partition int not null,
          tenant_id uuid not null,
          invitation_id text collate "C" not null,
          role text not null,
          access_expires_at timestamptz,
          sent_at timestamptz not null,
          sent_by text not null,
          expires_at timestamptz not null,
          status text not null default 'sent' check (status in ('sent', 'accepted', 'withdrawn', 'expired')),
          ended_at timestamptz,
          user_id text,
          constraint invitations_pkey primary key (partition, tenant_id, invitation_id)
        ) with (fillfactor = 70);
    """

    def fold(self, events: Sequence[RecordedEvent], connection: psycopg.Connection[Any]) -> None:
        for event in events:
            told, at = event.payload, event.recorded_at
            of = (event.partition, event.tenant_id, event.local_id)
            if event.type in _CLOSED:
                change(connection, _CLOSE, (_CLOSED[event.type], at, told.get("user_id"), *of), 1)
            elif event.type == "members.invitation_sent":
                until = _moment(told["access_expires_at"])
                row = (*of, told["role"], until, at, event.actor, _moment(told["expires_at"]))
                change(connection, _INVITE, row, 1)
            elif event.type == "members.membership_ended":
                change(connection, _END, (at, at, *of), 1)
            elif event.type == "members.role_changed":
                change(connection, _CHANGE, (told["role"], _moment(told["expires_at"]), at, *of), 1)
            else:
                change(connection, _JOIN, (*of, told["role"], _moment(told["expires_at"]), at, at), 1)


PROJECTION = Members()


def _moment(told: str | None) -> datetime | None:
    return None if told is None else datetime.fromisoformat(told)


async def members(tx: TenantTx, after: str = "", limit: int = 100, *, at: datetime) -> list[Row]:
    """The people who are members at a moment, by id, beginning behind ``after``."""
    return await tx.fetch(
        "select user_id, role, expires_at, joined_at, changed_at from read.members"
        " where partition = %s and tenant_id = %s and user_id > %s and ended_at is null"
        " and (expires_at is null or expires_at > %s) order by user_id limit %s",
        tx.partition, tx.tenant_id, after, at, limit,
    )  # fmt: skip


async def invitations(tx: TenantTx, after: str = "", limit: int = 100, *, status: str | None = None) -> list[Row]:
    """The tenant's invitations by id, beginning behind ``after``; if asked those in one state."""
    return await tx.fetch(
        "select invitation_id, role, access_expires_at, sent_at, sent_by, expires_at, status, ended_at, user_id"
        " from read.invitations where partition = %s and tenant_id = %s and invitation_id > %s"
        " and (%s::text is null or status = %s) order by invitation_id limit %s",
        tx.partition, tx.tenant_id, after, status, status, limit,
    )  # fmt: skip


async def users(tx: FounderTx, after: str = "", limit: int = 100) -> list[Row]:
    """Everybody who is known, by id, beginning behind ``after``, with what they are where.

    Not of this projection: these are the rows that the doors ask for.
    """
    return await tx.fetch(
        "select u.user_id, u.status, u.registered_at, coalesce((select json_agg(json_build_object('tenant', t.slug,"
        " 'tenant_id', t.tenant_id, 'role', m.role, 'expires_at', m.expires_at) order by t.slug)"
        " from felix.memberships m join felix.tenants t using (tenant_id) where m.user_id = u.user_id), '[]')"
        " as memberships from felix.users u where u.user_id > %s order by u.user_id limit %s",
        after, limit,
    )  # fmt: skip


async def names(tx: TenantTx) -> tuple[str, str]:
    """What the tenant is called in headers, and by people."""
    row = await tx.fetch_one(
        "select slug, name from felix.tenants where partition = %s and tenant_id = %s", tx.partition, tx.tenant_id
    )
    return (row["slug"], row["name"]) if row else ("", "")
