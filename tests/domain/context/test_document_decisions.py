"""What may happen to a document."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest

from felix.domain.base import CommandContext
from felix.domain.context import document as d
from felix.domain.context.reading import Reading
from felix.domain.errors import NotFound

NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
ACCOUNT = f"acct_{'0' * 32}"
CONTENT = d.Content.of(Reading.of([("", "Opening hours")]))


def context() -> CommandContext:
    at = UUID("0192f000-0000-7000-8000-0000000a0000")
    return CommandContext(UUID("0192f000-0000-7000-8000-000000000000"), "key", at, "founder:a", NOON)


def uploaded() -> d.Document:
    command = d.AddDocument(title="Hours", kind="markdown", account_id=ACCOUNT, content=CONTENT)
    document = d.Document.add(context(), command)
    document.index(CONTENT, "markdown", 10)
    return document


def connected() -> d.Document:
    source = d.DatabaseSource(kind="database", secret="shop.database")
    return d.Document.connect(context(), d.ConnectSource(title="Shop", account_id=ACCOUNT, source=source))


def told(document: d.Document) -> list[str]:
    return [type(event).__name__ for event in document.pending_events]


def test_an_upload_is_added_and_indexed() -> None:
    document = uploaded()
    assert told(document) == ["DocumentAdded", "DocumentIndexed"]
    assert document.local_id.startswith("doc_") and document.digest == CONTENT.digest


def test_a_source_is_to_be_read_at_once_and_again_when_asked_to() -> None:
    document = connected()
    document.refresh()
    assert told(document) == ["DocumentAdded", "ReadingAsked", "ReadingAsked"]
    assert document.readings == 2


def test_an_upload_has_no_source_and_a_source_takes_no_upload() -> None:
    with pytest.raises(d.NotASource):
        uploaded().refresh()
    with pytest.raises(d.NotAnUpload):
        connected().take_upload()


def test_what_was_removed_is_gone() -> None:
    document = uploaded()
    document.remove("out of date")
    for once_more in (lambda: document.remove(None), document.take_upload, document.refresh, document.there):
        with pytest.raises(NotFound):
            once_more()


def test_a_failed_reading_keeps_what_was_read_before() -> None:
    document = connected()
    document.index(CONTENT, "database", 10)
    failure = d.RecordFailedReading(document_id=document.local_id, code="not_reachable", detail="It does not answer.")
    document.fail(failure)
    assert document.digest == CONTENT.digest


def test_a_snapshot_is_the_document() -> None:
    document = uploaded()
    kept = d.Document.restore(
        stream=document.id, version=document.version, created_on=NOON, modified_on=NOON, state=document.snapshot()
    )
    assert kept.snapshot() == document.snapshot()
