"""What may be in an app, and what its digest is taken from."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

import pytest
from sample_app import FILES, TREE

from felix.domain.apps.references import check
from felix.domain.apps.tree import MAX_FILE_BYTES, AppTree, InvalidApp, canonical, kind_of, read_tree


def changed(path: str, *pointer: Any, to: Any) -> AppTree:
    """The sample with one value changed."""
    content = copy.deepcopy(FILES[path])
    place = content
    for part in pointer[:-1]:
        place = place[part]
    place[pointer[-1]] = to
    return TREE.with_file(path, content)


def wrong(tree: AppTree) -> list[tuple[str, str]]:
    """The places and rules that a check names."""
    with pytest.raises(InvalidApp) as refused:
        check(tree)
    return [(entry["pointer"], entry["rule"]) for entry in refused.value.facts["errors"]]


def test_the_sample_is_an_app() -> None:
    app = check(TREE)
    assert set(app.entities) == {"contact", "deal"} and app.texts["thanks"].startswith("Dear customer")


def test_the_digest_is_of_the_content_alone() -> None:
    shuffled = list(FILES.items())
    random.Random(1).shuffle(shuffled)
    other = AppTree({path: json.loads(json.dumps(content)) for path, content in shuffled})
    assert other.digest == TREE.digest
    stored = {path: TREE.bytes_of(path) for path in TREE.files}
    assert read_tree(stored).digest == TREE.digest
    assert changed("app.json", "title", to="The Bakery.").digest != TREE.digest


def test_texts_that_look_the_same_are_the_same() -> None:
    composed, decomposed = "Caf\u00e9", "Cafe\u0301"
    assert changed("app.json", "title", to=composed).digest == changed("app.json", "title", to=decomposed).digest


@pytest.mark.parametrize(
    "path",
    [
        "../app.json", "/etc/passwd", ".git/config", "entities/.git.json", "entities/Deal.json", "entities/a/b.json",
        "entities/deal.py", "entities/deal.json/", "other/deal.json", "entities/deal.liquid", "git~1/config", "",
        "entities/d\u00e9al.json", "entities/deal.json\0", "ENTITIES/deal.json",
    ],
)  # fmt: skip
def test_a_path_that_no_app_has_is_refused(path: str) -> None:
    assert kind_of(path) is None
    assert ("path" in {rule for _, rule in wrong(TREE.with_file(path, {}))}) or path == ""


@pytest.mark.parametrize(
    ("tree", "place", "rule"),
    [
        (changed("entities/deal.json", "fields", "value", "type", to="number"), "fields/value/type", "literal_error"),
        (changed("entities/deal.json", "fields", "contact", "to", to="nobody"), "fields/contact/to", "reference"),
        (changed("entities/deal.json", "named_by", to="nothing"), "", "value_error"),
        (changed("entities/deal.json", "fields", "stage", "default", to="gone"), "fields/stage", "value_error"),
        (changed("views/deals.json", "columns", 0, "field", to="nothing"), "/columns", "reference"),
        (changed("views/pipeline.json", "group_by", to="title"), "/group_by", "type"),
        (changed("views/won.json", "measure", "field", to="title"), "/measure/field", "type"),
        (changed("workflows/deal_stage.json", "initial", to="new"), "/initial", "reference"),
        (changed("workflows/deal_stage.json", "transitions", 0, "to", to="done"), "/transitions/0", "reference"),
        (changed("automations/thank.json", "actions", 0, "template", to="none"), "/actions/0/template", "reference"),
        (changed("automations/thank.json", "actions", 0, "to_field", to="title"), "/actions/0/to_field", "type"),
        (changed("schedules/monthly.json", "job", "report", to="none"), "/job/report", "reference"),
        (changed("schedules/monthly.json", "zone", to="Mars/Olympus"), "/zone", "value_error"),
        (changed("tests/winning.json", "when", 0, "take", to="fly"), "/when/0/take", "reference"),
        (changed("tests/winning.json", "then", 0, "record", to="theirs"), "/then/0/record", "reference"),
        (TREE.without_file("templates/thanks.liquid"), "templates/thanks.json", "pair"),
        (TREE.without_file("app.json"), "app.json", "required"),
        (changed("app.json", "title", to="x" * 200), "/title", "string_too_long"),
        (TREE.with_file("templates/thanks.liquid", "x" * (MAX_FILE_BYTES + 1)), "templates/thanks.liquid", "size"),
        (TREE.with_file("policy.json", {"approvals": {"high": 0}}), "/approvals/high", "greater_than_equal"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(tree: AppTree, place: str, rule: str) -> None:
    assert any(place in pointer and found == rule for pointer, found in wrong(tree)), wrong(tree)


def test_a_bomb_of_nesting_is_refused() -> None:
    bomb: dict[str, Any] = {}
    for _ in range(10_000):
        bomb = {"not": bomb}
    assert ("views/deals.json#", "depth") in wrong(TREE.with_file("views/deals.json", bomb))


def test_stored_bytes_that_two_readers_could_read_differently_are_refused() -> None:
    with pytest.raises(InvalidApp) as refused:
        read_tree({"app.json": b'{"app": "a", "app": "b"}'})
    assert refused.value.facts["errors"][0]["detail"] == "a member is there twice"
    with pytest.raises(ValueError):
        canonical({"a": float("nan")})
