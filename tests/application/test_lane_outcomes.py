"""What becomes of a command is remembered; what went wrong leaves no trace, and stops nobody else."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from offices import ACME, GLOBEX, Office, holding_the_head, new_key
from purses import PURSE, PurseTorn, PutCoins

from felix.application import lane as lane_module
from felix.application.lane import DefectFound, TooManyRequests
from felix.application.outcome import Outcome
from felix.application.performer import new_context
from felix.domain.base import Command, stream_name
from felix.domain.errors import CommandInProgress, CommandKeyReused, NotFound, Unavailable
from felix.domain.ledger import messages as m
from felix.domain.ledger.errors import AccountClosed, InsufficientTokens


def debit(account_id: str, amount_mtok: int = 1) -> m.DebitTokens:
    return m.DebitTokens(account_id=account_id, meter="m", amount_mtok=amount_mtok)


def test_an_accepted_and_a_refused_command_are_remembered_by_every_process(
    office: Office, other_office: Office
) -> None:
    account, good, bad = office.open_account(100), new_key(), new_key()
    accepted, refused = office.do(debit(account, 60), good), office.do(debit(account, 60), bad)
    assert (accepted.accepted, refused.accepted) == (True, False)
    with pytest.raises(InsufficientTokens) as told:
        _ = refused.result
    assert told.value.facts["shortfall_mtok"] == 20
    office.done(m.GrantTokens(account_id=account, amount_mtok=1_000))
    for elsewhere in (office, other_office):
        for first, amount, key in ((accepted, 60, good), (refused, 60, bad)):
            again = elsewhere.do(debit(account, amount), key)
            assert again.replayed
            assert (again.body, again.accepted, again.position) == (first.body, first.accepted, first.position)
    assert office.replay(account).available_mtok == 1_040
    office.assert_log_is_whole()


def test_a_refused_command_has_no_position_and_an_accepted_one_its_last(office: Office) -> None:
    account = office.open_account(100)
    assert office.do(debit(account, 101)).position is None
    accepted = office.do(debit(account, 1))
    (head,) = office.rows("select position from felix.partitions where partition = 0")[0]
    assert accepted.log_position == f"0:{head}"
    assert accepted.first_position == accepted.last_position == head


def test_another_request_under_the_same_key_names_the_fields(office: Office) -> None:
    account, key = office.open_account(100), new_key()
    office.done(debit(account, 1), key)
    with pytest.raises(CommandKeyReused) as told:
        office.do(debit(account, 2), key)
    assert told.value.facts == {"conflicting_fields": ["amount_mtok"]}
    assert office.do(debit(account, 1), key).replayed


def test_the_same_key_of_two_clients_is_two_commands(office: Office) -> None:
    key = new_key()
    first = office.do(m.OpenTokenAccount(name="x"), key)
    second = office.do(m.OpenTokenAccount(name="x"), key, tenant=GLOBEX)
    assert not second.replayed
    assert first.body != second.body


def test_eight_callers_of_two_processes_under_one_key_have_one_effect(office: Office, other_office: Office) -> None:
    account = office.open_account(1_000)

    def call(number: int) -> Any:
        try:
            return (office, other_office)[number % 2].do(debit(account, 10), key)
        except CommandInProgress as busy:
            return busy

    for _ in range(10):
        key = new_key()
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(call, range(8)))
        outcomes = [answer for answer in answers if isinstance(answer, Outcome)]
        assert len({outcome.body for outcome in outcomes}) == 1
        assert sum(not outcome.replayed for outcome in outcomes) == 1
    assert office.replay(account).available_mtok == 900
    office.assert_log_is_whole()


def test_a_transfer_changes_both_accounts_or_neither(office: Office) -> None:
    sender, receiver, shut = office.open_account(100), office.open_account(5), office.open_account()
    office.done(m.CloseTokenAccount(account_id=shut, reason="done with"))
    nobody = "acct_" + "0" * 32

    def send(to: str, amount_mtok: int) -> Outcome:
        return office.do(m.TransferTokens(account_id=sender, to_account_id=to, amount_mtok=amount_mtok))

    for outcome, error in (
        (send(receiver, 101), InsufficientTokens),
        (send(nobody, 1), NotFound),
        (send(shut, 1), AccountClosed),  # after the sender has sent
    ):
        assert isinstance(outcome.refusal, error)
        assert outcome.position is None
    done = send(receiver, 70)
    assert (done.first_position or 0) + 1 == done.last_position
    for account, left in ((sender, 30), (receiver, 75), (shut, 0)):
        remembered = office.remembered(account)
        assert remembered is not None
        assert remembered.snapshot() == office.replay(account).snapshot()
        assert office.replay(account).available_mtok == left
    office.assert_log_is_whole()


WRONG = ("refused", "unspeakable refusal", "defect", "unspeakable", "by zero", "stuck")


@pytest.mark.parametrize("then", WRONG)
@pytest.mark.parametrize("known", [True, False], ids=["known purse", "new purse"])
def test_what_went_wrong_after_events_were_emitted_leaves_no_trace(then: str, known: bool, office: Office) -> None:
    coins = office.done(PutCoins(coins=7))["coins"] if known else 0
    key = new_key()
    if then == "refused":
        with pytest.raises(PurseTorn):
            office.done(PutCoins(coins=100, then=then), key)
        assert office.do(PutCoins(coins=100, then=then), key).replayed
    else:
        for _ in range(2):
            with pytest.raises(DefectFound):
                office.do(PutCoins(coins=100, then=then), key)
        assert office.rows("select 1 from felix.commands where command_key = %s", key) == []
    assert office.done(PutCoins(coins=1))["coins"] == coins + 1
    office.assert_log_is_whole()


@pytest.mark.parametrize("then", WRONG)
def test_a_command_that_goes_wrong_stops_no_other_of_its_batch(then: str, office: Office) -> None:
    account = office.open_account(100)
    commands: list[Command] = [PutCoins(coins=1), debit(account), PutCoins(coins=2), PutCoins(coins=100, then=then)]
    commands += [PutCoins(coins=4), debit(account), debit(account, 1_000)]
    answers = office.at_once(commands)
    assert len(office.commits) == 4, "two for the account, one for who came first, and one for all the others"
    assert [answer.result["coins"] for answer in (answers[0], answers[2], answers[4])] == [1, 3, 7]
    assert (answers[1].accepted, answers[5].accepted, answers[6].accepted) == (True, True, False)
    assert isinstance(answers[3], DefectFound) or isinstance(answers[3].refusal, PurseTorn)
    assert office.replay(account).available_mtok == 98
    assert len(office.rows("select 1 from felix.events where stream = %s", stream_name(ACME, "purse", PURSE))) == 4
    office.assert_log_is_whole()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_lane_that_dies_of_something_unforeseen_tells_who_waits_and_is_replaced(office: Office) -> None:
    account = office.open_account(100)
    lost = new_key()
    answers = office.at_once([debit(account), PutCoins(coins=1, then="unforeseen")], [lost, new_key()])
    assert [type(answer) for answer in answers] == [DefectFound, DefectFound]
    assert office.replay(account).available_mtok == 100
    assert office.do(debit(account), lost).accepted
    assert office.replay(account).available_mtok == 99
    office.assert_log_is_whole()


def test_commands_of_one_batch_see_each_other_in_the_order_of_their_arrival(office: Office) -> None:
    account = office.open_account(100)
    answers = office.at_once([debit(account, 40) for _ in range(4)])
    assert [answer.accepted for answer in answers] == [True, True, False, False]
    assert [answer.result["balance"]["available_mtok"] for answer in answers[:2]] == [60, 20]
    assert len(office.commits) == 4, "two for the account, one for who came first, and one for the batch"


def test_usage_is_a_duplicate_within_the_transaction_that_first_brings_it(office: Office) -> None:
    from felix.domain.metering.messages import DebitUsageBatch, PublishRateCard
    from felix.domain.metering.usage import read_usage

    account = office.open_account(100)
    prices: Any = [{"kind": "flat", "meter": "m", "price_mtok": 10}]
    office.done(PublishRateCard.model_validate({"prices": prices}))
    event = {
        "specversion": "1.0", "type": "felix.usage", "source": "/x", "id": "1", "subject": account,
        "data": {"meter": "m", "quantity": 1},
    }  # fmt: skip
    batch = DebitUsageBatch.of(*read_usage([event], ACME), request_digest="x")
    answers = office.at_once([debit(account), batch, batch, batch])
    assert [answer.result["accepted"] for answer in answers[1:]] == [1, 0, 0]
    assert office.replay(account).available_mtok == 89


def test_beyond_what_a_lane_takes_callers_are_told_to_come_back(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane_module, "MAX_WAITING", 5)
    account = office.open_account(100)
    keys = [new_key() for _ in range(8)]
    answers = office.at_once([debit(account) for _ in keys], keys)
    turned_away = [key for key, answer in zip(keys, answers, strict=True) if isinstance(answer, TooManyRequests)]
    assert len(turned_away) == 4
    for key in turned_away:
        assert not office.do(debit(account), key).replayed
    assert office.replay(account).available_mtok == 92


def test_heavy_commands_share_no_batch_beyond_its_weight(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane_module, "MAX_BATCH_WEIGHT", 3)
    account = office.open_account(100)
    answers = office.at_once([debit(account) for _ in range(10)])
    assert [answer.result["balance"]["available_mtok"] for answer in answers] == list(range(99, 89, -1))
    assert len(office.commits) == 2 + 1 + 4, "who came first, then three by three"


def test_closing_finishes_what_waits_and_takes_no_more(office: Office) -> None:
    account = office.open_account(100)

    async def close_while_busy() -> list[Any]:
        with holding_the_head(office.database) as holder:
            contexts = [new_context(ACME, new_key(), "founder:a") for _ in range(5)]
            waiting = [asyncio.ensure_future(office.performer.perform(debit(account), at)) for at in contexts]
            await asyncio.sleep(0.05)
            closing = asyncio.get_running_loop().run_in_executor(None, office.performer.close)
            await asyncio.sleep(0.05)
            holder.rollback()
            answers = await asyncio.gather(*waiting)
            await closing
            return answers

    assert all(answer.accepted for answer in asyncio.run(close_while_busy()))
    with pytest.raises(Unavailable):
        office.do(debit(account))
    assert office.replay(account).available_mtok == 95


def test_a_caller_who_gives_up_waiting_does_not_undo_the_command(office: Office) -> None:
    account, key = office.open_account(100), new_key()

    async def give_up() -> None:
        with holding_the_head(office.database) as holder:
            asked = asyncio.ensure_future(office.performer.perform(debit(account), new_context(ACME, key, "founder:a")))
            await asyncio.sleep(0.05)
            asked.cancel()
            holder.rollback()

    asyncio.run(give_up())
    office.done(debit(account))
    assert office.do(debit(account), key).replayed
    assert office.replay(account).available_mtok == 98
