"""Mails are sent by jobs that tell nobody whom they are for, also when they fail."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from offices import PARTITIONS
from workshop import ROOT_KEY, Workshop

from felix import bootstrap
from felix.application.jobs.schedule import SCHEDULE
from felix.application.jobs.sign_in import link_mail, mail
from felix.application.post import Letter
from felix.eventstore.jobs import NewJob
from felix.eventstore.sealing import RootKeys, new_root_key
from felix.settings import Settings
from felix.worker.job_runner import JobRunner
from felix.worker.upkeep import PlatformUpkeep

ADA = "usr_" + "a" * 32
KEYS = RootKeys([ROOT_KEY])
NOW = datetime.now(UTC) - timedelta(seconds=5)


@pytest.fixture
def data_dir(workshop: Workshop, tmp_path: Path) -> Iterator[Path]:
    """Where mails are left by a worker that knows the root key; Ada is known."""
    settings = Settings(_env_file=None, data_dir=tmp_path, root_key=ROOT_KEY, public_url="https://felix.example.com")
    upkeep = PlatformUpkeep(
        workshop.endpoints, workshop.book, workshop.secrets, partitions=PARTITIONS, settings=settings
    )
    workshop.runner = JobRunner(workshop.book, workshop.office.performer, upkeep, None)  # type: ignore[arg-type]
    workshop.change(
        "insert into felix.users (user_id, email_index, registered_at) values (%s, %s, now())",
        ADA,
        KEYS.index("email", "ada@example.com"),
    )
    yield tmp_path
    upkeep.close()


def do(workshop: Workshop, job: NewJob) -> dict[str, object]:
    """Do a job; its row."""
    workshop.book.add([job])
    workshop.do_all()
    return workshop.row((job.partition, job.job_id))


def test_a_link_is_mailed_and_kept_by_its_hash(workshop: Workshop, data_dir: Path) -> None:
    row = do(workshop, link_mail(KEYS, "magic_link", "ada@example.com", NOW))
    assert (row["state"], row["error"]) == ("done", None)
    (letter,) = (data_dir / "mail" / ADA).iterdir()
    assert "https://felix.example.com/sign-in/link" in letter.read_text().replace("=\n", "")
    assert workshop.rows("select purpose, subject, used_at from felix.links") == [("magic_link", ADA, None)]


def test_nobody_and_somebody_leave_the_same_job(workshop: Workshop, data_dir: Path) -> None:
    rows = [do(workshop, link_mail(KEYS, "magic_link", f"{who}@example.com", NOW)) for who in ("ada", "nobody")]
    for name in rows[0].keys() - {"due_at"}:
        assert rows[0][name] == rows[1][name], name


def test_a_mail_that_can_not_be_sent_says_nothing_of_whom_it_is_for(workshop: Workshop, data_dir: Path) -> None:
    (data_dir / "mail").write_text("a file where the directory should be")
    row = do(workshop, mail(KEYS, Letter("ada@example.com", "Come in", "kettle", "inv_1"), "inv_1", "test", NOW))
    assert row["state"] == "waiting" and "ada" not in str(row) and "kettle" not in str(row)


def test_a_job_of_another_root_key_is_left_to_a_person(workshop: Workshop, data_dir: Path) -> None:
    row = do(workshop, link_mail(RootKeys([new_root_key()]), "magic_link", "ada@example.com", NOW))
    assert row["state"] == "dead" and "SealBroken" in str(row["error"])


def test_what_is_long_over_is_tidied_away_every_hour(workshop: Workshop, data_dir: Path) -> None:
    (entry,) = [each for each in SCHEDULE if each.name == "hourly_purge_of_sign_in"]
    workshop.change(
        "insert into felix.links (token_hash, purpose, subject, made_at, expires_at)"
        " values (%s, 'magic_link', 'usr_1', now() - interval '40 days', now() - interval '31 days')",
        b"x" * 32,
    )
    assert do(workshop, entry.job_at(NOW))["state"] == "done"
    assert workshop.rows("select count(*) from felix.links") == [(0,)]


def test_only_whoever_operates_felix_is_handed_a_link(workshop: Workshop, data_dir: Path) -> None:
    settings = Settings(_env_file=None, data_dir=data_dir, root_key=ROOT_KEY)
    url = bootstrap.make_link(settings, workshop.endpoints, "password_reset", ADA)
    assert url.startswith("http://127.0.0.1:8080/sign-in/reset#")
