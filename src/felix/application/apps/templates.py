"""Renders the mails of an app: Liquid, where every text ends within milliseconds, whoever wrote it.

Liquid's own limits count iterations, output and what variables hold. They see neither a range that a filter unrolls,
nor a filter whose result is a product, nor a body that is long and goes round often: those are bounded here. Nothing
but a record's fields can be named, and a name that is nowhere is an error that says which.
"""

from __future__ import annotations

import html
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, wraps
from typing import TYPE_CHECKING, Any

from felix.domain.apps.behaviour import SendEmail
from felix.domain.apps.entities import Field
from felix.domain.apps.examples import something
from felix.domain.apps.shapes import CompiledApp
from felix.domain.errors import NotFound, Refused

if TYPE_CHECKING:
    from liquid import BoundTemplate

#: Characters of a mail, and of anything on the way to it.
MAX_OUTPUT, MAX_LOCALS, MAX_VALUE = 100_000, 50_000, 20_000
#: Work of filters in one rendering: one each, and one for so many characters. About 50 ms.
MAX_WORK, CHARACTERS_A_UNIT = 20_000, 64
#: Characters of a template that loops may go over, all in all: what bounds long bodies that do nothing.
MAX_LOOPED, LEAST_ITERATIONS, MOST_ITERATIONS = 500_000, 10, 5_000
MAX_CONTEXT_DEPTH = 20
MAX_SUBJECT = 200
#: What a mail may need, and none that makes long from short, or undoes escaping.
_FILTERS = frozenset({
    "abs", "append", "at_least", "at_most", "capitalize", "ceil", "compact", "date", "default", "divided_by",
    "downcase", "escape", "escape_once", "first", "floor", "join", "last", "lstrip", "minus", "modulo",
    "newline_to_br", "plus", "prepend", "remove", "remove_first", "replace", "replace_first", "reverse", "round",
    "rstrip", "size", "slice", "sort", "split", "squish", "strip", "strip_html", "strip_newlines", "times",
    "truncate", "truncatewords", "uniq", "upcase", "url_encode",
})  # fmt: skip
_TAGS = frozenset({
    "#", "assign", "break", "capture", "case", "comment", "content", "continue", "cycle", "decrement", "echo", "for",
    "if", "ifchanged", "illegal", "increment", "liquid", "output", "unless", "doc",
})  # fmt: skip
_MARKUP = re.compile(r"\s*<(!doctype|html|body|table|div|p|h[1-6])\b", re.IGNORECASE)
_BREAKS = re.compile(r"<(br|/p|/div|/tr|/h[1-6]|/li)\b[^>]{0,200}>", re.IGNORECASE)
_TAG = re.compile(r"<[^>]{0,10000}>")
_work = threading.local()


class NoSuchTemplate(NotFound):
    """The app has no such template."""


class TemplateBroken(Refused):
    """This template can't be rendered."""


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail without its recipient. A template that begins with a tag of HTML gives both, all others a text."""

    subject: str = field(repr=False)
    text: str = field(repr=False)
    html: str | None = field(repr=False, default=None)


def render_mail(app: CompiledApp, name: str, entity: str, values: Mapping[str, Any]) -> Mail:
    """A mail of a template about a record. Raises :class:`TemplateBroken` and :class:`NoSuchTemplate`."""
    template = app.app.templates.get(name)
    if template is None:
        raise NoSuchTemplate(template=name)
    text = app.app.texts[name]
    given = {entity: shown(app, entity, values)}
    subject = " ".join(_render(name, template.subject, given, escaped=False).split())[:MAX_SUBJECT]
    if _MARKUP.match(text) is None:
        return Mail(subject, _render(name, text, given, escaped=False))
    page = _render(name, text, given, escaped=True)
    return Mail(subject, plain(page), page)


def faults(app: CompiledApp) -> list[str]:
    """Why mails of an app could never be sent: what is no template, and names that are nowhere. Each is rendered once
    with a record that has everything."""
    about = {(name, template.entity) for name, template in app.app.templates.items() if template.entity}
    for automation in app.app.automations.values():
        for action in automation.actions:
            if isinstance(action, SendEmail):
                about.add((action.template, automation.on.entity))
    found = []
    for name, entity in sorted(about):
        try:
            render_mail(app, name, entity, something(app.app.entities[entity]))
        except TemplateBroken as broken:
            found.append(str(broken))
    return found


def shown(app: CompiledApp, entity: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """A record's fields as a mail shows them: money and decimals as people write them, what has no value as nothing."""
    return {
        name: _shown(field, None if field.hidden else values.get(name))
        for name, field in app.shapes[entity].entity.fields.items()
    }


def _shown(field: Field, value: Any) -> Any:
    if value is None or type(value) is not int:
        return value
    if field.type == "money":
        return f"{decimal(value, 2)} {field.currency}"
    return decimal(value, field.places or 0) if field.type == "decimal" else value


def decimal(value: int, places: int) -> str:
    """A whole number of its last place, as people write it."""
    sign, digits = "-" if value < 0 else "", f"{abs(value):0{places + 1}d}"
    return f"{sign}{digits[:-places]}.{digits[-places:]}" if places else f"{sign}{digits}"


def plain(page: str) -> str:
    """The words of a page, for whoever reads mail as text."""
    lines = html.unescape(_TAG.sub("", _BREAKS.sub("\n", page))).splitlines()
    return "\n".join(" ".join(line.split()) for line in lines if line.strip()) + "\n"


def _render(name: str, text: str, given: Mapping[str, Any], *, escaped: bool) -> str:
    from liquid.exceptions import LiquidError

    _work.left = MAX_WORK
    try:
        return _compiled(text, escaped).render(**given)
    except (LiquidError, _TooMuchWork) as error:
        why = (str(error).splitlines() or [""])[0][:200]
        raise TemplateBroken(f"The template {name} can't be rendered: {why}.", template=name, why=why) from None
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        why = type(error).__name__
        raise TemplateBroken(f"The template {name} can't be rendered: {why}.", template=name, why=why) from None


@lru_cache(maxsize=256)
def _compiled(text: str, escaped: bool) -> BoundTemplate:
    from liquid import Environment, StrictUndefined

    class Bounded(Environment):
        """An environment with all limits set."""

        context_depth_limit = MAX_CONTEXT_DEPTH
        local_namespace_limit = MAX_LOCALS
        loop_iteration_limit = max(LEAST_ITERATIONS, min(MOST_ITERATIONS, MAX_LOOPED // max(1, len(text))))
        output_stream_limit = MAX_OUTPUT

    environment = Bounded(autoescape=escaped, undefined=StrictUndefined)
    environment.filters = {
        name: _bounded(name, filter_) for name, filter_ in environment.filters.items() if name in _FILTERS
    }
    environment.tags = {name: tag for name, tag in environment.tags.items() if name in _TAGS}
    return environment.from_string(text)


class _TooMuchWork(Exception):
    """A filter is given, or makes, more than a mail can need."""


def _bounded(name: str, filter_: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(filter_)
    def bounded(value: Any, *arguments: Any, **options: Any) -> Any:
        sizes = [_size(name, each) for each in (value, *arguments)]
        # Every character may become the whole replacement, and every item may get the whole separator behind it.
        if name in ("replace", "join") and sizes[0] * max(sizes[1:], default=0) > MAX_VALUE * 100:
            raise _TooMuchWork(f"the filter {name} makes too much")
        _work.left -= 1 + sum(sizes) // CHARACTERS_A_UNIT
        if _work.left < 0:
            raise _TooMuchWork("its filters have too much to do")
        result = filter_(value, *arguments, **options)
        _size(name, result)
        return result

    return bounded


def _size(name: str, value: Any) -> int:
    """How much a filter is given or makes. Raises :class:`_TooMuchWork` beyond what a mail can need."""
    long = len(value) if hasattr(value, "__len__") else 1
    size = value.bit_length() // 3 if isinstance(value, int) else long
    if size > MAX_VALUE:
        raise _TooMuchWork(f"the filter {name} has too much to do")
    return size
