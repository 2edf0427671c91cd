"""What a lane remembers is what the log says: after refusals, after others wrote, from snapshots, at any time."""

from __future__ import annotations

import random

import pytest
from offices import ACME, Office, new_key

from felix.application import lane as lane_module
from felix.application.outcome import Outcome
from felix.application.performer import new_context
from felix.domain.base import Command, stream_name
from felix.domain.ledger import messages as m
from felix.domain.ledger.token_account import TokenAccount
from felix.eventstore.mapper import canonical_json
from felix.eventstore.snapshots import snapshot_type


def debit(account_id: str, amount_mtok: int = 1) -> m.DebitTokens:
    return m.DebitTokens(account_id=account_id, meter="m", amount_mtok=amount_mtok)


def any_command(chance: random.Random, accounts: list[str], holds: list[str]) -> Command:
    """A command that may well be refused."""
    account, amount = chance.choice(accounts), chance.choice((1, 7, 40, 90))
    match chance.randrange(8):
        case 0:
            return m.GrantTokens(account_id=account, amount_mtok=amount, meters=chance.choice(([], ["m"], ["other"])))
        case 1:
            return m.HoldTokens(account_id=account, amount_mtok=amount, meter="m")
        case 2:
            return m.TransferTokens(account_id=account, to_account_id=chance.choice(accounts), amount_mtok=amount)
        case 3 | 4 if holds:
            policy = chance.choice(("deny", "take_available", "debt"))
            return m.CaptureHold.model_validate(
                {"account_id": account, "hold_id": chance.choice(holds), "amount_mtok": amount, "overshoot": policy}
            )
        case 5:
            return m.ProposeAdjustment(account_id=account, amount_mtok=chance.choice((-30, 20)), reason="why not")
        case _:
            return debit(account, amount)


def test_after_any_commands_memory_equals_a_replay_of_the_log(office: Office, other_office: Office) -> None:
    chance = random.Random(7)
    accounts = [office.open_account(100) for _ in range(3)]
    holds: list[str] = []
    refused = 0
    for number in range(240):
        where = other_office if 10 < number % 40 < 15 else office
        outcome = where.do(any_command(chance, accounts, holds))
        refused += not outcome.accepted
        if outcome.accepted and "hold_id" in outcome.result:
            holds.append(outcome.result["hold_id"])
        if number % 40 in (5, 39):
            for account in accounts:
                remembered = office.remembered(account)
                assert remembered is None or _state(remembered) == _state(office.replay(account)), number
    assert 30 < refused < 200, "the test is about both"
    for account in accounts:
        office.replay(account).assert_invariants()
    office.assert_log_is_whole()


def test_a_batch_that_refuses_in_between_ends_where_the_log_does(office: Office) -> None:
    """A refused command drops an account that the batch has changed before: it is folded again from the batch."""
    sender, shut = office.open_account(100), office.open_account()
    office.done(m.CloseTokenAccount(account_id=shut, reason="done with"))
    to_a_closed_one = m.TransferTokens(account_id=sender, to_account_id=shut, amount_mtok=5)
    answers = office.at_once(
        [debit(sender, 10), to_a_closed_one, debit(sender, 20), to_a_closed_one, debit(sender, 70)]
    )
    assert [answer.accepted for answer in answers] == [True, False, True, False, True]
    remembered = office.remembered(sender)
    assert remembered is not None
    assert _state(remembered) == _state(office.replay(sender))
    assert office.replay(sender).available_mtok == 0


def test_what_another_process_wrote_is_seen(office: Office, other_office: Office) -> None:
    account = office.open_account(100)
    for left in range(99, 79, -1):
        here = office if left % 2 else other_office
        assert here.done(debit(account))["balance"]["available_mtok"] == left
    office.assert_log_is_whole()


def test_the_oldest_memories_go_when_there_are_too_many(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane_module, "MAX_REMEMBERED", 8)
    accounts = [office.open_account(100) for _ in range(12)]
    assert sum(office.remembered(account) is not None for account in accounts) <= 8
    for account in accounts:
        assert office.done(debit(account))["balance"]["available_mtok"] == 99


def test_a_snapshot_is_stored_every_so_many_events_and_leads_to_the_same_state(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane_module, "SNAPSHOT_EVERY", 10)
    account = office.open_account(1_000)
    office.done(m.SetSpendCap(account_id=account, limit_mtok=900, window="day"))
    for _ in range(3):
        office.done(m.HoldTokens(account_id=account, amount_mtok=5, meter="m"))
    for _ in range(30):
        office.done(debit(account, 2))
    stream = stream_name(ACME, "token_account", account)
    versions = [version for (version,) in office.rows(_SNAPSHOTS, stream)]
    assert versions == [10, 20, 30]
    restored, snapshot = office.loaded(account)
    whole = office.replay(account)
    assert snapshot == 30
    assert restored.version == whole.version == 36
    assert _state(restored) == _state(whole)
    office.done(debit(account))
    restored.assert_invariants()  # type: ignore[attr-defined]


def test_a_snapshot_of_another_state_version_is_left_alone(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane_module, "SNAPSHOT_EVERY", 5)
    account = office.open_account(100)
    for _ in range(6):
        office.done(debit(account))
    assert office.loaded(account)[1] == 5
    monkeypatch.setattr(TokenAccount, "class_version", 99, raising=False)
    assert snapshot_type(TokenAccount).endswith("/99")
    restored, snapshot = office.loaded(account)
    assert snapshot == 0
    assert _state(restored) == _state(office.replay(account))


def test_a_lane_that_begins_anew_goes_on_where_the_other_ended(
    office: Office, other_office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane_module, "SNAPSHOT_EVERY", 5)
    account = office.open_account(100)
    for _ in range(11):
        office.done(debit(account))
    assert other_office.done(debit(account))["balance"]["available_mtok"] == 88
    assert [version for (version,) in office.rows(_SNAPSHOTS, stream_name(ACME, "token_account", account))] == [5, 10]


def test_a_command_decided_twice_from_the_same_state_gives_the_same_events(office: Office) -> None:
    account_id = office.open_account(100)
    context = new_context(ACME, new_key(), "founder:a")
    first, second = (office.replay(account_id).deciding(context) for _ in range(2))
    command = m.HoldTokens(account_id=account_id, amount_mtok=5, meter="m")
    told = []
    for account in (first, second):
        context.rewind()
        told.append((account.hold(command), [event.model_dump() for event in account.pending_events]))
    assert told[0] == told[1]
    assert canonical_json(first.snapshot()) == canonical_json(second.snapshot())


def test_a_replay_gives_the_same_state_every_time(office: Office) -> None:
    chance = random.Random(3)
    accounts = [office.open_account(50) for _ in range(2)]
    outcomes: list[Outcome] = [office.do(any_command(chance, accounts, [])) for _ in range(60)]
    assert any(not outcome.accepted for outcome in outcomes)
    for account in accounts:
        assert len({canonical_json(_state(office.replay(account))) for _ in range(3)}) == 1


def _state(account: object) -> dict[str, object]:
    assert isinstance(account, TokenAccount)
    return account.snapshot() | {"version": account.version, "modified_on": account.modified_on.isoformat()}


_SNAPSHOTS = "select version from felix.snapshots where stream = %s order by version"
