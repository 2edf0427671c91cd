"""Passages: pieces of a text that can be found and read on their own, each with the headings that it stands under.

They are cut and never changed: one after the other they are the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

#: Goes up when texts are cut in another way; what is indexed is then cut anew.
CUTTER = 1
#: A passage ends with a paragraph beyond the first, and whatever comes at the second. A shorter one goes on under the
#: next heading: alone it would say too little.
GOOD_CHARS, MAX_CHARS, SHORT_CHARS = 900, 1_800, 100
MAX_HEADING_CHARS = 200
_HEADING = re.compile(r" {0,3}(#{1,6})[ \t]+(\S.*)")
_FENCE = re.compile(r" {0,3}(```|~~~)")


@dataclass(frozen=True, slots=True)
class Cut:
    """A piece of a text and the headings above it, the outermost first."""

    heading: str
    text: str


@dataclass(slots=True)
class _Cutter:
    """Where the cutting has got to."""

    above: list[tuple[int, str]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    chars: int = 0
    heading: str = ""
    fence: str = ""

    def take(self, line: str) -> None:
        if not self.lines:
            self.heading = " > ".join(title for _, title in self.above)[:MAX_HEADING_CHARS]
        self.lines.append(line)
        self.chars += len(line)

    def end(self) -> Iterator[Cut]:
        if self.lines:
            yield Cut(self.heading, "".join(self.lines))
        self.lines, self.chars = [], 0

    def stand_under(self, level: int, title: str) -> None:
        while self.above and self.above[-1][0] >= level:
            self.above.pop()
        self.above.append((level, title.rstrip("# \t\n")))


def cut(text: str, *, headings: bool = True) -> Iterator[Cut]:
    """Cut a text. Without ``headings`` a line that begins with ``#`` is a line like any other, as in code."""
    at = _Cutter()
    for line in text.splitlines(keepends=True) if "\n" in text else [text] if text else []:
        if headings and (fence := _FENCE.match(line)) is not None:
            at.fence = "" if at.fence == fence[1] else at.fence or fence[1]
        found = None if at.fence or not headings else _HEADING.match(line)
        if found is not None:
            if at.chars >= SHORT_CHARS:
                yield from at.end()
            at.stand_under(len(found[1]), found[2])
        elif at.chars + len(line) > MAX_CHARS:
            yield from at.end()
        for piece in _pieces(line):
            if at.chars + len(piece) > MAX_CHARS:
                yield from at.end()
            at.take(piece)
        if at.chars >= GOOD_CHARS and not line.strip():
            yield from at.end()
    yield from at.end()


def _pieces(line: str) -> Iterator[str]:
    """A line that is no longer than a passage, or its parts, cut between words where there are any."""
    begin = 0
    while len(line) - begin > MAX_CHARS:
        end = line.rfind(" ", begin + MAX_CHARS // 2, begin + MAX_CHARS) + 1 or begin + MAX_CHARS
        yield line[begin:end]
        begin = end
    yield line[begin:]
