"""What the roles of an app keep from whom.

An app names roles of the client's people. Whoever has none of these, be it a machine of the client or the platform, was
let in at the door, and no app keeps anything from them.
"""

from __future__ import annotations

from collections.abc import Collection

from felix.domain.apps.shapes import CompiledApp
from felix.domain.errors import Forbidden
from felix.domain.identity.roles import CLIENT_ROLES


class NotForYourRole(Forbidden):
    """The app keeps this for other roles."""


def may(roles: Collection[str], role: str) -> bool:
    """Whether somebody with a role may see or do what is for these roles; none named is everybody."""
    return not roles or role in roles or role not in CLIENT_ROLES


def sees_entity(app: CompiledApp, entity: str, role: str) -> bool:
    """Whether somebody sees the records of an entity: one that has views is seen through at least one of them."""
    views = [view for view in app.app.views.values() if view.entity == entity]
    return not views or any(may(view.roles, role) for view in views)
