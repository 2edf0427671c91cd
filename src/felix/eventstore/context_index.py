"""The index of what planners may read: passages of a tenant's documents, found by any of their words.

A text is called by its digest and indexed once for its tenant, outside of the lane, for that takes longer than a
command may. It can be found as soon as a document leads to it: that row is written in the transaction of the event,
and so is its end.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, LiteralString
from uuid import UUID

import psycopg
from psycopg.rows import dict_row

from felix.eventstore.kept_connections import KeptConnections
from felix.eventstore.side_statements import SideStatement

Place = tuple[int, UUID]

#: The passages of a tenant that have any of the words, the best first: words, partition, tenant, how many. With *or*
#: and a rank that counts how much of a passage is about the words; with *and* a question of ten words finds nothing.
FIND: Final[LiteralString] = (
    "select d.document_id, d.kind, d.title, d.redactions, p.text_digest, p.number, p.heading, p.body,"
    " ts_rank(p.words, asked.words, 1) as rank"
    " from (select replace(plainto_tsquery('pg_catalog.english', %s)::text, ' & ', ' | ')::tsquery as words) asked,"
    " felix.context_documents d join felix.context_passages p using (partition, tenant_id, text_digest)"
    " where d.partition = %s and d.tenant_id = %s and p.words @@ asked.words"
    " order by rank desc, d.document_id, p.number limit %s"
)
#: What of a question's words are looked for: more than anybody writes who knows what they want.
MAX_WORDS_CHARS = 4_000
_FORGET_TEXT: Final[LiteralString] = (
    "delete from felix.context_texts t where t.partition = %s and t.tenant_id = %s and t.text_digest = %s"
    " and not exists (select from felix.context_documents d where d.partition = t.partition"
    " and d.tenant_id = t.tenant_id and d.text_digest = t.text_digest)"
)
#: A text that is staged is led to within seconds, or never.
_FORGET_ORPHANS = (
    "delete from felix.context_texts t where t.staged_at < now() - interval '1 hour'"
    " and not exists (select from felix.context_documents d where d.partition = t.partition"
    " and d.tenant_id = t.tenant_id and d.text_digest = t.text_digest) returning t.tenant_id, t.text_digest"
)
_STAGE = (
    "insert into felix.context_texts (partition, tenant_id, text_digest, cutter, size_bytes)"
    " values (%s, %s, %s, %s, %s) on conflict on constraint context_texts_pkey do update set staged_at = now()"
    " returning (xmax = 0) as new"
)
_PASSAGES = (
    "insert into felix.context_passages (partition, tenant_id, text_digest, number, heading, body)"
    " select %s, %s, %s, number, heading, body"
    " from unnest(%s::text[], %s::text[]) with ordinality as passage (heading, body, number)"
)


@dataclass(frozen=True, slots=True)
class Found:
    """A passage that was found, and the document that it is from."""

    document_id: str
    kind: str
    title: str
    redactions: Mapping[str, int]
    text_digest: str
    number: int
    heading: str
    body: str
    rank: float

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Found:
        """A row of :data:`FIND`."""
        return cls(**row)


class ContextIndex:
    """Puts texts in, and finds passages. Safe from any thread."""

    def __init__(
        self,
        connect_writer: Callable[[], psycopg.Connection[Any]],
        connect_reader: Callable[[], psycopg.Connection[Any]],
    ) -> None:
        self._writer = KeptConnections(connect_writer, "The index of documents")
        self._reader = KeptConnections(connect_reader, "The index of documents")

    def stage(
        self, place: Place, digest: str, cutter: int, size_bytes: int, passages: Iterable[tuple[str, str]]
    ) -> bool:
        """Index a text, headings and bodies, so that a document can lead to it; whether it was not there before.

        Raises ``Unavailable``.
        """
        headings, bodies = [], []
        for heading, body in passages:
            headings.append(heading)
            bodies.append(body)

        def put(connection: psycopg.Connection[Any]) -> bool:
            with connection.transaction():
                row = connection.execute(_STAGE, (*place, digest, cutter, size_bytes)).fetchone()
                new = row is not None and bool(row[0])
                if new:
                    connection.execute(_PASSAGES, (*place, digest, headings, bodies))
            return new

        return self._writer.call(put)

    def find(self, place: Place, words: str, limit: int) -> list[Found]:
        """The passages with any of the words, the best first. Raises ``Unavailable``."""
        partition, tenant_id = place

        def ask(connection: psycopg.Connection[Any]) -> list[Found]:
            with connection.transaction(), connection.cursor(row_factory=dict_row) as cursor:
                cursor.execute("select set_config('felix.tenant', %s, true)", (str(tenant_id),))
                cursor.execute(FIND, (words[:MAX_WORDS_CHARS], partition, tenant_id, limit))
                return [Found.of(row) for row in cursor]

        return self._reader.call(ask)

    def has(self, place: Place, digest: str) -> bool:
        """Whether a text is indexed. Raises ``Unavailable``."""
        asked = staged(place, digest)
        return self._writer.call(
            lambda connection: connection.execute(asked.text, asked.parameters).fetchone() is not None
        )

    def forget_orphans(self) -> list[tuple[UUID, str]]:
        """Delete the texts that no document came to lead to, of all tenants; whose, and their digests.

        Raises ``Unavailable``.
        """
        return self._writer.call(lambda connection: connection.execute(_FORGET_ORPHANS).fetchall())

    def close(self) -> None:
        """Give the connections back."""
        self._writer.close()
        self._reader.close()


# --- what is written beside the log -------------------------------------------------------------------------


def staged(place: Place, digest: str) -> SideStatement:
    """Ask how large a text is that was indexed; no row where none was."""
    return SideStatement(
        "select size_bytes from felix.context_texts where partition = %s and tenant_id = %s and text_digest = %s",
        (*place, digest),
    )


def document_of(place: Place, digest: str) -> SideStatement:
    """Ask which document leads to a text."""
    return SideStatement(
        "select document_id from felix.context_documents where partition = %s and tenant_id = %s and text_digest = %s"
        " order by document_id limit 1",
        (*place, digest),
    )


def amount_kept(place: Place) -> SideStatement:
    """Ask how many documents a tenant has, and how many bytes of text."""
    return SideStatement(
        "select count(*), coalesce(sum(t.size_bytes), 0)::bigint from felix.context_documents d"
        " join felix.context_texts t using (partition, tenant_id, text_digest)"
        " where d.partition = %s and d.tenant_id = %s",
        place,
    )


def lead_to(
    place: Place, document_id: str, kind: str, title: str, digest: str, redactions: Mapping[str, int]
) -> SideStatement:
    """Let a text be found as that of a document."""
    return SideStatement(
        "insert into felix.context_documents (partition, tenant_id, document_id, kind, title, text_digest, redactions)"
        " values (%s, %s, %s, %s, %s, %s, %s::jsonb)"
        " on conflict on constraint context_documents_pkey do update set kind = excluded.kind, title = excluded.title,"
        " text_digest = excluded.text_digest, redactions = excluded.redactions",
        (*place, document_id, kind, title, digest, json.dumps(dict(redactions))),
    )


def lead_nowhere(place: Place, document_id: str) -> SideStatement:
    """Let a document's text be found no more."""
    return SideStatement(
        "delete from felix.context_documents where partition = %s and tenant_id = %s and document_id = %s",
        (*place, document_id),
    )


def forget_text(place: Place, digest: str) -> SideStatement:
    """Delete a text and its passages, unless a document leads to it."""
    return SideStatement(_FORGET_TEXT, (*place, digest))
