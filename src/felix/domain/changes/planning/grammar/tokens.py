"""Words, numbers, quoted texts and marks of a prompt, each with its place in it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""
    (?P<quoted> "[^"]*" | “[^”]*” | „[^“”]*[“”] | «[^»]*» | `[^`]*`
              | (?<!\w)'(?:[^'\n]|(?<=\w)'(?=\w))*'(?!\w) | (?<!\w)‘(?:[^‘’\n]|(?<=\w)’(?=\w))*’(?!\w) )
  | (?P<date> \d{4}-\d{2}-\d{2}(?!\w) )
  | (?P<time> \d{1,2}:\d{2}(?!\d) )
  | (?P<number> (?:(?<=\s)-)?\d+(?:[.,]\d+)* )
  | (?P<email> (?<!\w)e-?mail(?!\w) )
  | (?P<possessive> (?<=\w)['’]s(?!\w) | (?<=s)['’](?=\s) )
  | (?P<word> (?:let|it|that|there)['’]s(?!\w) | [^\W\d_][^\W_]*(?:['’](?!s(?!\w))[^\W_]+)* )
  | (?P<joint> (?<=\w)[-_/](?=\w) | \s+ )
  | (?P<mark> . )
    """,
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)  # fmt: skip
ARTICLES = frozenset(("the", "a", "an"))


@dataclass(frozen=True, slots=True)
class Token:
    """A part of a prompt; ``word`` is how it is compared: in small letters, without hyphens."""

    kind: str
    word: str
    text: str
    start: int
    end: int

    @property
    def is_article(self) -> bool:
        """Whether it is one and says nothing; a capital one in mid-sentence may belong to a name."""
        return self.word in ARTICLES and (self.text.islower() or self.start == 0)


def tokens_of(text: str) -> list[Token]:
    """Every token of a text. Spaces, and hyphens, slashes and underlines within words, only part them."""
    return list(_tokens(text))


def words_of(text: str) -> tuple[str, ...]:
    """The words of a name, as they are compared."""
    return tuple(token.word for token in _tokens(text))


def quoted_text(token: Token) -> str:
    """What is between the quotes, verbatim."""
    return token.text[1:-1]


def source_of(text: str, tokens: Sequence[Token]) -> str:
    """The words of the prompt that some tokens stand for."""
    return text[tokens[0].start : tokens[-1].end] if tokens else ""


def _tokens(text: str) -> Iterator[Token]:
    text = unicodedata.normalize("NFC", text)
    for match in _TOKEN.finditer(text):
        kind = str(match.lastgroup)
        if kind == "joint":
            if "\n" in match[0]:
                yield Token("mark", "\n", match[0], match.start(), match.end())
            continue
        word = {"email": "email", "possessive": "'s"}.get(kind) or match[0].casefold().replace("’", "'")
        yield Token("word" if kind == "email" else kind, word, match[0], match.start(), match.end())
