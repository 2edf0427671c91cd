"""How much can go wrong when a change goes live; how many people have to agree follows from it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

Risk = Literal["low", "medium", "high", "destructive"]
#: From what changes only how things look to what can't be brought back by a rollback.
RISKS: tuple[Risk, ...] = ("low", "medium", "high", "destructive")
#: What somebody agrees to only after they have proved anew who they are.
SERIOUS: frozenset[Risk] = frozenset({"high", "destructive"})


def highest(risks: Iterable[Risk]) -> Risk:
    """The highest of these; low when there is none."""
    return max(risks, key=RISKS.index, default="low")
