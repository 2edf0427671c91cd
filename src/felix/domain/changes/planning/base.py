"""What any planner answers: operations, a question, or that it is not for it."""

from __future__ import annotations

from dataclasses import dataclass

from felix.domain.changes.operations.base import Operation


@dataclass(frozen=True, slots=True)
class Planned:
    """Operations that were accepted by the tree, who planned them, and what was understood."""

    operations: tuple[Operation, ...]
    planner: str
    rationale: str


@dataclass(frozen=True, slots=True)
class Asked:
    """What is not known: a question, and what could be meant."""

    question: str
    candidates: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Declined:
    """This is nothing that the planner reads."""

    why: str


Answer = Planned | Asked | Declined
