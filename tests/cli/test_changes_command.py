"""`felix changes` and `felix apps`: everything that the API can, and the digest of what is agreed to is said aloud."""

from __future__ import annotations

import json
from contextlib import closing
from datetime import UTC, datetime
from io import BytesIO, TextIOWrapper
from pathlib import Path
from uuid import UUID

import pytest
from command_line import PRICES, CommandLine

from felix import bootstrap
from felix.application.outcome import Outcome
from felix.application.performer import new_context
from felix.cli.change_diff import print_diff
from felix.domain.base import Command
from felix.domain.changes.messages import LiftQuarantine
from felix.eventstore.sealing import new_root_key
from felix.settings import Settings

PROMPT = "Add a required due date to deals and show it in the list"
ANA = ("--actor", "client_approver:usr_ana")


@pytest.fixture
def shop(felix: CommandLine) -> CommandLine:
    """A client with an app and tokens."""
    path = felix.home / "data" / bootstrap.ROOT_KEY_FILE
    path.parent.mkdir()
    path.write_text(new_root_key() + "\n")
    felix.done("tenants", "add", "Acme Ltd", "--account", "main", "--welcome-mtok", "10000000")
    felix.done("apps", "create", "shop", "--module", "crm")
    felix.retell()
    return felix


def take_steps(felix: CommandLine, change_id: str) -> None:
    """As the worker does, and then bring the read models up to date."""
    settings = Settings()
    directory = bootstrap.open_directory(felix.endpoints, partitions=settings.partitions)
    (client,) = directory.all()
    place: tuple[int, UUID] = (client.partition, client.tenant_id)
    performer = bootstrap.open_performer(felix.endpoints, directory.partition_of)
    secrets = bootstrap.open_secrets(felix.endpoints, performer, directory.partition_of, settings)
    keys = iter(range(1_000_000))

    def perform(command: Command) -> Outcome:
        key = f"{change_id} {datetime.now(UTC)} {next(keys)}"
        return performer.perform_blocking(command, new_context(client.tenant_id, key, "system:test"))

    with (
        closing(directory),
        closing(performer),
        bootstrap.open_apps_at_work(felix.endpoints, settings) as apps,
        closing(bootstrap.open_context_index(felix.endpoints)) as passages,
        bootstrap.open_stepper(felix.endpoints, settings, apps, passages, secrets) as stepper,
    ):
        while stepper.step(place, change_id, perform, datetime.now(UTC)).goes_on:
            pass
    felix.retell()


def test_a_change_from_the_sentence_to_the_way_back(shop: CommandLine) -> None:
    assert "no changes" in shop("changes", "list").out
    assert shop.done("changes", "ask", PROMPT, "--app", "shop", "--dry-run")["dry_run"]
    asked = shop.done("changes", "ask", PROMPT, "--app", "shop")["result"]
    assert asked["quote"]["low_mtok"] < asked["quote"]["high_mtok"] == asked["ceiling_mtok"]
    take_steps(shop, asked["change_id"])

    (listed,) = shop.done("changes", "list", "--waiting-for", "client_approver:usr_ana")
    assert (listed["prompt"], listed["waits_for"]) == (PROMPT, "1 approval")
    assert PROMPT in shop("changes", "show").out
    assert "1. Adds" in shop("changes", "plan").out
    said = shop("changes", "diff").out
    assert said.startswith("medium") and '+      "label": "Due date",' in said
    binding = shop.done("changes", "diff")["approval"]["binding"]
    assert binding in said

    unasked = shop("changes", "approve", *ANA)
    assert unasked.code == 2 and "--binding" in unasked.err
    assert shop("changes", "approve", "--yes", *ANA).code == 2
    wrong = shop("changes", "approve", "--yes", "--binding", "0" * 64, *ANA)
    assert wrong.code == 1 and "other_binding" in wrong.err
    own = shop("changes", "approve", "--yes", "--binding", binding)
    assert own.code == 1 and "own_change" in own.err
    agreed = shop.done("changes", "approve", "--yes", "--binding", binding, *ANA)["result"]
    assert agreed["state"] == "approved"
    shop.retell()
    shop.done("changes", "deploy", *ANA)
    take_steps(shop, asked["change_id"])
    assert shop.done("changes", "show")["state"] == "deployed"
    told = shop("changes", "timeline").out
    assert "deploy_succeeded" in told and "tokens in all" in told

    back = shop.done("changes", "rollback", asked["change_id"], "--reason", "A drill.", *ANA)["result"]
    take_steps(shop, back["change_id"])
    taken_back, asked_for = shop("changes", "list").out.splitlines()[1:]
    assert asked_for.endswith(PROMPT) and f"takes back {asked['change_id']}" in taken_back
    assert f"{asked['change_id']}" in shop("changes", "show", back["change_id"]).out
    where = shop.done("apps", "show", "shop")
    assert [each["how"] for each in where["releases"]] == ["restored", "promoted", "created"]
    assert where["stable"] == where["releases"][-1]["release"]
    assert "production" in shop("apps", "list").out and "restored" in shop("apps", "show", "shop").out


def test_a_question_is_answered_and_what_is_wrong_is_said_with_the_rule(shop: CommandLine) -> None:
    change_id = shop.done("changes", "ask", "Add a due date", "--app", "shop")["result"]["change_id"]
    take_steps(shop, change_id)
    assert "Deals" in shop("changes", "show").out and "Deals" in shop("changes", "plan").out
    early = shop("changes", "diff")
    assert early.code == 1 and "waits for an answer" in early.err
    shop.done("changes", "answer", "last", "Add a date called due date to deals")
    take_steps(shop, change_id)
    assert shop.done("changes", "show")["state"] == "awaiting_approval"
    shop.done("changes", "reject", "last", "--reason", "Not now.", *ANA)
    shop.retell()
    over = shop("changes", "cancel")
    assert over.code == 1 and "change_is_over" in over.err

    # What is wrong is said with the rule.
    for prompt, code in (("  ", "prompt_empty"), ("x" * 12_001, "prompt_too_long"), ("a\x07b", "prompt_not_text")):
        said = shop("changes", "ask", prompt, "--app", "shop")
        assert said.code == 1 and code in said.err
    assert "environment_not_found" in shop("changes", "ask", PROMPT, "--app", "nowhere").err
    assert "no_such_module" in shop("apps", "create", "other", "--module", "nothing").err
    assert "environment_exists" in shop("apps", "create", "shop").err
    assert "There is no app nowhere" in shop("apps", "show", "nowhere").err
    assert "has no change chg_1" in shop("changes", "show", "chg_1").err


def test_a_change_is_asked_for_exactly_and_its_plan_is_edited(
    shop: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def written(name: str, content: object) -> str:
        (shop.home / name).write_text(content if isinstance(content, str) else json.dumps(content))
        return name

    renamed = {"op": "rename_entity", "entity": "deal", "title": "Order", "plural": "Orders"}
    exactly = written("exactly.json", [renamed])
    planned = shop.done("changes", "ask", "--app", "shop", "--operations", exactly, "--dry-run")["fields"]
    assert not list((shop.home / "data" / "objects").rglob(planned["operations"])), (
        "nothing is kept of what is not done"
    )
    monkeypatch.setattr("sys.stdin", TextIOWrapper(BytesIO(json.dumps([renamed]).encode())))
    asked = shop.done("changes", "ask", "--app", "shop", "--operations", "-")["result"]
    take_steps(shop, asked["change_id"])
    plan = shop("changes", "plan", "--json")
    assert plan.told["operations"] == [renamed]
    assert "Orders" in shop("changes", "show").out, "what was asked for exactly is remembered in words"
    again = shop.done("changes", "revise", "last", written("plan.json", plan.out), "--dry-run")["fields"]
    assert again["operations"] == planned["operations"]

    before = shop.done("changes", "diff")["approval"]["binding"]
    other = renamed | {"title": "Sale", "plural": "Sales"}
    revised = shop.done("changes", "revise", "last", written("other.json", [other]), "--reason", "A better word.")
    assert revised["result"]["state"] == "planned"
    take_steps(shop, asked["change_id"])
    assert shop.done("changes", "plan")["operations"] == [other]
    assert shop.done("changes", "diff")["approval"]["binding"] not in (None, before)

    # What is wrong is said with the operation and its field.
    wrong = [renamed, renamed | {"title": 5}, {"op": "frobnicate"}]
    for words in (("ask", "--app", "shop", "--operations"), ("revise", "last")):
        said = shop("changes", *words, written("wrong.json", wrong))
        assert said.code == 1 and "(invalid_operations)" in said.err
        assert "/operations/1/title: Input should be a valid string (of rename_entity)" in said.err
        assert "/operations/2: " in said.err and "frobnicate" in said.err
        assert shop("changes", *words, "nowhere.json").code == 2
        assert shop("changes", *words, written("text.json", "Rename deals")).code == 2
        assert shop("changes", *words, written("number.json", {"operations": 5})).code == 2
        assert "there are none" in shop("changes", *words, written("none.json", [])).err
    nothing = shop("changes", "ask", "--app", "shop")
    assert nothing.code == 2 and "--operations FILE" in nothing.err


def overriding(felix: CommandLine, key: str, **how: bool) -> str:
    """A founder wants to override a quarantine; the id of the override."""
    directory = bootstrap.open_directory(felix.endpoints, partitions=Settings().partitions)
    performer = bootstrap.open_performer(felix.endpoints, directory.partition_of)
    with closing(directory), closing(performer):
        (client,) = directory.all()
        command = LiftQuarantine(app="shop", environment="production", release="0" * 64, reason="A drill.", **how)
        context = new_context(client.tenant_id, key, "founder:usr_eve")
        return str(performer.perform_blocking(command, context).result["override_id"])


def test_an_override_is_confirmed_or_looked_at_by_another_founder(shop: CommandLine) -> None:
    wanted, done = overriding(shop, "confirmed"), overriding(shop, "reviewed", break_glass=True)
    at, eve, ada = ("--app", "shop"), ("--actor", "founder:usr_eve"), ("--actor", "founder:usr_ada")
    own = shop("changes", "confirm-override", wanted, *at, *eve)
    assert own.code == 1 and "own_override" in own.err
    assert shop.done("changes", "confirm-override", wanted, *at, *ada)["result"]["done"]
    closed = shop.done("changes", "close-review", done, *at, "--finding", "It was right.", *ada)["result"]
    assert closed["reviews_open"] == 0
    shop.retell()
    overrides = shop.done("apps", "show", "shop")["overrides"]
    assert {each["override_id"]: each["status"] for each in overrides} == {wanted: "exercised", done: "reviewed"}


def test_the_model_of_the_installation_is_in_the_quote(shop: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    prices = shop.home / "prices.json"
    prices.write_text(json.dumps(PRICES))
    shop.done("rates", "publish", str(prices))
    alone = shop.done("changes", "ask", PROMPT, "--app", "shop")["result"]["quote"]
    monkeypatch.setenv("FELIX_PLANNER_MODEL", "openai:gpt-5")
    quote = shop.done("changes", "ask", PROMPT, "--app", "shop")["result"]["quote"]
    assert quote["low_mtok"] == alone["low_mtok"] < alone["high_mtok"] < quote["high_mtok"]


def test_what_a_terminal_would_obey_is_shown_instead(capsys: pytest.CaptureFixture[str]) -> None:
    """An app's text can't hide from whoever agrees that it is there."""
    effect = {"risk": "low", "sentence": "Writes \x1b[2K\u202enothing"}
    price = dict.fromkeys(("spent_mtok", "deploy_mtok", "ceiling_mtok"), 0)
    approval = {"binding": None, "approvers": [], "quorum": 0}
    found = {"effects": [effect], "lines": "+evil\x1b[1A\x1b[2K\n+\u202etxt", "risk": "low", "price": price}
    print_diff(found | {"state": "deployed", "approval": approval, "files": [], "unchanged": {"files": 1}})
    said = capsys.readouterr().out
    assert "\x1b" not in said and "\u202e" not in said
    assert "+evil\\u001b[1A\\u001b[2K" in said and "Writes \\u001b[2K\\u202enothing" in said


def test_a_repository_is_named_in_the_place_of_an_app_once_it_is_connected(shop: CommandLine, tmp_path: Path) -> None:
    edits = tmp_path / "edits.json"
    edits.write_text('[{"edit": "write", "path": "docs/hours.md", "content": "Until 6.\\n"}]')
    both = shop("changes", "ask", PROMPT, "--app", "shop", "--repository", "acme/site")
    assert both.code == 2 and "--repository owner/name" in both.err
    unknown = shop("changes", "ask", "--repository", "acme/site", "--operations", str(edits))
    assert unknown.code == 1 and "not_connected" in unknown.err
