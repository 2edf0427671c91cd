"""A document: something that a tenant lets planners read, and what became of it.

A client hands it over, or names a database or a repository that Felix reads. The log has its digest, its size and what
was taken out of it; the text itself is in object storage, and in the index for as long as the document is there.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from eventsourcing.domain import event
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from felix.domain.base import Command, CommandContext, FelixAggregate, FelixCreated, FelixEvent
from felix.domain.context.reading import Reading, SourceKind, UploadKind
from felix.domain.errors import NotFound, Refused
from felix.domain.secrets.tenant_secrets import SecretName
from felix.domain.values import AccountId, Reason, Text

DocumentId = Annotated[str, StringConstraints(pattern=r"^doc_[0-9a-f]{32}$")]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
#: As GitHub has it: owner/name.
RepositoryName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9-]{0,38}/[A-Za-z0-9._-]{1,100}$")]
Title = Annotated[Text, StringConstraints(min_length=1, max_length=200)]
Kind = UploadKind | SourceKind


class NotAnUpload(Refused):
    """This is read from its source; have it read again instead of handing a text over."""


class NotASource(Refused):
    """This was handed over and has no source that it could be read from; replace it."""


class TooManyDocuments(Refused):
    """The tenant has as many documents, or as much text in them, as it can have; remove what is not needed."""


# --- what is asked for --------------------------------------------------------------------------------------


class Content(BaseModel):
    """What was read, in the words of the log."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    digest: Digest
    size_bytes: Annotated[int, Field(gt=0)]
    redactions: dict[str, int]
    left_out: list[dict[str, str]]

    @classmethod
    def of(cls, reading: Reading) -> Content:
        """As a reading describes itself."""
        return cls.model_validate(reading.described())


class DatabaseSource(BaseModel):
    """The tables of a database; ``secret`` names the tenant's secret that is its URL."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    kind: Literal["database"]
    secret: SecretName


class RepositorySource(BaseModel):
    """The texts of a branch of a GitHub repository that the App is installed for; the default branch without one."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    kind: Literal["repository"]
    repository: RepositoryName
    branch: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,199}$")] | None = None


Source = Annotated[DatabaseSource | RepositorySource, Field(discriminator="kind")]


class AddDocument(Command):
    """Let planners read a text. ``account_id`` pays for indexing it; a text that was indexed before costs nothing."""

    command_name: ClassVar[str] = "documents.add_document"
    title: Title
    kind: UploadKind
    account_id: AccountId
    content: Content


class ReplaceDocument(Command):
    """Put another text into the place of a document's."""

    command_name: ClassVar[str] = "documents.replace_document"
    document_id: DocumentId
    kind: UploadKind
    content: Content


class RemoveDocument(Command):
    """Take a document from planners, and forget its text."""

    command_name: ClassVar[str] = "documents.remove_document"
    document_id: DocumentId
    reason: Reason | None = None


class ConnectSource(Command):
    """Let planners read the tables of a database, or a repository. Felix reads it within moments, and when asked to.

    Of a database that is names, types and comments, never a row.
    """

    command_name: ClassVar[str] = "documents.connect_source"
    title: Title
    account_id: AccountId
    source: Source


class RefreshSource(Command):
    """Read a database or a repository again."""

    command_name: ClassVar[str] = "documents.refresh_source"
    document_id: DocumentId


class RecordReading(Command):
    """Note what was read of a source."""

    command_name: ClassVar[str] = "documents.record_reading"
    document_id: DocumentId
    content: Content


class RecordFailedReading(Command):
    """Note that a source could not be read, and why."""

    command_name: ClassVar[str] = "documents.record_failed_reading"
    document_id: DocumentId
    code: Annotated[str, StringConstraints(max_length=100)]
    detail: Annotated[str, StringConstraints(max_length=500)]


# --- what can have happened ---------------------------------------------------------------------------------


class DocumentAdded(FelixCreated):
    """A document was added. ``source`` is where Felix reads it; None where it was handed over."""

    TOPIC: ClassVar[str] = "documents.document_added"
    title: str
    kind: str
    account_id: str
    source: dict[str, str | None] | None


class DocumentIndexed(FelixEvent):
    """Planners can find a text. ``charged_mtok`` was debited in the same transaction."""

    TOPIC: ClassVar[str] = "documents.document_indexed"
    kind: str
    digest: str
    size_bytes: int
    redactions: dict[str, int]
    left_out: list[dict[str, str]]
    charged_mtok: int
    #: The digest of what was there before.
    replaces: str | None


class ReadingAsked(FelixEvent):
    """A source is to be read, for the first time or again."""

    TOPIC: ClassVar[str] = "documents.reading_asked"
    number: int
    source: dict[str, str | None]


class ReadingFailed(FelixEvent):
    """A source could not be read; what was read of it before stays."""

    TOPIC: ClassVar[str] = "documents.reading_failed"
    code: str
    detail: str


class DocumentRemoved(FelixEvent):
    """A document was removed: the index has nothing of it any more."""

    TOPIC: ClassVar[str] = "documents.document_removed"
    digest: str | None
    reason: str | None


# --- the aggregate ------------------------------------------------------------------------------------------


class Document(FelixAggregate):
    """One document of one tenant."""

    TOPIC = "documents.document"
    kind = "document"
    Event = FelixEvent
    DocumentAdded = DocumentAdded
    DocumentIndexed = DocumentIndexed
    ReadingAsked = ReadingAsked
    ReadingFailed = ReadingFailed
    DocumentRemoved = DocumentRemoved

    @classmethod
    def add(cls, context: CommandContext, command: AddDocument) -> Document:
        """A document that was handed over; its text is indexed with it."""
        return cls._new(context, command.title, command.kind, command.account_id, None)

    @classmethod
    def connect(cls, context: CommandContext, command: ConnectSource) -> Document:
        """A source, which is to be read."""
        told = command.source.model_dump()
        document = cls._new(context, command.title, told["kind"], command.account_id, told)
        document.refresh()
        return document

    @classmethod
    def _new(
        cls, context: CommandContext, title: str, kind: str, account_id: str, source: dict[str, str | None] | None
    ) -> Document:
        return cls.begin(context, context.mint("doc"), title=title, kind=kind, account_id=account_id, source=source)

    @event(DocumentAdded)
    def __init__(self, title: str, kind: str, account_id: str, source: dict[str, str | None] | None) -> None:
        self.title = title
        #: What it is; ``kind`` is the aggregate's own.
        self.text_kind = kind
        self.account_id = account_id
        self.source = source
        self.digest: str | None = None
        self.readings = 0
        self.removed = False

    def take_upload(self) -> None:
        """Whether another text can be handed over. Raises :class:`NotAnUpload` and ``NotFound``."""
        if self.there().source is not None:
            raise NotAnUpload()

    def index(self, content: Content, kind: str, charged_mtok: int) -> None:
        """Planners find another text from now on."""
        self._indexed(**content.model_dump(), kind=kind, charged_mtok=charged_mtok, replaces=self.digest)

    def refresh(self) -> None:
        """Ask for a reading. Raises :class:`NotASource` and ``NotFound``."""
        source = self.there().source
        if source is None:
            raise NotASource()
        self._asked(number=self.readings + 1, source=source)

    def fail(self, command: RecordFailedReading) -> None:
        """Say why it could not be read."""
        self.there()
        self._failed(code=command.code, detail=command.detail)

    def remove(self, reason: str | None) -> None:
        """It is gone for planners. Raises ``NotFound``."""
        self.there()
        self._removed(digest=self.digest, reason=reason)

    def there(self) -> Document:
        """The document, if it was not removed. Raises ``NotFound``."""
        if self.removed:
            raise NotFound(f"There is no document {self.local_id}.", id=self.local_id)
        return self

    @event(DocumentIndexed)
    def _indexed(
        self,
        kind: str,
        digest: str,
        size_bytes: int,
        redactions: dict[str, int],
        left_out: list[dict[str, str]],
        charged_mtok: int,
        replaces: str | None,
    ) -> None:
        self.text_kind = kind
        self.digest = digest

    @event(ReadingAsked)
    def _asked(self, number: int, source: dict[str, str | None]) -> None:
        self.readings = number

    @event(ReadingFailed)
    def _failed(self, code: str, detail: str) -> None:
        """What was read before stays."""

    @event(DocumentRemoved)
    def _removed(self, digest: str | None, reason: str | None) -> None:
        self.removed = True

    @classmethod
    def thaw(cls, state: dict[str, Any]) -> dict[str, Any]:
        """The state is whole values, which nobody changes."""
        return state
