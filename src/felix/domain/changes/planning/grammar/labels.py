"""New names: what something is to be called, quoted or in plain words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from felix.domain.changes.planning.grammar.names import capital, slug
from felix.domain.changes.planning.grammar.scene import Missing, Scene
from felix.domain.changes.planning.grammar.tokens import quoted_text, source_of

MAX_WORDS = 6
#: Words that begin something else than a name.
STRUCTURE = frozenset(
    [
        "to",
        "for",
        "from",
        "in",
        "into",
        "with",
        "without",
        "where",
        "and",
        "or",
        "as",
        "when",
        "if",
        "unless",
        "but",
        "not",
        "only",
        "except",
        "maybe",
        "perhaps",
        "then",
        "than",
        "after",
        "before",
        "because",
        "while",
        "until",
        "whose",
        "which",
        "that",
        "who",
        "has",
        "have",
        "is",
        "are",
        "should",
        "must",
        "may",
        "can",
        "default",
        "it",
        "its",
        "them",
        "this",
        "so",
        "instead",
        "please",
        "showing",
        "by-default",
        "via",
        "also",
        "else",
    ]
)
VERBS = frozenset(
    [
        "add",
        "make",
        "hide",
        "show",
        "rename",
        "remove",
        "delete",
        "put",
        "move",
        "sort",
        "order",
        "set",
        "change",
        "call",
        "turn",
        "require",
        "allow",
        "send",
        "create",
        "only",
        "don't",
        "filter",
        "limit",
        "install",
        "disable",
        "enable",
    ]
)
#: Words that say when, where or how something is done, whose it is, or that nobody knows yet: in a name they are
#: quoted.
_VAGUE = frozenset(
    (
        "again", "always", "anything", "anyway", "asap", "better", "everywhere", "here", "immediately", "my", "never",
        "our", "somehow", "something", "soon", "their", "there", "today", "tomorrow", "tonight", "too", "whatever",
        "your",
    )
)  # fmt: skip
#: These begin something else when a name of the app follows.
_LINKS = frozenset(("of", "on", "by", "at"))
_CALLED = frozenset(("called", "named", "labelled", "labeled", "titled"))
_FIELD_NOUNS = frozenset(("field", "column", "attribute"))


@dataclass(frozen=True, slots=True)
class Label:
    """What something is to be called, and whether exactly that was quoted."""

    text: str
    quoted: bool

    @property
    def name(self) -> str:
        """The name in files. Raises :class:`Missing` where the words make none."""
        made = slug(self.text)
        if not made:
            raise Missing(f"What should the name be? {self.text!r} can't be made into one: use letters and digits.")
        return made


def labels(scene: Scene, start: int) -> Iterator[tuple[int, Label]]:
    """Every name that could begin here."""
    if start >= len(scene.tokens):
        return
    if scene.tokens[start].kind == "quoted":
        if text := quoted_text(scene.tokens[start]).strip():
            yield start + 1, Label(text, quoted=True)
        return
    for end in range(start + 1, min(start + MAX_WORDS, len(scene.tokens)) + 1):
        token, first = scene.tokens[end - 1], end - 1 == start
        if token.kind not in ("word", "number", "possessive"):
            return
        capitalised = token.text[:1].isupper()
        if first and (token.kind == "possessive" or (token.word in VERBS | _LINKS | _CALLED and not capitalised)):
            return
        if token.word in STRUCTURE | _VAGUE | _CALLED and not (first and capitalised):
            return
        if token.word in _LINKS and (_leads_to_a_name(scene, end) or _leads_to_a_limit(scene, end)):
            return
        if token.word == "of" and not capitalised:
            continue
        if token.word in _FIELD_NOUNS and not first:
            return
        yield end, Label(capital(source_of(scene.text, scene.tokens[start:end])), quoted=False)


def names_said(scene: Scene, start: int) -> Iterator[tuple[int, Label]]:
    """Every name that could begin here and is said itself: "a shorter name" is none."""
    told_of = 0 < start < len(scene.tokens) and scene.tokens[start - 1].text in ("a", "an")
    if not told_of or scene.tokens[start].kind == "quoted" or scene.tokens[start].text[:1].isupper():
        yield from labels(scene, start)


def texts(scene: Scene, start: int) -> Iterator[tuple[int, str]]:
    """A quoted text, verbatim."""
    if start < len(scene.tokens) and scene.tokens[start].kind == "quoted" and quoted_text(scene.tokens[start]):
        yield start + 1, quoted_text(scene.tokens[start])


def lists_of_labels(scene: Scene, start: int) -> Iterator[tuple[int, tuple[Label, ...]]]:
    """Names in a row: a, b and c. Each reaches as far as it can."""
    found: tuple[Label, ...] = ()
    at: int | None = start
    while at is not None and len(found) < 100:
        if scene.word(at) in ("default", "maximum", "minimum", "required"):
            return
        best = list(labels(scene, at))
        if not best:
            return
        end, label = best[-1]
        found = (*found, label)
        yield end, found
        at = scene.phrase(end, ", and", ", or", ",", "and", "or")


def _leads_to_a_limit(scene: Scene, at: int) -> bool:
    return scene.word(at) in ("least", "most") or (scene.word(at) == "at" and scene.word(at + 1) in ("least", "most"))


def _leads_to_a_name(scene: Scene, at: int) -> bool:
    at = scene.past_articles(at)
    while scene.word(at) in ("every", "each", "all", "our"):
        at += 1
    return any(True for forms in (scene.names.entities, scene.names.fields) for _ in forms.at(scene.tokens, at))
