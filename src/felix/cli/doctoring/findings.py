"""What a check can say: what is the case, what that means, and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warning", "problem"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found. ``remedy`` is a command, or a sentence where no command can do it."""

    level: Level
    case: str
    meaning: str = ""
    remedy: str = ""


Findings = Iterator[Finding]


def ok(case: str) -> Finding:
    """All is well."""
    return Finding("ok", case)


def warning(case: str, meaning: str, remedy: str) -> Finding:
    """Felix works, and it will be better to do something."""
    return Finding("warning", case, meaning, remedy)


def problem(case: str, meaning: str, remedy: str) -> Finding:
    """Felix does not work as it should, or won't for long."""
    return Finding("problem", case, meaning, remedy)
