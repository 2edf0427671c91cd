"""What the planner makes of prompts that it was not written for: the figures that docs/planner.md states."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping

import pytest

from felix.cli.docs.planner import SECOND as SECOND_FIGURES
from felix.cli.docs.planner import THIRD as THIRD_FIGURES
from felix.cli.docs.planner import Figures
from felix.domain.apps.founding import new_app
from felix.domain.apps.tree import AppTree
from felix.domain.changes.modules import newest
from felix.domain.changes.operations.union import PROPOSED, written
from felix.domain.changes.planning.base import Planned
from felix.domain.changes.planning.grammar.planner import plan
from felix.domain.changes.replay import replay
from felix.modules.library import library
from tests.domain.apps.sample_app import TREE
from tests.planning.held_out_second import SECOND
from tests.planning.held_out_third import THIRD
from tests.planning.prompts import Operation

Prompts = Mapping[str, list[tuple[str, list[Operation]]]]


@pytest.fixture(scope="module")
def trees() -> dict[str, AppTree]:
    """The apps that the prompts are about."""
    return {
        "sample": TREE,
        "crm": new_app("studio", "Studio", ["crm"], library()),
        "shop": new_app("store", "Store", ["crm", "inventory"], library()),
    }


@pytest.mark.parametrize(
    ("prompts", "stated"), [(SECOND, SECOND_FIGURES), (THIRD, THIRD_FIGURES)], ids=["second", "third"]
)
def test_the_figures_of_the_page_are_counted_and_nothing_planned_is_wrong(
    prompts: Prompts, stated: Figures, trees: dict[str, AppTree]
) -> None:
    counted, wrong = Counter[str](), list[str]()
    for app, pairs in prompts.items():
        for prompt, means in pairs:
            expected = PROPOSED.validate_json(json.dumps(means))
            counted["clear" if expected else "doubtful"] += 1
            answer = plan(prompt, trees[app], newest(library()))
            planned = written(answer.operations) if isinstance(answer, Planned) else None
            if expected and planned == written(expected):
                counted["right"] += 1
                continue
            # What the planner did not try itself must be something that could be planned.
            assert not expected or not replay(expected, trees[app]).already, prompt
            if planned is not None:
                counted["wrong" if expected else "guessed"] += 1
                wrong.append(prompt)
    assert wrong == []
    assert Figures(**{name: counted[name] for name in Figures._fields}) == stated
