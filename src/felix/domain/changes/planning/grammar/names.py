"""What the app has, by every form in which people say it; and names for what is new."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Generic, NamedTuple, TypeVar

from felix.domain.apps.tree import ParsedApp
from felix.domain.changes.planning.grammar.tokens import Token, quoted_text, words_of

Thing = TypeVar("Thing", bound=Hashable)


class FieldRef(NamedTuple):
    """A field of an entity."""

    entity: str
    field: str


class OptionRef(NamedTuple):
    """An option of a choice."""

    entity: str
    field: str
    value: str


class Forms(Generic[Thing]):
    """Things by the words that they are called by; one form may mean several."""

    def __init__(self) -> None:
        self._by_words: dict[tuple[str, ...], list[Thing]] = {}
        self._longest = 0

    def add(self, text: str, thing: Thing) -> None:
        """Let a thing be called this too."""
        words = words_of(text)
        if words and thing not in (things := self._by_words.setdefault(words, [])):
            things.append(thing)
            self._longest = max(self._longest, len(words))

    def at(self, tokens: Sequence[Token], start: int) -> Iterator[tuple[int, Thing]]:
        """What is called by the words that begin here, the longest form first."""
        if start < len(tokens) and tokens[start].kind == "quoted":
            for thing in self._by_words.get(words_of(quoted_text(tokens[start])), ()):
                yield start + 1, thing
            return
        for length in range(min(self._longest, len(tokens) - start), 0, -1):
            words = tuple(token.word for token in tokens[start : start + length])
            for thing in self._by_words.get(words, ()):
                yield start + length, thing

    def knows(self, text: str) -> bool:
        """Whether something is called this."""
        return words_of(text) in self._by_words


class Names:
    """The names of one app."""

    def __init__(self, app: ParsedApp, catalogue: Mapping[str, str]) -> None:
        self.one: Forms[str] = Forms()
        self.many: Forms[str] = Forms()
        self.entities: Forms[str] = Forms()
        self.fields: Forms[FieldRef] = Forms()
        self.options: Forms[OptionRef] = Forms()
        for name, entity in app.entities.items():
            self.one.add(entity.title, name)
            self.many.add(entity.plural, name)
            for text in (entity.title, entity.plural, name):
                self.entities.add(text, name)
            for field_name, field in entity.fields.items():
                for text in (field.label, field_name):
                    for form in _mail_forms(text):
                        self.fields.add(form, FieldRef(name, field_name))
                for option in field.options or ():
                    for text in (option.label, option.value):
                        self.options.add(text, OptionRef(name, field_name, option.value))
        self.views = _titled({name: view.title for name, view in app.views.items()})
        self.automations = _titled({name: it.title for name, it in app.automations.items()})
        self.schedules = _titled({name: it.title for name, it in app.schedules.items()})
        self.templates = _titled({name: it.title for name, it in app.templates.items()})
        self.reports = _titled({name: it.title for name, it in app.reports.items()})
        self.integrations = _titled({name: it.title for name, it in app.integrations.items()})
        self.modules = _titled({name: name for name in {**catalogue, **app.app.modules}})


def _titled(titles: Mapping[str, str]) -> Forms[str]:
    forms: Forms[str] = Forms()
    for name, title in titles.items():
        forms.add(title, name)
        forms.add(name, name)
    return forms


def _mail_forms(text: str) -> Iterator[str]:
    yield text
    words = words_of(text)
    if words[-1:] == ("email",):
        for ending in ("mail", "email address", "mail address"):
            yield " ".join([*words[:-1], ending])


def spoken(label: str) -> str:
    """A label in the middle of a sentence: abbreviations keep their capitals."""
    return " ".join(word if len(word) > 1 and word.isupper() else word.lower() for word in label.split())


def slug(text: str) -> str:
    """A name made from words: "Follow-up date" is follow_up_date. Empty where that can't be."""
    made = re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<!\w)e-mail(?!\w)", "email", text.lower())).strip("_")
    plain = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9 \-_/'’&()%+.]*", text)
    return made if plain and re.fullmatch(r"[a-z][a-z0-9_]{0,62}", made) else ""


def capital(text: str) -> str:
    """With a capital first letter; the rest as it was said."""
    return text[:1].upper() + text[1:]
