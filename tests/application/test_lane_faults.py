"""Frozen clients, a database that goes away, answers that are lost: one effect a key, and the lane goes on."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from offices import Office, holding_the_head, new_key, open_office, until
from severing_proxy import SeveringProxy, severing_proxy

from felix import bootstrap
from felix.application.lane import Lane
from felix.application.outcome import Outcome
from felix.domain.errors import Unavailable, VersionConflict
from felix.domain.ledger.messages import DebitTokens
from felix.eventstore import connections
from felix.eventstore.connections import connect


@pytest.fixture
def account(office: Office) -> str:
    return office.open_account(100)


@pytest.fixture
def proxy(database: str) -> Iterator[SeveringProxy]:
    with severing_proxy(database) as opened:
        yield opened


@pytest.fixture
def far_office(office: Office, proxy: SeveringProxy) -> Iterator[Office]:
    """An office whose lanes reach the database through the proxy."""
    with open_office(office.database, through=proxy.url) as opened:
        yield opened


def debit(account_id: str, amount_mtok: int = 1) -> DebitTokens:
    return DebitTokens(account_id=account_id, meter="m", amount_mtok=amount_mtok)


def in_background(office: Office, account: str, key: str) -> tuple[threading.Thread, list[Outcome]]:
    answers: list[Outcome] = []
    thread = threading.Thread(target=lambda: answers.append(office.do(debit(account), key)))
    thread.start()
    return thread, answers


# --- who holds the head and stops ------------------------------------------------------------------------------------


def test_a_writer_that_freezes_with_the_head_in_its_hands_loses_it_after_two_seconds(
    office: Office, account: str
) -> None:
    frozen = connect(bootstrap.Endpoints(office.database, None, None).writer_url)
    frozen.execute("begin")
    frozen.execute("select position from felix.partitions where partition = 0 for no key update")
    began = time.monotonic()
    office.done(debit(account))
    assert 1.0 < time.monotonic() - began < 5.0
    with pytest.raises(psycopg.errors.IdleInTransactionSessionTimeout):
        frozen.execute("select 1")
    frozen.close()
    office.assert_log_is_whole()


def test_a_writer_that_freezes_in_the_middle_of_a_copy_is_ended_by_who_waits_for_the_head(
    office: Office, account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "TRANSACTION_TIMEOUT_MS", 500)
    with connect(bootstrap.Endpoints(office.database, None, None).writer_url) as frozen:
        frozen.execute("begin")
        frozen.execute("select position from felix.partitions where partition = 0 for no key update")
        frozen.pgconn.exec_(b"copy felix.events from stdin")
        time.sleep(1.0)
        # The control: Postgres itself has not noticed.
        assert sessions_in_copy(office.database) == 1
        with open_office(office.database) as hurried:
            hurried.done(debit(account))
        assert sessions_in_copy(office.database) == 0
        frozen.close()
    office.assert_log_is_whole()


def sessions_in_copy(database: str) -> int:
    with connect(database) as administrator:
        (found,) = administrator.execute(
            "select count(*) from pg_stat_activity where datname = current_database() and state = 'active'"
            " and query like 'copy felix.events%'"
        ).fetchone() or (0,)
    return int(found)


def test_without_the_timeout_the_same_holder_would_keep_everybody_waiting(office: Office, account: str) -> None:
    """The positive control: nothing but the timeout of the writer's connections frees the head."""
    with holding_the_head(office.database) as holder:
        thread, answers = in_background(office, account, new_key())
        thread.join(3.0)
        assert thread.is_alive() and not answers
        holder.rollback()
        thread.join(5.0)
    assert answers[0].accepted


def test_the_writers_connections_have_both_timeouts(office: Office) -> None:
    with connect(bootstrap.Endpoints(office.database, None, None).writer_url) as writer:
        for name, value in (("transaction_timeout", "15s"), ("idle_in_transaction_session_timeout", "2s")):
            assert writer.execute(f"show {name}").fetchone() == (value,)
        assert writer.execute("select current_user").fetchone() == ("felix_writer",)


def test_a_transaction_that_takes_too_long_is_ended_even_while_it_is_busy(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "TRANSACTION_TIMEOUT_MS", 300)
    with connect(bootstrap.Endpoints(database, None, None).writer_url) as writer:
        writer.execute("begin")
        began = time.monotonic()
        with pytest.raises(psycopg.errors.TransactionTimeout):
            writer.execute("select pg_sleep(20)")
        assert time.monotonic() - began < 3.0


def test_a_head_that_stays_taken_makes_callers_come_back_with_the_same_key(
    office: Office, account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "TRANSACTION_TIMEOUT_MS", 300)
    key = new_key()
    with open_office(office.database) as hurried, holding_the_head(office.database) as holder:
        with pytest.raises(Unavailable):
            hurried.do(debit(account), key)
        holder.rollback()
        assert not hurried.do(debit(account), key).replayed
        assert hurried.do(debit(account), key).replayed
    assert office.replay(account).available_mtok == 99


# --- the database goes away ------------------------------------------------------------------------------------------


def cut_writers(office: Office) -> None:
    office.rows(
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where datname = current_database() and application_name = 'felix_writer'"
    )


def test_a_connection_that_died_while_idle_costs_nobody_anything(office: Office, account: str) -> None:
    for left in (99, 98, 97):
        cut_writers(office)
        assert office.done(debit(account))["balance"]["available_mtok"] == left


def test_a_connection_that_dies_at_work_is_unavailable_and_the_key_has_one_effect(office: Office, account: str) -> None:
    key = new_key()
    waits = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    with holding_the_head(office.database) as holder:
        failed: list[Exception] = []

        def ask() -> None:
            try:
                office.do(debit(account), key)
            except Unavailable as error:
                failed.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        until(lambda: office.rows(waits) == [(1,)], "the lane waits")
        while thread.is_alive():  # its first connection, and that of its second try
            cut_writers(office)
            thread.join(0.05)
        holder.rollback()
    assert len(failed) == 1
    assert not office.do(debit(account), key).replayed
    assert office.do(debit(account), key).replayed
    assert office.replay(account).available_mtok == 99
    office.assert_log_is_whole()


# --- the answer to a commit is lost ----------------------------------------------------------------------------------


@pytest.mark.parametrize("fate", ["after", "during", "before"])
@pytest.mark.parametrize("amount_mtok", [5, 500], ids=["accepted", "refused"])
def test_a_commit_whose_acknowledgement_is_lost_is_settled_by_its_key(
    fate: str, amount_mtok: int, office: Office, far_office: Office, proxy: SeveringProxy, account: str
) -> None:
    key = new_key()
    far_office.done(debit(account))
    proxy.sever(fate)
    with pytest.raises(Unavailable):
        far_office.do(debit(account, amount_mtok), key)
    assert proxy.severed == 1
    again = far_office.do(debit(account, amount_mtok), key)
    assert again.replayed == (fate != "before")
    assert office.do(debit(account, amount_mtok), key).body == again.body
    assert again.accepted == (amount_mtok == 5)
    assert far_office.done(debit(account))["balance"]["available_mtok"] == (93 if again.accepted else 98)
    office.assert_log_is_whole()


def test_callers_who_shared_the_lost_batch_are_all_settled(
    office: Office, far_office: Office, proxy: SeveringProxy, account: str
) -> None:
    far_office.done(debit(account))
    keys = [new_key() for _ in range(30)]
    with ThreadPoolExecutor(len(keys)) as pool, holding_the_head(office.database) as holder:
        asked = [pool.submit(far_office.do, debit(account), key) for key in keys]
        until(lambda: len(far_office.performer._lanes[0]._running) == len(keys), "all of them wait")
        proxy.sever("after")
        holder.rollback()
        unheard = [key for key, answer in zip(keys, asked, strict=True) if answer.exception(30) is not None]
    assert unheard
    for key in unheard:
        assert far_office.do(debit(account), key).replayed
    assert office.replay(account).available_mtok == 99 - len(keys)
    office.assert_log_is_whole()


def lose_answers(
    office: Office, proxy: SeveringProxy, account: str, times: int, key_of: Callable[[int, int], str]
) -> int:
    """Debit many times while every third answer is lost; each caller tries until it hears. How many were lost.

    More seldom would be never: the driver prepares the sixth commit of a connection, and the proxy knows it no more.
    """
    chance, lost = random.Random(11), 0
    for number in range(times):
        if number % 3 == 2:
            proxy.sever(chance.choice(("after", "during", "before")))
        attempt = 0
        while True:
            try:
                assert office.do(debit(account), key_of(number, attempt)).accepted
                break
            except Unavailable:
                lost += 1
                attempt += 1
    return lost


@pytest.mark.parametrize("times", [60, pytest.param(1_000, marks=pytest.mark.deep)])
def test_however_many_answers_are_lost_a_key_has_one_effect(
    times: int, office: Office, far_office: Office, proxy: SeveringProxy
) -> None:
    account = office.open_account(2 * times)
    assert lose_answers(far_office, proxy, account, times, lambda number, _: f"debit-{number}") > times // 10
    assert office.replay(account).available_mtok == times
    office.assert_log_is_whole()


def test_a_caller_who_makes_up_a_new_key_for_every_attempt_pays_twice(
    office: Office, far_office: Office, proxy: SeveringProxy
) -> None:
    """The positive control: the answers do get lost, and without the lookup by key that is a second debit."""
    account = office.open_account(200)
    lose_answers(far_office, proxy, account, 60, lambda number, attempt: f"debit-{number}-{attempt}")
    assert office.replay(account).available_mtok < 140


def test_a_lane_that_looks_nothing_up_is_still_stopped_by_the_unique_key(office: Office, account: str) -> None:
    """The second belt: the outcome's primary key refuses what the lookup would have answered."""
    key = new_key()
    office.done(debit(account), key)
    lane = office.performer._lanes[0]
    assert isinstance(lane, Lane)
    look_up = lane._log.open_batch
    lane._log.open_batch = lambda keys: (look_up(keys)[0], {})  # type: ignore[method-assign]
    with pytest.raises(VersionConflict, match="first"):
        office.do(debit(account), key)
    assert office.replay(account).available_mtok == 99
