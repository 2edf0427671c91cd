"""Which plans of language models are in the log, by what was asked of them.

The plan itself is in the event; a row only leads there, for a week, and for the tenant's newest few hundred.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any, Final, LiteralString
from uuid import UUID

import psycopg

from felix.eventstore.kept_connections import KeptConnections
from felix.eventstore.side_statements import SideStatement

Place = tuple[int, UUID]

#: A model that its provider changes under the same name is heard again after so long.
KEEP: Final = timedelta(days=7)
MAX_KEPT: Final = 500

_FORGET: Final[LiteralString] = (
    "delete from felix.recorded_plans where partition = %s and tenant_id = %s and (question = %s or planned_at < %s"
    " or question in (select question from felix.recorded_plans where partition = %s and tenant_id = %s"
    " order by planned_at desc offset %s))"
)
_REMEMBER: Final[LiteralString] = (
    "insert into felix.recorded_plans (partition, tenant_id, question, change_id, version, planned_at)"
    " values (%s, %s, %s, %s, %s, %s)"
)
_FIND: Final[LiteralString] = (
    "select change_id, version from felix.recorded_plans"
    " where partition = %s and tenant_id = %s and question = %s and planned_at >= %s"
)


def remembered(place: Place, question: bytes, change_id: str, version: int, at: datetime) -> Iterator[SideStatement]:
    """Let a question lead to the plan of this event; what is too old, or too much, goes."""
    yield SideStatement(_FORGET, (*place, question, at - KEEP, *place, MAX_KEPT - 1))
    yield SideStatement(_REMEMBER, (*place, question, change_id, version, at))


class RecordedPlans:
    """Finds plans. Safe from any thread."""

    def __init__(self, connect: Callable[[], psycopg.Connection[Any]]) -> None:
        self._connections = KeptConnections(connect, "The table of plans")

    def find(self, place: Place, question: bytes, at: datetime) -> tuple[str, int] | None:
        """The change that has a plan for a question, and the version of its event. Raises ``Unavailable``."""
        asked = (*place, question, at - KEEP)
        found: tuple[str, int] | None = self._connections.call(
            lambda connection: connection.execute(_FIND, asked).fetchone()
        )
        return found

    def close(self) -> None:
        """Give the connections back."""
        self._connections.close()
