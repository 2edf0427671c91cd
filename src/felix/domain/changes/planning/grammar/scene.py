"""What is known while one sentence is read, and the two ways in which a reading fails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from felix.domain.apps.tree import AppTree, ParsedApp
from felix.domain.changes.planning.grammar.names import FieldRef, Names
from felix.domain.changes.planning.grammar.tokens import Token


class NoReading(Exception):
    """The words fit the pattern, and mean nothing in this app that way."""


class Missing(Exception):
    """The sentence is understood and something is left open."""

    def __init__(self, question: str, candidates: Sequence[str] = ()) -> None:
        super().__init__(question)
        self.question, self.candidates = question, tuple(candidates)


@dataclass(slots=True)
class Scene:
    """One sentence and the app that it speaks of. ``it`` is the field that was spoken of last."""

    text: str
    tokens: Sequence[Token]
    tree: AppTree
    app: ParsedApp
    names: Names
    catalogue: Mapping[str, str]
    it: FieldRef | None = None
    #: The furthest token that no pattern got past, and what was expected there.
    furthest: int = 0
    expected: set[str] = field(default_factory=set)

    def stuck(self, position: int, expected: str) -> None:
        """Remember how far the sentence was understood."""
        if position > self.furthest:
            self.furthest, self.expected = position, set()
        if position == self.furthest:
            self.expected.add(expected)

    def word(self, position: int) -> str:
        """The word at a place, empty beyond the end."""
        return self.tokens[position].word if position < len(self.tokens) else ""

    def past_articles(self, position: int) -> int:
        """The first place from here on that is no article."""
        while position < len(self.tokens) and self.tokens[position].is_article:
            position += 1
        return position

    def phrase(self, position: int, *phrases: str) -> int | None:
        """The place after the longest of some phrases that stands here, or None."""
        for phrase in sorted(phrases, key=len, reverse=True):
            words = phrase.split()
            if all(self.word(position + number) == word for number, word in enumerate(words)):
                return position + len(words)
        return None
