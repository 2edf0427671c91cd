"""`felix jobs`: what is done later, and what to do about what failed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

from command_line import CommandLine

from felix import bootstrap
from felix.eventstore.jobs import NewJob


def plan(felix: CommandLine, about: str, *, dead: bool = False) -> str:
    """A job of the platform, due a minute ago."""
    book = bootstrap.open_job_book(felix.endpoints)
    due_at = datetime.now(UTC) - timedelta(minutes=1)
    new = NewJob(0, None, "test.made_up", about, "policy:p", 3, due_at, {"about": about})
    book.add([new])
    if dead:
        claimed = book.claim((0, new.job_id), {})
        assert claimed is not None and book.extend(claimed, 5, 10, 2_000) and book.bury(claimed, "LookupError: gone")
    book.close()
    return str(new.job_id)


def test_jobs_are_listed_by_state(felix: CommandLine) -> None:
    waiting, dead = plan(felix, "a"), plan(felix, "b", dead=True)
    assert {job["job_id"] for job in felix.done("jobs", "list")["data"]} == {waiting, dead}
    assert [job["job_id"] for job in felix.done("jobs", "list", "--state", "dead")["data"]] == [dead]
    said = felix("jobs", "list", "--state", "dead").out
    for shown in (dead, "test.made_up", "LookupError: gone", "1 of 3", "10/2,000", "felix"):
        assert shown in said
    assert "no such jobs" in felix("jobs", "list", "--state", "running").out


def test_a_client_has_its_own_list(felix: CommandLine, account: str) -> None:
    felix.done("tokens", "hold", account, "5", "--meter", "m")
    felix.retell()
    plan(felix, "a")
    theirs = {job["kind"]: job["payload"] for job in felix.done("jobs", "list", "--tenant", "acme-ltd")["data"]}
    assert theirs == {"ledger.book_expiries": {"account_id": account}, "changes.wake": {}}
    assert "acme-ltd" in felix("jobs", "list").out


def test_a_dead_job_is_retried_and_a_waiting_one_cancelled(felix: CommandLine) -> None:
    dead = plan(felix, "a", dead=True)
    assert felix.done("jobs", "retry", dead, "--dry-run") == {
        "dry_run": True, "would": "retry", "job_id": dead, "state": "dead"
    }  # fmt: skip
    retried = felix.done("jobs", "retry", dead)
    assert (retried["state"], retried["attempts"], retried["settled_by"]) == ("waiting", 0, "founder:cli")
    assert felix.done("jobs", "cancel", dead, "--actor", "founder:eve")["state"] == "cancelled"
    assert "founder:eve" in felix("jobs", "show", dead).out
    said = felix("jobs", "cancel", dead)
    assert said.code == 1 and "Only a waiting or dead job can be cancelled." in said.err


def test_a_job_that_is_not_there_is_said_not_to_be(felix: CommandLine) -> None:
    assert felix("jobs", "show", str(uuid4())).code == 1
    assert felix("jobs", "show", "nothing").code == 2
