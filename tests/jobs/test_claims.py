"""A job is done once, whoever tries: claims, their end, and what becomes of failures."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from offices import ACME, until
from workshop import CALLS, DONE, Workshop

from felix.application.jobs.kinds import BACKOFF_S, MAX_BACKOFF_S, ClaimLost, JobContext, job, pause_s
from felix.domain.errors import Invalid
from felix.eventstore.jobs import JobKey, JobNotSettled


def test_a_job_that_is_asked_for_twice_is_done_once(workshop: Workshop) -> None:
    assert workshop.plan("test.note", "a") == workshop.plan("test.note", "a")
    assert workshop.do_all() == 1
    assert workshop.do_all() == 0
    assert workshop.plan("test.note", "a") and workshop.do_all() == 0
    assert DONE == {"a": [1]}


def test_the_same_about_another_tenant_or_of_another_kind_is_another_job(workshop: Workshop) -> None:
    keys = {
        workshop.plan("test.note", "a"),
        workshop.plan("test.note", "a", tenant=None),
        workshop.plan("test.call", "a"),
    }
    assert len(keys) == 3


def test_a_job_waits_until_it_is_due(workshop: Workshop) -> None:
    key = workshop.plan("test.note", "later", in_s=0.3)
    assert workshop.book.hand_out(10) == []
    assert workshop.book.claim(key, {}) is None
    until(lambda: workshop.do_all() == 1, "it is due")
    assert DONE == {"later": [1]}


def test_many_relays_hand_every_job_out_once(workshop: Workshop) -> None:
    planned = {workshop.plan("test.note", str(number)) for number in range(60)}
    with ThreadPoolExecutor(6) as relays:
        handed = [key for keys in relays.map(lambda _: workshop.book.hand_out(1_000), range(6)) for key in keys]
    assert sorted(handed) == sorted(planned)


def test_no_more_are_handed_out_than_may_be(workshop: Workshop) -> None:
    keys = [workshop.plan("test.note", str(number)) for number in range(10)]
    first = workshop.book.hand_out(4)
    assert len(first) == 4 and workshop.book.hand_out(4) == []
    workshop.runner.do(*first[0])
    assert len(workshop.book.hand_out(4)) == 1
    assert set(first) < set(keys)


def test_messages_that_come_twice_late_or_in_another_order_do_nothing_more(workshop: Workshop) -> None:
    keys = [workshop.plan("test.note", str(number)) for number in range(20)]
    messages = [*reversed(keys), *keys, *keys]
    with ThreadPoolExecutor(8) as workers:
        list(workers.map(lambda key: workshop.runner.do(*key), messages))
    assert {what: [1] for what in map(str, range(20))} == DONE


def test_without_the_claim_the_same_messages_do_it_again(workshop: Workshop) -> None:
    """The control: were there no claim, the test above would see it."""
    key = workshop.plan("test.note", "a")
    claimed = workshop.claim(key)
    for _ in range(2):
        workshop.runner._run(claimed)
    assert DONE == {"a": [1, 1]}


def test_a_zombie_whose_claim_ran_out_can_not_finish(workshop: Workshop) -> None:
    key = workshop.plan("test.note", "a")
    zombie = workshop.claim(key, lease_s=0.01)
    until(lambda: bool(workshop.book.lapse()), "the claim runs out")
    assert workshop.row(key)["state"] == "waiting"
    assert not workshop.book.finish(zombie, {}) and not workshop.book.put_off(zombie, "late", 0)
    other = workshop.claim(key)
    for late in (workshop.book.finish(zombie, {}), workshop.book.bury(zombie, "late"), workshop.book.give_back(zombie)):
        assert not late
    assert not workshop.book.extend(zombie, 60)
    assert workshop.book.finish(other, {"by": "the other"})
    assert workshop.row(key)["result"] == {"by": "the other"}


def test_a_job_that_says_how_far_it_is_keeps_its_claim_and_hears_when_it_lost_it(workshop: Workshop) -> None:
    key = workshop.plan("test.call", "long")
    heard: list[object] = []

    def work(context: JobContext) -> dict[str, int]:
        before = workshop.row(key)["claimed_until"]
        context.progress(3, 10)
        row = workshop.row(key)
        heard.append((row["progress_done"], row["progress_total"], row["claimed_until"] > before))
        workshop.change("update felix.jobs set claimed_until = now() - interval '1 minute'")
        assert workshop.book.lapse()
        try:
            context.progress(4, 10)
        except ClaimLost as lost:
            heard.append(lost.code)
            raise
        return {}

    CALLS["long"] = work
    workshop.do_all()
    assert heard == [(3, 10, True), "claim_lost"]
    assert workshop.row(key)["state"] == "waiting"


def test_a_job_that_fails_is_tried_again_later_and_then_dead(workshop: Workshop) -> None:
    key = workshop.plan("test.call", "bad")

    def work(context: JobContext) -> dict[str, int]:
        raise LookupError("no such thing")

    CALLS["bad"] = work
    for attempt in (1, 2, 3):
        workshop.change("update felix.jobs set due_at = now() where state = 'waiting'")
        assert workshop.do_all() == 1
        row = workshop.row(key)
        assert (row["attempts"], row["error"]) == (attempt, "LookupError: no such thing")
        assert row["state"] == ("waiting" if attempt < 3 else "dead")
    assert workshop.do_all() == 0
    CALLS["bad"] = lambda context: {"fine": True}
    workshop.book.retry(key, "founder:a")
    assert (workshop.row(key)["state"], workshop.row(key)["attempts"]) == ("waiting", 0)
    workshop.do_all()
    row = workshop.row(key)
    assert (row["state"], row["result"], row["error"], row["settled_by"]) == ("done", {"fine": True}, None, "founder:a")


def test_what_can_never_be_right_is_not_tried_again(workshop: Workshop) -> None:
    key = workshop.plan("test.call", "wrong")

    def work(context: JobContext) -> dict[str, int]:
        raise Invalid("The address is no address.", address="nowhere")

    CALLS["wrong"] = work
    workshop.do_all()
    row = workshop.row(key)
    assert (row["state"], row["attempts"], row["result"]) == ("dead", 1, {"address": "nowhere"})


def test_a_job_that_takes_its_worker_with_it_is_dead_in_the_end(workshop: Workshop) -> None:
    key = workshop.plan("test.note", "deadly")
    for state in ("waiting", "waiting", "dead"):
        workshop.claim(key, lease_s=0)
        assert [row[3] for row in workshop.book.lapse()] == [state]
    assert workshop.row(key)["error"] == "The worker that had it was not heard of any more."


def test_a_kind_of_a_newer_version_waits_for_it(workshop: Workshop) -> None:
    key = workshop.plan("test.of_tomorrow", "a")
    workshop.do_all()
    row = workshop.row(key)
    assert row["state"] == "waiting" and "knows no jobs called 'test.of_tomorrow'" in row["error"]


def test_a_worker_that_stops_gives_back_what_it_has_not_done(workshop: Workshop) -> None:
    key = workshop.plan("test.call", "slow")
    begun, go_on = threading.Event(), threading.Event()

    def work(context: JobContext) -> dict[str, int]:
        begun.set()
        go_on.wait(10)
        return {}

    CALLS["slow"] = work
    thread = threading.Thread(target=workshop.runner.do, args=key)
    thread.start()
    assert begun.wait(5) and workshop.runner.at_hand == 1
    workshop.runner.ask_to_stop()
    assert workshop.runner.give_back() == 1
    assert (workshop.row(key)["state"], workshop.row(key)["attempts"]) == ("waiting", 0)
    other = workshop.claim(key)
    go_on.set()
    thread.join(5)
    assert workshop.book.finish(other, {})


def test_a_long_job_hears_that_its_worker_stops(workshop: Workshop) -> None:
    key = workshop.plan("test.call", "long")

    def work(context: JobContext) -> dict[str, int]:
        workshop.runner.ask_to_stop()
        context.progress(1, 2)
        raise AssertionError("it should have stopped")

    CALLS["long"] = work
    workshop.runner.do(*key)
    assert (workshop.row(key)["state"], workshop.row(key)["attempts"]) == ("waiting", 0)


def test_a_stopped_worker_takes_nothing(workshop: Workshop) -> None:
    key = workshop.plan("test.note", "a")
    workshop.runner.ask_to_stop()
    workshop.runner.do(*key)
    assert DONE == {} and workshop.row(key)["attempts"] == 0


@pytest.mark.parametrize("state", ["running", "done"])
def test_what_is_under_way_or_done_can_not_be_settled(workshop: Workshop, state: str) -> None:
    key = workshop.plan("test.note", "a")
    claimed = workshop.claim(key)
    if state == "done":
        workshop.book.finish(claimed, {})
    for settle in (workshop.book.retry, workshop.book.cancel):
        with pytest.raises(JobNotSettled):
            settle(key, "founder:a")


def test_a_cancelled_job_is_not_done_though_its_message_comes(workshop: Workshop) -> None:
    key = workshop.plan("test.note", "a")
    (handed,) = workshop.book.hand_out(10)
    workshop.book.cancel(key, "founder:a")
    workshop.runner.do(*handed)
    assert DONE == {} and workshop.row(key)["state"] == "cancelled"
    workshop.book.retry(key, "founder:b")
    workshop.do_all()
    assert DONE == {"a": [1]}


def test_finished_jobs_are_forgotten_and_dead_ones_are_not(workshop: Workshop) -> None:
    keys: dict[str, JobKey] = {what: workshop.plan("test.note", what) for what in ("done", "dead", "cancelled", "new")}
    workshop.book.finish(workshop.claim(keys["done"]), {})
    workshop.book.bury(workshop.claim(keys["dead"]), "no")
    workshop.book.cancel(keys["cancelled"], "founder:a")
    workshop.change("update felix.jobs set finished_at = now() - interval '8 days' where finished_at is not null")
    workshop.book.finish(workshop.claim(keys["new"]), {})
    assert workshop.book.purge(timedelta(days=7)) == 2
    assert {state for (state,) in workshop.rows("select state from felix.jobs")} == {"dead", "done"}


def test_pauses_double_are_spread_and_end_somewhere() -> None:
    for attempts in range(1, 30):
        full_s = min(BACKOFF_S * 2 ** (attempts - 1), MAX_BACKOFF_S)
        drawn = [pause_s(attempts) for _ in range(50)]
        assert all(full_s / 2 <= pause <= full_s for pause in drawn)
        assert max(drawn) - min(drawn) > full_s / 10


def test_two_kinds_of_one_name_are_refused() -> None:
    with pytest.raises(TypeError, match="two kinds"):
        job("test.note")(lambda context: {})


def test_a_job_that_has_nothing_to_do_yet_waits_and_loses_no_attempt(workshop: Workshop) -> None:
    key = workshop.plan("test.note", "a")
    claimed = workshop.claim(key)
    until_at = datetime.now(UTC) + timedelta(hours=1)
    assert workshop.book.wait(claimed, until_at)
    row = workshop.row(key)
    assert (row["state"], row["attempts"], row["due_at"]) == ("waiting", 0, until_at)
    assert workshop.book.hand_out(10) == [] and workshop.book.claim(key, {}) is None
    assert not workshop.book.wait(claimed, until_at), "whoever has lost the claim changes nothing"
    assert workshop.row(key) == row


def test_what_waits_for_its_time_is_hastened_for_one_tenant_and_one_kind(workshop: Workshop) -> None:
    mine, other_kind = workshop.plan("test.note", "a", in_s=3_600), workshop.plan("test.call", "a", in_s=3_600)
    nobodys = workshop.plan("test.note", "a", in_s=3_600, tenant=None)
    running, due = workshop.plan("test.note", "runs"), workshop.plan("test.note", "due")
    claimed = workshop.claim(running)
    assert workshop.book.hasten((mine[0], ACME), "test.note") == 1
    assert workshop.book.hasten((mine[0], ACME), "test.note") == 0, "what is due is not put behind others"
    assert set(workshop.book.hand_out(10)) == {mine, due}
    assert {workshop.row(key)["state"] for key in (other_kind, nobodys)} == {"waiting"}
    assert workshop.row(running)["state"] == "running" and workshop.book.finish(claimed, {})
