"""Secrets: what a tenant has entrusted, since when, and when it was last used and what for; never what they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg

from felix.eventstore.mapper import RecordedEvent
from felix.projections.base import Projection, change
from felix.projections.tenant_tx import Row, TenantTx

_SET = """
    insert into secrets as s (partition, tenant_id, name, version, kind, set_at, set_by, earlier_until)
    values (%s, %s, %s, %s, %s, %s, %s, %s)
    on conflict on constraint secrets_pkey do update set version = excluded.version, kind = excluded.kind,
      set_at = excluded.set_at, set_by = excluded.set_by, earlier_until = excluded.earlier_until, removed_at = null,
      removed_by = null
"""
_USED = """
    update secrets set uses = uses + 1, last_used_at = %s, last_used_by = %s, last_used_for = %s
    where partition = %s and tenant_id = %s and name = %s
"""
_ENDED = "update secrets set earlier_until = null where partition = %s and tenant_id = %s and name = %s"
_REMOVED = """
    update secrets set removed_at = %s, removed_by = %s, earlier_until = null
    where partition = %s and tenant_id = %s and name = %s
"""


class Secrets(Projection):
    """One row a name; a removed secret keeps it, so that it stays known who had used it last."""

    name = "secrets"
    reads = frozenset(
        {
            "secrets.secret_set",
            "secrets.secret_rotated",
            "secrets.secret_used",
            "secrets.secret_version_ended",
            "secrets.secret_removed",
        }
    )
    ignores = frozenset({"secrets.tenant_key_made", "secrets.tenant_key_rotated", "secrets.secrets_sealed_anew"})
    tables = ("secrets",)
    ddl = """
        create table secrets (
          partition int not null,
          tenant_id uuid not null,
          name text collate "C" not null,
          version int not null check (version > 0),
          kind text not null,
          set_at timestamptz not null,
          set_by text not null,
          earlier_until timestamptz,
          uses bigint not null default 0,
          last_used_at timestamptz,
          last_used_by text,
          last_used_for text,
          removed_at timestamptz,
          removed_by text,
          constraint secrets_pkey primary key (partition, tenant_id, name)
        ) with (fillfactor = 70);
    """

    def fold(self, events: Sequence[RecordedEvent], connection: psycopg.Connection[Any]) -> None:
        for event in events:
            told = event.payload
            which = (event.partition, event.tenant_id, told["name"])
            match event.type:
                case "secrets.secret_used":
                    by = (event.recorded_at, event.actor, told["purpose"])
                    change(connection, _USED, (*by, *which), 1)
                case "secrets.secret_version_ended":
                    change(connection, _ENDED, which, 1)
                case "secrets.secret_removed":
                    change(connection, _REMOVED, (event.recorded_at, event.actor, *which), 1)
                case _:
                    what = (told["version"], told["kind"], event.recorded_at, event.actor, told.get("earlier_until"))
                    change(connection, _SET, (*which, *what), 1)


PROJECTION = Secrets()


async def secrets(tx: TenantTx, after: str = "", limit: int = 100) -> list[Row]:
    """The tenant's secrets that follow the name ``after``; removed ones are not shown."""
    return await tx.fetch(
        "select name, version, kind, set_at, set_by, earlier_until, uses, last_used_at, last_used_by, last_used_for"
        " from read.secrets where partition = %s and tenant_id = %s and name > %s and removed_at is null"
        " order by name limit %s",
        tx.partition, tx.tenant_id, after, limit,
    )  # fmt: skip
