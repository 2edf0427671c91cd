"""``felix documents``: what planners may read of a client beside its apps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import App

from felix.cli.errors import UsageError
from felix.cli.options import Reading, Writing
from felix.cli.output import print_json, print_table
from felix.cli.session import Session, open_session

if TYPE_CHECKING:
    from felix.domain.context.document import Content
    from felix.domain.context.reading import UploadKind
    from felix.eventstore.tenants import TenantPlace

app = App(name="documents", help="Add, list and remove what planners may read of a client.")

_KINDS: dict[str, UploadKind] = {".md": "markdown", ".markdown": "markdown", ".txt": "text", ".pdf": "pdf"}


@app.command
def add(file: Path, *, account: str | None = None, title: str | None = None, writing: Writing | None = None) -> None:
    """Let planners read a file: Markdown, text or PDF. The same text is indexed and charged once.

    What people would not see, and what looks like a secret, is taken out and counted.

    Parameters
    ----------
    file
        The document.
    account
        The token account that pays; without it the client's oldest.
    title
        What it is called; the name of the file where it is not said.
    """
    from felix.application.records import NoTokenAccount
    from felix.domain.context.document import AddDocument
    from felix.projections import balances

    writing = writing or Writing()
    kind = _KINDS.get(file.suffix.lower())
    if kind is None:
        raise UsageError(f"{file.name} is none of {', '.join(sorted(_KINDS))}.")
    try:
        content = file.read_bytes()
    except OSError as error:
        raise UsageError(f"{file} can't be read: {error.strerror}.") from None
    with open_session() as session:
        place = session.tenant(writing.tenant)
        paying = session.account_id(place, account) if account else session.ask(place, balances.paying_account)
        if paying is None:
            raise NoTokenAccount()
        prepared = _prepare(session, place, kind, content)
        command = AddDocument(title=title or file.name, kind=kind, account_id=paying, content=prepared)
        session.perform(place, command, writing)


def _prepare(session: Session, place: TenantPlace, kind: UploadKind, content: bytes) -> Content:
    from felix import bootstrap

    desk = bootstrap.open_documents(session.endpoints, session.settings)
    try:
        return desk.prepare((place.partition, place.tenant_id), desk.read(kind, content))
    finally:
        desk.index.close()


@app.command(name="list")
def list_documents(*, reading: Reading | None = None) -> None:
    """List what planners may read of a client, and how the last reading of each source went."""
    from felix.projections import documents

    reading = reading or Reading()
    with open_session() as session:
        rows = session.ask(session.tenant(reading.tenant), lambda tx: documents.documents(tx, limit=1000))
    if reading.json:
        print_json(rows)
        return
    for row in rows:
        row["taken_out"] = ", ".join(f"{kind} {number}" for kind, number in row["redactions"].items())
        row["why_not"] = row["failure"] and row["failure"]["detail"]
    headings = {"document_id": "document", "title": "title", "kind": "kind", "size_bytes": "bytes"}
    headings |= {
        "taken_out": "taken out",
        "charged_mtok": "charged",
        "indexed_at": "indexed",
        "why_not": "could not be read",
    }
    print_table(rows, headings, empty="There are no documents. Add one: felix documents add FILE")


@app.command
def remove(document: str, *, reason: str | None = None, writing: Writing | None = None) -> None:
    """Take a document from planners, and forget its text.

    Parameters
    ----------
    document
        Its id, as felix documents list shows it.
    reason
        Why, for the log.
    """
    from felix.domain.context.document import RemoveDocument

    writing = writing or Writing()
    with open_session() as session:
        command = RemoveDocument(document_id=document, reason=reason)
        session.perform(session.tenant(writing.tenant), command, writing)
