"""The grammar planner is asked every prompt of the public set, and the prompts that its author never saw.

A plan counts as right when its operations are exactly those that were expected, and a question back is never wrong:
precision is the share of plans that are right, recall that of clear prompts that are planned.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from figures import record

from felix.domain.apps.founding import new_app
from felix.domain.apps.tree import AppTree
from felix.domain.changes.modules import newest
from felix.domain.changes.operations.union import written
from felix.domain.changes.planning.base import Answer, Planned
from felix.domain.changes.planning.grammar.planner import plan
from felix.modules.library import library
from tests.domain.apps.sample_app import TREE
from tests.planning.held_out_third import THIRD
from tests.planning.prompts import PROMPTS
from tests.planning.test_grammar import asked, plain

Prompt = tuple[Answer, list[dict[str, Any]]]


def public() -> list[Prompt]:
    """The public set, each prompt with what the planner answers."""
    return [(asked(prompt), expected) for prompt, expected in PROMPTS]


def held_out() -> list[Prompt]:
    """The set that nothing was mended after, about three apps."""
    apps: dict[str, AppTree] = {
        "sample": TREE,
        "crm": new_app("studio", "Studio", ["crm"], library()),
        "shop": new_app("store", "Store", ["crm", "inventory"], library()),
    }
    return [
        (plan(prompt, apps[app], newest(library())), expected)
        for app, prompts in THIRD.items()
        for prompt, expected in prompts
    ]


SETS = {"public": public, "held out": held_out}


def scored(answered: Sequence[Prompt]) -> tuple[int, int, int]:
    """How many prompts are clear, how many were planned, and how many of those plans are right."""
    plans = [(answer, expected) for answer, expected in answered if isinstance(answer, Planned)]
    right = sum(plain(written(answer.operations)) == plain(expected) for answer, expected in plans)
    return sum(bool(expected) for _, expected in answered), len(plans), right


@pytest.mark.parametrize("name", SETS)
def test_what_is_planned_is_what_was_meant(name: str) -> None:
    prompts = SETS[name]()
    clear, planned, right = scored(prompts)
    record(
        name, len(prompts), clear=clear, planned=planned, right=right,
        precision=round(right / planned, 3), recall=round(right / clear, 3),
    )  # fmt: skip
    assert right == planned > 0


def test_control_a_plan_that_says_something_else_is_found() -> None:
    """Each prompt is scored against what the next one means."""
    prompts = [(answer, expected) for answer, expected in public() if expected]
    shifted = [(answer, expected) for (answer, _), (_, expected) in pairwise(prompts)]
    _, planned, right = scored(shifted)
    record("the next one's operations", len(shifted), planned=planned, right=right)
    assert right < planned / 2
