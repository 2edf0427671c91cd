"""What is in the vault, for a worker that has to read what a person wrote."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import dict_row

from felix.eventstore.kept_connections import KeptConnections
from felix.eventstore.vault import SEALED, Vault


class VaultShelf:
    """Opens what is kept of a subject, as the reader does: with its tenant bound, and with the root key beside it."""

    def __init__(self, connect: Callable[[], psycopg.Connection[Any]], vault: Callable[[], Vault]) -> None:
        """``connect`` signs in as ``felix_reader``; ``vault`` has the keys that are in force when it is asked for."""
        self._connections = KeptConnections(connect, "The vault")
        self._vault = vault

    def open(self, place: tuple[int, UUID], subject_id: str) -> dict[str, str]:
        """The values of a subject by their names; none of somebody who was erased. Raises ``Unavailable``."""
        partition, tenant_id = place

        def ask(connection: psycopg.Connection[Any]) -> list[dict[str, Any]]:
            with connection.transaction(), connection.cursor(row_factory=dict_row) as cursor:
                cursor.execute("select set_config('felix.tenant', %s, true)", (str(tenant_id),))
                return cursor.execute(SEALED, (partition, tenant_id, [subject_id])).fetchall()

        return self._vault().open(self._connections.call(ask)).get(subject_id, {})

    def close(self) -> None:
        """Give the connections back."""
        self._connections.close()
