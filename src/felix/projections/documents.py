"""Documents: what a tenant lets planners read, and how its last reading went."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from felix.domain.context import document as d
from felix.eventstore.mapper import RecordedEvent
from felix.projections.base import Projection, change
from felix.projections.tenant_tx import Row, TenantTx

_ADDED = """
    insert into documents (partition, tenant_id, document_id, title, kind, account_id, source, added_at, added_by)
    values (%s, %s, %s, %s, %s, %s, %s, %s, %s)
"""
_INDEXED = """
    update documents set kind = %s, digest = %s, size_bytes = %s, redactions = %s, left_out = %s,
      charged_mtok = charged_mtok + %s, indexed_at = %s, waits = false, failure = null
    where partition = %s and tenant_id = %s and document_id = %s
"""
_ASKED = "update documents set waits = true where partition = %s and tenant_id = %s and document_id = %s"
_FAILED = """
    update documents set waits = false, failure = %s where partition = %s and tenant_id = %s and document_id = %s
"""
_REMOVED = "delete from documents where partition = %s and tenant_id = %s and document_id = %s"


class Documents(Projection):
    """One row a document that is there; ``waits`` while a source is to be read."""

    name = "documents"
    reads = frozenset(
        event.TOPIC
        for event in (d.DocumentAdded, d.DocumentIndexed, d.ReadingAsked, d.ReadingFailed, d.DocumentRemoved)
    )
    tables = ("documents",)
    ddl = """
        create table documents (
          partition int not null,
          tenant_id uuid not null,
          document_id text collate "C" not null,
          title text not null,
          kind text not null,
          account_id text not null,
          source jsonb,
          added_at timestamptz not null,
          added_by text not null,
          digest text,
          size_bytes bigint,
          redactions jsonb not null default '{}',
          left_out jsonb not null default '[]',
          charged_mtok bigint not null default 0,
          indexed_at timestamptz,
          waits boolean not null default false,
          failure jsonb,
          constraint documents_pkey primary key (partition, tenant_id, document_id)
        );
    """

    def fold(self, events: Sequence[RecordedEvent], connection: psycopg.Connection[Any]) -> None:
        for event in events:
            told = event.payload
            which = (event.partition, event.tenant_id, event.local_id)
            match event.type:
                case d.DocumentAdded.TOPIC:
                    source = None if told["source"] is None else Jsonb(told["source"])
                    what = (told["title"], told["kind"], told["account_id"], source, event.recorded_at, event.actor)
                    change(connection, _ADDED, (*which, *what), 1)
                case d.DocumentIndexed.TOPIC:
                    read = (
                        told["kind"], told["digest"], told["size_bytes"], Jsonb(told["redactions"]),
                        Jsonb(told["left_out"]), told["charged_mtok"], event.recorded_at,
                    )  # fmt: skip
                    change(connection, _INDEXED, (*read, *which), 1)
                case d.ReadingAsked.TOPIC:
                    change(connection, _ASKED, which, 1)
                case d.ReadingFailed.TOPIC:
                    failure = Jsonb({"code": told["code"], "detail": told["detail"]})
                    change(connection, _FAILED, (failure, *which), 1)
                case _:
                    change(connection, _REMOVED, which, 1)


PROJECTION = Documents()


async def documents(tx: TenantTx, after: str = "", limit: int = 100) -> list[Row]:
    """The tenant's documents that follow an id, in the order in which they were added."""
    return await tx.fetch(
        "select document_id, title, kind, account_id, source, added_at, added_by, digest, size_bytes, redactions,"
        " left_out, charged_mtok, indexed_at, waits, failure"
        " from read.documents where partition = %s and tenant_id = %s and document_id > %s"
        " order by document_id limit %s",
        tx.partition, tx.tenant_id, after, limit,
    )  # fmt: skip


async def connected(tx: TenantTx, repository: str) -> str | None:
    """The source by which the tenant has connected a repository, the one that was connected first."""
    row = await tx.fetch_one(
        "select document_id from read.documents where partition = %s and tenant_id = %s"
        " and lower(source ->> 'repository') = lower(%s) order by document_id limit 1",
        tx.partition, tx.tenant_id, repository,
    )  # fmt: skip
    return None if row is None else str(row["document_id"])
