"""The checks of a change, before anybody is asked to approve it.

They look at two trees and need nothing else; what an app says is interpreted, never executed, so none of them needs a
sandbox. All of them are always done: who has to mend a change wants to know everything that is wrong with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from felix.application.apps.templates import faults, render_mail
from felix.domain.apps.examples import run_examples
from felix.domain.apps.shapes import CompiledApp
from felix.domain.apps.tree import AppTree
from felix.domain.changes.limits import check_trees
from felix.domain.errors import FelixError

#: What is wrong, in one check's record; the tree has the rest.
MAX_WRONG = 20


@dataclass(frozen=True, slots=True)
class Checked:
    """One check: its name, how much it looked at, and what is wrong; nothing where it passed."""

    name: str
    looked_at: int
    wrong: tuple[str, ...] = ()

    def shown(self) -> dict[str, Any]:
        """As JSON."""
        return {"check": self.name, "passed": not self.wrong, "looked_at": self.looked_at, "wrong": list(self.wrong)}


def run_checks(before: AppTree, after: AppTree, compiled: Callable[[], CompiledApp]) -> list[Checked]:
    """Everything that can be said of a change from its two trees. ``compiled`` gives what comes out, ready to run."""
    found: list[CompiledApp] = []
    done = [
        Checked("limits_and_secrets", len(after.files), _wrong(lambda: check_trees(before, after))),
        Checked("references", len(after.files), _wrong(lambda: found.append(compiled()))),
    ]
    return [*done, *(check(app) for app in found for check in (check_templates, check_examples))]


def check_templates(app: CompiledApp) -> Checked:
    """Whether mails can be sent at all."""
    return Checked("templates", len(app.app.templates), tuple(faults(app))[:MAX_WRONG])


def check_examples(app: CompiledApp) -> Checked:
    """What the app's own examples say: before a deploy, and while it is new."""
    ran = run_examples(app, render_mail)
    wrong = tuple(
        f"{result.name}: {result.step} expected {result.expected}, found {result.found}"
        for result in ran
        if not result.passed
    )
    return Checked("examples", len(ran), wrong[:MAX_WRONG])


def _wrong(looks: Callable[[], object]) -> tuple[str, ...]:
    try:
        looks()
    except FelixError as refused:
        return tuple(_told(refused))[:MAX_WRONG]
    return ()


def _told(refused: FelixError) -> Iterator[str]:
    errors: Sequence[dict[str, str]] = refused.facts.get("errors", ())
    if not errors:
        yield str(refused)
    for error in errors:
        yield f"{error['pointer']}: {error['detail']}"
