"""`felix users`, `felix invite` and the people of `felix tenants add`."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from command_line import CommandLine

from felix import bootstrap
from felix.application.performer import new_context
from felix.domain.identity.invitation import AcceptInvitation
from felix.domain.identity.roles import PLATFORM
from felix.domain.identity.user import RegisterUser
from felix.eventstore.sealing import new_root_key
from felix.settings import Settings


@pytest.fixture
def installed(felix: CommandLine, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    """An installation with a root key, where people reach it under a name."""
    monkeypatch.setenv("FELIX_ROOT_KEY", new_root_key())
    monkeypatch.setenv("FELIX_PUBLIC_URL", "https://felix.example")
    return felix


def rows(felix: CommandLine, query: str) -> list[tuple[Any, ...]]:
    """Ask the database."""
    with bootstrap.connect_owner(felix.endpoints) as owner:
        return owner.execute(query.encode()).fetchall()


def accept(felix: CommandLine, invited: dict[str, Any], email: str) -> str:
    """Accept an invitation as the door does, as somebody new."""
    settings = Settings()
    directory = bootstrap.open_directory(felix.endpoints, partitions=4)
    performer = bootstrap.open_performer(felix.endpoints, directory.partition_of)
    person = bootstrap.open_vault(settings)().enclose(email=email, name="Ada")
    ((tenant_id,),) = rows(felix, "select tenant_id from felix.events where type = 'members.invitation_sent'")
    try:
        register = RegisterUser(email_commitment=person.commitments["email"])
        enclosed = {"person": person, "email_index": bootstrap.root_keys(settings).index("email", email)}
        registered = performer.perform_blocking(register, new_context(PLATFORM, "r", "user:x", enclosed=enclosed))
        user_id: str = registered.result["user_id"]
        joining = AcceptInvitation(invitation_id=invited["invitation_id"], user_id=user_id)
        performer.perform_blocking(joining, new_context(tenant_id, "j", "user:x")).result  # noqa: B018
    finally:
        performer.close()
        directory.close()
    return user_id


def test_the_first_founder_comes_to_be_by_a_link_that_is_printed_once(installed: CommandLine) -> None:
    told = installed.done("users", "add", "--founder", "Grace@Example.com", "--key", "first")
    assert re.fullmatch(r"https://felix\.example/invitation#[\w-]{43}", told["result"]["url"])
    assert told["result"]["role"] == "founder"
    assert rows(installed, "select count(*) from felix.jobs") == [(0,)], "no mail is sent"
    again = installed.done("users", "add", "--founder", "grace@example.com", "--key", "first")
    assert again["replayed"] and "url" not in again["result"]
    user_id = accept(installed, told["result"], "grace@example.com")
    (listed,) = installed.done("users", "list")
    assert (listed["user_id"], listed["email"], listed["name"]) == (user_id, "grace@example.com", "Ada")
    assert [(each["tenant"], each["role"]) for each in listed["memberships"]] == [("felix-platform", "founder")]
    assert installed.done("users", "show", "GRACE@example.com ") == installed.done("users", "show", user_id) == listed
    assert "founder of felix-platform" in installed("users", "list").out
    assert "founder of felix-platform" in installed("users", "show", user_id).out


@pytest.mark.parametrize("said", [(), ("--founder", "--readonly")])
def test_it_has_to_be_said_as_what_somebody_comes(said: tuple[str, ...], installed: CommandLine) -> None:
    refused = installed("users", "add", "a@example.com", *said)
    assert refused.code == 2 and "--founder or --readonly" in refused.err


def test_somebody_is_kept_out_and_let_in_again(installed: CommandLine) -> None:
    told = installed.done("users", "add", "--founder", "grace@example.com")
    user_id = accept(installed, told["result"], "grace@example.com")
    why = ("--reason", "lost telephone")
    assert installed.done("users", "disable", "grace@example.com", *why)["result"]["status"] == "disabled"
    assert installed.done("users", "show", user_id)["status"] == "disabled"
    assert installed.done("users", "enable", user_id, *why)["result"]["status"] == "active"
    unknown = installed("users", "disable", "nobody@example.com", *why)
    assert unknown.code == 1 and "There is no user nobody@example.com." in unknown.err


def test_who_has_lost_everything_is_helped_by_the_operator(installed: CommandLine) -> None:
    told = installed.done("users", "add", "--founder", "grace@example.com")
    user_id = accept(installed, told["result"], "grace@example.com")
    reset = installed.done("users", "password-reset", "grace@example.com")
    assert reset["user_id"] == user_id and reset["url"].startswith("https://felix.example/sign-in/reset#")
    assert rows(installed, f"select purpose from felix.links where subject = '{user_id}'") == [("password_reset",)]
    refused = installed("users", "remove-second-factor", "grace@example.com")
    assert refused.code == 1 and "second factor" in refused.err


def test_nobody_is_known_at_first(installed: CommandLine) -> None:
    assert installed.done("users", "list") == []
    assert "felix users add --founder" in installed("users", "list").out


def test_somebody_is_invited_to_a_client_by_mail_and_by_link(installed: CommandLine) -> None:
    installed.done("tenants", "add", "Acme Ltd")
    told = installed.done("invite", "ada@example.com", "--role", "client_owner")
    assert told["result"]["url"].startswith("https://felix.example/invitation#")
    ((payload,),) = rows(installed, "select payload from felix.jobs where kind = 'mail.send'")
    token = told["result"]["url"].partition("#")[2]
    assert token not in json.dumps(payload) and "ada@" not in json.dumps(payload)
    accept(installed, told["result"], "ada@example.com")
    refused = installed("invite", "ada@example.com", "--role", "client_member")
    assert refused.code == 1 and "already_member" in refused.err
    auditor = installed.done("invite", "eve@example.com", "--role", "auditor", "--until", "2040-01-01", "--no-mail")
    assert auditor["result"]["role"] == "auditor"
    assert rows(installed, "select count(*) from felix.jobs where kind = 'mail.send'") == [(1,)]


@pytest.mark.parametrize("arguments", [
    ("nobody",), ("a@example.com", "--role", "founder"), ("a@example.com", "--role", "auditor"),
])  # fmt: skip
def test_what_no_invitation_can_be_is_wrong_usage(arguments: tuple[str, ...], installed: CommandLine) -> None:
    installed.done("tenants", "add", "Acme Ltd")
    assert installed("invite", *arguments).code == 2


def test_a_dry_run_invites_nobody_and_shows_no_address(installed: CommandLine) -> None:
    installed.done("tenants", "add", "Acme Ltd")
    planned = installed("invite", "ada@example.com", "--dry-run")
    assert planned.code == 0 and '"dry_run"' in planned.out and "ada@" not in planned.out
    assert rows(installed, "select count(*) from felix.links") == [(0,)]


def test_a_client_comes_on_board_with_all_that_it_begins_with(installed: CommandLine) -> None:
    options = ("--owner", "olga@example.com", "--welcome-mtok", "5000", "--modules", "order_sync, inventory")
    told = installed.done("tenants", "add", "Acme Ltd", *options, "--key", "acme")
    result = told["result"]
    assert result["modules"] == ["inventory", "order_sync"]
    assert result["balance"]["available_mtok"] == 5_000
    assert result["url"].startswith("https://felix.example/invitation#")
    again = installed.done("tenants", "add", "Acme Ltd", *options, "--key", "acme")
    assert again["replayed"] and again["result"] == {name: result[name] for name in result if name != "url"}
    accept(installed, result, "olga@example.com")
    installed.retell()
    shown = installed.done("tenants", "show", "acme-ltd")
    assert (shown["accounts"], shown["available_mtok"]) == (1, 5_000)
