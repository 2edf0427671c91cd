"""A place that differs, and what rules ask of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from felix.domain.apps.places import ABSENT, at, pointer_of
from felix.domain.changes.risk import Risk
from felix.domain.changes.words import Words, quoted

#: The kind of an effect, its risk, and its sentence.
Said = tuple[str, Risk, str]
#: How a file comes, goes or changes.
VERBS = {"added": "Adds", "removed": "Removes", "changed": "Changes"}
_LINK = re.compile(r"https?://[^\s\"'<>]+|[\w.+-]+@[\w-]+\.[\w.-]+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Difference:
    """A place that differs. ``parts`` lead to it; an element of a named list is a part by its name."""

    path: str
    parts: tuple[str, ...]
    before: Any
    after: Any
    old: Words
    new: Words

    @property
    def name(self) -> str:
        """The name of the file."""
        return self.path.partition("/")[2].rpartition(".")[0]

    @property
    def change(self) -> str:
        """``added``, ``removed`` or ``changed``."""
        return "added" if self.before is ABSENT else "removed" if self.after is ABSENT else "changed"

    @property
    def words(self) -> Words:
        """The words of the tree in which the file is."""
        return self.old if self.becomes() is ABSENT else self.new

    def was(self, *parts: str) -> Any:
        """What was at a place of the same file."""
        return at(self.old.tree, self.path, pointer_of(parts))

    def becomes(self, *parts: str) -> Any:
        """What is now at a place of the same file."""
        return at(self.new.tree, self.path, pointer_of(parts))

    @property
    def value(self) -> str:
        """What is there now, where it can be said in a word."""
        return "another value" if isinstance(self.after, dict | list) else quoted(self.after)

    @property
    def new_links(self) -> set[str]:
        """Links and addresses that were not there before."""
        return set(_LINK.findall(str(self.after))) - set(_LINK.findall(str(self.before)))

    def unknown(self) -> Said:
        """What no rule knows is of high risk."""
        place = f"{self.path}#{pointer_of(self.parts)}"
        return self.change, "high", f"Changes {place} from {quoted(self.before)} to {quoted(self.after)}"
