"""What a planner is told beside the prompt: the app in outline, whole, and the passages that the prompt is about.

Everything in here is material: nobody's instructions but the client's own prompt count. So each piece is fenced and
says where it is from, and the fence has a number that no author of a piece could have known.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from typing import Any, Protocol
from uuid import UUID

from felix.domain.apps.tree import AppTree
from felix.domain.context.cleaning import added_up
from felix.domain.context.known_secrets import KnownSecrets
from felix.domain.context.outline import outline
from felix.eventstore.context_index import Found

#: More would cost more than it tells. Of one document not all, so that others have their say.
MAX_PASSAGES, MAX_PASSAGES_OF_ONE, MAX_PASSAGES_BYTES = 12, 5, 24_000
#: How many are looked at to choose those from.
LOOKED_AT = 40
#: Characters of the digest that a fence carries: an author would have to guess 64 bits.
_NONCE_CHARS = 16


class PassageIndex(Protocol):
    """Finds passages of a tenant's documents."""

    def find(self, place: tuple[int, UUID], words: str, limit: int) -> list[Found]:
        """The passages with any of the words, the best first. Raises ``Unavailable``."""


@dataclass(frozen=True, slots=True)
class ContextPassage:
    """A passage, and where it is from: the ``Passage`` of :mod:`felix.application.changes.planners`."""

    source: str
    heading: str
    text: str


@dataclass(frozen=True, slots=True)
class Source:
    """Something that a planner was told of: what it is, what it is called, and the digest of the whole."""

    kind: str
    name: str
    digest: str


@dataclass(frozen=True, slots=True)
class Excluded:
    """Something that was found and not told, and why."""

    name: str
    why: str


@dataclass(frozen=True)
class Context:
    """What a planner is told. The same app, documents and prompt give the same bytes, and the same digest."""

    prompt: str
    outline: str
    passages: tuple[ContextPassage, ...]
    sources: tuple[Source, ...]
    excluded: tuple[Excluded, ...]
    redactions: dict[str, int]

    @cached_property
    def content(self) -> bytes:
        """As it is kept in object storage; the prompt is kept elsewhere, and here by its digest."""
        told = {
            "prompt": sha256(self.prompt.encode()).hexdigest(),
            "outline": self.outline,
            "passages": [[each.source, each.heading, each.text] for each in self.passages],
            **self.described(),
        }
        return json.dumps(told, ensure_ascii=False, sort_keys=True).encode()

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the content, 64 hex digits."""
        return sha256(self.content).hexdigest()

    @property
    def size_bytes(self) -> int:
        """How much a planner has to read."""
        return sum(len(text.encode()) for text in (self.outline, *(each.text for each in self.passages)))

    def without(self, known: KnownSecrets) -> Context:
        """The same without the client's own secrets: some may have been set after what holds them was indexed."""
        outlined, number = known.redact(self.outline)
        passages = []
        for each in self.passages:
            heading, in_heading = known.redact(each.heading)
            text, in_text = known.redact(each.text)
            passages.append(replace(each, heading=heading, text=text))
            number += in_heading + in_text
        if not number:
            return self
        redactions = added_up([self.redactions, {"secrets": number}])
        return replace(self, outline=outlined, passages=tuple(passages), redactions=redactions)

    def described(self) -> dict[str, Any]:
        """What an event says of it."""
        return {
            "sources": [{"kind": each.kind, "name": each.name, "digest": each.digest} for each in self.sources],
            "excluded": [{"name": each.name, "why": each.why} for each in self.excluded],
            "redactions": self.redactions,
            "bytes": self.size_bytes,
        }

    def fenced(self) -> str:
        """All of it as one text for a language model.

        The fence is made from the digest of everything inside, so no piece can hold the fence that it is in.
        """
        pieces = [("app outline", self.outline)] if self.outline else []
        pieces += [(" > ".join(filter(None, (each.source, each.heading))), each.text) for each in self.passages]
        return "\n\n".join(fence(self.digest[:_NONCE_CHARS], label, text) for label, text in pieces)


def fence(nonce: str, label: str, text: str) -> str:
    """A text between two marks that say where it is from."""
    told = " ".join(label.split())
    return f"<<<source {nonce}: {json.dumps(told, ensure_ascii=False)}\n{text.rstrip()}\nsource {nonce}>>>"


def gather(place: tuple[int, UUID], app: str, prompt: str, tree: AppTree, index: PassageIndex) -> Context:
    """What a planner is told of a prompt about an app. Raises ``Unavailable``."""
    return assemble(prompt, index.find(place, prompt, LOOKED_AT), app, tree)


def assemble(prompt: str, found: Sequence[Found], app: str = "", tree: AppTree | None = None) -> Context:
    """The same from passages that were found already; without a tree there is no outline."""
    chosen, left = _chosen(found)
    used = {each.document_id: each for each in chosen}
    told = None if tree is None else outline(tree)
    sources = [] if tree is None else [Source("app", app, tree.digest)]
    sources += [Source(each.kind, each.title, each.text_digest) for each in used.values()]
    return Context(
        prompt=prompt,
        outline="" if told is None else told.text,
        passages=tuple(ContextPassage(f"{each.kind}:{each.title}", each.heading, each.body) for each in chosen),
        sources=tuple(sources),
        excluded=tuple(left),
        redactions=added_up([*([told.redactions] if told else []), *(each.redactions for each in used.values())]),
    )


def _chosen(found: Iterable[Found]) -> tuple[list[Found], list[Excluded]]:
    """The best passages within the budget, and what of the others is said."""
    chosen: list[Found] = []
    of: dict[str, int] = {}
    size_bytes = 0
    left: dict[str, str] = {}
    seen: set[tuple[str, int]] = set()
    for each in found:
        if (each.text_digest, each.number) in seen:
            continue  # two documents lead to one text
        seen.add((each.text_digest, each.number))
        size, name = len(each.body.encode()), " > ".join(filter(None, (each.title, each.heading)))
        if len(chosen) >= MAX_PASSAGES or size_bytes + size > MAX_PASSAGES_BYTES:
            left.setdefault(name, "other passages fit better")
        elif of.get(each.document_id, 0) >= MAX_PASSAGES_OF_ONE:
            left.setdefault(name, "enough of this document")
        else:
            chosen.append(each)
            of[each.document_id] = of.get(each.document_id, 0) + 1
            size_bytes += size
    return chosen, [Excluded(name, why) for name, why in left.items()]
