"""Workflows: which steps records take."""

from __future__ import annotations

from typing import Any, Literal

from felix.domain.apps.base import SpecName
from felix.domain.apps.behaviour import Transition, Workflow
from felix.domain.apps.spelling import plain
from felix.domain.changes.operations.base import Drawn
from felix.domain.changes.operations.draft import Draft
from felix.domain.changes.words import Words, counted, listed, quoted


class _OfWorkflow(Drawn):
    workflow: SpecName

    @property
    def _path(self) -> str:
        return f"workflows/{self.workflow}.json"


class AddWorkflow(_OfWorkflow):
    """Let the records of an entity move from state to state by named steps only."""

    op: Literal["add_workflow"] = "add_workflow"
    definition: Workflow

    def draw(self, draft: Draft) -> None:
        draft.field(self.definition.entity, self.definition.field, "choice")
        draft.add(self._path, plain(self.definition))

    def sentence(self, words: Words) -> str:
        definition = self.definition
        field = f"{words.field(definition.entity, definition.field)} of {words.entity(definition.entity)}"
        steps = counted(len(definition.transitions), "step")
        return f"Adds the workflow {quoted(definition.title)}: {field} changes by {steps} only"


class AddTransition(_OfWorkflow):
    """Add a step to a workflow, after the others."""

    op: Literal["add_transition"] = "add_transition"
    definition: Transition

    def draw(self, draft: Draft) -> None:
        transitions = draft.file(self._path)["transitions"]
        if _numbered(transitions, self.definition.action) is not None:
            detail = f"{self.workflow} has a step {self.definition.action} already"
            draft.refuse("taken", self._path, "/transitions", detail)
        transitions.append(plain(self.definition))

    def sentence(self, words: Words) -> str:
        content = words.tree.files.get(self._path)
        entity, field = (content["entity"], content["field"]) if isinstance(content, dict) else ("", "")
        origins = listed(words.option(entity, field, state) for state in self.definition.from_)
        target = words.option(entity, field, self.definition.to)
        title = words.title("workflows", self.workflow)
        return f"Adds the step {quoted(self.definition.label)} from {origins} to {target} to the workflow {title}"


class RemoveTransition(_OfWorkflow):
    """Take a step out of a workflow: nobody can take it any more."""

    op: Literal["remove_transition"] = "remove_transition"
    action: SpecName

    def draw(self, draft: Draft) -> None:
        transitions = draft.file(self._path)["transitions"]
        number = _numbered(transitions, self.action)
        if number is None:
            draft.refuse("unknown", self._path, "/transitions", f"{self.workflow} has no step {self.action}")
        if len(transitions) == 1:
            draft.refuse("last", self._path, "/transitions", f"{self.workflow} would have no step left")
        del transitions[number]
        for path, content in sorted(draft.tree.files.items()):
            if path.startswith("tests/") and any(step.get("take") == self.action for step in content["when"]):
                draft.refuse("used", path, "/when", f"the example {path} takes {self.action}")

    def sentence(self, words: Words) -> str:
        content = words.tree.files.get(self._path)
        steps = content["transitions"] if isinstance(content, dict) else []
        label = next((step["label"] for step in steps if step["action"] == self.action), self.action)
        return f"Removes the step {quoted(label)} of the workflow {words.title('workflows', self.workflow)}"


def _numbered(transitions: list[dict[str, Any]], action: str) -> int | None:
    return next((number for number, step in enumerate(transitions) if step["action"] == action), None)
