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

    def close(self) -> None:
        """Give the connections back."""
        self._connections.close()

    def _ask(self, place: Place, query: LiteralString, parameters: Sequence[Any]) -> list[dict[str, Any]]:
        def ask(connection: psycopg.Connection[Any]) -> list[dict[str, Any]]:
            with connection.transaction(), connection.cursor(row_factory=dict_row) as cursor:
                cursor.execute("select set_config('felix.tenant', %s, true)", (str(place[1]),))
                return cursor.execute(query, parameters).fetchall()

        return self._connections.call(ask)
