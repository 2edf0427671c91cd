"""What a worker asks the read models about apps, as the reader does: with the tenant bound."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, LiteralString
from uuid import UUID

import psycopg
from psycopg.rows import dict_row

from felix.domain.apps.surfaces import Report
from felix.eventstore.app_pointers import POINTER, AppPointer
from felix.eventstore.kept_connections import KeptConnections
from felix.projections.report_figures import figures_question

Place = tuple[int, UUID]

#: Who pays for what nobody asked for: as everywhere, the oldest account that is open.
_PAYER: LiteralString = (
    "select account_id from read.token_accounts where partition = %s and tenant_id = %s and standing = 'open'"
    " order by opened_at, account_id limit 1"
)
#: The table's own order; what was removed may be restored, and so is there.
_RECORDS: LiteralString = (
    "select record_id, release, version, maker, created_at, changed_at, removed_at, document -> 'v' as values"
    " from read.records where partition = %s and tenant_id = %s and app = %s and environment = %s and entity = %s"
    " and record_id > %s order by record_id limit %s"
)
#: Of a tenant whose retelling has stopped nothing is retold from there on, however far the cursor is.
_RETOLD: LiteralString = (
    "select c.position < %s or exists (select from felix.poisoned p where p.partition = c.partition"
    " and p.projection = c.projection and p.tenant_id = %s and p.position <= %s) as behind"
    " from felix.cursors c where c.partition = %s and c.projection = %s"
)


class AppShelf:
    """Safe from any thread. Raises ``Unavailable`` when the database is away."""

    def __init__(self, connect: Callable[[], psycopg.Connection[Any]]) -> None:
        """``connect`` signs in as ``felix_reader``."""
        self._connections = KeptConnections(connect, "The read models")

    def pointer(self, place: Place, app: str, environment: str) -> AppPointer | None:
        """What of an app runs where."""
        found = self._ask(place, POINTER, (*place, app, environment))
        return AppPointer.of(found[0]) if found else None

    def payer(self, place: Place) -> str | None:
        """Which account pays; None where the client has none."""
        found = self._ask(place, _PAYER, place)
        return found[0]["account_id"] if found else None

    def figures(self, place: Place, app: str, environment: str, report: Report) -> list[dict[str, Any]]:
        """The rows of a report."""
        return self._ask(place, *figures_question(place, app, environment, report))

    def has_retold(self, place: Place, projection: str, position: int) -> bool:
        """Whether a read model has what the log has up to a position."""
        partition, tenant_id = place
        found = self._ask(place, _RETOLD, (position, tenant_id, position, partition, projection))
        return bool(found) and not found[0]["behind"]

    def records(
        self, place: Place, app: str, environment: str, entity: str, after: str, limit: int
    ) -> list[dict[str, Any]]:
        """Records of an entity by their ids, from behind ``after`` on, those that were removed too."""
        return self._ask(place, _RECORDS, (*place, app, environment, entity, after, limit))

    def close(self) -> None:
        """Give the connections back."""
        self._connections.close()

    def _ask(self, place: Place, query: LiteralString, parameters: Sequence[Any]) -> list[dict[str, Any]]:
        def ask(connection: psycopg.Connection[Any]) -> list[dict[str, Any]]:
            with connection.transaction(), connection.cursor(row_factory=dict_row) as cursor:
                cursor.execute("select set_config('felix.tenant', %s, true)", (str(place[1]),))
                return cursor.execute(query, parameters).fetchall()

        return self._connections.call(ask)
