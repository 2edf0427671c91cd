"""Going live: turns and the lock, the canary and its guardrails, the promotion, and every way back."""

from __future__ import annotations

from typing import Any

import pytest
from change_book import ADA, APPROVER, BOB, MEMBER, OWNER, TENANT, Shop, Walk, digest

from felix.domain.changes import errors
from felix.domain.changes import messages as m
from felix.eventstore.app_pointers import AppPointer

CANARY = {"kind": "canary", "steps": [5, 25, 50]}
R0 = digest("r0")


def live(**strategy: Any) -> Walk:
    """A change whose deployment has begun."""
    return Shop().request().to_queue(**strategy).start()


# --- turns --------------------------------------------------------------------------------------------------


def test_founders_go_first_and_everybody_else_in_the_order_they_came() -> None:
    shop = Shop()
    walks = [shop.request().to_approval() for _ in range(3)]
    for walk, by in zip(walks, (APPROVER, OWNER, ADA), strict=True):
        walk.approve()
        walk.queue(by)
    queue = [entry["change_id"] for entry in shop.environment().queue]
    assert queue == [walks[2].id, walks[0].id, walks[1].id]
    with pytest.raises(errors.NotYourTurn):
        walks[0].start()
    walks[2].start()
    with pytest.raises(errors.EnvironmentIsLocked):
        walks[0].start()


def test_planning_and_another_environment_are_never_locked() -> None:
    walk = live(**CANARY)
    other = walk.shop.request()
    other.to_approval()
    assert other.change.state == "awaiting_approval"
    sandbox = walk.shop.request(environment="sandbox").go_live()
    assert sandbox.change.state == "deployed"


def test_what_destroys_something_is_deployed_only_after_an_export_of_it_each_time_it_is_queued() -> None:
    walk = Shop().request().to_approval("destructive")
    for by in (APPROVER, OWNER):
        walk.approve(by)
    walk.queue()
    with pytest.raises(errors.NotExported):
        walk.start()
    walk.export()
    assert walk.shop.book.names() == ["losses_exported"] and walk.change.state == "queued"
    walk.do(m.WithdrawApproval(change_id=walk.id), APPROVER)
    walk.approve(APPROVER)
    walk.queue()
    with pytest.raises(errors.NotExported):
        walk.start()
    walk.export().start().promote().succeed()
    assert walk.change.state == "deployed"


def test_who_waited_while_another_went_live_is_rebased_first() -> None:
    shop = Shop()
    one, two = shop.request().to_queue(), shop.request().to_queue()
    one.start().promote().succeed()
    with pytest.raises(errors.BaseMoved):
        two.start()


def test_what_is_gone_back_to_must_be_what_runs() -> None:
    walk = Shop().request().to_queue()
    with pytest.raises(errors.WrongRollbackTarget):
        walk.start(rollback_to=digest("something else"))


def test_only_who_decides_lets_a_change_go_live() -> None:
    walk = Shop().request().to_approval()
    walk.approve()
    for by in (MEMBER, "service:key_ci"):
        with pytest.raises(errors.MayNotDecide):
            walk.queue(by)


# --- the canary ---------------------------------------------------------------------------------------------


def test_a_canary_grows_by_its_steps_and_nobody_changes_sides_for_nothing() -> None:
    walk = live(**CANARY)
    with pytest.raises(errors.StepsLeft):
        walk.promote()
    walk.canary(5)
    pointer = AppPointer("shop", "production", *walk.shop.book.pointers["shop", "production"])
    assert (pointer.stable, pointer.candidate, pointer.weight) == (R0, walk.d("release"), 5)
    people = [f"usr_{number}" for number in range(400)]
    first = {person for person in people if pointer.release_for(TENANT, person) != R0}
    assert 4 < len(first) < 40
    for wrong in (5, 10, 4):
        with pytest.raises(errors.WeightNotHigher):
            walk.canary(wrong)
    walk.measure().canary(50)
    pointer = AppPointer("shop", "production", *walk.shop.book.pointers["shop", "production"])
    assert first < {person for person in people if pointer.release_for(TENANT, person) != R0}
    walk.promote().succeed()
    assert walk.environment.stable == walk.d("release") and walk.environment.candidate is None


def test_a_failing_guardrail_lets_nothing_go_on_and_nobody_overrule_it() -> None:
    walk = live(**CANARY).canary(50).measure("fail", critical=True)
    for go_on in (walk.promote, lambda: walk.canary(50)):
        with pytest.raises(errors.GuardrailFails):
            go_on()
    walk.do(m.PauseDeploy(change_id=walk.id), OWNER)
    with pytest.raises(errors.GuardrailFails):
        walk.do(m.ResumeDeploy(change_id=walk.id, accept_inconclusive=True), OWNER)
    walk.roll_back().finish_rollback()
    assert walk.change.state == "rolled_back"


def test_three_failures_or_three_blind_looks_are_as_bad_as_a_critical_one() -> None:
    for verdict in ("fail", "error"):
        walk = live(**CANARY).canary(50).measure(verdict).measure(verdict)
        assert walk.change.failing_guardrail is None
        walk.measure(verdict, dry_run=True)
        assert walk.change.failing_guardrail is None
        walk.measure(verdict)
        assert walk.change.failing_guardrail == "error_rate"
    walk = live(**CANARY).canary(50).measure("error").measure("error").measure("pass").measure("error")
    walk.measure("inconclusive")
    assert walk.change.failing_guardrail is None


def test_what_a_release_wanted_to_send_is_let_out_or_dropped_with_the_pointer_in_one_append() -> None:
    for moved, leads_to in ((Walk.promote, m.EffectsReleased), (Walk.roll_back, m.EffectsDropped)):
        walk = live(**CANARY).canary(50)
        walk.shop.book.held_effects = 3
        moved(walk)
        (said,) = [event for event in walk.shop.book.last if isinstance(event, m.EffectsReleased | m.EffectsDropped)]
        assert (type(said).TOPIC, said.count) == (leads_to.TOPIC, 3)
        assert said.deployment_id == walk.change.deployment_id
        assert {"release_promoted", "release_restored"} & set(walk.shop.book.names())
    for moved in (Walk.promote, Walk.roll_back):
        nothing = live(**CANARY).canary(50)
        moved(nothing)
        assert not {"effects_released", "effects_dropped"} & set(nothing.shop.book.names())


def test_a_paused_canary_stays_and_goes_on_when_somebody_says_so() -> None:
    walk = live(**CANARY).canary(50)
    with pytest.raises(errors.NotPaused):
        walk.do(m.ResumeDeploy(change_id=walk.id), OWNER)
    walk.do(m.HoldCanary(**walk.deploy_step, reason="too few people"))
    with pytest.raises(errors.DeployPaused):
        walk.promote()
    with pytest.raises(errors.DeployPaused):
        walk.do(m.PauseDeploy(change_id=walk.id), OWNER)
    with pytest.raises(errors.MayNotDecide):
        walk.do(m.ResumeDeploy(change_id=walk.id), MEMBER)
    walk.do(m.ResumeDeploy(change_id=walk.id, accept_inconclusive=True), OWNER)
    assert walk.change.accept_inconclusive
    walk.promote()
    assert walk.change.state == "baking"


def test_a_preview_is_seen_by_name_only_until_somebody_lets_it_go_on() -> None:
    walk = live(kind="preview")
    with pytest.raises(errors.StepsLeft):
        walk.promote()
    walk.canary(0)
    assert walk.shop.book.pointers["shop", "production"][1:3] == (walk.d("release"), 0)
    with pytest.raises(errors.DeployPaused):
        walk.promote()
    walk.do(m.ResumeDeploy(change_id=walk.id), OWNER)
    walk.promote()


def test_a_promoted_release_is_watched_for_as_long_as_was_asked() -> None:
    walk = live(bake_s=60).promote()
    with pytest.raises(errors.StillBaking):
        walk.succeed()
    walk.shop.book.wait(seconds=60)
    walk.measure("fail", critical=True)
    with pytest.raises(errors.GuardrailFails):
        walk.succeed()


# --- the way back -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("promoted", [False, True])
def test_a_rollback_moves_the_pointer_with_its_first_append(promoted: bool) -> None:
    walk = live(**CANARY).canary(50)
    if promoted:
        walk.promote()
    walk.roll_back("errors")
    names = walk.shop.book.names()
    assert names == ["rollback_started", "release_restored"]
    stable, candidate, *_ = walk.shop.book.pointers["shop", "production"]
    assert (stable, candidate) == (R0, None) and walk.environment.lock is not None
    walk.finish_rollback()
    assert walk.change.state == "rolled_back" and walk.environment.lock is None
    assert walk.environment.quarantined == [walk.d("release")]


def test_an_abort_beats_a_promotion_that_comes_later_and_undoes_one_that_came_before() -> None:
    walk = live(**CANARY).canary(50)
    late = m.Promote(**walk.deploy_step)
    walk.do(m.AbortDeploy(change_id=walk.id, reason="stop"), OWNER)
    with pytest.raises(errors.ChangeMovedOn):
        walk.do(late)
    with pytest.raises(errors.NotInThisState):
        walk.promote()
    walk = live().promote()
    walk.do(m.AbortDeploy(change_id=walk.id, reason="stop"), OWNER)
    assert walk.environment.stable == R0
    with pytest.raises(errors.MayNotDecide):
        walk.do(m.AbortDeploy(change_id=walk.id, reason="stop"), MEMBER)


def test_a_rollback_can_not_be_aborted() -> None:
    walk = live().promote().roll_back()
    assert walk.do(m.AbortDeploy(change_id=walk.id, reason="stop"), OWNER)["aborted"] is False
    assert walk.change.state == "rolling_back"


def test_what_was_rolled_back_is_not_deployed_again_before_its_quarantine_is_lifted() -> None:
    shop = Shop()
    walk = shop.request().to_queue().start().roll_back().finish_rollback()
    again = Walk(shop, shop.request().id, walk.mark).to_approval()
    again.approve()
    with pytest.raises(errors.ReleaseQuarantined):
        again.queue()
    told = again.do(
        m.LiftQuarantine(app="shop", environment="production", release=walk.d("release"), reason="it was the network"),
        ADA,
    )
    assert not told["done"]
    confirm = m.ConfirmOverride(app="shop", environment="production", override_id=told["override_id"])
    again.do(confirm, BOB)
    again.queue().start().promote().succeed()
    assert again.change.state == "deployed"


def test_the_last_ten_releases_are_kept_and_lead_back() -> None:
    shop = Shop()
    walks = [shop.request().go_live() for _ in range(11)]
    history = [entry["release"] for entry in shop.environment().history]
    assert history == [walk.change.release for walk in walks[1:]]
    with pytest.raises(errors.ReleaseNotKept):
        walks[-1].do(m.RequestRollback(change_id=walks[-1].id, release=R0, reason="far"), OWNER)
    with pytest.raises(errors.NotTheLatest):
        walks[5].do(m.RequestRollback(change_id=walks[5].id, reason="near"), OWNER)
    wanted = walks[3].change.release
    told = walks[-1].do(m.RequestRollback(change_id=walks[-1].id, release=wanted, reason="near"), OWNER)
    back = Walk(shop, told["change_id"], digest("back"))
    assert shop.environment().stable == wanted and back.change.kind_of_change == "rollback"
    back.do(m.FinishRollback(**back.deploy_step))
    assert back.change.state == "deployed" and walks[-1].change.state == "deployed"
    assert shop.environment().quarantined == [walks[-1].change.release]


def test_a_rollback_that_is_asked_for_goes_before_everybody_who_waits() -> None:
    shop = Shop()
    done = shop.request().go_live()
    waits = shop.request().to_queue()
    busy = shop.request().to_approval()
    busy.approve()
    busy.queue(ADA).start()
    told = done.do(m.RequestRollback(change_id=done.id, reason="wrong"), OWNER)
    back = Walk(shop, told["change_id"], digest("back"))
    assert back.change.state == "queued"
    assert [entry["change_id"] for entry in shop.environment().queue] == [back.id, waits.id]
    busy.roll_back().finish_rollback()
    with pytest.raises(errors.NotYourTurn):
        waits.start()
    back.roll_back()
    assert shop.environment().stable == R0
    back.do(m.FinishRollback(**back.deploy_step))
    with pytest.raises(errors.BaseMoved):
        waits.start()


def test_a_rollback_is_for_what_is_live_and_for_who_decides() -> None:
    walk = Shop().request()
    with pytest.raises(errors.NotInThisState):
        walk.do(m.RequestRollback(change_id=walk.id, reason="x"), OWNER)
    walk.go_live()
    with pytest.raises(errors.MayNotDecide):
        walk.do(m.RequestRollback(change_id=walk.id, reason="x"), MEMBER)
    with pytest.raises(errors.ChangeMovedOn):
        walk.do(m.RequestRollback(change_id=walk.id, expected_version=1, reason="x"), OWNER)


# --- who works ----------------------------------------------------------------------------------------------


def unlock(**more: Any) -> m.ForceUnlock:
    """Take the deployment away."""
    return m.ForceUnlock(app="shop", environment="production", reason="the worker hangs", break_glass=True, **more)


@pytest.mark.parametrize("where", ["deploying", "canary", "baking", "rolling_back", "attention"])
def test_a_founder_frees_an_environment_wherever_its_deployment_is(where: str) -> None:
    walk = live(**CANARY)
    if where != "deploying":
        walk.canary(50)
    if where in ("baking", "rolling_back", "attention"):
        walk.promote()
    if where in ("rolling_back", "attention"):
        walk.roll_back()
    if where == "attention":
        walk.do(m.BlockRollback(**walk.deploy_step, reason="the old one is broken"))
        assert walk.environment.read_only
        with pytest.raises(errors.EnvironmentIsClosed):
            walk.shop.request().to_queue()
    assert walk.change.state == where
    zombie = m.Promote(**walk.deploy_step)
    before = walk.change.spent_mtok
    walk.do(unlock(), ADA)
    assert walk.change.state == ("failed" if where == "attention" else "rolled_back")
    assert walk.environment.lock is None and walk.environment.stable == R0 and not walk.environment.read_only
    assert walk.change.spent_mtok == before, "nothing of it is paid"
    with pytest.raises(errors.ChangeIsOver):
        walk.do(zombie)
    assert list(walk.environment.reviews) != []


def test_a_worker_with_an_old_fence_is_too_late() -> None:
    walk = live(**CANARY).canary(50)
    with pytest.raises(errors.Fenced):
        walk.do(m.Promote(**{**walk.deploy_step, "fence": walk.environment.fence + 1}))
    with pytest.raises(errors.NothingToUnlock):
        walk.shop.book.do(m.ForceUnlock(app="shop", environment="sandbox", reason="x"), ADA)


def test_a_founder_goes_back_to_any_kept_release_whatever_is_under_way() -> None:
    shop = Shop()
    first = shop.request().go_live()
    busy = shop.request().to_queue().start().promote().roll_back()
    busy.do(m.BlockRollback(**busy.deploy_step, reason="broken"))
    back = m.ForceRollback(app="shop", environment="production", release=R0, reason="all of it", break_glass=True)
    told = busy.do(back, ADA)
    assert told["done"] and busy.change.state == "rolling_back"
    assert shop.environment().stable == R0 and not shop.environment().read_only
    busy.finish_rollback()
    told = busy.do(m.ForceRollback(**{**back.model_dump(), "release": first.change.release}), ADA)
    assert shop.environment().stable == first.change.release
    with pytest.raises(errors.ReleaseNotKept):
        busy.do(m.ForceRollback(**{**back.model_dump(), "release": digest("never")}), ADA)


def test_an_app_begins_once() -> None:
    shop = Shop()
    assert shop.environment().stable == shop.environment("sandbox").stable == R0
    with pytest.raises(errors.EnvironmentExists):
        shop.book.do(m.CreateApp(app="shop", title="Shop", release=R0, tree=digest("t")), OWNER)
    with pytest.raises(errors.EnvironmentNotFound):
        shop.request(app="elsewhere")
