"""`felix records`: what is kept in apps, from the command line."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from command_line import CommandLine

from felix import bootstrap
from felix.application.performer import new_context
from felix.domain.changes.messages import CreateApp
from felix.eventstore.sealing import new_root_key
from felix.settings import Settings

sys.path.append(str(Path(__file__).parents[1] / "domain" / "apps"))

from sample_app import TREE


def begin_app(felix: CommandLine) -> None:
    """Let the bakery run for the only client."""
    path = felix.home / "data" / bootstrap.ROOT_KEY_FILE
    path.parent.mkdir(exist_ok=True)
    path.write_text(new_root_key() + "\n")
    directory = bootstrap.open_directory(felix.endpoints, partitions=4)
    performer = bootstrap.open_performer(felix.endpoints, directory.partition_of)
    try:
        (client,) = directory.all()
        release = bootstrap.open_releases(Settings()).put(TREE)
        command = CreateApp(app="bakery", title="The Bakery", release=release, tree=TREE.digest)
        assert performer.perform_blocking(command, new_context(client.tenant_id, "begin", "founder:test")).accepted
    finally:
        performer.close()
        directory.close()


def test_records_are_added_changed_listed_and_shown(
    felix: CommandLine, account: str, eventually: Callable[[Callable[[], bool]], None]
) -> None:
    begin_app(felix)
    runner = bootstrap.open_runner(felix.endpoints, partitions=4)
    runner.start()
    try:
        at = ("--account", account)
        made = felix.done("records", "add", "bakery", "contact", "name=Ana", "email=ana@example.org", "vip=true", *at)
        contact = made["result"]["record_id"]
        deal = felix.done("records", "add", "bakery", "deal", "title=Bread", "value=5", f"contact={contact}", *at)
        deal_id = deal["result"]["record_id"]
        changed = felix.done("records", "change", "bakery", "deal", deal_id, "value=7", "--expected-version", "1", *at)
        assert changed["result"]["version"] == 2
        eventually(lambda: [row["version"] for row in felix.done("records", "list", "bakery", "deal")] == [2])
        (row,) = felix.done("records", "list", "bakery", "deal", "--search", "brea")
        assert (row["values"]["value"], row["names"]) == (7, {contact: "Ana"})
        cheap = '{"field":"value","is":"less","value":7}'
        assert felix.done("records", "list", "bakery", "deal", "--where", cheap) == []
        assert felix.done("records", "show", "bakery", "contact", contact)["values"]["email"] == "ana@example.org"
        said = felix("records", "show", "bakery", "deal", deal_id)
        assert "Ana" in said.out and "Bread" in said.out
        won = felix.done("records", "step", "bakery", "deal", deal_id, "win", "--expected-version", "2", *at)
        assert won["result"]["version"] == 3
        assert felix.done("records", "remove", "bakery", "deal", deal_id, *at)["result"]["version"] == 4
        eventually(lambda: felix.done("records", "list", "bakery", "deal") == [])
        assert felix.done("records", "restore", "bakery", "deal", deal_id, *at)["result"]["version"] == 5
    finally:
        assert runner.stop()
    stale = felix("records", "change", "bakery", "deal", deal_id, "value=8", "--expected-version", "1", *at)
    assert stale.code != 0 and "another version" in stale.err
    unknown = felix("records", "step", "bakery", "deal", deal_id, "dance", *at)
    assert unknown.code != 0 and "no step dance" in unknown.err
    wrong = felix("records", "add", "bakery", "deal", "value=x", *at)
    assert wrong.code != 0 and "value takes JSON" in wrong.err
    refused = felix("records", "add", "bakery", "deal", "value=5", *at)
    assert refused.code != 0 and "title" in refused.err
