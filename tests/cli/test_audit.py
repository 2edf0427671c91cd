"""The audit trail, the streams and the history of a balance on the command line."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime

import pytest
from command_line import CommandLine

from felix.application.performer import new_context
from felix.cli.session import open_session
from felix.domain.identity.access_log import RecordRead
from felix.projections import audit_trail


@pytest.fixture
def busy(felix: CommandLine, account: str) -> str:
    """An account with a refusal, and with reasons that a spreadsheet would run."""
    felix.done("tokens", "grant", account, "1", "--reason", "=1+1", "--key", "grant-1")
    assert felix("tokens", "debit", account, "1e6", "--meter", "api.calls", "--key", "too-much").code == 1
    felix.retell()
    return account


def test_the_trail_is_listed_newest_first_and_filtered(felix: CommandLine, busy: str) -> None:
    rows = felix.done("audit", "list")
    assert (rows[0]["command_key"], rows[0]["code"]) == ("too-much", "insufficient_tokens")
    assert (rows[1]["command_key"], rows[1]["reason"], rows[1]["accepted"]) == ("grant-1", "=1+1", True)
    assert rows[-1]["type"] == "tenancy.onboard_tenant"
    assert felix.done("audit", "list", "--outcome", "refused") == rows[:1]
    assert felix.done("audit", "list", "--correlation-id", rows[1]["correlation_id"]) == rows[1:2]
    assert felix.done("audit", "list", "--limit", "2", "--before", str(rows[1]["sequence"])) == rows[2:4]
    assert felix.done("audit", "list", "--type", "ledger.grant_tokens", "--until", "2020-01-01") == []
    shown = felix("audit", "list", "--outcome", "refused")
    assert "insufficient_tokens" in shown.out and "too-much" in shown.out


def test_the_trail_is_exported_whole_page_by_page(
    felix: CommandLine, busy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_trail, "EXPORT_PAGE", 2)
    rows = felix.done("audit", "list", "--limit", "1000")
    told = felix("audit", "export", "--format", "jsonl").out.splitlines()
    assert [json.loads(line)["sequence"] for line in told] == [row["sequence"] for row in rows]
    table = list(csv.DictReader(io.StringIO(felix("audit", "export").out, newline="")))
    assert [row["command_key"] for row in table] == [row["command_key"] for row in rows]
    assert table[1]["reason"] == "'=1+1" and json.loads(told[1])["reason"] == "=1+1"
    assert felix.done("audit", "export", "trail.csv", "--outcome", "refused")["commands"] == 1
    assert len((felix.home / "trail.csv").read_text().splitlines()) == 2


def test_streams_are_listed_by_kind_and_id(felix: CommandLine, busy: str) -> None:
    rows = felix.done("streams", "list")
    assert rows[0]["id"] == busy and {row["kind"] for row in rows} == {"meters", "tenant", "rate_card", "token_account"}
    assert felix.done("streams", "list", "acct_") == felix.done("streams", "list", "--kind", "token_account")
    assert felix.done("streams", "list", "--after", str(rows[0]["last_tenant_sequence"])) == rows[1:]
    assert busy in felix("streams", "list", busy[:12]).out


def test_the_history_and_the_accounts_of_before_are_shown(felix: CommandLine, busy: str) -> None:
    (today,) = felix.done("tokens", "history", "main")
    assert (today["day"], today["balance_mtok"]) == (datetime.now(UTC).date().isoformat(), 1_001_000)
    assert felix.done("tokens", "history", "main", "--until", "2020-01-01", "--since", "2019-12-01") == []
    assert "1,001" in felix("tokens", "history", "main").out
    (now,) = felix.done("tokens", "accounts")
    felix.done("tokens", "debit", busy, "1", "--meter", "api.calls")
    felix.retell()
    assert felix.done("tokens", "accounts", "--as-of", now["as_of"]) == [now]
    assert felix.done("tokens", "accounts")[0]["consumed_mtok"] == 1_000
    assert felix.done("tokens", "accounts", "--as-of", "2199-01-01")[0]["consumed_mtok"] == 1_000


def test_what_staff_read_is_listed_newest_first(felix: CommandLine, busy: str) -> None:
    assert felix.done("audit", "reads") == []
    assert "Nobody of the staff" in felix("audit", "reads").out
    with open_session() as session:
        place, reader = session.tenant(None), "usr_" + "1" * 32
        for rows in (3, 4):
            read = RecordRead(reader_id=reader, action="log.read", what=f"/v1/events?limit={rows}", rows=rows)
            context = new_context(place.tenant_id, f"read:{rows}", f"auditor:{reader}")
            session.performer.perform_blocking(read, context)
    felix.retell()
    rows = felix.done("audit", "reads", "--actor", f"auditor:{reader}", "--kind", "read")
    assert [row["rows"] for row in rows] == [4, 3]
    assert felix.done("audit", "reads", "--before", str(rows[0]["tenant_sequence"])) == rows[1:]
    assert felix.done("audit", "reads", "--until", "2020-01-01") == []
    assert "/v1/events?limit=4" in felix("audit", "reads").out
