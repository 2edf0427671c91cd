"""Roles, and the tenant in whose log the platform itself is written.

A role belongs to a membership: a person may own one client and read another. People who run Felix are members of the
platform, a tenant like any other with a partition and a log, which no client can name.
"""

from __future__ import annotations

from typing import Literal, get_args
from uuid import UUID

#: Users, their sessions and the founders' own memberships and keys are written in this tenant's log.
PLATFORM = UUID("00000000-0000-7000-8000-00000000fe11")
PLATFORM_SLUG = "felix-platform"

Role = Literal["founder", "founder_readonly", "client_owner", "client_approver", "client_member", "auditor", "service"]
ROLES: tuple[Role, ...] = get_args(Role)
#: Members of the platform: they may name every tenant.
PLATFORM_ROLES: frozenset[Role] = frozenset({"founder", "founder_readonly"})
#: What a member of a client can be.
CLIENT_ROLES: frozenset[Role] = frozenset({"client_owner", "client_approver", "client_member"})
#: What people can be; a service is a machine with a key.
HUMAN_ROLES: frozenset[Role] = frozenset(ROLES) - {"service"}
#: Who reads what is not theirs, because it is their work: what they read of a client is written down in its log.
WATCHED_ROLES: frozenset[Role] = PLATFORM_ROLES | {"auditor"}
