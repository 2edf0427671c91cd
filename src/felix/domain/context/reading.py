"""What was read of a source: texts that were cleaned, under the names they have in it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from typing import Any, Literal

from felix.domain.context.cleaning import added_up, clean
from felix.domain.context.known_secrets import KnownSecrets
from felix.domain.context.passages import MAX_HEADING_CHARS, Cut, cut
from felix.domain.errors import Invalid, TooMuch

#: What somebody hands over; a database or a repository is read by Felix.
UploadKind = Literal["markdown", "text", "pdf"]
SourceKind = Literal["database", "repository"]

#: Of one upload, of the text that is kept of one document, and of all that is kept of one tenant.
MAX_UPLOAD_BYTES = 10 * 2**20
MAX_TEXT_BYTES = 2 * 2**20
MAX_TENANT_BYTES = 20 * 2**20
MAX_DOCUMENTS = 500
#: Texts of one document: pages, tables, files.
MAX_PARTS = 5_000
#: What was left out is named up to here.
MAX_LEFT_OUT = 100
#: Whose lines are headings when they begin with ``#``; in code that is a comment.
_WITH_HEADINGS = (".md", ".markdown", ".mdx")


class NotReadable(Invalid):
    """This can't be read as text."""


class NothingToRead(Invalid):
    """There is no text in this."""


class DocumentTooLarge(TooMuch):
    """This is more text than one document may have; hand it over in parts."""


@dataclass(frozen=True, slots=True)
class Part:
    """A text of a source. ``name`` is a page, a table or a path; empty where the source is one text."""

    name: str
    text: str


@dataclass(frozen=True)
class Reading:
    """What was read, cleaned. ``left_out`` says of parts that were not read why."""

    parts: tuple[Part, ...]
    redactions: dict[str, int] = field(default_factory=dict)
    left_out: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, parts: Iterable[tuple[str, str]], left_out: Iterable[tuple[str, str]] = ()) -> Reading:
        """Clean what was read. Raises :class:`NothingToRead` and :class:`DocumentTooLarge`."""
        kept: list[Part] = []
        redactions = []
        size_bytes = 0
        for name, text in parts:
            cleaned = clean(text)
            size_bytes += len(cleaned.text.encode())
            if size_bytes > MAX_TEXT_BYTES:
                raise DocumentTooLarge(limit_bytes=MAX_TEXT_BYTES)
            redactions.append(cleaned.redactions)
            if cleaned.text.strip():
                kept.append(Part(clean(name).text[:MAX_HEADING_CHARS], cleaned.text))
            if len(kept) > MAX_PARTS:
                raise DocumentTooLarge(limit_parts=MAX_PARTS)
        if not kept:
            raise NothingToRead()
        return cls(tuple(kept), added_up(redactions), tuple(left_out)[:MAX_LEFT_OUT])

    def without(self, known: KnownSecrets) -> Reading:
        """The same without the secrets of the client whose it is."""
        parts, number = [], 0
        for part in self.parts:
            (name, in_name), (text, in_text) = known.redact(part.name), known.redact(part.text)
            parts.append(Part(name, text))
            number += in_name + in_text
        if not number:
            return self
        return Reading(tuple(parts), added_up([self.redactions, {"secrets": number}]), self.left_out)

    @property
    def size_bytes(self) -> int:
        """How much text there is."""
        return sum(len(part.text.encode()) for part in self.parts)

    @cached_property
    def content(self) -> bytes:
        """As it is kept in object storage."""
        return json.dumps([[part.name, part.text] for part in self.parts], ensure_ascii=False).encode()

    @cached_property
    def digest(self) -> str:
        """What it is called: the SHA-256 of its bytes, 64 hex digits."""
        return sha256(self.content).hexdigest()

    def passages(self) -> Iterator[Cut]:
        """What can be found of it; what is white space alone can't."""
        for part in self.parts:
            headings = not part.name or part.name.endswith(_WITH_HEADINGS)
            for piece in cut(part.text, headings=headings):
                if piece.text.strip():
                    yield Cut(" > ".join(filter(None, (part.name, piece.heading)))[:MAX_HEADING_CHARS], piece.text)

    def described(self) -> dict[str, Any]:
        """What an event says of it."""
        return {
            "digest": self.digest,
            "size_bytes": self.size_bytes,
            "redactions": self.redactions,
            "left_out": [{"name": name, "why": why} for name, why in self.left_out],
        }


def text_of(content: bytes) -> str:
    """The text of a file. Raises :class:`NotReadable` for anything but UTF-8."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise NotReadable(f"This is not text in UTF-8: look at byte {error.start}.", byte=error.start) from None
    if "\0" in text:
        raise NotReadable("This is a binary file: it has a NUL in it.", byte=text.index("\0"))
    return text
