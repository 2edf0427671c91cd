"""The diff: worked out from two trees, complete, and with a risk that nobody can talk down."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest
from grounds import GROUND, changed

from felix.domain.apps.tree import AppTree
from felix.domain.changes.diff import diff
from felix.domain.changes.effects import effects
from felix.domain.changes.limits import ChangeTooLarge
from felix.domain.changes.losses import losses

DEAL, VIEW, FLOW = "entities/deal.json", "views/deals.json", "workflows/deal_stage.json"
THANK, SHOP, MAIL = "automations/thank.json", "integrations/shop.json", "templates/thanks.liquid"
ON = changed(GROUND, THANK, "enabled", to=True)
WATCHED = changed(
    GROUND, "policy.json", "watch", to={"at_most_permille": {"failed_requests": 5}, "critical": ["latency"]}
)


def without(tree: AppTree, path: str, *parts: Any) -> AppTree:
    """The same tree without one member."""
    content = tree.files[path]
    inner = content
    for part in parts[:-1]:
        inner = inner[part]
    kept = {name: value for name, value in inner.items() if name != parts[-1]}
    return changed(tree, path, *parts[:-1], to=kept) if len(parts) > 1 else tree.with_file(path, kept)


@pytest.mark.parametrize(
    ("before", "after", "kind", "pointer", "risk"),
    [
        (GROUND, changed(GROUND, DEAL, "fields", "value", "label", to="Worth"), "field_renamed",
         "/fields/value/label", "low"),
        (GROUND, changed(GROUND, VIEW, "order", to=[]), "view_changed", "/order", "low"),
        (GROUND, changed(GROUND, VIEW, "columns", 1, to={"field": "rank"}), "column_added", "/columns/1", "low"),
        (GROUND, changed(GROUND, "reports/won_deals.json", "measures", to=[{"function": "count"}]), "report_changed",
         "/measures", "low"),
        (GROUND, changed(GROUND, DEAL, "fields", "new", to={"type": "text", "label": "New"}), "field_added",
         "/fields/new", "medium"),
        (GROUND, changed(GROUND, DEAL, "fields", "title", "max_length", to=10), "limit_narrowed",
         "/fields/title/max_length", "high"),
        (GROUND, changed(GROUND, DEAL, "fields", "title", "max_length", to=501), "limit_widened",
         "/fields/title/max_length", "medium"),
        (GROUND, changed(GROUND, DEAL, "fields", "value", "minimum", to=-5), "limit_widened",
         "/fields/value/minimum", "medium"),
        (GROUND, changed(GROUND, DEAL, "fields", "code", to={"type": "email", "label": "Code"}), "field_narrowed",
         "/fields/code/type", "destructive"),
        (GROUND, changed(GROUND, DEAL, "fields", "value", "currency", to="USD"), "field_reinterpreted",
         "/fields/value/currency", "destructive"),
        (GROUND, changed(GROUND, DEAL, "fields", "rank", to={"type": "decimal", "label": "Rank", "places": 2}),
         "field_narrowed", "/fields/rank/type", "destructive"),
        (GROUND, without(GROUND, DEAL, "fields", "rank"), "field_removed", "/fields/rank", "destructive"),
        (GROUND, GROUND.without_file("entities/contact.json"), "entity_removed", "", "destructive"),
        (GROUND, changed(GROUND, DEAL, "fields", "size", "options", to=[{"value": "large", "label": "Large"}]),
         "option_removed", "/fields/size/options/0", "destructive"),
        (changed(GROUND, DEAL, "fields", "email", "personal", to=True), GROUND, "field_not_personal",
         "/fields/email/personal", "high"),
        (GROUND, changed(GROUND, VIEW, "roles", to=["client_owner"]), "view_roles", "/roles", "high"),
        (GROUND, changed(GROUND, FLOW, "transitions", 0, "roles", to=[]), "step_changed",
         "/transitions/0/roles", "high"),
        (GROUND, changed(GROUND, FLOW, "transitions", 0, "label", to="Won it"), "step_renamed",
         "/transitions/0/label", "low"),
        (GROUND, changed(GROUND, FLOW, "initial", to="won"), "workflow_changed", "/initial", "high"),
        (GROUND, ON, "automation_enabled", "/enabled", "high"),
        (ON, GROUND, "automation_disabled", "/enabled", "medium"),
        (ON, changed(ON, THANK, "actions", 0, "to_field", to="email2"), "automation_changed", "/actions", "high"),
        (GROUND, changed(GROUND, THANK, "when", to={"field": "stage", "is": "is_filled"}), "automation_changed",
         "/when", "medium"),
        (GROUND, GROUND.with_file(MAIL, "Pay at https://example.net/now"), "mail_changed", "", "medium"),
        (ON, ON.with_file(MAIL, "Pay at https://example.net/now"), "mail_links", "", "high"),
        (ON, ON.with_file(MAIL, "Thank you!"), "mail_changed", "", "medium"),
        (GROUND, changed(GROUND, SHOP, "secret_ref", to="other"), "integration_changed", "/secret_ref", "high"),
        (GROUND, changed(GROUND, SHOP, "enabled", to=False), "integration_disabled", "/enabled", "medium"),
        (GROUND, changed(GROUND, "policy.json", "approvals", to={}), "policy_loosened", "/approvals/high", "high"),
        (GROUND, changed(GROUND, "policy.json", "approvals", "high", to=3), "policy_tightened",
         "/approvals/high", "medium"),
        (GROUND, GROUND.without_file("policy.json"), "policy_loosened", "", "high"),
        (GROUND, changed(GROUND, "policy.json", "watch", to={"look_every_s": 5}), "policy_tightened",
         "/watch/look_every_s", "medium"),
        (WATCHED, changed(WATCHED, "policy.json", "watch", "at_most_permille", "failed_requests", to=9),
         "policy_loosened", "/watch/at_most_permille/failed_requests", "high"),
        (WATCHED, changed(WATCHED, "policy.json", "watch", "critical", to=[]), "policy_loosened",
         "/watch/critical", "high"),
        (WATCHED, without(WATCHED, "policy.json", "watch"), "policy_loosened",
         "/watch/at_most_permille/failed_requests", "high"),
        (GROUND, without(GROUND, "app.json", "modules"), "module_removed", "/modules/crm", "destructive"),
        (GROUND, changed(GROUND, "modules.lock.json", "modules", "crm", "digest", to="1" * 64), "lock_changed",
         "/modules/crm/digest", "high"),
        (GROUND, changed(GROUND, "schedules/monthly.json", "cron", to="0 9 1 * *"), "schedule_changed",
         "/cron", "medium"),
        (GROUND, GROUND.without_file("tests/winning.json"), "example_removed", "", "medium"),
        (GROUND, changed(GROUND, "app.json", "app", to="other"), "changed", "/app", "high"),
    ],
)  # fmt: skip
def test_what_a_difference_means(before: AppTree, after: AppTree, kind: str, pointer: str, risk: str) -> None:
    found = effects(before, after)
    assert (kind, pointer, risk) in [(effect.kind, effect.pointer, effect.risk) for effect in found], found


def test_every_kind_of_file_can_come_and_go_and_says_so() -> None:
    for path in GROUND.files:
        rest = GROUND.without_file(path)
        if path == "app.json" or path.endswith(".liquid"):
            continue
        for before, after in ((GROUND, rest), (rest, GROUND)):
            assert any(effect.path == path for effect in effects(before, after)), path


def test_a_file_that_is_only_written_differently_says_so() -> None:
    found = effects(GROUND, changed(GROUND, DEAL, "fields", "value", "required", to=False))
    assert [(effect.kind, effect.risk) for effect in found] == [("respelled", "low")]


def test_a_required_field_without_a_default_says_what_becomes_of_the_records_and_the_form() -> None:
    field = {"type": "date", "label": "Due date", "required": True}
    found = effects(GROUND, changed(GROUND, DEAL, "fields", "due_on", to=field))
    assert [effect.sentence for effect in found] == [
        "Adds the required date field 'Due date' to deals; records made before stay readable without it, "
        "and are asked for it when they are next changed",
        "The form 'Deal' does not ask for 'Due date', which is required, so it can make no deals",
    ]


def test_a_diff_proves_that_nothing_else_changed() -> None:
    after = changed(GROUND, VIEW, "title", to="Chances")
    found = diff(GROUND, after)
    assert [file.path for file in found.files] == [VIEW]
    assert found.unchanged.files == len(GROUND.files) - 1
    assert found.unchanged == diff(after, GROUND).unchanged
    sly = changed(after, "policy.json", "approvals", "high", to=1)
    assert diff(GROUND, sly).unchanged != found.unchanged and diff(GROUND, sly).digest != found.digest
    assert diff(GROUND, after).digest == found.digest == diff(AppTree(dict(GROUND.files)), after).digest


def test_lines_are_those_of_the_stored_bytes() -> None:
    found = diff(GROUND, changed(GROUND, VIEW, "title", to="Chances").without_file("tests/winning.json"))
    assert f"--- a/{VIEW}\n+++ b/{VIEW}\n" in found.lines
    assert '-  "title": "Deals",\n+  "title": "Chances",\n' in found.lines
    assert "--- a/tests/winning.json\n+++ /dev/null\n" in found.lines
    text = diff(GROUND, GROUND.with_file(MAIL, "no end")).lines
    assert text.endswith("+no end\n\\ No newline at end of file\n")


def test_a_diff_that_nobody_could_read_is_refused() -> None:
    tree = GROUND
    for number in range(12):
        tree = tree.with_file(f"templates/t{number}.json", {"title": "T", "subject": "T"})
        tree = tree.with_file(f"templates/t{number}.liquid", "x" * 60_000)
    with pytest.raises(ChangeTooLarge):
        diff(GROUND, tree)


def test_a_file_that_is_made_to_be_slow_to_compare_is_not_compared() -> None:
    shuffled = random.Random(7)
    lines = [f"{number % 97}" for number in range(20_000)]
    before = GROUND.with_file(MAIL, "\n".join(lines))
    shuffled.shuffle(lines)
    started = time.process_time()
    found = diff(before, GROUND.with_file(MAIL, "\n".join(lines)))
    assert time.process_time() - started < 5
    assert f"@@ -1,{len(lines)} +1,{len(lines)} @@" in found.lines


def test_what_records_lose_is_what_destructive_effects_name() -> None:
    hidden = changed(GROUND, "entities/deal.json", "fields", "contact", "hidden", to=True)
    assert losses(effects(GROUND, hidden)) == {}
    fewer = without(GROUND, "entities/deal.json", "fields", "contact")
    other = changed(fewer, "entities/deal.json", "fields", "value", "currency", to="USD")
    assert losses(effects(GROUND, other)) == {"deal": ["contact", "value"]}
    assert losses(effects(GROUND, GROUND.without_file("entities/deal.json")))["deal"] is None
