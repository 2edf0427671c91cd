"""The notation of patterns: ``<add> {new} (to|for) {entity} [please]``.

Words stand for themselves, ``(a|b)`` for either, ``[a]`` for nothing or a, ``<add>`` for every word that means the
same, ``{name:slot}`` for what a slot reads. Articles may stand before anything.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from felix.domain.changes.operations.base import Operation
from felix.domain.changes.planning.grammar.scene import Scene

#: Words that mean the same in a pattern.
SAME = {
    "add": "add|create|insert|include|introduce|set up",
    "remove": "remove|delete|drop|get rid of|take away|eliminate",
    "rename": "rename|relabel|retitle",
    "set": "set|change|update",
    "turn off": "turn off|switch off|disable|deactivate|stop|pause|suspend",
    "turn on": "turn on|switch on|enable|activate|restart|resume",
    "called": "called|named|labelled|labeled|titled",
    "of": "of|for|on|in|from|to",
    "in": "in|into|to|on",
    "required": "required|mandatory|compulsory|obligatory",
    "only": "only|just",
    "may": "may|can|should|are allowed to",
    "must": "must|should|may",
    "becomes": "becomes|is|changes to|turns|turns to|is set to|gets",
}
Bound = Mapping[str, Any]
Reader = Callable[[Scene, int], Iterator[tuple[int, Any]]]
Build = Callable[[Scene, Bound], list[Operation]]
_PIECE = re.compile(
    r"\{(?:(?P<name>\w+):)?(?P<slot>\w+)\}|<(?P<same>[^>]+)>|(?P<mark>[()\[\]|])|(?P<word>[^\s()\[\]|{}<>]+)"
)


@dataclass(frozen=True, slots=True)
class Pattern:
    """A sentence that can be said: how, one example, and the operations that it becomes."""

    says: str
    example: str
    build: Build


@dataclass(frozen=True, slots=True)
class _Word:
    word: str


@dataclass(frozen=True, slots=True)
class _Slot:
    name: str
    slot: str


@dataclass(frozen=True, slots=True)
class _Either:
    parts: tuple[tuple[Part, ...], ...]


Part = _Word | _Slot | _Either


def compiled(says: str) -> tuple[Part, ...]:
    """A pattern, ready to be matched."""
    parts, rest = _read(list(_PIECE.finditer(says)), 0)
    assert rest == len(list(_PIECE.finditer(says))), says
    return parts


#: For each place in a pattern that words must fill: the sets of words of which one must be said.
Needs = tuple[tuple[frozenset[str], ...], ...]


def needs_of(parts: tuple[Part, ...]) -> Needs:
    """The words without which a pattern can't match: most patterns are passed over by these alone."""
    found: list[tuple[frozenset[str], ...]] = []
    for part in parts:
        if isinstance(part, _Word):
            found.append((frozenset((part.word,)),))
        elif isinstance(part, _Either):
            found.append(tuple(frozenset(_words_in(option)) for option in part.parts))
    return tuple(found)


def _words_in(parts: tuple[Part, ...]) -> Iterator[str]:
    return (part.word for part in parts if isinstance(part, _Word))


def matches(parts: tuple[Part, ...], scene: Scene, readers: Mapping[str, Reader]) -> Iterator[dict[str, Any]]:
    """What the slots hold, for every way in which the pattern covers the whole sentence."""
    for end, bound in _match(parts, 0, {}, scene, readers):
        if end == len(scene.tokens):
            yield bound
        else:
            scene.stuck(end, "the end")


def _match(
    parts: tuple[Part, ...], start: int, bound: dict[str, Any], scene: Scene, readers: Mapping[str, Reader]
) -> Iterator[tuple[int, dict[str, Any]]]:
    if not parts:
        yield start, bound
        return
    part, rest = parts[0], parts[1:]
    if isinstance(part, _Either):
        for option in part.parts:
            yield from _match(option + rest, start, bound, scene, readers)
        return
    if isinstance(part, _Word):
        place = start if scene.word(start) == part.word else scene.past_articles(start)
        if scene.word(place) == part.word and scene.tokens[place].kind != "quoted":
            yield from _match(rest, place + 1, bound, scene, readers)
        return
    place = scene.past_articles(start)
    found = False
    for end, value in readers[part.slot](scene, place):
        found = True
        yield from _match(rest, end, {**bound, part.name: value}, scene, readers)
    if not found:
        scene.stuck(place, part.slot)


def _read(pieces: list[re.Match[str]], at: int) -> tuple[tuple[Part, ...], int]:
    """The parts up to a closing mark or a bar, and where it stands."""
    parts: list[Part] = []
    while at < len(pieces) and (piece := pieces[at])["mark"] not in (")", "]", "|"):
        at += 1
        if piece["slot"]:
            parts.append(_Slot(piece["name"] or piece["slot"], piece["slot"]))
        elif piece["same"]:
            parts.append(_Either(tuple(tuple(map(_Word, one.split())) for one in SAME[piece["same"]].split("|"))))
        elif piece["word"]:
            parts.append(_Word(piece["word"]))
        else:
            options: list[tuple[Part, ...]] = [()] if piece["mark"] == "[" else []
            while True:
                option, at = _read(pieces, at)
                options.append(option)
                at += 1
                if pieces[at - 1]["mark"] != "|":
                    break
            parts.append(_Either(tuple(options)))
    return tuple(parts), at
