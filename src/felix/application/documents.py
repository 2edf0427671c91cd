"""Documents that planners may read: prepared outside of the lane, added and removed in it, and paid for once.

Whoever adds a document has it read, cleaned, kept and indexed by the :class:`DocumentDesk` first. The command then only
lets planners find it, and takes the tokens, in one transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from felix.application.ledger import DEFAULT_RATE_CARD, price_line
from felix.application.secrets import Secrets, User
from felix.application.unit_of_work import UnitOfWork, handles
from felix.domain.context.cleaning import clean
from felix.domain.context.document import (
    AddDocument,
    ConnectSource,
    Content,
    Document,
    RecordFailedReading,
    RecordReading,
    RefreshSource,
    RemoveDocument,
    ReplaceDocument,
    TooManyDocuments,
)
from felix.domain.context.known_secrets import KnownSecrets
from felix.domain.context.passages import CUTTER
from felix.domain.context.reading import MAX_DOCUMENTS, MAX_TENANT_BYTES, Reading, UploadKind, text_of
from felix.domain.errors import Conflict, NotFound
from felix.domain.ledger.token_account import TokenAccount
from felix.domain.metering.catalogue import own_price
from felix.domain.metering.rate_card import UnknownPrice
from felix.domain.metering.usage import dedupe_key
from felix.eventstore import context_index as tables
from felix.eventstore.context_index import ContextIndex

METER = "changes.context_kb"
#: No client can say this of a usage event: a NUL is no part of a text.
_USAGE_SOURCE = "\0context"


class TextNotStaged(Conflict):
    """This text is not indexed any more; send it again with the same key."""


# --- outside of the lane ------------------------------------------------------------------------------------


class ObjectStore(Protocol):
    """Keeps bytes that are called by their SHA-256."""

    def put(self, kind: str, content: bytes) -> str:
        """Keep this, once; its digest. Raises ``Unavailable``."""

    def get(self, kind: str, digest: str) -> bytes:
        """The bytes. Raises ``NotFound``, ``Corrupt`` and ``Unavailable``."""

    def remove(self, kind: str, digest: str) -> None:
        """Let go of it; what is not there stays so. Raises ``Unavailable``."""


class PdfReader(Protocol):
    """Reads the text of a PDF, in a process of its own and within limits."""

    def __call__(self, content: bytes) -> list[str]:
        """The text of each page. Raises ``Invalid`` and ``TooMuch``."""


class SourceReader(Protocol):
    """Reads a database or a repository, with the tenant's secret or a token for this one reading."""

    def __call__(self, secrets: Secrets, tenant_id: UUID, source: Mapping[str, Any], user: User) -> Reading:
        """What there is. Raises ``NotFound``, ``Forbidden``, ``Invalid``, ``TooMuch`` and ``Unavailable``."""


@dataclass(frozen=True, slots=True)
class DocumentDesk:
    """Where documents are read, kept and indexed before a command says so, and forgotten after one did."""

    index: ContextIndex
    objects: Callable[[], ObjectStore]
    read_pdf: PdfReader
    #: The secrets of a client, as texts are searched for them.
    known: Callable[[tuple[int, UUID]], KnownSecrets]

    def read(self, kind: UploadKind, content: bytes) -> Reading:
        """What an upload says, cleaned. Raises ``Invalid`` and ``TooMuch``."""
        if kind == "pdf":
            pages = self.read_pdf(content)
            return Reading.of((f"page {number}", text) for number, text in enumerate(pages, start=1))
        return Reading.of([("", text_of(content))])

    def prepare(self, place: tuple[int, UUID], reading: Reading) -> Content:
        """Index and keep what was read, so that a command can let it be found. Raises ``Unavailable``.

        Where the client's own secrets are in it they are taken out first.
        """
        reading = reading.without(self.known(place))
        passages = ((piece.heading, piece.text) for piece in reading.passages())
        self.index.stage(place, reading.digest, CUTTER, reading.size_bytes, passages)
        # In this order: who forgets the same text in this moment sees that it is indexed again, or is done before.
        self.objects().put(kept_as(place[1]), reading.content)
        return Content.of(reading)

    def forget(self, place: tuple[int, UUID], digest: str) -> bool:
        """Remove a text from object storage, unless it is indexed; whether it went. Raises ``Unavailable``."""
        kind, objects = kept_as(place[1]), self.objects()
        if self.index.has(place, digest):
            return False
        try:
            content = objects.get(kind, digest)
        except NotFound:
            return False
        objects.remove(kind, digest)
        if self.index.has(place, digest):
            objects.put(kind, content)
            return False
        return True

    def forget_orphans(self) -> int:
        """Forget texts that were prepared and never added: their command was refused, or never came; how many."""
        orphans = self.index.forget_orphans()
        for tenant_id, digest in orphans:
            self.objects().remove(kept_as(tenant_id), digest)
        return len(orphans)


def kept_as(tenant_id: UUID) -> str:
    """The kind of object that a tenant's texts are. Two tenants share none, so each can have its own removed."""
    return f"docs-{tenant_id.hex}"


# --- in the lane --------------------------------------------------------------------------------------------


@handles(AddDocument)
def add_document(command: AddDocument, unit: UnitOfWork) -> dict[str, Any]:
    """Add it and let it be found; a text that a document has already is not added again."""
    known = unit.ask_beside(tables.document_of(_place(unit), command.content.digest))
    if known:
        return _told(known[0][0], command.content, 0, added=False)
    document = Document.add(unit.context, command)
    unit.add(document)
    charged_mtok = _index(unit, document, command.content, command.kind)
    return _told(document.local_id, command.content, charged_mtok, added=True)


@handles(ReplaceDocument)
def replace_document(command: ReplaceDocument, unit: UnitOfWork) -> dict[str, Any]:
    """Let the new text be found and the old one not; the same text again changes nothing."""
    document = unit.get(Document, command.document_id)
    document.take_upload()
    charged_mtok = _index(unit, document, command.content, command.kind)
    return _told(document.local_id, command.content, charged_mtok)


@handles(ConnectSource)
def connect_source(command: ConnectSource, unit: UnitOfWork) -> dict[str, Any]:
    """Add it without a text; a policy lets a worker read it."""
    unit.get(TokenAccount, command.account_id)
    document = Document.connect(unit.context, command)
    unit.add(document)
    return {"document_id": document.local_id, "title": command.title}


@handles(RefreshSource)
def refresh_source(command: RefreshSource, unit: UnitOfWork) -> dict[str, Any]:
    """Let a worker read it again."""
    document = unit.get(Document, command.document_id)
    document.refresh()
    return {"document_id": document.local_id, "reading": document.readings}


@handles(RecordReading)
def record_reading(command: RecordReading, unit: UnitOfWork) -> dict[str, Any]:
    """Let what was read of a source be found."""
    document = unit.get(Document, command.document_id).there()
    charged_mtok = _index(unit, document, command.content, document.text_kind)
    return _told(document.local_id, command.content, charged_mtok)


@handles(RecordFailedReading)
def record_failed_reading(command: RecordFailedReading, unit: UnitOfWork) -> dict[str, Any]:
    """Say in the log why there is nothing new to be found."""
    unit.get(Document, command.document_id).fail(command)
    return {"document_id": command.document_id, "code": command.code}


@handles(RemoveDocument)
def remove_document(command: RemoveDocument, unit: UnitOfWork) -> dict[str, Any]:
    """Empty the index of it, with the event that says so."""
    document = unit.get(Document, command.document_id)
    document.remove(command.reason)
    unit.beside(tables.lead_nowhere(_place(unit), document.local_id))
    if document.digest is not None:
        unit.beside(tables.forget_text(_place(unit), document.digest))
    return {"document_id": document.local_id, "removed": True}


def _index(unit: UnitOfWork, document: Document, content: Content, kind: str) -> int:
    """Let a text be found as the document's, and charge for it if it is the first time; how much."""
    place, before = _place(unit), document.digest
    if content.digest == before:
        return 0
    if not unit.ask_beside(tables.staged(place, content.digest)):
        raise TextNotStaged(digest=content.digest)
    _refuse_beyond_limits(unit, document, content)
    charged_mtok = _charge(unit, document.account_id, content)
    document.index(content, kind, charged_mtok)
    # Planners are told the title too.
    title = clean(document.title).text
    unit.beside(tables.lead_to(place, document.local_id, kind, title, content.digest, content.redactions))
    if before is not None:
        unit.beside(tables.forget_text(place, before))
    return charged_mtok


def _refuse_beyond_limits(unit: UnitOfWork, document: Document, content: Content) -> None:
    ((documents, size_bytes),) = unit.ask_beside(tables.amount_kept(_place(unit)))
    if documents - (document.digest is not None) >= MAX_DOCUMENTS or size_bytes + content.size_bytes > MAX_TENANT_BYTES:
        raise TooManyDocuments(
            documents=documents,
            size_bytes=size_bytes,
            limit_documents=MAX_DOCUMENTS,
            limit_bytes=MAX_TENANT_BYTES,
        )


def _charge(unit: UnitOfWork, account_id: str, content: Content) -> int:
    """Debit a text that was never indexed for this tenant before, however it was called."""
    account = unit.get(TokenAccount, account_id)
    key = dedupe_key(unit.context.tenant_id, _USAGE_SOURCE, f"{CUTTER}/{content.digest}")
    if unit.known_usage([key]):
        return 0
    quantity = -(-content.size_bytes // 1000)
    try:
        line, version = price_line(unit, METER, quantity, None, unit.context.at)
    except UnknownPrice:
        priced = own_price(METER, quantity)
        line, version = (METER, quantity, priced.amount_mtok, priced.trace), priced.version
    debit = account.charge(
        lines=[line],
        rate_card=f"{DEFAULT_RATE_CARD}/{version}" if version else None,
        reference=f"context:{content.digest[:16]}",
    )
    unit.remember_usage(debit, key)
    return debit.amount_mtok


def _told(document_id: str, content: Content, charged_mtok: int, **more: Any) -> dict[str, Any]:
    return {"document_id": document_id, **content.model_dump(), "charged_mtok": charged_mtok, **more}


def _place(unit: UnitOfWork) -> tuple[int, UUID]:
    return unit.partition, unit.context.tenant_id
