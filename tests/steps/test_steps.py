"""What the steps of a change make of what people ask, answer, agree to and take back."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from yard import APPROVER, ASKER, CANARY, OWNER, PLACE, PROMPT, TENANT, TOKENS_MTOK, WORKER, Yard, actor_of, agreeing

from felix import bootstrap
from felix.adapters.repositories import AppRepository
from felix.application.changes.asking import answering, asking
from felix.application.changes.planners import PlannerChain, PlannerIdentity
from felix.application.changes.steps.stepper import Stepper
from felix.application.secrets import setting
from felix.domain.apps.measured import Running
from felix.domain.apps.tree import canonical
from felix.domain.base import Command
from felix.domain.changes import messages as m
from felix.domain.changes.change import Change
from felix.domain.errors import Unavailable
from felix.domain.ledger.messages import GrantTokens
from felix.domain.ledger.token_account import TokenAccount
from felix.eventstore import effects
from felix.eventstore.effects import Effect

INSTANT = m.Strategy()
FOUNDER = "founder:usr_founds"
_numbers = count(1)


def begin(yard: Yard, files: dict[str, Any] | None = None, tokens_mtok: int = TOKENS_MTOK) -> tuple[str, str]:
    """An app of its own and the account that pays."""
    yard.at = datetime.now(UTC)
    app, account_id = f"steps-{next(_numbers)}", yard.account(tokens_mtok)
    yard.found(app, account_id, files)
    return app, account_id


def give(yard: Yard, app: str, account_id: str, *operations: dict[str, Any]) -> str:
    """Ask for a change by a form that says it exactly; its id."""
    digest = bootstrap.open_objects(yard.settings).put(m.OBJECTS["operations"], canonical(list(operations)))
    fields = {
        "app": app, "environment": "production", "account_id": account_id, "kind": "operations", "operations": digest,
    }  # fmt: skip
    vault = bootstrap.open_vault(yard.settings)()
    command, enclosed = asking(bootstrap.root_keys(yard.settings), vault, TENANT, fields, "By a form")
    change_id: str = yard.do(command, ASKER, enclosed=enclosed).result["change_id"]
    return change_id


def nobody(yard: Yard, change: Change) -> Command | None:
    return None


def take(yard: Yard, change_id: str, state: str, people: Any = nobody) -> Change:
    """Take steps until the change is in a state."""
    for _ in range(80):
        change = yard.change(change_id)
        if change.state == state:
            return change
        command = people(yard, change)
        if command is not None:
            _ = yard.do(command, actor_of(command)).result
            continue
        stepped = yard.stepper.step(PLACE, change_id, lambda command: yard.do(command, WORKER), yard.at)
        if not stepped.goes_on and stepped.until is not None:
            yard.at = max(yard.at, stepped.until)
        yard.at += timedelta(milliseconds=1)
    raise AssertionError(f"{yard.change(change_id).state}, not {state}")


def step(yard: Yard, change_id: str) -> Any:
    return yard.stepper.step(PLACE, change_id, lambda command: yard.do(command, WORKER), yard.at)


def told(yard: Yard, change_id: str, event: Any) -> list[dict[str, Any]]:
    """What events of a kind say."""
    return [each.payload for each in yard.aggregates.events(PLACE, Change, change_id) if each.type == event.TOPIC]


def test_what_went_live_is_a_commit_and_the_refs_follow_even_when_a_worker_died_before(yard: Yard) -> None:
    app, account_id = begin(yard)
    change = yard.drive(yard.ask(app, account_id), agreeing(INSTANT))
    assert change.state == "deployed" and change.result_commit is not None
    repository = AppRepository(yard.home / bootstrap.REPOSITORIES_DIR, TENANT)
    ref = f"refs/env/{app}/production"
    assert repository.head(ref) == repository.head(f"refs/heads/{app}") == change.result_commit
    assert repository.tree(change.result_commit).digest == change.result_tree
    (made, first) = repository.history(change.result_commit)
    assert first.commit == change.base_commit and change.local_id in made.message and "{app}" not in made.message
    repository.move(ref, change.result_commit, first.commit)
    assert step(yard, change.local_id).did is None
    assert repository.head(ref) == change.result_commit
    repository.close()


def test_what_is_not_understood_is_asked_and_the_answer_is_planned(yard: Yard) -> None:
    app, account_id = begin(yard)
    change = take(yard, yard.ask(app, account_id, "Make it nicer"), "needs_input")
    (asked,) = told(yard, change.local_id, m.ClarificationAsked)
    assert asked["questions"][0]["question"] and asked["planner"] == "grammar/1"
    keys, vault = bootstrap.root_keys(yard.settings), bootstrap.open_vault(yard.settings)()
    fields = {"change_id": change.local_id, "expected_version": change.version}
    command, enclosed = answering(keys, vault, TENANT, fields, PROMPT.format(app=app), 1)
    _ = yard.do(command, ASKER, enclosed=enclosed).result
    assert take(yard, change.local_id, "awaiting_approval").diff is not None


def test_operations_that_were_given_need_no_planner(yard: Yard) -> None:
    app, account_id = begin(yard)
    change_id = give(yard, app, account_id, {"op": "rename_view", "view": "deals", "title": "All deals"})
    change = yard.drive(change_id, agreeing(INSTANT))
    assert change.state == "deployed" and change.risk == "low"
    assert told(yard, change_id, m.PlanProposed)[0]["planner"] == "form"


def test_a_change_beside_another_is_rebased_with_the_approval_that_it_had(yard: Yard) -> None:
    app, account_id = begin(yard)
    helps = {"op": "set_field_help", "entity": "deal", "field": "title", "help": "What it is about."}
    first = give(yard, app, account_id, helps)
    second = yard.ask(app, account_id)
    take(yard, second, "approved", agreeing())
    assert yard.drive(first, agreeing(INSTANT)).state == "deployed"
    assert step(yard, second).did == m.RebaseChange.command_name
    change = yard.drive(second, agreeing(INSTANT))
    assert change.state == "deployed"
    assert len(told(yard, second, m.ApprovalGranted)) == len(told(yard, second, m.ApprovalCarried)) == 1
    (rebased,) = told(yard, second, m.ChangeRebased)
    assert rebased["base_tree"] == yard.change(first).result_tree
    tree = bootstrap.open_releases(yard.settings).tree(yard.environment(change).stable)
    assert tree.files["entities/deal.json"]["fields"]["title"]["help"] == "What it is about."


def test_two_changes_of_one_place_are_a_conflict_that_shows_both_sides(yard: Yard) -> None:
    app, account_id = begin(yard)
    first = yard.ask(app, account_id, 'Rename the deals list to "All deals"')
    second = yard.ask(app, account_id, 'Rename the deals list to "My deals"')
    take(yard, second, "awaiting_approval")
    assert yard.drive(first, agreeing(INSTANT)).state == "deployed"
    take(yard, second, "needs_input")
    (conflict,) = told(yard, second, m.ConflictFound)[0]["conflicts"]
    assert ("All deals" in conflict["theirs"], "My deals" in conflict["ours"]) == (True, True)


def test_what_is_so_already_and_what_a_newer_change_replaces_is_superseded(yard: Yard) -> None:
    app, account_id = begin(yard)
    same = [yard.ask(app, account_id, 'Rename the deals list to "All deals"') for _ in range(2)]
    take(yard, same[1], "awaiting_approval")
    assert yard.drive(same[0], agreeing(INSTANT)).state == "deployed"
    assert take(yard, same[1], "superseded").holds == {}
    older, newer = (yard.ask(app, account_id, f'Rename the deals list to "{name}"') for name in ("Old", "New"))
    take(yard, older, "awaiting_approval")
    take(yard, newer, "queued", agreeing())
    take(yard, older, "superseded")
    assert told(yard, older, m.ChangeSuperseded) == [{"by": newer, "reason": "newer_change"}]


def test_a_change_without_tokens_waits_and_goes_on_when_there_are_some(yard: Yard) -> None:
    app, account_id = begin(yard, tokens_mtok=0)
    change = take(yard, yard.ask(app, account_id), "blocked_funds")
    version = change.version
    assert step(yard, change.local_id).until is not None and yard.change(change.local_id).version == version
    _ = yard.do(GrantTokens(account_id=account_id, amount_mtok=TOKENS_MTOK), FOUNDER).result
    assert take(yard, change.local_id, "awaiting_approval").spent_mtok > 0


def test_a_preview_is_shown_to_nobody_until_somebody_lets_it_go_on(yard: Yard) -> None:
    app, account_id = begin(yard)
    change = take(yard, yard.ask(app, account_id), "canary", agreeing(m.Strategy(kind="preview", hold_s=0)))
    assert change.weight == 0 and step(yard, change.local_id).until is None
    seen = {"change_id": change.local_id, "expected_version": change.version}
    _ = yard.do(m.ResumeDeploy(**seen), OWNER).result
    assert yard.drive(change.local_id, nobody).state == "deployed"


def test_a_window_is_waited_for_in_its_time_zone(yard: Yard) -> None:
    app, account_id = begin(yard)
    window = m.Strategy(window="0 3 * * *", tz="Europe/Berlin")
    change = take(yard, yard.ask(app, account_id), "queued", agreeing(window))
    now, yard.at = yard.at, datetime(2026, 12, 1, 12, 0, tzinfo=UTC)
    opens_at = yard.stepper.step(PLACE, change.local_id, lambda command: pytest.fail(), now.replace(hour=12)).until
    yard.at = now
    assert opens_at is not None and opens_at.astimezone(UTC).hour in (1, 2)


def test_an_example_that_fails_needs_a_founder_and_rolls_back_by_itself(yard: Yard) -> None:
    app, account_id = begin(yard)
    shorter = {"op": "set_field_limits", "entity": "deal", "field": "title", "max_length": 3}
    change = take(yard, give(yard, app, account_id, shorter), "policy_violated")
    assert "making" in told(yard, change.local_id, m.PolicyViolated)[0]["findings"][0]["detail"]
    seen = {"change_id": change.local_id, "expected_version": change.version}
    _ = yard.do(m.OverridePolicy(**seen, reason="We want to see it.", break_glass=True), FOUNDER).result
    take(yard, change.local_id, "awaiting_approval")
    # It narrows what a field may hold: two people in two roles.
    for person in (APPROVER, OWNER):
        change = yard.change(change.local_id)
        assert change.binding is not None
        approval = m.ApproveChange(
            change_id=change.local_id, expected_version=change.version, binding=change.binding.digest
        )
        _ = yard.do(approval, person).result
    change = yard.drive(change.local_id, agreeing(CANARY))
    assert change.state == "rolled_back"
    environment = yard.environment(change)
    assert environment.quarantined == [change.release] and environment.stable == change.base_release
    assert told(yard, change.local_id, m.RollbackStarted)[0]["guardrail"] == "examples"


def test_what_the_guardrails_can_not_tell_is_held_and_a_person_decides(yard: Yard) -> None:
    app, account_id = begin(yard)
    strategy = m.Strategy(kind="canary", steps=[50], hold_s=60, max_wait_s=120, on_inconclusive="ask")

    change_id = yard.ask(app, account_id)
    change = take(yard, change_id, "canary", agreeing(strategy))
    # One failure among few requests: too little to say that the release is bad, or good.
    running = Running(*PLACE, app, "production", str(change.release))
    yard.apps.measurements.count(running, "requests", 5)
    yard.apps.measurements.count(running, "failed_requests", 1)
    yard.apps.measurements.write()  # type: ignore[attr-defined]
    for _ in range(40):
        stepped = step(yard, change_id)
        yard.at = max(yard.at + timedelta(milliseconds=1), stepped.until or yard.at)
        if yard.change(change_id).paused:
            break
    assert told(yard, change_id, m.CanaryPaused)[0]["asked"]
    seen = {"change_id": change_id, "expected_version": yard.change(change_id).version}
    _ = yard.do(m.ResumeDeploy(**seen, accept_inconclusive=True), OWNER).result
    assert take(yard, change_id, "baking").weight is None


def test_a_question_that_nobody_answers_runs_out(yard: Yard) -> None:
    app, account_id = begin(yard)
    change_id = yard.ask(app, account_id)
    take(yard, change_id, "awaiting_approval")
    assert take(yard, change_id, "expired").holds == {}
    account = yard.aggregates.find(PLACE, TokenAccount, account_id)
    assert account is not None and not account.holds


def test_a_deployed_change_is_taken_back_by_a_change_of_its_own(yard: Yard) -> None:
    app, account_id = begin(yard)
    change = yard.drive(yard.ask(app, account_id), agreeing(INSTANT))
    spent = change.spent_mtok
    asked = yard.do(m.RequestRollback(change_id=change.local_id, reason="It was a mistake."), OWNER).result
    back = yard.drive(asked["change_id"], nobody)
    assert back.state == "deployed" and back.spent_mtok == 0
    assert yard.environment(back).stable == change.base_release and yard.change(change.local_id).spent_mtok == spent


def test_a_way_back_that_is_gone_stops_the_deployment_before_it_begins_and_blocks_one_that_runs(yard: Yard) -> None:
    app, account_id = begin(yard)
    objects = bootstrap.open_objects(yard.settings)
    change = take(yard, yard.ask(app, account_id), "canary", agreeing(m.Strategy(kind="canary", steps=[50])))
    objects.remove("releases", change.base_release)
    _ = yard.do(m.AbortDeploy(change_id=change.local_id, reason="It looks wrong."), OWNER).result
    assert step(yard, change.local_id).did == m.BlockRollback.command_name
    blocked = yard.change(change.local_id)
    assert blocked.state == "attention" and yard.environment(blocked).read_only

    app, account_id = begin(yard)
    change = take(yard, yard.ask(app, account_id), "queued", agreeing(INSTANT))
    objects.remove("releases", change.base_release)
    failed = yard.drive(change.local_id, nobody)
    assert failed.state == "failed" and yard.environment(failed).lock is None and failed.holds == {}


@pytest.mark.parametrize("outcome", ["released", "dropped"])
def test_the_log_counts_what_was_let_out_and_what_nobody_will_see(yard: Yard, outcome: str) -> None:
    app, account_id = begin(yard)
    change = take(yard, yard.ask(app, account_id), "canary", agreeing(m.Strategy(kind="canary", steps=[50])))
    deployment_id, release = str(change.deployment_id), str(change.release)
    with psycopg.connect(yard.database, autocommit=True) as connection:
        for number in range(2):
            effect = Effect(
                uuid4(), app, "production", release, deployment_id, "email", f"thank {number}", {}, "held", yard.at
            )
            statement = effects.kept(PLACE, effect)
            connection.execute(statement.text, statement.parameters)
    if outcome == "dropped":
        _ = yard.do(m.AbortDeploy(change_id=change.local_id, reason="It looks wrong."), OWNER).result
    yard.drive(change.local_id, nobody)
    event = {"released": m.EffectsReleased, "dropped": m.EffectsDropped}[outcome]
    assert told(yard, change.local_id, event) == [{"count": 2, "deployment_id": deployment_id}]
    with psycopg.connect(yard.database) as connection:
        asked = effects.count_held(PLACE, deployment_id)
        assert connection.execute(asked.text, asked.parameters).fetchone() == (0,)


def test_what_runs_says_how_closely_a_change_of_it_is_watched_and_the_change_can_not_loosen_that(yard: Yard) -> None:
    closely = {"look_every_s": 2, "at_most_permille": {"failed_requests": 1}}
    looser = {"op": "set_policy", "policy": {"approvals": {"low": 1}}}
    reached: dict[bool, list[Any]] = {}
    for watched in (False, True):
        app, account_id = begin(yard, {"policy.json": {"watch": closely}} if watched else None)
        strategy = m.Strategy(kind="canary", steps=[50], hold_s=40, max_wait_s=0)
        change_id = give(yard, app, account_id, looser)
        change = take(yard, change_id, "awaiting_approval")
        for person in (APPROVER, OWNER):
            # Two people where it loosens something, which is of high risk.
            if (change := yard.change(change_id)).state == "awaiting_approval" and change.binding is not None:
                seen = {"change_id": change_id, "expected_version": change.version}
                _ = yard.do(m.ApproveChange(**seen, binding=change.binding.digest), person).result
        change = take(yard, change_id, "canary", agreeing(strategy))
        running = Running(*PLACE, app, "production", str(change.release))
        yard.apps.measurements.count(running, "requests", 2_000)
        yard.apps.measurements.count(running, "failed_requests", 20)
        yard.apps.measurements.write()  # type: ignore[attr-defined]
        step(yard, change_id)
        (measured,) = told(yard, change_id, m.GuardrailsMeasured)
        found = {each["guardrail"]: each for each in measured["measurements"]}
        following = step(yard, change_id)
        reached[watched] = [found["error_rate"]["verdict"], found["error_rate"]["limit_micro"], following]
    assert reached[False][:2] == ["pass", 20_000]
    assert (reached[False][2].until - yard.at).total_seconds() > 10
    assert reached[True][:2] == ["fail", 1_000] and reached[True][2].did == m.StartRollback.command_name


def test_no_planner_is_told_a_secret_of_the_client_and_no_change_writes_one(yard: Yard) -> None:
    secret, keys = f"correct-horse-{next(_numbers)}-battery", bootstrap.root_keys(yard.settings)
    view = {"kind": "list", "entity": "deal", "title": f"Deals {secret}", "columns": [{"field": "title"}]}
    app, account_id = begin(yard, {"views/deals.json": view})
    before = take(yard, yard.ask(app, account_id, 'Rename the deals list to "Mine"'), "planned")
    objects = bootstrap.open_objects(yard.settings)
    assert secret.encode() in objects.get(m.OBJECTS["context"], str(before.context_digest)), "nobody knows it yet"
    command, enclosed = setting(keys, TENANT, {"name": f"horse-{next(_numbers)}"}, secret)
    _ = yard.do(command, OWNER, enclosed=enclosed).result
    change = take(yard, yard.ask(app, account_id, 'Rename the deals list to "Mine"'), "awaiting_approval")
    assert secret.encode() not in objects.get(m.OBJECTS["context"], str(change.context_digest))
    assert told(yard, change.local_id, m.ContextIngested)[0]["redactions"] == 1
    writes = give(yard, app, account_id, {"op": "rename_view", "view": "deal_form", "title": f"Use {secret}"})
    failed = yard.drive(writes, nobody)
    (why,) = told(yard, writes, m.StepFailed)
    assert (failed.state, failed.diff, failed.holds) == ("failed", None, {})
    assert "this holds the secret horse-" in why["reason"] and secret not in str(why)


def damage(yard: Yard, kind: str, digest: str) -> None:
    """Let an object be other than its digest says."""
    (path,) = yard.home.glob(f"**/{kind}/sha256/*/{digest}")
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-1] + b"?")


@pytest.mark.parametrize(("kind", "state"), [("operations", "planned"), ("release", "diffed"), ("release", "queued")])
def test_what_is_damaged_before_a_deployment_ends_the_change_and_gives_everything_back(
    yard: Yard, kind: str, state: str
) -> None:
    app, account_id = begin(yard)
    change = take(yard, yard.ask(app, account_id), state, agreeing(INSTANT))
    if kind == "release":
        bootstrap.open_releases(yard.settings).tree(str(change.release))
    damage(yard, m.OBJECTS[kind], getattr(change, kind))
    failed = yard.drive(change.local_id, nobody)
    assert failed.state == "failed" and failed.holds == {}
    (why,) = told(yard, change.local_id, m.StepFailed)
    assert (why["failure"], why["retried"]) == ("storage", False)
    environment = yard.environment(failed)
    assert environment.lock is None and not environment.queue and environment.stable == change.base_release
    account = yard.aggregates.find(PLACE, TokenAccount, account_id)
    assert account is not None and not account.holds


@pytest.mark.parametrize("gone", [False, True])
@pytest.mark.parametrize("state", ["deploying", "canary", "baking"])
def test_what_is_damaged_or_gone_during_a_deployment_leads_back(yard: Yard, state: str, gone: bool) -> None:
    app, account_id = begin(yard)
    strategy = m.Strategy(kind="canary", steps=[50], hold_s=0, bake_s=60)
    change = take(yard, yard.ask(app, account_id), state, agreeing(strategy))
    if gone:
        bootstrap.open_objects(yard.settings).remove("releases", str(change.release))
    else:
        damage(yard, "releases", str(change.release))
    back = yard.drive(change.local_id, nobody)
    assert back.state == "rolled_back" and back.holds == {}
    environment = yard.environment(back)
    assert (environment.stable, environment.quarantined) == (change.base_release, [change.release])


def test_a_way_back_that_is_damaged_blocks_a_rollback_though_the_repository_needs_it_first(yard: Yard) -> None:
    app, account_id = begin(yard)
    change = take(yard, yard.ask(app, account_id), "baking", agreeing(m.Strategy(bake_s=60)))
    # The refs have followed what is live; what it was before is a commit that is made of the first release.
    step(yard, change.local_id)
    damage(yard, "releases", change.base_release)
    _ = yard.do(m.AbortDeploy(change_id=change.local_id, reason="It looks wrong."), OWNER).result
    assert step(yard, change.local_id).did == m.BlockRollback.command_name
    assert yard.change(change.local_id).state == "attention"


def test_a_planner_that_is_away_is_asked_three_times_more_and_everything_is_given_back(yard: Yard) -> None:
    class Away:
        identity = PlannerIdentity("llm", "openai", "gpt")

        def plan(self, asked: Any, budget: Any) -> Any:
            raise Unavailable("The model can't be asked right now.")

    app, account_id = begin(yard)
    chain = PlannerChain((Away(),))
    away = Stepper(replace(yard.stepper._bench, planners=lambda place, change: chain))
    change_id = yard.ask(app, account_id)
    for _ in range(20):
        away.step(PLACE, change_id, lambda command: yard.do(command, WORKER), yard.at)
    assert [failed["retried"] for failed in told(yard, change_id, m.StepFailed)] == [True, True, True, False]
    change, account = yard.change(change_id), yard.aggregates.find(PLACE, TokenAccount, account_id)
    assert change.state == "failed" and account is not None
    assert account.available_mtok == TOKENS_MTOK and not account.holds
