"""What every operation is: a typed sentence that compiles to edits. Everything else follows from the edits."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from felix.domain.apps.base import Spec
from felix.domain.apps.references import check
from felix.domain.apps.tree import AppTree
from felix.domain.changes.edits import Edit, apply, turned_round
from felix.domain.changes.effects import Effect, effects
from felix.domain.changes.operations.draft import NO_MODULES, Draft, Library
from felix.domain.changes.risk import Risk, highest
from felix.domain.changes.words import Words
from felix.domain.metering.prices import Table, charge
from felix.domain.metering.rate_card import find_rule

#: What an operation is charged by; its ``model`` is the name of the operation, so each kind can have its own price.
METER = "changes.operation"
#: An upgrade of a large module writes this much; nothing that a person asks for does.
MAX_STEPS = 20_000


def _op_is_required(schema: dict[str, Any]) -> None:
    schema["required"] = ["op", *schema.get("required", ())]


class Operation(Spec):
    """One thing that a change does to an app.

    An operation knows no more than its edits and how it is said; how it is taken back, what it does and how risky that
    is are worked out from the trees before and after.
    """

    model_config = ConfigDict(json_schema_extra=_op_is_required)

    op: str

    @abstractmethod
    def edits(self, tree: AppTree, library: Library = NO_MODULES) -> list[Edit]:
        """What it writes in this tree, after what it relies on. Raises ``OperationRefused``."""

    @abstractmethod
    def sentence(self, words: Words) -> str:
        """What it does, in the words of an app."""

    def preconditions(self, tree: AppTree, library: Library = NO_MODULES) -> None:
        """Raises ``OperationRefused`` with the rule and the place if it does not fit this tree."""
        self.edits(tree, library)

    def apply(self, tree: AppTree, library: Library = NO_MODULES) -> AppTree:
        """The tree after it. Raises ``OperationRefused``, and ``InvalidApp`` where the result is no app."""
        result = apply(tree, self.edits(tree, library))
        check(result)
        return result

    def invert(self, tree: AppTree, library: Library = NO_MODULES) -> Undo:
        """What takes it back: applied to the result, it restores this tree exactly."""
        steps = turned_round(self.edits(tree, library))
        return Undo(steps=steps, of=self.describe(tree)[:500], at_least=self.risk(tree, library))

    def effects(self, tree: AppTree, library: Library = NO_MODULES) -> list[Effect]:
        """What it changes for the people who use the app, worked out from the trees before and after."""
        return effects(tree, self.apply(tree, library))

    def risk(self, tree: AppTree, library: Library = NO_MODULES) -> Risk:
        """The highest risk of its effects."""
        return highest(effect.risk for effect in self.effects(tree, library))

    def price(self, card: Table) -> int:
        """What it costs by a rate card, in mtok; nothing where the card does not price operations."""
        rule = find_rule(card, METER, self.op)
        return 0 if rule is None else charge(rule, 1)[0]

    def describe(self, tree: AppTree) -> str:
        """One plain sentence for who approves it; it can be said of any tree, whether it fits there or not."""
        return self.sentence(Words(tree))


class Drawn(Operation):
    """An operation that is drawn into a copy of the tree; its edits are the difference, and what it came to rely on."""

    @abstractmethod
    def draw(self, draft: Draft) -> None:
        """Draw it. Raises ``OperationRefused`` where it does not fit."""

    def edits(self, tree: AppTree, library: Library = NO_MODULES) -> list[Edit]:
        """What it writes in this tree, after what it relies on. Raises ``OperationRefused``."""
        draft = Draft(tree, library)
        self.draw(draft)
        return draft.edits()


class Undo(Operation):
    """Take back what another operation did, and nothing that came after it. No planner proposes this."""

    op: Literal["undo"] = "undo"
    steps: Annotated[list[Edit], Field(min_length=1, max_length=MAX_STEPS)]
    of: Annotated[str, Field(min_length=1, max_length=500)]
    """What is taken back, as it was said."""
    at_least: Risk
    """Taking something back is as risky as doing it was, whatever it looks like."""

    def edits(self, tree: AppTree, library: Library = NO_MODULES) -> list[Edit]:
        """The steps themselves. Raises ``EditConflict`` where something came after."""
        apply(tree, self.steps)
        return self.steps

    def risk(self, tree: AppTree, library: Library = NO_MODULES) -> Risk:
        """Never less than that of what it takes back."""
        return highest((self.at_least, super().risk(tree, library)))

    def sentence(self, words: Words) -> str:
        return f"Takes back: {self.of}"
