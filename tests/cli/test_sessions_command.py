"""`felix sessions`: where people are signed in, and how they are signed out."""

from __future__ import annotations

import json
import secrets
from uuid import uuid4

import pytest
from command_line import CommandLine

from felix import bootstrap
from felix.application.performer import new_context
from felix.application.sign_in import Shown
from felix.domain.identity.roles import PLATFORM
from felix.domain.identity.session import BeginSession
from felix.domain.identity.user import RegisterUser
from felix.eventstore.sealing import new_root_key
from felix.eventstore.sign_in import new_token
from felix.settings import Settings


@pytest.fixture
def ada(felix: CommandLine, monkeypatch: pytest.MonkeyPatch) -> str:
    """Somebody who is signed in twice."""
    monkeypatch.setenv("FELIX_ROOT_KEY", new_root_key())
    settings = Settings(_env_file=None)
    keys, vault = bootstrap.root_keys(settings), bootstrap.open_vault(settings)()
    directory = bootstrap.open_directory(felix.endpoints, partitions=4)
    performer = bootstrap.open_performer(felix.endpoints, directory.partition_of)
    person = vault.enclose(email="ada@example.com", name="Ada")
    enclosed = {"email_index": keys.index("email", "ada@example.com"), "person": person}
    try:
        registered = performer.perform_blocking(
            RegisterUser(email_commitment=person.commitments["email"], name_commitment=person.commitments["name"]),
            new_context(PLATFORM, str(uuid4()), "founder:test", enclosed=enclosed),
        )
        user_id: str = registered.result["user_id"]
        for device in ("a telephone", "a desk"):
            shown = Shown().with_token(new_token(), device)
            began = performer.perform_blocking(
                BeginSession(user_id=user_id, method="magic_link"),
                new_context(PLATFORM, secrets.token_hex(8), f"user:{user_id}", enclosed=shown.enclosed()),
            )
            assert began.accepted
    finally:
        performer.close()
        directory.close()
    return user_id


def test_sessions_are_listed_of_all_and_of_one(felix: CommandLine, ada: str) -> None:
    everybody = felix.done("sessions", "list")
    assert everybody == felix.done("sessions", "list", ada) == felix.done("sessions", "list", "Ada@example.com")
    assert [row["device"] for row in everybody] == ["a desk", "a telephone"]
    assert "token" not in json.dumps(everybody)
    said = felix("sessions", "list").out
    assert ada in said and "magic_link" in said
    assert felix("sessions", "list", "ben@example.com").code == 1


def test_a_session_is_ended_and_the_log_says_by_whom(felix: CommandLine, ada: str) -> None:
    desk, telephone = (row["session_id"] for row in felix.done("sessions", "list"))
    assert felix.done("sessions", "end", desk)["result"] == {"session_id": desk, "ended": True}
    assert [row["session_id"] for row in felix.done("sessions", "list")] == [telephone]
    with bootstrap.connect_owner(felix.endpoints) as owner:
        row = owner.execute(
            "select actor, convert_from(state, 'utf8')::json ->> 'why' from felix.events"
            " where type = 'identity.session_ended'"
        ).fetchone()
    assert row == ("founder:cli", "ended_by_operator")
    assert felix("sessions", "end", desk).code == 1


def test_all_sessions_of_a_person_are_ended(felix: CommandLine, ada: str) -> None:
    assert len(felix.done("sessions", "end", "--user", "ada@example.com")["result"]["ended"]) == 2
    assert felix("sessions", "list").out.strip() == "Nobody is signed in."


@pytest.mark.parametrize("arguments", [(), ("sess_1", "--user", "ada@example.com")])
def test_it_has_to_be_said_which(arguments: tuple[str, ...], felix: CommandLine) -> None:
    assert felix("sessions", "end", *arguments).code == 2
