"""Whoever accepts becomes a user in one log and a member in another, also if a process dies in between."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from offices import new_key, until
from workshop import Workshop

from felix import bootstrap
from felix.application.identity import Inviter, user_of_invitation
from felix.application.performer import new_context
from felix.domain.identity.invitation import AcceptInvitation, SendInvitation, WithdrawInvitation
from felix.domain.identity.roles import PLATFORM
from felix.domain.identity.user import RegisterUser
from felix.eventstore.sealing import RootKeys, new_root_key
from felix.eventstore.vault import Vault

#: In another partition than the platform, so that a test can hold one lane and let the other go on.
CLIENT, PARTITION = UUID("0192f000-0000-7000-8000-000000000001"), 1
ROOT_KEY = new_root_key()
KEYS = RootKeys([ROOT_KEY])


@dataclass(frozen=True)
class Invited:
    """Somebody with a link."""

    invitation_id: str
    token: str

    @property
    def user_id(self) -> str:
        return user_of_invitation(self.invitation_id)


@pytest.fixture
def invited(workshop: Workshop) -> Invited:
    """Somebody who is invited to be the owner of a client."""
    directory = bootstrap.open_directory(workshop.endpoints, partitions=4)
    directory.pin(CLIENT, "client", "A client", partition=PARTITION)
    directory.close()
    made = Inviter(Vault(KEYS), KEYS, "https://felix.example").address(CLIENT, "us", key := new_key(), "a@example.com")
    command = SendInvitation(
        role="client_owner", invitation_id=made.invitation_id, email_commitment=made.email_commitment
    )
    perform(workshop, command, CLIENT, key, **made.enclosed)
    return Invited(made.invitation_id, made.url.partition("#")[2])


def perform(workshop: Workshop, command: Any, tenant: UUID, key: str | None = None, **enclosed: Any) -> dict[str, Any]:
    context = new_context(tenant, key or new_key(), "user:test", enclosed=enclosed)
    return workshop.office.performer.perform_blocking(command, context, timeout_s=30).result


def register(workshop: Workshop, invited: Invited) -> None:
    """The first of the two commands, as the door performs it."""
    person = Vault(KEYS).enclose(email="a@example.com", name="Ada")
    command = RegisterUser(
        user_id=invited.user_id,
        email_commitment=person.commitments["email"],
        invitation_id=invited.invitation_id,
        invited_to=str(CLIENT),
        partition=PARTITION,
    )
    perform(workshop, command, PLATFORM, person=person, email_index=KEYS.index("email", "a@example.com"))


def memberships(workshop: Workshop) -> list[tuple[Any, ...]]:
    return workshop.rows("select tenant_id, user_id, role from felix.memberships")


def events_of_membership(workshop: Workshop) -> list[str]:
    rows = workshop.rows("select type from felix.events where partition = %s order by position", PARTITION)
    return [type_.removeprefix("members.") for (type_,) in rows]


def finish_jobs(workshop: Workshop) -> None:
    """Let policies see every event, and do what they asked for, but mails, for which this workshop has no post."""
    workshop.retell()
    workshop.change("update felix.jobs set state = 'cancelled', finished_at = now() where kind = 'mail.send'")
    workshop.do_all()


@contextmanager
def holding(workshop: Workshop, partition: int) -> Iterator[psycopg.Connection[Any]]:
    """Let nobody write in a partition."""
    with psycopg.connect(workshop.office.database) as holder:
        holder.execute("select from felix.partitions where partition = %s for update", (partition,))
        yield holder
        holder.rollback()


@contextmanager
def accepting(workshop: Workshop, invited: Invited, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process of the API in which the link is used."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FELIX_")}
    settings = {
        "FELIX_DATABASE_URL": workshop.office.database, "FELIX_ROOT_KEY": ROOT_KEY, "FELIX_DATA_DIR": str(log.parent),
        "FELIX_PARTITIONS": "4",
    }  # fmt: skip
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, str(Path(__file__).parent / "accepting.py"), invited.token],
            env=kept | settings, cwd=log.parent, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
        )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.wait()


_REGISTERED = "select count(*) from felix.users"
_WAITING = (
    "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    " and application_name = 'felix_writer'"
)


def test_a_process_that_is_killed_between_the_two_commands_leaves_no_one_half_accepted(
    workshop: Workshop, invited: Invited, tmp_path: Path
) -> None:
    log = tmp_path / "api.log"
    with holding(workshop, PARTITION), accepting(workshop, invited, log) as process:
        until(lambda: workshop.rows(_REGISTERED) == [(1,)], f"the user is registered: {log.read_text()}", 30)
        until(lambda: workshop.rows(_WAITING) == [(1,)], "the second command waits")
        process.kill()
        process.wait()
    until(lambda: workshop.rows(_WAITING) == [(0,)], "the session of the killed process has ended")
    assert memberships(workshop) == [], "the control: by itself nothing mends this"
    assert events_of_membership(workshop) == ["invitation_sent"]
    finish_jobs(workshop)
    assert memberships(workshop) == [(CLIENT, invited.user_id, "client_owner")]
    assert events_of_membership(workshop) == ["invitation_sent", "invitation_accepted", "membership_granted"]
    assert workshop.rows("select count(*) from felix.links where used_at is null") == [(0,)]
    assert workshop.rows("select user_id from felix.passwords") == [(invited.user_id,)]


def test_a_process_that_lives_does_both_and_the_job_finds_nothing_to_do(
    workshop: Workshop, invited: Invited, tmp_path: Path
) -> None:
    log = tmp_path / "api.log"
    with accepting(workshop, invited, log) as process:
        assert process.wait(30) == 0, log.read_text()
    assert log.read_text().startswith("201 "), log.read_text()
    before = events_of_membership(workshop)
    finish_jobs(workshop)
    assert events_of_membership(workshop) == before
    kinds = "select kind, state from felix.jobs where kind like 'members.%%' and state <> 'waiting'"
    assert workshop.rows(kinds) == [("members.accept_invitation", "done")]


def test_the_job_alone_accepts_once_however_often_it_is_done(workshop: Workshop, invited: Invited) -> None:
    register(workshop, invited)
    finish_jobs(workshop)
    workshop.change(
        "update felix.jobs set state = 'waiting', finished_at = null where kind = 'members.accept_invitation'"
    )
    assert workshop.do_all() == 1
    assert events_of_membership(workshop) == ["invitation_sent", "invitation_accepted", "membership_granted"]
    perform(workshop, AcceptInvitation(invitation_id=invited.invitation_id, user_id=invited.user_id), CLIENT)
    assert len(events_of_membership(workshop)) == 3


def test_who_was_uninvited_in_between_stays_a_user_and_becomes_no_member(workshop: Workshop, invited: Invited) -> None:
    register(workshop, invited)
    perform(workshop, WithdrawInvitation(invitation_id=invited.invitation_id), CLIENT)
    finish_jobs(workshop)
    assert memberships(workshop) == []
    ((result,),) = workshop.rows("select result from felix.jobs where kind = 'members.accept_invitation'")
    assert result == {"refused": "invitation_is_over"}


def test_an_invitation_that_nobody_accepts_expires_and_is_forgotten(workshop: Workshop, invited: Invited) -> None:
    workshop.retell()
    ((partition, job_id, due_at),) = workshop.rows(
        "select partition, job_id, due_at from felix.jobs where kind = 'members.expire_invitation'"
    )
    ((sent_at,),) = workshop.rows("select recorded_at from felix.events where type = 'members.invitation_sent'")
    assert (partition, due_at - sent_at) == (PARTITION, timedelta(days=7))
    workshop.change("update felix.jobs set due_at = now() where job_id = %s", job_id)
    claimed = workshop.claim((partition, job_id))
    workshop.runner._run(replace(claimed, due_at=due_at))
    assert events_of_membership(workshop) == ["invitation_sent", "invitation_expired"]
    assert workshop.rows("select count(*) from felix.vault") == [(0,)]
