"""What founders do on the command line, and what they are told when it can't be done."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from command_line import CommandLine

from felix.cli.demo import CLIENTS, seed
from felix.cli.options import read_amount
from felix.cli.output import tokens
from felix.eventstore.sealing import new_root_key
from felix.settings import Settings


@pytest.mark.parametrize(
    ("written", "mtok"),
    [("5000", 5_000_000), ("0.25", 250), ("1_000", 1_000_000), ("250mtok", 250), ("1e3", 1_000_000), ("-2", -2000)],
)
def test_amounts_are_tokens_unless_they_say_otherwise(written: str, mtok: int) -> None:
    assert read_amount(written) == mtok


@pytest.mark.parametrize("written", ["", "many", "0.0001", "0.5mtok", "nan", "inf", "1e400x"])
def test_what_is_no_amount_is_not_guessed(written: str) -> None:
    with pytest.raises(ValueError):
        read_amount(written)


@pytest.mark.parametrize("mtok", [0, 1, 999, 1000, 12_345_678, -250, -1_000_000])
def test_amounts_are_shown_as_they_can_be_written(mtok: int) -> None:
    assert read_amount(tokens(mtok).replace(",", "")) == mtok


def test_a_client_is_taken_on_board_once_under_one_key(felix: CommandLine) -> None:
    first = felix.done("tenants", "add", "Café Zur Post", "--key", "k1")
    again = felix.done("tenants", "add", "Café Zur Post", "--key", "k1")
    assert first["result"] == again["result"] and (first["replayed"], again["replayed"]) == (False, True)
    assert first["result"]["slug"] == "cafe-zur-post"
    taken = felix("tenants", "add", "Another", "--slug", "cafe-zur-post")
    assert (taken.code, taken.out) == (1, "") and "slug_taken" in taken.err
    assert [row["slug"] for row in felix.done("tenants", "list")] == ["cafe-zur-post"]


def test_which_client_is_asked_for_only_where_it_is_not_clear(felix: CommandLine) -> None:
    nobody = felix("tokens", "accounts")
    assert nobody.code == 2 and "felix tenants add" in nobody.err
    felix.done("tenants", "add", "One")
    assert felix.done("tokens", "accounts") == []
    felix.done("tenants", "add", "Two")
    several = felix("tokens", "accounts")
    assert several.code == 2 and "one|two" in several.err
    unknown = felix("tokens", "accounts", "--tenant", "three")
    assert unknown.code == 1 and "not_found" in unknown.err


def test_tokens_are_granted_held_captured_and_debited(felix: CommandLine, account: str) -> None:
    held = felix.done("tokens", "hold", account, "100", "--meter", "llm.output_tokens")["result"]
    felix.done("tokens", "capture", account, held["hold_id"], "40")
    released = felix.done("tokens", "hold", account, "10", "--meter", "llm.output_tokens")["result"]
    felix.done("tokens", "release", account, released["hold_id"])
    felix.done("tokens", "debit", account, "0.5", "--meter", "api.calls")
    priced = felix.done("tokens", "debit", account, "--meter", "llm.input_tokens", "--quantity", "1001")["result"]
    assert priced["amount_mtok"] == 2503
    shown = felix.done("tokens", "balance", account)
    assert shown["balance"]["available_mtok"] == 1_000_000 - 40_000 - 500 - 2503
    assert [lot["kind"] for lot in felix.done("tokens", "lots", account)] == ["promo"]
    felix.retell()
    assert felix.done("tokens", "accounts")[0]["available_mtok"] == shown["balance"]["available_mtok"]
    lines = felix.done("tokens", "transactions", "main", "--limit", "3")
    assert lines[0]["balance_mtok"] == shown["balance"]["available_mtok"] and len(lines) == 3
    used = {row["meter"]: row["amount_mtok"] for row in felix.done("usage", "show")}
    assert used == {"llm.output_tokens": 40_000, "api.calls": 500, "llm.input_tokens": 2503}


def test_the_same_key_has_one_effect_and_another_request_under_it_is_refused(felix: CommandLine, account: str) -> None:
    debit = ("tokens", "debit", account, "1", "--meter", "api.calls", "--key", "k")
    assert [felix.done(*debit)["replayed"] for _ in range(2)] == [False, True]
    assert "nothing happened again" in felix(*debit).out
    other = felix("tokens", "debit", account, "2", "--meter", "api.calls", "--key", "k")
    assert other.code == 1 and "command_key_reused" in other.err and "amount_mtok" in other.err
    assert felix.done("tokens", "balance", account)["balance"]["available_mtok"] == 999_000


def test_a_refusal_is_told_with_its_facts_and_no_traceback(felix: CommandLine, account: str) -> None:
    said = felix("tokens", "debit", account, "1001", "--meter", "api.calls")
    assert (said.code, said.out) == (1, "")
    assert "insufficient_tokens" in said.err and "shortfall_mtok: 1000" in said.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("tokens", "debit", "main", "--meter", "api.calls"),
        ("tokens", "debit", "main", "1", "--meter", "Not A Meter"),
        ("tokens", "debit", "main", "1", "--meter", "api.calls", "--frobnicate"),
        ("tokens", "grant", "main", "much"),
        ("tokens", "grant", "main", "-1"),
        ("rates", "publish", "nowhere.json"),
        ("replay", "main", "--at-position", "somewhere"),
        ("keys", "create"),
        ("frobnicate",),
    ],
)
def test_wrong_usage_is_exit_code_2(felix: CommandLine, account: str, arguments: tuple[str, ...]) -> None:
    felix.retell()
    said = felix(*arguments)
    assert said.code == 2, said
    assert said.err and "Traceback" not in said.err


def test_a_dry_run_says_what_it_would_do_and_does_nothing(felix: CommandLine, account: str) -> None:
    plan = felix.done("tokens", "debit", account, "1", "--meter", "api.calls", "--dry-run")
    assert plan["dry_run"] and plan["command"] == "ledger.debit_tokens" and plan["fields"]["amount_mtok"] == 1000
    felix("tenants", "add", "Ghost", "--dry-run")
    assert [row["slug"] for row in felix.done("tenants", "list")] == ["acme-ltd"]
    assert felix.done("tokens", "balance", account)["balance"]["available_mtok"] == 1_000_000


def test_keys_are_shown_once_rotated_and_revoked(felix: CommandLine, account: str) -> None:
    ours = ("keys", "create", "--tenant", "acme-ltd", "--label", "shop")
    made = felix.done(*ours, "--scope", "ledger.*", "--scope", "*.read", "--expires", "2099-01-01", "--key", "shop-1")
    assert made["key"].startswith("fx_live_") and made["scopes"] == ["ledger.*", "*.read"]
    again = felix.done(*ours, "--scope", "ledger.*", "--scope", "*.read", "--expires", "2099-01-01", "--key", "shop-1")
    assert again == {name: value for name, value in made.items() if name != "key"}
    successor = felix("keys", "rotate", made["key_id"], "--overlap-hours", "1").out.strip()
    assert successor.startswith("fx_live_") and successor != made["key"]
    assert felix("keys", "revoke", made["key_id"], "--reason", "a test").code == 0
    told = felix("keys", "list")
    assert made["key_id"] in told.out and made["key"] not in told.out and successor not in told.out
    assert [key["status"] for key in felix.done("keys", "list") if key["tenant"] == "acme-ltd"] == ["active", "revoked"]
    assert felix("keys", "revoke", "key_" + "0" * 32).code == 1


def test_a_dry_run_makes_no_key(felix: CommandLine, account: str) -> None:
    before = felix.done("keys", "list")
    plan = felix.done("keys", "create", "--founder", "--read-only", "--dry-run")
    assert plan["tenant"] == "felix-platform" and plan["fields"]["role"] == "founder_readonly"
    assert felix.done("keys", "list") == before


def test_the_table_of_actions_is_shown(felix: CommandLine) -> None:
    (row,) = felix.done("authz", "show", "--action", "ledger.grant_tokens")
    assert row["grants"] == {"founder": ["stepped_up"]} and row["writes"] and row["place"] == "tenant"
    reads = felix.done("authz", "show", "--role", "auditor", "--action", "ledger.*")
    assert [row["action"] for row in reads] == ["ledger.read"]
    assert "stepped up" in felix("authz", "show").out
    assert felix("authz", "show", "--action", "ledger").code == felix("authz", "show", "--action", "a.b").code == 2


def test_rates_and_meters_are_shown_as_they_were_published(felix: CommandLine, account: str) -> None:
    shown = felix.done("rates", "show")
    assert shown["version"] == 1 and len(shown["prices"]) == 2
    assert "2.5 for 1,000" in felix("rates", "show").out
    assert felix("rates", "show", "--version", "2").code == 1
    felix.done("meters", "define", "emails.sent", "--unit", "email")
    meters = {meter["name"]: meter["unit"] for meter in felix.done("meters", "list")}
    assert meters == {"emails.sent": "email", "llm.input_tokens": "unit", "llm.output_tokens": "unit"}


def test_a_replay_names_every_cause_of_a_balance(felix: CommandLine, account: str) -> None:
    before = felix.done("tokens", "debit", account, "1", "--meter", "api.calls", "--key", "first")["position"]
    felix.done("tokens", "debit", account, "2", "--meter", "api.calls", "--actor", "founder:ada")
    now = felix.done("replay", account)
    assert sum(cause["amount_mtok"] for cause in now["causes"]) == now["account"]["balance"]["available_mtok"]
    assert [cause["type"] for cause in now["causes"]][:2] == ["ledger.token_account_opened", "ledger.tokens_granted"]
    assert now["causes"][1]["reason"] == "welcome"
    assert (now["causes"][-2]["command_key"], now["causes"][-1]["actor"]) == ("first", "founder:ada")
    then = felix.done("replay", account, "--at-position", before)
    assert then["account"]["balance"]["available_mtok"] == 999_000 and len(then["causes"]) == 3
    assert felix.done("replay", account, "--at", datetime.now(UTC).isoformat())["causes"] == now["causes"]
    assert felix("replay", account, "--at", "2020-01-01").code == 1
    assert len(felix.done("replay", account, "--last", "1")["causes"]) == 1


def test_events_are_shown_in_order_and_one_of_them_whole(felix: CommandLine, account: str) -> None:
    said = felix("events", "tail", "--json")
    events = [json.loads(line) for line in said.out.splitlines()]
    assert [event["type"] for event in events][-2:] == ["ledger.token_account_opened", "ledger.tokens_granted"]
    granted = events[-1]
    whole = felix.done("events", "show", f"{granted['partition']}:{granted['position']}")
    assert sum(each["amount"] for each in whole["postings"]) == 0 and whole["state"]["reason"] == "welcome"
    assert felix("events", "show", "0:999999").code == 1
    only = felix(
        "events", "tail", "--json", "--type", "ledger.", "--stream", account, "-n", "1", "--tenant", "acme-ltd"
    )
    assert [json.loads(line)["type"] for line in only.out.splitlines()] == ["ledger.tokens_granted"]
    assert felix("events", "tail", "--actor", "nobody").out == ""


def test_output_that_is_piped_has_no_colours_and_is_not_cut(felix: CommandLine, account: str) -> None:
    felix.retell()
    for arguments in (("tokens", "accounts"), ("tokens", "lots", account), ("replay", account), ("tenants", "list")):
        said = felix(*arguments)
        assert said.code == 0 and "\x1b" not in said.out and "…" not in said.out


def test_migrate_says_that_everything_is_up_to_date(felix: CommandLine) -> None:
    assert felix.done("migrate") == {"dry_run": False, "migrations": []}
    assert "up to date" in felix("migrate", "--dry-run").out


def test_a_database_that_is_away_is_told_in_a_sentence(felix: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FELIX_DATABASE_URL", "postgresql://nobody@/nothing?host=/nowhere")
    for arguments in (("tenants", "list"), ("keys", "list"), ("events", "tail"), ("migrate",)):
        said = felix(*arguments)
        assert said.code == 1 and said.err.startswith("error: ") and "felix up" in said.err, said
    told = felix("status", "--json")
    assert told.code == 1 and told.told["database"] == "does not answer"


def test_where_nothing_runs_it_says_how_to_start(felix: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FELIX_DATABASE_URL")
    said = felix("status")
    assert said.code == 1 and "felix up" in said.err and "not_running" in said.err


def test_a_setting_that_is_wrong_is_named(felix: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FELIX_PORT", "many")
    said = felix("status")
    assert said.code == 2 and "port" in said.err


def test_a_file_can_be_looked_through_before_it_is_imported(felix: CommandLine, account: str) -> None:
    felix.retell()
    file = felix.home / "usage.csv"
    file.write_text("at,in,out\n2026-01-01T00:00:00Z,1000,10\nnever,1,1\n")
    columns = ("--map", "time=at", "--map", "llm.input_tokens=in", "--map", "llm.output_tokens=out")
    told = felix("usage", "import", str(file), *columns, "--dry-run", "--json").told
    assert (told["rows"], told["refused"], told["accepted"]) == (2, 1, 0)
    assert felix.done("tokens", "balance", account)["balance"]["available_mtok"] == 1_000_000
    assert felix("usage", "import", str(file), "--map", "time=at").code == 1


def test_the_demo_can_be_made_again_and_changes_nothing(felix: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FELIX_ROOT_KEY", new_root_key())
    first = seed(Settings(), felix.endpoints)
    again = seed(Settings(), felix.endpoints)
    assert first == again and [client.slug for client in first] == [slug for slug, _, _ in CLIENTS]
    keys = Path("data/demo.json")
    assert keys.stat().st_mode & 0o077 == 0 and set(json.loads(keys.read_text())) == {slug for slug, _, _ in CLIENTS}
    felix.retell()
    assert felix("verify", "ledger").code == 0
