"""What policies make of events, and that it is made once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from offices import ACME, GLOBEX, until
from workshop import Workshop

from felix import bootstrap
from felix.application import policies
from felix.application.performer import new_context
from felix.application.policies import deadlines_book_expiries, expiring_lots_are_announced
from felix.application.policies.base import Policy, Terms
from felix.bootstrap import following
from felix.domain.ledger import messages as m
from felix.eventstore.jobs import NewJob
from felix.eventstore.mapper import RecordedEvent
from felix.eventstore.reader import read_partition
from felix.projections.reactions import place_cursors, reaction
from felix.projections.registry import PROJECTIONS

_PLANNED = "select kind, state, due_at, payload from felix.jobs where origin like 'policy:%%' order by due_at, kind"


def events(workshop: Workshop) -> list[RecordedEvent]:
    with bootstrap.connect_owner(workshop.endpoints) as connection:
        return read_partition(connection, 0, 0)


def test_policies_are_found_and_are_no_projections() -> None:
    names = [policy.name for policy in policies.discover()]
    assert names == [
        "automations_fire",
        "changed_roles_end_sessions",
        "changes_take_their_next_step",
        "deadlines_book_expiries",
        "deploys_set_timers",
        "erased_people_are_forgotten",
        "expiring_lots_are_announced",
        "invitations_run_out",
        "moves_wake_changes",
        "registered_users_join",
        "rotations_are_finished",
        "sources_are_read",
    ]
    assert not set(names) & {projection.name for projection in PROJECTIONS}


def test_a_policy_is_a_function_of_the_event(workshop: Workshop) -> None:
    account = workshop.office.open_account(10_000)
    workshop.office.done(m.HoldTokens(account_id=account, amount_mtok=10, meter="m", ttl_s=90))
    (held,) = [event for event in events(workshop) if event.type == "ledger.tokens_held"]
    policy = deadlines_book_expiries.POLICY
    (first,), (second,) = (list(policy.react(held, Terms())) for _ in range(2))
    assert first == second
    assert first.job_id == second.job_id
    assert first.causation_id == held.event_id


def test_a_hold_that_runs_out_is_booked_though_nobody_asks_the_account(workshop: Workshop) -> None:
    account = workshop.office.open_account(10_000)
    workshop.office.done(m.HoldTokens(account_id=account, amount_mtok=4_000, meter="m", ttl_s=1))
    workshop.retell()
    ((kind, state, due_at, payload),) = workshop.rows(_PLANNED)
    assert (kind, state, payload) == ("ledger.book_expiries", "waiting", {"account_id": account})
    assert due_at.second == 0 and due_at > datetime.now(UTC) - timedelta(seconds=61)
    workshop.change("update felix.jobs set due_at = now() + interval '1 second'")  # not a minute
    until(lambda: workshop.do_all() == 1, "the timer is due")
    assert workshop.office.replay(account).balance["held_mtok"] == 0
    ((result,),) = workshop.rows("select result from felix.jobs")
    assert len(result["holds"]) == 1


def test_a_command_of_a_timer_is_not_decided_before_its_time(workshop: Workshop) -> None:
    """The database's clock makes it due; should the worker's be behind, the hold has run out all the same."""
    account = workshop.office.open_account(10_000)
    workshop.office.done(m.HoldTokens(account_id=account, amount_mtok=4_000, meter="m", ttl_s=3_600))
    (held,) = [event for event in events(workshop) if event.type == "ledger.tokens_held"]
    (planned,) = deadlines_book_expiries.POLICY.react(held, Terms())
    workshop.book.add([planned])
    workshop.change("update felix.jobs set due_at = now()")
    claimed = workshop.claim((planned.partition, planned.job_id))
    workshop.runner._run(replace(claimed, due_at=planned.due_at))
    assert workshop.office.replay(account).balance["held_mtok"] == 0


def test_a_thousand_holds_of_a_minute_are_one_timer(workshop: Workshop) -> None:
    account, other = (workshop.office.open_account(10_000) for _ in range(2))
    workshop.office.at_once([m.HoldTokens(account_id=account, amount_mtok=1, meter="m", ttl_s=600)] * 300)
    workshop.office.done(m.HoldTokens(account_id=other, amount_mtok=1, meter="m", ttl_s=600))
    workshop.retell()
    planned = workshop.rows(_PLANNED)
    assert 2 <= len(planned) <= 4  # the minute may have passed between two of them
    assert {payload["account_id"] for *_, payload in planned} == {account, other}


def test_an_extended_hold_has_a_timer_for_its_new_end(workshop: Workshop) -> None:
    account = workshop.office.open_account(10_000)
    hold_id = workshop.office.done(m.HoldTokens(account_id=account, amount_mtok=1, meter="m", ttl_s=60))["hold_id"]
    workshop.office.done(m.ExtendHold(account_id=account, hold_id=hold_id, ttl_s=7_200))
    workshop.retell()
    first, second = (due_at for _, _, due_at, _ in workshop.rows(_PLANNED))
    assert second - first > timedelta(hours=1)


def test_a_lot_is_announced_once_for_each_date_if_something_is_left(workshop: Workshop) -> None:
    office, now = workshop.office, datetime.now(UTC)
    account = office.open_account()
    grant = m.GrantTokens(account_id=account, amount_mtok=1_000, expires_at=now + timedelta(days=3))
    kept, spent = office.done(grant)["lot_id"], office.done(grant)["lot_id"]
    office.done(m.VoidLot(account_id=account, lot_id=spent, reason="refunded"))
    workshop.retell()
    workshop.do_all()
    announced = "select state from felix.events where type = 'ledger.lot_expiry_announced'"
    assert len(workshop.rows(announced)) == 1
    later = now + timedelta(days=5)
    office.done(m.ExtendLot(account_id=account, lot_id=kept, expires_at=later, reason="kindness"))
    workshop.retell()
    workshop.do_all()
    workshop.retell()
    assert workshop.do_all() == 0
    told = [event.payload for event in events(workshop) if event.type == "ledger.lot_expiry_announced"]
    assert [(each["lot_id"], each["left_mtok"]) for each in told] == [(kept, 1_000)] * 2
    assert datetime.fromisoformat(told[1]["expires_at"]) == later


def test_a_lot_that_was_extended_meanwhile_is_not_announced_for_its_old_date(workshop: Workshop) -> None:
    office, now = workshop.office, datetime.now(UTC)
    account = office.open_account()
    old = now + timedelta(days=3)
    lot_id = office.done(m.GrantTokens(account_id=account, amount_mtok=5, expires_at=old))["lot_id"]
    office.done(m.ExtendLot(account_id=account, lot_id=lot_id, expires_at=None, reason="kindness"))
    workshop.retell()
    workshop.do_all()
    ((result,),) = workshop.rows("select result from felix.jobs where kind = 'ledger.announce_lot_expiry'")
    assert result["announced_mtok"] == 0


def test_the_notice_is_as_long_as_the_installation_says(workshop: Workshop) -> None:
    expires_at = datetime.now(UTC) + timedelta(days=60)
    account = workshop.office.open_account()
    workshop.office.done(m.GrantTokens(account_id=account, amount_mtok=5, expires_at=expires_at))
    granted = events(workshop)[-1]
    for days in (7, 30):
        terms = Terms(lot_expiry_notice=timedelta(days=days))
        (planned,) = expiring_lots_are_announced.POLICY.react(granted, terms)
        assert planned.due_at == expires_at - timedelta(days=days)


def test_lots_that_another_account_sent_have_timers_too(workshop: Workshop) -> None:
    office = workshop.office
    sender, receiver = office.open_account(), office.open_account()
    expires_at = datetime.now(UTC) + timedelta(days=60)
    office.done(m.GrantTokens(account_id=sender, amount_mtok=5, expires_at=expires_at))
    office.done(m.TransferTokens(account_id=sender, to_account_id=receiver, amount_mtok=5))
    workshop.retell()
    about = {(kind, payload["account_id"]) for kind, _, _, payload in workshop.rows(_PLANNED)}
    assert {account for _, account in about} == {sender, receiver} and len(about) == 4


def test_the_last_moment_of_the_calendar_is_a_deadline_like_any_other(workshop: Workshop) -> None:
    account = workshop.office.open_account()
    never = datetime.max.replace(tzinfo=UTC)
    workshop.office.done(m.GrantTokens(account_id=account, amount_mtok=5, expires_at=never))
    workshop.retell()
    assert len(workshop.rows(_PLANNED)) == 2


def test_a_job_about_an_account_that_is_closed_is_done_with_its_refusal(workshop: Workshop) -> None:
    account = workshop.office.open_account()
    workshop.office.done(m.CloseTokenAccount(account_id=account, reason="gone"))
    due_at = datetime.now(UTC) - timedelta(seconds=1)
    new = NewJob(0, ACME, "ledger.book_expiries", "x", "policy:p", 3, due_at, {"account_id": account})
    workshop.book.add([new])
    workshop.do_all()
    row = workshop.row((0, new.job_id))
    assert (row["state"], row["result"]) == ("done", {"refused": "account_closed"})


def test_events_that_are_read_again_make_no_second_job(workshop: Workshop) -> None:
    account = workshop.office.open_account(100)
    workshop.office.done(m.HoldTokens(account_id=account, amount_mtok=1, meter="m", ttl_s=60))
    workshop.retell()
    planned = workshop.rows("select job_id, created_at from felix.jobs")
    workshop.change("update felix.cursors set position = 0 where projection = 'deadlines_book_expiries'")
    workshop.retell()
    assert workshop.rows("select job_id, created_at from felix.jobs") == planned


def test_what_follows_can_be_followed_from_the_request_to_the_command(workshop: Workshop) -> None:
    """Request, event, job, command and its event have one correlation id, and each names its cause."""
    office, request = workshop.office, uuid4()
    account = office.open_account(10_000)
    context = new_context(ACME, "of-a-request", "client:a", correlation_id=request)
    hold = m.HoldTokens(account_id=account, amount_mtok=4_000, meter="m", ttl_s=1)
    assert office.performer.perform_blocking(hold, context).accepted
    workshop.retell()
    ((job_id, correlation_id, causation_id),) = workshop.rows(
        "select job_id, correlation_id, causation_id from felix.jobs"
    )
    (held,) = [event for event in events(workshop) if event.type == "ledger.tokens_held"]
    assert (correlation_id, causation_id) == (request, held.event_id)
    workshop.change("update felix.jobs set due_at = now() + interval '1 second'")
    until(lambda: workshop.do_all() == 1, "the timer is due")
    expired = events(workshop)[-1]
    assert (expired.type, expired.command_key) == ("ledger.hold_expired", f"job:{job_id}")
    assert expired.actor == "policy:deadlines_book_expiries"
    assert expired.metadata["correlation_id"] == str(request)
    assert expired.metadata["causation_id"] == str(held.event_id)


class HoldsUpset(Policy):
    """Reacts to a hold of one tenant with a defect."""

    name = "holds_upset"
    reads = frozenset({"ledger.tokens_held"})

    def __init__(self, upset_by: UUID | None) -> None:
        self.upset_by = upset_by

    def react(self, event: RecordedEvent, terms: Terms) -> Iterable[NewJob]:
        if event.tenant_id == self.upset_by:
            raise LookupError("upset")
        yield from deadlines_book_expiries.POLICY.react(event, terms)


def _retell_with(workshop: Workshop, policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "POLICIES", (policy,))
    workshop.retell()


def test_an_event_that_upsets_a_policy_stops_it_for_its_tenant_only(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    office = workshop.office
    for tenant in (ACME, GLOBEX):
        account = office.open_account(100, tenant=tenant)
        office.done(m.HoldTokens(account_id=account, amount_mtok=1, meter="m", ttl_s=60), tenant=tenant)
    _retell_with(workshop, HoldsUpset(ACME), monkeypatch)
    assert workshop.rows("select distinct tenant_id from felix.jobs") == [(GLOBEX,)]


def test_a_new_policy_begins_with_what_happens_from_now_on_unless_it_says_otherwise(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    office = workshop.office
    account = office.open_account(100)
    office.done(m.HoldTokens(account_id=account, amount_mtok=1, meter="m", ttl_s=60))
    place_cursors(workshop.endpoints.database_url, ["holds_upset"])
    _retell_with(workshop, HoldsUpset(None), monkeypatch)
    assert workshop.rows("select count(*) from felix.jobs") == [(0,)]
    office.done(m.HoldTokens(account_id=account, amount_mtok=1, meter="m", ttl_s=60))
    _retell_with(workshop, HoldsUpset(None), monkeypatch)
    assert workshop.rows("select count(*) from felix.jobs") == [(1,)]


def test_a_reaction_has_no_table(workshop: Workshop) -> None:
    made = reaction("x", frozenset(), lambda event: ())
    assert (made.name, made.tables, made.ddl) == ("x", (), "")
