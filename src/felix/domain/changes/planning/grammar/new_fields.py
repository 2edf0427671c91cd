"""Phrases for fields that are not there yet: type, name, and what else is said of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from pydantic import ValidationError

from felix.domain.apps.entities import Field, FieldType
from felix.domain.changes.planning.grammar.labels import STRUCTURE, Label, labels, lists_of_labels
from felix.domain.changes.planning.grammar.names import capital
from felix.domain.changes.planning.grammar.references import entities
from felix.domain.changes.planning.grammar.scene import Missing, NoReading, Scene
from felix.domain.changes.planning.grammar.tokens import Token, source_of, words_of
from felix.domain.changes.planning.grammar.values import number_of, stored, value_of

#: What people call the types.
TYPES: dict[FieldType, tuple[str, ...]] = {
    "text": ("text", "short text", "single line text", "string"),
    "long_text": ("long text", "multi line text", "multiline text", "multi line", "multiline", "text area", "textarea"),
    "integer": ("number", "whole number", "integer"),
    "decimal": ("decimal", "decimal number"),
    "money": ("money", "amount", "currency"),
    "boolean": ("yes no", "yes or no", "checkbox", "check box", "tick box", "boolean", "toggle"),
    "date": ("date",),
    "moment": ("date and time", "date time", "datetime", "timestamp"),
    "choice": ("dropdown", "drop down", "choice", "select", "single select", "single choice", "pick list", "picklist"),
    "choices": ("multi select", "multiselect", "multiple choice", "multi choice", "multiple select"),
    "email": ("email", "email address"),
    "phone": ("phone", "phone number", "telephone", "telephone number"),
    "url": ("link", "url", "web address"),
}  # fmt: skip
#: Types whose words are also part of names ("due date"); a name after them needs a capital letter, or "field".
_ALSO_NAMES = frozenset(
    ("date", "number", "text", "phone", "phone number", "email", "link", "amount", "choice", "select")
)
#: What a name says about the type, by its last words.
ENDINGS: dict[FieldType, tuple[str, ...]] = {
    "date": ("date", "birthday", "birthdate", "deadline"),
    "phone": ("phone", "phone number", "telephone", "telephone number", "mobile", "mobile number"),
    "email": ("email", "email address"),
    "url": ("website", "homepage", "web address"),
    "long_text": ("notes", "comments", "remarks", "description"),
    "choices": ("tags",),
}  # fmt: skip
_NAMING = ("name", "title")
_NOUNS = ("field", "column", "attribute", "property")
_REQUIRED = ("required", "mandatory", "compulsory", "obligatory")
#: What options may be announced by.
_OPTION_LEADS = (
    "with options", "with the options", "with choices", "with the choices", "with values", "with the values", ":",
    "with", "having", "options", "with options :", "with the options :",
)  # fmt: skip
_PERSONAL = ("sensitive", "personal", "confidential")


@dataclass(frozen=True, slots=True)
class NewField:
    """A field as far as it was described."""

    type: FieldType | None = None
    label: Label | None = None
    required: bool = False
    personal: bool = False
    to: str | None = None
    currency: str | None = None
    options: tuple[Label, ...] = ()
    max_length: int | None = None
    minimum: Decimal | None = None
    maximum: Decimal | None = None
    places: int | None = None
    default: tuple[Token, ...] = ()
    said: str = ""

    def definition(self, scene: Scene) -> tuple[str, Field]:
        """Its name and what is in the file. Raises :class:`Missing` for what was left open."""
        if self.label is None:
            raise Missing(f"What should the {self.said or 'field'} be called?")
        if self.type is None and self.currency is not None:
            return replace(self, type="money").definition(scene)
        if self.type is None:
            raise Missing(
                f"What kind of field is {self.label.text!r}?",
                ["text", "long text", "number", "money", "yes/no", "date", "dropdown"],
            )
        name, more = self.label.name, dict[str, Any]()
        if self.type == "money" and self.currency is None:
            raise Missing(f"In which currency is {self.label.text!r}?", _currencies(scene))
        if self.type in ("choice", "choices"):
            if not self.options:
                raise Missing(f"Which options does {self.label.text!r} have?")
            if len(self.options) == 1:
                raise Missing(f"Which options does {self.label.text!r} have besides {self.options[0].text!r}?")
            if any("/" in option.text and not option.quoted for option in self.options):
                raise Missing(f"Which options does {self.label.text!r} have? Part them by commas, or quote each.")
            more["options"] = [{"value": option.name, "label": option.text} for option in self.options]
        for member in ("required", "personal", "to", "currency", "max_length", "places"):
            if getattr(self, member):
                more[member] = getattr(self, member)
        try:
            field = Field.model_validate({"type": self.type, "label": self.label.text, **more})
            for member in ("minimum", "maximum"):
                if (number := getattr(self, member)) is not None:
                    more[member] = stored(field, number)
            if self.default:
                more["default"] = value_of(field, list(self.default), source_of(scene.text, self.default))
            return name, Field.model_validate({"type": self.type, "label": self.label.text, **more})
        except ValidationError as error:
            why = error.errors()[0]["msg"].removeprefix("Value error, ")
            raise Missing(f"The field {self.label.text!r} can't be like that: {why}.") from None


def new_fields(scene: Scene, start: int) -> Iterator[tuple[int, tuple[NewField, ...]]]:
    """One or more new fields in a row; each that is not the only one must say its type by itself."""
    for end, field in _one(scene, start):
        yield end, (field,)
        if field.type not in ("choice", "choices", None):
            yield from _more(scene, end, (field,))


def _more(scene: Scene, end: int, found: tuple[NewField, ...]) -> Iterator[tuple[int, tuple[NewField, ...]]]:
    after = scene.phrase(end, ", and", ",", "and")
    if after is None or len(found) == 20:
        return
    # What was said of the first may be meant for the next, where that does not begin anew.
    if scene.past_articles(after) == after and (found[0].said or found[0].required or found[0].personal):
        return
    for further, field in _one(scene, scene.past_articles(after)):
        if field.type not in ("choice", "choices", None):
            yield further, (*found, field)
            yield from _more(scene, further, (*found, field))


def _one(scene: Scene, start: int) -> Iterator[tuple[int, NewField]]:
    start = scene.past_articles(start + (scene.word(start) in ("another", "new", "additional")))
    for end, field in _core(scene, start):
        yield from _with_details(scene, end, field)
    word = scene.word(start)
    if word in (*_REQUIRED, *_PERSONAL, "optional", "new", "additional"):
        for end, field in _one(scene, start + 1):
            yield end, replace(field, required=field.required or word in _REQUIRED,
                               personal=field.personal or word in _PERSONAL)  # fmt: skip


def _core(scene: Scene, start: int) -> Iterator[tuple[int, NewField]]:
    if scene.word(start) in _NOUNS:
        yield start + 1, NewField()
        for end, label in _called(scene, start + 1):
            yield end, NewField(_type_said_by(label), label)
        for end, label in labels(scene, start + 1):
            yield end, NewField(_type_said_by(label), label)
    yield from _references(scene, start)
    for at, type_, phrase in _types(scene, start):
        yield from _after_type(scene, start, at, type_, phrase)
    for end, label in labels(scene, start):
        text = label.text if label.quoted else capital(label.text)
        for at, type_, phrase in _types(scene, end):
            strong = label.quoted or (phrase not in _ALSO_NAMES or phrase == "amount" or
                                      (phrase == "text" and scene.word(at) in _NOUNS))  # fmt: skip
            if strong and not (_type_said_by(label) and not label.quoted):
                yield at + (scene.word(at) in _NOUNS), NewField(type_, Label(text, label.quoted))
        if scene.tokens[start].word in (*_REQUIRED, "optional", "new", "field", "another", "additional"):
            continue
        # A type said by itself is no name: "a date field" is a date that nobody named yet.
        alone = " ".join(words_of(label.text))
        if alone in ("date", "number", "link", "text", "amount") or (alone in _ALL_TYPES and not _type_said_by(label)):
            continue
        after = end + 1 if scene.word(end) in _NOUNS else end
        said = _type_said_by(label)
        if alone == "email":
            label = Label("E-mail", quoted=False)
        if not label.quoted and any(word in _ALL_TYPES for word in words_of(label.text)) and said is None:
            continue
        yield after, NewField(said, label)


def _after_type(scene: Scene, start: int, at: int, type_: FieldType, phrase: str) -> Iterator[tuple[int, NewField]]:
    base = NewField(type_, said=f"{phrase} field")
    for end, field in _with_details(scene, at, base):
        noun = scene.word(end) in _NOUNS
        end += noun
        if _type_named(phrase) is None or end != at + noun:
            yield end, field
        for after, label in _called(scene, end):
            yield after, replace(field, label=label)
        lower = scene.tokens[start].text[:1].islower() or start == 0
        for after, label in labels(scene, end):
            first = scene.tokens[end]
            if first.word in (*_NOUNS, "called", "named") or (first.word in STRUCTURE and not label.quoted):
                continue
            if noun or label.quoted or phrase not in _ALSO_NAMES or (first.text[:1].isupper() and lower):
                yield after, replace(field, label=label)


def _references(scene: Scene, start: int) -> Iterator[tuple[int, NewField]]:
    nouns = ("link", "reference", "relation", "lookup")
    at = scene.phrase(start, *(f"{noun}{field} to" for noun in nouns for field in ("", " field")))
    if at is None:
        return
    for end, entity in entities(scene, at):
        title = scene.app.entities[entity].title
        yield end, NewField("reference", Label(title, quoted=False), to=entity)
        for after, label in _called(scene, end):
            yield after, NewField("reference", label, to=entity)


def _called(scene: Scene, at: int) -> Iterator[tuple[int, Label]]:
    after = scene.phrase(at, "called", "named", "labelled", "labeled", "titled", "with the name", "with the label")
    if after is not None:
        yield from labels(scene, after)


def _types(scene: Scene, at: int) -> Iterator[tuple[int, FieldType, str]]:
    for type_, phrases in TYPES.items():
        for phrase in phrases:
            end = scene.phrase(at, phrase)
            if end is not None and all(token.kind == "word" for token in scene.tokens[at:end]):
                yield end, type_, phrase


def _type_said_by(label: Label) -> FieldType | None:
    words = words_of(label.text)
    for type_, endings in ENDINGS.items():
        for ending in endings:
            if words[-len(ending.split()) :] == tuple(ending.split()) and words != ("date",):
                return type_
    if words[-1:] and words[-1] in _NAMING:
        return "text"
    return "integer" if words[:2] == ("number", "of") else None


def _type_named(phrase: str) -> FieldType | None:
    return _type_said_by(Label(phrase, quoted=False))


_ALL_TYPES = frozenset(word for phrases in TYPES.values() for word in phrases) | {"yes", "no"}


def details(scene: Scene, start: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """What is said of a new field after its entity; nothing may be."""
    for end, field in _with_details(scene, start, NewField()):
        yield end, {name: getattr(field, name) for name in NewField.__slots__ if getattr(field, name)}


def merged(field: NewField, more: dict[str, Any]) -> NewField:
    """With what was said later. Raises :class:`NoReading` where something is said twice."""
    if any(getattr(field, name) for name in more):
        raise NoReading
    return replace(field, **more)


def _with_details(scene: Scene, start: int, field: NewField) -> Iterator[tuple[int, NewField]]:
    yield start, field
    for end, more in _detail(scene, start):
        if not any(getattr(field, name) not in (None, (), False) for name in more):
            yield from _with_details(scene, end, replace(field, **more))


def _detail(scene: Scene, start: int) -> Iterator[tuple[int, dict[str, Any]]]:
    at = start + (scene.word(start) == ",")
    tokens = scene.tokens
    if (after := scene.phrase(at, "in")) is not None and after < len(tokens) and _is_currency(tokens[after]):
        yield after + 1, {"currency": tokens[after].text}
    if (
        after := scene.phrase(at, "on by default", "checked by default", "ticked by default", "off by default")
    ) is not None:
        yield after, {"default": (tokens[at],)}
    if (after := scene.phrase(at, "which is required", "that is required", "which is mandatory")) is not None:
        yield after, {"required": True}
    for lead in ("", "with ", "and ", "of ", "having "):
        yield from _limits(scene, at, lead)
    for lead in _OPTION_LEADS:
        if (after := scene.phrase(at, lead)) is not None and scene.word(after) not in (
            "options",
            "the",
            "choices",
            "a",
        ):
            for end, found in lists_of_labels(scene, after):
                if number_of(tokens[after]) is None and tokens[after].word not in ("at", "up", "default", "options"):
                    yield end, {"options": found}
    lead_at = scene.phrase(at, "with default", "default", "with the default", "defaulting to", "with a default of",
                           "default value", "with the default value", "by default", "with default value")  # fmt: skip
    if lead_at is not None:
        end = lead_at
        while (
            end < len(tokens) and end < lead_at + 4 and tokens[end].kind != "mark" and tokens[end].word not in STRUCTURE
        ):
            end += 1
            yield end, {"default": tuple(tokens[lead_at:end])}


def _limits(scene: Scene, at: int, lead: str) -> Iterator[tuple[int, dict[str, Any]]]:
    def number(place: int) -> Decimal | None:
        return number_of(scene.tokens[place]) if place < len(scene.tokens) else None

    def phrase(*phrases: str) -> int | None:
        return scene.phrase(at, *(lead + one for one in phrases))

    for names, phrases in (
        (("maximum",), ("at most", "maximum", "up to", "a maximum of", "no more than", "max")),
        (("minimum",), ("at least", "minimum", "a minimum of", "min")),
    ):
        after = phrase(*phrases)
        if after is None or (found := number(after)) is None:
            continue
        if scene.word(after + 1) in ("characters", "letters", "chars"):
            if names == ("maximum",) and found == found.to_integral_value() and 1 <= found <= 100_000:
                yield after + 2, {"max_length": int(found)}
        else:
            yield after + 1, {names[0]: found}
    for first, second in (("from", "to"), ("between", "and")):
        after = phrase(first)
        if after is None or (low := number(after)) is None or scene.word(after + 1) != second:
            continue
        if (high := number(after + 2)) is not None:
            yield after + 3, {"minimum": low, "maximum": high}
    after = at + len(lead.split()) if scene.phrase(at, lead.strip() or "") is not None else None
    if after is not None and (places := number(after)) is not None:
        end = scene.phrase(after + 1, "decimal places", "decimals", "decimal place", "places")
        if end is not None and places in (1, 2, 3, 4, 5, 6):
            yield end, {"places": int(places)}


def _is_currency(token: Token) -> bool:
    return token.kind == "word" and len(token.text) == 3 and token.text.isascii() and token.text.isupper()


def _currencies(scene: Scene) -> list[str]:
    used = {field.currency for entity in scene.app.entities.values() for field in entity.fields.values()}
    return sorted({"EUR", "USD", *filter(None, used)})
