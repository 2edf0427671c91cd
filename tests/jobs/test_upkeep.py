"""What the platform does to itself at night."""

from __future__ import annotations

import pytest
from offices import ACME, Office, until
from workshop import Workshop

from felix import bootstrap
from felix.application.jobs.schedule import SCHEDULE
from felix.application.jobs.upkeep import purge_jobs, snapshot_long_streams, verify_ledger
from felix.application.lane import SNAPSHOT_EVERY
from felix.domain.base import stream_name
from felix.domain.ledger.messages import DebitTokens
from felix.eventstore.jobs import JobKey
from felix.worker.ticker import Ticker


def run(workshop: Workshop, kind: str) -> JobKey:
    """Do a job of the platform now."""
    key = workshop.plan(kind, "now", tenant=None)
    assert workshop.do_all() == 1
    return key


def test_the_nightly_verification_keeps_what_it_looked_at(workshop: Workshop) -> None:
    workshop.office.open_account(5_000)
    workshop.retell()
    row = workshop.row(run(workshop, verify_ledger.name))
    assert (row["state"], row["result"]["consistent"], row["result"]["violations"]) == ("done", True, 0)
    assert row["result"]["events"] == 2 and row["result"]["looked_at"]["accounts"] == 2
    assert (row["progress_done"], row["progress_total"]) == (2, 2)


def test_a_ledger_that_does_not_fit_together_is_a_dead_job_and_an_alarm(
    workshop: Workshop, caplog: pytest.LogCaptureFixture
) -> None:
    workshop.office.open_account(5_000)
    workshop.retell()
    workshop.change("update read.token_accounts set debt_mtok = debt_mtok + 1")
    row = workshop.row(run(workshop, verify_ledger.name))
    assert (row["state"], row["attempts"]) == ("dead", 1)
    assert row["error"].startswith("LedgerIsNotConsistent: ")
    assert row["result"]["violations"] > 0 and row["result"]["first"][0]["check"] == "read model"
    assert [record.levelname for record in caplog.records if "a job is dead" in record.message] == ["CRITICAL"]


def _debit_often(office: Office, account_id: str, number: int) -> None:
    left = number
    while left:
        batch = min(left, 400)
        office.at_once([DebitTokens(account_id=account_id, meter="m", amount_mtok=1)] * batch)
        left -= batch


def test_a_long_stream_without_a_usable_snapshot_gets_one(workshop: Workshop) -> None:
    office = workshop.office
    account = office.open_account(10**6)
    office.open_account(5)
    _debit_often(office, account, SNAPSHOT_EVERY + 50)
    snapshots = "select stream, version, type from felix.snapshots order by version desc"
    stream = stream_name(ACME, "token_account", account)
    ((kept, _, current),) = workshop.rows(snapshots)
    assert kept == stream
    assert workshop.row(run(workshop, snapshot_long_streams.name))["result"] == {"snapshots": 0}
    # As after an upgrade that changed what a snapshot holds: the old one is read by nobody.
    workshop.change("update felix.snapshots set type = type || 'of an older version'")
    workshop.change("delete from felix.jobs")
    assert workshop.row(run(workshop, snapshot_long_streams.name))["result"] == {"snapshots": 1}
    # The last version had one already, and keeps it: the new one is of the version before.
    at = SNAPSHOT_EVERY + 51
    assert workshop.rows(snapshots)[1] == (stream, at, current)
    loaded, snapshot = office.loaded(account)
    assert snapshot == at
    assert loaded.snapshot() == office.replay(account).snapshot()


def test_the_purge_is_a_job_like_any_other(workshop: Workshop) -> None:
    done = workshop.plan("test.note", "old")
    workshop.do_all()
    workshop.change("update felix.jobs set finished_at = now() - interval '8 days'")
    assert workshop.row(run(workshop, purge_jobs.name))["result"] == {"purged": 1}
    assert workshop.rows("select count(*) from felix.jobs where job_id = %s", done[1]) == [(0,)]


def test_a_ticker_that_was_asked_to_stop_lets_another_tick(workshop: Workshop) -> None:
    first, second = (bootstrap.open_schedule(workshop.endpoints) for _ in range(2))
    ticker = Ticker(first, SCHEDULE)
    ticker.start()
    noted = "select count(*) from felix.jobs where origin like 'cron:%%'"
    until(lambda: workshop.rows(noted) == [(len(SCHEDULE),)], "each entry is noted")
    assert second.now() is None
    ticker.ask_to_stop()
    assert ticker.join(5)
    until(lambda: second.now() is not None, "the other may tick")
    second.close()
