"""Who may agree to a change, to what exactly, how many it takes, and how long it holds."""

from __future__ import annotations

from typing import Any

import pytest
from change_book import ADA, APPROVER, BOB, MEMBER, OTHER, OWNER, SERVICE, WORKER, Shop, Walk, digest
from hypothesis import given
from hypothesis import strategies as st

from felix.domain.changes import errors
from felix.domain.changes import messages as m
from felix.domain.changes.approvals import Quorum, quorum_of
from felix.domain.changes.binding import Binding


def waiting(risk: Any = "low", by: str = MEMBER, **fields: Any) -> Walk:
    """A change that waits for people."""
    return Shop().request(by, **fields).to_approval(risk)


# --- who ----------------------------------------------------------------------------------------------------


def test_one_other_person_is_enough_for_little_risk() -> None:
    walk = waiting()
    walk.approve(APPROVER)
    assert walk.change.state == "approved"
    assert walk.shop.book.names() == ["approval_granted", "change_approved"]


@pytest.mark.parametrize("machine", [SERVICE, WORKER, "founder:key_1", "client_owner:key_2"])
def test_nothing_but_a_person_decides(machine: str) -> None:
    walk = waiting()
    with pytest.raises(errors.PeopleDecide):
        walk.approve(machine)
    with pytest.raises(errors.PeopleDecide):
        walk.do(m.RejectChange(**walk.step, reason="no"), machine)


@pytest.mark.parametrize("role", ["client_member", "auditor", "founder_readonly"])
def test_a_role_that_does_not_decide_does_not(role: str) -> None:
    with pytest.raises(errors.MayNotDecide):
        waiting().approve(f"{role}:usr_x")


def test_whoever_asked_edited_or_answered_does_not_decide_in_whatever_role() -> None:
    walk = waiting(by="client_approver:usr_anton")
    for role in ("client_approver", "client_owner", "founder"):
        with pytest.raises(errors.OwnChange):
            walk.approve(f"{role}:usr_anton")
    walk.do(m.RevisePlan(**walk.step, operations=digest("mine")), OWNER)
    walk.diff().check().ask_people()
    with pytest.raises(errors.OwnChange):
        walk.approve(OWNER)
    with pytest.raises(errors.OwnChange):
        walk.do(m.RejectChange(**walk.step, reason="no"), OWNER)
    walk.approve(OTHER)
    assert walk.change.state == "approved"


def test_an_answer_makes_an_author() -> None:
    walk = Shop().request().ingest().start_planning()
    walk.do(m.AskClarification(**walk.step, planner="grammar", questions=[m.Question(question="Which list?")]))
    answer = m.AnswerClarification(**walk.step, answer_index=digest("a"), answer_commitment=digest("b"))
    with pytest.raises(errors.NotYourChange):
        walk.do(answer, APPROVER)
    walk.do(answer, OWNER)
    walk.plan().diff().check().ask_people()
    with pytest.raises(errors.OwnChange):
        walk.approve(OWNER)


def test_alone_in_a_sandbox_one_may_change_how_things_look_and_nothing_else() -> None:
    walk = waiting(by=OWNER, environment="sandbox")
    walk.approve(OWNER)
    assert walk.change.state == "approved"
    for risk, environment in (("medium", "sandbox"), ("low", "production")):
        with pytest.raises(errors.OwnChange):
            waiting(risk, by=OWNER, environment=environment).approve(OWNER)


# --- how many -----------------------------------------------------------------------------------------------


def test_high_risk_takes_two_people_and_one_person_counts_once() -> None:
    walk = waiting("high")
    walk.approve(APPROVER)
    assert walk.change.state == "awaiting_approval"
    for again in (APPROVER, "founder:usr_anton"):
        with pytest.raises(errors.AlreadyApproved):
            walk.approve(again)
    walk.approve(OTHER)
    assert walk.change.state == "approved"


def test_destruction_takes_two_people_in_two_roles() -> None:
    walk = waiting("destructive")
    walk.approve(APPROVER)
    walk.approve(OTHER)
    assert walk.change.state == "awaiting_approval"
    walk.approve(OWNER)
    assert walk.change.state == "approved"


def test_an_app_asks_for_more_people_and_never_for_fewer() -> None:
    assert quorum_of("low", "sandbox", {}) == Quorum(1, 1, True)
    assert quorum_of("low", "sandbox", {"low": 2}) == Quorum(2, 1, False)
    assert quorum_of("high", "production", {"high": 1}) == Quorum(2, 1, False)
    assert quorum_of("destructive", "sandbox", {}) == Quorum(2, 2, False)


@given(st.lists(st.tuples(st.sampled_from(["founder", "client_owner"]), st.sampled_from("abc"))), st.integers(1, 3))
def test_a_quorum_counts_people_and_roles_never_approvals(given: list[tuple[str, str]], people: int) -> None:
    actors = [f"{role}:usr_{name}" for role, name in given]
    assert Quorum(people, 1, False).is_met_by(actors) == (len({name for _, name in given}) >= people)
    one_person = [actor for actor in actors if actor.endswith("a")]
    assert not Quorum(1, 2, False).is_met_by(one_person), "nobody has two roles by signing twice"


# --- what exactly -------------------------------------------------------------------------------------------


def test_what_was_not_shown_is_not_agreed_to() -> None:
    walk = waiting()
    with pytest.raises(errors.OtherBinding) as refused:
        walk.approve(binding=digest("another"))
    binding = walk.change.binding
    assert binding is not None and refused.value.facts["binding"] == binding.digest


def test_two_windows_approve_once() -> None:
    walk = waiting("high")
    seen = walk.change.version
    walk.approve(APPROVER)
    for by in (APPROVER, OTHER):
        with pytest.raises(errors.ChangeMovedOn) as refused:
            walk.approve(by, expected_version=seen)
        assert refused.value.facts["state"] == "awaiting_approval"
    assert walk.change.approvals == [APPROVER]


def test_every_part_of_the_binding_binds() -> None:
    parts = {name: digest(name) for name in Binding.__dataclass_fields__}
    numbers = {"ceiling_mtok": 1, "quorum": 2, "roles": 1}
    bound = Binding(**{**parts, **numbers})
    for name in Binding.__dataclass_fields__:
        other = Binding(**{**parts, **numbers, name: 7 if name in numbers else digest("other")})
        assert other.digest != bound.digest and bound.differing(other) == [name]


@pytest.mark.parametrize("part", ["result_tree", "diff", "release", "checks", "policy"])
def test_what_is_found_at_the_start_must_be_what_was_approved(part: str) -> None:
    walk = waiting()
    walk.approve()
    walk.queue()
    with pytest.raises(errors.BindingBroken) as refused:
        walk.start(**{part: digest("swapped")})
    assert refused.value.facts["differing"] == [part]
    walk.start()
    assert walk.change.state == "deploying"


# --- how long -----------------------------------------------------------------------------------------------


def test_an_approval_that_ran_out_is_good_for_nothing_whether_a_timer_says_so_or_not() -> None:
    walk = waiting()
    walk.shop.book.wait(hours=72)
    with pytest.raises(errors.ChangeExpiredAlready):
        walk.approve()
    walk.do(m.ExpireChange(**walk.step))
    assert walk.change.state == "expired"
    walk = waiting()
    walk.shop.book.wait(hours=71, minutes=59)
    walk.approve()
    walk.shop.book.wait(hours=24)
    with pytest.raises(errors.ChangeExpiredAlready):
        walk.queue()
    walk = waiting()
    walk.approve()
    walk.queue().shop.book.wait(hours=24)
    with pytest.raises(errors.ChangeExpiredAlready):
        walk.start()
    told = walk.do(m.ExpireChange(**walk.step))
    assert told["expired"] and walk.environment.queue == []


def test_a_timer_that_rings_too_early_ends_nothing() -> None:
    walk = waiting()
    assert walk.do(m.ExpireChange(**walk.step))["expired"] is False
    assert walk.change.state == "awaiting_approval"


def test_checks_are_relied_on_for_a_day() -> None:
    walk = Shop().request().ingest().plan().diff().check()
    walk.shop.book.wait(hours=24)
    with pytest.raises(errors.ChecksTooOld):
        walk.ask_people()
    walk.check().ask_people()
    assert walk.change.state == "awaiting_approval"


# --- thinking better of it ----------------------------------------------------------------------------------


def test_an_approval_is_taken_back_until_the_deployment_begins() -> None:
    walk = waiting()
    walk.approve()
    walk.queue()
    with pytest.raises(errors.NotApprovedByYou):
        walk.do(m.WithdrawApproval(change_id=walk.id), OTHER)
    walk.do(m.WithdrawApproval(change_id=walk.id, reason="wait"), APPROVER)
    assert (walk.change.state, walk.environment.queue) == ("awaiting_approval", [])
    walk.approve(APPROVER)
    walk.queue().start()
    with pytest.raises(errors.NotInThisState):
        walk.do(m.WithdrawApproval(change_id=walk.id), APPROVER)


def test_one_no_is_enough_and_for_good() -> None:
    walk = waiting("high")
    walk.approve(APPROVER)
    walk.do(m.RejectChange(**walk.step, reason="the wrong list"), OTHER)
    assert walk.change.state == "rejected"
    with pytest.raises(errors.ChangeIsOver):
        walk.approve(OWNER)


def test_other_operations_need_other_approvals() -> None:
    walk = waiting("high")
    walk.approve(APPROVER)
    walk.do(m.RevisePlan(**walk.step, operations=digest("others")), MEMBER)
    assert walk.change.approvals == [] and walk.change.binding is None
    walk.diff("high").check().ask_people()
    assert walk.change.approvals == []


# --- on a base that moved -----------------------------------------------------------------------------------


def moved(risk: Any = "high") -> tuple[Walk, Walk]:
    """A change that two people approved, and another that went live meanwhile."""
    walk = waiting(risk)
    walk.approve(APPROVER)
    walk.approve(OTHER)
    other = walk.shop.request().go_live()
    return walk, other


def rebase(walk: Walk, **parts: Any) -> None:
    told = {"diff": digest("new diff"), "release": digest("new release"), "result_tree": digest("new tree"), **parts}
    walk.do(m.RebaseChange(**walk.step, **walk.difference(**told), touched_between=["app.json#/title"]))


def test_nobody_agrees_to_what_stands_on_an_old_base() -> None:
    walk = waiting()
    walk.shop.request().go_live()
    with pytest.raises(errors.BaseMoved) as refused:
        walk.approve()
    assert refused.value.facts["head_tree"] == walk.environment.tree


def test_approvals_hold_on_a_new_base_with_a_proof_that_it_is_the_same() -> None:
    walk, _ = moved()
    with pytest.raises(errors.BaseMoved):
        walk.queue()
    rebase(walk)
    assert walk.shop.book.names() == ["stale_base_detected", "change_rebased"]
    assert (walk.change.state, walk.change.approvals) == ("diffed", [])
    assert walk.change.base_release == walk.environment.stable
    walk.check(mark="anew").ask_people()
    names = walk.shop.book.names()
    assert names == ["approval_requested", "approval_carried", "approval_carried", "change_approved"]
    assert walk.change.state == "approved"


def test_a_change_that_waited_for_its_turn_waits_again() -> None:
    walk = waiting("high")
    walk.approve(APPROVER)
    walk.approve(OTHER)
    other = walk.shop.request().to_approval()
    other.approve()
    other.queue(ADA)
    walk.queue()
    other.start().promote().succeed()
    rebase(walk)
    assert walk.environment.place(walk.id) is None
    walk.check(mark="anew").ask_people()
    assert walk.change.state == "queued" and walk.environment.place(walk.id) == 1


@pytest.mark.parametrize(
    "parts", [{"effects_digest": digest("other effects")}, {"risk": "destructive"}], ids=["effects", "risk"]
)
def test_approvals_do_not_hold_for_something_else(parts: dict[str, Any]) -> None:
    walk, _ = moved()
    rebase(walk, **parts)
    walk.check(mark="anew").ask_people()
    assert (walk.change.state, walk.change.approvals) == ("awaiting_approval", [])


def test_approvals_do_not_hold_where_the_policy_says_so() -> None:
    walk, _ = moved()
    rebase(walk)
    walk.check(mark="anew").ask_people(sticky=False)
    assert (walk.change.state, walk.change.approvals) == ("awaiting_approval", [])


def test_a_lower_risk_keeps_its_approvals() -> None:
    walk, _ = moved()
    rebase(walk, risk="low")
    walk.check(mark="anew").ask_people()
    assert walk.change.state == "approved"


def test_a_conflict_asks_people_on_the_new_base() -> None:
    walk, other = moved()
    place = m.ConflictingPlace(place="entities/deal.json#/fields", ours="[1]", theirs="[2]")
    with pytest.raises(errors.BaseMoved):
        walk.do(m.RecordConflict(**walk.step, head_tree=digest("elsewhere"), conflicts=[place]))
    walk.do(m.RecordConflict(**walk.step, head_tree=walk.environment.tree, conflicts=[place]))
    assert (walk.change.state, walk.change.approvals) == ("needs_input", [])
    assert walk.change.base_release == other.change.release
    answer = m.AnswerClarification(**walk.step, answer_index=digest("a"), answer_commitment=digest("b"))
    walk.do(answer, MEMBER)
    assert walk.change.state == "requested", "what is read must be what runs now"


# --- overrides ----------------------------------------------------------------------------------------------


def violating(environment: str = "production") -> Walk:
    """A change whose checks found what a founder may override."""
    return Shop().request(environment=environment).ingest().plan().diff().check("needs_override")


def test_in_production_another_founder_confirms_an_override() -> None:
    walk = violating()
    told = walk.do(m.OverridePolicy(**walk.step, reason="the law wants it"), ADA)
    assert told["done"] is False and walk.change.state == "policy_violated"
    confirm = m.ConfirmOverride(app="shop", environment="production", override_id=told["override_id"])
    with pytest.raises(errors.OwnOverride):
        walk.do(confirm, ADA)
    with pytest.raises(errors.MayNotDecide):
        walk.do(confirm, OWNER)
    with pytest.raises(errors.PeopleDecide):
        walk.do(confirm, "founder:key_1")
    walk.do(confirm, BOB)
    assert walk.change.state == "checked" and walk.environment.reviews == {}
    with pytest.raises(errors.OverrideNotFound):
        walk.do(confirm, BOB)


def test_a_broken_glass_is_looked_at_by_another_founder() -> None:
    walk = violating()
    told = walk.do(m.OverridePolicy(**walk.step, reason="it burns", break_glass=True), ADA)
    assert told["done"] is True and walk.change.state == "checked"
    close = m.CloseReview(app="shop", environment="production", override_id=told["override_id"], finding="it did burn")
    with pytest.raises(errors.OwnOverride):
        walk.do(close, ADA)
    walk.do(close, BOB)
    assert walk.environment.reviews == {}
    with pytest.raises(errors.OverrideNotFound):
        walk.do(close, BOB)


def test_a_proposed_override_waits_for_a_day() -> None:
    walk = violating()
    told = walk.do(m.OverridePolicy(**walk.step, reason="the law wants it"), ADA)
    walk.shop.book.wait(hours=24)
    with pytest.raises(errors.OverrideNotFound):
        walk.do(m.ConfirmOverride(app="shop", environment="production", override_id=told["override_id"]), BOB)


def test_a_sandbox_needs_one_founder_and_no_review() -> None:
    walk = violating("sandbox")
    assert walk.do(m.OverridePolicy(**walk.step, reason="try it"), ADA)["done"] is True
    assert walk.environment.reviews == {} and walk.change.state == "checked"


def test_what_is_hard_can_only_be_revised() -> None:
    walk = Shop().request().ingest().plan().diff().check("hard")
    with pytest.raises(errors.NotInThisState):
        walk.do(m.OverridePolicy(**walk.step, reason="still"), ADA)
