"""The client's own rules for changes, and the examples that every change is tried against."""

from __future__ import annotations

from typing import Literal

from felix.domain.apps.base import SpecName
from felix.domain.apps.behaviour import Example, Policy, Watch
from felix.domain.apps.spelling import plain
from felix.domain.changes.operations.base import Drawn
from felix.domain.changes.operations.draft import Draft
from felix.domain.changes.words import Words, counted, listed, quoted


class SetPolicy(Drawn):
    """Say anew what the client asks of changes beyond the platform's rules. What is not named is not asked."""

    op: Literal["set_policy"] = "set_policy"
    policy: Policy

    def draw(self, draft: Draft) -> None:
        if draft.has("policy.json"):
            draft.file("policy.json")
        draft.put("policy.json", plain(self.policy))

    def sentence(self, words: Words) -> str:
        asked = [
            f"{counted(count, 'approval')} for a change of {risk} risk" for risk, count in self.policy.approvals.items()
        ]
        if self.policy.max_change_mtok is not None:
            asked.append(f"a price of at most {self.policy.max_change_mtok} mtok")
        if self.policy.deploy_window is not None:
            asked.append(f"deploys at '{self.policy.deploy_window}' only")
        if self.policy.watch != Watch():
            asked.append("a closer watch of what is new")
        return f"Asks of changes, beyond the platform's rules: {listed(asked) or 'nothing'}"


class AddExample(Drawn):
    """Add an example of how the app behaves. A change that breaks it is not deployed."""

    op: Literal["add_example"] = "add_example"
    example: SpecName
    definition: Example

    def draw(self, draft: Draft) -> None:
        draft.add(f"tests/{self.example}.json", plain(self.definition))

    def sentence(self, words: Words) -> str:
        return f"Adds the example {quoted(self.definition.title)}, which every later change must keep"


class RemoveExample(Drawn):
    """Take an example away: changes need not keep it any more."""

    op: Literal["remove_example"] = "remove_example"
    example: SpecName

    def draw(self, draft: Draft) -> None:
        draft.remove(f"tests/{self.example}.json")

    def sentence(self, words: Words) -> str:
        return f"Removes the example {words.title('tests', self.example)}"
